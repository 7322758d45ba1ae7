"""What a payment becomes under a merchant's settings: where it belongs, whether it is ignored, and its plan."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from app.db.repos.settings import BranchRow, KassaRow, SourceRow
from app.domain.basket import ZeroLines
from app.domain.causes import Who
from app.domain.errors import Finding
from app.domain.event import EventType, PaymentEvent
from app.domain.ffd import FfdVersion, Measure, PaymentMethod, PaymentObject, Taxation
from app.domain.limits import DriverLimits, limit_findings
from app.domain.money import roubles
from app.domain.nomenclature import Matcher, RuleSet, Unmapped
from app.domain.plan import Held, HeldReason, Refused
from app.domain.planning import Defaults, Plan, Planned, PlanSettings, merge, plan_sale
from app.domain.reading import comes_later, future_finding, item_findings, money_findings, offsets
from app.domain.receipt import Receipt
from app.domain.vat import VatRate
from app.domain.vat_settings import VatPolicy
from app.infra.crypto import SecretBox
from app.infra.ids import public
from app.ports.kassa import Capabilities, KassaDriver
from app.ports.registry import Registry
from app.services.catalog import MerchantSettings
from app.services.customers import open_fallback

_MOSCOW = "Europe/Moscow"
"""Whose day counts where no kassa is known yet."""
ACQUIRER_FISCALIZES = "acquirer_fiscalizes"
"""Why an event is ignored whose source makes the receipt itself: there is one, so no other source gets one here."""

Shape = Callable[[Receipt, date], Receipt]
"""Turns a planned sale, on its local day, into another kind of receipt."""


class Sales:
    """Plans payments; used at intake, and again when a held one is filled or a rejected one corrected."""

    def __init__(self, registry: Registry[KassaDriver], box: SecretBox) -> None:
        self._registry = registry
        self._box = box

    def place_of(
        self, settings: MerchantSettings, source: SourceRow, event: PaymentEvent
    ) -> tuple[BranchRow | None, KassaRow | None]:
        """The branch that the event names, else the source's own, and its kassa; one that is switched off where no
        other fits: its lane is paused, so the receipt waits there in its order.

        A branch that nobody knows has none: its money may belong to another place of settlement, so the receipt is
        held until the branch is there.
        """
        if event.branch:
            branch = settings.branch(event.branch)
            if branch is None:
                return None, None
        else:
            branch = settings.branches.get(source.branch_id) if source.branch_id else None
        return branch, settings.route(source, branch) or settings.awaited(source, branch, test=event.test)

    def ignored(self, source: SourceRow, kassa: KassaRow | None, event: PaymentEvent) -> dict[str, Any] | None:
        """Why this event needs no receipt; None when it does."""
        if source.acquirer_fiscalizes:
            return {"code": ACQUIRER_FISCALIZES, "detail": "this source prints its receipts itself"}
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
        *,
        contact_until: datetime | None = None,
        now: datetime | None = None,
        lenient: bool = False,
    ) -> Plan:
        """What a payment becomes under these settings. `contact_until`: so long it is held for the buyer's contact
        although the source has an address of its own to fall back to; None: it falls back at once. `now`: a payment
        of a day that has not come is refused; None: that was judged when it was reported. `lenient` (always with
        a shape): lines that no rule of the nomenclature covers are taken as they are, whatever the policy."""
        plan = self._plan(settings, source, branch, kassa, event, shape, contact_until, lenient)
        if now is None or not comes_later(event, now):
            return plan
        early = future_finding(event, now, _MOSCOW if kassa is None else kassa.timezone)
        match plan:
            case Refused(findings=findings) if early is not None:
                return Refused((early, *findings))
            case _ if early is not None:
                return Refused((early,))
            case Planned(notes=notes):
                return replace(plan, notes=(*notes, "later_today: #/occurred_at"))
            case _:
                return plan

    def looks_back(self, event: PaymentEvent) -> bool:
        """Whether it is planned under the lock of what it looks back at: a refund, a closing, an offset."""
        return event.type is not EventType.PAYMENT_SUCCEEDED or bool(event.payments and offsets(event))

    def contradictions(
        self,
        settings: MerchantSettings,
        source: SourceRow,
        branch: BranchRow | None,
        kassa: KassaRow | None,
        event: PaymentEvent,
        now: datetime,
    ) -> tuple[Finding, ...]:
        """What is wrong with a refund, a closing or a payment with an offset by itself, whatever it looks back at."""
        if event.type is EventType.PAYMENT_SUCCEEDED:
            plan = self.plan(settings, source, branch, kassa, event, now=now)
            return plan.findings if isinstance(plan, Refused) else ()
        early = future_finding(event, now, _MOSCOW if kassa is None else kassa.timezone)
        found = [*money_findings(event), *item_findings(event)]
        return tuple(found if early is None else [early, *found])

    def _plan(
        self,
        settings: MerchantSettings,
        source: SourceRow,
        branch: BranchRow | None,
        kassa: KassaRow | None,
        event: PaymentEvent,
        shape: Shape | None,
        contact_until: datetime | None,
        lenient: bool,
    ) -> Plan:
        if kassa is None:
            return plan_sale(event, None, event.occurred_at.date())
        today = local_date(event.occurred_at, kassa.timezone)
        known = self.plan_settings(settings, source, branch, kassa)
        if known.nomenclature is not None and (lenient or shape is not None):
            known = replace(known, nomenclature=_nomenclature(settings, source, branch, Unmapped.DEFAULT))
        waits = contact_until is not None and known.fallback_contact is not None
        plan = plan_sale(event, replace(known, fallback_contact=None) if waits else known, today)
        if waits and isinstance(plan, Held):
            if all(one.who is Who.BUYER_DATA for one in plan.missing):
                return replace(plan, reason=HeldReason.CONTACT_MISSING, until=contact_until)
            # Something else is missing too, and that is what a person is asked for.
            plan = plan_sale(event, known, today)
        if shape is None or not isinstance(plan, Planned):
            return plan
        shaped = tuple(shape(receipt, today) for receipt in plan.receipts)
        # Another kind of receipt may be one that this kassa's driver does not print.
        beyond: list[Finding] = []
        for receipt in shaped:
            limit_findings(beyond, receipt, known.limits)
        if beyond:
            return Refused(tuple(beyond))
        # It is made at once, and not under the locks of the prepayments that it could close.
        offset = sum(part.amount for _, part in offsets(event))
        told = (f"prepaid_by_hand: #/payments {roubles(offset)}",) if offset else ()
        return replace(plan, receipts=shaped, notes=(*plan.notes, *told))

    def plan_settings(
        self, settings: MerchantSettings, source: SourceRow, branch: BranchRow | None, kassa: KassaRow
    ) -> PlanSettings:
        """A kassa with the merged defaults of source, branch and kassa, all of them of these settings; made once."""
        place = (source.id, None if branch is None else branch.id, kassa.id)
        made = settings.compiled.get(place)
        if made is None:
            made = settings.compiled[place] = self._compiled(settings, source, branch, kassa)
        return made

    def _compiled(
        self, settings: MerchantSettings, source: SourceRow, branch: BranchRow | None, kassa: KassaRow
    ) -> PlanSettings:
        driver = self._registry.get(kassa.provider)
        nearer = merge(_defaults(source.defaults), _defaults(branch.defaults if branch else {}))
        farthest = _defaults(kassa.defaults)
        return PlanSettings(
            kassa_id=f"kas_{kassa.id.hex}",
            ffd=FfdVersion(kassa.ffd),
            taxation=tuple(Taxation.parse(name) for name in kassa.taxation),
            place=kassa.place,
            timezone=kassa.timezone if branch is None or branch.timezone is None else branch.timezone,
            internet=kassa.internet,
            defaults=merge(nearer, farthest),
            fallback_contact=open_fallback(self._box, source),
            limits=limits_of(driver.capabilities, FfdVersion(kassa.ffd)),
            nomenclature=_nomenclature(settings, source, branch, policy_of(settings, source)),
            vat=VatPolicy(settings.vat, nearer.vat, farthest.vat),
        )


def limits_of(can: Capabilities, ffd: FfdVersion | None = None) -> DriverLimits:
    """What a driver declares that a receipt may hold; with `ffd`, the optional tags of that format, too."""
    return DriverLimits(
        max_items=can.max_items,
        quantity_decimals=can.quantity_decimals,
        ffd=can.ffd,
        operations=can.operations,
        corrections=can.corrections,
        marking=can.marking,
        agents=can.agents,
        carries=None if ffd is None else can.carried(ffd),
    )


def policy_of(settings: MerchantSettings, source: SourceRow) -> Unmapped:
    """What becomes of this source's lines that no rule covers: its own answer, else the merchant's."""
    return settings.unmapped if source.unmapped is None else Unmapped(source.unmapped)


def _nomenclature(
    settings: MerchantSettings, source: SourceRow, branch: BranchRow | None, unmapped: Unmapped
) -> Matcher | None:
    """The rules for this place; None where they would change nothing."""
    if settings.rules is None and unmapped is Unmapped.DEFAULT:
        return None
    rules = settings.rules or RuleSet(0, ())
    found = rules.at(public("src", source.id), None if branch is None else public("brn", branch.id), unmapped)
    return found or None


def _defaults(stored: dict[str, Any]) -> Defaults:
    """Defaults from their API names."""
    return Defaults(
        vat=VatRate.parse(stored["vat"]) if stored.get("vat") else None,
        payment_method=PaymentMethod.parse(stored["payment_method"]) if stored.get("payment_method") else None,
        payment_object=PaymentObject.parse(stored["payment_object"]) if stored.get("payment_object") else None,
        measure=Measure.parse(stored["measure"]) if stored.get("measure") else None,
        item_name=stored.get("item_name"),
        taxation=Taxation.parse(stored["taxation"]) if stored.get("taxation") else None,
        zero_lines=ZeroLines(stored["zero_lines"]) if stored.get("zero_lines") else None,
    )


def local_date(moment: datetime, timezone: str) -> date:
    """The day on which a settlement happened where the kassa stands."""
    return moment.astimezone(ZoneInfo(timezone)).date()
