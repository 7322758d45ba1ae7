"""API keys on the wire."""

from typing import Annotated, Any

from pydantic import Field, StrictBool, StringConstraints

from app.api.types import (
    WHOLE,
    KeyId,
    MerchantId,
    Moment,
    RequestModel,
    ResponseModel,
    ShortText,
    SourceId,
    Timestamp,
)
from app.services.principal import SCOPES

_ALL = ("*", *SCOPES, "admin")

Scope = Annotated[str, StringConstraints(pattern="^(" + "|".join(s.replace("*", r"\*") for s in _ALL) + ")$")]


class KeyIn(RequestModel):
    """A new API key."""

    name: ShortText = Field(default="API key", description="What it is for.")
    scopes: list[Scope] = Field(
        min_length=1,
        max_length=len(_ALL),
        description="What it may do: " + ", ".join(f"`{scope}`" for scope in _ALL) + ". `*` is all of a merchant's; "
        "`admin` alone makes an admin key. No more than the calling key has.",
        examples=[["events:write", "receipts:read"]],
    )
    merchant_id: MerchantId | None = Field(default=None, description="For admin keys: whose key it is.")
    source_id: SourceId | None = Field(default=None, description="Events of this key belong to this source.")
    test: StrictBool = Field(default=False, description="A test key: `ck_test_…`.")
    expires_at: Moment | None = Field(default=None, description="null: never.")


class RotateIn(RequestModel):
    """How to change over."""

    grace_seconds: Annotated[
        int, Field(ge=0, le=30 * 86_400, description="How long the old key works beside the new one."), WHOLE
    ] = 86_400


class KeyOut(ResponseModel):
    """An API key without its text."""

    id: KeyId
    merchant_id: MerchantId | None = Field(description="null: an admin key of the installation.")
    source_id: SourceId | None
    name: str
    display: str = Field(description="Its beginning and end, to be recognised by.")
    scopes: list[str]
    test: bool
    expires_at: Timestamp | None
    revoked_at: Timestamp | None
    last_used_at: Timestamp | None = Field(description="To the minute.")
    created_at: Timestamp


class NewKeyOut(KeyOut):
    """A key just made."""

    key: str = Field(description="The key itself: shown now and never again.", examples=["ck_live_…"])


def key_out(row: Any) -> dict[str, Any]:
    """A stored key as `KeyOut` takes it."""
    shown = {name: getattr(row, name) for name in KeyOut.model_fields if name != "test"}
    return {**shown, "test": not row.live}
