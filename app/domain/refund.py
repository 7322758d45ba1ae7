"""A refund's receipt, made from the stored sale: in full, by lines, or by a sum laid over what is left.

Method, VAT rate, object and agent data stay those of the sale (a sale at 20 % is returned at 20 %); only the operation
is reversed. Nothing is returned twice: what earlier refunds took is subtracted line by line.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from app.domain.event import EventItem, PaymentEvent
from app.domain.ffd import PaymentKind
from app.domain.ledger import Ledger, LedgerLine
from app.domain.money import allocate, roubles
from app.domain.plan import Held, HeldReason, Missing, Plan, Planned, Refused
from app.domain.reading import item_findings, money_findings, parse_payments
from app.domain.receipt import Customer, Item, MarkingCode, Receipt
from app.domain.rules import contact_usable, findings
from app.domain.text import fit

_RETURNED = {1: 3, 2: 4}
"""Planned state of a marked piece (tag 2003): sold → returned, a measured part sold → part returned."""

_UNCHANGED = 255


@dataclass(frozen=True, slots=True)
class Remaining:
    """What can still be returned of one commercial line: kopecks and quantity."""

    item: Item
    amount: int
    quantity: Decimal


def remaining(sale: Receipt, already: Sequence[Receipt]) -> list[Remaining]:
    """What is left of a sale after the refunds in `already` (none of them cancelled or rejected), in its order.

    Lines that differ by a split kopeck count as one; the amounts sum to what is left of the whole.
    """
    return [Remaining(line.item, line.amount_left, line.quantity_left) for line in _ledger(sale, already).lines]


def refund_receipt(
    event: PaymentEvent, sale: Receipt, already: Sequence[Receipt], today: date, *, max_items: int = 100
) -> Plan:
    """The receipt of a refund, or what hinders it.

    `already`: every receipt that took from this sale and is not cancelled or rejected. Of a prepayment its closings
    belong there too; what was closed is returned from the closing's receipt. Money goes back as the event says, else
    electronic; the contact is the event's, else the sale's. Raises ValueError when `sale` is itself a refund.
    """
    if sale.operation.is_refund:
        raise ValueError("only a sale or a purchase can be refunded")
    refusals = [*money_findings(event), *item_findings(event)]
    payments = parse_payments(event, PaymentKind.ELECTRONIC, refusals)
    if refusals:
        return Refused(tuple(refusals))
    ledger = _ledger(sale, already)
    if event.amount > ledger.left:
        return _exceeds("#/amount", event.amount, ledger.left)
    if event.items:
        found = _by_lines(event, ledger)
        if isinstance(found, Held):
            return found
        lines, origin = found, event.items_origin or "event"
    elif event.amount == ledger.left:
        untouched = all(line.untouched for line in ledger.lines)
        lines = (
            list(sale.items)
            if untouched
            else [item for line in ledger.lines if line.amount_left for item in line.rest()]
        )
        lines, origin = [_returned(item) for item in lines], "sale"
    else:
        shares = zip(ledger.lines, ledger.spread(event.amount), strict=True)
        lines, origin = [_reduced(line.share(part)) for line, part in shares if part], "spread"
    receipt = replace(
        sale,
        operation=sale.operation.reverse,
        items=tuple(lines),
        payments=payments,
        customer=contact_of(event, sale),
        correction=None,
    )
    found_wrong = findings(receipt, today, max_items)
    return Refused(found_wrong) if found_wrong else Planned((receipt,), origin)


def contact_of(event: PaymentEvent, sale: Receipt) -> Customer:
    """The sale's buyer, reached by the event's contact when it names a usable one."""
    email, phone = contact_usable(event.customer.email, event.customer.phone)
    return replace(sale.customer, email=email, phone=phone) if email or phone else sale.customer


def named(item: EventItem, lines: Sequence[LedgerLine]) -> list[LedgerLine]:
    """The lines of a sale that an event means: by marking code, else by sku, else by name as it was printed."""
    if item.marking is not None:
        code = item.marking.code
        if marked := [line for line in lines if line.item.marking is not None and line.item.marking.code == code]:
            return marked
    if item.sku is not None and (by_sku := [line for line in lines if line.item.sku == item.sku]):
        return by_sku
    name = fit(item.name, 128)[0].casefold()
    return [line for line in lines if line.item.name.casefold() == name]


def _ledger(sale: Receipt, already: Sequence[Receipt]) -> Ledger:
    ledger = Ledger.of(sale.items)
    ledger.take_all(already)
    return ledger


def _by_lines(event: PaymentEvent, ledger: Ledger) -> list[Item] | Held:
    given = [item.amount for item in event.items]
    discounts = allocate(event.discount or 0, given)
    lines: list[Item] = []
    for index, item in enumerate(event.items):
        meant = named(item, ledger.lines)
        if not meant:
            return Held(HeldReason.LINES_NOT_FOUND, (_not_found(f"#/items/{index}"),))
        amount = item.amount - discounts[index]
        if amount:
            made = _from_lines(item.quantity, amount, meant)
            if made is None:
                left = sum(line.amount_left for line in meant)
                return _exceeds(f"#/items/{index}", amount, left)
            lines += made
    return lines


def _from_lines(quantity: Decimal, amount: int, meant: Sequence[LedgerLine]) -> list[Item] | None:
    """Return this much from the lines meant; None when they do not hold it."""
    amount_left = sum(line.amount_left for line in meant)
    quantity_left = sum((line.quantity_left for line in meant), Decimal(0))
    if amount > amount_left or quantity > quantity_left:
        return None
    if amount == amount_left and quantity == quantity_left:
        everything = [_returned(item) for line in meant if line.amount_left for item in line.rest()]
        for line in meant:
            line.take(line.amount_left, line.quantity_left)
        return everything
    for line in meant:
        if found := line.pieces(amount, quantity):
            line.take(amount, quantity)
            return [_returned(item) for item in found]
    lines = []
    for line in sorted(meant, key=lambda each: each.amount_left < amount):
        part = min(amount, line.amount_left)
        if part:
            lines.append(_reduced(line.share(part)))
            line.take(part, None)
            amount -= part
    return lines


def _returned(item: Item) -> Item:
    return replace(
        item, marking=item.marking and _in_state(item.marking, _RETURNED.get(item.marking.state, _UNCHANGED))
    )


def _reduced(item: Item) -> Item:
    """Money back without the goods: a marked piece stays sold."""
    return replace(item, marking=item.marking and _in_state(item.marking, _UNCHANGED))


def _in_state(marking: MarkingCode, state: int) -> MarkingCode:
    return replace(marking, state=state)


def _exceeds(pointer: str, wanted: int, left: int) -> Held:
    detail = f"{roubles(wanted)} is to be returned, but at most {roubles(left)} is left of the sale."
    detail_ru = f"К возврату {roubles(wanted)} руб., а от продажи осталось не больше {roubles(left)} руб."
    missing = Missing("amount", pointer, detail, detail_ru)
    return Held(HeldReason.REFUND_EXCEEDS_PAYMENT, (missing,), limit=left)


def _not_found(pointer: str) -> Missing:
    return Missing(
        "items",
        pointer,
        "No line of the sale has this sku, name or marking code.",
        "В чеке продажи нет строки с таким артикулом, наименованием или кодом маркировки.",
    )
