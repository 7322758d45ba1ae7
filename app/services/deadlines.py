"""The deadline clock at work: people are told of receipts that are not there, late ones wait for a person's word.

An alarm changes nothing of a receipt, so nothing that is under way is disturbed by it. Only a receipt that certainly
was never registered is held as late: an attempt that is not proven absent keeps it on its way (docs/adr/0004).
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from app.db import installation
from app.db.records import TimelineEntry
from app.db.repos import chains, history, overdue, planned, receipts
from app.db.repos.receipts import ReceiptRow
from app.db.unit_of_work import Database, Tx, database_now
from app.domain.deadline import Alarm, Deadline, Step, last_alarm, local_day, next_alarm
from app.domain.errors import Busy, KassaError
from app.domain.lifecycle import Happening, Status, step
from app.domain.receipt import Customer
from app.infra.crypto import CannotOpen, SecretBox
from app.infra.page_links import PageLinks
from app.queue import lanes, work
from app.queue.tell import tell
from app.services.alerts import receipt_overdue
from app.services.catalog import Catalog, MerchantSettings
from app.services.customers import open_customer
from app.services.plan import Planner
from app.services.telling import told
from app.services.views import failure_json

log = structlog.get_logger(__name__)

_BATCH = 50
_ON_ITS_WAY = frozenset(one.value for one in (Status.QUEUED, Status.SENDING, Status.ACCEPTED, Status.UNKNOWN))
"""Here the kassa has the next word."""
_CATCHING_UP = timedelta(hours=1)
"""So long what waited for a paused kassa is not spoken of one by one after it was let go."""


class Deadlines:
    """One look at the clock, made by every worker again and again; what one is at the others leave alone."""

    def __init__(
        self,
        *,
        database: Database,
        catalog: Catalog,
        planner: Planner,
        box: SecretBox,
        links: PageLinks,
        hold_late: bool,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._planner = planner
        self._box = box
        self._links = links
        self._hold_late = hold_late

    async def run(self) -> None:
        """Contacts first: what goes on without one is no longer late."""
        await self.go_on_without_contact()
        if self._hold_late:
            await self.hold_late()
        while await self.remind() == _BATCH:
            pass

    async def remind(self) -> int:
        """Tell of each receipt whose alarm has come, once for all workers; returns how many were looked at.

        While a kassa is paused, `kassa.paused` has told of all that wait for it, and `kassa.resumed` that they go out:
        six hours of a silent provider and the hour after them are one alarm, not one of each payment, until the limit
        itself passes.
        """
        async with self._database.pipeline() as tx:
            taken = await overdue.take_alarms(tx, limit=_BATCH)
            if not taken:
                return 0
            at, moments = await database_now(tx), []
            rows = (await receipts.by_ids(tx, sorted(taken))).values()
            kassas = {row.kassa_id for row in rows if row.kassa_id is not None}
            waited = await lanes.waited_until(tx, kassas, since=at - _CATCHING_UP)
            for row in rows:
                alarm, following = alarms_of(row, at)
                moments.append((row.id, following.at))
                if alarm is not None and not (alarm.step is Step.WARNING and _waits_for(row, waited)):
                    await self._tell(tx, row, alarm, at)
            await overdue.set_alarms(tx, moments)
        return min(len(taken), _BATCH)

    async def _tell(self, tx: Tx, row: ReceiptRow, alarm: Alarm, at: datetime) -> None:
        data = {"step": alarm.step.value, "due_at": row.due_at, "limit_at": row.limit_at}
        await history.add(tx, row.merchant_id, TimelineEntry("overdue", "clock", None, data), receipt_id=row.id)
        await receipt_overdue(tx, row, self._customer(row), alarm, at, self._links)
        log.warning("receipt.overdue", receipt_id=str(row.id), step=alarm.step.value, status=row.status)

    async def hold_late(self) -> None:
        """Past the limit a receipt that was never sent waits for a person, who prints it or makes a correction of it.

        Not while an epoch after a restore is open: what was forgotten may have been sent.
        """
        present = await installation.present(self._database)
        if present is not None and present.opened_at is not None:
            return
        async with self._database.pipeline() as tx:
            found = await overdue.late(tx)
        for merchant_id, receipt_id in found:
            await self._each(merchant_id, receipt_id, self._hold)

    async def _hold(self, tx: Tx, settings: MerchantSettings, receipt_id: UUID) -> None:
        row = await locked(tx, settings.id, receipt_id)
        at = await database_now(tx)
        if row is None or not _is_late(row, at) or not await certainly_not_there(tx, row):
            return
        had_job = await work.has_job(tx, row.id)
        if had_job and not await work.take_unmarked(tx, row.id):
            return
        event = None if row.event_id is None else await planned.of_merchant(tx, row.merchant_id, row.event_id)
        occurred_at = row.created_at if event is None else event.occurred_at
        consequence = step(Status.QUEUED, Happening.DEADLINE_PASSED)
        after = row.changed(
            status=consequence.status.value,
            sequence=row.sequence + 1,
            failure=failure_json("deadline_passed", at=at, due_at=_text(row.due_at), limit_at=_text(row.limit_at)),
            correction_draft=self._draft(row, occurred_at),
            updated_at=at,
        )
        await planned.move_receipt(tx, row, after)
        await overdue.set_draft(tx, row.merchant_id, row.id, after.correction_draft or {})
        entry = TimelineEntry(Happening.DEADLINE_PASSED.value, "clock", after.status, {"failure": after.failure})
        await history.add(tx, row.merchant_id, entry, receipt_id=row.id)
        if consequence.message is not None:
            body = told(consequence.message, after, self._customer(row), at, self._links)
            await tell(
                tx, row.merchant_id, consequence.message.value, body, at, receipt_id=row.id, sequence=after.sequence
            )
        if row.chain_id is not None:
            await self._planner.recount_and_advance(tx, row.chain_id, settings)
        log.warning("receipt.held_late", receipt_id=str(row.id))

    def _draft(self, row: ReceiptRow, occurred_at: datetime) -> dict[str, Any]:
        """What correction would stand for this settlement (54-FZ, art. 4.3 p. 4; tags 1173, 1174): by oneself, of the
        settlement's own local day, with the receipt's operation and sum."""
        document = self._planner.document(row)
        return {
            "kind": "self",
            "operation": row.operation,
            "corrected_date": local_day(occurred_at, document.timezone).isoformat(),
            "total": row.total,
            "ffd": document.ffd.value,
        }

    async def go_on_without_contact(self) -> None:
        """The buyer's contact did not come: the merchant's own address is taken, because a missing receipt costs more
        than one that reached nobody."""
        async with self._database.pipeline() as tx:
            found = await overdue.contacts_not_waited_for(tx)
        for merchant_id, event_id in found:
            await self._each(merchant_id, event_id, self._plan_again)

    async def _plan_again(self, tx: Tx, settings: MerchantSettings, event_id: UUID) -> None:
        event = await planned.of_merchant(tx, settings.id, event_id)
        if event is not None:
            await self._planner.plan_event(tx, event, settings)

    async def _each(
        self, merchant_id: UUID, thing: UUID, action: Callable[[Tx, MerchantSettings, UUID], Awaitable[None]]
    ) -> None:
        """One of many in its own transaction: one that cannot be treated does not keep the others waiting."""
        try:
            settings = await self._catalog.merchant(merchant_id)
            async with self._database.pipeline() as tx:
                await action(tx, settings, thing)
        except Busy:
            raise
        except (KassaError, CannotOpen, ValueError):
            log.exception("deadlines.failed", id=str(thing))

    def _customer(self, row: ReceiptRow) -> Customer | None:
        """The buyer; None where he cannot be read: the reminder matters more."""
        try:
            return open_customer(self._box, row.merchant_id, row.id, row.customer)
        except CannotOpen:
            log.exception("deadlines.buyer_unreadable", receipt_id=str(row.id))
            return None


async def locked(tx: Tx, merchant_id: UUID, receipt_id: UUID) -> ReceiptRow | None:
    """A receipt under its chain's lock and its own, in that order."""
    row = await receipts.by_id(tx, merchant_id, receipt_id)
    if row is None:
        return None
    if row.chain_id is not None:
        await chains.lock(tx, merchant_id, row.chain_id)
    return await receipts.by_id(tx, merchant_id, receipt_id, lock=True)


async def certainly_not_there(tx: Tx, row: ReceiptRow) -> bool:
    """Whether no exchange of this receipt, of any version, may have registered a document."""
    if row.marks == 0 and row.version == 1:
        return True
    earlier = await receipts.earlier_attempts(tx, row.id, row.provider_id)
    return not (earlier.unproven or earlier.evidence or earlier.undecided_ids)


def alarms_of(row: ReceiptRow, now: datetime) -> tuple[Alarm | None, Alarm]:
    """The alarm that this receipt has reached, if any, and the next one."""
    due = row.due_at or row.created_at
    found = Deadline(due, row.limit_at or due)
    return last_alarm(found, row.created_at, now), next_alarm(found, row.created_at, now)


def _waits_for(row: ReceiptRow, waited: Mapping[UUID, datetime]) -> bool:
    """Whether a pause of its kassa is why it is not there yet."""
    until = None if row.kassa_id is None else waited.get(row.kassa_id)
    return until is not None and row.status in _ON_ITS_WAY and row.created_at <= until


def _is_late(row: ReceiptRow, now: datetime) -> bool:
    return (
        row.status == Status.QUEUED.value
        and row.limit_at is not None
        and row.limit_at < now
        and row.correction_draft is None
        and not row.correction
    )


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
