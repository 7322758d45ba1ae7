"""The worker: claims jobs up to its free slots, runs each as a task, and stops without leaving anything half done.

Claims are made in batches: the next one waits until a quarter of the slots is free, and a moment after the last, so
that the jobs which end meanwhile are made good together. A lone job waits for nothing.
"""

import asyncio
import contextlib
import time
from collections import Counter
from uuid import UUID

import structlog

from app.db.repos import workers
from app.db.trouble import TROUBLE
from app.db.unit_of_work import Database, Kept
from app.domain.errors import Busy
from app.infra.clock import DatabaseClock
from app.infra.failpoints import Failpoints
from app.queue import work
from app.queue.claim import START, Claim, claim
from app.queue.jobs import Job, JobKind
from app.queue.notifier import Notifier
from app.queue.watermarks import Watermarks
from app.worker.dispatch import Dispatch, Loaded

log = structlog.get_logger(__name__)

_LANES_PER_CLAIM = 64

_BREATH = 0.005
"""Seconds from one claim to the next while jobs run: what one claim costs is shared by all that ended meanwhile."""

_NAMES = {kind: kind.name.lower() for kind in JobKind}


class Runner:
    """One worker process's loop."""

    def __init__(
        self,
        *,
        database: Database,
        dispatch: Dispatch,
        notifier: Notifier,
        clock: DatabaseClock,
        failpoints: Failpoints,
        name: str,
        version: str,
        slots: int,
        lease_seconds: float,
        poll_seconds: float,
        shutdown_seconds: float,
    ) -> None:
        self._database = database
        self._kept = Kept(database, by_index=True)
        self._watermarks = Watermarks()
        self._dispatch = dispatch
        self._notifier = notifier
        self._clock = clock
        self._failpoints = failpoints
        self._name = name
        self._version = version
        self._slots = slots
        self._lease_seconds = lease_seconds
        self._poll = poll_seconds
        self._shutdown = shutdown_seconds
        self._running: dict[asyncio.Task[None] | None, Job] = {}
        self._stopping = asyncio.Event()
        self._cursor: UUID = START
        self._providers: Counter[str] = Counter()
        self._enough = max(slots - max(slots // 4, 1), 0)
        self._claimed_at = 0.0
        self._beat_at = 0.0
        self.done: Counter[str] = Counter()

    async def run(self) -> None:
        """Until `stop`: then finish what runs, give back what was not begun."""
        self._notifier.start()
        try:
            while not self._stopping.is_set():
                try:
                    more = await self._claim()
                except (Busy, *TROUBLE) as error:
                    log.warning("worker.database_away", error=_told(error))
                    await self._pause(0.2)
                    continue
                if not more:
                    await self._notifier.wait(self._poll)
                await self._room()
        finally:
            await self._drain()
            await self._kept.give_back()
            await self._notifier.stop()

    def stop(self) -> None:
        self._stopping.set()
        self._notifier.woken.set()

    async def _room(self) -> None:
        """Until a quarter of the slots is free, and until the last claim is a moment ago."""
        while len(self._running) > self._enough and not self._stopping.is_set():
            await self._notifier.wait(self._poll)
        since = time.monotonic() - self._claimed_at
        if self._running and since < _BREATH:
            await asyncio.sleep(_BREATH - since)

    async def _claim(self) -> bool:
        """Claim once and start what came; True when there may be more right now."""
        await self._heartbeat()
        self._claimed_at = time.monotonic()
        if self._notifier.take_resumed():
            self._watermarks.reset()
        found = await self._lease(self._slots - len(self._running))
        took = time.monotonic() - self._claimed_at
        self._cursor = found.cursor
        if found.now is not None:
            self._clock.sync(found.now)
        if not found.jobs:
            if found.contended and found.cursor == START:
                await self._pause(_BREATH)
            return found.contended or found.cursor != START
        self._watermarks.keep(found.watermarks, took)
        await self._failpoints.hit("worker.after_claim")
        try:
            loaded = await self._dispatch.load(found.jobs, self._kept)
        except Busy:
            await self._give_back(found.jobs[0].lease_token)
            raise
        for job in found.jobs:
            self._start(job, loaded)
        return found.contended or found.cursor != START

    async def _lease(self, free: int) -> Claim:
        async with self._kept.raw_transaction() as connection:
            return await claim(
                connection,
                limit=free,
                lease_seconds=self._lease_seconds,
                cursor=self._cursor,
                max_lanes=_LANES_PER_CLAIM,
                provider_limit=max(self._slots // 2, 1),
                provider_running=self._providers,
                known=self._watermarks.behind(self._cursor, _LANES_PER_CLAIM),
                known_anew=self._watermarks.behind(START, _LANES_PER_CLAIM),
            )

    def _start(self, job: Job, loaded: Loaded) -> None:
        if job.provider is not None:
            self._providers[job.provider] += 1
        self._running[asyncio.create_task(self._run(job, loaded))] = job

    async def _run(self, job: Job, loaded: Loaded) -> None:
        try:
            await self._dispatch.run(job, loaded)
            self.done[_NAMES[job.kind]] += 1
        except Busy as away:
            # The lease brings it back; nothing was decided.
            log.warning("job.database_away", kind=job.kind.name, ref=str(job.ref), error=away.detail)
        except Exception:
            log.exception("job.failed", kind=job.kind.name, ref=str(job.ref), attempt=job.attempt)
            with contextlib.suppress(Busy):
                await self._later(job)
        finally:
            # Not in a callback of the task: at this rate each turn of the loop counts.
            self._running.pop(asyncio.current_task(), None)
            if job.provider is not None:
                self._providers[job.provider] -= 1
            self._notifier.woken.set()

    async def _later(self, job: Job) -> None:
        """A bug in one job must not spin: give it back for later; a marked one is left to rescue, which reconciles."""
        async with self._database.pipeline() as tx:
            await work.snooze_unmarked(tx, job, min(5.0 * 2 ** min(job.attempt, 7), 600.0))

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _heartbeat(self) -> None:
        if time.monotonic() < self._beat_at:
            return
        async with self._database.pipeline() as tx:
            await workers.beat(tx, self._name, self._version)
        self._beat_at = time.monotonic() + 10.0

    async def _give_back(self, token: UUID) -> None:
        with contextlib.suppress(Busy):
            async with self._database.pipeline() as tx:
                await work.release_unmarked(tx, token)

    async def _drain(self) -> None:
        if self._running:
            log.info("worker.draining", jobs=len(self._running))
            running = [task for task in self._running if task is not None]
            _, late = await asyncio.wait(running, timeout=self._shutdown)
            tokens = {self._running[task].lease_token for task in late if task in self._running}
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            for token in tokens:
                await self._give_back(token)
        with contextlib.suppress(Busy):
            async with self._database.pipeline() as tx:
                await workers.gone(tx, self._name)


def _told(error: BaseException) -> str:
    """What PostgreSQL says may hold values of rows."""
    return error.detail if isinstance(error, Busy) else type(error).__name__
