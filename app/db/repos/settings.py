"""Merchants, branches, kassas and sources as rows; what is sealed stays sealed here."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select

from app.db.tables import branches as branches_table
from app.db.tables import merchants as merchants_table
from app.db.tables import sources as sources_table
from app.db.unit_of_work import Tx


class MerchantRow(NamedTuple):
    """A merchant: the tenant. `unmapped` is its policy for lines that no rule of the nomenclature covers;
    `nomenclature_at` is when rules or policy were last changed."""

    id: UUID
    name: str
    inn: str
    status: str
    vat: dict[str, Any]
    vat_reviewed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    unmapped: str
    nomenclature_version: int
    nomenclature_at: datetime | None


class KassaRow(NamedTuple):
    """A kassa; `credentials` are sealed, `defaults` are API names."""

    id: UUID
    merchant_id: UUID
    name: str
    provider: str
    base_url: str
    group_key: str
    ffd: str
    taxation: list[str]
    place: str
    timezone: str
    internet: bool
    credentials: bytes
    defaults: dict[str, Any]
    callback_secret_hash: bytes
    callback_secret: bytes
    test: bool
    status: str
    first_used_at: datetime | None
    checked_at: datetime | None
    check_report: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime


class BranchRow(NamedTuple):
    """A point of sale."""

    id: UUID
    merchant_id: UUID
    name: str
    external_id: str | None
    kassa_id: UUID | None
    timezone: str | None
    defaults: dict[str, Any]
    status: str
    created_at: datetime
    updated_at: datetime


class SourceRow(NamedTuple):
    """A source; `credentials` and `fallback_contact` are sealed, `unmapped` None leaves that to the merchant.

    `settlement_key_from`: of which member of its events the settlement key is made. `silent_since`: people were told
    then that nothing is heard of it. `polled_to`: everything up to there was listed. `report_lane`: where results are
    told back, None where they are not.
    """

    id: UUID
    merchant_id: UUID
    kind: str
    name: str
    base_url: str | None
    credentials: bytes | None
    settings: dict[str, Any]
    defaults: dict[str, Any]
    branch_id: UUID | None
    kassa_id: UUID | None
    path_secret_hash: bytes | None
    fallback_contact: bytes | None
    acquirer_fiscalizes: bool
    starts_at: datetime | None
    status: str
    last_heard_at: datetime | None
    created_at: datetime
    updated_at: datetime
    settlement_key_from: str | None = None
    silent_after_hours: int | None = None
    silent_since: datetime | None = None
    polled_to: datetime | None = None
    polled_at: datetime | None = None
    poll_failing_since: datetime | None = None
    poll_failure: str | None = None
    report_lane: UUID | None = None
    unmapped: str | None = None


async def merchant(tx: Tx, merchant_id: UUID) -> MerchantRow | None:
    row = (await tx.execute(select(merchants_table).where(merchants_table.c.id == merchant_id))).one_or_none()
    return None if row is None else MerchantRow(**row._mapping)


async def branches(tx: Tx, merchant_id: UUID) -> list[BranchRow]:
    found = await tx.execute(
        select(branches_table).where(branches_table.c.merchant_id == merchant_id).order_by(branches_table.c.id)
    )
    return [BranchRow(**row._mapping) for row in found]


async def sources(tx: Tx, merchant_id: UUID) -> list[SourceRow]:
    found = await tx.execute(
        select(sources_table).where(sources_table.c.merchant_id == merchant_id).order_by(sources_table.c.id)
    )
    return [SourceRow(**row._mapping) for row in found]
