"""Webhook endpoints on the wire."""

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StringConstraints

from app.api.schemas.lanes import LaneOut
from app.api.types import (
    DeliveryId,
    EndpointId,
    LongText,
    MerchantId,
    MessageId,
    Moment,
    RequestModel,
    ResponseModel,
    ShortText,
    Timestamp,
    optional,
)

Url = Annotated[LongText, Field(examples=["https://crm.example.org/kassa"])]
Types = Annotated[
    list[Annotated[str, StringConstraints(pattern=r"^(\*|[a-z_]+\.(\*|[a-z_]+))$", max_length=64)]],
    Field(min_length=1, max_length=32, examples=[["receipt.*"]]),
]

_TYPES = (
    "Types of message by name, whole families (`receipt.*`, `event.*`, `source.*`, `kassa.*`, `endpoint.*`), or all "
    "(`*`)."
)


class EndpointIn(RequestModel):
    """A new webhook endpoint."""

    url: Url = Field(description="https, a public host; an operator can permit networks of the company.")
    types: Types = Field(description=_TYPES)
    description: ShortText | None = None


class EndpointChange(RequestModel):
    """What is to change of an endpoint."""

    url: Url = optional()
    types: Types = optional(description=_TYPES)
    description: ShortText | None = optional()
    status: Literal["active", "disabled"] = optional()


class EndpointOut(ResponseModel):
    """Where messages are posted."""

    id: EndpointId
    merchant_id: MerchantId
    url: str
    types: list[str]
    description: str | None
    status: str
    disabled_reason: str | None
    failing_since: Timestamp | None
    previous_secret_until: Timestamp | None = Field(description="Until then messages carry two signatures.")
    lane: LaneOut
    created_at: Timestamp
    updated_at: Timestamp


class NewEndpointOut(EndpointOut):
    """An endpoint whose secret was just made."""

    secret: str = Field(description="`whsec_…`: shown now and never again.")


class RotateSecretIn(RequestModel):
    """How to change over."""

    force: StrictBool = Field(default=False, description="End the older of two secrets at once.")


class TestOut(ResponseModel):
    """The message that is on its way."""

    message_id: MessageId


class ReplayIn(RequestModel):
    """Which messages: one by its id, or a range in time."""

    message_id: MessageId | None = None
    since: Moment | None = Field(default=None, description="Inclusive, at most 14 days ago.")
    until: Moment | None = Field(default=None, description="Exclusive; left out: now.")
    only: Literal["failed", "all"] = Field(
        default="failed", description="`failed`: those of the range that the endpoint does not have."
    )


class ReplayOut(ResponseModel):
    """How many go out once more."""

    queued: int
    more: bool = Field(description="The range holds more; ask again with a later `since`.")


class DeliveryOut(ResponseModel):
    """One attempt to post one message."""

    id: DeliveryId
    message_id: MessageId
    at: Timestamp
    outcome: str = Field(description="`delivered`, `failed` or `gone`.")
    response_status: int | None
    reason: str | None
    response_head: str | None = Field(description="The first bytes of the endpoint's answer.")
    duration_ms: int | None
