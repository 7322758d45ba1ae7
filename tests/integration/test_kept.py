"""A connection that a loop keeps: planned by index for as long as it lives, and never anybody else's afterwards."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest

from app.db import unit_of_work
from app.db.group_commit import GroupCommitter
from app.db.unit_of_work import Database, Kept
from app.infra.dsn import Dsn

SETTINGS = ("enable_sort", "enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin")


@pytest.fixture
async def single(database_url: str) -> AsyncIterator[Database]:
    database = Database(Dsn.parse(database_url), pool_size=1, max_overflow=0)
    try:
        yield database
    finally:
        await database.close()


async def _planned(connection: asyncpg.Connection) -> set[str]:
    return {await connection.fetchval(f"SHOW {name}") for name in SETTINGS}


async def test_it_is_planned_by_index_and_does_not_go_back_to_the_pool(single: Database) -> None:
    kept = Kept(single, by_index=True)
    for _ in range(2):
        async with kept.raw() as connection:
            assert await _planned(connection) == {"off"}
        async with kept.raw_transaction() as again:
            assert again is connection
    await kept.give_back()
    async with single.raw() as other:
        assert other is not connection
        assert await _planned(other) == {"on"}
        assert connection.is_closed()


async def test_one_of_other_statements_goes_back_as_it_was(single: Database) -> None:
    kept = Kept(single)
    async with kept.raw() as connection:
        assert await _planned(connection) == {"on"}
    await kept.give_back()
    async with single.raw() as other:
        assert other is connection


async def test_one_whose_server_ended_is_replaced_by_one_that_is_planned_too(
    single: Database, database_url: str
) -> None:
    kept = Kept(single, by_index=True)
    async with kept.raw() as connection:
        pid = connection.get_server_pid()
    admin = await asyncpg.connect(database_url)
    try:
        assert await admin.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
    finally:
        await admin.close()
    gone = asyncio.get_running_loop().create_future()
    connection.add_termination_listener(lambda _: gone.done() or gone.set_result(None))
    if not connection.is_closed():
        async with asyncio.timeout(5):
            await gone
    async with kept.raw() as another:
        assert another is not connection
        assert await _planned(another) == {"off"}
    await kept.give_back()


async def test_behind_a_pooler_nothing_is_left_on_the_server(database_url: str) -> None:
    here = Dsn.parse(database_url)
    pooled = Database(here, direct=here, pool_size=1, max_overflow=0)
    kept = Kept(pooled, by_index=True)
    try:
        async with kept.raw() as connection:
            assert await _planned(connection) == {"on"}
    finally:
        await kept.give_back()
        await pooled.close()


@pytest.mark.parametrize(("at_a_turn", "in_parts"), [(2, True), (1 << 30, False)])
async def test_callers_go_on_in_parts_where_the_committer_says_so(
    single: Database, at_a_turn: int, in_parts: bool
) -> None:
    seen: set[int] = set()
    answered: list[int] = []

    async def write(_: asyncpg.Connection, batch: Sequence[int]) -> Sequence[int]:
        assert len(batch) == 6
        return batch

    committer: GroupCommitter[int, int] = GroupCommitter("test", single, write, at_a_turn=at_a_turn)

    async def call(row: int) -> None:
        answered.append(await committer.submit(row))

    async def watch(callers: Sequence[asyncio.Task[Any]]) -> None:
        while not all(one.done() for one in callers):
            seen.add(len(answered))
            await asyncio.sleep(0)

    callers = [asyncio.create_task(call(row)) for row in range(6)]
    await watch(callers)
    await committer.close()
    assert answered == list(range(6))
    assert bool(seen - {0, 6}) is in_parts


async def test_a_row_that_was_put_is_stored_although_its_caller_is_cancelled(single: Database) -> None:
    stored: list[int] = []
    began, go_on = asyncio.Event(), asyncio.Event()

    async def write(_: asyncpg.Connection, batch: Sequence[int]) -> Sequence[int]:
        began.set()
        await go_on.wait()
        stored.extend(batch)
        return batch

    committer: GroupCommitter[int, int] = GroupCommitter("test", single, write, max_batch=1)

    async def call(row: int) -> None:
        await (committer.put(row) if row < 4 else committer.submit(row))

    callers = [asyncio.create_task(call(row)) for row in range(1, 6)]
    await began.wait()
    for cancelled in (callers[0], callers[1], callers[4]):
        cancelled.cancel()
    await asyncio.wait([callers[0], callers[1], callers[4]])
    go_on.set()
    await asyncio.gather(callers[2], callers[3])
    await committer.close()
    assert stored == [1, 2, 3, 4], "put: also when it waits or is on its way; submit: not when it still waits"


async def test_one_that_could_not_be_told_is_not_used(single: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuses(_: asyncpg.Connection) -> None:
        raise ValueError("not now")

    kept = Kept(single, by_index=True)
    with monkeypatch.context() as broken:
        broken.setattr(unit_of_work, "always_by_index", refuses)
        with pytest.raises(ValueError, match="not now"):
            await kept.driver()
    assert await _planned(await kept.driver()) == {"off"}
    await kept.give_back()
