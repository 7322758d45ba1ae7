"""Sources on the wire."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, StrictBool, StringConstraints, model_validator

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
    unmapped: UnmappedName | None = optional(description=UNMAPPED_OF_SOURCE)
    status: Literal["active", "off"] = optional(description="`off`: what it posts is refused.")


class AddressOut(ResponseModel):
    """Where the source posts one kind of notice."""

    part: str
    meaning: str
    url: str = Field(description="With the path's secret only in the answer that made it.")


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
    unmapped: str | None = Field(description=UNMAPPED_OF_SOURCE)
    status: str
    last_heard_at: Timestamp | None
    created_at: Timestamp
    updated_at: Timestamp
