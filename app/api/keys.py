"""API keys: made, rotated, revoked. A key's text is in the answer that makes it, and nowhere else."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from app.api.deps import ServicesDep, requires
from app.api.pagination import Page, PageQuery
from app.api.problems import documented
from app.api.schemas.keys import KeyIn, KeyOut, NewKeyOut, RotateIn, key_out
from app.api.types import KeyId, MerchantId
from app.infra.ids import public
from app.services.access import NewKey
from app.services.principal import Principal

router = APIRouter(prefix="/api-keys", tags=["api keys"])

Keeper = Annotated[Principal, Depends(requires("keys:write", admin=True))]

_WRONG = documented("malformed-json", "validation-failed")


@router.post(
    "",
    status_code=201,
    operation_id="createApiKey",
    summary="Create an API key",
    responses=documented("not-found", "state-conflict") | _WRONG,
)
async def create_key(body: KeyIn, services: ServicesDep, response: Response, principal: Keeper) -> NewKeyOut:
    """A key gives out no more than it may do itself. An admin key makes keys of any merchant, and other admin keys."""
    made = await services.access.create(
        principal,
        merchant_id=body.merchant_id,
        name=body.name,
        scopes=body.scopes,
        source_id=body.source_id,
        live=not body.test,
        expires_at=body.expires_at,
    )
    return _new(made, response)


@router.get(
    "",
    operation_id="listApiKeys",
    summary="List API keys, newest first",
    responses=documented("invalid-cursor", "not-found", "validation-failed"),
)
async def list_keys(
    services: ServicesDep,
    principal: Keeper,
    page: PageQuery,
    merchant_id: Annotated[
        MerchantId | None, Query(description="For admin keys: whose keys; left out: the installation's own.")
    ] = None,
) -> Page[KeyOut]:
    """Ended ones included."""
    rows = await services.access.page(principal, merchant_id, page.after, page.fetch)
    return page.page(rows, lambda row: KeyOut.model_validate(key_out(row)), lambda row: (row.created_at, row.id))


@router.get("/{key_id}", operation_id="getApiKey", summary="Read an API key", responses=documented("not-found"))
async def read_key(key_id: KeyId, services: ServicesDep, principal: Keeper) -> KeyOut:
    """All but the key itself."""
    return KeyOut.model_validate(key_out(await services.access.read(principal, key_id)))


@router.post(
    "/{key_id}/rotate",
    status_code=201,
    operation_id="rotateApiKey",
    summary="Replace an API key",
    responses=documented("not-found", "state-conflict") | _WRONG,
)
async def rotate_key(
    key_id: KeyId, services: ServicesDep, response: Response, principal: Keeper, body: RotateIn | None = None
) -> NewKeyOut:
    """A successor with the same rights; the old key works on for `grace_seconds`."""
    grace = (body or RotateIn()).grace_seconds
    return _new(await services.access.rotate(principal, key_id, grace_seconds=grace), response)


@router.delete(
    "/{key_id}",
    status_code=204,
    operation_id="revokeApiKey",
    summary="Revoke an API key",
    responses=documented("not-found"),
)
async def revoke_key(key_id: KeyId, services: ServicesDep, principal: Keeper) -> None:
    """At once, for good. Within five seconds every process refuses it."""
    await services.access.revoke(principal, key_id)


def _new(made: NewKey, response: Response) -> NewKeyOut:
    response.headers["Location"] = f"/v1/api-keys/{public('key', made.key.id)}"
    return NewKeyOut.model_validate({**key_out(made.key), "key": made.text})
