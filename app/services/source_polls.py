"""Polls of sources: each that can be listed is asked again and again, and what it lists goes through intake.

The cursor moves only when a listing has come whole and every event of it is stored, in the transaction that plans the
next poll: a worker that dies in between leaves a poll that is made again, and identity drops the repeats.
"""

import random
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

import structlog

from app.db.repos import source_watch, sources
from app.db.repos.settings import SourceRow
from app.db.unit_of_work import Database, Tx, database_now
from app.domain.backoff import retry_delay
from app.domain.contact import mask_contacts
from app.domain.errors import Busy, Conflict, DuplicateEvent, Invalid, NotFound
from app.domain.event import PaymentEvent
from app.infra.failpoints import Failpoints
from app.infra.metrics import Metrics
from app.ports.registry import Registry
from app.ports.source import Alarm, PollFailed, SourceAdapter
from app.queue import source_polls as queue
from app.queue import work
from app.queue.jobs import Job
from app.services.alarms import contradicted, raise_alarm
from app.services.intake import Intake
from app.services.source_contexts import SourceContexts

log = structlog.get_logger(__name__)

_LONGEST_REASON = 500


class LeaseLost(Exception):
    """Another worker asks this source already."""


class SourcePolls:
    """Runs poll jobs of sources, and sees to it that each source that can be listed has one."""

    def __init__(
        self,
        *,
        database: Database,
        contexts: SourceContexts,
        intake: Intake,
        metrics: Metrics,
        failpoints: Failpoints,
        lease_seconds: float,
        retry_base_seconds: float,
        retry_cap_seconds: float,
        rng: random.Random | None = None,
    ) -> None:
        self._database = database
        self._contexts = contexts
        self._intake = intake
        self._metrics = metrics
        self._failpoints = failpoints
        self._lease = lease_seconds
        self._base = retry_base_seconds
        self._cap = retry_cap_seconds
        self._rng = rng or random.Random()  # noqa: S311

    async def run(self, job: Job) -> None:
        """List once. A source that was switched off, or whose kind cannot be listed any more, ends its job."""
        async with self._database.pipeline() as tx:
            source = await source_watch.locked(tx, job.ref)
            begun_at = await database_now(tx)
            if source is None or not polled(source, self._contexts.adapters):
                await work.finish(tx, job)
                return
        adapter = self._contexts.adapters.get(source.kind)
        try:
            count = await self._list(job, source, adapter)
        except LeaseLost:
            log.warning("source.poll_lease_lost", source_id=str(source.id))
            return
        except PollFailed as failed:
            await self._failed(job, source, str(failed))
            return
        except Busy:
            raise
        except Exception as error:
            # A bug of the adapter: visible like any other failure, and tried again.
            log.exception("source.poll_broken", source_id=str(source.id), kind=source.kind)
            await self._failed(job, source, f"the adapter failed: {type(error).__name__}")
            return
        await self._failpoints.hit("poll.before_cursor")
        async with self._database.pipeline() as tx:
            await source_watch.locked(tx, source.id)
            if not await queue.again(tx, job, adapter.capabilities.poll_seconds, attempt=0):
                return
            await source_watch.listed(tx, source, begun_at)
        self._metrics.source_polls.labels(source.kind, "listed").inc()
        log.debug("source.polled", source_id=str(source.id), events=count)

    async def now(self, merchant_id: UUID, source_id: UUID) -> None:
        """Ask it now; one that is being asked is asked once more. Conflict where it is off or cannot be listed."""
        async with self._database.pipeline() as tx:
            source = await sources.by_id(tx, merchant_id, source_id, lock=True)
            if source is None:
                raise NotFound("There is no such source here.")
            if not _can_be_listed(source, self._contexts.adapters):
                raise Conflict("This kind of source cannot be listed: it reports by itself.")
            if source.status != "active":
                raise Conflict("The source is switched off.", current_state=source.status)
            await queue.now(tx, source_id)

    async def keep(self) -> None:
        """A poll job for each active source that lacks one."""
        kinds = [adapter.code for adapter in self._contexts.adapters if adapter.capabilities.polls]
        if not kinds:
            return
        async with self._database.pipeline() as tx:
            for source_id in await source_watch.without_a_poll(tx, kinds):
                await queue.start(tx, source_id)

    async def _list(self, job: Job, source: SourceRow, adapter: SourceAdapter) -> int:
        since = listed_from(source, adapter.capabilities.poll_overlap_seconds)
        renewed, count = time.monotonic(), 0
        listing = cast(AsyncGenerator[PaymentEvent | Alarm, None], adapter.poll(since, await self._contexts.of(source)))
        async with aclosing(listing):
            async for one in listing:
                if time.monotonic() - renewed > self._lease / 4:
                    await self._renew(job)
                    renewed = time.monotonic()
                await self._take(source, one)
                count += 1
                await self._failpoints.hit("poll.after_event")
        return count

    async def _take(self, source: SourceRow, one: PaymentEvent | Alarm) -> None:
        if isinstance(one, Alarm):
            async with self._database.pipeline() as tx:
                await raise_alarm(tx, source.merchant_id, source.id, one)
            return
        try:
            await self._intake.accept(source.merchant_id, source.id, one, "poll", refuse=False)
        except DuplicateEvent:
            async with self._database.pipeline() as tx:
                await contradicted(tx, source.merchant_id, source.id, one)
        except Invalid as wrong:
            log.warning("source.event_refused", source_id=str(source.id), external_id=one.external_id, why=wrong.detail)

    async def _renew(self, job: Job) -> None:
        async with self._database.pipeline() as tx:
            if not await queue.extend(tx, job, self._lease):
                raise LeaseLost

    async def _failed(self, job: Job, source: SourceRow, why: str) -> None:
        delay = retry_delay(job.attempt, self._rng.random(), base=self._base, cap=self._cap)
        async with self._database.pipeline() as tx:
            await source_watch.locked(tx, source.id)
            if await queue.again(tx, job, delay, attempt=job.attempt):
                await source_watch.not_listed(tx, source, mask_contacts(why)[:_LONGEST_REASON])
        self._metrics.source_polls.labels(source.kind, "failed").inc()
        log.warning("source.poll_failed", source_id=str(source.id), kind=source.kind, attempt=job.attempt)


def polled(source: SourceRow, adapters: Registry[SourceAdapter]) -> bool:
    """Whether this source is to be asked now and then."""
    return source.status == "active" and _can_be_listed(source, adapters)


async def fit_poll(tx: Tx, source: SourceRow, adapters: Registry[SourceAdapter]) -> None:
    """The job that a source should have after it was made or changed, in the same transaction."""
    if polled(source, adapters):
        await queue.start(tx, source.id)
    else:
        await queue.end(tx, source.id)


def listed_from(source: SourceRow, overlap_seconds: float) -> datetime:
    """From when on a source is listed: a little before what was listed last, and never from before it was connected
    (or `starts_at`): those payments had their receipts elsewhere."""
    floor = source.starts_at or source.created_at
    if source.polled_to is None:
        return floor
    return max(floor, source.polled_to - timedelta(seconds=overlap_seconds))


def _can_be_listed(source: SourceRow, adapters: Registry[SourceAdapter]) -> bool:
    return source.kind in adapters and adapters.get(source.kind).capabilities.polls
