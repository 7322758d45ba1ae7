"""Corrections of a receipt: what happened is told, the documents are planned under its payment's lock, made in order.

A receipt whose fate is not known is never corrected: it is found out first.
"""

from dataclasses import dataclass, replace
from datetime import time
from time import time_ns
from typing import Any
from uuid import UUID

from app.db.records import TimelineEntry
from app.db.repos import chains, corrections, events, history, planned, receipts
from app.db.repos.chains import Chain
from app.db.repos.corrections import CorrectionRow, NewCorrectionEvent
from app.db.repos.receipts import ReceiptRow
from app.db.repos.settings import KassaRow
from app.db.unit_of_work import Database, Tx, database_now
from app.domain.codec import event_to_json, fiscal_to_json
from app.domain.correction import Asked, Case, CorrectionPlan, Printed, carried, plan_correction
from app.domain.correction_letter import differences
from app.domain.errors import Conflict, Contended, NotFound
from app.domain.event import EventPayment, EventStatus, EventType, PaymentEvent
from app.domain.ffd import FfdVersion, Operation
from app.domain.identity import fingerprint
from app.domain.lifecycle import Status
from app.domain.receipt import CorrectionBasis, Receipt
from app.infra.again import again
from app.infra.ids import new_id, public
from app.infra.tracing import Tracing
from app.ports.kassa import KassaDriver
from app.ports.registry import Registry
from app.services.catalog import Catalog, MerchantSettings
from app.services.correction_guards import forbidden, must_be_correctable, must_hold_the_rest
from app.services.correction_right import Repair, event_line, right_receipt
from app.services.correction_standing import PREFIX, standing
from app.services.correction_views import basis_json, correction_view, preview_view
from app.services.customers import seal_event
from app.services.giving_up import give_up
from app.services.intake import Intake
from app.services.missing_receipts import made_plan, means_of
from app.services.plan import Planner
from app.services.principal import Principal
from app.services.receipt_rows import blank_row, filled_row, fiscal_of
from app.services.sales import local_date
from app.services.traces import tell_correction

_NOON = time(12)
_SALES = (Operation.SELL.code, Operation.BUY.code)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A repair under its chain's lock: everything that storing it needs."""

    row: ReceiptRow
    chain: Chain
    kassa: KassaRow
    asked: Asked
    plan: CorrectionPlan
    documents: tuple[Receipt, ...]
    differences: tuple[str, ...]


class Corrections:
    """Corrections of one merchant's settlements."""

    def __init__(
        self,
        *,
        database: Database,
        catalog: Catalog,
        intake: Intake,
        planner: Planner,
        registry: Registry[KassaDriver],
        tracing: Tracing,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._intake = intake
        self._planner = planner
        self._registry = registry
        self._tracing = tracing
        self._box = intake.box

    @again(Contended)
    async def preview(self, principal: Principal, merchant_id: UUID, asked: Repair) -> dict[str, Any]:
        """The documents and the explanation, as `repair` would make them; nothing is stored."""
        settings = await self._catalog.merchant(merchant_id, fresh=True)
        async with self._database.pipeline() as tx:
            ready = await self._prepare(tx, merchant_id, asked, settings)
        return preview_view(
            settings,
            ready.kassa,
            asked.case,
            ready.asked.basis,
            ready.plan,
            means_of(self._registry, ready.kassa),
            ready.row,
            ready.differences,
            asked.reason,
            other=asked.other_document,
        )

    @again(Contended)
    async def repair(self, principal: Principal, merchant_id: UUID, key: str, asked: Repair) -> UUID:
        """Plan and store the documents; the first gets its turn, the second only when the first is fiscalized.

        Returns the correction's id; the same key again returns the same. Conflict, with the name of the rule, when
        the receipt's state forbids it; Invalid when the documents cannot be made.
        """
        began = time_ns()
        settings = await self._catalog.merchant(merchant_id, fresh=True)
        async with self._database.pipeline() as tx:
            before = await self._known(tx, merchant_id, key)
            if before is not None:
                return before
            ready = await self._prepare(tx, merchant_id, asked, settings)
            made = await self._store(tx, settings, ready, principal, key, asked)
        tell_correction(self._tracing, made, began)
        return made.id

    async def read(self, merchant_id: UUID, correction_id: UUID, *, masked: bool) -> dict[str, Any]:
        """A correction with its documents and the explanation as it stands by now. NotFound for anybody else's."""
        settings = await self._catalog.merchant(merchant_id)
        async with self._database.tenant(merchant_id) as tx:
            one = await corrections.by_id(tx, merchant_id, correction_id)
            if one is None:
                raise NotFound("no such correction")
            wrong = await receipts.by_id(tx, merchant_id, one.receipt_id)
            made = await receipts.of_event(tx, merchant_id, one.event_id)
        return correction_view(settings, one, wrong, made, self._box, self._intake.links, masked=masked)

    async def _known(self, tx: Tx, merchant_id: UUID, key: str) -> UUID | None:
        for event_id in await events.reported_as(tx, merchant_id, f"{PREFIX}{key}"):
            one = await corrections.of_event(tx, merchant_id, event_id)
            if one is not None:
                return one.id
        return None

    async def _prepare(self, tx: Tx, merchant_id: UUID, ask: Repair, settings: MerchantSettings) -> _Prepared:
        row = await receipts.by_id(tx, merchant_id, ask.receipt_id)
        if row is None:
            raise NotFound("no such receipt")
        chain = None if row.chain_id is None else await chains.lock(tx, merchant_id, row.chain_id)
        locked = await receipts.by_id(tx, merchant_id, ask.receipt_id, lock=True)
        if chain is None or locked is None or locked.document is None:
            raise forbidden("receipt_empty", "a receipt without lines is filled, not corrected", row)
        await must_be_correctable(tx, locked, ask.case)
        members = await receipts.of_chain(tx, merchant_id, chain.id)
        sold_by = await chains.sale_event(tx, chain)
        sale = next((one for one in members if one.event_id == sold_by and one.operation in _SALES), None)
        stands = standing(sale, members, await corrections.of_chain(tx, merchant_id, chain.id))
        if locked.id in stands.repaired or locked.id not in {one.id for one in stands.rows}:
            raise forbidden("already_corrected", "this receipt was corrected already; correct its right form", locked)
        kassa = self._kassa(settings, locked)
        today = local_date(await database_now(tx), kassa.timezone)
        asked = self._asked(settings, locked, kassa, ask)
        plan = made_plan(plan_correction(asked, means_of(self._registry, kassa), today))
        if ask.other_document is None:
            must_hold_the_rest(locked, stands, 0 if asked.right is None else asked.right.total)
        before = self._planner.document(locked)
        return _Prepared(
            locked,
            chain,
            kassa,
            asked,
            plan,
            carried(plan, means_of(self._registry, kassa)),
            () if asked.right is None or asked.wrong is None else differences(before, asked.right),
        )

    def _kassa(self, settings: MerchantSettings, row: ReceiptRow) -> KassaRow:
        """The kassa that printed it, or the one that took its place."""
        own = settings.kassas.get(row.kassa_id) if row.kassa_id is not None else None
        if own is not None and own.status == "active":
            return own
        branch = settings.branches.get(row.branch_id) if row.branch_id is not None else None
        found = settings.route(settings.sources[row.source_id], branch)
        if found is None:
            raise forbidden("kassa_missing", "no switched-on kassa can make this correction", row)
        return found

    def _asked(self, settings: MerchantSettings, row: ReceiptRow, kassa: KassaRow, ask: Repair) -> Asked:
        before = self._planner.document(row)
        if kassa.id != row.kassa_id:
            before = replace(before, place=kassa.place, timezone=kassa.timezone, internet=kassa.internet)
        fiscal = ask.other_document or fiscal_of(row)
        moment = row.due_at or row.created_at if fiscal is None else fiscal.fiscalized_at
        day = local_date(moment, before.timezone)
        basis = CorrectionBasis(ask.kind, ask.corrected_date or day, ask.document_number)
        wrong = None if ask.case is Case.NOT_REGISTERED or fiscal is None else Printed(before, fiscal.fpd, day)
        right = (
            right_receipt(self._intake.sales, settings, row, kassa, before, moment, ask)
            if ask.case.needs_right
            else None
        )
        return Asked(ask.case, basis, FfdVersion(kassa.ffd), wrong, right, ask.without_link)

    async def _store(
        self, tx: Tx, settings: MerchantSettings, ready: _Prepared, principal: Principal, key: str, ask: Repair
    ) -> CorrectionRow:
        at, last = await database_now(tx), ready.documents[-1]
        chain, row = ready.chain, ready.row
        source = settings.sources[chain.source_id]
        branch = settings.branches.get(row.branch_id) if row.branch_id is not None else None
        event = PaymentEvent(
            type=EventType.PAYMENT_SUCCEEDED,
            external_id=f"{PREFIX}{key}",
            amount=last.total,
            occurred_at=at,
            order_id=row.order_id,
            customer=last.customer,
            items=tuple(event_line(item) for item in last.items),
            payments=tuple(EventPayment(paid.kind.code, paid.amount) for paid in last.payments),
            taxation=last.taxation.code,
            metadata=ask.metadata,
        )
        event_id = new_id()
        fresh = await corrections.add_event(
            tx,
            NewCorrectionEvent(
                id=event_id,
                merchant_id=settings.id,
                source_id=source.id,
                chain_id=chain.id,
                type=event.type.value,
                external_id=event.external_id,
                content_hash=fingerprint(event_to_json(event)),
                order_id=event.order_id,
                amount=event.amount,
                currency=event.currency,
                occurred_at=at,
                payload=seal_event(self._box, settings.id, event_id, event),
                metadata=dict(event.metadata),
                received_at=at,
            ),
        )
        if not fresh:
            raise Conflict("a correction under this key is being made; repeat the request", rule="key_in_use")
        one = CorrectionRow(
            id=new_id(),
            merchant_id=settings.id,
            receipt_id=row.id,
            event_id=event_id,
            chain_id=chain.id,
            case=ask.case.value,
            basis=basis_json(ready.asked.basis),
            other_document=None if ask.other_document is None else fiscal_to_json(ask.other_document),
            reason=ask.reason,
            differences=list(ready.differences),
            notes=list(ready.plan.notes),
            actor=principal.actor,
            created_at=at,
        )
        await corrections.add(tx, one)
        note = {"correction": public("cor", one.id), "case": one.case, "reason": ask.reason}
        await history.add(
            tx,
            settings.id,
            TimelineEntry(EventStatus.PLANNED.value, principal.actor, None, note),
            event_id=event_id,
        )
        for number, receipt in enumerate(ready.documents, start=1):
            made = filled_row(
                blank_row(settings.id, source, branch, ready.kassa, event, event_id, number, at, chain_id=chain.id),
                receipt,
                "correction",
            )
            await planned.add_receipt(tx, self._intake.new_receipt(made, receipt.customer))
            await history.add(
                tx, settings.id, TimelineEntry("planned", principal.actor, made.status, note), receipt_id=made.id
            )
        if ask.case is Case.NOT_REGISTERED and row.status != Status.CANCELLED.value:
            # The receipt that was never made is not sent any more: its correction stands for the money.
            await give_up(tx, row, principal.actor, note, at, self._box, self._intake.links)
        else:
            await history.add(
                tx, settings.id, TimelineEntry("correction", principal.actor, row.status, note), receipt_id=row.id
            )
        await self._planner.recount_and_advance(tx, chain.id, settings)
        return one
