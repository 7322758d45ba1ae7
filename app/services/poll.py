"""Poll: ask for the state of an accepted receipt; a callback only makes this come sooner."""

import asyncio
from datetime import datetime

import structlog

from app.db.repos import attempts
from app.db.unit_of_work import Database
from app.domain.decide import LookupMoment, after_poll, lookup_moment
from app.domain.lifecycle import Happening, Status
from app.domain.outcome import CannotTell, LookupOutcome, Scope
from app.infra.clock import DatabaseClock
from app.infra.ids import new_id
from app.ports.kassa import Capabilities, KassaDriver
from app.queue.jobs import Job
from app.services.drivers import Call, Drivers
from app.services.fiscalize import Order
from app.services.pacing import Pacing
from app.services.settle import Learned, Next, Settle, failure_of

log = structlog.get_logger(__name__)


class Poll:
    """Runs poll jobs."""

    def __init__(
        self,
        *,
        database: Database,
        settle: Settle,
        drivers: Drivers,
        pacing: Pacing,
        clock: DatabaseClock,
        limit_seconds: float,
    ) -> None:
        self._database = database
        self._settle = settle
        self._drivers = drivers
        self._pacing = pacing
        self._clock = clock
        self._limit = limit_seconds

    async def run(self, job: Job, order: Order) -> None:
        """The receipt is `accepted`."""
        row = order.row
        if row.status != Status.ACCEPTED.value:
            await self._pacing.drop(job)
            return
        driver = self._drivers.driver(order.kassa.provider)
        call = self._drivers.call(order.kassa, order.merchant_inn, deadline_seconds=driver.capabilities.wire_seconds)
        now = self._clock.now()
        outcome = await self._ask(driver, order, call)
        moment = await self._moment(order, driver.capabilities, now)
        happening = after_poll(outcome, order.receipt, moment)
        if happening in _STILL_WAITING and self._overdue(order):
            happening = Happening.OVERDUE
        await self._pacing.heard(job, order.kassa, outcome)
        await self._settle.settle(
            job,
            row,
            order.customer,
            Status.ACCEPTED,
            happening,
            Learned(new_id(), "poll", outcome, tuple(call.exchanges)),
            self._pacing.poll(driver.capabilities, job.attempt, getattr(outcome, "poll_after_seconds", None))
            if happening in _STILL_WAITING
            else Next(),
            None
            if happening in _STILL_WAITING
            else failure_of(outcome, happening, self._clock.now(), was=Status.ACCEPTED),
        )

    async def _ask(self, driver: KassaDriver, order: Order, call: Call) -> LookupOutcome:
        try:
            async with asyncio.timeout(driver.capabilities.wire_seconds):
                return await driver.poll(
                    order.row.provider_id, order.row.provider_reference, order.receipt, call.context
                )
        except TimeoutError:
            return CannotTell("no answer within the deadline", scope=Scope.PROVIDER)
        except Exception as error:
            log.exception("driver.raised", provider=order.kassa.provider, receipt_id=str(order.row.id))
            return CannotTell(f"the driver failed: {type(error).__name__}")

    async def _moment(self, order: Order, can: Capabilities, now: datetime) -> LookupMoment:
        async with self._database.pipeline() as tx:
            asked = await attempts.last_asked(tx, order.row.id, order.row.provider_id)
            marked_at = await attempts.last_marked(tx, order.row.id, order.row.provider_id)
        return lookup_moment(
            marked_at,
            asked,
            now,
            settled_after=self._pacing.settled_after(can),
            visibility=self._pacing.visibility(can),
        )

    def _overdue(self, order: Order) -> bool:
        since = order.row.first_marked_at
        return since is not None and (self._clock.now() - since).total_seconds() > self._limit


_STILL_WAITING = (
    Happening.PENDING,
    Happening.ACCEPTED,
    Happening.CANNOT_TELL,
    Happening.UNAVAILABLE,
    Happening.UNKNOWN,
)
