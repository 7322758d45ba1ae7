"""The neutral event: what any CRM sends us, and what it hears back."""

import base64
import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue, StringConstraints

from app.api.schemas.lines import (
    WHOLE,
    CashierIn,
    CustomerIn,
    CustomerOut,
    Discounts,
    Flag,
    ItemOut,
    Items,
    OperatingIn,
    Payments,
    SectoralProps,
    TaxationName,
    UserPropIn,
)
from app.api.schemas.receipts import MissingOut, ReceiptOut
from app.api.types import Day, EventId, MerchantId, MinorUnits, Moment, RequestModel, ResponseModel, SourceId, Timestamp
from app.domain.errors import Finding, Invalid
from app.domain.event import EventRequisites, EventType, OriginalSale, PaymentEvent
from app.domain.receipt import Customer

MAX_METADATA_BYTES = 16 * 1024

_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)


def _sane(moment: datetime) -> datetime:
    # The ends of the calendar cannot be told in other zones, and no payment was made there.
    if not _EARLIEST <= moment <= _LATEST:
        raise ValueError("must lie between the years 2000 and 2100")
    return moment


PastMoment = Annotated[Moment, AfterValidator(_sane)]

Identifier = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255, pattern=r"^[^\x00]*$")
]
"""An id in somebody else's system."""


_JSON = json.JSONEncoder(ensure_ascii=True, allow_nan=False)


def _storable(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if not value:
        return value
    text = _JSON.encode(value)
    if len(text) > MAX_METADATA_BYTES:
        raise ValueError(f"must be at most {MAX_METADATA_BYTES} bytes of JSON")
    if "\\u0000" in text:
        raise ValueError("must not contain the character U+0000")
    return value


Metadata = Annotated[dict[str, JsonValue], AfterValidator(_storable)]
"""The caller's own members: kept and given back, never read."""


Place = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256, pattern=r"^[^\x00]+$")]


class MoneyIn(RequestModel):
    """What an event, a manual receipt and a correction say alike: the money, the buyer and the goods."""

    amount: MinorUnits = Field(description="What the buyer paid (or got back), kopecks.", examples=[199000])
    currency: Literal["RUB"] = "RUB"
    order_id: Identifier | None = Field(default=None, description="Your order; receipts are found by it.")
    occurred_at: PastMoment | None = Field(default=None, description="When the money moved; left out: now.")
    customer: CustomerIn | None = None
    items: Items = Field(
        default=[], description="Lines. None: the settings' default line, or for a refund the lines of the sale."
    )
    payments: Payments = Field(default=[], description="How it was paid. None: all of it electronically.")
    taxation: TaxationName | None = Field(default=None, description="Left out: as the kassa is registered.")
    branch: Identifier | None = Field(default=None, description="Point of sale: `brn_…`, or your own id of it.")
    delivered: Flag | None = Field(
        default=None,
        description="True: goods or service are given with the payment. False: a prepayment. Left out: the settings.",
    )
    discount: MinorUnits | None = Field(default=None, description="Of the whole order, kopecks; spread over the lines.")
    discounts: Discounts = Field(
        default=[], description="The same with its reasons, besides `discount`: the receipt's `adjustments` name them."
    )
    shipped_on: Day | None = Field(
        default=None,
        description="Local day on which goods or service were given, when it is not the day of the money: it decides "
        "which VAT rate is in force.",
    )
    internet: Flag | None = Field(default=None, description="Tag 1125 of this sale. Left out: as the kassa is set.")
    place: Place | None = Field(
        default=None,
        description="Tag 1187 of this sale, to the letter one that the provider knows. Left out: the kassa's.",
    )
    cashier: CashierIn | None = Field(default=None, description="Tags 1021 and 1203.")
    user_prop: UserPropIn | None = Field(default=None, description="Tag 1084.")
    sectoral_props: SectoralProps = Field(default=[], description="Tag 1261.")
    operating_prop: OperatingIn | None = Field(default=None, description="Tag 1270.")
    metadata: Metadata = Field(default={}, description="Yours; returned untouched.")

    def requisites(self) -> EventRequisites | None:
        """What is said of the receipt as a whole; None when nothing is."""
        said = EventRequisites(
            shipped_on=self.shipped_on,
            internet=self.internet,
            place=self.place,
            cashier_name=None if self.cashier is None else self.cashier.name,
            cashier_inn=None if self.cashier is None else self.cashier.inn,
            user_prop=None if self.user_prop is None else (self.user_prop.name, self.user_prop.value),
            sectoral_props=tuple(prop.to_domain() for prop in self.sectoral_props),
            operating_prop=None if self.operating_prop is None else self.operating_prop.to_domain(),
        )
        return None if said == EventRequisites() else said

    def event(self, type: EventType, external_id: str, **more: Any) -> PaymentEvent:
        """The domain's event; a moment that was left out is this one."""
        return PaymentEvent(
            type=type,
            external_id=external_id,
            amount=self.amount,
            currency=self.currency,
            occurred_at=(self.occurred_at or datetime.now(UTC)).astimezone(UTC),
            order_id=self.order_id,
            customer=Customer() if self.customer is None else self.customer.to_domain(),
            items=tuple(item.to_domain() for item in self.items),
            payments=tuple(payment.to_domain() for payment in self.payments),
            taxation=self.taxation,
            branch=self.branch,
            delivered=self.delivered,
            discount=self.discount,
            # None, not empty: what was left out must not change the content under which a report is known.
            discounts=tuple(one.to_domain() for one in self.discounts) or None,
            metadata=dict(self.metadata),
            requisites=self.requisites(),
            **more,
        )


class OriginalIn(RequestModel):
    """A sale that another program printed, by the numbers on its receipt. One of ours is named by `payment_id`."""

    fn: Annotated[str, StringConstraints(pattern=r"^[0-9]{16}$")] = Field(description="Number of the fiscal storage.")
    fd: Annotated[int, Field(ge=1, le=4_294_967_295), WHOLE] = Field(description="Number of the fiscal document.")
    fpd: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,10}$")] = Field(description="Fiscal sign.")
    at: PastMoment = Field(description="Date and time on the receipt.")
    items: Items = Field(
        default=[],
        description="All lines as printed, with `vat` and `payment_method`. Needed once; later refunds of the same "
        "document take what is left of them.",
    )

    def to_domain(self) -> OriginalSale:
        return OriginalSale(self.fn, self.fd, self.fpd, self.at, tuple(item.to_domain() for item in self.items))


class EventIn(MoneyIn):
    """A payment, a refund or a closing that has happened."""

    type: Literal["payment.succeeded", "refund.succeeded", "order.settled"]
    external_id: Identifier = Field(
        description="Your id of this payment or refund. With source and type it is the permanent identity: "
        "however often it is reported, it is one receipt.",
        examples=["p-1"],
    )
    source: Identifier | None = Field(
        default=None, description="Who reports: `src_…`, a source's name or its kind. Left out: the key's, else `api`."
    )
    payment_id: Identifier | None = Field(
        default=None,
        description="Of a refund or closing: the `external_id` of the payment. A closing of a whole order, however "
        "many payments it had, names `order_id` alone. So does a refund whose payment is not known: it returns the "
        "latest fiscalized payment of the order that has enough left, or is held.",
    )
    original: OriginalIn | None = Field(
        default=None, description="Of a refund or closing: the sale, when another program printed its receipt."
    )
    settlement_key: Identifier | None = Field(
        default=None, description="The same money reported by two sources under one key is one receipt."
    )
    test: Flag = Field(default=False, description="A test payment: makes no receipt on a live kassa.")

    def to_domain(self) -> PaymentEvent:
        """Invalid when a refund or closing does not say what it refers to."""
        if self.type == EventType.PAYMENT_SUCCEEDED.value:
            if self.original is not None:
                raise Invalid("this cannot become a receipt", (_NO_ORIGINAL,))
        elif self.payment_id is None and self.original is None and self.order_id is None:
            raise Invalid("this cannot become a receipt", (_NO_PAYMENT,))
        return self.event(
            EventType(self.type),
            self.external_id,
            payment_id=self.payment_id,
            settlement_key=self.settlement_key,
            test=self.test,
            original=None if self.original is None else self.original.to_domain(),
        )


_NO_ORIGINAL = Finding(
    "#/original",
    "original_of_a_payment",
    "Only a refund or closing looks back at a sale of another program.",
    "Чек другой программы указывают только в возврате или закрытии.",
    fix="Leave `original` out of a payment.",
)
_NO_PAYMENT = Finding(
    "#/payment_id",
    "payment_id_missing",
    "A refund or closing names the payment or the order that it belongs to.",
    "Возврат или закрытие должны называть платёж или заказ, к которому относятся.",
    fix="Give payment_id: the external_id under which the payment was reported (or order_id; a sale that another "
    "program printed: original).",
)


class Changes(RequestModel):
    """What may be filled in or corrected; members that are left out stay as they are."""

    customer: CustomerIn | None = None
    items: Items | None = None
    payments: Payments | None = None
    taxation: TaxationName | None = None
    branch: Identifier | None = None
    delivered: Flag | None = None
    discount: MinorUnits | None = None
    discounts: Discounts | None = None
    shipped_on: Day | None = None
    internet: Flag | None = None
    place: Place | None = None
    cashier: CashierIn | None = None
    user_prop: UserPropIn | None = None
    sectoral_props: SectoralProps | None = None
    operating_prop: OperatingIn | None = None
    original: OriginalIn | None = None

    def given(self) -> dict[str, Any]:
        """The members that were sent, as JSON values in the form in which an event is stored."""
        sent = self.model_dump(mode="json", exclude_unset=True)
        if self.operating_prop is not None:
            # Of the parts this one alone is not merged with what is stored: it is kept whole.
            sent["operating_prop"] = self.operating_prop.model_dump(mode="json")
        if sent.get("items"):
            sent["items"] = [_stored_line(item) for item in sent["items"]]
        if said := _stored_requisites(sent):
            sent["requisites"] = said
        if (original := sent.get("original")) is not None:
            original["items"] = [_stored_line(item) for item in original.get("items") or ()]
        if sent.get("payments"):
            sent["payments"] = [_stored_kind(paid) for paid in sent["payments"]]
        if sent.get("discounts"):
            sent["discounts"] = [_stored_kind(one) for one in sent["discounts"]]
        return sent


def _stored_kind(part: dict[str, Any]) -> dict[str, Any]:
    return {"kind": part.pop("type"), **{name: value for name, value in part.items() if value is not None}}


def _stored_requisites(sent: dict[str, Any]) -> dict[str, Any]:
    """Takes out what is said of the receipt as a whole, in the form in which an event keeps it."""
    said: dict[str, Any] = {
        name: sent.pop(name) for name in ("shipped_on", "internet", "place", "operating_prop") if name in sent
    }
    if "sectoral_props" in sent:
        said["sectoral_props"] = sent.pop("sectoral_props") or []
    if "cashier" in sent:
        cashier = sent.pop("cashier") or {}
        said |= {"cashier_name": cashier.get("name"), "cashier_inn": cashier.get("inn")}
    if "user_prop" in sent:
        prop = sent.pop("user_prop")
        said["user_prop"] = prop and [prop["name"], prop["value"]]
    return said


def _stored_line(item: dict[str, Any]) -> dict[str, Any]:
    if "marking_code" in item:
        item["marking"] = item.pop("marking_code")
    if item.get("marking"):
        item["marking"] = _stored_code(item["marking"])
    return item


def _stored_code(marking: dict[str, Any]) -> dict[str, Any]:
    encoded = marking.pop("code_base64", None)
    if encoded is not None:
        marking["code"] = base64.b64decode(encoded).decode()
    return marking


class EventOut(ResponseModel):
    """An event and the receipts that it became."""

    id: EventId
    merchant_id: MerchantId
    source_id: SourceId
    type: str
    external_id: str
    payment_id: str | None
    order_id: str | None
    status: str = Field(
        description="`received`: planned in a moment; `planned`: has its receipts; `held`: something is missing; "
        "`linked`: the same money came from another source; `ignored`: needs no receipt; `refused`: contradicts "
        "itself; `pruned`: a repeat of what is too old to be kept, no receipt is made."
    )
    reason: dict[str, Any] | None = Field(description="Why it is held, ignored or refused.")
    missing: list[MissingOut] = Field(description="What has to be filled in with PATCH while it is held.")
    amount: int
    currency: str
    customer: CustomerOut | None
    items: list[ItemOut]
    occurred_at: Timestamp
    received_at: Timestamp
    settlement_key: str | None
    linked_to: EventId | None = Field(description="The event that reported the same money first.")
    metadata: dict[str, Any]
    test: bool
    receipts: list[ReceiptOut]
