"""Merchants and their branches."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Response

from app.api.deps import ServicesDep, Tenant, requires, tenant
from app.api.pagination import Page, PageQuery
from app.api.problems import Problem, documented
from app.api.schemas.merchants import (
    BranchChange,
    BranchIn,
    BranchOut,
    MerchantChange,
    MerchantIn,
    MerchantOut,
)
from app.api.types import BranchId, MerchantId
from app.domain.errors import NotFound
from app.infra.ids import public
from app.services.principal import Principal

router = APIRouter(prefix="/merchants", tags=["merchants"])
branches = APIRouter(prefix="/branches", tags=["merchants"])

Reader = Annotated[Principal, Depends(requires("settings:read"))]
Writer = Annotated[Principal, Depends(requires("settings:write", admin=True))]
Owner = Annotated[Tenant, Depends(tenant("settings:write"))]
Visitor = Annotated[Tenant, Depends(tenant("settings:read"))]

_WRONG = documented("malformed-json", "validation-failed", "fiscal-rule-violation")


@router.post(
    "",
    status_code=201,
    operation_id="createMerchant",
    summary="Create a merchant",
    responses=_WRONG,
)
async def create_merchant(
    body: MerchantIn,
    services: ServicesDep,
    response: Response,
    principal: Annotated[Principal, Depends(requires("admin"))],
) -> MerchantOut:
    """For admin keys. The merchant has its built-in source `api` at once; give it a key with `POST /v1/api-keys`."""
    made = await services.merchants.create(principal.actor, name=body.name, inn=body.inn)
    response.headers["Location"] = f"/v1/merchants/{public('mer', made.id)}"
    return MerchantOut.model_validate(made)


@router.get(
    "",
    operation_id="listMerchants",
    summary="List merchants, newest first",
    responses=documented("invalid-cursor", "validation-failed"),
)
async def list_merchants(services: ServicesDep, principal: Reader, page: PageQuery) -> Page[MerchantOut]:
    """An admin key sees all of them, any other key its own."""
    if principal.merchant_id is None:
        rows = await services.merchants.page(page.after, page.fetch)
    else:
        rows = [await services.merchants.read(principal.merchant_id)] if page.after is None else []
    return page.page(rows, MerchantOut.model_validate, lambda row: (row.created_at, row.id))


@router.get("/{merchant_id}", operation_id="getMerchant", summary="Read a merchant", responses=documented("not-found"))
async def read_merchant(merchant_id: MerchantId, services: ServicesDep, principal: Reader) -> MerchantOut:
    """Of other merchants nothing is told, not even that they exist."""
    own(principal, merchant_id)
    return MerchantOut.model_validate(await services.merchants.read(merchant_id))


@router.patch(
    "/{merchant_id}",
    operation_id="updateMerchant",
    summary="Change a merchant",
    responses=documented("not-found", "state-conflict") | _WRONG,
)
async def update_merchant(
    merchant_id: MerchantId, body: MerchantChange, services: ServicesDep, principal: Writer
) -> MerchantOut:
    """The INN stays once a kassa was used."""
    own(principal, merchant_id)
    changes = body.model_dump(exclude_unset=True)
    if "status" in changes and not principal.admin:
        raise Problem(
            "insufficient-scope", "Only an admin key suspends a merchant or lifts it.", required_scopes=["admin"]
        )
    return MerchantOut.model_validate(await services.merchants.change(principal.actor, merchant_id, changes))


@branches.post(
    "",
    status_code=201,
    operation_id="createBranch",
    summary="Create a branch",
    responses=documented("not-found", "state-conflict") | _WRONG,
)
async def create_branch(body: BranchIn, services: ServicesDep, response: Response, who: Owner) -> BranchOut:
    """An event names it by its id or by the CRM's own (`external_id`)."""
    made = await services.merchants.create_branch(
        who.principal.actor,
        who.merchant_id,
        name=body.name,
        external_id=body.external_id,
        kassa_id=body.kassa,
        timezone=body.timezone,
        defaults=body.defaults.given(),
    )
    response.headers["Location"] = f"/v1/branches/{public('brn', made.id)}"
    return BranchOut.model_validate(made)


@branches.get(
    "",
    operation_id="listBranches",
    summary="List branches, newest first",
    responses=documented("invalid-cursor", "validation-failed"),
)
async def list_branches(services: ServicesDep, who: Visitor, page: PageQuery) -> Page[BranchOut]:
    """Those that are off included."""
    rows = await services.merchants.branches(who.merchant_id, page.after, page.fetch)
    return page.page(rows, BranchOut.model_validate, lambda row: (row.created_at, row.id))


@branches.get("/{branch_id}", operation_id="getBranch", summary="Read a branch", responses=documented("not-found"))
async def read_branch(branch_id: BranchId, services: ServicesDep, who: Visitor) -> BranchOut:
    """One by its id."""
    return BranchOut.model_validate(await services.merchants.branch(who.merchant_id, branch_id))


@branches.patch(
    "/{branch_id}",
    operation_id="updateBranch",
    summary="Change a branch, or switch it off",
    responses=documented("not-found", "state-conflict") | _WRONG,
)
async def update_branch(branch_id: BranchId, body: BranchChange, services: ServicesDep, who: Owner) -> BranchOut:
    """Members that are left out stay."""
    changes: dict[str, Any] = body.model_dump(exclude_unset=True)
    if "kassa" in changes:
        changes["kassa_id"] = changes.pop("kassa")
    changed = await services.merchants.change_branch(who.principal.actor, who.merchant_id, branch_id, changes)
    return BranchOut.model_validate(changed)


def own(principal: Principal, merchant_id: UUID) -> None:
    """NotFound for a merchant that is not the caller's."""
    if principal.merchant_id not in (None, merchant_id):
        raise NotFound("There is no such merchant here.")
