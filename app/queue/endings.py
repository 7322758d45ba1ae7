"""Jobs that end without a settlement: taken away in batches, posts together with what came of them.

A lease token fences each row: a job that is no longer ours stays, and nothing of it is stored.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from app.db.planner import by_index
from app.db.records import columns, names, unnest


class Finished(NamedTuple):
    """A job that leaves nothing behind."""

    job_id: UUID
    lease_token: UUID


class Posted(NamedTuple):
    """A try to post one message. `again_seconds` None ends the job; `status` and `attempts` are the parcel's from now.

    `failed`: the endpoint did not take it. `recovered`: it took this one, and had failed before.
    """

    job_id: UUID
    lease_token: UUID
    attempt: int
    again_seconds: float | None
    delivery_id: UUID
    parcel_id: UUID
    merchant_id: UUID
    message_id: UUID
    endpoint_id: UUID
    status: str
    attempts: int
    outcome: str
    response_status: int | None
    reason: str | None
    response_head: str | None
    duration_ms: int
    failed: bool
    recovered: bool


class Ended(NamedTuple):
    """Whether the job was still ours; for how many seconds its endpoint has taken nothing."""

    ours: bool
    failing_seconds: float = 0.0


Ending = Finished | Posted

_OURS, _LOST = Ended(True), Ended(False)

# By the job's id only: the planner, which sees few leases, would else look for each token among all jobs that share it.
_FINISH = """
DELETE FROM jobs j USING unnest($1::uuid[], $2::uuid[]) AS x(id, token)
WHERE j.id = ANY (ARRAY[x.id]) AND j.lease_token IS NOT DISTINCT FROM x.token RETURNING j.id
"""

# Rows of endpoints are locked first and in order, each is changed once whatever the batch holds for it.
_POST = f"""
WITH p AS MATERIALIZED (
  SELECT * FROM {unnest(Posted, 1)} AS p({names(Posted)})
), endpoints AS MATERIALIZED (
  SELECT w.id FROM webhook_endpoints w
  WHERE w.id IN (SELECT endpoint_id FROM p WHERE failed OR recovered) ORDER BY w.id FOR UPDATE
), ended AS (
  DELETE FROM jobs j USING p
  WHERE j.id = ANY (ARRAY[p.job_id]) AND j.lease_token IS NOT DISTINCT FROM p.lease_token AND p.again_seconds IS NULL
  RETURNING p.*
), again AS (
  UPDATE jobs j SET lease_token = NULL, lease_until = NULL, marked_at = NULL, attempt = p.attempt,
    run_at = kassa_now() + p.again_seconds * interval '1 second'
  FROM p
  WHERE j.id = ANY (ARRAY[p.job_id]) AND j.lease_token IS NOT DISTINCT FROM p.lease_token
    AND p.again_seconds IS NOT NULL
  RETURNING p.*
), own AS MATERIALIZED (
  SELECT * FROM ended UNION ALL SELECT * FROM again
), logged AS (
  INSERT INTO deliveries (id, merchant_id, message_endpoint_id, message_id, endpoint_id, outcome, response_status,
    reason, response_head, duration_ms)
  SELECT delivery_id, merchant_id, parcel_id, message_id, endpoint_id, outcome, response_status, reason, response_head,
    duration_ms FROM own
), moved AS (
  UPDATE message_endpoints m SET status = own.status, attempts = own.attempts,
    delivered_at = CASE WHEN own.status = 'delivered' THEN kassa_now() ELSE m.delivered_at END
  FROM own WHERE m.id = own.parcel_id
), told AS (
  SELECT endpoint_id, bool_or(recovered) AS well FROM own WHERE failed OR recovered GROUP BY endpoint_id
), judged AS (
  UPDATE webhook_endpoints w
  SET failing_since = CASE WHEN told.well THEN NULL ELSE coalesce(w.failing_since, kassa_now()) END
  FROM told JOIN endpoints ON endpoints.id = told.endpoint_id WHERE w.id = told.endpoint_id
  RETURNING w.id, extract(epoch FROM kassa_now() - w.failing_since)::float8 AS seconds
)
SELECT own.job_id, CASE WHEN own.failed THEN judged.seconds END AS seconds
FROM own LEFT JOIN judged ON judged.id = own.endpoint_id
"""


async def end(connection: asyncpg.Connection, batch: Sequence[Ending]) -> list[Ended]:
    """Store a batch in the transaction of its committer. Given again after a lost commit, it changes nothing."""
    finished = [one for one in batch if isinstance(one, Finished)]
    posted = sorted((one for one in batch if isinstance(one, Posted)), key=lambda one: one.job_id)
    found: dict[UUID, Ended] = {}
    await by_index(connection)
    if finished:
        rows = await connection.fetch(_FINISH, [one.job_id for one in finished], [one.lease_token for one in finished])
        found = dict.fromkeys((row[0] for row in rows), _OURS)
    if posted:
        for row in await connection.fetch(_POST, *columns(Posted, posted)):
            found[row[0]] = Ended(True, row[1]) if row[1] else _OURS
    return [found.get(one.job_id, _LOST) for one in batch]
