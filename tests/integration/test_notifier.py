"""The notifier outlives whatever its connection does: without it work would wait for the next poll."""

import asyncio
from typing import Any

import asyncpg
import pytest

from app.db.unit_of_work import Database
from app.queue.jobs import CHANNEL
from app.queue.notifier import Notifier


class Broken:
    """A connection to a server that is being started: it was opened, and then takes nothing."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.ended = False

    def add_termination_listener(self, _: object) -> None:
        pass

    async def add_listener(self, *_: object) -> None:
        raise self._error

    def terminate(self) -> None:
        self.ended = True


@pytest.mark.parametrize(
    "error", [asyncpg.InternalClientError("cannot switch to state 11"), TimeoutError(), ConnectionResetError()]
)
async def test_it_listens_again_after_any_trouble(
    database: Database, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    broken, real = Broken(error), database.connect
    first: list[Any] = [broken]

    async def connect() -> Any:
        return first.pop() if first else await real()

    monkeypatch.setattr(database, "connect", connect)
    notifier = Notifier(database)
    notifier.start()
    try:
        async with asyncio.timeout(20):
            while not notifier.take_resumed():
                await notifier.wait(1)
        notifier.woken.clear()
        async with database.raw() as connection:
            await connection.execute(f"SELECT pg_notify('{CHANNEL}', '')")
        async with asyncio.timeout(20):
            await notifier.woken.wait()
    finally:
        await notifier.stop()
    assert broken.ended
