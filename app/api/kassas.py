"""Kassas: connect a provider's cash register, check it, change it, switch it off."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from app.api.deps import ServicesDep, Tenant, tenant
from app.api.pagination import Page, PageQuery
from app.api.problems import documented
from app.api.schemas.kassas import KassaChange, KassaIn, KassaOut
from app.api.types import KassaId
from app.domain.errors import NotFound
from app.infra.ids import public
from app.services.bundle import Services
from app.services.kassas import KassaView, NewKassa

router = APIRouter(prefix="/kassas", tags=["kassas"])

Owner = Annotated[Tenant, Depends(tenant("settings:write"))]
Visitor = Annotated[Tenant, Depends(tenant("settings:read"))]

_WRONG = documented(
    "malformed-json",
    "validation-failed",
    "fiscal-rule-violation",
    "provider-not-configured",
    "webhook-url-forbidden",
)


@router.post(
    "",
    status_code=201,
    operation_id="createKassa",
    summary="Connect a kassa",
    responses=documented("not-found") | _WRONG,
)
async def create_kassa(body: KassaIn, services: ServicesDep, response: Response, who: Owner) -> KassaOut:
    """VAT, payment method and the Internet sign are never assumed: left out, the refusal explains the choice.

    `POST /v1/kassas/{id}/check` then tries the credentials without making a receipt.
    """
    made = await services.kassas.create(
        who.principal.actor,
        who.merchant_id,
        NewKassa(
            name=body.name,
            provider=body.provider,
            ffd=body.ffd,
            taxation=body.taxation,
            place=body.place,
            timezone=body.timezone,
            internet=body.internet,
            credentials=body.credentials,
            defaults=body.defaults.given(),
            base_url=body.base_url,
            max_in_flight=body.max_in_flight,
            test=body.test,
            branch_id=body.branch,
        ),
    )
    response.headers["Location"] = f"/v1/kassas/{public('kas', made.kassa.id)}"
    return _out(services, made)


@router.get(
    "",
    operation_id="listKassas",
    summary="List kassas, newest first",
    responses=documented("invalid-cursor", "validation-failed"),
)
async def list_kassas(services: ServicesDep, who: Visitor, page: PageQuery) -> Page[KassaOut]:
    """Each with its lane: what runs, what waits, and why nothing moves."""
    views = await services.kassas.page(who.merchant_id, page.after, page.fetch)
    return page.page(views, lambda view: _out(services, view), lambda view: (view.kassa.created_at, view.kassa.id))


@router.get("/{kassa_id}", operation_id="getKassa", summary="Read a kassa", responses=documented("not-found"))
async def read_kassa(kassa_id: KassaId, services: ServicesDep, who: Visitor) -> KassaOut:
    """Its credentials are never shown."""
    return _out(services, await services.kassas.read(who.merchant_id, kassa_id))


@router.patch(
    "/{kassa_id}",
    operation_id="updateKassa",
    summary="Change a kassa, or switch it off or on",
    responses=documented("not-found", "state-conflict") | _WRONG,
)
async def update_kassa(kassa_id: KassaId, body: KassaChange, services: ServicesDep, who: Owner) -> KassaOut:
    """Members that are left out stay. Once it was used, provider, base URL and group cannot change."""
    changes: dict[str, Any] = body.model_dump(exclude_unset=True)
    return _out(services, await services.kassas.change(who.principal.actor, who.merchant_id, kassa_id, changes))


@router.post(
    "/{kassa_id}/check",
    operation_id="checkKassa",
    summary="Try a kassa without making a receipt",
    responses=documented("not-found", "provider-not-configured"),
)
async def check_kassa(kassa_id: KassaId, services: ServicesDep, who: Owner) -> KassaOut:
    """Asks the provider. A check that finds nothing wrong resumes a kassa that was paused for its account."""
    return _out(services, await services.kassas.check(who.principal.actor, who.merchant_id, kassa_id))


def _out(services: Services, view: KassaView) -> KassaOut:
    row = view.kassa
    try:
        capabilities = services.providers.read(row.provider)["capabilities"]
    except NotFound:
        capabilities = None
    shown = {name: getattr(row, name) for name in KassaOut.model_fields if hasattr(row, name)}
    return KassaOut.model_validate(
        {**shown, "lane": view.lane, "capabilities": capabilities, "check": row.check_report}
    )
