"""Reports to CRMs as rows: what is to be told, and what came of it."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, update

from app.db.tables import crm_reports
from app.db.unit_of_work import Tx


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One state of one receipt for one source; `event_id` is what that source reported, `state` how far it is told."""

    id: UUID
    merchant_id: UUID
    source_id: UUID
    receipt_id: UUID
    event_id: UUID
    version: int
    status: str
    state: str
    attempts: int
    reason: str | None
    created_at: datetime


async def by_id(tx: Tx, report_id: UUID) -> ReportRow | None:
    """For the worker, of any merchant: its job names it."""
    columns = [crm_reports.c[name] for name in ReportRow.__slots__]
    row = (await tx.execute(select(*columns).where(crm_reports.c.id == report_id))).one_or_none()
    return None if row is None else ReportRow(**row._mapping)


async def tried(tx: Tx, report: ReportRow, state: str, reason: str | None) -> None:
    """One more try; any state but `waiting` is the end."""
    await tx.execute(
        update(crm_reports)
        .where(crm_reports.c.merchant_id == report.merchant_id, crm_reports.c.id == report.id)
        .values(
            state=state,
            reason=reason,
            attempts=crm_reports.c.attempts + 1,
            finished_at=None if state == "waiting" else func.kassa_now(),
        )
    )
