"""Closing a prepayment: no money moves, the goods or service are given, and the receipt is still obligatory.

The closing carries full_payment, is paid by offset of the prepayment (tag 1215), and takes the rate of the day of
service: 20/120 of 2025 closes with 22 % in 2026 (FNS letter АБ-4-20/11248@). Never more is closed than is open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from app.domain.basket import Adjustment, NetLine, net_lines
from app.domain.errors import Finding
from app.domain.event import EventItem, EventRequisites, PaymentEvent
from app.domain.ffd import Measure, PaymentKind, PaymentMethod, PaymentObject
from app.domain.fitting import NAME_LIMIT, name_note, pieces, sold
from app.domain.ledger import Draw, Ledger, LedgerLine, part_of, same_thing
from app.domain.limits import DriverLimits
from app.domain.money import allocate, roubles
from app.domain.plan import Held, HeldReason, Missing, Plan, Planned, Refused
from app.domain.planning import Defaults
from app.domain.rates import straight, succeeding
from app.domain.reading import item_findings, money_findings, parse_member, parse_payments
from app.domain.receipt import Item, Receipt
from app.domain.refund import contact_of, named
from app.domain.rules import ANY_DRIVER, findings
from app.domain.text import fit
from app.domain.vat import VatRate
from app.domain.vat_choice import Goods, choose
from app.domain.vat_settings import VatPolicy

_OF_THE_GOODS = frozenset({VatRate.VAT10, VatRate.VAT110, VatRate.VAT0})
"""Rates that belong to the goods, whatever regime the seller is under."""


Rates = Mapping[tuple[str | None, str], VatRate]
"""Rates that belong to prepaid lines by a rule of the nomenclature, by their sku and printed name."""

_NO_RATES: Rates = {}


def open_amount(sale: Receipt, already_settled: Sequence[Receipt], already_refunded: Sequence[Receipt]) -> int:
    """Kopecks of a prepayment that are neither closed nor returned."""
    return _open(sale, already_settled, already_refunded).left


def settlement_receipt(
    event: PaymentEvent,
    sale: Receipt,
    already_settled: Sequence[Receipt],
    already_refunded: Sequence[Receipt],
    today: date,
    vat_on_service_day: VatPolicy | None,
    *,
    defaults: Defaults | None = None,
    limits: DriverLimits = ANY_DRIVER,
    moved: Sequence[Receipt] = (),
    moved_back: int = 0,
    rates: Rates = _NO_RATES,
) -> Plan:
    """The closing receipt of a prepayment, or what hinders it; a sale without prepaid lines needs none.

    `today` is the local day of the service. `vat_on_service_day` is the merchant's answer, asked for that day line by
    line; pass None when the sale's rates were named by its source. It never replaces 10 % and 0 %, which belong to the
    goods, nor those of `rates`; a rate named by this event wins. Without lines in the event everything open is closed
    as it was prepaid, or a part of it in proportion; an advance is closed under `defaults` (it was paid for nothing
    known yet). Of `already_refunded` only what went back as a prepayment counts; a return of what was given opens
    nothing. `moved` is what other payments offset of it already (`Ledger.of_sale`). Money paid now is not part of a
    closing: it is a payment of its own, with its lines and `prepaid` among its payments.
    """
    ledger = _open(sale, already_settled, already_refunded, moved, moved_back)
    return _settled(event, [ledger], sale, today, vat_on_service_day, defaults or Defaults(), limits, rates)


@dataclass(frozen=True, slots=True)
class Prepaid:
    """One payment of an order: its sale, and what was closed, returned and offset by other payments of it since."""

    sale: Receipt
    settled: Sequence[Receipt] = ()
    refunded: Sequence[Receipt] = ()
    moved: Sequence[Receipt] = ()
    moved_back: int = 0

    @property
    def open(self) -> Ledger:
        """The prepaid lines with what can still be closed of them."""
        return _open(self.sale, self.settled, self.refunded, self.moved, self.moved_back)


@dataclass(frozen=True, slots=True)
class OrderClosing:
    """The closing of a shipment; `drawn` are the lines that it takes from each payment, in the payments' order."""

    plan: Plan
    drawn: tuple[tuple[Item, ...], ...] = ()


def order_settlement(
    event: PaymentEvent,
    payments: Sequence[Prepaid],
    today: date,
    vat_on_service_day: VatPolicy | None,
    *,
    defaults: Defaults | None = None,
    limits: DriverLimits = ANY_DRIVER,
    rates: Rates = _NO_RATES,
) -> OrderClosing:
    """One closing receipt for a shipment of an order that was prepaid in several payments, oldest first.

    As `settlement_receipt`; a line that names what one payment prepaid is drawn from there, everything else from the
    oldest payment that is open. Shares of one thing that was prepaid in parts (method `prepayment`) become one line
    again. The kassa's requisites are those of the newest payment. ValueError without payments.
    """
    if not payments:
        raise ValueError("an order without payments has nothing to close")
    ledgers = [each.open for each in payments]
    newest = payments[-1].sale
    plan = _settled(event, ledgers, newest, today, vat_on_service_day, defaults or Defaults(), limits, rates)
    if not isinstance(plan, Planned) or not plan.receipts:
        return OrderClosing(plan)
    drawn: list[list[Item]] = [[] for _ in ledgers]
    draw = Draw(ledgers)
    for item in plan.receipts[0].items:
        for owner, part in draw.take(item):
            drawn[owner].append(part)
    return OrderClosing(plan, tuple(tuple(each) for each in drawn))


def offset(lines: Sequence[Item], amount: int, ledgers: Sequence[Ledger]) -> list[list[Item]]:
    """What a payment that gives these lines draws from prepayments of the buyer: its parts per ledger, in their order.

    The sum is laid over the lines that are handed over, and each share is taken from the prepaid line which it names,
    else from the oldest. ValueError when the ledgers hold less, or when nothing is handed over.
    """
    given = [item for item in lines if not item.payment_method.before_handing_over]
    drawn: list[list[Item]] = [[] for _ in ledgers]
    draw = Draw(ledgers)
    for item, part in zip(given, allocate(amount, [item.amount for item in given]), strict=True):
        if part:
            for owner, share in draw.take(part_of(item, part)):
                drawn[owner].append(share)
    return drawn


def _settled(
    event: PaymentEvent,
    ledgers: Sequence[Ledger],
    like: Receipt,
    today: date,
    vat: VatPolicy | None,
    defaults: Defaults,
    limits: DriverLimits,
    rates: Rates,
) -> Plan:
    refusals = [*money_findings(event), *item_findings(event)]
    payments = parse_payments(event, PaymentKind.PREPAID, refusals)
    if any(payment.kind is not PaymentKind.PREPAID for payment in payments):
        refusals.append(_MONEY_NOW)
    left = sum(ledger.left for ledger in ledgers)
    if not any(ledger.lines for ledger in ledgers) and not refusals:
        return Planned((), "sale", ("not_a_prepayment",))
    closing = _Closing(event, today, vat, defaults, refusals, rates)
    if not refusals and event.amount > left:
        return _exceeds(event.amount, left)
    lines, origin = closing.lines(ledgers)
    if closing.refusals:
        return Refused(tuple(closing.refusals))
    if closing.unfound:
        return Held(HeldReason.LINES_NOT_FOUND, tuple(closing.unfound))
    if closing.missing:
        return Held(HeldReason.DATA_MISSING, tuple(closing.missing))
    said = event.requisites or EventRequisites()
    receipt = replace(
        like,
        items=tuple(lines),
        payments=payments,
        customer=contact_of(event, like),
        correction=None,
        cashier_name=said.cashier_name,
        cashier_inn=said.cashier_inn,
        user_prop=said.user_prop or like.user_prop,
        sectoral_props=said.sectoral_props,
        operating_prop=said.operating_prop,
    )
    found = findings(receipt, today, limits)
    if unmarked := [each for each in found if each.rule == "mark_missing"]:
        gaps = tuple(Missing("marking_code", each.pointer, each.detail, each.detail_ru) for each in unmarked)
        return Held(HeldReason.DATA_MISSING, gaps)
    return Refused(found) if found else Planned((receipt,), origin, tuple(closing.notes), tuple(closing.adjustments))


def _advances(prepaid: Sequence[LedgerLine]) -> list[LedgerLine]:
    """Money that was taken for nothing known yet: whatever is given later may be drawn from it."""
    return [line for line in prepaid if line.item.payment_method is PaymentMethod.ADVANCE and line.amount_left]


_MONEY_NOW = Finding(
    "#/payments",
    "settlement_payments",
    "A closing offsets money that was received before; it is paid by `prepaid` alone.",
    "Закрытие засчитывает ранее полученные деньги: оплата только предоплатой (1215).",
    1215,
    "Report money paid now as payment.succeeded, with its lines and the offset as `prepaid`.",
)


def _whole_again(prepaid: Sequence[Item], closed: Sequence[Item]) -> list[Item]:
    """Shares of one thing that was prepaid in parts are one thing when it is handed over."""
    groups: list[list[Item]] = []
    for before, item in zip(prepaid, closed, strict=True):
        alike = (group for group in groups if same_thing(group[0], item) and group[0].quantity == item.quantity)
        group = next(alike, None) if before.payment_method is PaymentMethod.PREPAYMENT else None
        if group is None:
            groups.append([item])
        else:
            group.append(item)
    return [piece for group in groups for piece in _joined(group)]


def _joined(group: Sequence[Item]) -> list[Item]:
    if len(group) == 1:
        return list(group)
    amount, quantity = sum(item.amount for item in group), group[0].quantity
    price = int((Decimal(amount) / quantity).to_integral_value())
    return pieces(replace(group[0], price=price, amount=amount), amount)[0]


def _open(
    sale: Receipt,
    already_settled: Sequence[Receipt],
    already_refunded: Sequence[Receipt],
    moved: Sequence[Receipt] = (),
    moved_back: int = 0,
) -> Ledger:
    return Ledger.of_sale(sale, [*already_settled, *already_refunded], moved, moved_back).open


class _Closing:
    """The lines of a closing in the making: collects refusals and gaps, so that all are reported at once."""

    def __init__(
        self,
        event: PaymentEvent,
        today: date,
        vat: VatPolicy | None,
        defaults: Defaults,
        refusals: list[Finding],
        rates: Rates,
    ) -> None:
        self._event = event
        self._today = today
        self._vat = vat
        self._defaults = defaults
        self._rates = rates
        self.refusals = refusals
        self.unfound: list[Missing] = []
        self.missing: dict[Missing, None] = {}
        self.notes: list[str] = []
        self.adjustments: list[Adjustment] = []

    def lines(self, ledgers: Sequence[Ledger]) -> tuple[list[Item], str]:
        """The closing lines and where they came from; of several payments the oldest is closed first."""
        if self._event.items:
            prepaid = [line for ledger in ledgers for line in ledger.lines]
            return self._named_lines(prepaid), self._event.items_origin or "event"
        if self.refusals:
            return [], ""
        shares: list[Item] = []
        rest = self._event.amount
        for ledger in ledgers:
            part = min(rest, ledger.left)
            shares += ledger.shares(part) if part else []
            rest -= part
        origin = "sale" if self._event.amount == sum(ledger.left for ledger in ledgers) else "spread"
        closed = [self._closed(item) for item in shares]
        return (_whole_again(shares, closed) if len(ledgers) > 1 else closed), origin

    def _named_lines(self, prepaid: Sequence[LedgerLine]) -> list[Item]:
        nets = [NetLine(item.amount) for item in self._event.items] if self.refusals else net_lines(self._event)
        lines: list[Item] = []
        for index, item in enumerate(self._event.items):
            pointer = f"#/items/{index}"
            meant = named(item, prepaid) or (prepaid if len(prepaid) == 1 else _advances(prepaid))
            amount = nets[index].amount
            if not meant:
                self.unfound.append(_not_found(pointer))
                continue
            like = self._like(pointer, item, meant[0].item)
            if like is not None and amount and not self.refusals:
                made, change = pieces(like, amount)
                if change == "price_fitted" and nets[index].taken:
                    change = None
                if change:
                    self.notes.append(f"{change}: {pointer}")
                if change or nets[index].taken:
                    places = tuple(range(len(lines), len(lines) + len(made)))
                    self.adjustments.append(
                        Adjustment(index, like.name, item.amount, amount, nets[index].taken, places, change)
                    )
                lines += made
        return lines

    def _like(self, pointer: str, item: EventItem, prepaid: Item) -> Item | None:
        """What the event says of the line, the rest as it was prepaid."""
        name, changes = fit(item.name, NAME_LIMIT)
        if changes:
            self.notes.append(name_note(pointer, changes))
        if not name:
            detail, detail_ru = "The line has no printable name.", "У строки нет наименования."
            self.missing[Missing("name", f"{pointer}/name", detail, detail_ru)] = None
        goods = Goods(item.name, item.sku or prepaid.sku, item.vat_group or prepaid.vat_group)
        vat: VatRate | None = self._rate(prepaid, goods)
        if item.vat is not None:
            vat = parse_member(VatRate, item.vat, f"{pointer}/vat", 1199, self.refusals)
        thing: PaymentObject | None = prepaid.payment_object
        if item.payment_object is not None:
            thing = parse_member(PaymentObject, item.payment_object, f"{pointer}/payment_object", 1212, self.refusals)
        elif thing is PaymentObject.PAYMENT:
            thing = self._given_object(f"{pointer}/payment_object")
        measure: Measure | None = prepaid.measure
        if item.measure is not None:
            measure = parse_member(Measure, item.measure, f"{pointer}/measure", 2108, self.refusals)
        if not name or vat is None or thing is None or measure is None:
            return None
        return replace(
            prepaid,
            name=name,
            price=item.price,
            quantity=item.quantity,
            amount=item.amount,
            vat=vat,
            payment_method=PaymentMethod.FULL_PAYMENT,
            payment_object=thing,
            measure=measure,
            sku=item.sku or prepaid.sku,
            vat_group=item.vat_group or prepaid.vat_group,
            additional_props=item.additional_props or prepaid.additional_props,
            sectoral_props=item.sectoral_props or prepaid.sectoral_props,
            marking=item.marking and sold(item.marking, measure, PaymentMethod.FULL_PAYMENT),
            agent=item.agent or prepaid.agent,
            excise=item.excise,
            country=item.country or prepaid.country,
            declaration=item.declaration or prepaid.declaration,
        )

    def _closed(self, prepaid: Item) -> Item:
        """The prepaid line as it is handed over."""
        name, thing = prepaid.name, prepaid.payment_object
        if thing is PaymentObject.PAYMENT:
            # "Advance for lessons" is no name of what was given, and object 10 is no goods.
            name = fit(self._defaults.item_name or "", NAME_LIMIT)[0]
            thing = self._given_object("#/items/0/payment_object") or thing
            if not name:
                self.missing[_ADVANCE] = None
        return replace(
            prepaid,
            name=name,
            vat=self._rate(prepaid, Goods(name, prepaid.sku, prepaid.vat_group)),
            payment_method=PaymentMethod.FULL_PAYMENT,
            payment_object=thing,
            marking=prepaid.marking and sold(prepaid.marking, prepaid.measure, PaymentMethod.FULL_PAYMENT),
        )

    def _given_object(self, pointer: str) -> PaymentObject | None:
        if self._defaults.payment_object is None:
            detail = "The prepayment was an advance and nothing says what was given for it."
            detail_ru = "Предоплата была авансом, а что за неё передано, не сказано."
            self.missing[Missing("payment_object", pointer, detail, detail_ru)] = None
        return self._defaults.payment_object

    def _rate(self, prepaid: Item, goods: Goods) -> VatRate:
        """The rate of the day of service: a rule's, else the merchant's; agent goods keep their principal's, 10 % and
        0 % are the goods' own."""
        of_day = self._rates.get((prepaid.sku, prepaid.name))
        mine = prepaid.agent is None and prepaid.vat not in _OF_THE_GOODS
        if of_day is None and self._vat is not None and mine:
            of_day = choose(self._vat, goods, PaymentMethod.FULL_PAYMENT, self._today).rate
        return succeeding(straight(of_day or prepaid.vat), self._today)


_ADVANCE = Missing(
    "items",
    "#/items",
    "The prepayment was an advance: name what was given for it.",
    "Предоплата была авансом: назовите, что за неё передано.",
)


def _exceeds(wanted: int, left: int) -> Held:
    detail = f"{roubles(wanted)} is to be closed, but {roubles(left)} of the prepayment is open."
    detail_ru = f"К закрытию {roubles(wanted)} руб., а открыто {roubles(left)} руб. предоплаты."
    missing = Missing("amount", "#/amount", detail, detail_ru)
    return Held(HeldReason.SETTLEMENT_EXCEEDS_PREPAYMENT, (missing,), limit=left)


def _not_found(pointer: str) -> Missing:
    return Missing(
        "items",
        pointer,
        "No prepaid line has this sku or name, and there are several.",
        "Среди нескольких строк предоплаты нет такой по артикулу или наименованию.",
    )
