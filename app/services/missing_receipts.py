"""Correction receipts for money that has no receipt: one payment, by hand or by its id in its source.

A payment that was reported, in whatever state, is not missing: its own receipt is found out, filled or corrected.
"""

from dataclasses import replace
from datetime import date, datetime, time
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from app.db.repos import events, receipts
from app.db.repos.settings import KassaRow
from app.db.unit_of_work import Database
from app.domain.correction import Asked, Case, CorrectionPlan, Means, carried, plan_correction
from app.domain.errors import Conflict, DuplicateEvent, Finding, Invalid
from app.domain.event import EventType, PaymentEvent
from app.domain.ffd import FfdVersion, Operation
from app.domain.plan import Held, Planned, Refused
from app.domain.receipt import CorrectionBasis, Receipt
from app.infra.ids import public
from app.ports.kassa import KassaDriver
from app.ports.registry import Registry
from app.services.catalog import Catalog, MerchantSettings
from app.services.correction_standing import PREFIX
from app.services.correction_views import preview_view
from app.services.intake import Intake, lacking
from app.services.principal import Principal
from app.services.sales import Shape, local_date

_NOON = time(12)
_MOSCOW = "Europe/Moscow"


class MissingReceipts:
    """Payments without receipts of one merchant."""

    def __init__(
        self, *, database: Database, catalog: Catalog, intake: Intake, registry: Registry[KassaDriver]
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._intake = intake
        self._registry = registry

    def means(self, kassa: KassaRow) -> Means:
        """What the driver of this kassa can carry."""
        return means_of(self._registry, kassa)

    async def make(
        self,
        principal: Principal,
        merchant_id: UUID,
        key: str,
        operation: Operation,
        event: PaymentEvent,
        basis: CorrectionBasis,
        *,
        payment_id: str | None = None,
        source: str | None = None,
    ) -> UUID:
        """A correction receipt for money that has none; returns its event.

        With `payment_id` it takes the identity of that payment in its source: who was reported already, in whatever
        state, is no missing payment (Conflict), and who is reported later is a repeat. Without it the identity is the
        key.
        """
        source_id = await self._intake.source_of(principal, merchant_id, source)
        settings = await self._catalog.merchant(merchant_id, fresh=True)
        named = self._named(settings, source_id, event, basis, payment_id or f"{PREFIX}{key}")
        named = replace(named, metadata={**named.metadata, **({"correction_key": key} if payment_id else {})})
        if payment_id is not None:
            await self.must_be_unreported(merchant_id, payment_id, mine=("correction_key", key))
        shape = self.missing_shape(settings, source_id, named, operation, basis, await self._today(settings, named))
        try:
            answer = await self._intake.accept(merchant_id, source_id, named, principal.actor, shape=shape)
        except DuplicateEvent as taken:
            if payment_id is None:
                raise
            raise _reported(str(taken.facts.get("existing_id"))) from None
        if not answer.fresh and payment_id is not None:
            await self.must_be_unreported(merchant_id, payment_id, mine=("correction_key", key))
        return answer.event_id

    async def preview(
        self,
        principal: Principal,
        merchant_id: UUID,
        operation: Operation,
        event: PaymentEvent,
        basis: CorrectionBasis,
        *,
        payment_id: str | None = None,
        source: str | None = None,
    ) -> dict[str, Any]:
        """What `make` would make; nothing is stored."""
        source_id = await self._intake.source_of(principal, merchant_id, source)
        settings = await self._catalog.merchant(merchant_id, fresh=True)
        named = self._named(settings, source_id, event, basis, payment_id or f"{PREFIX}preview")
        if payment_id is not None:
            await self.must_be_unreported(merchant_id, payment_id)
        plan, kassa = self.plan_missing(
            settings, source_id, named, operation, basis, await self._today(settings, named)
        )
        return preview_view(settings, kassa, Case.NOT_REGISTERED, basis, plan, self.means(kassa), None, (), None)

    def missing_shape(
        self,
        settings: MerchantSettings,
        source_id: UUID,
        event: PaymentEvent,
        operation: Operation,
        basis: CorrectionBasis,
        today: date,
    ) -> Shape:
        """Turns the planned sale into the correction receipt; Invalid when it cannot be one."""
        _, kassa = self._intake.sales.place_of(settings, settings.sources[source_id], event)

        def shape(receipt: Receipt, _: date) -> Receipt:
            if kassa is None:
                return receipt
            means = self.means(kassa)
            return carried(self._missing_plan(receipt, operation, basis, means, today), means)[0]

        return shape

    def plan_missing(
        self,
        settings: MerchantSettings,
        source_id: UUID,
        event: PaymentEvent,
        operation: Operation,
        basis: CorrectionBasis,
        today: date,
    ) -> tuple[CorrectionPlan, KassaRow]:
        """The correction of one payment without a receipt; Invalid with every finding when there is none."""
        source = settings.sources[source_id]
        branch, kassa = self._intake.sales.place_of(settings, source, event)
        ignored = self._intake.sales.ignored(source, kassa, event)
        if ignored is not None:
            raise Invalid("this source makes no receipts for this payment", (_ignored(ignored),))
        match self._intake.sales.plan(settings, source, branch, kassa, event, lenient=True):
            case Planned(receipts=(receipt, *_)) if kassa is not None:
                return self._missing_plan(receipt, operation, basis, self.means(kassa), today), kassa
            case Refused(findings=findings):
                raise Invalid("this cannot become a receipt", findings)
            case Held(missing=missing):
                raise Invalid("data is missing", tuple(lacking(one) for one in missing))
            case _:
                raise Invalid("this needs no receipt")

    def _missing_plan(
        self, receipt: Receipt, operation: Operation, basis: CorrectionBasis, means: Means, today: date
    ) -> CorrectionPlan:
        right = replace(receipt, operation=operation)
        return made_plan(plan_correction(Asked(Case.NOT_REGISTERED, basis, receipt.ffd, right=right), means, today))

    def _named(
        self, settings: MerchantSettings, source_id: UUID, event: PaymentEvent, basis: CorrectionBasis, name: str
    ) -> PaymentEvent:
        """The event of a missing payment: it happened on the corrected day, at noon where the kassa stands."""
        _, kassa = self._intake.sales.place_of(settings, settings.sources[source_id], event)
        zone = ZoneInfo(kassa.timezone if kassa is not None else _MOSCOW)
        at = event.occurred_at
        if at.astimezone(zone).date() != basis.corrected_date:
            at = datetime.combine(basis.corrected_date, _NOON, zone)
        return replace(event, type=EventType.PAYMENT_SUCCEEDED, external_id=name, occurred_at=at)

    async def _today(self, settings: MerchantSettings, event: PaymentEvent) -> date:
        branch = settings.branch(event.branch) if event.branch else None
        kassa = settings.route(settings.built_in_source, branch)
        return local_date(await self._database.now(), kassa.timezone if kassa is not None else _MOSCOW)

    async def must_be_unreported(
        self, merchant_id: UUID, payment_id: str, *, mine: tuple[str, object] | None = None
    ) -> None:
        """Conflict when any source reported this payment, whatever became of it; `mine` is metadata of our own."""
        async with self._database.pipeline() as tx:
            for event_id in await events.reported_as(tx, merchant_id, payment_id):
                event = await events.by_id(tx, merchant_id, event_id)
                if event is None or mine is None or event.metadata.get(mine[0]) != mine[1]:
                    made = await receipts.of_event(tx, merchant_id, event_id)
                    raise _reported(
                        public("evt", event_id),
                        receipts=[{"id": public("rcpt", one.id), "status": one.status} for one in made],
                    )


def means_of(registry: Registry[KassaDriver], kassa: KassaRow) -> Means:
    """What the driver of a kassa declares that it can carry."""
    can = registry.get(kassa.provider).capabilities
    return Means(
        can.corrections, can.operations, can.additional_receipt_prop, can.max_items, can.carried(FfdVersion(kassa.ffd))
    )


def made_plan(plan: CorrectionPlan | Refused) -> CorrectionPlan:
    """The plan; Invalid with every finding where there is none."""
    if isinstance(plan, Refused):
        raise Invalid("this correction cannot be made", plan.findings)
    return plan


def _reported(event_id: str, **facts: object) -> Conflict:
    return Conflict(
        "this payment was reported already; correct its receipt, or find out what became of it",
        rule="payment_already_reported",
        event_id=event_id,
        **facts,
    )


def _ignored(reason: dict[str, Any]) -> Finding:
    return Finding(
        "#/source",
        "source_makes_no_receipts",
        f"No receipt is made for this payment: {reason['detail']}.",
        "По настройкам источника чек на этот платёж не делается.",
        fix="Name the source whose receipts are made here, or leave `source` out.",
    )
