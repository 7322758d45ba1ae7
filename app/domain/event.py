"""A payment event: what a source reported about money, before anything is decided about receipts."""

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum

from app.domain.receipt import OMIT_EMPTY, Agent, Customer, MarkingCode, OperatingProp, SectoralProp


class EventType(Enum):
    """What happened to the money."""

    PAYMENT_SUCCEEDED = "payment.succeeded"
    REFUND_SUCCEEDED = "refund.succeeded"
    ORDER_SETTLED = "order.settled"


class EventStatus(Enum):
    """Where an event stands: `linked` is the same money from another source, `ignored` needs no receipt."""

    RECEIVED = "received"
    PLANNED = "planned"
    HELD = "held"
    LINKED = "linked"
    IGNORED = "ignored"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class EventItem:
    """A line as the source knows it; what is None is filled from defaults or holds the receipt.

    `vat_group` names a group of the merchant's VAT settings.
    """

    name: str
    quantity: Decimal
    price: int
    amount: int
    sku: str | None = None
    vat: str | None = None
    payment_method: str | None = None
    payment_object: str | None = None
    measure: str | None = None
    marking: MarkingCode | None = None
    agent: Agent | None = None
    excise: int | None = None
    country: str | None = None
    declaration: str | None = None
    discount: int | None = None
    """Kopecks off this line; price and amount are before it."""
    additional_props: str | None = None
    sectoral_props: tuple[SectoralProp, ...] = field(default=(), metadata=OMIT_EMPTY)
    vat_group: str | None = None


@dataclass(frozen=True, slots=True)
class EventPayment:
    """How the money came: `kind` is a payment kind's API name.

    Of a `prepaid` part: `payment_id` is the earlier payment that it was received in (a deposit, the sale of a gift
    card); `elsewhere`: it was received where this program knows nothing of it.
    """

    kind: str
    amount: int
    payment_id: str | None = None
    elsewhere: bool | None = None


class DiscountKind(Enum):
    """Why the whole order became cheaper; FFD has no word for it, so it is kept here."""

    DISCOUNT = "discount"
    BONUS = "bonus"
    COUPON = "coupon"


@dataclass(frozen=True, slots=True)
class EventDiscount:
    """One reason with its kopecks, spread over the lines; `name` is the source's own word for it."""

    kind: DiscountKind
    amount: int
    name: str | None = None


@dataclass(frozen=True, slots=True)
class OriginalSale:
    """A sale that another program printed, by its fiscal document (tags 1041, 1040, 1077); `items` as printed there."""

    fn: str
    fd: int
    fpd: str
    at: datetime
    items: tuple[EventItem, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """What the settings of a source do not say yet about one of its events, so that it is held and never guessed.

    `member` is the member of the event that would be the answer: whoever gives it has answered.
    """

    member: str
    detail: str
    detail_ru: str


@dataclass(frozen=True, slots=True)
class EventRequisites:
    """What a source may say of the receipt as a whole; None is no answer.

    `shipped_on`: local day on which the goods or service were given, when it is not the day of the money. `internet`
    (1125) and `place` (1187) are those of this sale where the kassa serves several.
    """

    shipped_on: date | None = None
    internet: bool | None = None
    place: str | None = None
    cashier_name: str | None = None
    cashier_inn: str | None = None
    user_prop: tuple[str, str] | None = None
    sectoral_props: tuple[SectoralProp, ...] = field(default=(), metadata=OMIT_EMPTY)
    operating_prop: OperatingProp | None = None


NOTHING_SAID = EventRequisites()


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """One report of one source. (merchant, source, type, external_id) is its permanent identity.

    `stands_alone`: a refund of a source that keeps the books of its sales and names none; what no sale of its order
    here answers for is returned as its own lines say.
    `left_after`: of a refund whose source tells no sum, what is left of the payment after it, kopecks. The sum follows
    from the payment's receipts when the refund is planned; until then `amount` is 0.
    """

    type: EventType
    external_id: str
    amount: int
    occurred_at: datetime
    currency: str = "RUB"
    payment_id: str | None = None
    order_id: str | None = None
    customer: Customer = field(default_factory=Customer)
    items: tuple[EventItem, ...] = ()
    payments: tuple[EventPayment, ...] = ()
    taxation: str | None = None
    branch: str | None = None
    delivered: bool | None = None
    discount: int | None = None
    discounts: tuple[EventDiscount, ...] | None = None
    """Reasons with a name, besides `discount`, which has none."""
    settlement_key: str | None = None
    items_origin: str | None = None
    description: str | None = None
    metadata: dict[str, object] = field(default_factory=dict)
    test: bool = False
    original: OriginalSale | None = None
    question: Question | None = None
    stands_alone: bool | None = None
    requisites: EventRequisites | None = None
    left_after: int | None = None
