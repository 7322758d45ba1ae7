"""Intake (T1): accept an event once, plan its receipts from cached settings, store both with their jobs; answer."""

import json
import time
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from app.db.group_commit import CommitUnknown, GroupCommitter
from app.db.records import Acceptance, Accepted, NewEvent, NewMessage, NewReceipt
from app.db.repos import events
from app.db.repos.receipts import ReceiptRow
from app.db.repos.settings import BranchRow, KassaRow, SourceRow
from app.db.trouble import busy
from app.db.unit_of_work import Database
from app.domain.codec import event_to_json
from app.domain.deadline import Deadline
from app.domain.errors import DuplicateEvent, Finding, Invalid, NotFound, TotalsMismatch
from app.domain.event import EventStatus, EventType, PaymentEvent
from app.domain.identity import differing, fingerprint
from app.domain.lifecycle import MessageType, Status
from app.domain.plan import Held, Missing, Plan, Planned, Refused
from app.domain.receipt import Customer
from app.domain.settlement_key import by_rule, of_refund
from app.infra.clock import DatabaseClock
from app.infra.compact_json import json_bytes, json_text
from app.infra.crypto import SearchHasher, SecretBox, aad
from app.infra.ids import new_id
from app.infra.metrics import Metrics, labelled
from app.infra.page_links import PageLinks
from app.infra.tracing import Tracing, entry
from app.ports.kassa import KassaDriver
from app.ports.registry import Registry
from app.queue.accept import Repeat
from app.services import traces
from app.services.catalog import Catalog, MerchantSettings
from app.services.customers import open_customer, open_event, open_fallback
from app.services.deadline_policy import DeadlinePolicy
from app.services.fresh_view import View, viewer
from app.services.principal import Principal
from app.services.receipt_rows import new_receipt, rows_of
from app.services.sales import ACQUIRER_FISCALIZES, Sales, Shape
from app.services.telling import told
from app.services.views import event_view, held_failure


@dataclass(frozen=True, slots=True)
class IntakeAnswer:
    """`fresh`: stored now; otherwise the event that came first under this identity. `view` tells its state if known.

    `status` is where a fresh event stands, and `findings` why it was refused.
    """

    event_id: UUID
    fresh: bool
    view: View | None = None
    status: EventStatus | None = None
    findings: tuple[str, ...] = ()


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
        links: PageLinks,
        deadlines: DeadlinePolicy,
        tracing: Tracing,
    ) -> None:
        self._database = database
        self._committer = committer
        self._catalog = catalog
        self.box = box
        self.links = links
        self._hasher = hasher
        self._clock = clock
        self._deadlines = deadlines
        self._tracing = tracing
        self.sales = Sales(registry, box)
        self._received = metrics.events_received

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
            self._count(source.kind, "rejected")
            raise
        self._count(source.kind, "accepted" if answer.fresh else "duplicate")
        return answer

    async def foresee(
        self, merchant_id: UUID, source_id: UUID, event: PaymentEvent
    ) -> tuple[EventStatus, tuple[str, ...]]:
        """What `accept` would make of an event that was never reported, and why; nothing is stored. Whether another
        source has told the same money is seen only then."""
        settings = await self._catalog.merchant(merchant_id)
        source, body = settings.sources[source_id], event_to_json(event)
        try:
            found, _ = self._acceptance(settings, source, event, None, body, "", refuse=False, shape=None)
        except Invalid as wrong:
            return EventStatus.REFUSED, tuple(one.detail for one in wrong.findings) or (wrong.detail,)
        reason = json.loads(found.event.reason or "{}")
        lacking = [one["detail"] for one in reason.get("missing", ())]
        words = reason.get("findings") or lacking or [reason.get("detail") or reason.get("message")]
        return EventStatus(found.event.status), tuple(one for one in words if one)

    def _count(self, kind: str, result: str) -> None:
        labelled(self._received, kind, result).inc()

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
        began = time.time_ns()
        body = event_to_json(event)
        key = event.settlement_key
        if source.settlement_key_from is not None:
            key = await self._settlement_key(settings.id, source, event)
        try:
            acceptance, rows = self._acceptance(settings, source, event, key, body, actor, refuse=refuse, shape=shape)
        except Invalid:
            # A repeat is a repeat even when its new content could not become a receipt.
            if (answer := await self._repeat(settings.id, source.id, event, body)) is not None:
                return answer
            raise
        planned_at = time.time_ns()
        try:
            accepted = await self._committer.submit(acceptance)
        except CommitUnknown as lost:
            raise busy(lost.refusal, "repeat the same request, it is stored once") from lost
        if not accepted.fresh:
            entry().bring(accepted.event_id, fresh=False)
            if not accepted.same_content:
                raise _contradiction(accepted.event_id, self._differing(accepted, body))
            view = self._seen_again(accepted) if isinstance(accepted, Repeat) else None
            return IntakeAnswer(accepted.event_id, fresh=False, view=view)
        traces.tell_intake(self._tracing, source, acceptance.event, rows, accepted, began, planned_at)
        if accepted.linked or accepted.clashes:
            # Told by the database, which compared it with what came first.
            return IntakeAnswer(
                accepted.event_id,
                fresh=True,
                status=EventStatus.LINKED if accepted.linked else EventStatus(acceptance.event.status),
            )
        view = viewer(acceptance.event, rows, event, body, self.links)
        refused = json.loads(acceptance.event.reason or "{}").get("findings", ())
        status = EventStatus(acceptance.event.status)
        return IntakeAnswer(accepted.event_id, fresh=True, view=view, status=status, findings=tuple(refused))

    async def _settlement_key(self, merchant_id: UUID, source: SourceRow, event: PaymentEvent) -> str | None:
        """By the source's rule; of equal returns of one payment the first that this source has not told yet. A return
        without a sum has its key when it is planned."""
        if event.left_after is not None:
            return None
        key = by_rule(source.settlement_key_from, event)
        if key is None or key == event.settlement_key or event.type is not EventType.REFUND_SUCCEEDED:
            return key
        numbered = of_refund(key, event.amount)
        async with self._database.pipeline() as tx:
            told = await events.keys_told_by(tx, merchant_id, event.type.value, numbered, source.id)
        return next((one for one in numbered if one not in told), numbered[-1])

    def _differing(self, accepted: Accepted, body: dict[str, Any]) -> tuple[str, ...]:
        first = accepted.event if isinstance(accepted, Repeat) else None
        if first is None:
            return ()
        return differing(event_to_json(open_event(self.box, first.merchant_id, first.id, first.payload)), body)

    def _seen_again(self, repeat: Repeat) -> View | None:
        """What came first, as it is now; None where it takes more to tell: pruned, or another event has its money."""
        event, receipts = repeat.event, repeat.receipts
        if event is None or event.status == EventStatus.LINKED.value:
            return None

        def view(masked: bool) -> dict[str, Any]:
            return event_view(
                event,
                receipts,
                open_event(self.box, event.merchant_id, event.id, event.payload),
                masked,
                customers={one.id: open_customer(self.box, one.merchant_id, one.id, one.customer) for one in receipts},
                links=self.links,
            )

        return view

    async def known(self, merchant_id: UUID, source_id: UUID, type: EventType, external_id: str) -> UUID | None:
        """The event that came first under this identity, if any did."""
        async with self._database.pipeline() as tx:
            found = await events.identity(tx, merchant_id, source_id, type.value, external_id)
        return None if found is None else found.event_id

    async def _repeat(
        self, merchant_id: UUID, source_id: UUID, event: PaymentEvent, body: dict[str, Any]
    ) -> IntakeAnswer | None:
        async with self._database.pipeline() as tx:
            found = await events.identity(tx, merchant_id, source_id, event.type.value, event.external_id)
        if found is None:
            return None
        if found.content_hash != fingerprint(body):
            raise _contradiction(found.event_id)
        return IntakeAnswer(found.event_id, fresh=False)

    def _acceptance(
        self,
        settings: MerchantSettings,
        source: SourceRow,
        event: PaymentEvent,
        key: str | None,
        body: dict[str, Any],
        actor: str,
        *,
        refuse: bool,
        shape: Shape | None,
    ) -> tuple[Acceptance, list[ReceiptRow]]:
        at = self._clock.now()
        event_id, chain_id = new_id(), new_id()
        branch, kassa = self.sales.place_of(settings, source, event)
        status, reason, rows = EventStatus.RECEIVED, None, []
        ignored = self.sales.ignored(source, kassa, event)
        if ignored is not None:
            status, reason = EventStatus.IGNORED, ignored
        elif self.sales.looks_back(event) and shape is None:
            if refuse and (found := self.sales.contradictions(settings, source, branch, kassa, event, at)):
                raise refusal(found, event)
        else:
            due = self._deadlines.of(source, branch, kassa, event, at)
            plan = self._sale(settings, source, branch, kassa, event, at, shape, due)
            match plan:
                case Planned():
                    status = EventStatus.PLANNED
                case Held(missing=missing) if shape is not None:
                    raise Invalid("data is missing", tuple(lacking(one) for one in missing))
                case Held():
                    status, reason = EventStatus.HELD, held_failure(plan, at)
                case Refused(findings=findings) if refuse:
                    raise refusal(findings, event)
                case Refused(findings=findings):
                    status = EventStatus.REFUSED
                    reason = {"code": "refused", "findings": [f.detail for f in findings]}
            times = self._deadlines.times(due, at)
            rows = rows_of(plan, settings.id, source, branch, kassa, event, event_id, at, times)
        new = self._event(settings, source, event, key, body, event_id, chain_id, status, reason, at, actor)
        customer = self._customer(event, source, status) if rows else None
        made = tuple(self.new_receipt(row, customer) for row in rows)
        return Acceptance(new, made, self._messages(rows, event)), rows

    def planned(
        self,
        settings: MerchantSettings,
        source: SourceRow,
        branch: BranchRow | None,
        kassa: KassaRow | None,
        event: PaymentEvent,
        at: datetime,
        shape: Shape | None,
    ) -> Plan:
        """What `accept` would plan for a payment at this moment; nothing is stored."""
        due = self._deadlines.of(source, branch, kassa, event, at)
        return self._sale(settings, source, branch, kassa, event, at, shape, due)

    def _sale(
        self,
        settings: MerchantSettings,
        source: SourceRow,
        branch: BranchRow | None,
        kassa: KassaRow | None,
        event: PaymentEvent,
        at: datetime,
        shape: Shape | None,
        due: Deadline,
    ) -> Plan:
        # A person or program that waits for the answer is told what is missing, and not kept waiting for it.
        waits = shape is None and source.fallback_contact is not None
        asked_until = self._deadlines.contact_until(due, at) if waits else None
        plan = self.sales.plan(settings, source, branch, kassa, event, shape, contact_until=asked_until, now=at)
        # What a person makes by hand or corrects bears the day that they chose.
        if shape is not None or not isinstance(plan, Planned):
            return plan
        notes = self._deadlines.notes(due, branch, kassa, event, at)
        return replace(plan, notes=(*plan.notes, *notes)) if notes else plan

    def new_receipt(self, row: ReceiptRow, customer: Customer | None) -> NewReceipt:
        """A row as a statement takes it."""
        return new_receipt(self.box, self._hasher, row, customer)

    def times(
        self, source: SourceRow, branch: BranchRow | None, kassa: KassaRow | None, event: PaymentEvent, at: datetime
    ) -> dict[str, Any]:
        """What the deadline clock says of a receipt that is planned later; `at` is when its event was reported."""
        return self._deadlines.times(self._deadlines.of(source, branch, kassa, event, at), at)

    def _customer(self, event: PaymentEvent, source: SourceRow, status: EventStatus) -> Customer:
        if event.customer.has_contact or status is EventStatus.HELD:
            return event.customer
        return open_fallback(self.box, source) or event.customer

    def _messages(self, rows: list[ReceiptRow], event: PaymentEvent) -> tuple[NewMessage, ...]:
        return tuple(
            NewMessage(
                id=new_id(),
                merchant_id=row.merchant_id,
                receipt_id=row.id,
                type=MessageType.HELD.value,
                sequence=row.sequence,
                body=told(MessageType.HELD, row, event.customer, row.created_at, self.links),
                created_at=row.created_at,
            )
            for row in rows
            if row.status == Status.HELD.value
        )

    def _event(
        self,
        settings: MerchantSettings,
        source: SourceRow,
        event: PaymentEvent,
        key: str | None,
        body: dict[str, Any],
        event_id: UUID,
        chain_id: UUID,
        status: EventStatus,
        reason: dict[str, Any] | None,
        at: datetime,
        actor: str,
    ) -> NewEvent:
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
            settlement_key=key,
            chain_id=chain_id,
            chain_payment_id=(event.external_id if sale else event.payment_id) if chained else None,
            sold=event.amount if sale and chained else 0,
            status=status.value,
            reason=None if reason is None else json_text(reason),
            amount=event.amount,
            currency=event.currency,
            occurred_at=event.occurred_at,
            payload=self.box.seal(json_bytes(body), aad("events", "payload", settings.id, event_id)),
            metadata=json_text(event.metadata),
            test=event.test,
            received_at=at,
            actor=actor,
            claims_key=chained or ((reason or {}).get("code") == ACQUIRER_FISCALIZES and not event.test),
            links_own=source.kind == "api",
        )


def _contradiction(event_id: UUID, members: tuple[str, ...] = ()) -> DuplicateEvent:
    """The same identity with other content; which members differ, where the first report can still be compared."""
    what = f" (not the same: {', '.join(members)})" if members else ""
    return DuplicateEvent(
        f"this id was already reported with other content{what}; a different payment needs an id of its own",
        existing_id=f"evt_{event_id.hex}",
        **({"differs": list(members)} if members else {}),
    )


def lacking(missing: Missing) -> Finding:
    """What is missing, said as a finding to somebody who waits for the answer."""
    return missing.finding()


def refusal(findings: tuple[Finding, ...], event: PaymentEvent) -> Invalid:
    """All that is wrong with a report, as the error to raise."""
    kind = TotalsMismatch if any(f.rule == "totals" for f in findings) else Invalid
    return kind("this cannot become a receipt", findings, **_figures(event))


def _source_names(source: SourceRow) -> tuple[str, str, str]:
    return (f"src_{source.id.hex}", source.kind, source.name)


def _figures(event: PaymentEvent) -> dict[str, int]:
    return {"expected": event.amount, "actual": sum(item.amount for item in event.items)} if event.items else {}
