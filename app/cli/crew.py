"""The workers of one program: the first as tasks of this process, further ones as child processes kept alive."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator

import structlog

from app.db.repos import workers
from app.domain.errors import Busy
from app.runtime import Runtime, Worker, open_worker, worker_name
from app.worker.maintenance import stop as stop_task

log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 1.0
_SLOWEST_SECONDS = 30.0
_LIVED_WELL_SECONDS = 60.0


class Crew:
    """Starts, replaces and stops workers; `database_url` and `data_dir` are what a child needs to find the place."""

    def __init__(self, runtime: Runtime, number: int, *, database_url: str, embedded: bool) -> None:
        self._runtime = runtime
        self._number = number
        self._database_url = database_url
        self._embedded = embedded
        self._stopping = asyncio.Event()
        self._worker: Worker | None = None
        self._children: dict[int, asyncio.subprocess.Process] = {}

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """All workers while the block runs; then each finishes or gives back what it has."""
        keepers = [asyncio.create_task(self._keep_own(), name="worker-1")]
        keepers += [asyncio.create_task(self._keep_child(n), name=f"worker-{n}") for n in range(2, self._number + 1)]
        try:
            yield
        finally:
            self._stopping.set()
            if self._worker is not None:
                self._worker.runner.stop()
            for child in self._children.values():
                with contextlib.suppress(ProcessLookupError):
                    child.terminate()
            patience = self._runtime.settings.shutdown_seconds + 5.0
            _, late = await asyncio.wait(keepers, timeout=patience)
            for child in self._children.values():
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
            for task in late:
                task.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)

    async def alive(self) -> bool:
        """Whether every worker has shown its heartbeat."""
        if self._worker is None or len(self._children) < self._number - 1:
            return False
        async with self._runtime.database.pipeline() as tx:
            alive = {one.id for one in await workers.alive(tx)}
        mine = {worker_name(os.getpid(), 1)}
        return alive >= mine | {worker_name(child.pid, number) for number, child in self._children.items()}

    async def _keep_own(self) -> None:
        """A worker that breaks is a bug, and yet receipts must go on being made."""
        while not self._stopping.is_set():
            try:
                async with open_worker(self._runtime) as self._worker:
                    if not self._stopping.is_set():
                        await run_worker(self._worker)
            except Busy as away:
                log.warning("worker.database_away", error=away.detail)
            except Exception:
                log.exception("worker.broke")
            finally:
                self._worker = None
            await self._pause(_AGAIN_SECONDS)

    async def _keep_child(self, number: int) -> None:
        seconds = _AGAIN_SECONDS
        while not self._stopping.is_set():
            began = time.monotonic()
            child = self._children[number] = await self._spawn(number)
            if self._stopping.is_set():
                child.terminate()
            code = await child.wait()
            if self._stopping.is_set():
                return
            log.warning("worker.process_died", number=number, exit_code=code)
            seconds = _AGAIN_SECONDS if time.monotonic() - began > _LIVED_WELL_SECONDS else seconds * 2
            await self._pause(min(seconds, _SLOWEST_SECONDS))

    async def _spawn(self, number: int) -> asyncio.subprocess.Process:
        settings = self._runtime.settings
        arguments = ["-m", "app", "worker", "--number", str(number), "--child-of", str(os.getpid())]
        if self._embedded:
            arguments += ["--keys-in", str(settings.data_dir.resolve())]
        # A session of its own: Ctrl-C in the terminal reaches us first, and we tell the workers in our order.
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            env={
                **os.environ,
                "KASSA_DATABASE_URL": self._database_url,
                "KASSA_EGRESS_ALLOW": settings.egress_allow,
                **({"KASSA_PUBLIC_URL": settings.public_url} if settings.public_url else {}),
            },
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


async def run_worker(worker: Worker) -> None:
    """Its loop until it is told to stop, with its maintenance beside it."""
    maintenance = asyncio.create_task(worker.maintenance.run(), name="maintenance")
    try:
        await worker.runner.run()
    finally:
        await stop_task(maintenance)
