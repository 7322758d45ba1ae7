"""Fiscalize: one submit. Verify, mark (T3), call the driver, settle (T4); nothing is sent without a committed mark."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog

from app.db.group_commit import CommitUnknown, GroupCommitter
from app.db.installation import Installation, Known
from app.db.repos import attempts, receipts
from app.db.repos.receipts import ReceiptRow
from app.db.repos.settings import KassaRow
from app.db.unit_of_work import Database
from app.domain.decide import LookupClass, Past, after_submit, before_send, hindrance, lookup_moment
from app.domain.errors import Busy
from app.domain.lifecycle import Happening, Status
from app.domain.outcome import CannotTell, LookupOutcome, Outcome, Scope, Unavailable, Unknown
from app.domain.receipt import Customer, Receipt
from app.infra.clock import DatabaseClock, boottime
from app.infra.failpoints import Failpoints
from app.infra.ids import new_id
from app.ports.kassa import Capabilities, KassaDriver
from app.queue.jobs import Job
from app.queue.mark import Mark, marked_by_me
from app.services.drivers import Call, Drivers
from app.services.pacing import Pacing
from app.services.settle import Learned, Next, Settle, failure_of

log = structlog.get_logger(__name__)

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Order:
    """A receipt with everything that acting on it needs, as read after the claim."""

    row: ReceiptRow
    receipt: Receipt
    customer: Customer
    kassa: KassaRow
    merchant_inn: str


class Fiscalize:
    """Runs fiscalize jobs."""

    def __init__(
        self,
        *,
        database: Database,
        marks: GroupCommitter[Mark, datetime | None],
        settle: Settle,
        drivers: Drivers,
        pacing: Pacing,
        clock: DatabaseClock,
        failpoints: Failpoints,
        freshness_seconds: float,
        wire_margin_seconds: float,
        installation: Known,
    ) -> None:
        self._database = database
        self._marks = marks
        self._settle = settle
        self._drivers = drivers
        self._pacing = pacing
        self._clock = clock
        self._failpoints = failpoints
        self._freshness = freshness_seconds
        self._margin = wire_margin_seconds
        self._installation = installation

    async def run(self, job: Job, order: Order) -> None:
        """Send once, or find out why not. The receipt is `queued` and the job leased."""
        row = order.row
        if row.status != Status.QUEUED.value:
            await self._pacing.drop(job)
            return
        driver = self._drivers.driver(order.kassa.provider)
        if self._installation.state.opened_at is not None:
            # What is not sent because of an epoch meets no mark that would tell that it was closed.
            await self._installation.changed()
        # Once more when an epoch was opened or closed since it was judged whether this may be sent.
        while not await self._submit(job, order, driver, self._installation.state):
            if not await self._installation.changed():
                log.info("fiscalize.not_marked", receipt_id=str(row.id))
                return

    async def _submit(self, job: Job, order: Order, driver: KassaDriver, epoch: Installation) -> bool:
        """False when it could not be marked: then nothing was sent and nothing decided."""
        row = order.row
        if not await self._safe_to_send(job, order, driver, epoch):
            return True
        attempt_id = new_id()
        wire = driver.capabilities.wire_seconds
        past = await self._past(row, attempt_id)
        began = boottime()
        # Opened before the mark: credentials that cannot be read must not leave a receipt that looks sent.
        call = self._drivers.call(
            order.kassa,
            order.merchant_inn,
            not_after=began + self._freshness,
            deadline_seconds=wire,
            created_at=row.created_at,
            resend=past.unproven > 0,
        )
        await self._failpoints.hit("attempt.before_tx1")
        marked_at = await self._mark(job, order, attempt_id, driver.capabilities, epoch)
        if marked_at is None:
            return False
        # A fast provider answers within the latency by which our clock lags: history must not run backwards.
        self._clock.not_before(marked_at)
        await self._failpoints.hit("attempt.after_tx1")
        outcome = await self._send(driver, order, call, wire)
        await self._failpoints.hit("provider.after_response")
        await self._conclude(job, order, driver, attempt_id, outcome, call)
        return True

    async def _mark(
        self, job: Job, order: Order, attempt_id: UUID, can: Capabilities, epoch: Installation
    ) -> datetime | None:
        cls = lookup_class(can, order.row, self._clock.now(), ahead=can.wire_seconds + self._freshness)
        mark = Mark(
            job_id=job.id,
            lease_token=job.lease_token,
            receipt_id=order.row.id,
            merchant_id=order.row.merchant_id,
            kassa_id=order.kassa.id,
            sequence=order.row.sequence,
            provider_id=order.row.provider_id,
            attempt_id=attempt_id,
            worker=self._settle.worker,
            wire_seconds=int(can.wire_seconds + self._freshness + self._margin),
            first_use=order.kassa.first_used_at is None,
            provider=order.kassa.provider,
            base_url=order.kassa.base_url,
            group_key=order.kassa.group_key,
            epoch=epoch.epoch,
            restored_at=epoch.opened_at,
            asks=cls is LookupClass.C,
        )
        try:
            return await self._marks.submit(mark)
        except Busy:
            return None
        except CommitUnknown as lost:
            log.warning("fiscalize.mark_lost", receipt_id=str(order.row.id), error=str(lost))
            # The mark may be stored. Only reading it back allows to send; if that fails too, rescue will reconcile.
            try:
                async with self._database.raw() as connection:
                    return await marked_by_me(connection, job.id, job.lease_token)
            except Busy:
                return None

    async def _send(self, driver: KassaDriver, order: Order, call: Call, wire: float) -> Outcome:
        try:
            async with asyncio.timeout(wire + self._freshness):
                return await driver.submit(order.row.provider_id, order.receipt, call.context)
        except TimeoutError:
            return Unknown("deadline", provider_message="no answer within the deadline")
        except Exception as error:
            # A driver that raises is a bug; the request may have been sent, so nothing is known.
            log.exception("driver.raised", provider=order.kassa.provider, receipt_id=str(order.row.id))
            return Unknown("driver_error", provider_message=type(error).__name__)

    async def _conclude(
        self, job: Job, order: Order, driver: KassaDriver, attempt_id: UUID, outcome: Outcome, call: Call
    ) -> None:
        row = order.row
        past = await self._past(row, attempt_id)
        cls = lookup_class(driver.capabilities, row, self._clock.now())
        happening = after_submit(outcome, order.receipt, cls, past)
        await self._pacing.heard(job, order.kassa, outcome)
        await self._settle.settle(
            job,
            row,
            order.customer,
            Status.SENDING,
            happening,
            Learned(attempt_id, "submit", outcome, tuple(call.exchanges)),
            self._follow(job, outcome, happening, driver.capabilities),
            failure_of(outcome, happening, self._clock.now()),
        )

    def _follow(self, job: Job, outcome: Outcome, happening: Happening, can: Capabilities) -> Next:
        match happening:
            case Happening.ACCEPTED:
                return self._pacing.poll(can, 0, getattr(outcome, "poll_after_seconds", None))
            case Happening.UNAVAILABLE:
                return self._pacing.retry(job, outcome)
            case Happening.UNKNOWN | Happening.REJECTED_UNPROVEN | Happening.EVIDENCE:
                return self._pacing.first_lookup(job, can)
            case _:
                return Next()

    async def _past(self, row: ReceiptRow, attempt_id: UUID | None) -> Past:
        if row.marks == 0:
            return Past()
        tried = 0
        while True:
            try:
                async with self._database.pipeline() as tx:
                    earlier = await receipts.earlier_attempts(tx, row.id, row.provider_id, besides=attempt_id)
            except Busy:
                # The provider has answered: that must not be forgotten because the database is away.
                await self._database.before_again(tried)
                tried += 1
            else:
                return Past(unproven=earlier.unproven, evidence=earlier.evidence)

    async def _safe_to_send(self, job: Job, order: Order, driver: KassaDriver, epoch: Installation) -> bool:
        """Earlier ids are asked for before a new version is sent; what this database may have forgotten sending, too.

        The class is judged for the moment at which the request may arrive, from the first send that may have been: one
        that was forgotten may be as old as the backup.
        """
        row, can = order.row, driver.capabilities
        if row.marks == 0 and row.version == 1 and epoch.opened_at is None:
            return True
        async with self._database.pipeline() as tx:
            earlier = await receipts.earlier_attempts(tx, row.id, row.provider_id)
            marked_at = await attempts.last_marked(tx, row.id, row.provider_id)
        forgotten = epoch.opened_at is not None and (marked_at is None or marked_at < epoch.opened_at)
        # Earlier versions are asked for as well, so the windows run from the first send of any.
        first = earlier.first_marked_at or row.first_marked_at
        if forgotten and first is None:
            first = epoch.forgotten_from or _LONG_AGO
        cls = lookup_class(
            can, row.changed(first_marked_at=first), self._clock.now(), ahead=can.wire_seconds + self._freshness
        )
        found = hindrance(cls, Past(earlier.unproven, earlier.evidence))
        if found is not None:
            await self._hindered(job, order, found, Unknown("an earlier send of it is not proven absent"), None)
            return False
        # Where nobody can be asked, the provider's own refusal of an earlier id is the proof that it was not printed.
        for provider_id in earlier.earlier_ids if cls.looks_up else earlier.undecided_ids:
            if not await self._absent(job, order, driver, cls, provider_id, None):
                return False
        return not forgotten or await self._absent(job, order, driver, cls, row.provider_id, epoch.opened_at)

    async def _absent(
        self,
        job: Job,
        order: Order,
        driver: KassaDriver,
        cls: LookupClass,
        provider_id: str,
        restored_at: datetime | None,
    ) -> bool:
        """Whether the provider has nothing under this id; else the receipt has got its next step already.

        `restored_at`: it is the id about to be sent, which may have been sent until then.
        """
        can, present = driver.capabilities, restored_at is not None
        if not cls.looks_up:
            if present and cls.deduplicates:
                # The send itself is the question: it brings what stands under the id.
                return True
            nobody = CannotTell("this provider cannot be asked by our id")
            await self._hindered(job, order, Happening.UNDECIDABLE, nobody, None)
            return False
        call = self._drivers.call(order.kassa, order.merchant_inn, deadline_seconds=can.wire_seconds)
        asked_at = self._clock.now()
        outcome = await look_up(driver, order, provider_id, call)
        happening = before_send(outcome, present=present)
        follow = None
        if happening is None:
            wait = None if restored_at is None else await self._too_early(order, can, cls, restored_at, asked_at)
            if wait is None:
                return True
            happening, follow = Happening.NOT_FOUND_YET, Next(wait, job.attempt)
        elif happening is Happening.CANNOT_TELL:
            seconds = self._pacing.retry(job, Unavailable("lookup_failed")).seconds
            follow = Next(seconds, job.attempt)
        await self._hindered(job, order, happening, outcome, call, follow, provider_id)
        return False

    async def _too_early(
        self, order: Order, can: Capabilities, cls: LookupClass, restored_at: datetime, asked_at: datetime
    ) -> float | None:
        """Seconds until an absence counts: what was sent just before the restore may not be visible yet, and without
        deduplication it must be confirmed. None when it counts."""
        async with self._database.pipeline() as tx:
            asked = await attempts.last_asked(tx, order.row.id, order.row.provider_id)
        settled, visibility = self._pacing.settled_after(can), self._pacing.visibility(can)
        moment = lookup_moment(restored_at, asked, asked_at, settled_after=settled, visibility=visibility)
        if not moment.visible:
            return settled - (asked_at - restored_at).total_seconds()
        return None if cls.deduplicates or moment.confirmed else max(visibility, 0.1)

    async def _hindered(
        self,
        job: Job,
        order: Order,
        happening: Happening,
        outcome: LookupOutcome,
        call: Call | None,
        follow: Next | None = None,
        provider_id: str | None = None,
    ) -> None:
        """Not sent, and why: the receipt waits, or goes to a look-up or to a person."""
        kind, exchanges = ("decision", ()) if call is None else ("lookup", tuple(call.exchanges))
        waits = happening in (Happening.NOT_FOUND_YET, Happening.CANNOT_TELL)
        await self._settle.settle(
            job,
            order.row,
            order.customer,
            Status.QUEUED,
            happening,
            Learned(new_id(), kind, outcome, exchanges, provider_id=provider_id),
            follow or Next(),
            order.row.failure if waits else failure_of(outcome, happening, self._clock.now()),
        )


def lookup_class(can: Capabilities, row: ReceiptRow, now: datetime, *, ahead: float = 0.0) -> LookupClass:
    """The provider's class for this receipt `ahead` seconds from now: windows run from the first mark, and what is
    asked or sent now may arrive only then."""
    since = 0.0 if row.first_marked_at is None else (now - row.first_marked_at).total_seconds() + ahead
    return can.lookup_class(since)


async def look_up(driver: KassaDriver, order: Order, provider_id: str, call: Call) -> LookupOutcome:
    """Ask by our id; whatever goes wrong proves nothing."""
    try:
        async with asyncio.timeout(driver.capabilities.wire_seconds):
            return await driver.lookup(provider_id, order.receipt, call.context)
    except TimeoutError:
        return CannotTell("no answer within the deadline", scope=Scope.PROVIDER)
    except Exception as error:
        log.exception("driver.raised", provider=order.kassa.provider, receipt_id=str(order.row.id))
        return CannotTell(f"the driver failed: {type(error).__name__}")
