"""Workers that die or freeze at the worst moments: the register's tape says what really happened."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support import rows
from tests.support.processes import worker
from tests.support.world import World, open_world


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path) as found:
        yield found


async def test_kill_in_the_middle_of_two_hundred_receipts(world: World) -> None:
    events = await asyncio.gather(*(world.pay(f"p-{n}", amount=1_000 + n) for n in range(200)))
    async with worker(world) as first:
        await world.until(lambda: _printed(world, 40), seconds=30)
        first.kill()
        await first.wait()
    assert len(await world.tape()) < 200, "it died too late to prove anything"
    await rows.move_time(world.runtime.database, 600)
    async with worker(world):
        for event in events:
            await world.status(event, "fiscalized", seconds=60)
        await world.idle()
    documents = await world.tape()
    assert sorted(d["total"] for d in documents) == [1_000 + n for n in range(200)]


async def test_a_worker_frozen_between_mark_and_send_sends_nothing_afterwards(world: World) -> None:
    event = await world.pay("p-1")
    async with worker(world, failpoints="attempt.after_tx1=stop*1") as frozen:
        await world.until(lambda: _stopped(frozen))
        assert (await world.receipt(event)).status == "sending"
        assert await world.tape() == []
        await rows.move_time(world.runtime.database, 600)
        async with worker(world):
            await world.status(event, "fiscalized", seconds=30)
        frozen.resume()
        row = await world.receipt(event)
        await world.until(lambda: _learned_late(world, row.id))
    assert len(await world.tape()) == 1
    late = "SELECT outcome FROM attempts WHERE receipt_id = :r AND kind = 'submit' ORDER BY marked_at LIMIT 1"
    assert await rows.scalar(world.runtime.database, late, r=row.id) == "unavailable", "it knows that it did not send"
    assert (await world.receipt(event)).status == "fiscalized"


async def test_a_worker_frozen_after_the_answer_changes_nothing_but_is_remembered(world: World) -> None:
    event = await world.pay("p-1")
    async with worker(world, failpoints="provider.after_response=stop*1") as frozen:
        await world.until(lambda: _stopped(frozen))
        assert len(await world.tape()) == 1
        await rows.move_time(world.runtime.database, 600)
        async with worker(world):
            row = await world.status(event, "fiscalized", seconds=30)
        frozen.resume()
        await world.until(lambda: _learned_late(world, row.id))
    assert len(await world.tape()) == 1
    assert (await world.receipt(event)).sequence == 1, "told once"


@pytest.mark.parametrize(
    "point",
    [
        "worker.after_claim",
        "attempt.before_tx1",
        "attempt.after_tx1",
        "provider.after_response",
        "attempt.before_tx2",
        "attempt.after_tx2",
    ],
)
async def test_death_at_each_point_leaves_one_document(world: World, point: str) -> None:
    event = await world.pay("p-1")
    async with worker(world, failpoints=f"{point}=kill*1") as dying:
        assert await dying.wait() == -signal.SIGKILL, "it must have died at the point, not before"
    await rows.move_time(world.runtime.database, 600)
    async with world.working():
        await world.status(event, "fiscalized", seconds=30)
        await world.idle()
    assert len(await world.tape()) == 1


async def _printed(world: World, number: int) -> bool:
    return len(await world.tape()) >= number


async def _stopped(process: object) -> bool:
    return process.stopped  # type: ignore[attr-defined]


async def _learned_late(world: World, receipt_id: object) -> bool:
    told = "SELECT count(*) FROM timeline WHERE receipt_id = :r AND what = 'learned_late'"
    return await rows.scalar(world.runtime.database, told, r=receipt_id) == 1
