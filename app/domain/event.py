"""A payment event: what a source reported about money, before anything is decided about receipts."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum

from app.domain.receipt import Agent, Customer, MarkingCode


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
    """A line as the source knows it; what is None is filled from defaults or holds the receipt."""

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


@dataclass(frozen=True, slots=True)
class EventPayment:
    """How the money came: `kind` is a payment kind's API name."""

    kind: str
    amount: int


@dataclass(frozen=True, slots=True)
class OriginalSale:
    """A sale that another program printed, by its fiscal document (tags 1041, 1040, 1077); `items` as printed there."""

    fn: str
    fd: int
    fpd: str
    at: datetime
    items: tuple[EventItem, ...] = ()


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """One report of one source. (merchant, source, type, external_id) is its permanent identity.

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
    settlement_key: str | None = None
    items_origin: str | None = None
    description: str | None = None
    metadata: dict[str, object] = field(default_factory=dict)
    test: bool = False
    original: OriginalSale | None = None
    left_after: int | None = None
