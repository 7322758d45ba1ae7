"""How lanes stand: paused or running, and how much waits in them. Only the pipeline's role may read this."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from app.db.unit_of_work import Tx

MOST_WAITING = 10_000
"""Waiting jobs are counted no further than this."""


@dataclass(frozen=True, slots=True)
class LaneState:
    """One lane; `probe_at` None while paused means that only a person resumes it."""

    id: UUID
    max_in_flight: int
    paused_at: datetime | None
    pause_cause: str | None
    probe_at: datetime | None
    in_flight: int
    waiting: int


_STATES = text(f"""
SELECT l.id, l.max_in_flight, l.paused_at, l.pause_cause,
  CASE WHEN isfinite(l.probe_at) THEN l.probe_at END AS probe_at,
  (SELECT count(*) FROM jobs j WHERE j.lane = l.id AND j.lease_token IS NOT NULL) AS in_flight,
  (SELECT count(*) FROM (
    SELECT 1 FROM jobs j WHERE j.lane = l.id AND j.lease_token IS NULL LIMIT {MOST_WAITING}) w) AS waiting
FROM lanes l WHERE l.merchant_id = :m AND l.id = ANY(:ids)
""")


async def states(tx: Tx, merchant_id: UUID, ids: Sequence[UUID]) -> dict[UUID, LaneState]:
    """The lanes of one merchant's kassas, endpoints or sources, by their ids."""
    if not ids:
        return {}
    found = await tx.execute(_STATES, {"m": merchant_id, "ids": list(ids)})
    return {row.id: LaneState(**row._mapping) for row in found}
