"""Leases that ran out: an unmarked job runs again, a marked one is never resent but reconciled. What nobody began or
finished costs no attempt: the database may have been away, or its disk full, for hours.

The decision reads `jobs.marked_at` and nothing else: a mark that committed while this statement waited for the row is
seen, because PostgreSQL checks the newest version of the row it updates.
"""

from dataclasses import dataclass

import asyncpg

from app.queue.jobs import CHANNEL, JobKind

_RESCUE = f"""
WITH over AS (
  SELECT id, ref, marked_at FROM jobs
  WHERE lease_token IS NOT NULL AND lease_until < kassa_now() - $1 * interval '1 second'
  ORDER BY ref, id LIMIT $2
), locked AS (
  SELECT r.id FROM receipts r JOIN over ON over.ref = r.id ORDER BY r.id FOR UPDATE OF r
), freed AS (
  UPDATE jobs j SET lease_token = NULL, lease_until = NULL, marked_at = NULL, run_at = kassa_now(),
    kind = CASE WHEN j.marked_at IS NULL THEN j.kind ELSE {JobKind.RECONCILE} END,
    attempt = CASE WHEN j.marked_at IS NULL THEN greatest(j.attempt - 1, 0) ELSE 0 END
  FROM over LEFT JOIN locked ON locked.id = over.ref
  WHERE j.id = over.id AND j.lease_token IS NOT NULL AND j.lease_until < kassa_now() - $1 * interval '1 second'
    AND j.marked_at IS NOT DISTINCT FROM over.marked_at
  RETURNING j.id, j.ref, over.marked_at
), unknown AS (
  UPDATE receipts r SET status = 'unknown', updated_at = kassa_now()
  FROM freed WHERE freed.marked_at IS NOT NULL AND r.id = freed.ref AND r.status = 'sending'
  RETURNING r.id, r.merchant_id
), history AS (
  INSERT INTO timeline (id, merchant_id, receipt_id, at, what, status, actor)
  SELECT kassa_uuid7(), merchant_id, id, kassa_now(), 'lease_lost', 'unknown', 'rescue' FROM unknown
)
SELECT count(*) FILTER (WHERE marked_at IS NULL) AS again, count(*) FILTER (WHERE marked_at IS NOT NULL) AS reconciled,
  (SELECT pg_notify('{CHANNEL}', '') WHERE EXISTS (SELECT 1 FROM freed))
FROM freed
"""


@dataclass(frozen=True, slots=True)
class Rescued:
    """How many jobs run again, and how many became look-ups."""

    again: int
    reconciled: int


async def rescue(connection: asyncpg.Connection, *, grace_seconds: float = 0.0, limit: int = 500) -> Rescued:
    """Free jobs whose lease ended. A marked submit turns its receipt `unknown` and its job into a reconcile."""
    row = await connection.fetchrow(_RESCUE, float(grace_seconds), limit)
    return Rescued(row["again"], row["reconciled"])
