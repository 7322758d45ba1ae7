"""What is known of each source's voice: how far it was listed, when it was heard, what keeps it silent."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, text, update

from app.db.repos.settings import SourceRow
from app.db.tables import sources
from app.db.unit_of_work import Tx


async def locked(tx: Tx, source_id: UUID) -> SourceRow | None:
    """A source of any merchant, for its own job; locked before the job, as by whoever changes it."""
    row = (await tx.execute(select(sources).where(sources.c.id == source_id).with_for_update())).one_or_none()
    return None if row is None else SourceRow(**row._mapping)


async def listed(tx: Tx, source: SourceRow, upto: datetime) -> None:
    """Everything up to `upto` has come; the cursor never goes back."""
    await tx.execute(
        update(sources)
        .where(sources.c.id == source.id)
        .values(
            polled_to=func.greatest(sources.c.polled_to, upto),
            polled_at=func.kassa_now(),
            last_heard_at=func.kassa_now(),
            poll_failing_since=None,
            poll_failure=None,
        )
    )


async def not_listed(tx: Tx, source: SourceRow, why: str) -> None:
    """The listing broke off: the cursor stays where it was."""
    await tx.execute(
        update(sources)
        .where(sources.c.id == source.id)
        .values(
            poll_failing_since=func.coalesce(sources.c.poll_failing_since, func.kassa_now()),
            poll_failure=why,
        )
    )


async def to_remember(tx: Tx, limit: int) -> list[SourceRow]:
    """Sources that others call, the latest heard first: how each is answered must be known without the database."""
    found = await tx.execute(
        select(sources)
        .where(sources.c.kind != "api", sources.c.status == "active")
        .order_by(sources.c.last_heard_at.desc().nulls_last(), sources.c.id)
        .limit(limit)
    )
    return [SourceRow(**row._mapping) for row in found]


# What came by the API is heard, too; it is looked for only where somebody wants to know.
_HEARD = """
greatest(s.last_heard_at, s.created_at, (SELECT e.received_at FROM events e WHERE e.source_id = s.id
  ORDER BY e.received_at DESC, e.id DESC LIMIT 1))
"""
_SILENT = text(f"""
UPDATE sources s SET silent_since = kassa_now()
FROM (
  SELECT s.id, {_HEARD} AS heard_at FROM sources s
  WHERE s.status = 'active' AND s.silent_since IS NULL
    AND (s.silent_after_hours IS NOT NULL OR s.poll_failing_since < kassa_now() - :patience * interval '1 second')
  ORDER BY s.id FOR UPDATE OF s SKIP LOCKED
) x
WHERE s.id = x.id AND (x.heard_at < kassa_now() - s.silent_after_hours * interval '1 hour'
  OR s.poll_failing_since < kassa_now() - :patience * interval '1 second')
RETURNING s.id, x.heard_at
""")
_BACK = text(f"""
UPDATE sources s SET silent_since = NULL
FROM (
  SELECT s.id, s.silent_since AS since, {_HEARD} AS heard_at FROM sources s
  WHERE s.silent_since IS NOT NULL ORDER BY s.id FOR UPDATE OF s SKIP LOCKED
) x
WHERE s.id = x.id AND (s.status <> 'active' OR s.poll_failing_since IS NULL AND (s.silent_after_hours IS NULL
  OR x.heard_at > kassa_now() - s.silent_after_hours * interval '1 hour'))
RETURNING s.id, x.heard_at, s.status = 'active' AND x.heard_at > x.since AS told
""")


async def fell_silent(tx: Tx, *, patience_seconds: float) -> list[tuple[UUID, datetime]]:
    """Sources that nothing was heard of for too long, or that could not be listed for `patience_seconds`, with when
    each was heard last; each is found once, by one worker."""
    found = await tx.execute(_SILENT, {"patience": patience_seconds})
    return [(row.id, row.heard_at) for row in found]


async def heard_again(tx: Tx) -> list[tuple[UUID, datetime]]:
    """Sources that were silent and are heard again; one that was switched off, or is not watched any more, is told of
    no more."""
    return [(row.id, row.heard_at) for row in await tx.execute(_BACK) if row.told]


async def by_ids(tx: Tx, ids: Sequence[UUID]) -> list[SourceRow]:
    """Sources of any merchant: a sweep named them."""
    found = await tx.execute(select(sources).where(sources.c.id.in_(ids)).order_by(sources.c.id))
    return [SourceRow(**row._mapping) for row in found]


async def without_a_poll(tx: Tx, kinds: Collection[str]) -> list[UUID]:
    """Active sources of these kinds that no job will ask."""
    found = await tx.execute(
        text("""
        SELECT s.id FROM sources s WHERE s.status = 'active' AND s.kind = ANY(:kinds)
          AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.ref = s.id) ORDER BY s.id LIMIT 500
        """),
        {"kinds": list(kinds)},
    )
    return list(found.scalars())
