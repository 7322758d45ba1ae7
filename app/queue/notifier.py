"""LISTEN on a connection of its own: wakes sleepers when work appears. Losing it costs speed only, polling goes on."""

import asyncio
import contextlib

import asyncpg
import structlog

from app.db.trouble import TROUBLE
from app.db.unit_of_work import Database
from app.queue.jobs import CHANNEL, RESUMED

log = structlog.get_logger(__name__)


class Notifier:
    """Sets `woken` whenever somebody enqueued or resumed a lane; reconnects by itself."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._task: asyncio.Task[None] | None = None
        self._resumed = False
        self.woken = asyncio.Event()

    def take_resumed(self) -> bool:
        """Whether a lane was resumed since this was last asked."""
        resumed, self._resumed = self._resumed, False
        return resumed

    def start(self) -> None:
        self._task = asyncio.create_task(self._listen(), name="notifier")

    async def stop(self) -> None:
        """End listening; sleepers go by their own time again."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def wait(self, seconds: float) -> None:
        """Until something is enqueued, at most this long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.woken.wait()
        self.woken.clear()

    async def _listen(self) -> None:
        pause = 0.1
        while True:
            try:
                connection: asyncpg.Connection = await self._database.connect()
            except TROUBLE:
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
                continue
            pause = 0.1
            lost = asyncio.Event()
            try:
                connection.add_termination_listener(lambda _: lost.set())  # noqa: B023
                await connection.add_listener(CHANNEL, self._hear)
                self._hear(connection, 0, CHANNEL, RESUMED)
                await lost.wait()
            except TROUBLE:
                log.warning("notifier.lost")
            finally:
                connection.terminate()

    def _hear(self, connection: object, pid: int, channel: str, payload: object) -> None:
        self._resumed = self._resumed or payload == RESUMED
        self.woken.set()
