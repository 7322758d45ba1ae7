"""A lane with a rate: no second at the provider holds more than it, not even after a pause."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from app.db.unit_of_work import Database
from app.infra.ids import new_id
from app.queue import lanes
from app.queue.claim import claim
from tests.support import rows

BEGAN = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Clock:
    """`kassa_now()` stands still where it is put, in seconds of the test."""

    def __init__(self, owner: asyncpg.Connection) -> None:
        self._owner = owner

    async def put(self, seconds: float) -> None:
        moment = BEGAN + timedelta(seconds=seconds)
        await self._owner.execute(
            "CREATE OR REPLACE FUNCTION kassa_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
            f"$$ SELECT timestamptz '{moment.isoformat()}' $$"
        )


@pytest.fixture
async def clock(database: Database) -> AsyncIterator[Clock]:
    owner = await asyncpg.connect(database.dsn.asyncpg_dsn)
    yield Clock(owner)
    await owner.close()


async def take(database: Database) -> int:
    """What one claim takes; it is done at once."""
    async with database.raw_transaction() as connection:
        found = await claim(connection, token=new_id(), limit=500, lease_seconds=60)
        await connection.execute("DELETE FROM jobs WHERE lease_token IS NOT NULL")
    return len(found.jobs)


async def a_lane(database: Database, rate: int, jobs: int) -> None:
    merchant, _ = await rows.merchant(database)
    kassa = await rows.kassa(database, merchant, max_in_flight=500)
    async with database.pipeline() as tx:
        await lanes.set_limits(tx, kassa, rate_per_second=rate)
    async with database.raw() as connection:
        await connection.execute(
            "INSERT INTO jobs (id, kind, lane, ref, run_at) SELECT gen_random_uuid(), 1, $1, gen_random_uuid(),"
            " $2::timestamptz - interval '1 hour' FROM generate_series(1, $3)",
            kassa,
            BEGAN,
            jobs,
        )


@pytest.mark.parametrize("rate", [2, 150])
async def test_no_second_holds_more_than_the_rate(database: Database, clock: Clock, rate: int) -> None:
    await a_lane(database, rate, jobs=rate * 8)
    taken: list[tuple[float, int]] = []
    for pause in (0.0, 100.0):
        for step in range(40):
            at = pause + step * 0.05
            await clock.put(at)
            taken.append((at, await take(database)))
    for begin, _ in taken:
        within = sum(n for at, n in taken if begin <= at < begin + 0.999)
        assert within <= rate, f"{within} within the second from {begin}"
    early = sum(n for at, n in taken if at < 50)
    assert early >= rate * 2 * 0.6, f"only {early} in two seconds: the lane is slowed down too much"


async def test_after_a_pause_a_lane_may_take_a_second_at_once_and_then_waits(database: Database, clock: Clock) -> None:
    await a_lane(database, 100, jobs=300)
    await clock.put(0)
    first = await take(database)
    assert 50 <= first <= 100
    assert await take(database) <= 1, "time stands still"
    await clock.put(0.5)
    assert await take(database) == 0, "its second is used up"
