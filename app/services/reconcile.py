"""Reconcile: an unknown outcome is ended by asking the provider by our id; only a proven absence allows a resend."""

from datetime import datetime

import structlog

from app.db.repos import attempts, receipts
from app.db.unit_of_work import Database
from app.domain.decide import (
    Arrival,
    LookupClass,
    Past,
    after_lookup,
    from_evidence,
    lookup_moment,
    without_asking,
)
from app.domain.lifecycle import Happening, Status
from app.domain.outcome import LookupOutcome, Unknown
from app.infra.clock import DatabaseClock
from app.infra.failpoints import Failpoints
from app.infra.ids import new_id
from app.ports.kassa import Capabilities
from app.queue.jobs import Job
from app.services.drivers import Drivers
from app.services.fiscalize import Order, look_up, lookup_class
from app.services.pacing import Pacing
from app.services.settle import Learned, Next, Settle, failure_of

log = structlog.get_logger(__name__)


class Reconcile:
    """Runs reconcile jobs."""

    def __init__(
        self,
        *,
        database: Database,
        settle: Settle,
        drivers: Drivers,
        pacing: Pacing,
        clock: DatabaseClock,
        failpoints: Failpoints,
        limit_seconds: float,
    ) -> None:
        self._database = database
        self._settle = settle
        self._drivers = drivers
        self._pacing = pacing
        self._clock = clock
        self._failpoints = failpoints
        self._limit = limit_seconds

    async def run(self, job: Job, order: Order) -> None:
        """The receipt is `unknown`. The provider's class is judged now, from the first mark."""
        row = order.row
        if row.status != Status.UNKNOWN.value:
            await self._pacing.drop(job)
            return
        driver = self._drivers.driver(order.kassa.provider)
        now = self._clock.now()
        cls = lookup_class(driver.capabilities, row, now, ahead=driver.capabilities.wire_seconds)
        async with self._database.pipeline() as tx:
            earlier = await receipts.earlier_attempts(tx, row.id, row.provider_id)
            asked = await attempts.last_asked(tx, row.id, row.provider_id)
            marked_at = await attempts.last_marked(tx, row.id, row.provider_id)
            known = [] if cls is not LookupClass.D else await attempts.arrivals(tx, row.id, row.provider_id)
        past = Past(earlier.unproven, earlier.evidence)
        if known:
            await self._adopt(job, order, driver.capabilities, known, marked_at)
            return
        if not cls.looks_up:
            await self._without_asking(job, order, driver.capabilities, cls, past)
            return
        call = self._drivers.call(order.kassa, order.merchant_inn, deadline_seconds=driver.capabilities.wire_seconds)
        outcome = await look_up(driver, order, row.provider_id, call)
        await self._failpoints.hit("readback.after_response")
        moment = lookup_moment(
            marked_at,
            asked,
            now,
            settled_after=self._pacing.settled_after(driver.capabilities),
            visibility=self._pacing.visibility(driver.capabilities),
        )
        happening = after_lookup(outcome, order.receipt, cls, past, moment)
        if happening in _GO_ON and self._overdue(row.first_marked_at or row.created_at, now):
            happening = Happening.OVERDUE
        await self._pacing.heard(job, order.kassa, outcome)
        await self._settle.settle(
            job,
            row,
            order.customer,
            Status.UNKNOWN,
            happening,
            Learned(
                new_id(),
                "lookup",
                outcome,
                tuple(call.exchanges),
                proves_absent=happening is Happening.NOT_FOUND,
            ),
            self._follow(job, happening, driver.capabilities, outcome, marked_at, now),
            failure_of(outcome, happening, self._clock.now(), was=Status.UNKNOWN),
        )
        # The other receipts of the claimed batch may be anywhere: asked about, settled, or not begun.
        await self._failpoints.hit("reconcile.mid_batch")

    async def _without_asking(self, job: Job, order: Order, can: Capabilities, cls: LookupClass, past: Past) -> None:
        overdue = self._overdue(order.row.first_marked_at, self._clock.now())
        happening = without_asking(cls, past, overdue=overdue)
        outcome = Unknown("this provider cannot be asked by our id")
        await self._settle.settle(
            job,
            order.row,
            order.customer,
            Status.UNKNOWN,
            happening,
            Learned(new_id(), "decision", outcome),
            self._pacing.next_lookup(job, can),
            failure_of(outcome, happening, self._clock.now()),
        )

    async def _adopt(
        self, job: Job, order: Order, can: Capabilities, known: list[Arrival], marked_at: datetime | None
    ) -> None:
        """Nobody can be asked, but a worker that had lost its lease was told: its answer stands for a look-up."""
        outcome, happening = from_evidence(
            known, order.receipt, lookup_class(can, order.row, marked_at or job.lease_until)
        )
        await self._settle.settle(
            job,
            order.row,
            order.customer,
            Status.UNKNOWN,
            happening,
            Learned(new_id(), "decision", outcome),
            self._pacing.poll(can, 0, None),
            failure_of(outcome, happening, self._clock.now()),
        )

    def _follow(
        self,
        job: Job,
        happening: Happening,
        can: Capabilities,
        outcome: LookupOutcome,
        marked_at: datetime | None,
        now: datetime,
    ) -> Next:
        match happening:
            case Happening.ACCEPTED | Happening.PENDING:
                return self._pacing.poll(can, 0, getattr(outcome, "poll_after_seconds", None))
            case Happening.NOT_FOUND_YET if marked_at is not None:
                left = self._pacing.settled_after(can) - (now - marked_at).total_seconds()
                wait = left if left > 0 else max(self._pacing.visibility(can), 0.1)
                return Next(seconds=wait, attempt=job.attempt)
            case _ if happening in _GO_ON:
                return self._pacing.next_lookup(job, can)
            case _:
                return Next()

    def _overdue(self, first_marked_at: datetime | None, now: datetime) -> bool:
        return first_marked_at is not None and (now - first_marked_at).total_seconds() > self._limit


_GO_ON = (
    Happening.CANNOT_TELL,
    Happening.UNAVAILABLE,
    Happening.UNKNOWN,
    Happening.NOT_FOUND_YET,
    Happening.EVIDENCE,
    Happening.REJECTED_UNPROVEN,
)
