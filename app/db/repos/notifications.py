"""Raw inbound notifications, and the sources and kassas that an address names before any merchant is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from app.db.repos.paging import Position
from app.db.repos.settings import KassaRow, SourceRow
from app.db.tables import kassas, notifications, sources
from app.db.unit_of_work import Tx


@dataclass(frozen=True, slots=True)
class Notification:
    """One stored notification; `raw` is sealed."""

    id: UUID
    merchant_id: UUID
    source_id: UUID
    part: str
    raw: bytes
    status: str
    received_at: datetime


async def source(tx: Tx, source_id: UUID) -> SourceRow | None:
    """A source by the id in its address."""
    row = (await tx.execute(select(sources).where(sources.c.id == source_id))).one_or_none()
    return None if row is None else SourceRow(**row._mapping)


async def kassa(tx: Tx, kassa_id: UUID) -> KassaRow | None:
    """A kassa by the id in its callback address."""
    row = (await tx.execute(select(kassas).where(kassas.c.id == kassa_id))).one_or_none()
    return None if row is None else KassaRow(**row._mapping)


async def add(tx: Tx, row_id: UUID, source: SourceRow, part: str, digest: bytes, raw: bytes) -> UUID | None:
    """Store once; returns what is to be acted on. The same bytes again are the same notification: None, unless it
    had failed before, then it is acted on again."""
    found = await tx.execute(
        insert(notifications)
        .values(id=row_id, merchant_id=source.merchant_id, source_id=source.id, part=part, digest=digest, raw=raw)
        .on_conflict_do_update(
            index_elements=["source_id", "part", "digest"],
            set_={"status": "received", "note": None, "finished_at": None},
            where=notifications.c.status == "failed",
        )
        .returning(notifications.c.id)
    )
    stored: UUID | None = found.scalar_one_or_none()
    await heard(tx, source)
    return stored


async def heard(tx: Tx, source: SourceRow) -> None:
    """The source spoke; noted once a minute."""
    await tx.execute(
        update(sources)
        .where(
            sources.c.id == source.id,
            (sources.c.last_heard_at.is_(None))
            | (sources.c.last_heard_at < func.kassa_now() - text("interval '1 minute'")),
        )
        .values(last_heard_at=func.kassa_now())
    )


async def by_id(tx: Tx, row_id: UUID) -> Notification | None:
    columns = [notifications.c[name] for name in Notification.__slots__]
    row = (await tx.execute(select(*columns).where(notifications.c.id == row_id))).one_or_none()
    return None if row is None else Notification(**row._mapping)


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification as people see it: what came of it, and why."""

    id: UUID
    merchant_id: UUID
    source_id: UUID
    part: str
    status: str
    note: str | None
    received_at: datetime
    finished_at: datetime | None


async def page(
    tx: Tx,
    merchant_id: UUID,
    before: Position | None,
    limit: int,
    *,
    source_id: UUID | None = None,
    status: Sequence[str] = (),
) -> list[Notice]:
    """The newest behind a position, newest first."""
    query = select(*(notifications.c[name] for name in Notice.__slots__)).where(
        notifications.c.merchant_id == merchant_id
    )
    if source_id is not None:
        query = query.where(notifications.c.source_id == source_id)
    if len(status) == 1:
        # Our own word, written into the statement: the partial index is used only where the planner sees it.
        query = query.where(notifications.c.status == bindparam("the_status", status[0], literal_execute=True))
    elif status:
        query = query.where(notifications.c.status.in_(status))
    if before is not None:
        query = query.where(tuple_(notifications.c.received_at, notifications.c.id) < tuple_(*before))
    query = query.order_by(notifications.c.received_at.desc(), notifications.c.id.desc()).limit(limit)
    return [Notice(**row._mapping) for row in await tx.execute(query)]


async def finish(tx: Tx, notification: Notification, status: str, note: str | None) -> None:
    await tx.execute(
        update(notifications)
        .where(notifications.c.id == notification.id)
        .values(status=status, note=note, finished_at=func.kassa_now())
    )


async def waits(tx: Tx, notification: Notification, why: str) -> None:
    """It is stored and cannot be acted on yet."""
    await tx.execute(update(notifications).where(notifications.c.id == notification.id).values(note=why))


_HINTED = text("""
SELECT id, status FROM receipts
WHERE provider_id = :provider_id AND merchant_id = :merchant AND kassa_id = :kassa
  AND status IN ('sending', 'accepted', 'unknown')
FOR UPDATE
""")

# A statement of its own, so that it sees the job as the settle left it for which the receipt's lock has waited. What is
# being sent or asked at this moment is not disturbed: its settle finds the hint and makes the poll due.
_HINT = text("""
WITH due AS (
  UPDATE jobs SET run_at = least(run_at, kassa_now())
  WHERE ref = :receipt AND kind = 2 AND lease_token IS NULL AND :accepted RETURNING id
), kept AS (
  UPDATE jobs SET hinted = true WHERE ref = :receipt AND id NOT IN (SELECT id FROM due)
), noted AS (
  INSERT INTO timeline (id, merchant_id, receipt_id, at, what, status, actor)
  VALUES (kassa_uuid7(), :merchant, :receipt, kassa_now(), 'callback_hint', NULL, 'provider')
)
SELECT pg_notify('kassa_jobs', '') WHERE EXISTS (SELECT 1 FROM due)
""")


async def hint(tx: Tx, merchant_id: UUID, kassa_id: UUID, provider_id: str) -> None:
    """A callback named a receipt: an accepted one is polled now; one being sent, asked or looked up keeps the hint for
    its next poll, because a hint never shortens a visibility delay. The receipt is locked as by its settle, so the
    hint comes either before it, which then finds it, or after it."""
    values = {"provider_id": provider_id, "merchant": merchant_id, "kassa": kassa_id}
    for row in (await tx.execute(_HINTED, values)).all():
        accepted = row.status == "accepted"
        await tx.execute(_HINT, {"receipt": row.id, "merchant": merchant_id, "accepted": accepted})
