"""Lanes: how much of one kassa, endpoint or source may be in flight, and when it is paused.

A pause consumes no attempts: paused lanes are left out of the claim. A pause with a `probe_at` is half-open: one job
at a time is let through from then on, and its success resumes the lane.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import case, func, insert, select, text, update

from app.db.tables import lanes
from app.db.unit_of_work import Tx
from app.queue.jobs import CHANNEL, RESUMED


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane's present state."""

    id: UUID
    kind: str
    merchant_id: UUID | None
    provider: str | None
    max_in_flight: int
    paused_at: datetime | None
    pause_cause: str | None
    probe_at: datetime | None
    failures: int


_COLUMNS = tuple(
    lanes.c[name]
    for name in (
        "id",
        "kind",
        "merchant_id",
        "provider",
        "max_in_flight",
        "paused_at",
        "pause_cause",
        "probe_at",
        "failures",
    )
)


async def create(
    tx: Tx,
    lane_id: UUID,
    *,
    kind: str,
    merchant_id: UUID,
    max_in_flight: int,
    provider: str | None = None,
    rate_per_second: int | None = None,
) -> None:
    """The lane of a new kassa, endpoint or source; its id is theirs."""
    await tx.execute(
        insert(lanes).values(
            id=lane_id,
            kind=kind,
            merchant_id=merchant_id,
            provider=provider,
            max_in_flight=max_in_flight,
            rate_per_second=rate_per_second,
        )
    )


async def read(tx: Tx, lane_id: UUID, *, lock: bool = False) -> Lane | None:
    """One lane, locked until the transaction ends if asked for."""
    query = select(*_COLUMNS).where(lanes.c.id == lane_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else Lane(**row._mapping)


async def waited_until(tx: Tx, lane_ids: Collection[UUID], *, since: datetime) -> dict[UUID, datetime]:
    """Until when what came had to wait for these: until now while one is paused, else until it was let go.

    Those that were let go before `since`, or were never paused, are left out.
    """
    until = case((lanes.c.paused_at.is_not(None), func.kassa_now()), else_=lanes.c.resumed_at)
    found = await tx.execute(select(lanes.c.id, until).where(lanes.c.id.in_(lane_ids), until >= since))
    return {row[0]: row[1] for row in found}


async def set_limits(
    tx: Tx, lane_id: UUID, *, max_in_flight: int | None = None, rate_per_second: int | None = None
) -> None:
    """Change what is named; the next claim goes by it."""
    values = {k: v for k, v in (("max_in_flight", max_in_flight), ("rate_per_second", rate_per_second)) if v}
    if values:
        await tx.execute(update(lanes).where(lanes.c.id == lane_id).values(**values))


_PAUSE = text("""
UPDATE lanes SET paused_at = coalesce(paused_at, kassa_now()), pause_cause = :cause, failures = failures + 1,
  probe_at = CASE WHEN CAST(:seconds AS double precision) IS NULL THEN 'infinity'::timestamptz
             ELSE kassa_now() + CAST(:seconds AS double precision) * interval '1 second' END
FROM (SELECT id, paused_at AS before FROM lanes WHERE id = :id FOR UPDATE) old
WHERE lanes.id = old.id RETURNING old.before IS NULL
""")


async def pause(tx: Tx, lane_id: UUID, cause: str, probe_seconds: float | None) -> bool:
    """Stop a lane; with `probe_seconds` it is tried again by itself, without it only a person resumes it.

    True when it was running until now (so that one message tells it, not a hundred).
    """
    fresh: bool | None = (
        await tx.execute(_PAUSE, {"id": lane_id, "cause": cause, "seconds": probe_seconds})
    ).scalar_one_or_none()
    return bool(fresh)


async def resume(tx: Tx, lane_id: UUID, *, only_cause: tuple[str, ...] | None = None) -> bool:
    """Let a lane run again. True when it was paused (by one of `only_cause`, if given)."""
    condition = lanes.c.id == lane_id
    if only_cause is not None:
        condition &= lanes.c.pause_cause.in_(only_cause)
    found = await tx.execute(
        update(lanes)
        .where(condition, lanes.c.paused_at.is_not(None))
        .values(paused_at=None, pause_cause=None, probe_at=None, failures=0, resumed_at=func.kassa_now())
        .returning(lanes.c.id)
    )
    resumed = found.one_or_none() is not None
    if resumed:
        await tx.execute(select(func.pg_notify(CHANNEL, RESUMED)))
    return resumed


async def probe_now(tx: Tx, lane_id: UUID) -> None:
    """Try a paused lane at once instead of at its next probe; one that a person switched off stays off."""
    await tx.execute(
        update(lanes)
        .where(lanes.c.id == lane_id, lanes.c.paused_at.is_not(None), lanes.c.pause_cause != SWITCHED_OFF)
        .values(probe_at=func.kassa_now())
    )


SWITCHED_OFF = "switched_off"
"""A person switched the kassa, endpoint or source off: no probe."""
