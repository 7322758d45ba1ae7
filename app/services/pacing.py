"""Pacing: when to try again, and when to stop a whole lane instead of burning attempts of single receipts."""

import random
from collections import defaultdict
from uuid import UUID

import structlog

from app.db.repos.settings import KassaRow
from app.db.unit_of_work import Database
from app.domain.backoff import poll_delay, retry_delay
from app.domain.errors import Busy
from app.domain.outcome import (
    Accepted,
    CannotTell,
    Fiscalized,
    LookupOutcome,
    NotFound,
    Pending,
    Rejected,
    Scope,
    Unavailable,
    Unknown,
)
from app.ports.kassa import Capabilities
from app.queue import lanes, work
from app.queue.jobs import Job
from app.services.alerts import kassa_paused, kassa_resumed
from app.services.settle import Next

log = structlog.get_logger(__name__)


class Pacing:
    """Delays from pure functions, breakers in the lane's row. `rng` only spreads retries."""

    def __init__(
        self,
        database: Database,
        *,
        retry_base_seconds: float,
        retry_cap_seconds: float,
        freshness_seconds: float,
        visibility_seconds: float | None,
        pause_after_failures: int,
        probe_base_seconds: float,
        probe_cap_seconds: float,
        rng: random.Random | None = None,
    ) -> None:
        self._database = database
        self._base = retry_base_seconds
        self._cap = retry_cap_seconds
        self._freshness = freshness_seconds
        self._visibility = visibility_seconds
        self._threshold = pause_after_failures
        self._probe_base = probe_base_seconds
        self._probe_cap = probe_cap_seconds
        self._rng = rng or random.Random()  # noqa: S311
        self._failures: dict[UUID, int] = defaultdict(int)

    def visibility(self, can: Capabilities) -> float:
        """Seconds for which a registered document may still be invisible; a setting may lower it in tests."""
        return can.visibility_seconds if self._visibility is None else self._visibility

    def settled_after(self, can: Capabilities) -> float:
        """Seconds after a mark from which an absence can count: nothing of that send can still be on its way."""
        return self._freshness + can.wire_seconds + self.visibility(can)

    def first_lookup(self, job: Job, can: Capabilities) -> Next:
        """A look-up may find the document at once; that it finds nothing counts only later.

        Where a resend is the look-up, the attempts add up, so that resends that say nothing become rarer.
        """
        return Next(seconds=min(2.0, self._base), attempt=job.attempt if can.lookup_seconds == 0 else 0)

    def next_lookup(self, job: Job, can: Capabilities) -> Next:
        seconds = retry_delay(job.attempt, self._rng.random(), base=self._base, cap=self._cap)
        return Next(seconds=seconds, attempt=job.attempt)

    def retry(self, job: Job, outcome: LookupOutcome) -> Next:
        """After a certain "not registered". A failure that speaks for the whole kassa or provider costs no attempt."""
        scope = getattr(outcome, "scope", Scope.RECEIPT)
        attempt = job.attempt if scope is Scope.RECEIPT else max(job.attempt - 1, 0)
        wanted = getattr(outcome, "retry_after_seconds", None)
        seconds = retry_delay(job.attempt, self._rng.random(), base=self._base, cap=self._cap)
        if scope is not Scope.RECEIPT:
            # The lane's pause is the wait; the job itself stays first in its order.
            seconds = 0.0
        return Next(seconds=max(seconds, wanted or 0.0), attempt=attempt)

    def poll(self, can: Capabilities, polls_done: int, wanted: float | None) -> Next:
        return Next(seconds=wanted or poll_delay(can.poll_schedule_seconds, polls_done), attempt=polls_done)

    async def heard(self, job: Job, kassa: KassaRow, outcome: LookupOutcome) -> None:
        """Feed the breaker: a refused account stops the lane at once, a silent provider after some failures."""
        try:
            await self._hear(job, kassa, outcome)
        except Busy as away:
            # What the provider said must still be stored; the breaker hears the next answer.
            log.warning("pacing.database_away", kassa_id=str(kassa.id), error=away.detail)

    async def _hear(self, job: Job, kassa: KassaRow, outcome: LookupOutcome) -> None:
        match outcome:
            case Unavailable(cause="rate_limited", retry_after_seconds=seconds):
                await self._pause(job, kassa, "rate_limited", seconds)
            case Unavailable(scope=Scope.KASSA, cause=cause):
                await self._pause(job, kassa, cause)
            case Unavailable(scope=Scope.PROVIDER, cause=cause):
                await self._count(job, kassa, cause)
            case Unavailable(cause="wire_not_sent"):
                # Our own delay (a mark gone stale, no free connection) says nothing of the provider. Only a probe,
                # which has to be given again, keeps the lane waiting.
                if job.probe:
                    await self._count(job, kassa, "provider_down")
            case CannotTell(scope=Scope.KASSA):
                await self._pause(job, kassa, "credentials_refused")
            case Unknown(stuck=None) | CannotTell():
                await self._count(job, kassa, "provider_down")
            case Accepted() | Fiscalized() | Pending() | Rejected() | NotFound() | Unavailable() | Unknown():
                await self._well(job, kassa)

    async def _count(self, job: Job, kassa: KassaRow, cause: str) -> None:
        self._failures[kassa.id] += 1
        if job.probe or self._failures[kassa.id] >= self._threshold:
            await self._pause(job, kassa, cause)

    async def _pause(self, job: Job, kassa: KassaRow, cause: str, seconds: float | None = None) -> None:
        self._failures[kassa.id] = 0
        async with self._database.pipeline() as tx:
            lane = await lanes.read(tx, kassa.id, lock=True)
            if lane is None or lane.pause_cause == lanes.SWITCHED_OFF:
                return
            if lane.paused_at is not None and not job.probe and cause == lane.pause_cause:
                # It was on its way when the lane was paused: the next probe must not come later for it.
                return
            wait = seconds or retry_delay(lane.failures, self._rng.random(), base=self._probe_base, cap=self._probe_cap)
            # A rate limit is not told, and hides no trouble: neither one before it nor one after it.
            untold = lane.pause_cause in (None, "rate_limited")
            if cause == "rate_limited" and lane.pause_cause is not None:
                cause = lane.pause_cause
            await lanes.pause(tx, kassa.id, cause, wait)
            if untold and cause != "rate_limited":
                log.warning("kassa.paused", kassa_id=str(kassa.id), cause=cause, probe_seconds=round(wait, 1))
                await kassa_paused(tx, kassa, cause)

    async def _well(self, job: Job, kassa: KassaRow) -> None:
        self._failures.pop(kassa.id, None)
        if not job.probe:
            return
        async with self._database.pipeline() as tx:
            lane = await lanes.read(tx, kassa.id, lock=True)
            if lane is None or lane.pause_cause == lanes.SWITCHED_OFF:
                return
            if await lanes.resume(tx, kassa.id) and lane.pause_cause != "rate_limited":
                log.info("kassa.resumed", kassa_id=str(kassa.id))
                await kassa_resumed(tx, kassa)

    async def snooze(self, job: Job, seconds: float) -> None:
        """Give the job back for later, as it is."""
        async with self._database.pipeline() as tx:
            await work.snooze(tx, job, seconds)

    async def drop(self, job: Job) -> None:
        """The thing this job was for has moved on."""
        async with self._database.pipeline() as tx:
            await work.finish(tx, job)
