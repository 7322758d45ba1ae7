"""A merchant's VAT: its dated rates, what its receipts brought in a year, and the bounds that this counts against."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog

from app.db.repos import audit, merchants
from app.db.repos import vat as repo
from app.db.unit_of_work import Database, Tx
from app.domain.codec import vat_settings_to_json
from app.domain.errors import Busy, Invalid, NotFound
from app.domain.ffd import Taxation
from app.domain.vat import VatRate
from app.domain.vat_review import BoundKind, Standing, reached, standings
from app.domain.vat_settings import Regime, VatPolicy, VatSettings, check_vat_settings
from app.infra.clock import DatabaseClock
from app.infra.ids import public
from app.queue.replan import replan_held
from app.services.alerts import vat_regime_review
from app.services.catalog import Catalog, MerchantSettings

log = structlog.get_logger(__name__)

_MOSCOW = "Europe/Moscow"
_AT_ONCE = 50
_OF_USN = frozenset({Taxation.USN_INCOME.code, Taxation.USN_INCOME_OUTCOME.code})

Bounds = Mapping[tuple[BoundKind, int], int]


@dataclass(frozen=True, slots=True)
class VatView:
    """The settings, the rate of today, and how this year's income stands to the bounds; money in kopecks."""

    settings: VatSettings
    regime: Regime
    rate_today: VatRate | None
    year: int
    income_here: int
    income_elsewhere: int
    counted_at: datetime
    standings: tuple[Standing, ...]


class Vat:
    """VAT settings and income of one merchant at a time. `bounds` are figures that the operator set."""

    def __init__(self, database: Database, catalog: Catalog, clock: DatabaseClock, bounds: Bounds) -> None:
        self._database = database
        self._catalog = catalog
        self._clock = clock
        self._bounds = bounds

    async def read(self, merchant_id: UUID) -> VatView:
        """The settings, and income counted now. NotFound for anybody else's."""
        settings = await self._catalog.merchant(merchant_id, fresh=True)
        async with self._database.tenant(merchant_id) as tx:
            return await self._view(tx, settings)

    async def replace(self, actor: str, merchant_id: UUID, wanted: VatSettings) -> VatView:
        """All settings anew; Invalid with every finding, such as a rate that is not in force by these dates.

        What is held for its rate is planned again.
        """
        found = tuple(check_vat_settings(wanted, self._today(await self._catalog.merchant(merchant_id))))
        if found:
            raise Invalid("The VAT settings cannot be stored like this.", found)
        stored = vat_settings_to_json(wanted)
        async with self._database.pipeline() as tx:
            if await merchants.update_merchant(tx, merchant_id, {"vat": stored}) is None:
                raise NotFound("There is no such merchant here.")
            await audit.record(
                tx,
                actor,
                "merchant.vat_changed",
                merchant_id=merchant_id,
                object_id=public("mer", merchant_id),
                data=stored,
            )
            await replan_held(tx, merchant_id)
        self._catalog.forget(merchant_id)
        return await self.read(merchant_id)

    async def review(self) -> None:
        """Count the income of those that a bound concerns, once a day each, and tell of each share that is reached.

        Every worker asks; whoever takes a merchant takes it for the day.
        """
        while True:
            async with self._database.pipeline() as tx:
                due = await repo.take_due(tx, _AT_ONCE)
            for merchant_id in due:
                try:
                    await self.review_one(merchant_id)
                except Busy:
                    raise
                except (NotFound, ValueError):
                    log.exception("vat_review.failed", merchant_id=str(merchant_id))
            if len(due) < _AT_ONCE:
                return

    async def review_one(self, merchant_id: UUID) -> None:
        """One merchant, now."""
        settings = await self._catalog.merchant(merchant_id)
        async with self._database.pipeline() as tx:
            view = await self._view(tx, settings)
            for one in reached(view.standings):
                if await repo.first_told(tx, merchant_id, one):
                    await vat_regime_review(tx, settings, one, view.counted_at)
                    log.warning(
                        "vat_regime_review", merchant_id=str(merchant_id), bound=one.bound.kind, percent=one.percent
                    )

    async def _view(self, tx: Tx, settings: MerchantSettings) -> VatView:
        today = self._today(settings)
        rate = _rate_today(settings, today)
        regime = _regime(settings)
        income = await repo.income(tx, settings.id, today.year)
        elsewhere = settings.vat.income_elsewhere(today.year)
        watched = () if rate is None else standings(regime, rate, today.year, income + elsewhere, self._bounds)
        return VatView(settings.vat, regime, rate, today.year, income, elsewhere, self._clock.now(), watched)

    def _today(self, settings: MerchantSettings) -> date:
        active = (kassa.timezone for kassa in settings.kassas.values() if kassa.status == "active")
        return self._clock.now().astimezone(ZoneInfo(next(active, _MOSCOW))).date()


def _regime(settings: MerchantSettings) -> Regime:
    """What the merchant says; silent, УСН where an active kassa is registered with it."""
    if settings.vat.regime is not None:
        return settings.vat.regime
    used = {code for kassa in settings.kassas.values() if kassa.status == "active" for code in kassa.taxation}
    return Regime.USN if used & _OF_USN else Regime.OTHER


def _rate_today(settings: MerchantSettings, today: date) -> VatRate | None:
    """The organisation's rate: by its dated settings, else the default of its first active kassa that has one."""
    dated = VatPolicy(settings.vat).rate(today)
    if dated is not None:
        return dated
    active = (kassa for kassa in settings.kassas.values() if kassa.status == "active" and not kassa.test)
    named = (kassa.defaults.get("vat") for kassa in active)
    code = next((one for one in named if one is not None), None)
    return None if code is None else VatRate.parse(code)
