"""Plan and release: refunds and closings are planned under their payment's lock, and given their turn in its order.

A sale is planned at intake. What looks back at a sale (a refund, a closing) is planned here, by a job, while the
chain's row is locked, so that two refunds at once can never take the same kopeck.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from app.db.records import TimelineEntry
from app.db.repos import chains, history, planned, receipts
from app.db.repos.chains import Chain
from app.db.repos.events import EventRow
from app.db.repos.receipts import ReceiptRow
from app.db.repos.settings import SourceRow
from app.db.unit_of_work import Database, Tx, database_now
from app.domain.codec import receipt_from_json
from app.domain.errors import Finding, Invalid
from app.domain.event import EventStatus, EventType, PaymentEvent
from app.domain.ffd import Operation
from app.domain.lifecycle import BLOCKING, Happening, MessageType, Status, step
from app.domain.plan import Held, HeldReason, Missing, Plan, Planned, Refused
from app.domain.receipt import Customer, Receipt
from app.domain.refund import refund_receipt
from app.domain.settlement import settlement_receipt
from app.infra.crypto import SecretBox
from app.queue import work
from app.queue.jobs import Job, JobKind
from app.queue.tell import tell
from app.services.catalog import Catalog, MerchantSettings
from app.services.customers import open_customer, open_event
from app.services.intake import Intake
from app.services.receipt_rows import blank_row, filled_row
from app.services.sales import local_date
from app.services.telling import told
from app.services.views import held_failure

log = structlog.get_logger(__name__)

_ON_THE_WAY = BLOCKING - {Status.QUEUED}
_GONE = (Status.CANCELLED.value, Status.REJECTED.value)
_NOT_COUNTED = (*_GONE, Status.HELD.value)


class Planner:
    """Runs plan and release jobs."""

    def __init__(self, *, database: Database, catalog: Catalog, intake: Intake, box: SecretBox) -> None:
        self._database = database
        self._catalog = catalog
        self._intake = intake
        self._box = box

    async def plan(self, job: Job) -> None:
        """Plan one received event under its chain's lock."""
        async with self._database.pipeline() as tx:
            event = await planned.event(tx, job.ref, lock=False)
            if event is None:
                await work.finish(tx, job)
                return
        settings = await self._catalog.merchant(event.merchant_id, fresh=True)
        async with self._database.pipeline() as tx:
            if not await self._begin(tx, event, job):
                return
            # Read again under the lock: a person may have filled it meanwhile.
            present = await planned.event(tx, job.ref)
            if present is not None:
                await self.plan_event(tx, present, settings)

    async def _begin(self, tx: Tx, event: EventRow, job: Job) -> bool:
        """Locks the chains, then takes the job in the name of its lease (lock order chain, receipt, job)."""
        await self._lock(tx, event)
        return await work.finish(tx, job)

    async def release(self, job: Job) -> None:
        """Something changed in a chain: plan again what waits in it, and give the next receipt its turn."""
        async with self._database.pipeline() as tx:
            merchant_id = await chains.merchant_of(tx, job.ref)
            if merchant_id is None:
                await work.finish(tx, job)
                return
        settings = await self._catalog.merchant(merchant_id, fresh=True)
        async with self._database.pipeline() as tx:
            chain = await chains.lock(tx, merchant_id, job.ref)
            if chain is not None and await work.finish(tx, job):
                await self.release_chain(tx, chain, settings)

    async def release_chain(self, tx: Tx, chain: Chain, settings: MerchantSettings) -> None:
        """The work of a release under a lock that the caller holds."""
        for row in await receipts.of_chain(tx, chain.merchant_id, chain.id):
            if row.status != Status.HELD.value or row.event_id is None:
                continue
            event = await planned.event(tx, row.event_id)
            if event is not None and event.type != EventType.PAYMENT_SUCCEEDED.value:
                await self.plan_event(tx, event, settings)
        await self._advance(tx, chain)

    async def recount_and_advance(self, tx: Tx, chain_id: UUID, settings: MerchantSettings) -> None:
        """After a person moved a receipt: the chain's totals, what waits in it, and whose turn it is."""
        chain = await chains.lock(tx, settings.id, chain_id)
        if chain is not None:
            await self.release_chain(tx, chain, settings)

    async def plan_event(self, tx: Tx, event: EventRow, settings: MerchantSettings, *, strict: bool = False) -> None:
        """Plan an event that waits; its chains are locked by the caller. `strict`: a person waits for the answer, so
        what cannot become a receipt raises Invalid instead of staying held in silence."""
        if event.status not in (EventStatus.RECEIVED.value, EventStatus.HELD.value):
            return
        chain = await self._lock(tx, event)
        source = settings.sources[event.source_id]
        payload = open_event(self._box, event.merchant_id, event.id, event.payload)
        if event.type == EventType.PAYMENT_SUCCEEDED.value:
            await self._sale_again(tx, event, payload, source, settings, chain, strict=strict)
            return
        at = await database_now(tx)
        sale, rows = (None, []) if chain is None else await self._members(tx, chain)
        others = [row for row in rows if row.event_id != event.id]
        plan = self._plan(settings, source, payload, sale, others, named_rate=await self._named_rate(tx, sale))
        before = await receipts.of_event(tx, event.merchant_id, event.id)
        waiting = next((row for row in before if row.status == Status.HELD.value), None)
        if before and waiting is None:
            return
        match plan:
            case Planned(receipts=(), notes=notes):
                reason = {"code": "nothing_to_print", "detail": ", ".join(notes)}
                await planned.set_event(tx, event.merchant_id, event.id, EventStatus.IGNORED.value, reason)
            case Planned(receipts=made, items_origin=origin):
                await self._store(tx, event, payload, source, settings, chain, sale, waiting, made[0], origin, at)
            case Held():
                await self._hold(tx, event, payload, source, settings, chain, waiting, plan, at)
            case Refused(findings=findings):
                await self._hold(tx, event, payload, source, settings, chain, waiting, _as_held(findings), at)

    async def _sale_again(
        self,
        tx: Tx,
        event: EventRow,
        payload: PaymentEvent,
        source: SourceRow,
        settings: MerchantSettings,
        chain: Chain | None,
        *,
        strict: bool,
    ) -> None:
        """A held payment whose data or settings may be there now."""
        held = await receipts.of_event(tx, event.merchant_id, event.id)
        waiting = next((row for row in held if row.status == Status.HELD.value), None)
        if waiting is None or chain is None:
            return
        branch, kassa = self._intake.sales.place_of(settings, source, payload)
        at = await database_now(tx)
        plan = self._intake.sales.plan(settings, source, branch, kassa, payload)
        match plan:
            case Planned(receipts=made, items_origin=origin) if kassa is not None:
                row = filled_row(
                    waiting.changed(
                        status=Status.QUEUED.value,
                        kassa_id=kassa.id,
                        branch_id=branch.id if branch else None,
                        chain_id=chain.id,
                        failure=None,
                    ),
                    made[0],
                    origin,
                )
                new = self._intake.new_receipt(row, made[0].customer)
                if not await planned.rewrite_receipt(tx, waiting, new, sequence=waiting.sequence):
                    return
                await planned.set_event(tx, event.merchant_id, event.id, EventStatus.PLANNED.value, None)
                await history.add(
                    tx, event.merchant_id, TimelineEntry("filled", "planner", row.status), receipt_id=row.id
                )
                await self._advance(tx, chain)
            case Refused(findings=findings) if strict:
                raise Invalid("this cannot become a receipt", findings)
            case Refused(findings=findings):
                await self._hold(tx, event, payload, source, settings, chain, waiting, _as_held(findings), at)
            case Held():
                await self._hold(tx, event, payload, source, settings, chain, waiting, plan, at)
            case _:
                return

    async def _lock(self, tx: Tx, event: EventRow) -> Chain | None:
        """Lock the event's own chain and the one of its sale, in order of id; returns the sale's, or its own."""
        sold_in = None
        if event.payment_id is not None:
            sold_in = await chains.of_payment(tx, event.merchant_id, event.source_id, event.payment_id)
        target = sold_in or event.chain_id
        found = None
        for chain_id in sorted({one for one in (event.chain_id, target) if one is not None}):
            chain = await chains.lock(tx, event.merchant_id, chain_id)
            if chain_id == target:
                found = chain
        return found

    def _plan(
        self,
        settings: MerchantSettings,
        source: SourceRow,
        event: PaymentEvent,
        sale: ReceiptRow | None,
        others: list[ReceiptRow],
        *,
        named_rate: bool,
    ) -> Plan:
        if sale is None:
            return Held(HeldReason.PAYMENT_UNKNOWN, (_PAYMENT_UNKNOWN,))
        if sale.document is None or sale.status in _NOT_COUNTED or sale.kassa_id is None:
            return Held(HeldReason.SALE_NOT_FISCALIZED, (_SALE_NOT_FISCALIZED,))
        sold = self.document(sale)
        refunds = [self.document(row) for row in others if _is_refund(row) and row.status not in _NOT_COUNTED]
        closings = [
            self.document(row)
            for row in others
            if row.id != sale.id and row.operation in _SALES and row.status not in _NOT_COUNTED
        ]
        today = local_date(event.occurred_at, sold.timezone)
        if event.type is EventType.REFUND_SUCCEEDED:
            return refund_receipt(event, sold, [*refunds, *closings], today)
        kassa = settings.kassas[sale.kassa_id]
        branch = settings.branches.get(sale.branch_id) if sale.branch_id else None
        defaults = self._intake.sales.plan_settings(settings, source, branch, kassa).defaults
        rate = None if named_rate else defaults.vat
        return settlement_receipt(event, sold, closings, refunds, today, rate, defaults=defaults)

    async def _named_rate(self, tx: Tx, sale: ReceiptRow | None) -> bool:
        """Whether the sale's source named the rate itself: then the settings' rate does not speak for its closing."""
        if sale is None or sale.event_id is None:
            return False
        event = await planned.of_merchant(tx, sale.merchant_id, sale.event_id)
        if event is None:
            return False
        return any(item.vat for item in open_event(self._box, event.merchant_id, event.id, event.payload).items)

    def document(self, row: ReceiptRow) -> Receipt:
        """A stored receipt as a value, its buyer opened."""
        if row.document is None:
            raise ValueError("a held receipt has no document")
        receipt = receipt_from_json({**row.document, "customer": {}})
        customer = open_customer(self._box, row.merchant_id, row.id, row.customer)
        return replace(receipt, customer=customer or Customer())

    async def _store(
        self,
        tx: Tx,
        event: EventRow,
        payload: PaymentEvent,
        source: SourceRow,
        settings: MerchantSettings,
        chain: Chain | None,
        sale: ReceiptRow | None,
        waiting: ReceiptRow | None,
        receipt: Receipt,
        origin: str,
        at: datetime,
    ) -> None:
        if chain is None or sale is None or sale.kassa_id is None:
            raise ValueError("a planned refund has a sale")
        kassa = settings.kassas[sale.kassa_id]
        branch = settings.branches.get(sale.branch_id) if sale.branch_id else None
        row = waiting or blank_row(
            event.merchant_id, source, branch, kassa, payload, event.id, 1, at, chain_id=chain.id
        )
        row = filled_row(
            row.changed(status=Status.QUEUED.value, kassa_id=kassa.id, chain_id=chain.id, failure=None), receipt, origin
        )
        new = self._intake.new_receipt(row, receipt.customer)
        if waiting is None:
            await planned.add_receipt(tx, new)
        elif not await planned.rewrite_receipt(tx, waiting, new, sequence=waiting.sequence):
            return
        await planned.set_event(tx, event.merchant_id, event.id, EventStatus.PLANNED.value, None, chain.id)
        await history.add(
            tx, event.merchant_id, TimelineEntry("planned", "planner", Status.QUEUED.value), receipt_id=row.id
        )
        await self._advance(tx, chain)

    async def _hold(
        self,
        tx: Tx,
        event: EventRow,
        payload: PaymentEvent,
        source: SourceRow,
        settings: MerchantSettings,
        chain: Chain | None,
        waiting: ReceiptRow | None,
        held: Held,
        at: datetime,
    ) -> None:
        failure = held_failure(held, at)
        if waiting is not None and _same_trouble(waiting.failure, failure):
            return
        row = waiting or blank_row(
            event.merchant_id, source, None, None, payload, event.id, 1, at, chain_id=chain.id if chain else None
        )
        row = row.changed(
            status=Status.HELD.value, sequence=row.sequence + 1, failure=failure, operation=_operation(payload).code
        )
        new = self._intake.new_receipt(row, payload.customer)
        if waiting is None:
            await planned.add_receipt(tx, new)
        elif not await planned.rewrite_receipt(tx, waiting, new, sequence=row.sequence):
            return
        await planned.set_event(tx, event.merchant_id, event.id, EventStatus.HELD.value, failure)
        await self._tell_held(tx, row, payload.customer, at)

    async def _tell_held(self, tx: Tx, row: ReceiptRow, customer: Customer | None, at: datetime) -> None:
        await history.add(
            tx,
            row.merchant_id,
            TimelineEntry("held", "planner", row.status, {"failure": row.failure}),
            receipt_id=row.id,
            event_id=row.event_id,
        )
        await tell(
            tx,
            row.merchant_id,
            MessageType.HELD.value,
            told(MessageType.HELD, row, customer, at, self._intake.links),
            at,
            receipt_id=row.id,
            sequence=row.sequence,
        )

    async def _members(self, tx: Tx, chain: Chain) -> tuple[ReceiptRow | None, list[ReceiptRow]]:
        """A locked chain's sale and all its receipts in their order: the sale first, whenever it was reported."""
        sold_by = await chains.sale_event(tx, chain)
        rows = await receipts.of_chain(tx, chain.merchant_id, chain.id)
        rows.sort(key=lambda row: row.event_id != sold_by)
        sale = next((row for row in rows if row.event_id == sold_by and row.operation in _SALES), None)
        return sale, rows

    async def _advance(self, tx: Tx, chain: Chain) -> None:
        """Give the next receipt its turn; then the chain's totals, the table's CHECKs having the last word."""
        sale, rows = await self._members(tx, chain)
        gone = await self._give_turn(tx, chain, sale, rows)
        counted = [row for row in rows if row.status not in _NOT_COUNTED and row.id not in gone]
        await planned.set_totals(
            tx,
            chain.id,
            # A person may have filled or corrected the sale's amount since it was reported.
            sold=chain.sold if sale is None or sale not in counted else sale.total,
            refunded=sum(row.total for row in counted if _is_refund(row)),
            settled=sum(row.total for row in counted if row.operation in _SALES and row is not sale),
        )

    async def _give_turn(self, tx: Tx, chain: Chain, sale: ReceiptRow | None, rows: list[ReceiptRow]) -> set[UUID]:
        """Strictly in order: the first receipt that waits gets its job when no other is on its way.

        One that was held and filled later waits for those that overtook it. Returns what became held, its sale gone.
        """
        waiting = [row for row in rows if row.status == Status.QUEUED.value]
        if sale is not None and sale.status in _GONE:
            for row in waiting:
                await self._sale_gone(tx, row)
            return {row.id for row in waiting}
        if any(Status(row.status) in _ON_THE_WAY for row in rows):
            return set()
        for row in waiting:
            if await work.has_job(tx, row.id):
                return set()
        first = next((row for row in waiting if row.kassa_id is not None), None)
        if first is not None and first.kassa_id is not None:
            await work.enqueue(tx, JobKind.FISCALIZE, first.kassa_id, first.id, chain=chain.id)
        return set()

    async def _sale_gone(self, tx: Tx, row: ReceiptRow) -> None:
        """The sale was refused or cancelled: what looks back at it would return or close what no receipt sold."""
        at = await database_now(tx)
        consequence = step(Status.QUEUED, Happening.SALE_NOT_FISCALIZED)
        after = row.changed(
            status=consequence.status.value,
            sequence=row.sequence + 1,
            failure=held_failure(Held(HeldReason.SALE_NOT_FISCALIZED, (_SALE_NOT_FISCALIZED,)), at),
            updated_at=at,
        )
        customer = open_customer(self._box, row.merchant_id, row.id, row.customer)
        if not await planned.rewrite_receipt(
            tx, row, self._intake.new_receipt(after, customer), sequence=after.sequence
        ):
            return
        await work.take_unmarked(tx, row.id)
        if row.event_id is not None:
            await planned.set_event(tx, row.merchant_id, row.event_id, EventStatus.HELD.value, after.failure)
        await self._tell_held(tx, after, customer, at)


_SALES = (Operation.SELL.code, Operation.BUY.code)

_PAYMENT_UNKNOWN = Missing(
    "payment_id",
    "#/payment_id",
    "The payment that this refund returns has not been reported yet; it is planned by itself when it comes.",
    "Платёж, который возвращают, ещё не пришёл; возврат продолжится сам, когда он придёт.",
)
_SALE_NOT_FISCALIZED = Missing(
    "payment_id",
    "#/payment_id",
    "The sale has no receipt (it is held, refused or cancelled), so there is nothing that a receipt could return.",
    "У продажи нет чека (он ждёт данных, отклонён или отменён), возвращать чеком нечего.",
)


def _is_refund(row: ReceiptRow) -> bool:
    return Operation.parse(row.operation).is_refund


def _same_trouble(before: dict[str, Any] | None, now: dict[str, Any]) -> bool:
    """Told once: a hold that says nothing new makes no second message."""
    return before is not None and all(before.get(name) == now.get(name) for name in ("code", "missing"))


def _operation(event: PaymentEvent) -> Operation:
    return Operation.SELL_REFUND if event.type is EventType.REFUND_SUCCEEDED else Operation.SELL


def _as_held(findings: tuple[Finding, ...]) -> Held:
    """A report that was acknowledged cannot be refused any more: it waits for a person, with every finding."""
    return Held(HeldReason.DATA_MISSING, tuple(Missing(f.rule, f.pointer, f.detail, f.detail_ru) for f in findings))
