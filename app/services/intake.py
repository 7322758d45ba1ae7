"""Intake (T1): accept an event once, plan its receipts from cached settings, store both with their jobs; answer."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from app.db.group_commit import CommitUnknown, GroupCommitter
from app.db.records import Acceptance, Accepted, NewEvent, NewMessage, NewReceipt
from app.db.repos import events
from app.db.repos.events import EventRow
from app.db.repos.receipts import ReceiptRow
from app.db.repos.settings import BranchRow, KassaRow, SourceRow
from app.db.unit_of_work import Database
from app.domain.codec import event_to_json, receipt_to_json
from app.domain.errors import Busy, DuplicateEvent, Finding, Invalid, NotFound, TotalsMismatch
from app.domain.event import EventStatus, EventType, PaymentEvent
from app.domain.ffd import FfdVersion, Measure, Operation, PaymentMethod, PaymentObject, Taxation
from app.domain.identity import fingerprint, provider_id
from app.domain.lifecycle import MessageType, Status
from app.domain.plan import Missing
from app.domain.planning import Defaults, Held, Plan, Planned, PlanSettings, Refused, merge, plan_sale
from app.domain.receipt import Customer, Receipt
from app.domain.vat import VatRate
from app.infra.clock import DatabaseClock
from app.infra.crypto import SearchHasher, SecretBox, aad
from app.infra.ids import new_id
from app.infra.metrics import Metrics
from app.ports.kassa import KassaDriver
from app.ports.registry import Registry
from app.services.catalog import Catalog, MerchantSettings
from app.services.customers import contact_hashes, open_fallback, seal_customer
from app.services.principal import Principal
from app.services.telling import told
from app.services.views import event_view, held_failure

Shape = Callable[[Receipt, date], Receipt]
"""Turns a planned sale, on its local day, into another kind of receipt."""


@dataclass(frozen=True, slots=True)
class IntakeAnswer:
    """`fresh`: stored now, `view` is its state; otherwise the event that came first under this identity."""

    event_id: UUID
    fresh: bool
    view: dict[str, Any] | None = None


class Intake:
    """Accepts events of every source through one group committer."""

    def __init__(
        self,
        *,
        database: Database,
        committer: GroupCommitter[Acceptance, Accepted],
        catalog: Catalog,
        registry: Registry[KassaDriver],
        box: SecretBox,
        hasher: SearchHasher,
        clock: DatabaseClock,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._committer = committer
        self._catalog = catalog
        self._registry = registry
        self.box = box
        self._hasher = hasher
        self._clock = clock
        self._metrics = metrics

    async def source_of(self, principal: Principal, merchant_id: UUID, name: str | None) -> UUID:
        """The source that this caller speaks for: the key's own, the named one, or the built-in `api`."""
        settings = await self._catalog.merchant(merchant_id)
        if principal.source_id is not None:
            own = settings.sources.get(principal.source_id)
            if own is None or (name is not None and name not in _source_names(own)):
                raise NotFound("this key belongs to another source")
            return own.id
        if name is None:
            return settings.built_in_source.id
        found = [source for source in settings.sources.values() if name in _source_names(source)]
        if len(found) != 1:
            raise NotFound("no such source, or several of this kind: name it by its id")
        return found[0].id

    async def accept(
        self,
        merchant_id: UUID,
        source_id: UUID,
        event: PaymentEvent,
        actor: str,
        *,
        refuse: bool = True,
        shape: Shape | None = None,
    ) -> IntakeAnswer:
        """Store an event and what it plans, once for ever under (merchant, source, type, external_id).

        A repeat is answered with the first event; the same identity with other content raises DuplicateEvent. A
        report that contradicts itself raises Invalid with all findings, or, with `refuse` false (a notification whose
        sender cannot be told), is stored as `refused` with them. Raises Busy when the outcome of the commit is not
        known: the caller repeats the same request. `shape` turns the planned sale into another kind of receipt
        (made by hand, correction); such a receipt is never held, what it lacks raises Invalid.
        """
        settings = await self._catalog.merchant(merchant_id)
        source = settings.sources.get(source_id)
        if source is None:
            raise NotFound("no such source")
        try:
            answer = await self._accept(settings, source, event, actor, refuse=refuse, shape=shape)
        except (Invalid, DuplicateEvent):
            self._metrics.events_received.labels(source.kind, "rejected").inc()
            raise
        self._metrics.events_received.labels(source.kind, "accepted" if answer.fresh else "duplicate").inc()
        return answer

    async def _accept(
        self,
        settings: MerchantSettings,
        source: SourceRow,
        event: PaymentEvent,
        actor: str,
        *,
        refuse: bool,
        shape: Shape | None,
    ) -> IntakeAnswer:
        try:
            acceptance, rows = self._acceptance(settings, source, event, actor, refuse=refuse, shape=shape)
        except Invalid:
            # A repeat is a repeat even when its new content could not become a receipt.
            if (answer := await self._repeat(settings.id, source.id, event)) is not None:
                return answer
            raise
        try:
            accepted = await self._committer.submit(acceptance)
        except CommitUnknown as lost:
            raise Busy("the database broke off; repeat the same request, it is stored once") from lost
        if accepted.fresh:
            view = None if accepted.linked else _view(acceptance.event, rows, event)
            return IntakeAnswer(accepted.event_id, fresh=True, view=view)
        return _repeated(accepted.event_id, same_content=accepted.same_content)

    async def known(self, merchant_id: UUID, source_id: UUID, type: EventType, external_id: str) -> UUID | None:
        """The event that came first under this identity, if any did."""
        async with self._database.pipeline() as tx:
            found = await events.identity(tx, merchant_id, source_id, type.value, external_id)
        return None if found is None else found.event_id

    async def _repeat(self, merchant_id: UUID, source_id: UUID, event: PaymentEvent) -> IntakeAnswer | None:
        async with self._database.pipeline() as tx:
            found = await events.identity(tx, merchant_id, source_id, event.type.value, event.external_id)
        if found is None:
            return None
        return _repeated(found.event_id, same_content=found.content_hash == fingerprint(event_to_json(event)))

    def _acceptance(
        self,
        settings: MerchantSettings,
        source: SourceRow,
        event: PaymentEvent,
        actor: str,
        *,
        refuse: bool,
        shape: Shape | None,
    ) -> tuple[Acceptance, list[ReceiptRow]]:
        at = self._clock.now()
        event_id, chain_id = new_id(), new_id()
        branch, kassa = self.place_of(settings, source, event)
        status, reason, rows = EventStatus.RECEIVED, None, []
        ignored = self._ignored(source, kassa, event)
        if ignored is not None:
            status, reason = EventStatus.IGNORED, ignored
        elif event.type is EventType.PAYMENT_SUCCEEDED:
            plan = self.plan(settings, source, branch, kassa, event, shape)
            match plan:
                case Held(missing=missing) if shape is not None:
                    raise Invalid("data is missing", tuple(lacking(one) for one in missing))
                case Refused(findings=findings) if refuse:
                    kind = TotalsMismatch if any(f.rule == "totals" for f in findings) else Invalid
                    raise kind("this cannot become a receipt", findings, **_figures(event))
                case Refused(findings=findings):
                    status = EventStatus.REFUSED
                    reason = {"code": "refused", "findings": [f.detail for f in findings]}
                case Held():
                    status, reason = EventStatus.HELD, held_failure(plan, at)
                case Planned():
                    status = EventStatus.PLANNED
            rows = self.rows(settings.id, source, branch, kassa, event, event_id, plan, at)
        new = self._event(settings, source, event, event_id, chain_id, status, reason, at, actor)
        return (
            Acceptance(
                new,
                tuple(self.new_receipt(row, self._customer(event, source)) for row in rows),
                tuple(self._messages(rows, event)),
            ),
            rows,
        )

    def place_of(
        self, settings: MerchantSettings, source: SourceRow, event: PaymentEvent
    ) -> tuple[BranchRow | None, KassaRow | None]:
        """The branch that the event names, else the source's own, and its kassa.

        A branch that nobody knows has none: its money may belong to another place of settlement, so the receipt is
        held until the branch is there.
        """
        if event.branch:
            branch = settings.branch(event.branch)
            return (None, None) if branch is None else (branch, settings.route(source, branch))
        branch = settings.branches.get(source.branch_id) if source.branch_id else None
        return branch, settings.route(source, branch)

    def _ignored(self, source: SourceRow, kassa: KassaRow | None, event: PaymentEvent) -> dict[str, Any] | None:
        if source.acquirer_fiscalizes:
            return {"code": "acquirer_fiscalizes", "detail": "this source prints its receipts itself"}
        if source.starts_at is not None and event.occurred_at < source.starts_at:
            return {"code": "before_start", "detail": "older than the moment from which this source is fiscalized"}
        if event.test and kassa is not None and not kassa.test:
            return {"code": "test_on_live_kassa", "detail": "a test payment makes no receipt on a live kassa"}
        return None

    def plan(
        self,
        settings: MerchantSettings,
        source: SourceRow,
        branch: BranchRow | None,
        kassa: KassaRow | None,
        event: PaymentEvent,
        shape: Shape | None = None,
    ) -> Plan:
        """What a payment becomes under these settings; used again when a held one is filled."""
        if kassa is None:
            return plan_sale(event, None, event.occurred_at.date())
        today = local_date(event.occurred_at, kassa.timezone)
        plan = plan_sale(event, self.plan_settings(source, branch, kassa), today)
        if shape is None or not isinstance(plan, Planned):
            return plan
        return replace(plan, receipts=tuple(shape(receipt, today) for receipt in plan.receipts))

    def plan_settings(self, source: SourceRow, branch: BranchRow | None, kassa: KassaRow) -> PlanSettings:
        """A kassa with the merged defaults of source, branch and kassa."""
        driver = self._registry.get(kassa.provider)
        return PlanSettings(
            kassa_id=f"kas_{kassa.id.hex}",
            ffd=FfdVersion(kassa.ffd),
            taxation=tuple(Taxation.parse(name) for name in kassa.taxation),
            place=kassa.place,
            timezone=kassa.timezone if branch is None or branch.timezone is None else branch.timezone,
            internet=kassa.internet,
            defaults=merge(
                defaults_of(source.defaults),
                defaults_of(branch.defaults if branch else {}),
                defaults_of(kassa.defaults),
            ),
            fallback_contact=open_fallback(self.box, source),
            max_items=driver.capabilities.max_items,
        )

    def rows(
        self,
        merchant_id: UUID,
        source: SourceRow,
        branch: BranchRow | None,
        kassa: KassaRow | None,
        event: PaymentEvent,
        event_id: UUID,
        plan: Plan,
        at: datetime,
    ) -> list[ReceiptRow]:
        """The receipts of a plan as they will be stored; a hold is one receipt that waits for its data."""
        match plan:
            case Planned(receipts=receipts, items_origin=origin):
                return [
                    self._row(merchant_id, source, branch, kassa, event, event_id, number, receipt, origin, at)
                    for number, receipt in enumerate(receipts, start=1)
                ]
            case Held():
                return [self._held_row(merchant_id, source, branch, kassa, event, event_id, plan, at)]
            case Refused():
                return []

    def _row(
        self,
        merchant_id: UUID,
        source: SourceRow,
        branch: BranchRow | None,
        kassa: KassaRow | None,
        event: PaymentEvent,
        event_id: UUID,
        number: int,
        receipt: Receipt,
        origin: str,
        at: datetime,
    ) -> ReceiptRow:
        row = blank_row(merchant_id, source, branch, kassa, event, event_id, number, at)
        return filled_row(row, receipt, origin)

    def _held_row(
        self,
        merchant_id: UUID,
        source: SourceRow,
        branch: BranchRow | None,
        kassa: KassaRow | None,
        event: PaymentEvent,
        event_id: UUID,
        plan: Held,
        at: datetime,
    ) -> ReceiptRow:
        row = blank_row(merchant_id, source, branch, kassa, event, event_id, 1, at)
        return row.changed(status=Status.HELD.value, sequence=1, failure=held_failure(plan, at))

    def new_receipt(self, row: ReceiptRow, customer: Customer | None) -> NewReceipt:
        """A row as a statement takes it: contact sealed and hashed for search, JSON as text."""
        email, phone, tail = contact_hashes(self._hasher, row.merchant_id, customer)
        return NewReceipt(
            id=row.id,
            merchant_id=row.merchant_id,
            branch_id=row.branch_id,
            kassa_id=row.kassa_id,
            source_id=row.source_id,
            event_id=row.event_id,
            chain_id=row.chain_id,
            number=row.number,
            version=row.version,
            provider_id=row.provider_id,
            operation=row.operation,
            correction=row.correction,
            status=row.status,
            sequence=row.sequence,
            total=row.total,
            taxation=row.taxation,
            order_id=row.order_id,
            external_id=row.external_id,
            document=_text(row.document),
            customer=seal_customer(self.box, row.merchant_id, row.id, customer),
            email_hash=email,
            phone_hash=phone,
            phone_tail_hash=tail,
            items_origin=row.items_origin,
            failure=_text(row.failure),
            metadata=_text(row.metadata) or "{}",
            due_at=row.due_at,
            created_at=row.created_at,
        )

    def _customer(self, event: PaymentEvent, source: SourceRow) -> Customer:
        if event.customer.has_contact:
            return event.customer
        return open_fallback(self.box, source) or event.customer

    def _messages(self, rows: list[ReceiptRow], event: PaymentEvent) -> list[NewMessage]:
        return [
            NewMessage(
                id=new_id(),
                merchant_id=row.merchant_id,
                receipt_id=row.id,
                type=MessageType.HELD.value,
                sequence=row.sequence,
                body=told(MessageType.HELD, row, event.customer, row.created_at),
                created_at=row.created_at,
            )
            for row in rows
            if row.status == Status.HELD.value
        ]

    def _event(
        self,
        settings: MerchantSettings,
        source: SourceRow,
        event: PaymentEvent,
        event_id: UUID,
        chain_id: UUID,
        status: EventStatus,
        reason: dict[str, Any] | None,
        at: datetime,
        actor: str,
    ) -> NewEvent:
        body = event_to_json(event)
        sale = event.type is EventType.PAYMENT_SUCCEEDED
        chained = status in (EventStatus.PLANNED, EventStatus.HELD, EventStatus.RECEIVED)
        return NewEvent(
            id=event_id,
            merchant_id=settings.id,
            source_id=source.id,
            type=event.type.value,
            external_id=event.external_id,
            content_hash=fingerprint(body),
            payment_id=event.payment_id,
            order_id=event.order_id,
            settlement_key=event.settlement_key,
            chain_id=chain_id,
            chain_payment_id=(event.external_id if sale else event.payment_id) if chained else None,
            sold=event.amount if sale and chained else 0,
            status=status.value,
            reason=_text(reason),
            amount=event.amount,
            currency=event.currency,
            occurred_at=event.occurred_at,
            payload=self.box.seal(
                json.dumps(body, ensure_ascii=False).encode(), aad("events", "payload", settings.id, event_id)
            ),
            metadata=_text(event.metadata) or "{}",
            test=event.test,
            received_at=at,
            actor=actor,
        )


def blank_row(
    merchant_id: UUID,
    source: SourceRow,
    branch: BranchRow | None,
    kassa: KassaRow | None,
    event: PaymentEvent,
    event_id: UUID | None,
    number: int,
    at: datetime,
    *,
    chain_id: UUID | None = None,
    operation: Operation | None = None,
) -> ReceiptRow:
    """A receipt of an event before its lines are known; its provider id is derived, not drawn."""
    default = Operation.SELL_REFUND if event.type is EventType.REFUND_SUCCEEDED else Operation.SELL
    return ReceiptRow(
        id=new_id(),
        merchant_id=merchant_id,
        branch_id=branch.id if branch else None,
        kassa_id=kassa.id if kassa else None,
        source_id=source.id,
        event_id=event_id,
        chain_id=chain_id,
        number=number,
        version=1,
        provider_id=provider_id(merchant_id.hex, source.id.hex, event.type, event.external_id, number, 1),
        provider_reference=None,
        operation=(operation or default).code,
        correction=False,
        status=Status.QUEUED.value,
        sequence=0,
        total=event.amount,
        currency=event.currency,
        taxation=event.taxation,
        order_id=event.order_id,
        external_id=event.external_id,
        document=None,
        customer=None,
        items_origin=None,
        fn=None,
        fd=None,
        fpd=None,
        fiscal=None,
        failure=None,
        metadata=dict(event.metadata),
        marks=0,
        first_marked_at=None,
        due_at=event.occurred_at,
        created_at=at,
        updated_at=at,
    )


def filled_row(row: ReceiptRow, receipt: Receipt, origin: str) -> ReceiptRow:
    """The row with its document; the buyer is kept apart, sealed."""
    document = receipt_to_json(receipt)
    document.pop("customer", None)
    return row.changed(
        operation=receipt.operation.code,
        correction=receipt.correction is not None,
        total=receipt.total,
        taxation=receipt.taxation.code,
        document=document,
        items_origin=origin,
    )


def defaults_of(stored: dict[str, Any]) -> Defaults:
    """Defaults from their API names."""
    return Defaults(
        vat=VatRate.parse(stored["vat"]) if stored.get("vat") else None,
        payment_method=PaymentMethod.parse(stored["payment_method"]) if stored.get("payment_method") else None,
        payment_object=PaymentObject.parse(stored["payment_object"]) if stored.get("payment_object") else None,
        measure=Measure.parse(stored["measure"]) if stored.get("measure") else None,
        item_name=stored.get("item_name"),
        taxation=Taxation.parse(stored["taxation"]) if stored.get("taxation") else None,
    )


def local_date(moment: datetime, timezone: str) -> date:
    """The day on which a settlement happened where the kassa stands."""
    return moment.astimezone(ZoneInfo(timezone)).date()


def _repeated(event_id: UUID, *, same_content: bool) -> IntakeAnswer:
    if not same_content:
        raise DuplicateEvent(
            "this id was already reported with other content; a different payment needs an id of its own",
            existing_id=f"evt_{event_id.hex}",
        )
    return IntakeAnswer(event_id, fresh=False)


def lacking(missing: Missing) -> Finding:
    """What is missing, said as a finding to somebody who waits for the answer."""
    return Finding(missing.pointer, f"missing_{missing.field}", missing.detail, missing.detail_ru)


def _source_names(source: SourceRow) -> tuple[str, str, str]:
    return (f"src_{source.id.hex}", source.kind, source.name)


def _figures(event: PaymentEvent) -> dict[str, int]:
    return {"expected": event.amount, "actual": sum(item.amount for item in event.items)} if event.items else {}


def _text(value: dict[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _view(event: NewEvent, rows: list[ReceiptRow], payload: PaymentEvent) -> dict[str, Any]:
    row = EventRow(
        id=event.id,
        merchant_id=event.merchant_id,
        source_id=event.source_id,
        type=event.type,
        external_id=event.external_id,
        payment_id=event.payment_id,
        order_id=event.order_id,
        settlement_key=event.settlement_key,
        chain_id=event.chain_id,
        status=event.status,
        reason=None if event.reason is None else json.loads(event.reason),
        amount=event.amount,
        currency=event.currency,
        occurred_at=event.occurred_at,
        payload=event.payload,
        metadata=dict(payload.metadata),
        test=event.test,
        received_at=event.received_at,
    )
    return event_view(row, rows, payload, masked=True)
