"""T2: lease ready jobs in a batch, by a ring over the lanes, so that no lane starves another.

First the lanes: a recursive skip scan names each lane that has a job due, the lane rows are locked (a lane somebody
else is claiming from is skipped), paused ones are left out; then the jobs: up to each lane's free places, oldest
first. Two statements, because the count of leased jobs must be read after the lane's lock is held.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from app.db.planner import by_index
from app.queue.jobs import Job, JobKind
from app.queue.watermarks import Watermark, lease_token, lowest_token

# The ring steps from lane to lane. `upto` is the next lane whose watermark is known: before it the next lane is looked
# for, on it only what lies behind its watermark is read. So no step reads the jobs that are gone from a known lane.
_LANES = """
WITH RECURSIVE t AS MATERIALIZED (SELECT kassa_now() AS now),
known AS MATERIALIZED (
  SELECT * FROM unnest($3::uuid[], $4::timestamptz[], $5::uuid[], $6::uuid[]) AS x(lane, run_at, id, upto)
), ring AS (
  SELECT $1::uuid AS lane, NULL::timestamptz AS run_at, NULL::uuid AS id, $7::uuid AS upto
  UNION ALL
  SELECT next.lane, next.run_at, next.id, next.upto FROM ring CROSS JOIN LATERAL (
    (SELECT j.lane, j.run_at, j.id, ring.upto FROM jobs j
     WHERE j.lease_token IS NULL AND j.lane > ring.lane AND j.lane < ring.upto
     ORDER BY j.lane, j.run_at, j.id LIMIT 1)
    UNION ALL
    SELECT known.lane, head.run_at, head.id, known.upto FROM known LEFT JOIN LATERAL (
      SELECT j.run_at, j.id FROM jobs j
      WHERE j.lease_token IS NULL AND j.lane = known.lane AND (j.run_at, j.id) > (known.run_at, known.id)
      ORDER BY j.lane, j.run_at, j.id LIMIT 1
    ) head ON true
    WHERE known.lane = ring.upto
    LIMIT 1
  ) next
), due AS MATERIALIZED (
  SELECT ring.lane, ring.run_at, ring.id FROM ring CROSS JOIN t CROSS JOIN LATERAL (
    SELECT 1 FROM lanes l
    WHERE l.id = ring.lane AND (l.paused_at IS NULL OR l.probe_at <= t.now)
      AND (l.rate_from IS NULL OR l.rate_from <= t.now)
    OFFSET 0
  ) open
  WHERE ring.run_at <= t.now
  LIMIT $2
)
SELECT due.lane, due.run_at, due.id, l.id IS NOT NULL AS ours, l.max_in_flight, l.probing, l.provider,
  l.rate_per_second, floor(extract(epoch FROM (t.now - coalesce(l.rate_from, t.now - interval '1 second')))
  * l.rate_per_second) AS allowance, t.now
FROM due CROSS JOIN t LEFT JOIN LATERAL (
  SELECT id, max_in_flight, paused_at IS NOT NULL AS probing, provider, rate_per_second, rate_from
  FROM lanes WHERE id = due.lane AND (paused_at IS NULL OR probe_at <= t.now)
  FOR UPDATE SKIP LOCKED
) l ON true
"""

# A lease token is made from the time, so the leases of a lane stand in the index in the order in which they were given:
# what is counted begins at the oldest that was alive, not at the first that ever was.
_JOBS = """
WITH t AS MATERIALIZED (SELECT kassa_now() AS now),
lane AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::int[], $3::int[], $4::timestamptz[], $5::uuid[], $6::uuid[])
    AS x(id, cap, room, head_at, head_id, lease)
), free AS MATERIALIZED (
  SELECT lane.id, lane.head_at, lane.head_id, least(lane.room, lane.cap - leased.held) AS places, leased.oldest
  FROM lane CROSS JOIN LATERAL (
    SELECT count(*)::int AS held, (array_agg(alive.lease_token))[1] AS oldest FROM (
      SELECT j.lease_token FROM jobs j
      WHERE j.lane = lane.id AND j.lease_token IS NOT NULL AND j.lease_token >= lane.lease
      ORDER BY j.lane, j.lease_token LIMIT lane.cap
    ) alive
  ) leased
), picked AS (
  SELECT p.id, free.oldest FROM free CROSS JOIN t CROSS JOIN LATERAL (
    SELECT j.id FROM jobs j
    WHERE j.lease_token IS NULL AND j.lane = free.id AND j.run_at <= t.now
      AND (j.run_at, j.id) >= (free.head_at, free.head_id)
    ORDER BY j.lane, j.run_at, j.id
    LIMIT greatest(free.places, 0)
    FOR UPDATE OF j SKIP LOCKED
  ) p
  LIMIT $7
)
UPDATE jobs SET lease_token = $8, lease_until = t.now + $9 * interval '1 second', attempt = attempt + 1
FROM picked, t WHERE jobs.id = ANY (ARRAY[picked.id])
RETURNING jobs.id, kind, lane, chain, ref, attempt, lease_until, run_at, picked.oldest
"""

_PROBED = "UPDATE lanes SET probe_at = kassa_now() + $2 * interval '1 second' WHERE id = ANY($1::uuid[])"

_PACE = 0.85
"""Which part of its rate a lane is given, so that no second at the provider holds more than the whole: what was kept
comes on top, and requests do not arrive at the distances at which they were claimed."""

# What was not used is kept for the twentieth part of a second: a full second's worth, kept over a pause, would go out
# on top of the next one's, and the provider would see twice its rate.
_PACED = f"""
UPDATE lanes SET rate_from = greatest(coalesce(rate_from, x.now), x.now - interval '0.05 second')
  + x.taken * interval '1 second' / (rate_per_second * {_PACE}::float8)
FROM (SELECT *, $3::timestamptz AS now FROM unnest($1::uuid[], $2::int[]) AS u(lane, taken)) x
WHERE lanes.id = x.lane AND rate_per_second IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one claim leased, the database's time, and where the ring stopped (start there next time).

    `contended`: another worker was claiming from a lane that has jobs due. `watermarks` hold once it is committed.
    """

    jobs: tuple[Job, ...]
    now: datetime | None
    cursor: UUID
    contended: bool = False
    watermarks: Sequence[Watermark] = ()


START = UUID(int=0)
_END = UUID(int=(1 << 128) - 1)

_LATE = timedelta(seconds=0.5)
"""A watermark stays so far behind the clock: the commit of a job may come later than that of one after it."""


async def claim(
    connection: asyncpg.Connection,
    *,
    limit: int,
    token: UUID | None = None,
    lease_seconds: float,
    cursor: UUID = START,
    max_lanes: int = 64,
    provider_limit: int | None = None,
    provider_running: Mapping[str, int] | None = None,
    known: Sequence[Watermark] = (),
    known_anew: Sequence[Watermark] = (),
) -> Claim:
    """Lease up to `limit` jobs. A worker holds at most `provider_limit` jobs of one provider, those it already runs
    (`provider_running`) included, so that a slow provider cannot fill it. `known` are watermarks of lanes behind
    `cursor`, in order, `known_anew` those of the first lanes, for a ring that ends and begins again. The lease token is
    made from the database's time unless one is given.

    The connection is in a transaction (`Database.raw_transaction`): without one the lanes' locks end too early, and a
    lane would take more than its limit.
    """
    if not connection.is_in_transaction():
        raise RuntimeError("a claim counts under the locks of its lanes: open it within a transaction")
    await by_index(connection)
    seen = await _due(connection, cursor, max_lanes, known)
    if not seen and cursor != START:
        seen, known = await _due(connection, START, max_lanes, known_anew), known_anew
    lanes = sorted((lane for lane in seen if lane["ours"]), key=_lane)
    contended = len(lanes) < len(seen)
    if not lanes:
        return Claim((), None, START, contended)
    now: datetime = lanes[0]["now"]
    token = token or lease_token(now)
    rooms, spent_at = _rooms(lanes, provider_limit, provider_running or {})
    leases = {mark.lane: mark.lease for mark in known}
    rows = await connection.fetch(
        _JOBS,
        [lane["lane"] for lane in lanes],
        [1 if lane["probing"] else lane["max_in_flight"] for lane in lanes],
        rooms,
        [lane["run_at"] for lane in lanes],
        [lane["id"] for lane in lanes],
        [leases.get(lane["lane"], START) for lane in lanes],
        limit,
        token,
        float(lease_seconds),
    )
    of = {lane["lane"]: lane for lane in lanes}
    jobs = tuple(
        Job(
            id=job_id,
            kind=_KINDS[kind],
            lane=lane,
            chain=chain,
            ref=ref,
            attempt=attempt,
            lease_token=token,
            lease_until=lease_until,
            probe=of[lane]["probing"],
            provider=of[lane]["provider"],
        )
        for job_id, kind, lane, chain, ref, attempt, lease_until, _, _ in rows
    )
    taken: dict[UUID, list[asyncpg.Record]] = {}
    for row in rows:
        taken.setdefault(row["lane"], []).append(row)
    await _note_lanes(connection, of, taken, now, lease_seconds)
    if len(jobs) >= limit:
        stopped = max(taken)
    elif spent_at is not None:
        stopped = spent_at
    else:
        stopped = max(map(_lane, seen)) if len(seen) == max_lanes else START
    return Claim(jobs, now, stopped, contended, _watermarks(taken, token, now))


_KINDS = {int(kind): kind for kind in JobKind}


def _lane(row: asyncpg.Record) -> UUID:
    found: UUID = row["lane"]
    return found


async def _due(
    connection: asyncpg.Connection, cursor: UUID, max_lanes: int, known: Sequence[Watermark]
) -> list[asyncpg.Record]:
    lanes = [mark.lane for mark in known]
    found: list[asyncpg.Record] = await connection.fetch(
        _LANES,
        cursor,
        max_lanes,
        lanes,
        [mark.run_at for mark in known],
        [mark.id for mark in known],
        [*lanes[1:], _END][: len(lanes)],
        lanes[0] if lanes else _END,
    )
    return found


async def _note_lanes(
    connection: asyncpg.Connection,
    of: Mapping[UUID, asyncpg.Record],
    taken: Mapping[UUID, Sequence[asyncpg.Record]],
    now: datetime,
    lease_seconds: float,
) -> None:
    probing = [lane for lane in taken if of[lane]["probing"]]
    if probing:
        await connection.execute(_PROBED, probing, float(lease_seconds))
    paced = [lane for lane in taken if of[lane]["rate_per_second"] is not None]
    if paced:
        await connection.execute(_PACED, paced, [len(taken[lane]) for lane in paced], now)


def _watermarks(taken: Mapping[UUID, Sequence[asyncpg.Record]], token: UUID, now: datetime) -> list[Watermark]:
    """Oldest first and none left out: what is still ready in a lane lies behind the last job taken from it."""
    bound, oldest_lease = now - _LATE, lowest_token(now - _LATE)
    found = []
    for lane, rows in taken.items():
        run_at, job_id = max((row["run_at"], row["id"]) for row in rows)
        lease = min(rows[0]["oldest"] or token, token, oldest_lease)
        found.append(Watermark(lane, *min((run_at, job_id), (bound, START)), lease))
    return found


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
                    spent_at = lanes[index]["lane"]
    return rooms, spent_at


def _by_rate(lane: asyncpg.Record) -> int:
    room: int = lane["max_in_flight"]
    if lane["rate_per_second"] is None or lane["allowance"] is None:
        return room
    return min(room, max(1, int(float(min(lane["allowance"], lane["rate_per_second"])) * _PACE)))
