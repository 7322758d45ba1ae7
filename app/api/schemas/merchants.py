"""Merchants and branches on the wire."""

from typing import Literal

from pydantic import Field

from app.api.schemas.defaults import DefaultsIn, DefaultsOut
from app.api.schemas.nomenclature import UNMAPPED, UnmappedName
from app.api.types import BranchId, KassaId, MerchantId, RequestModel, ResponseModel, ShortText, Timestamp, optional

_ZONE = "Where it sells, as the IANA list names it, such as `Asia/Yekaterinburg`; null: the kassa's zone."


class MerchantIn(RequestModel):
    """A new merchant."""

    name: ShortText = Field(description="Of the organisation or ИП.", examples=["ООО «Ромашка»"])
    inn: ShortText = Field(description="ИНН: 10 or 12 digits with right check digits.", examples=["7707083893"])


class MerchantChange(RequestModel):
    """What is to change of a merchant."""

    name: ShortText = optional()
    inn: ShortText = optional(description="Only while none of its kassas was used.")
    status: Literal["active", "suspended"] = optional(
        description="`suspended`: its keys are refused, its receipts go on. For admin keys."
    )
    unmapped: UnmappedName = optional(description=UNMAPPED)


class MerchantOut(ResponseModel):
    """A legal entity or ИП; everything belongs to one."""

    id: MerchantId
    name: str
    inn: str
    status: str
    unmapped: str = Field(description=UNMAPPED)
    nomenclature_version: int = Field(description="Present version of its rules; 0: it never had any.")
    created_at: Timestamp
    updated_at: Timestamp


class BranchIn(RequestModel):
    """A new branch."""

    name: ShortText = Field(examples=["Филиал на Ленина"])
    external_id: ShortText | None = Field(default=None, description="What the CRM calls it.")
    kassa: KassaId | None = Field(default=None, description="Receipts of this branch go through it.")
    timezone: ShortText | None = Field(default=None, description=_ZONE)
    defaults: DefaultsIn = Field(default_factory=DefaultsIn, description="Go before those of the kassa.")


class BranchChange(RequestModel):
    """What is to change of a branch."""

    name: ShortText = optional()
    external_id: ShortText | None = optional()
    kassa: KassaId | None = optional()
    timezone: ShortText | None = optional(description=_ZONE)
    defaults: DefaultsIn = optional(description="Changed one by one; null takes an answer away.")
    status: Literal["active", "off"] = optional()


class BranchOut(ResponseModel):
    """A point of sale of a merchant."""

    id: BranchId
    merchant_id: MerchantId
    name: str
    external_id: str | None
    kassa_id: KassaId | None
    timezone: str | None
    defaults: DefaultsOut
    status: str
    created_at: Timestamp
    updated_at: Timestamp
