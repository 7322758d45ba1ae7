"""Kassas on the wire."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictBool

from app.api.schemas.defaults import DefaultsIn, DefaultsOut
from app.api.schemas.lanes import LaneOut
from app.api.schemas.lines import TaxationName
from app.api.types import (
    WHOLE,
    BranchId,
    JsonObject,
    KassaId,
    LongText,
    MerchantId,
    RequestModel,
    ResponseModel,
    ShortText,
    Timestamp,
    optional,
)

FfdName = Literal["1.05", "1.1", "1.2"]
Taxations = Annotated[list[TaxationName], Field(min_length=1, max_length=5)]
Place = Annotated[LongText, Field(max_length=256)]
InFlight = Annotated[int, Field(ge=1, le=100), WHOLE]

_FFD = "Format with which the register is registered (tag 1209)."
_TAXATION = "Taxation systems with which it is registered (tag 1055)."
_PLACE = "Place of settlement (tag 1187), byte for byte as the provider has it: over the Internet the site's address."
_ZONE = "Where it sells, as the IANA list names it, such as `Europe/Moscow`."
_INTERNET = "Buyers pay over the Internet (tag 1125). Has no default of ours."
_CREDENTIALS = "As the provider's schema wants them (`GET /v1/providers`). Stored encrypted, never shown."
_URL = "Another address of the provider's API, such as its test circuit."
_IN_FLIGHT = "How many receipts may be under way at once; left out: what the provider recommends."


class KassaIn(RequestModel):
    """A new kassa. `internet`, `defaults.vat` and `defaults.payment_method` are refused with an explanation when they
    are left out: nothing is assumed about them."""

    # They are optional to the parser only, so that the refusal can explain the choice.
    model_config = ConfigDict(
        json_schema_extra={
            "required": [
                "name",
                "provider",
                "ffd",
                "taxation",
                "place",
                "timezone",
                "internet",
                "credentials",
                "defaults",
            ],
            "examples": [
                {
                    "name": "Касса сайта",
                    "provider": "digitalkassa",
                    "ffd": "1.2",
                    "taxation": ["usn_income"],
                    "place": "https://shop.example",
                    "timezone": "Europe/Moscow",
                    "internet": True,
                    "credentials": {"actor_id": "…", "actor_token": "…", "c_group_id": 1},
                    "defaults": {"vat": "none", "payment_method": "full_prepayment", "payment_object": "service"},
                }
            ],
        }
    )

    name: ShortText = Field(examples=["Касса сайта"])
    provider: ShortText = Field(description="Code of `GET /v1/providers`.", examples=["digitalkassa"])
    ffd: FfdName = Field(description=_FFD)
    taxation: Taxations = Field(description=_TAXATION, examples=[["usn_income"]])
    place: Place = Field(description=_PLACE, examples=["https://shop.example"])
    timezone: ShortText = Field(description=_ZONE, examples=["Europe/Moscow"])
    internet: StrictBool | None = Field(default=None, description=_INTERNET)
    credentials: JsonObject = Field(description=_CREDENTIALS)
    base_url: LongText | None = Field(default=None, description=_URL)
    defaults: DefaultsIn = Field(
        default_factory=DefaultsIn, examples=[{"vat": "none", "payment_method": "full_prepayment"}]
    )
    max_in_flight: InFlight | None = Field(default=None, description=_IN_FLIGHT)
    test: StrictBool = Field(default=False, description="Takes test events too. A live kassa makes no receipt of them.")
    branch: BranchId | None = Field(default=None, description="This branch's receipts go through it from now on.")


class KassaChange(RequestModel):
    """What is to change of a kassa. Provider, base URL and group stay once it was used: another one is a new kassa."""

    name: ShortText = optional()
    provider: ShortText = optional(description="Only while it was never used; with new credentials.")
    ffd: FfdName = optional(description=_FFD)
    taxation: Taxations = optional(description=_TAXATION)
    place: Place = optional(description=_PLACE)
    timezone: ShortText = optional(description=_ZONE)
    internet: StrictBool = optional(description=_INTERNET)
    credentials: JsonObject = optional(description=_CREDENTIALS + " Of the same group once it was used.")
    base_url: LongText = optional(description=_URL + " Only while it was never used.")
    defaults: DefaultsIn = optional(description="Changed one by one; null takes an answer away.")
    max_in_flight: InFlight = optional(description="How many receipts may be under way at once.")
    status: Literal["active", "off"] = optional(description="`off`: its receipts wait until it is on again.")


class CheckLineOut(ResponseModel):
    """One thing that was tried."""

    name: str
    mark: str = Field(description="`ok`, `warning` or `failed`.")
    detail: str
    fix: str | None


class CheckOut(ResponseModel):
    """What the last check found, without making a receipt."""

    ok: bool
    lines: list[CheckLineOut]
    facts: dict[str, Any]


class KassaOut(ResponseModel):
    """A connection to a provider's cash register."""

    id: KassaId
    merchant_id: MerchantId
    name: str
    provider: str
    base_url: str
    ffd: str
    taxation: list[str]
    place: str
    timezone: str
    internet: bool
    defaults: DefaultsOut
    test: bool
    status: str
    lane: LaneOut
    capabilities: dict[str, Any] | None = Field(description="What the provider can do; null: its driver is missing.")
    first_used_at: Timestamp | None = Field(description="From then on provider, base URL and group cannot change.")
    checked_at: Timestamp | None
    check: CheckOut | None
    created_at: Timestamp
    updated_at: Timestamp
