"""Closing a prepayment: no money moves, the goods or service are given, and the receipt is still obligatory.

The closing carries full_payment, is paid by offset of the prepayment (tag 1215), and takes the rate of the day of
service: 20/120 of 2025 closes with 22 % in 2026 (FNS letter АБ-4-20/11248@). Never more is closed than is open.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from app.domain.errors import Finding
from app.domain.event import EventItem, PaymentEvent
from app.domain.ffd import Measure, PaymentKind, PaymentMethod, PaymentObject
from app.domain.fitting import NAME_LIMIT, pieces
from app.domain.ledger import Ledger, LedgerLine
from app.domain.money import allocate, roubles
from app.domain.plan import Held, HeldReason, Missing, Plan, Planned, Refused
from app.domain.planning import Defaults, sold
from app.domain.rates import straight, succeeding
from app.domain.reading import item_findings, money_findings, parse_member, parse_payments
from app.domain.receipt import Item, Receipt
from app.domain.refund import contact_of, named
from app.domain.rules import findings
from app.domain.text import fit
from app.domain.vat import VatRate

_OF_THE_GOODS = frozenset({VatRate.VAT10, VatRate.VAT110, VatRate.VAT0})
"""Rates that belong to the goods, whatever regime the seller is under."""


def open_amount(sale: Receipt, already_settled: Sequence[Receipt], already_refunded: Sequence[Receipt]) -> int:
    """Kopecks of a prepayment that are neither closed nor returned."""
    return _open(sale, already_settled, already_refunded).left


def settlement_receipt(
    event: PaymentEvent,
    sale: Receipt,
    already_settled: Sequence[Receipt],
    already_refunded: Sequence[Receipt],
    today: date,
    vat_on_service_day: VatRate | None,
    *,
    defaults: Defaults | None = None,
    max_items: int = 100,
) -> Plan:
    """The closing receipt of a prepayment, or what hinders it; a sale without prepaid lines needs none.

    `today` is the local day of the service. `vat_on_service_day` is the rate of the merchant's regime on that day;
    pass None when the sale's rates were named by its source. It never replaces 10 % and 0 %, which belong to the
    goods; a rate named by this event wins. Without lines in the event everything open is closed as it was prepaid,
    or a part of it in proportion; an advance is closed under `defaults` (it was paid for nothing known yet).
    Of `already_refunded` only what went back as a prepayment counts; a return of what was given opens nothing. Money
    paid now is not part of a closing: it is a payment of its own, with its lines and `prepaid` among its payments.
    """
    refusals = [*money_findings(event), *item_findings(event)]
    payments = parse_payments(event, PaymentKind.PREPAID, refusals)
    if any(payment.kind is not PaymentKind.PREPAID for payment in payments):
        refusals.append(_MONEY_NOW)
    ledger = _open(sale, already_settled, already_refunded)
    if not ledger.lines and not refusals:
        return Planned((), "sale", ("not_a_prepayment",))
    closing = _Closing(event, today, vat_on_service_day, defaults or Defaults(), refusals)
    if not refusals and event.amount > ledger.left:
        return _exceeds(event.amount, ledger.left)
    lines, origin = closing.lines(ledger)
    if closing.refusals:
        return Refused(tuple(closing.refusals))
    if closing.unfound:
        return Held(HeldReason.LINES_NOT_FOUND, tuple(closing.unfound))
    if closing.missing:
        return Held(HeldReason.DATA_MISSING, tuple(closing.missing))
    receipt = replace(sale, items=tuple(lines), payments=payments, customer=contact_of(event, sale), correction=None)
    found = findings(receipt, today, max_items)
    if unmarked := [each for each in found if each.rule == "mark_missing"]:
        gaps = tuple(Missing("marking_code", each.pointer, each.detail, each.detail_ru) for each in unmarked)
        return Held(HeldReason.DATA_MISSING, gaps)
    return Refused(found) if found else Planned((receipt,), origin, tuple(closing.notes))


_MONEY_NOW = Finding(
    "#/payments",
    "settlement_payments",
    "A closing offsets money that was received before; it is paid by `prepaid` alone.",
    "Закрытие засчитывает ранее полученные деньги: оплата только предоплатой (1215).",
    1215,
    "Report money paid now as payment.succeeded, with its lines and the offset as `prepaid`.",
)


def _open(sale: Receipt, already_settled: Sequence[Receipt], already_refunded: Sequence[Receipt]) -> Ledger:
    return Ledger.of_sale(sale, [*already_settled, *already_refunded]).open


class _Closing:
    """The lines of a closing in the making: collects refusals and gaps, so that all are reported at once."""

    def __init__(
        self, event: PaymentEvent, today: date, vat: VatRate | None, defaults: Defaults, refusals: list[Finding]
    ) -> None:
        self._event = event
        self._today = today
        self._vat = vat
        self._defaults = defaults
        self.refusals = refusals
        self.unfound: list[Missing] = []
        self.missing: dict[Missing, None] = {}
        self.notes: list[str] = []

    def lines(self, ledger: Ledger) -> tuple[list[Item], str]:
        """The closing lines and where they came from."""
        if self._event.items:
            return self._named_lines(ledger.lines), self._event.items_origin or "event"
        if self.refusals:
            return [], ""
        origin = "sale" if self._event.amount == ledger.left else "spread"
        return [self._closed(item) for item in ledger.shares(self._event.amount)], origin

    def _named_lines(self, prepaid: Sequence[LedgerLine]) -> list[Item]:
        given = [item.amount for item in self._event.items]
        discounts = [0] * len(given) if self.refusals else allocate(self._event.discount or 0, given)
        lines: list[Item] = []
        for index, item in enumerate(self._event.items):
            pointer = f"#/items/{index}"
            meant = named(item, prepaid) or (prepaid if len(prepaid) == 1 else [])
            amount = item.amount - discounts[index]
            if not meant:
                self.unfound.append(_not_found(pointer))
                continue
            like = self._like(pointer, item, meant[0].item)
            if like is not None and amount and not self.refusals:
                made, change = pieces(like, amount)
                lines += made
                if change:
                    self.notes.append(f"{change}: {pointer}")
        return lines

    def _like(self, pointer: str, item: EventItem, prepaid: Item) -> Item | None:
        """What the event says of the line, the rest as it was prepaid."""
        name, changes = fit(item.name, NAME_LIMIT)
        if changes:
            self.notes.append(f"name_fitted: {pointer} {', '.join(changes)}")
        if not name:
            detail, detail_ru = "The line has no printable name.", "У строки нет наименования."
            self.missing[Missing("name", f"{pointer}/name", detail, detail_ru)] = None
        vat: VatRate | None = self._rate(prepaid.vat)
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
            vat=self._rate(prepaid.vat),
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

    def _rate(self, prepaid: VatRate) -> VatRate:
        of_day = prepaid if self._vat is None or prepaid in _OF_THE_GOODS else self._vat
        return succeeding(straight(of_day), self._today)


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
