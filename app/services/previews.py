"""Dry runs: what a report would become, with every finding and the exact body that its provider would get.

Nothing is stored: no identity, no key, no receipt. What looks back at a sale is planned under the sale's lock in a
transaction that is rolled back.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.db.repos.events import EventRow
from app.db.repos.settings import BranchRow, KassaRow, SourceRow
from app.db.unit_of_work import Database
from app.domain.codec import adjustments_to_json, filled_to_json, receipt_to_json
from app.domain.errors import Finding, Invalid, NotFound, Severity
from app.domain.event import EventStatus, PaymentEvent
from app.domain.identity import provider_id
from app.domain.plan import Held, Plan, Planned, Refused
from app.domain.receipt import Receipt
from app.domain.remarks import remarks
from app.infra.crypto import SecretBox
from app.infra.ids import new_id, public
from app.services.catalog import Catalog, MerchantSettings
from app.services.customers import customer_view, masked_body
from app.services.drivers import Drivers
from app.services.intake import Intake
from app.services.look_back import LookBack
from app.services.sales import Shape
from app.services.story import Stories
from app.services.views import filled_view, finding_json, lines_view

Json = dict[str, Any]

_ORDER = (Severity.ERROR, Severity.WARNING, Severity.FIXED)


@dataclass(frozen=True, slots=True)
class _Planned:
    """A plan with the place where it would be printed."""

    plan: Plan
    branch: BranchRow | None
    kassa: KassaRow | None


class _Undone(Exception):
    """Ends a transaction that must leave nothing behind."""


class Previews:
    """Plans reports without storing them."""

    def __init__(
        self, *, database: Database, catalog: Catalog, intake: Intake, drivers: Drivers, box: SecretBox
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._intake = intake
        self._drivers = drivers
        self._look_back = LookBack(intake.sales, Stories(box), box)

    async def event(
        self,
        merchant_id: UUID,
        source_id: UUID,
        event: PaymentEvent,
        *,
        masked: bool,
        shape: Shape | None = None,
    ) -> Json:
        """What `Intake.accept` would do with this report now; `shape` as there. Money in a payload is Decimal roubles.

        Secrets in a payload are never shown; contacts are, unless `masked`.
        """
        settings = await self._catalog.merchant(merchant_id)
        source = settings.sources.get(source_id)
        if source is None:
            raise NotFound("no such source")
        known = await self._intake.known(merchant_id, source_id, event.type, event.external_id)
        branch, kassa = self._intake.sales.place_of(settings, source, event)
        ignored = self._intake.sales.ignored(source, kassa, event)
        if ignored is not None:
            return _answer("ignored", known, kassa, reason=ignored)
        try:
            made = await self._plan(settings, source, branch, kassa, event, known, shape)
        except Invalid as refused:
            made = _Planned(Refused(refused.findings), branch, kassa)
        match made.plan:
            case Planned(receipts=()) as plan:
                return _answer("nothing_to_print", known, made.kassa, remarks(plan.notes))
            case Planned() as plan if made.kassa is not None:
                return self._told(settings, source, event, known, plan, made.kassa, masked)
            case Held(reason=reason, missing=missing, limit=limit):
                gaps = [one.finding() for one in missing]
                return _answer("held", known, made.kassa, gaps, reason={"code": reason.value, "limit": limit})
            case Refused(findings=findings):
                return _answer("refused", known, made.kassa, findings)
            case _:
                raise ValueError("a planned receipt has a kassa")

    async def _plan(
        self,
        settings: MerchantSettings,
        source: SourceRow,
        branch: BranchRow | None,
        kassa: KassaRow | None,
        event: PaymentEvent,
        known: UUID | None,
        shape: Shape | None,
    ) -> _Planned:
        at = await self._database.now()
        if shape is not None or not self._intake.sales.looks_back(event):
            plan = self._intake.planned(settings, source, branch, kassa, event, at, shape)
            return _Planned(plan, branch, kassa)
        if found := self._intake.sales.contradictions(settings, source, branch, kassa, event, at):
            return _Planned(Refused(found), branch, kassa)
        row = EventRow(
            id=known or new_id(),
            merchant_id=settings.id,
            source_id=source.id,
            type=event.type.value,
            external_id=event.external_id,
            payment_id=event.payment_id,
            order_id=event.order_id,
            settlement_key=event.settlement_key,
            chain_id=None,
            status=EventStatus.RECEIVED.value,
            reason=None,
            amount=event.amount,
            currency=event.currency,
            occurred_at=event.occurred_at,
            payload=b"",
            metadata=event.metadata,
            test=event.test,
            received_at=at,
        )
        made: list[_Planned] = []
        try:
            async with self._database.pipeline() as tx:
                scope = await self._look_back.lock(tx, row, event)
                draft = await self._look_back.plan(tx, settings, source, row, event, scope)
                made.append(_Planned(draft.plan, draft.branch, draft.kassa))
                raise _Undone
        except _Undone:
            return made[0]

    def _told(
        self,
        settings: MerchantSettings,
        source: SourceRow,
        event: PaymentEvent,
        known: UUID | None,
        plan: Planned,
        kassa: KassaRow,
        masked: bool,
    ) -> Json:
        findings = remarks(plan.notes)
        receipts = []
        for number, receipt in enumerate(plan.receipts, start=1):
            identity = provider_id(settings.id.hex, source.id.hex, event.type, event.external_id, number, 1)
            try:
                body = self._drivers.payload(kassa, settings.inn, identity, receipt)
            except Invalid as refused:
                findings += refused.findings
                body = None
            shown = masked_body(body, receipt.customer) if masked and body is not None else body
            receipts.append(_receipt_json(receipt, plan, kassa, shown, masked))
        refused_by_driver = any(one.severity is Severity.ERROR for one in findings)
        return _answer("refused" if refused_by_driver else "planned", known, kassa, findings, receipts=receipts)


def _receipt_json(receipt: Receipt, plan: Planned, kassa: KassaRow, body: Json | None, masked: bool) -> Json:
    document = receipt_to_json(receipt)
    return {
        "operation": receipt.operation.code,
        "ffd": receipt.ffd.value,
        "taxation": receipt.taxation.code,
        "total": receipt.total,
        "customer": customer_view(receipt.customer, masked=masked),
        "items": lines_view(document["items"]),
        "items_origin": plan.items_origin,
        "nomenclature": None if plan.filled is None else filled_view(filled_to_json(plan.filled)),
        "adjustments": adjustments_to_json(plan.adjustments),
        "payments": [{"type": paid["kind"], "amount": paid["amount"]} for paid in document["payments"]],
        "payload": None if body is None else {"provider": kassa.provider, "body": body},
    }


def _answer(
    outcome: str,
    known: UUID | None,
    kassa: KassaRow | None,
    findings: "list[Finding] | tuple[Finding, ...]" = (),
    *,
    receipts: "list[Json] | tuple[Json, ...]" = (),
    reason: Json | None = None,
) -> Json:
    ordered = sorted(findings, key=lambda one: _ORDER.index(one.severity))
    return {
        "dry_run": True,
        "outcome": outcome,
        "existing_id": None if known is None else public("evt", known),
        "kassa_id": None if kassa is None else public("kas", kassa.id),
        "reason": reason,
        "findings": [finding_json(one) for one in ordered],
        "receipts": list(receipts),
    }
