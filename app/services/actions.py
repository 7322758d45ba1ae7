"""Safe operator actions: retry, cancel, fill, correct, resolve.

Each locks chain, receipt and job in that order, names who did it and why in the timeline, and does only what the
table of transitions allows. None of them can print a second document for what may have been printed.
"""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from app.db.records import TimelineEntry
from app.db.repos import chains, history, planned, receipts
from app.db.repos.receipts import ReceiptRow
from app.db.unit_of_work import Database, Tx, database_now
from app.domain.codec import event_from_json, event_to_json, fiscal_to_json
from app.domain.errors import Conflict, Contended, Invalid, NotFound, PreconditionFailed
from app.domain.event import EventStatus, EventType, PaymentEvent
from app.domain.ffd import Operation
from app.domain.identity import provider_id
from app.domain.lifecycle import Happening, IllegalTransition, MessageType, Status, Step, allowed, step
from app.domain.nomenclature import PERSON
from app.domain.plan import Held, HeldReason, Planned, Refused
from app.domain.qr import qr_text
from app.domain.receipt import Customer, FiscalData
from app.infra.again import again
from app.queue import lanes, work
from app.queue.accept import CLASH
from app.queue.jobs import FOLLOW_UP, RECEIPT_ORDERS, JobKind
from app.queue.tell import tell
from app.services.by_hand import shaped
from app.services.catalog import Catalog, MerchantSettings
from app.services.customers import open_customer, open_event, seal_event
from app.services.intake import Intake, lacking
from app.services.late import is_held_late
from app.services.later_contact import add_contact, may_get_contact
from app.services.plan import Planner
from app.services.principal import Principal
from app.services.receipt_rows import filled_row
from app.services.telling import told
from app.services.views import failure_json


class Actions:
    """What a person may do to a receipt."""

    def __init__(self, *, database: Database, catalog: Catalog, intake: Intake, planner: Planner) -> None:
        self._database = database
        self._catalog = catalog
        self._intake = intake
        self._planner = planner
        self._box = intake.box

    @again(Contended)
    async def retry(self, principal: Principal, merchant_id: UUID, receipt_id: UUID) -> None:
        """Do now what is planned for later; a refused receipt is sent again as a new version."""
        settings = await self._catalog.merchant(merchant_id, fresh=True)
        async with self._database.pipeline() as tx:
            row = await self._locked(tx, merchant_id, receipt_id)
            match Status(row.status):
                case Status.QUEUED | Status.ACCEPTED | Status.UNKNOWN:
                    if row.kassa_id is not None:
                        await lanes.probe_now(tx, row.kassa_id)
                    await work.make_due(tx, row.id, RECEIPT_ORDERS)
                    await self._note(tx, row, "retry", principal)
                case Status.REJECTED:
                    await self._new_version(tx, row, self._customer(row), principal, settings)
                case Status.HELD:
                    await self._replan(tx, row, principal, settings)
                case other:
                    raise _conflict(other, "be retried", ("held", "queued", "accepted", "unknown", "rejected"))

    @again(Contended)
    async def send_rejected_again(self, principal: Principal, merchant_id: UUID, receipt_id: UUID) -> None:
        """A finally rejected receipt goes out as a new version; Conflict for any other."""
        settings = await self._catalog.merchant(merchant_id, fresh=True)
        async with self._database.pipeline() as tx:
            row = await self._locked(tx, merchant_id, receipt_id)
            if row.status != Status.REJECTED.value:
                raise _conflict(Status(row.status), "be sent again", ("rejected",))
            await self._new_version(tx, row, self._customer(row), principal, settings)

    @again(Contended)
    async def cancel(self, principal: Principal, merchant_id: UUID, receipt_id: UUID, reason: str | None) -> None:
        """Give a receipt up before it is sent. A marked one is on its way: Conflict."""
        settings = await self._catalog.merchant(merchant_id, fresh=True)
        async with self._database.pipeline() as tx:
            row = await self._locked(tx, merchant_id, receipt_id)
            status = Status(row.status)
            if Happening.CANCELLED not in allowed(status):
                raise _conflict(status, "be cancelled", ("held", "queued", "rejected"))
            if status is Status.QUEUED:
                await self._must_be_unsent(tx, row)
            await self._finish(tx, row, Happening.CANCELLED, principal, {"reason": reason}, settings)

    async def _must_be_unsent(self, tx: Tx, row: ReceiptRow) -> None:
        if row.marks:
            earlier = await receipts.earlier_attempts(tx, row.id, row.provider_id)
            if earlier.unproven or earlier.evidence:
                raise _conflict(Status.QUEUED, "be cancelled: an earlier send of it is not proven absent", ())
        had_job = await work.has_job(tx, row.id)
        if had_job and not await work.take_unmarked(tx, row.id):
            raise _conflict(Status.SENDING, "be cancelled: it is being sent", ())

    @again(Contended)
    async def resolve(
        self,
        principal: Principal,
        merchant_id: UUID,
        receipt_id: UUID,
        answer: str,
        sequence: int,
        reason: str,
        fiscal: FiscalData | None,
    ) -> None:
        """A person's decision about what only a person can know: `found`, `send_again`, `made_elsewhere`, `abandon`; of
        a receipt held for its settlement key whether it is `other_money`, or `made_elsewhere`.

        It names the sequence it saw and voids whatever look-up is under way. `found` without fiscal data asks the
        provider again; with it, the person vouches for the document.
        """
        if not reason.strip():
            raise Invalid("a decision needs its reason: it is kept for ever")
        settings = await self._catalog.merchant(merchant_id, fresh=True)
        async with self._database.pipeline() as tx:
            row = await self._locked(tx, merchant_id, receipt_id)
            if row.sequence != sequence:
                raise PreconditionFailed(f"the receipt has moved on to sequence {row.sequence}; look at it again")
            status = Status(row.status)
            said = {"answer": answer, "reason": reason}
            if _contradicts(row):
                await self._compared(tx, row, principal, said, settings)
                return
            if status not in (Status.NEEDS_ATTENTION, Status.UNKNOWN):
                raise _conflict(status, "be resolved", ("needs_attention", "unknown"))
            await work.take_unmarked(tx, row.id)
            match answer:
                case "found" if fiscal is None:
                    await self._ask_again(tx, row, principal, said)
                case "found":
                    await self._finish(tx, row, Happening.RESOLVED_FOUND, principal, said, settings, fiscal=fiscal)
                case "send_again":
                    await receipts.vouch_absent(tx, row.id)
                    await self._finish(tx, row, Happening.RESOLVED_SEND_AGAIN, principal, said, settings)
                case "made_elsewhere":
                    await self._finish(tx, row, Happening.RESOLVED_MADE_ELSEWHERE, principal, said, settings)
                case "abandon":
                    await self._finish(tx, row, Happening.RESOLVED_ABANDON, principal, said, settings)
                case _:
                    raise Conflict("answer is one of found, send_again, made_elsewhere, abandon")

    async def _compared(
        self, tx: Tx, row: ReceiptRow, principal: Principal, said: dict[str, Any], settings: MerchantSettings
    ) -> None:
        """Two reports under one settlement key: other money goes on as if it had no key, the same is given up."""
        match said["answer"]:
            case "other_money" if row.event_id is not None:
                await planned.set_event(tx, row.merchant_id, row.event_id, EventStatus.HELD.value, None)
                await self._note(tx, row, "resolved_other_money", principal, said)
                event = await planned.event(tx, row.event_id)
                if event is not None:
                    await self._planner.plan_event(tx, event, settings, other_money=True)
            case "made_elsewhere" | "abandon":
                await self._finish(tx, row, Happening.CANCELLED, principal, said, settings)
            case _:
                raise Conflict("answer is one of other_money, made_elsewhere, abandon", current_state=row.status)

    async def _ask_again(self, tx: Tx, row: ReceiptRow, principal: Principal, said: dict[str, Any]) -> None:
        if row.kassa_id is None:
            raise Conflict("this receipt never had a kassa to ask")
        await planned.set_status(tx, row, Status.UNKNOWN.value)
        await work.enqueue(tx, JobKind.RECONCILE, row.kassa_id, row.id, chain=row.chain_id)
        await self._note(tx, row, "resolve", principal, said)

    @again(Contended)
    async def patch_receipt(
        self, principal: Principal, merchant_id: UUID, receipt_id: UUID, sequence: int, changes: dict[str, Any]
    ) -> None:
        """Fill what a held receipt lacks, or correct a rejected one; `sequence` is the one the caller saw."""
        settings = await self._catalog.merchant(merchant_id, fresh=True)
        async with self._database.pipeline() as tx:
            row = await self._locked(tx, merchant_id, receipt_id)
            if row.sequence != sequence:
                raise PreconditionFailed(f"the receipt has moved on to sequence {row.sequence}; read it again")
            await self._patch(tx, row, changes, principal, settings)

    @again(Contended)
    async def patch_event(
        self, principal: Principal, merchant_id: UUID, event_id: UUID, changes: dict[str, Any]
    ) -> None:
        """The same by the event's id."""
        settings = await self._catalog.merchant(merchant_id, fresh=True)
        async with self._database.pipeline() as tx:
            await self._patch(tx, await self._waiting_of(tx, merchant_id, event_id), changes, principal, settings)

    @again(Contended)
    async def replan(self, principal: Principal, merchant_id: UUID, event_id: UUID) -> None:
        """Plan a held event again: its mapping, default or sale may be there now."""
        settings = await self._catalog.merchant(merchant_id, fresh=True)
        async with self._database.pipeline() as tx:
            row = await self._waiting_of(tx, merchant_id, event_id)
            await self._replan(tx, row, principal, settings)

    async def _waiting_of(self, tx: Tx, merchant_id: UUID, event_id: UUID) -> ReceiptRow:
        rows = await receipts.of_event(tx, merchant_id, event_id)
        if not rows:
            if await planned.of_merchant(tx, merchant_id, event_id) is None:
                raise NotFound("no such event")
            raise Conflict("this event has no receipt that waits for anything")
        return await self._locked(tx, merchant_id, rows[0].id)

    async def _patch(
        self,
        tx: Tx,
        row: ReceiptRow,
        changes: dict[str, Any],
        principal: Principal,
        settings: MerchantSettings,
    ) -> None:
        status = Status(row.status)
        later = may_get_contact(row, frozenset(changes))
        if not later and (status not in (Status.HELD, Status.REJECTED) or row.event_id is None):
            raise _conflict(status, "be changed", ("held", "rejected"))
        event = None if row.event_id is None else await planned.of_merchant(tx, row.merchant_id, row.event_id)
        if event is None:
            raise NotFound("no such event")
        before = open_event(self._box, event.merchant_id, event.id, event.payload)
        after = _changed(before, changes)
        await planned.set_payload(
            tx,
            row.merchant_id,
            event.id,
            seal_event(self._box, event.merchant_id, event.id, after),
            after.amount,
            after.order_id,
        )
        await self._note(tx, row, "patched", principal, {"members": sorted(changes)})
        if later:
            await add_contact(tx, self._intake, row, after.customer, principal)
        elif status is Status.HELD:
            await self._replan(tx, row, principal, settings, must=True)
        else:
            await self._corrected(tx, row, after, principal, settings)

    async def _replan(
        self, tx: Tx, row: ReceiptRow, principal: Principal, settings: MerchantSettings, *, must: bool = False
    ) -> None:
        if row.event_id is None or row.status != Status.HELD.value:
            raise _conflict(Status(row.status), "be planned again", ("held",))
        if is_held_late(row):
            raise Conflict(
                "this receipt lacks nothing, it is late: POST /v1/receipts/{id}/confirm-late", current_state=row.status
            )
        if _contradicts(row):
            raise Conflict(
                "this receipt lacks nothing, two reports contradict: POST /v1/receipts/{id}/resolve with other_money "
                "or made_elsewhere",
                current_state=row.status,
            )
        event = await planned.event(tx, row.event_id)
        if event is None:
            raise NotFound("no such event")
        await self._note(tx, row, "replan", principal)
        await self._planner.plan_event(tx, event, settings, strict=must)

    async def _corrected(
        self, tx: Tx, row: ReceiptRow, event: PaymentEvent, principal: Principal, settings: MerchantSettings
    ) -> None:
        """A rejected receipt with corrected content goes out as a new version under a new id."""
        if event.type is not EventType.PAYMENT_SUCCEEDED:
            raise Conflict("a refused refund is made again as a refund of its sale: POST /v1/receipts/{sale}/refund")
        source = settings.sources[row.source_id]
        branch, _ = self._intake.sales.place_of(settings, source, event)
        kassa = settings.kassas[row.kassa_id] if row.kassa_id else None
        before = self._planner.document(row)
        plan = self._intake.sales.plan(
            settings,
            source,
            branch,
            kassa,
            event,
            # What was made by hand keeps its operation and, if it corrects, its basis.
            lambda receipt, today: shaped(receipt, today, before.operation, before.correction),
        )
        match plan:
            case Planned(receipts=made, items_origin=origin):
                filled = filled_row(row, made[0], origin, plan)
                await self._new_version(tx, filled, made[0].customer, principal, settings)
            case Refused(findings=findings):
                raise Invalid("this cannot become a receipt", findings)
            case Held(missing=missing):
                raise Invalid("data is still missing", tuple(lacking(m) for m in missing))

    async def _new_version(
        self,
        tx: Tx,
        row: ReceiptRow,
        customer: Customer | None,
        principal: Principal,
        settings: MerchantSettings,
    ) -> None:
        """The next version under its own id; the old id stays burnt and is asked for before this one is sent."""
        consequence = step(Status.REJECTED, Happening.CORRECTED)
        number = row.version + 1
        event = None if row.event_id is None else await planned.of_merchant(tx, row.merchant_id, row.event_id)
        if event is None or row.kassa_id is None:
            raise Conflict("this receipt cannot be sent again; make a new one")
        after = row.changed(
            status=consequence.status.value,
            failure=None,
            version=number,
            provider_id=provider_id(
                row.merchant_id.hex, row.source_id.hex, EventType(event.type), event.external_id, row.number, number
            ),
        )
        if not await planned.rewrite_receipt(
            tx,
            row.changed(status=Status.REJECTED.value),
            self._intake.new_receipt(after, customer),
            sequence=row.sequence,
        ):
            raise Conflict("the receipt moved meanwhile; read it again")
        await planned.set_event(tx, row.merchant_id, event.id, EventStatus.PLANNED.value, None)
        await self._note(tx, after, "corrected", principal, {"version": number})
        if row.chain_id is None:
            await work.enqueue(tx, JobKind.FISCALIZE, row.kassa_id, row.id)
            return
        await self._planner.recount_and_advance(tx, row.chain_id, settings)

    async def _locked(self, tx: Tx, merchant_id: UUID, receipt_id: UUID) -> ReceiptRow:
        """The receipt under its chain's lock and its own."""
        row = await receipts.by_id(tx, merchant_id, receipt_id)
        if row is None:
            raise NotFound("no such receipt")
        if row.chain_id is not None:
            await chains.lock(tx, merchant_id, row.chain_id)
        locked = await receipts.by_id(tx, merchant_id, receipt_id, lock=True)
        if locked is None:
            raise NotFound("no such receipt")
        return locked

    def _customer(self, row: ReceiptRow) -> Customer | None:
        return open_customer(self._box, row.merchant_id, row.id, row.customer)

    async def _finish(
        self,
        tx: Tx,
        row: ReceiptRow,
        happening: Happening,
        principal: Principal,
        said: dict[str, Any],
        settings: MerchantSettings,
        *,
        fiscal: FiscalData | None = None,
    ) -> None:
        """Move a locked receipt by a person's word, tell it, and let its chain go on."""
        at = await database_now(tx)
        try:
            consequence = step(Status(row.status), happening)
        except IllegalTransition as wrong:
            raise Conflict(str(wrong), current_state=row.status) from None
        after = self._after(row, consequence, happening, at, said, fiscal)
        await planned.move_receipt(tx, row, after)
        if consequence.follow_up is not None and row.kassa_id is not None:
            await work.enqueue(tx, FOLLOW_UP[consequence.follow_up], row.kassa_id, row.id, chain=row.chain_id)
        await self._note(tx, after, happening.value, principal, said)
        if consequence.message is not None:
            await self._tell(tx, after, consequence.message, at)
        if row.chain_id is not None:
            await self._planner.recount_and_advance(tx, row.chain_id, settings)

    def _after(
        self,
        row: ReceiptRow,
        consequence: Step,
        happening: Happening,
        at: datetime,
        said: dict[str, Any],
        fiscal: FiscalData | None,
    ) -> ReceiptRow:
        failure = row.failure if consequence.status is Status.CANCELLED else None
        if consequence.status is Status.CANCELLED and happening is not Happening.CANCELLED:
            failure = failure_json("resolved_by_person", at=at, **said)
        after = row.changed(
            status=consequence.status.value,
            sequence=row.sequence + (1 if consequence.message else 0),
            failure=failure,
            updated_at=at,
        )
        if fiscal is None:
            return after
        stored = {**fiscal_to_json(fiscal), "qr": qr_text(fiscal, Operation.parse(row.operation), row.total)}
        return after.changed(fn=fiscal.fn, fd=fiscal.fd, fpd=fiscal.fpd, fiscal=stored)

    async def _tell(self, tx: Tx, row: ReceiptRow, message: MessageType, at: datetime) -> None:
        await tell(
            tx,
            row.merchant_id,
            message.value,
            told(message, row, self._customer(row), at, self._intake.links),
            at,
            receipt_id=row.id,
            sequence=row.sequence,
        )

    async def _note(
        self, tx: Tx, row: ReceiptRow, what: str, principal: Principal, data: dict[str, Any] | None = None
    ) -> None:
        kept = {name: value for name, value in (data or {}).items() if value is not None}
        await history.add(
            tx, row.merchant_id, TimelineEntry(what, principal.actor, row.status, kept), receipt_id=row.id
        )


_COMPARED = (CLASH, HeldReason.REFUND_UNCLEAR.value)
"""Causes of a hold that a person ends by comparing two reports."""


def _contradicts(row: ReceiptRow) -> bool:
    """Held because another report has its settlement key, or may be of the same refund."""
    return row.status == Status.HELD.value and (row.failure or {}).get("code") in _COMPARED


def _changed(before: PaymentEvent, changes: dict[str, Any]) -> PaymentEvent:
    """The event with some members replaced; customer and requisites are merged member by member."""
    stored = event_to_json(before)
    if before.question is not None and before.question.member in changes:
        stored.pop("question")
    for name, value in changes.items():
        if name in ("customer", "requisites") and isinstance(value, dict):
            stored[name] = {**stored.get(name, {}), **value}
        elif value is None:
            stored.pop(name, None)
        else:
            stored[name] = value
    if changes.get("items"):
        stored["items_origin"] = PERSON
    return event_from_json(json.loads(json.dumps(stored)))


def _conflict(status: Status, what: str, states: tuple[str, ...]) -> Conflict:
    return Conflict(
        f"a receipt that is {status.value} cannot {what}", current_state=status.value, allowed_states=list(states)
    )
