"""Attempts as history to judge by: when a receipt was last sent, what asking last said, and what is known to exist."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update

from app.db.tables import attempts
from app.db.unit_of_work import Tx
from app.domain.codec import found_from_json
from app.domain.decide import Arrival, Asked
from app.domain.outcome import Accepted


@dataclass(frozen=True, slots=True)
class Late:
    """An exchange whose worker had lost its job when it ended."""

    merchant_id: UUID
    receipt_id: UUID
    worker: str


async def late(tx: Tx, attempt_id: UUID) -> Late | None:
    """The exchange that a job of evidence names, of any merchant."""
    columns = [attempts.c[name] for name in Late.__slots__]
    row = (await tx.execute(select(*columns).where(attempts.c.id == attempt_id))).one_or_none()
    return None if row is None else Late(**row._mapping)


async def disprove_absence(tx: Tx, attempt_id: UUID) -> None:
    """The provider has it after all, whoever vouched for the contrary meanwhile."""
    await tx.execute(update(attempts).where(attempts.c.id == attempt_id).values(proven_absent=False))


async def arrivals(tx: Tx, receipt_id: UUID, provider_id: str) -> list[Arrival]:
    """Every exchange by which the provider said that it has the document under this id, oldest first."""
    found = await tx.execute(
        select(attempts.c.kind, attempts.c.found)
        .where(
            attempts.c.receipt_id == receipt_id,
            attempts.c.provider_id == provider_id,
            attempts.c.outcome.in_(("accepted", "pending", "fiscalized")),
            attempts.c.proven_absent.is_(False),
        )
        .order_by(attempts.c.marked_at, attempts.c.id)
    )
    return [
        Arrival(Accepted() if row.found is None else found_from_json(row.found), sent=row.kind == "submit")
        for row in found
    ]


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
