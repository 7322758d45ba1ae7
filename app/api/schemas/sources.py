"""Sources on the wire."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, StrictBool, StrictInt, StringConstraints, model_validator

from app.api.schemas.defaults import DefaultsIn, DefaultsOut
from app.api.schemas.nomenclature import UNMAPPED_OF_SOURCE, UnmappedName
from app.api.types import (
    BranchId,
    JsonObject,
    KassaId,
    LongText,
    MerchantId,
    Moment,
    RequestModel,
    ResponseModel,
    ShortText,
    SourceId,
    Timestamp,
    optional,
)
from app.domain.settlement_key import RULE

KeyRule = Annotated[str, StringConstraints(pattern=RULE)]
Hours = Annotated[StrictInt, Field(ge=1, le=8760)]
Kind = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]

_CREDENTIALS = "As the source's schema wants them (`GET /v1/providers`). Stored encrypted, never shown."
_SETTINGS = "As the source's schema wants them (`GET /v1/providers`)."
_DEFAULTS = "Go before those of branch and kassa."
_STARTS = "Payments before this moment get no receipt here."
_ANSWER = (
    "Whether the acquirer makes receipts itself; asked of every one that can. true: its payments are stored as "
    "ignored and no receipt is made here."
)
_FALLBACK = "Your own consented address for receipts whose buyer left none. Stored encrypted, shown masked."
_KEY_FROM = (
    "Of which member of its events their settlement key is made: `order_id`, `payment_id`, `metadata.<member>`; "
    "`none`: they have none. Two sources that report the same money must come to the same key: the second report is "
    "then `linked` and gets no receipt. null: what the event itself says."
)
_SILENT = (
    "After so many hours without a word of this source one `source.silent` is told, and one `source.heard` when it is "
    "back. null: never."
)
_IN_PATH = "A secret in the addresses, for senders that cannot sign. "


class ContactIn(RequestModel):
    """One contact: an e-mail or a phone."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    email: ShortText | None = Field(default=None, examples=["receipts@example.org"])
    phone: ShortText | None = Field(default=None, examples=["+79990000000"])

    @model_validator(mode="after")
    def _any(self) -> Self:
        if self.email is None and self.phone is None:
            raise ValueError("Give an e-mail or a phone.")
        return self


class SourceIn(RequestModel):
    """A new source."""

    kind: Kind = Field(description="Code of `GET /v1/providers?kind=source`.", examples=["cloudpayments"])
    name: ShortText = Field(examples=["Эквайринг сайта"])
    credentials: JsonObject = Field(default_factory=dict, description=_CREDENTIALS)
    settings: JsonObject = Field(default_factory=dict, description=_SETTINGS)
    defaults: DefaultsIn = Field(default_factory=DefaultsIn, description=_DEFAULTS)
    base_url: LongText | None = Field(default=None, description="Address of the CRM's API where it has its own.")
    branch: BranchId | None = Field(default=None, description="Branch of events that name none.")
    kassa: KassaId | None = Field(default=None, description="Kassa of events whose branch has none.")
    starts_at: Moment | None = Field(default=None, description=_STARTS)
    acquirer_fiscalizes: StrictBool | None = Field(default=None, description=_ANSWER)
    fallback_contact: ContactIn | None = Field(default=None, description=_FALLBACK)
    path_secret: StrictBool = Field(default=False, description=_IN_PATH + "The answer shows it this once.")
    settlement_key_from: KeyRule | None = Field(default=None, description=_KEY_FROM)
    silent_after_hours: Hours | None = Field(default=None, description=_SILENT)
    unmapped: UnmappedName | None = Field(default=None, description=UNMAPPED_OF_SOURCE)


class SourceChange(RequestModel):
    """What is to change of a source."""

    name: ShortText = optional()
    credentials: JsonObject = optional(description=_CREDENTIALS)
    settings: JsonObject = optional(description=_SETTINGS + " Replaced as a whole.")
    defaults: DefaultsIn = optional(description=_DEFAULTS + " Changed one by one; null takes an answer away.")
    base_url: LongText | None = optional()
    branch: BranchId | None = optional()
    kassa: KassaId | None = optional()
    starts_at: Moment | None = optional(description=_STARTS)
    acquirer_fiscalizes: StrictBool = optional(description=_ANSWER)
    fallback_contact: ContactIn | None = optional(description=_FALLBACK)
    path_secret: StrictBool = optional(description=_IN_PATH + "true: a new one, the old addresses end; false: none.")
    settlement_key_from: KeyRule | None = optional(description=_KEY_FROM)
    silent_after_hours: Hours | None = optional(description=_SILENT)
    unmapped: UnmappedName | None = optional(description=UNMAPPED_OF_SOURCE)
    status: Literal["active", "off"] = optional(
        description="`off`: what it posts is refused, and it is not asked. Switched on again, it is asked for "
        "everything since it was last listed, or since `starts_at`."
    )


class AddressOut(ResponseModel):
    """Where the source posts one kind of notice."""

    part: str
    meaning: str
    url: str = Field(description="With the path's secret only in the answer that made it.")


class PollOut(ResponseModel):
    """How far the source has been listed."""

    every_seconds: float
    overlap_seconds: float = Field(description="Each listing begins so much earlier; what was heard before is dropped.")
    polled_to: Timestamp | None = Field(description="Everything up to here has come; null: not listed yet.")
    polled_at: Timestamp | None
    failing_since: Timestamp | None = Field(description="Since then no listing came whole.")
    failure: str | None = Field(description="Why the last one did not.")


class SourceOut(ResponseModel):
    """A connection to a CRM or acquirer that reports payments."""

    id: SourceId
    merchant_id: MerchantId
    kind: str
    name: str
    base_url: str | None
    settings: dict[str, Any]
    defaults: DefaultsOut
    branch_id: BranchId | None
    kassa_id: KassaId | None
    starts_at: Timestamp | None
    acquirer_fiscalizes: bool
    fallback_contact: str | None = Field(description="Masked.")
    path_secret: bool = Field(description="Whether the addresses carry a secret.")
    addresses: list[AddressOut]
    settlement_key_from: str | None
    unmapped: str | None = Field(description=UNMAPPED_OF_SOURCE)
    status: str
    last_heard_at: Timestamp | None = Field(description="The last notice, or the last time that it could be listed.")
    silent_after_hours: int | None
    silent_since: Timestamp | None = Field(description="Told as silent then; null: it is heard, or is not watched.")
    poll: PollOut | None = Field(description="null: this kind of source cannot be listed.")
    created_at: Timestamp
    updated_at: Timestamp
