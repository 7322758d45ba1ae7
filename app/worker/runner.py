"""The worker: claims jobs up to its free slots, runs each as a task, and stops without leaving anything half done."""

import asyncio
import contextlib
import time
from collections import Counter
from uuid import UUID

import asyncpg
import structlog

from app.db.repos import workers
from app.db.unit_of_work import Database
from app.domain.errors import Busy
from app.infra.clock import DatabaseClock
from app.infra.failpoints import Failpoints
from app.infra.ids import new_id
from app.queue import work
from app.queue.claim import START, claim
from app.queue.jobs import Job
from app.queue.notifier import Notifier
from app.worker.dispatch import Dispatch, Loaded

log = structlog.get_logger(__name__)

_LANES_PER_CLAIM = 64


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
        self._dispatch = dispatch
        self._notifier = notifier
        self._clock = clock
        self._failpoints = failpoints
        self._name = name
        self._version = version
        self._slots = slots
        self._lease = lease_seconds
        self._poll = poll_seconds
        self._shutdown = shutdown_seconds
        self._running: dict[asyncio.Task[None], Job] = {}
        self._stopping = asyncio.Event()
        self._cursor: UUID = START
        self._beat_at = 0.0
        self.done: Counter[str] = Counter()

    async def run(self) -> None:
        """Until `stop`: then finish what runs, give back what was not begun."""
        self._notifier.start()
        try:
            while not self._stopping.is_set():
                try:
                    claimed = await self._claim()
                except (Busy, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                    log.warning("worker.database_away", error=type(error).__name__)
                    await self._pause(0.2)
                    continue
                if not claimed:
                    await self._notifier.wait(self._poll)
        finally:
            await self._drain()
            await self._notifier.stop()

    def stop(self) -> None:
        self._stopping.set()
        self._notifier.woken.set()

    async def _claim(self) -> bool:
        """Claim once and start what came; True when there may be more right now."""
        await self._heartbeat()
        free = self._slots - len(self._running)
        if free <= 0:
            await self._one_done()
            return True
        token = new_id()
        async with self._database.raw_transaction() as connection:
            found = await claim(
                connection,
                token=token,
                limit=free,
                lease_seconds=self._lease,
                cursor=self._cursor,
                max_lanes=_LANES_PER_CLAIM,
                provider_limit=max(self._slots // 2, 1),
                provider_running=Counter(job.provider for job in self._running.values() if job.provider),
            )
        self._cursor = found.cursor
        if found.now is not None:
            self._clock.sync(found.now)
        if not found.jobs:
            return found.cursor != START
        await self._failpoints.hit("worker.after_claim")
        try:
            loaded = await self._dispatch.load(found.jobs)
        except Busy:
            await self._give_back(token)
            raise
        for job in found.jobs:
            task = asyncio.create_task(self._run(job, loaded), name=f"{job.kind.name.lower()}-{job.ref.hex}")
            self._running[task] = job
            task.add_done_callback(self._ended)
        return True

    async def _run(self, job: Job, loaded: Loaded) -> None:
        try:
            await self._dispatch.run(job, loaded)
            self.done[job.kind.name.lower()] += 1
        except Busy as away:
            # The lease brings it back; nothing was decided.
            log.warning("job.database_away", kind=job.kind.name, ref=str(job.ref), error=away.detail)
        except Exception:
            log.exception("job.failed", kind=job.kind.name, ref=str(job.ref), attempt=job.attempt)
            with contextlib.suppress(Busy):
                await self._later(job)

    async def _later(self, job: Job) -> None:
        """A bug in one job must not spin: give it back for later; a marked one is left to rescue, which reconciles."""
        async with self._database.pipeline() as tx:
            await work.snooze_unmarked(tx, job, min(5.0 * 2 ** min(job.attempt, 7), 600.0))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        self._notifier.woken.set()

    async def _one_done(self) -> None:
        await asyncio.wait(list(self._running), return_when=asyncio.FIRST_COMPLETED, timeout=self._poll)

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
            _, late = await asyncio.wait(list(self._running), timeout=self._shutdown)
            tokens = {self._running[task].lease_token for task in late if task in self._running}
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            for token in tokens:
                await self._give_back(token)
        with contextlib.suppress(Busy):
            async with self._database.pipeline() as tx:
                await workers.gone(tx, self._name)
