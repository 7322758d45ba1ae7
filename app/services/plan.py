"""Plan and release: refunds and closings are planned under their payment's lock, and given their turn in its order.

A sale is planned at intake. What looks back at a sale (a refund, a closing) is planned here, by a job, while the
chain's row is locked, so that two refunds at once can never take the same kopeck.
"""

import time
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from app.db.records import TimelineEntry
from app.db.repos import chains, history, planned, prepayments, receipts
from app.db.repos.chains import Chain
from app.db.repos.events import EventRow
from app.db.repos.receipts import ReceiptRow
from app.db.repos.settings import BranchRow, KassaRow, SourceRow
from app.db.unit_of_work import Database, Tx, database_now
from app.domain.errors import Invalid
from app.domain.event import EventStatus, EventType, PaymentEvent
from app.domain.ffd import Operation
from app.domain.lifecycle import Status
from app.domain.plan import Held, HeldReason, Missing, Planned, Refused
from app.domain.reading import offsets
from app.domain.receipt import Receipt
from app.infra.crypto import SecretBox
from app.infra.tracing import Tracing
from app.ports.registry import Registry
from app.ports.source import Alarm, SourceAdapter
from app.queue import work
from app.queue.accept import CLASH
from app.queue.jobs import Job
from app.services import traces
from app.services.alarms import raise_alarm
from app.services.catalog import Catalog, MerchantSettings
from app.services.customers import open_event, seal_event
from app.services.giving_up import give_up
from app.services.intake import Intake
from app.services.look_back import Draft, LookBack, as_held, kept, lines_json
from app.services.receipt_rows import blank_row, filled_row
from app.services.story import Stories, offsets_others
from app.services.turns import Turns
from app.services.views import held_failure

_EARLY_SECONDS = 1.0
_EARLY_AT_MOST = 60.0
_LATE = "deadline_passed"


@dataclass(frozen=True, slots=True)
class _Case:
    """One event that is being planned; `chain` is locked, `waiting` its held receipt."""

    event: EventRow
    payload: PaymentEvent
    source: SourceRow
    settings: MerchantSettings
    chain: Chain | None
    waiting: ReceiptRow | None
    at: datetime
    began: int = field(default_factory=time.time_ns)


class Planner:
    """Runs plan and release jobs."""

    def __init__(
        self,
        *,
        database: Database,
        catalog: Catalog,
        intake: Intake,
        box: SecretBox,
        sources: Registry[SourceAdapter],
        tracing: Tracing,
    ) -> None:
        self._database = database
        self._sources = sources
        self._catalog = catalog
        self._intake = intake
        self._box = box
        self._tracing = tracing
        self._stories = Stories(box)
        self._turns = Turns(intake, self._stories, box)
        self._look_back = LookBack(intake.sales, self._stories, box)

    async def plan(self, job: Job) -> None:
        """Plan one received event under its chain's lock."""
        async with self._database.pipeline() as tx:
            event = await planned.event(tx, job.ref, lock=False)
            if event is None:
                await work.finish(tx, job)
                return
        settings = await self._catalog.merchant(event.merchant_id, fresh=True)
        async with self._database.pipeline() as tx:
            # Locks the chains, then takes the job in the name of its lease (lock order chain, receipt, job).
            scope = await self._look_back.lock(tx, event, self._payload(event))
            if event.status == EventStatus.RECEIVED.value and await self._look_back.too_early(tx, event, scope):
                await work.snooze(tx, job, min(_EARLY_SECONDS * job.attempt, _EARLY_AT_MOST))
                return
            if not await work.finish(tx, job):
                return
            # A refund that was reported after a closing is planned after it, whichever job comes first.
            before = (
                []
                if event.chain_id is None
                else await chains.reported_before(tx, event.merchant_id, event.chain_id, event.id)
            )
            for event_id in (*before, job.ref):
                # Read again under the lock: a person may have filled it meanwhile.
                present = await planned.event(tx, event_id)
                if present is not None:
                    await self.plan_event(tx, present, settings)

    async def release(self, job: Job) -> None:
        """Something changed in a chain: plan again what waits in it, and give the next receipt its turn."""
        async with self._database.pipeline() as tx:
            merchant_id = await chains.merchant_of(tx, job.ref)
            if merchant_id is None:
                await work.finish(tx, job)
                return
            # Only what is held is planned again, and perhaps because the settings were changed a moment ago.
            plans = await receipts.holds(tx, merchant_id, job.ref)
        settings = await self._catalog.merchant(merchant_id, fresh=plans)
        async with self._database.pipeline() as tx:
            chain = await chains.lock(tx, merchant_id, job.ref)
            if chain is not None and await work.finish(tx, job):
                await self.release_chain(tx, chain, settings)

    async def release_chain(self, tx: Tx, chain: Chain, settings: MerchantSettings) -> None:
        """The work of a release under a lock that the caller holds."""
        present: Chain | None = chain
        rows = await receipts.of_chain(tx, chain.merchant_id, chain.id)
        for row in rows:
            if row.status != Status.HELD.value or row.event_id is None:
                continue
            event = await planned.event(tx, row.event_id)
            if event is not None and (event.type != EventType.PAYMENT_SUCCEEDED.value or offsets(self._payload(event))):
                await self.plan_event(tx, event, settings)
                # What was planned just now may have told the chain what it sold.
                present = await chains.lock(tx, chain.merchant_id, chain.id)
        await self._turns.advance(tx, present or chain)
        if chain.of_order or any(offsets_others(row) for row in rows):
            await self._turns.recount_drawn(tx, chain)

    async def recount_and_advance(self, tx: Tx, chain_id: UUID, settings: MerchantSettings) -> None:
        """After a person moved a receipt: the chain's totals, what waits in it, and whose turn it is.

        Conflict when the receipt takes what others have taken meanwhile.
        """
        chain = await chains.lock(tx, settings.id, chain_id)
        if chain is None:
            return
        drawn_on = [chain]
        rows = await receipts.of_chain(tx, chain.merchant_id, chain.id)
        if chain.of_order or any(offsets_others(row) for row in rows):
            for one in await prepayments.drawn_by(tx, chain.merchant_id, [row.id for row in rows]):
                payment = await chains.lock(tx, chain.merchant_id, one)
                drawn_on += [] if payment is None else [payment]
        for one_of_them in drawn_on:
            await self._turns.must_hold(tx, one_of_them)
        await self.release_chain(tx, chain, settings)

    async def plan_event(
        self, tx: Tx, event: EventRow, settings: MerchantSettings, *, strict: bool = False, other_money: bool = False
    ) -> None:
        """Plan an event that waits; its chains are locked by the caller. `strict`: a person waits for the answer, so
        what cannot become a receipt raises Invalid instead of staying held in silence."""
        if event.status == EventStatus.IGNORED.value:
            await self._made_twice(tx, event)
            return
        if event.status not in (EventStatus.RECEIVED.value, EventStatus.HELD.value):
            return
        payload = self._payload(event)
        scope = await self._look_back.lock(tx, event, payload)
        before = await receipts.of_event(tx, event.merchant_id, event.id)
        waiting = next((row for row in before if row.status == Status.HELD.value), None)
        if before and waiting is None:
            return
        if waiting is not None and _code(waiting) == _LATE:
            # It lacks nothing: the deadline clock holds it, until a person says how it is made.
            return
        source = settings.sources[event.source_id]
        case = _Case(event, payload, source, settings, scope.home, waiting, await database_now(tx))
        if (event.reason or {}).get("code") == CLASH:
            await self._contradicts(tx, case)
            return
        if payload.question is not None:
            answered = self._reconsidered(source, payload)
            if answered is None:
                await self._not_wanted(tx, case)
                return
            if answered != payload:
                case, payload = replace(case, payload=answered), answered
                sealed = seal_event(self._box, event.merchant_id, event.id, answered)
                await planned.set_payload(tx, event.merchant_id, event.id, sealed, answered.amount, answered.order_id)
        if event.type == EventType.PAYMENT_SUCCEEDED.value and not offsets(payload):
            await self._sale_again(tx, case, strict=strict)
            return
        draft = await self._look_back.plan(tx, settings, source, event, payload, scope, other_money=other_money)
        if draft.matched is not None:
            case = replace(case, chain=draft.matched)
        match draft.plan:
            case Planned(receipts=(), notes=notes):
                reason = {"code": "nothing_to_print", "detail": ", ".join(notes)}
                await self._decided(tx, case, EventStatus.IGNORED, reason)
                if waiting is not None:
                    await give_up(tx, waiting, "planner", reason, case.at, self._box, self._intake.links)
            case Planned() as plan:
                await self._store(tx, case, draft, plan)
            case Held() as held:
                await self._hold(tx, case, held)
            case Refused(findings=findings):
                await self._hold(tx, case, as_held(findings))

    async def _contradicts(self, tx: Tx, case: _Case) -> None:
        """Another report has this one's settlement key and says otherwise: neither linked nor printed, but asked."""
        first = {name: value for name, value in (case.event.reason or {}).items() if name.startswith("first_")}
        await self._hold(tx, case, _CONFLICT, **first)
        alarm = Alarm(
            case.payload.type,
            case.payload.external_id,
            CLASH,
            "It has the settlement key of another report, with another sum or from the same source.",
            "Ключ расчёта совпал с другим сообщением, а сумма другая или источник тот же.",
        )
        await raise_alarm(tx, case.event.merchant_id, case.event.source_id, alarm, actor="planner")

    async def _made_twice(self, tx: Tx, event: EventRow) -> None:
        """The source prints this money's receipts itself, and another source had it printed here before."""
        if "first_event" not in (event.reason or {}):
            return
        alarm = Alarm(
            EventType(event.type),
            event.external_id,
            "fiscalized_twice",
            "This source makes its receipts itself, and another source's report of the same money came first and got "
            "one here: the buyer may have two.",
            "Этот источник сам пробивает чеки, а по тем же деньгам из другого источника чек уже сделан здесь: "
            "у покупателя может быть два чека.",
        )
        await raise_alarm(tx, event.merchant_id, event.source_id, alarm, actor="planner")

    def _reconsidered(self, source: SourceRow, payload: PaymentEvent) -> PaymentEvent | None:
        """The settings of the source may answer by now what its event asks; None: they say that it needs no receipt."""
        if source.kind not in self._sources:
            return payload
        adapter = self._sources.get(source.kind)
        return adapter.reconsider(payload, adapter.Settings.model_validate(source.settings))

    async def _not_wanted(self, tx: Tx, case: _Case) -> None:
        reason = {"code": "not_fiscalized", "detail": "the settings of the source say that it needs no receipt"}
        await self._decided(tx, case, EventStatus.IGNORED, reason)
        if case.waiting is not None:
            await give_up(tx, case.waiting, "planner", reason, case.at, self._box, self._intake.links)

    async def _decided(
        self,
        tx: Tx,
        case: _Case,
        status: EventStatus,
        reason: dict[str, Any] | None,
        row: ReceiptRow | None = None,
        chain: Chain | None = None,
    ) -> None:
        """What has become of the event, and of its receipt `row`; its trace leads to that of the payment behind it."""
        event = case.event
        await planned.set_event(tx, event.merchant_id, event.id, status.value, reason, chain.id if chain else None)
        if self._tracing.on:
            paid = None if case.chain is None else await chains.sale_event(tx, case.chain)
            traces.tell_plan(self._tracing, event.id, status, reason, row, case.began, paid)

    def _payload(self, event: EventRow) -> PaymentEvent:
        return open_event(self._box, event.merchant_id, event.id, event.payload)

    async def _sale_again(self, tx: Tx, case: _Case, *, strict: bool) -> None:
        """A held payment whose data or settings may be there now."""
        event, chain, waiting = case.event, case.chain, case.waiting
        if waiting is None or chain is None:
            return
        branch, kassa = self._intake.sales.place_of(case.settings, case.source, case.payload)
        plan = self._intake.sales.plan(
            case.settings, case.source, branch, kassa, case.payload, contact_until=_awaited(waiting, case.at)
        )
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
                    plan,
                )
                new = self._intake.new_receipt(row, made[0].customer)
                if not await planned.rewrite_receipt(tx, waiting, new, sequence=waiting.sequence):
                    return
                await self._decided(tx, case, EventStatus.PLANNED, None, row)
                await history.add(
                    tx,
                    event.merchant_id,
                    TimelineEntry("filled", "planner", row.status, row.remarks or {}),
                    receipt_id=row.id,
                )
                await self._turns.advance(tx, chain)
            case Refused(findings=findings) if strict:
                raise Invalid("this cannot become a receipt", findings)
            case Refused(findings=findings):
                await self._hold(tx, case, as_held(findings))
            case Held() as held:
                await self._hold(tx, case, held)
            case _:
                return

    def document(self, row: ReceiptRow) -> Receipt:
        """A stored receipt as a value, its buyer opened."""
        return self._stories.document(row)

    async def _store(self, tx: Tx, case: _Case, draft: Draft, plan: Planned) -> None:
        """The receipt of a refund or closing, with what it takes from each payment; then whose turn it is."""
        event, chain, kassa, receipt = case.event, case.chain, draft.kassa, plan.receipts[0]
        if chain is None or kassa is None:
            raise ValueError("a planned refund has a sale")
        row = case.waiting or self._blank(case, draft.branch, kassa)
        row = row.changed(
            status=Status.QUEUED.value,
            kassa_id=kassa.id,
            branch_id=draft.branch.id if draft.branch else None,
            chain_id=chain.id,
            failure=None,
        )
        row = filled_row(row, receipt, plan.items_origin, plan)
        new = self._intake.new_receipt(row, receipt.customer)
        if case.waiting is None:
            await planned.add_receipt(tx, new)
        elif not await planned.rewrite_receipt(tx, case.waiting, new, sequence=case.waiting.sequence):
            return
        await self._decided(tx, case, EventStatus.PLANNED, None, row, chain)
        # Who found the payment of a refund that named none must be seen by whoever asks about it later.
        note = {} if draft.matched is None else {"payment_id": draft.matched.payment_id, "matched_by": "order_id"}
        await history.add(
            tx,
            event.merchant_id,
            TimelineEntry("planned", "planner", Status.QUEUED.value, note | (row.remarks or {})),
            receipt_id=row.id,
        )
        if draft.original is not None:
            await chains.set_original(tx, chain.merchant_id, chain.id, kept(draft), draft.original.total)
            chain = await chains.lock(tx, chain.merchant_id, chain.id) or chain
        if draft.drawn:
            parts = {
                payment: (sum(item.amount for item in items), lines_json(items, receipt))
                for payment, items in draft.drawn.items()
            }
            moved = event.type != EventType.ORDER_SETTLED.value
            await prepayments.set_parts(tx, event.merchant_id, row.id, parts, moved=moved)
            await self._turns.recount_drawn(tx, chain)
        await self._turns.advance(tx, chain)

    def _blank(self, case: _Case, branch: BranchRow | None, kassa: KassaRow | None) -> ReceiptRow:
        """A receipt of the event without its lines; its deadline runs from when the event was reported."""
        event = case.event
        return blank_row(
            event.merchant_id,
            case.source,
            branch,
            kassa,
            case.payload,
            event.id,
            1,
            case.at,
            chain_id=case.chain.id if case.chain else None,
            **self._intake.times(case.source, branch, kassa, case.payload, event.received_at),
        )

    async def _hold(self, tx: Tx, case: _Case, held: Held, **facts: Any) -> None:
        payload, chain, waiting = case.payload, case.chain, case.waiting
        failure = {**held_failure(held, case.at), **facts}
        if waiting is not None and _same_trouble(waiting.failure, failure):
            return
        row = waiting or self._blank(case, None, None)
        row = row.changed(
            status=Status.HELD.value,
            sequence=row.sequence + 1,
            failure=failure,
            operation=_operation(payload).code,
            remarks=None,
        )
        new = self._intake.new_receipt(row, payload.customer)
        if waiting is None:
            await planned.add_receipt(tx, new)
        elif not await planned.rewrite_receipt(tx, waiting, new, sequence=row.sequence):
            return
        await self._decided(tx, case, EventStatus.HELD, failure, row, chain)
        await self._turns.tell_held(tx, row, payload.customer, case.at)


_CONFLICT = Held(
    HeldReason.SETTLEMENT_CONFLICT,
    (
        Missing(
            "settlement_key",
            "#/settlement_key",
            "Whether this is the same money as the first report of its settlement key, or other money.",
            "Те же ли это деньги, что в первом сообщении с этим ключом расчёта, или другие.",
        ),
    ),
)


def _code(row: ReceiptRow) -> str | None:
    code: str | None = (row.failure or {}).get("code")
    return code


def _awaited(waiting: ReceiptRow, at: datetime) -> datetime | None:
    """Until when this held payment still waits for the buyer's contact."""
    until = (waiting.failure or {}).get("until")
    moment = None if until is None else datetime.fromisoformat(until)
    return moment if moment is not None and moment > at else None


def _same_trouble(before: dict[str, Any] | None, now: dict[str, Any]) -> bool:
    """Told once: a hold that says nothing new makes no second message."""
    return before is not None and all(before.get(name) == now.get(name) for name in ("code", "missing"))


def _operation(event: PaymentEvent) -> Operation:
    return Operation.SELL_REFUND if event.type is EventType.REFUND_SUCCEEDED else Operation.SELL
