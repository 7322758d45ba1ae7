"""Loops beside the jobs: rescue of lost leases, and the sweep that catches what no event would wake.

Every worker runs them; the statements skip what another one is at, so no leader is needed.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from app.db.repos import planned
from app.db.unit_of_work import Database
from app.domain.errors import Busy
from app.infra.metrics import Metrics
from app.queue import work
from app.queue.jobs import JobKind
from app.queue.replan import replan_held_late
from app.queue.rescue import rescue
from app.services.crm_reports import CrmReports
from app.services.deadlines import Deadlines
from app.services.idempotency import Idempotency
from app.services.overdue import Overdue
from app.services.retention import Limits, Retention
from app.services.silence import Silence
from app.services.source_polls import SourcePolls
from app.services.vat import Vat

log = structlog.get_logger(__name__)

_ASK_FOR_THE_TURN = 600.0


class Maintenance:
    """Runs until cancelled."""

    def __init__(
        self,
        *,
        database: Database,
        overdue: Overdue,
        deadlines: Deadlines,
        vat: Vat,
        idempotency: Idempotency,
        source_polls: SourcePolls,
        crm_reports: CrmReports,
        silence: Silence,
        metrics: Metrics,
        rescue_seconds: float,
        sweep_seconds: float,
        limits: Limits | None,
    ) -> None:
        self._database = database
        self._overdue = overdue
        self._deadlines = deadlines
        self._vat = vat
        self._idempotency = idempotency
        self._source_polls = source_polls
        self._crm_reports = crm_reports
        self._silence = silence
        self._metrics = metrics
        self._rescue_seconds = rescue_seconds
        self._sweep_seconds = sweep_seconds
        self._limits = limits

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(self._rescue_seconds, self.rescue))
            group.create_task(self._every(self._sweep_seconds, self.sweep))
            group.create_task(self._every(_ASK_FOR_THE_TURN, self._vat.review))
            if self._limits is not None:
                group.create_task(self._every(_ASK_FOR_THE_TURN, self.prune))

    async def rescue(self) -> None:
        """Jobs whose worker died or froze: unmarked run again, marked are looked up."""
        async with self._database.raw() as connection:
            found = await rescue(connection)
        if found.again or found.reconciled:
            self._metrics.job_lease_expired.labels("jobs").inc(found.again + found.reconciled)
            log.warning("lease.expired", again=found.again, reconciled=found.reconciled)

    async def sweep(self) -> None:
        """Held refunds whose payment may be there, payments held as their rule came, receipts whose turn came without a
        job, what is overdue; sources without the job that asks them, and those that fell silent."""
        async with self._database.pipeline() as tx:
            for chain_id, source_id in await planned.chains_to_release(tx, age_seconds=self._sweep_seconds):
                await work.enqueue(tx, JobKind.RELEASE, source_id, chain_id, chain=chain_id)
        async with self._database.pipeline() as tx:
            await replan_held_late(tx)
        await self._overdue.run()
        await self._deadlines.run()
        await self._idempotency.prune()
        await self._source_polls.keep()
        await self._crm_reports.keep()
        await self._silence.run()

    async def prune(self) -> None:
        """What has served its time, once a day over all workers."""
        if self._limits is not None:
            await Retention(self._database).daily(self._limits)

    async def _every(self, seconds: float, action: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await action()
            except Busy as away:
                log.warning("maintenance.database_away", error=away.detail)
            except Exception:
                log.exception("maintenance.failed")


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
