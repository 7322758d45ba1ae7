"""The messages that we post, as OpenAPI's `webhooks` section shows them."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.api.schemas.receipts import ReceiptOut
from app.api.types import EndpointId, EventId, KassaId, MerchantId, ReceiptId, SourceId, Timestamp
from app.domain.lifecycle import MessageType

RECEIPT_MESSAGES: dict[str, str] = {
    MessageType.ACCEPTED.value: "The provider has the receipt and will print it",
    MessageType.FISCALIZED.value: "The fiscal document exists",
    MessageType.REJECTED.value: "The provider refused the receipt for good",
    MessageType.NEEDS_ATTENTION.value: "Only a person can decide about the receipt",
    MessageType.HELD.value: "The receipt waits for data",
    MessageType.CANCELLED.value: "The receipt was given up",
    MessageType.OVERDUE.value: "A reminder: money was taken and has no receipt yet",
    MessageType.CONTACT_ADDED.value: "The buyer's address came after the receipt; send him its page",
}
"""Type of message → what happened."""


class DeadlineTold(BaseModel):
    """Which reminder this is."""

    step: Literal["warning", "limit", "daily"] = Field(
        description="`warning`: no receipt yet; `limit`: it is late now; `daily`: it still is."
    )
    due_at: Timestamp | None
    limit_at: Timestamp | None
    message: str
    message_ru: str


class ReceiptData(BaseModel):
    """The whole receipt at that change, the buyer's contact masked."""

    receipt: ReceiptOut
    deadline: DeadlineTold | None = Field(
        default=None,
        description="Only in `receipt.overdue`, which changes nothing: `receipt.sequence` is what it was.",
    )


class ReceiptMessage(BaseModel):
    """A receipt changed. Drop what has a lower `receipt.sequence` than you have seen: messages come in any order."""

    type: str = Field(examples=[MessageType.FISCALIZED.value])
    timestamp: Timestamp = Field(description="When it happened; the attempt's own time is in `webhook-timestamp`.")
    data: ReceiptData


class KassaNamed(BaseModel):
    """Which kassa."""

    id: KassaId
    name: str
    provider: str


class KassaData(BaseModel):
    """The kassa, and why it was paused."""

    kassa: KassaNamed
    cause: dict[str, Any] | None = Field(
        default=None, description="Only in `kassa.paused`: code, message, message_ru, who, next_step."
    )


class KassaMessage(BaseModel):
    """A kassa stands still, or goes on."""

    type: Literal["kassa.paused", "kassa.resumed"]
    timestamp: Timestamp
    data: KassaData


class EventNamed(BaseModel):
    """Which event; `id` and what follows are null where the source never reported it here."""

    id: EventId | None
    source_id: SourceId
    type: str
    external_id: str
    order_id: str | None
    status: str | None
    amount: int | None = Field(description="Kopecks, as it was first reported.")


class AlarmTold(BaseModel):
    """What changed at the source."""

    code: str = Field(
        description="`amount_changed`, `content_changed`: it now says otherwise; `settlement_conflict`: two reports "
        "contradict; `fiscalized_twice`: the source made a receipt of money that has one here; others are the source's."
    )
    message: str
    message_ru: str


class StandingReceipt(BaseModel):
    """A receipt that stands for this money."""

    id: ReceiptId
    status: str
    total: int


class AlarmData(BaseModel):
    """The alarm, and what stands."""

    alarm: AlarmTold
    event: EventNamed
    receipts: list[StandingReceipt]


class AlarmMessage(BaseModel):
    """A person should look: no receipt was made, changed or cancelled because of it."""

    type: Literal["event.alarm"]
    timestamp: Timestamp
    data: AlarmData


class SourceNamed(BaseModel):
    """Which source."""

    id: SourceId
    name: str
    kind: str
    last_heard_at: Timestamp
    silent_after_hours: int | None


class SilenceCause(BaseModel):
    """Why people are told."""

    code: Literal["silent", "poll_failing"]
    message: str
    message_ru: str
    detail: str | None = Field(description="What the source's API answered last.")


class SourceData(BaseModel):
    """The source, and why it is told of."""

    source: SourceNamed
    cause: SilenceCause | None = Field(default=None, description="Only in `source.silent`.")


class SourceMessage(BaseModel):
    """A source fell silent, or is heard again."""

    type: Literal["source.silent", "source.heard"]
    timestamp: Timestamp
    data: SourceData


class MerchantNamed(BaseModel):
    """Whose income."""

    id: MerchantId
    name: str
    inn: str


class VatReview(BaseModel):
    """Which share of which bound is reached; sums in kopecks."""

    year: int = Field(description="Of the income.")
    income: int
    kind: str = Field(description="`usn_exempt`, `usn_vat5`, `usn_vat7` or `ausn`.")
    bound_year: int = Field(description="The year that the bound decides about: the same or the next.")
    bound: int
    percent: int = Field(description="80 or 100.")
    law: str | None = Field(description="The act that the trade press names for the figure; null: none is known here.")
    confirmed: bool = Field(description="False: not read in the law itself; the operator sets it by KASSA_VAT_BOUNDS.")
    message: str
    message_ru: str
    who: str
    next_step: str
    next_step_ru: str


class MerchantData(BaseModel):
    """The merchant, and what has to be reviewed."""

    merchant: MerchantNamed
    vat_review: VatReview


class MerchantMessage(BaseModel):
    """A merchant's income nears a bound beyond which its VAT rate may be wrong; told once for each share of it."""

    type: Literal["merchant.vat_regime_review"]
    timestamp: Timestamp
    data: MerchantData


class EndpointNamed(BaseModel):
    """Which endpoint."""

    id: EndpointId
    url: str


class EndpointData(BaseModel):
    """The endpoint, and why it was switched off."""

    endpoint: EndpointNamed
    reason: str | None = Field(default=None, description="Only in `endpoint.disabled`.")


class EndpointMessage(BaseModel):
    """About a webhook endpoint itself."""

    type: Literal["endpoint.disabled", "endpoint.test"]
    timestamp: Timestamp
    data: EndpointData
