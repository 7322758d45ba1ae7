"""What a caller says of a wrong receipt, and the receipt as it should have been."""

from dataclasses import dataclass, field, replace
from datetime import date, datetime
from uuid import UUID

from app.db.repos.receipts import ReceiptRow
from app.db.repos.settings import KassaRow
from app.domain.correction import Case, with_rate
from app.domain.errors import Finding, Invalid
from app.domain.event import EventItem, EventPayment, EventType, PaymentEvent
from app.domain.ffd import CorrectionKind, PaymentKind, Taxation
from app.domain.nomenclature import PERSON
from app.domain.plan import Held, Planned, Refused
from app.domain.receipt import FiscalData, Item, Payment, Receipt
from app.domain.vat import VatRate
from app.services.catalog import MerchantSettings
from app.services.intake import lacking
from app.services.sales import Sales


@dataclass(frozen=True, slots=True)
class Repair:
    """What a caller says of a receipt: what happened to it, and what is right; members that are None stay.

    `corrected_date` None is the day of the receipt. `other_document`: of a duplicate, the second print which is not
    the receipt's own document.
    """

    receipt_id: UUID
    case: Case
    kind: CorrectionKind = CorrectionKind.SELF
    document_number: str | None = None
    corrected_date: date | None = None
    vat: str | None = None
    items: tuple[EventItem, ...] = ()
    amount: int | None = None
    payments: tuple[EventPayment, ...] = ()
    taxation: str | None = None
    reason: str | None = None
    without_link: bool = False
    other_document: FiscalData | None = None
    metadata: dict[str, object] = field(default_factory=dict)


def right_receipt(
    sales: Sales,
    settings: MerchantSettings,
    row: ReceiptRow,
    kassa: KassaRow,
    before: Receipt,
    moment: datetime,
    ask: Repair,
) -> Receipt:
    """The receipt as it should have been: the wrong one with what the caller says; Invalid when that is not enough."""
    if ask.items:
        right = _from_lines(sales, settings, row, kassa, before, moment, ask)
    elif ask.amount is not None:
        right = _priced(before, ask.amount)
    else:
        right = before
    if ask.vat is not None:
        right = with_rate(right, VatRate.parse(ask.vat))
    if ask.taxation is not None:
        right = replace(right, taxation=Taxation.parse(ask.taxation))
    return replace(right, payments=_paid(before, right.total, ask.payments))


def _from_lines(
    sales: Sales,
    settings: MerchantSettings,
    row: ReceiptRow,
    kassa: KassaRow,
    before: Receipt,
    moment: datetime,
    ask: Repair,
) -> Receipt:
    """The lines as an event tells them, planned by the day of the settlement."""
    total = sum(item.amount for item in ask.items)
    event = PaymentEvent(
        type=EventType.PAYMENT_SUCCEEDED,
        external_id=row.external_id or "",
        amount=total if ask.amount is None else ask.amount,
        occurred_at=moment,
        customer=before.customer,
        items=ask.items,
        items_origin=PERSON,
        payments=ask.payments,
        taxation=ask.taxation or before.taxation.code,
    )
    branch = settings.branches.get(row.branch_id) if row.branch_id is not None else None
    match sales.plan(settings, settings.sources[row.source_id], branch, kassa, event):
        case Planned(receipts=(planned_, *_)):
            return replace(before, items=planned_.items, taxation=planned_.taxation)
        case Refused(findings=findings):
            raise Invalid("the right receipt cannot be made", findings)
        case Held(missing=missing):
            raise Invalid("data is missing", tuple(lacking(one) for one in missing))
        case _:
            raise Invalid("the right receipt would have no lines")


def _priced(before: Receipt, amount: int) -> Receipt:
    """The only line at another price; several lines have to be told each."""
    if len(before.items) != 1 or before.items[0].quantity != 1:
        raise Invalid("the right receipt cannot be made", (_LINES,))
    return replace(before, items=(replace(before.items[0], price=amount, amount=amount),))


def _paid(before: Receipt, total: int, given: tuple[EventPayment, ...]) -> tuple[Payment, ...]:
    if given:
        return tuple(Payment(PaymentKind.parse(one.kind), one.amount) for one in given)
    if total == before.total:
        return before.payments
    if len(before.payments) != 1:
        raise Invalid("the right receipt cannot be made", (_PAYMENTS,))
    return (Payment(before.payments[0].kind, total),)


def event_line(item: Item) -> EventItem:
    """A printed line as an event tells it, with every name."""
    return EventItem(
        name=item.name,
        quantity=item.quantity,
        price=item.price,
        amount=item.amount,
        sku=item.sku,
        vat=item.vat.code,
        payment_method=item.payment_method.code,
        payment_object=item.payment_object.code,
        measure=item.measure.code,
        marking=item.marking,
        agent=item.agent,
        excise=item.excise,
        country=item.country,
        declaration=item.declaration,
        additional_props=item.additional_props,
        sectoral_props=item.sectoral_props,
        vat_group=item.vat_group,
    )


_LINES = Finding(
    "#/items",
    "correction_lines_needed",
    "A new sum alone says nothing of several lines.",
    "По одной новой сумме нельзя исправить чек из нескольких строк.",
    1059,
    "Give the right lines in items.",
)
_PAYMENTS = Finding(
    "#/payments",
    "correction_payments_needed",
    "The receipt was paid in several ways, and the new sum does not say how.",
    "Чек оплачен несколькими способами, а как делится новая сумма, не сказано.",
    1020,
    "Give the right payments.",
)
