"""Webhook endpoints: where messages go, their secrets, and sending what was lost once more."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from app.api.deps import ServicesDep, Tenant, tenant
from app.api.pagination import Page, PageQuery
from app.api.problems import documented
from app.api.schemas.endpoints import (
    DeliveryOut,
    EndpointChange,
    EndpointIn,
    EndpointOut,
    NewEndpointOut,
    ReplayIn,
    ReplayOut,
    RotateSecretIn,
    TestOut,
)
from app.api.types import EndpointId
from app.infra.ids import public
from app.services.endpoints import EndpointView

router = APIRouter(prefix="/webhook-endpoints", tags=["webhooks"])

Owner = Annotated[Tenant, Depends(tenant("webhooks:write"))]
Visitor = Annotated[Tenant, Depends(tenant("webhooks:read"))]

_WRONG = documented("malformed-json", "validation-failed", "webhook-url-forbidden")


@router.post(
    "",
    status_code=201,
    operation_id="createWebhookEndpoint",
    summary="Create a webhook endpoint",
    responses=_WRONG,
)
async def create_endpoint(body: EndpointIn, services: ServicesDep, response: Response, who: Owner) -> NewEndpointOut:
    """Messages are signed as Standard Webhooks says, with the `secret` of this answer."""
    made = await services.endpoints.create(
        who.principal.actor, who.merchant_id, url=body.url, types=body.types, description=body.description
    )
    response.headers["Location"] = f"/v1/webhook-endpoints/{public('whe', made.endpoint.id)}"
    return _new(made)


@router.get(
    "",
    operation_id="listWebhookEndpoints",
    summary="List webhook endpoints, newest first",
    responses=documented("invalid-cursor", "validation-failed"),
)
async def list_endpoints(services: ServicesDep, who: Visitor, page: PageQuery) -> Page[EndpointOut]:
    """Those that are switched off included, each with what waits for it."""
    views = await services.endpoints.page(who.merchant_id, page.after, page.fetch)
    return page.page(views, _out, lambda view: (view.endpoint.created_at, view.endpoint.id))


@router.get(
    "/{endpoint_id}",
    operation_id="getWebhookEndpoint",
    summary="Read a webhook endpoint",
    responses=documented("not-found"),
)
async def read_endpoint(endpoint_id: EndpointId, services: ServicesDep, who: Visitor) -> EndpointOut:
    """Its secret is not shown again."""
    return _out(await services.endpoints.read(who.merchant_id, endpoint_id))


@router.patch(
    "/{endpoint_id}",
    operation_id="updateWebhookEndpoint",
    summary="Change a webhook endpoint, or switch it off or on",
    responses=documented("not-found", "state-conflict") | _WRONG,
)
async def update_endpoint(
    endpoint_id: EndpointId, body: EndpointChange, services: ServicesDep, who: Owner
) -> EndpointOut:
    """Messages go on being made while it is off; `replay` sends them afterwards."""
    changes: dict[str, Any] = body.model_dump(exclude_unset=True)
    return _out(await services.endpoints.change(who.principal.actor, who.merchant_id, endpoint_id, changes))


@router.post(
    "/{endpoint_id}/rotate-secret",
    operation_id="rotateWebhookSecret",
    summary="Replace the signing secret",
    responses=documented("not-found", "state-conflict", "malformed-json", "validation-failed"),
)
async def rotate_secret(
    endpoint_id: EndpointId, services: ServicesDep, who: Owner, body: RotateSecretIn | None = None
) -> NewEndpointOut:
    """Until `previous_secret_until` messages carry the signatures of both secrets."""
    force = (body or RotateSecretIn()).force
    return _new(await services.endpoints.rotate_secret(who.principal.actor, who.merchant_id, endpoint_id, force=force))


@router.post(
    "/{endpoint_id}/test",
    status_code=202,
    operation_id="testWebhookEndpoint",
    summary="Send a test message",
    responses=documented("not-found", "state-conflict"),
)
async def test_endpoint(endpoint_id: EndpointId, services: ServicesDep, who: Owner) -> TestOut:
    """An `endpoint.test` message, signed and posted as every other; its attempts are among the deliveries."""
    message_id = await services.endpoints.test(who.principal.actor, who.merchant_id, endpoint_id)
    return TestOut(message_id=message_id)


@router.post(
    "/{endpoint_id}/replay",
    status_code=202,
    operation_id="replayWebhookMessages",
    summary="Send messages once more",
    responses=documented("not-found", "state-conflict", "malformed-json", "validation-failed"),
)
async def replay_messages(endpoint_id: EndpointId, body: ReplayIn, services: ServicesDep, who: Owner) -> ReplayOut:
    """The same ids and bytes, newly signed. Receivers tell repeats by `webhook-id`."""
    done = await services.endpoints.replay(
        who.principal.actor,
        who.merchant_id,
        endpoint_id,
        message_id=body.message_id,
        since=body.since,
        until=body.until,
        only_failed=body.only == "failed",
    )
    return ReplayOut.model_validate(done)


@router.get(
    "/{endpoint_id}/deliveries",
    operation_id="listWebhookDeliveries",
    summary="List attempts to post, newest first",
    responses=documented("not-found", "invalid-cursor", "validation-failed"),
)
async def list_deliveries(
    endpoint_id: EndpointId, services: ServicesDep, who: Visitor, page: PageQuery
) -> Page[DeliveryOut]:
    """What the endpoint answered, or why nothing came."""
    rows = await services.endpoints.deliveries(who.merchant_id, endpoint_id, page.after, page.fetch)
    return page.page(rows, DeliveryOut.model_validate, lambda row: (row.at, row.id))


def _out(view: EndpointView) -> EndpointOut:
    return EndpointOut.model_validate(_shown(view))


def _new(view: EndpointView) -> NewEndpointOut:
    return NewEndpointOut.model_validate({**_shown(view), "secret": view.secret})


def _shown(view: EndpointView) -> dict[str, Any]:
    # Named one by one: the row's own `secret` is the sealed one and must not be taken for the new one.
    shown = {name: getattr(view.endpoint, name) for name in EndpointOut.model_fields if hasattr(view.endpoint, name)}
    return {**shown, "lane": view.lane}
