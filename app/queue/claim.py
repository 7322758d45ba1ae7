"""T2: lease ready jobs in a batch, by a ring over the lanes, so that no lane starves another.

First the lanes: a recursive skip scan names each lane that has a job due, the lane rows are locked (a lane somebody
else is claiming from is skipped), paused ones are left out; then the jobs: up to each lane's free places, oldest
first. Two statements, because the count of leased jobs must be read after the lane's lock is held.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from app.queue.jobs import Job, JobKind

_LANES = """
WITH RECURSIVE t AS MATERIALIZED (SELECT kassa_now() AS now),
ring AS (
  (SELECT lane, run_at FROM jobs WHERE lease_token IS NULL AND lane > $1 ORDER BY lane, run_at, id LIMIT 1)
  UNION ALL
  SELECT next.lane, next.run_at FROM ring CROSS JOIN LATERAL (
    SELECT lane, run_at FROM jobs WHERE lease_token IS NULL AND lane > ring.lane
    ORDER BY lane, run_at, id LIMIT 1
  ) next
), due AS (
  SELECT l.id FROM ring CROSS JOIN t JOIN lanes l ON l.id = ring.lane
  WHERE ring.run_at <= t.now AND (l.paused_at IS NULL OR l.probe_at <= t.now)
    AND (l.rate_from IS NULL OR l.rate_from <= t.now)
  LIMIT $2
)
SELECT l.id, l.max_in_flight, l.paused_at IS NOT NULL AS probing, l.provider, l.rate_per_second,
  floor(extract(epoch FROM (t.now - coalesce(l.rate_from, '-infinity'))) * l.rate_per_second) AS allowance, t.now
FROM lanes l, t
WHERE l.id IN (SELECT id FROM due)
  AND (l.paused_at IS NULL OR l.probe_at <= t.now)
ORDER BY l.id
FOR UPDATE OF l SKIP LOCKED
"""

_JOBS = """
WITH t AS MATERIALIZED (SELECT kassa_now() AS now),
lane AS (
  SELECT * FROM unnest($1::uuid[], $2::int[], $3::int[], $4::bool[]) AS x(id, cap, room, probing)
), free AS (
  SELECT lane.id, lane.probing, least(lane.room, lane.cap - (
    SELECT count(*) FROM jobs j WHERE j.lane = lane.id AND j.lease_token IS NOT NULL
  )) AS places FROM lane
), picked AS (
  SELECT p.id FROM free CROSS JOIN t CROSS JOIN LATERAL (
    SELECT j.id FROM jobs j
    WHERE j.lease_token IS NULL AND j.lane = free.id AND j.run_at <= t.now
    ORDER BY j.lane, j.run_at, j.id
    LIMIT greatest(free.places, 0)
    FOR UPDATE OF j SKIP LOCKED
  ) p
  LIMIT $5
), leased AS (
  UPDATE jobs SET lease_token = $6, lease_until = t.now + $7 * interval '1 second', attempt = attempt + 1
  FROM picked, t WHERE jobs.id = picked.id
  RETURNING jobs.id, kind, lane, chain, ref, attempt, lease_until
), probed AS (
  UPDATE lanes SET probe_at = t.now + $7 * interval '1 second'
  FROM (SELECT DISTINCT lane FROM leased) u JOIN free ON free.id = u.lane AND free.probing, t
  WHERE lanes.id = u.lane
), paced AS (
  UPDATE lanes SET rate_from = greatest(coalesce(lanes.rate_from, t.now), t.now - interval '1 second')
    + u.taken * interval '1 second' / lanes.rate_per_second
  FROM (SELECT lane, count(*) AS taken FROM leased GROUP BY lane) u, t
  WHERE lanes.id = u.lane AND lanes.rate_per_second IS NOT NULL
)
SELECT leased.*, free.probing FROM leased JOIN free ON free.id = leased.lane ORDER BY leased.lane, leased.id
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one claim leased, the database's time, and where the ring stopped (start there next time)."""

    jobs: tuple[Job, ...]
    now: datetime | None
    cursor: UUID


START = UUID(int=0)


async def claim(
    connection: asyncpg.Connection,
    *,
    token: UUID,
    limit: int,
    lease_seconds: float,
    cursor: UUID = START,
    max_lanes: int = 64,
    provider_limit: int | None = None,
    provider_running: Mapping[str, int] | None = None,
) -> Claim:
    """Lease up to `limit` jobs. A worker holds at most `provider_limit` jobs of one provider, those it already runs
    (`provider_running`) included, so that a slow provider cannot fill it.

    The connection is in a transaction (`Database.raw_transaction`): without one the lanes' locks end too early, and a
    lane would take more than its limit.
    """
    if not connection.is_in_transaction():
        raise RuntimeError("a claim counts under the locks of its lanes: open it within Database.raw_transaction()")
    lanes = await connection.fetch(_LANES, cursor, max_lanes)
    wrapped = not lanes and cursor != START
    if wrapped:
        lanes = await connection.fetch(_LANES, START, max_lanes)
    if not lanes:
        return Claim((), None, START)
    caps = [1 if lane["probing"] else lane["max_in_flight"] for lane in lanes]
    rooms, spent_at = _rooms(lanes, provider_limit, provider_running or {})
    rows = await connection.fetch(
        _JOBS,
        [lane["id"] for lane in lanes],
        caps,
        rooms,
        [lane["probing"] for lane in lanes],
        limit,
        token,
        float(lease_seconds),
    )
    provider_of = {lane["id"]: lane["provider"] for lane in lanes}
    jobs = tuple(
        Job(
            id=row["id"],
            kind=JobKind(row["kind"]),
            lane=row["lane"],
            chain=row["chain"],
            ref=row["ref"],
            attempt=row["attempt"],
            lease_token=token,
            lease_until=row["lease_until"],
            probe=row["probing"],
            provider=provider_of.get(row["lane"]),
        )
        for row in rows
    )
    if len(jobs) >= limit:
        return Claim(jobs, lanes[0]["now"], jobs[-1].lane)
    if spent_at is not None:
        return Claim(jobs, lanes[0]["now"], spent_at)
    return Claim(jobs, lanes[0]["now"], lanes[-1]["id"] if len(lanes) == max_lanes else START)


def _rooms(lanes: list[asyncpg.Record], limit: int | None, running: Mapping[str, int]) -> tuple[list[int], UUID | None]:
    """How many new jobs each lane may give now, by its rate and by what its provider may still take here.

    What a provider may take is dealt out one by one, because a lane that is full elsewhere may not use its share.
    The second value is the lane that got the last of it: the next claim starts behind it, so that the first lanes of
    the ring do not take every place that becomes free.
    """
    rooms = [_by_rate(lane) for lane in lanes]
    if limit is None:
        return rooms, None
    spent_at: UUID | None = None
    for provider in {lane["provider"] for lane in lanes if lane["provider"] is not None}:
        own = [index for index, lane in enumerate(lanes) if lane["provider"] == provider]
        spare = max(limit - running.get(provider, 0), 0)
        if sum(rooms[index] for index in own) <= spare:
            continue
        wanted = {index: rooms[index] for index in own}
        rooms = [0 if index in wanted else room for index, room in enumerate(rooms)]
        while spare:
            for index in own:
                if spare and rooms[index] < wanted[index]:
                    rooms[index] += 1
                    spare -= 1
                    spent_at = lanes[index]["id"]
    return rooms, spent_at


def _by_rate(lane: asyncpg.Record) -> int:
    room: int = lane["max_in_flight"]
    if lane["rate_per_second"] is None or lane["allowance"] is None:
        return room
    return min(room, max(1, int(min(lane["allowance"], lane["rate_per_second"]))))
