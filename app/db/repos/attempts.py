"""Attempts as history to judge by: when a receipt was last sent, and what asking last said."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from app.db.tables import attempts
from app.db.unit_of_work import Tx
from app.domain.decide import Asked


async def last_marked(tx: Tx, receipt_id: UUID, provider_id: str) -> datetime | None:
    """When a submit under this id was last marked."""
    found: datetime | None = (
        await tx.execute(
            select(attempts.c.marked_at)
            .where(
                attempts.c.receipt_id == receipt_id,
                attempts.c.provider_id == provider_id,
                attempts.c.kind == "submit",
            )
            .order_by(attempts.c.marked_at.desc())
            .limit(1)
        )
    ).scalar_one_or_none()
    return found


async def last_asked(tx: Tx, receipt_id: UUID, provider_id: str) -> Asked | None:
    """The newest look-up or poll of this id; one that failed counts too, because it breaks a row of absences."""
    row = (
        await tx.execute(
            select(attempts.c.finished_at, attempts.c.outcome)
            .where(
                attempts.c.receipt_id == receipt_id,
                attempts.c.provider_id == provider_id,
                attempts.c.kind.in_(("lookup", "poll")),
                attempts.c.finished_at.is_not(None),
            )
            .order_by(attempts.c.marked_at.desc())
            .limit(1)
        )
    ).one_or_none()
    return None if row is None else Asked(row.finished_at, row.outcome == "not_found")


async def documents(tx: Tx, receipt_id: UUID) -> set[tuple[str | None, str | None]]:
    """FN and FD of every document that any exchange about this receipt has named."""
    fn, fd = attempts.c.evidence["fn"].astext, attempts.c.evidence["fd"].astext
    found = await tx.execute(
        select(fn, fd).where(attempts.c.receipt_id == receipt_id, attempts.c.outcome == "fiscalized", fd.is_not(None))
    )
    return {(row[0], row[1]) for row in found}
