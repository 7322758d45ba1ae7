"""A merchant's VAT: its rates with dates, and its income against the bounds of its regime."""

from typing import Annotated

from fastapi import APIRouter, Depends

from app.api.deps import ServicesDep, requires
from app.api.merchants import own
from app.api.problems import documented
from app.api.schemas.vat import BoundOut, DatedRateOut, VatGroupOut, VatOut, VatSettingsIn, YearIncomeOut
from app.api.types import MerchantId
from app.domain.vat_settings import DatedRate
from app.services.principal import Principal
from app.services.vat import VatView

router = APIRouter(prefix="/merchants", tags=["merchants"])

Reader = Annotated[Principal, Depends(requires("settings:read"))]
Writer = Annotated[Principal, Depends(requires("settings:write", admin=True))]


@router.get(
    "/{merchant_id}/vat",
    operation_id="getVat",
    summary="Read a merchant's VAT settings and income",
    responses=documented("not-found"),
)
async def read_vat(merchant_id: MerchantId, services: ServicesDep, principal: Reader) -> VatOut:
    """Income is counted at this moment. `merchant.vat_regime_review` tells when 80 and 100 % of a bound are reached."""
    own(principal, merchant_id)
    return _answer(await services.vat.read(merchant_id))


@router.put(
    "/{merchant_id}/vat",
    operation_id="replaceVat",
    summary="Set a merchant's VAT rates by date",
    responses=documented("not-found", "malformed-json", "validation-failed", "fiscal-rule-violation"),
)
async def replace_vat(merchant_id: MerchantId, body: VatSettingsIn, services: ServicesDep, principal: Writer) -> VatOut:
    """Replaces all of them. A rate that is not in force by these dates is refused with a sentence."""
    own(principal, merchant_id)
    return _answer(await services.vat.replace(principal.actor, merchant_id, body.to_domain()))


def _answer(view: VatView) -> VatOut:
    settings = view.settings
    return VatOut(
        rates=_rates(settings.rates),
        groups=[
            VatGroupOut(
                name=group.name,
                rates=_rates(group.rates),
                skus=list(group.skus),
                names=list(group.names),
                basis=group.basis,
            )
            for group in settings.groups
        ],
        regime=view.regime.code,
        credit_payment=settings.debt.code,
        income_elsewhere=[YearIncomeOut(year=one.year, income=one.income) for one in settings.elsewhere],
        rate_today=None if view.rate_today is None else view.rate_today.code,
        year=view.year,
        income=view.income_here + view.income_elsewhere,
        counted_at=view.counted_at,
        bounds=[
            BoundOut(
                kind=one.bound.kind.value,
                year=one.bound.year,
                income=one.bound.income,
                law=one.bound.law,
                confirmed=one.bound.confirmed,
                percent=one.percent,
            )
            for one in view.standings
        ],
    )


def _rates(rates: tuple[DatedRate, ...]) -> list[DatedRateOut]:
    return [DatedRateOut(since=one.since, vat=one.vat.code) for one in rates]
