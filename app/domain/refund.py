"""A refund's receipt, made from the stored sale: in full, by lines, or by a sum laid over what is left.

Method, VAT rate, object and agent data stay those of the sale (a sale at 20 % is returned at 20 %, FNS letter
АБ-4-20/11248@ of 2025-12-15); only the operation is reversed. Nothing is returned twice: what earlier refunds took is
subtracted line by line.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from app.domain.basket import Adjustment, net_lines
from app.domain.event import EventItem, EventRequisites, PaymentEvent
from app.domain.ffd import PaymentKind
from app.domain.fitting import NAME_LIMIT
from app.domain.ledger import Ledger, LedgerLine
from app.domain.limits import DriverLimits
from app.domain.money import roubles
from app.domain.plan import Held, HeldReason, Missing, Plan, Planned, Refused
from app.domain.reading import item_findings, money_findings, parse_payments
from app.domain.receipt import Customer, Item, MarkingCode, Receipt
from app.domain.rules import ANY_DRIVER, contact_usable, findings
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
    """What can still be returned of a sale, line by line, after the receipts in `already` (see `refund_receipt`).

    Lines that differ by a split kopeck count as one. Of a prepayment with closings the open lines come first, then what
    was given. The amounts sum to what is left of the whole.
    """
    return [Remaining(line.item, line.amount_left, line.quantity_left) for line in Ledger.of_sale(sale, already).lines]


def refund_receipt(
    event: PaymentEvent,
    sale: Receipt,
    already: Sequence[Receipt],
    today: date,
    *,
    limits: DriverLimits = ANY_DRIVER,
    moved: Sequence[Receipt] = (),
    moved_back: int = 0,
) -> Plan:
    """The receipt of a refund, or what hinders it.

    `already`: the sale's refunds and, of a prepayment, its closings; none of them cancelled or rejected. What is open
    of a prepayment goes back as it was prepaid, what was closed as it was given (full_payment, straight rate); a sum
    takes from the open part first. Money goes back as the event says, else electronic; the contact is the event's,
    else the sale's. A return of a prepaid sale that is paid by `prepaid` undoes a closing: what was closed is open
    again. `moved`: what other payments offset of the prepayment (`Ledger.of_sale`). An event with `left_after` returns
    what brings the payment there, and nothing when it is there already, so such reports may come in any order. Raises
    ValueError when `sale` is itself a refund.
    """
    if sale.operation.is_refund:
        raise ValueError("only a sale or a purchase can be refunded")
    if event.left_after is not None:
        due = Ledger.of_sale(sale, already, moved, moved_back).left - event.left_after
        if not 0 <= event.left_after < sale.total:
            return Held(HeldReason.DATA_MISSING, (_LEFT_IS_NO_REFUND,))
        if due <= 0:
            return Planned((), "sale", ("returned_already",))
        event = replace(event, amount=due, left_after=None)
    refusals = [*money_findings(event), *item_findings(event)]
    payments = parse_payments(event, PaymentKind.ELECTRONIC, refusals)
    if refusals:
        return Refused(tuple(refusals))
    ledger = Ledger.of_sale(sale, already, moved, moved_back)
    if ledger.open.lines and all(payment.kind is PaymentKind.PREPAID for payment in payments):
        # No money moves: a closing is undone, so only what was given can come back.
        ledger = ledger.handed_over
    if event.amount > ledger.left:
        return _exceeds("#/amount", event.amount, ledger.left)
    if event.items:
        found = _by_lines(event, ledger)
        if isinstance(found, Held):
            return found
        (lines, adjustments), origin = found, event.items_origin or "event"
    else:
        lines, origin = _by_sum(event.amount, sale, [*already, *moved], ledger)
        adjustments = []
    said = event.requisites or EventRequisites()
    receipt = replace(
        sale,
        operation=sale.operation.reverse,
        items=tuple(lines),
        payments=payments,
        customer=contact_of(event, sale),
        correction=None,
        cashier_name=said.cashier_name,
        cashier_inn=said.cashier_inn,
        user_prop=said.user_prop or sale.user_prop,
        sectoral_props=said.sectoral_props,
        operating_prop=said.operating_prop,
    )
    found_wrong = findings(receipt, today, limits)
    return Refused(found_wrong) if found_wrong else Planned((receipt,), origin, (), tuple(adjustments))


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
        # A piece that was sold under another code is another piece.
        lines = [line for line in lines if line.item.marking is None]
    if item.sku is not None and (by_sku := [line for line in lines if line.item.sku == item.sku]):
        return by_sku
    name = fit(item.name, NAME_LIMIT)[0].casefold()
    return [line for line in lines if line.item.name.casefold() == name]


def _by_sum(amount: int, sale: Receipt, already: Sequence[Receipt], ledger: Ledger) -> tuple[list[Item], str]:
    """Everything that is left, or a sum laid over it."""
    if amount == sale.total and not already:
        return [_returned(item) for item in sale.items], "sale"
    origin = "sale" if amount == ledger.left else "spread"
    if any(not receipt.operation.is_refund for receipt in already):
        # What nobody was given yet goes back before what was handed over.
        still_open = min(amount, ledger.open.left)
        return [*_laid(still_open, ledger.open), *_laid(amount - still_open, ledger.handed_over)], origin
    return _laid(amount, ledger), origin


def _laid(amount: int, ledger: Ledger) -> list[Item]:
    back = _returned if amount == ledger.left else _reduced
    return [back(item) for item in ledger.shares(amount)]


def _by_lines(event: PaymentEvent, ledger: Ledger) -> tuple[list[Item], list[Adjustment]] | Held:
    """The lines that the event means, and what its own discounts took from them."""
    nets = net_lines(event)
    lines: list[Item] = []
    adjustments: list[Adjustment] = []
    for index, item in enumerate(event.items):
        meant = named(item, ledger.lines)
        if not meant:
            return Held(HeldReason.LINES_NOT_FOUND, (_not_found(f"#/items/{index}"),))
        amount, before = nets[index].amount, len(lines)
        if amount:
            made = _from_lines(item.quantity, amount, meant)
            if made is None:
                left = sum(line.amount_left for line in meant)
                return _exceeds(f"#/items/{index}", amount, left)
            lines += made
        if taken := nets[index].taken:
            here = tuple(range(before, len(lines)))
            adjustments.append(Adjustment(index, fit(item.name, NAME_LIMIT)[0], item.amount, amount, taken, here))
    return lines, adjustments


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


_LEFT_IS_NO_REFUND = Missing(
    "amount",
    "#/amount",
    "The source says that something was returned, but leaves as much of the payment as was paid, or more. Look the sum "
    "up at the acquirer and make the refund by hand.",
    "Источник сообщил о возврате, но остаток платежа не меньше оплаченного. Узнайте сумму в кабинете эквайера и "
    "оформите возврат вручную.",
)
