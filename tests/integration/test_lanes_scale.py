"""Many lanes, deep ones and paused ones, and two workers that claim: nobody waits for another, and caps hold.

`KASSA_SCALE_LANES` and `KASSA_SCALE_DEEP` raise the figures (10,000 and 100,000 are those of the design).
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
from sqlalchemy import text

from app.db.unit_of_work import Database
from app.infra.ids import new_id
from app.queue import lanes, work
from app.queue.claim import START, Claim, claim
from app.queue.endings import Finished, end
from app.queue.jobs import Job, JobKind
from app.queue.watermarks import Watermark, Watermarks, lease_token, lowest_token
from tests.support import rows

LANES = int(os.environ.get("KASSA_SCALE_LANES", "1000"))
DEEP = int(os.environ.get("KASSA_SCALE_DEEP", "5000"))
CAP = 4

_LANES = """
INSERT INTO lanes (id, kind, merchant_id, provider, max_in_flight)
SELECT kassa_uuid7(), 'kassa', :merchant, 'p' || n % 5, :cap FROM generate_series(1, :count) n RETURNING id
"""
_JOBS = """
INSERT INTO jobs (id, kind, lane, ref, run_at)
SELECT kassa_uuid7(), 7, lane, kassa_uuid7(), kassa_now() - interval '1 minute'
FROM unnest(CAST(:lanes AS uuid[])) lane, generate_series(1, :each)
"""


class Claimer:
    """A worker's side of the queue: claims as the runner does, and gives back how it stood."""

    def __init__(self, database: Database, slots: int = 200) -> None:
        self.database, self.slots = database, slots
        self.watermarks = Watermarks()
        self.cursor = START
        self.held: list[Job] = []
        self.claims = 0

    async def claim(self) -> Claim:
        async with self.database.raw_transaction() as connection:
            found = await claim(
                connection,
                limit=self.slots - len(self.held),
                lease_seconds=60,
                cursor=self.cursor,
                provider_limit=self.slots // 2,
                provider_running=Counter(job.provider for job in self.held if job.provider),
                known=self.watermarks.behind(self.cursor, 64),
                known_anew=self.watermarks.behind(START, 64),
            )
        self.watermarks.keep(found.watermarks)
        self.cursor, self.claims = found.cursor, self.claims + 1
        self.held += found.jobs
        return found

    async def finish(self) -> list[Job]:
        """End what is held."""
        async with self.database.raw_transaction() as connection:
            ended = await end(connection, [Finished(job.id, job.lease_token) for job in self.held])
        assert all(one.ours for one in ended)
        done, self.held = self.held, []
        return done


async def some_lanes(database: Database, count: int, *, cap: int = CAP, each: int = 1) -> list[UUID]:
    merchant, _ = await rows.merchant(database)
    async with database.pipeline() as tx:
        made = await tx.execute(text(_LANES), {"merchant": merchant, "cap": cap, "count": count})
        found = [row.id for row in made]
        await tx.execute(text(_JOBS), {"lanes": found, "each": each})
    return found


@asynccontextmanager
async def pinned(database: Database) -> AsyncIterator[None]:
    """Somebody's forgotten transaction: nothing that is deleted meanwhile goes out of the index."""
    connection = await asyncpg.connect(database.dsn.asyncpg_dsn)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            await connection.fetchval("SELECT count(*) FROM jobs")
            yield
    finally:
        await connection.close()


async def most_in_flight(database: Database) -> int:
    found = await rows.scalar(
        database,
        "SELECT coalesce(max(n), 0) FROM"
        " (SELECT count(*) AS n FROM jobs WHERE lease_token IS NOT NULL GROUP BY lane) x",
    )
    assert isinstance(found, int)
    return found


async def test_every_lane_is_served_in_one_round_whatever_the_deep_one_holds(database: Database) -> None:
    (deep,) = await some_lanes(database, 1, each=DEEP)
    shallow = await some_lanes(database, LANES, each=2)
    off, resumed = shallow[: LANES // 20], shallow[LANES // 20 : LANES // 10]
    async with database.pipeline() as tx:
        for lane in off + resumed:
            await lanes.pause(tx, lane, "provider_down", None)
    claimers = [Claimer(database), Claimer(database)]
    served: Counter[UUID] = Counter()
    rounds = 0
    while len(served.keys() - {deep}) < LANES - len(off):
        found = await asyncio.gather(*(one.claim() for one in claimers))
        assert await most_in_flight(database) <= CAP
        for one in claimers:
            by_provider = Counter(job.provider for job in one.held)
            assert max(by_provider.values(), default=0) <= one.slots // 2
            served.update(job.lane for job in await one.finish())
        rounds += 1
        if rounds == 3:
            async with database.pipeline() as tx:
                for lane in resumed:
                    assert await lanes.resume(tx, lane)
            for one in claimers:
                one.watermarks.reset()
        # 64 lanes a claim and two claimers, each of which sees every lane once a round.
        assert rounds <= 3 * (LANES // 64 + 3), f"{len(served)} of {LANES} lanes after {rounds} rounds"
        assert any(one.jobs for one in found) or rounds < 5
    assert not served.keys() & set(off), "a paused lane was served"
    assert 0 < served[deep] <= rounds * 2 * CAP, "the deep lane took its turns and no more"


async def test_a_deep_lane_is_kept_at_its_cap_and_never_above(database: Database) -> None:
    (deep,) = await some_lanes(database, 1, each=200)
    claimers = [Claimer(database, 50), Claimer(database, 50)]
    taken: list[UUID] = []
    async with pinned(database):
        while len(taken) < 200:
            await asyncio.gather(*(one.claim() for one in claimers))
            held = sum(len(one.held) for one in claimers)
            assert held == min(CAP, 200 - len(taken))
            assert await most_in_flight(database) <= CAP
            for one in claimers:
                taken += [job.id for job in await one.finish()]
    assert len(set(taken)) == 200
    assert await rows.scalar(database, "SELECT count(*) FROM jobs WHERE lane = :lane", lane=deep) == 0


async def test_no_lease_above_the_cap_is_given_while_one_of_another_worker_lives(database: Database) -> None:
    """The count begins at a watermark: leases that were alive before it still count."""
    await some_lanes(database, 1, each=100)
    one, other = Claimer(database), Claimer(database)
    assert len((await one.claim()).jobs) == CAP
    kept, one.held = one.held[:3], one.held[3:]
    for _ in range(10):
        await one.finish()
        assert len((await one.claim()).jobs) == 1
        assert (await other.claim()).jobs == ()
    one.held += kept
    await one.finish()
    assert len((await other.claim()).jobs) == CAP


async def test_what_becomes_ready_below_a_watermark_is_served_when_it_is_forgotten(database: Database) -> None:
    now = [0.0]
    (lane,) = await some_lanes(database, 1, cap=50, each=20)
    claimer = Claimer(database)
    claimer.watermarks = Watermarks(1.0, lambda: now[0])
    assert len((await claimer.claim()).jobs) == 20
    await claimer.finish()
    late = new_id()
    await rows.scalar(
        database,
        "INSERT INTO jobs (id, kind, lane, ref, run_at)"
        " VALUES (:id, 7, :lane, :id, kassa_now() - interval '1 hour') RETURNING id",
        id=late,
        lane=lane,
    )
    assert (await claimer.claim()).jobs == (), "it lies below the watermark"
    now[0] = 1.0
    assert [job.id for job in (await claimer.claim()).jobs] == [late]


async def test_a_ring_that_begins_again_knows_its_watermarks(database: Database) -> None:
    """A full claim stops at its lane, so of one deep lane every claim begins again: it would read all that is gone."""
    (lane,) = await some_lanes(database, 1, cap=50, each=60)
    claimer = Claimer(database, slots=40)
    claimer.watermarks = Watermarks(3600.0)
    assert len((await claimer.claim()).jobs) == 20
    assert claimer.cursor == lane
    await claimer.finish()
    below = new_id()
    await rows.scalar(
        database,
        "INSERT INTO jobs (id, kind, lane, ref, run_at)"
        " VALUES (:id, 7, :lane, :id, kassa_now() - interval '1 hour') RETURNING id",
        id=below,
        lane=lane,
    )
    again = await claimer.claim()
    assert len(again.jobs) == 20
    assert below not in {job.id for job in again.jobs}
    claimer.watermarks.reset()
    await claimer.finish()
    assert below in {job.id for job in (await claimer.claim()).jobs}


async def test_what_is_given_back_or_retried_lies_above_the_watermark(database: Database) -> None:
    """A retry runs from now on, so no watermark hides it, not even in the same second."""
    await some_lanes(database, 1, cap=50, each=5)
    claimer = Claimer(database)
    claimer.watermarks = Watermarks(3600.0)
    (first, *_) = (await claimer.claim()).jobs
    async with database.pipeline() as tx:
        assert await work.snooze(tx, first, 0.0)
    claimer.held.remove(first)
    await claimer.finish()
    assert [job.id for job in (await claimer.claim()).jobs] == [first.id]


async def test_a_job_committed_late_is_not_skipped(database: Database) -> None:
    """Two writers: the later `run_at` commits first and is claimed; the earlier one must not wait for the second."""
    (lane,) = await some_lanes(database, 1, cap=50, each=1)
    claimer = Claimer(database)
    claimer.watermarks = Watermarks(3600.0)
    await claimer.claim()
    async with database.pipeline() as slow:
        assert await work.enqueue(slow, JobKind.INBOUND, lane, new_id())
        async with database.pipeline() as quick:
            assert await work.enqueue(quick, JobKind.INBOUND, lane, new_id())
        assert len((await claimer.claim()).jobs) == 1
    assert len((await claimer.claim()).jobs) == 1


async def test_under_a_pinned_snapshot_a_claim_does_not_read_what_is_gone(database: Database) -> None:
    """Measured by what the server read, not by the clock: an open transaction keeps 3,000 ended jobs in the index."""
    await some_lanes(database, 1, cap=300, each=6000)
    claimer = Claimer(database, 600)
    claimer.watermarks = Watermarks(3600.0)
    read: list[int] = []
    async with pinned(database):
        for _ in range(10):
            assert len((await claimer.claim()).jobs) == 300
            await claimer.finish()
            read.append(await _read_by_a_claim(claimer))
    assert max(read[5:]) < read[0] * 2 + 200, read


async def _read_by_a_claim(claimer: Claimer) -> int:
    """Pages that one claim reads; it is rolled back."""
    connection = await asyncpg.connect(claimer.database.dsn.asyncpg_dsn)
    blocks = "SELECT coalesce(sum(heap_blks_hit + idx_blks_hit), 0)::bigint FROM pg_statio_user_tables"
    try:
        await connection.execute("SET stats_fetch_consistency = none")
        before: int = await connection.fetchval(blocks)
        transaction = connection.transaction()
        await transaction.start()
        await claim(
            connection,
            limit=10,
            lease_seconds=60,
            known=claimer.watermarks.behind(START, 64),
        )
        await transaction.rollback()
        await connection.execute("SELECT pg_stat_force_next_flush()")
        after: int = await connection.fetchval(blocks)
    finally:
        await connection.close()
    return after - before


async def test_a_rate_is_kept_by_the_databases_clock(database: Database) -> None:
    (lane,) = await some_lanes(database, 1, cap=50, each=100)
    async with database.pipeline() as tx:
        await lanes.set_limits(tx, lane, rate_per_second=10)
    claimers = [Claimer(database), Claimer(database)]

    async def taken() -> int:
        total = 0
        for one in claimers * 3:
            total += len((await one.claim()).jobs)
            await one.finish()
        return total

    print("taken")
    assert 1 <= await taken() <= 10
    for second in range(1, 4):
        await rows.move_time(database, second * 5)
        assert 1 <= await taken() <= 10, "what was not used of five seconds is not saved up"


def test_a_lease_token_stands_behind_every_older_one() -> None:
    start = datetime(2026, 11, 23, 12, tzinfo=UTC)
    tokens = [lease_token(start + timedelta(milliseconds=n)) for n in range(100)]
    assert tokens == sorted(tokens)
    for n, token in enumerate(tokens):
        assert lowest_token(start + timedelta(milliseconds=n)) <= token
        assert lowest_token(start + timedelta(milliseconds=n + 1)) > token


def test_watermarks_are_given_in_the_order_of_the_ring() -> None:
    known = Watermarks(3600.0)
    ids = sorted(new_id() for _ in range(10))
    at = datetime(2026, 11, 23, tzinfo=UTC)
    known.behind(START, 64)
    known.keep([Watermark(lane, at, lane, START) for lane in reversed(ids)])
    assert [one.lane for one in known.behind(ids[3], 4)] == ids[4:8]
    assert [one.lane for one in known.behind(START, 64)] == ids
    known.reset()
    assert known.behind(START, 64) == []
