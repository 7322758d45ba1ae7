"""Sources: connect a CRM or an acquirer, and learn where it posts."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from app.api.deps import ServicesDep, Tenant, tenant
from app.api.pagination import Page, PageQuery
from app.api.problems import documented
from app.api.schemas.sources import SourceChange, SourceIn, SourceOut
from app.api.types import SourceId
from app.infra.ids import public
from app.services.sources import NewSource, SourceView

router = APIRouter(prefix="/sources", tags=["sources"])

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
    operation_id="createSource",
    summary="Connect a source",
    responses=documented("not-found", "state-conflict") | _WRONG,
)
async def create_source(body: SourceIn, services: ServicesDep, response: Response, who: Owner) -> SourceOut:
    """The answer holds the addresses to enter in the CRM's or acquirer's cabinet.

    A source that could not be told from a forger is refused: it needs a secret to sign with, or one in its addresses.
    """
    made = await services.sources.create(
        who.principal.actor,
        who.merchant_id,
        NewSource(
            kind=body.kind,
            name=body.name,
            credentials=body.credentials,
            settings=body.settings,
            defaults=body.defaults.given(),
            base_url=body.base_url,
            branch_id=body.branch,
            kassa_id=body.kassa,
            starts_at=body.starts_at,
            acquirer_fiscalizes=body.acquirer_fiscalizes,
            fallback_contact=None if body.fallback_contact is None else body.fallback_contact.model_dump(),
            path_secret=body.path_secret,
            settlement_key_from=body.settlement_key_from,
            silent_after_hours=body.silent_after_hours,
            unmapped=body.unmapped,
        ),
    )
    response.headers["Location"] = f"/v1/sources/{public('src', made.source.id)}"
    return _out(made)


@router.get(
    "",
    operation_id="listSources",
    summary="List sources, newest first",
    responses=documented("invalid-cursor", "validation-failed"),
)
async def list_sources(services: ServicesDep, who: Visitor, page: PageQuery) -> Page[SourceOut]:
    """The built-in `api` is the oldest."""
    views = await services.sources.page(who.merchant_id, page.after, page.fetch)
    return page.page(views, _out, lambda view: (view.source.created_at, view.source.id))


@router.get("/{source_id}", operation_id="getSource", summary="Read a source", responses=documented("not-found"))
async def read_source(source_id: SourceId, services: ServicesDep, who: Visitor) -> SourceOut:
    """Its credentials are never shown."""
    return _out(await services.sources.read(who.merchant_id, source_id))


@router.patch(
    "/{source_id}",
    operation_id="updateSource",
    summary="Change a source, or switch it off or on",
    responses=documented("not-found", "state-conflict") | _WRONG,
)
async def update_source(source_id: SourceId, body: SourceChange, services: ServicesDep, who: Owner) -> SourceOut:
    """Members that are left out stay."""
    changes: dict[str, Any] = body.model_dump(exclude_unset=True)
    for told, column in (("branch", "branch_id"), ("kassa", "kassa_id")):
        if told in changes:
            changes[column] = changes.pop(told)
    return _out(await services.sources.change(who.principal.actor, who.merchant_id, source_id, changes))


@router.post(
    "/{source_id}/poll",
    status_code=202,
    operation_id="pollSource",
    summary="Ask a source now for what it has not reported",
    responses=documented("not-found", "state-conflict"),
)
async def poll_source(source_id: SourceId, services: ServicesDep, who: Owner) -> SourceOut:
    """Otherwise it is asked by itself, again and again. `poll` of the source tells how far it got."""
    await services.source_polls.now(who.merchant_id, source_id)
    return _out(await services.sources.read(who.merchant_id, source_id))


def _out(view: SourceView) -> SourceOut:
    row = view.source
    shown = {name: getattr(row, name) for name in SourceOut.model_fields if hasattr(row, name)}
    return SourceOut.model_validate(
        {
            **shown,
            "fallback_contact": view.fallback_contact,
            "path_secret": row.path_secret_hash is not None,
            "addresses": view.addresses,
            "poll": _poll(view),
        }
    )


def _poll(view: SourceView) -> dict[str, Any] | None:
    if view.can is None or not view.can.polls:
        return None
    return {
        "every_seconds": view.can.poll_seconds,
        "overlap_seconds": view.can.poll_overlap_seconds,
        "polled_to": view.source.polled_to,
        "polled_at": view.source.polled_at,
        "failing_since": view.source.poll_failing_since,
        "failure": view.source.poll_failure,
    }
