"""The run's clock stands while too much waits, and whatever follows it comes that much later."""

import asyncio
import time

import pytest

from tests.chaos.pace import Pace


async def test_it_stands_while_more_waits_than_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chaos.pace._LOOK_SECONDS", 0.01)
    counts = iter((11, 8, 5))
    pace = Pace(lambda: asyncio.sleep(0, next(counts)), most=10)
    pace.start()
    began = time.monotonic()
    looking = asyncio.create_task(pace.look())
    await asyncio.sleep(0)
    await asyncio.gather(looking, pace.until(0.05))
    assert pace.held_seconds > 0
    assert time.monotonic() - began >= 0.05 + pace.held_seconds


async def test_a_database_that_is_away_is_no_backlog() -> None:
    async def away() -> int:
        raise OSError("refused")

    pace = Pace(away, most=0)
    await pace.look()
    assert pace.held_seconds == 0
    await pace.until(0)
