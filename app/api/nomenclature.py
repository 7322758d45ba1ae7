"""The nomenclature: rules one by one, all of them as a file, and what no rule covers."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from app.api.deps import ServicesDep, Tenant, tenant
from app.api.pagination import Page, PageQuery
from app.api.problems import Problem, documented
from app.api.schemas.nomenclature import DiffOut, ImportOut, RuleChange, RuleIn, RuleOut
from app.api.types import RuleId
from app.domain.errors import PreconditionFailed
from app.infra.ids import public
from app.services.correction_batch_views import finding_view
from app.services.nomenclature_import import ImportPlan
from app.services.nomenclature_rules import RuleRow, rule_view

router = APIRouter(prefix="/nomenclature", tags=["nomenclature"])

Owner = Annotated[Tenant, Depends(tenant("settings:write"))]
Visitor = Annotated[Tenant, Depends(tenant("settings:read"))]
IfMatch = Annotated[
    str | None, Header(alias="If-Match", description="The rule's `version` (its ETag) that you saw. Required.")
]

_WRONG = documented("malformed-json", "validation-failed", "fiscal-rule-violation")
_MOVED = documented("not-found", "precondition-failed", "precondition-required")
_CSV = {"text/csv": {"schema": {"type": "string"}}}


@router.post(
    "",
    status_code=201,
    operation_id="createNomenclatureRule",
    summary="Create a rule",
    responses=documented("not-found", "state-conflict") | _WRONG,
)
async def create_rule(body: RuleIn, services: ServicesDep, response: Response, who: Owner) -> RuleOut:
    """A new version of the nomenclature; receipts that are held for the want of it go on by themselves."""
    made = await services.nomenclature.create(who.principal.actor, who.merchant_id, body.to_domain())
    response.headers["Location"] = f"/v1/nomenclature/{public('nom', made.id)}"
    return _out(made, response)


@router.get(
    "",
    operation_id="listNomenclature",
    summary="List rules, newest first",
    responses=documented("invalid-cursor", "validation-failed"),
)
async def list_rules(
    services: ServicesDep,
    who: Visitor,
    page: PageQuery,
    version: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="As they were in this version; left out: as they are.")
    ] = None,
) -> Page[RuleOut]:
    """Which of them wins for a line is said by priority, then by how specific it is, then by age."""
    rows = await services.nomenclature.page(who.merchant_id, version, page.after, page.fetch)
    return page.page(rows, lambda row: RuleOut.model_validate(rule_view(row)), lambda row: (row.created_at, row.id))


@router.get(
    "/diff",
    operation_id="diffNomenclature",
    summary="What sources sent that no rule covers",
    responses=documented("validation-failed"),
)
async def diff_rules(
    services: ServicesDep,
    who: Visitor,
    days: Annotated[int, Query(ge=1, le=92, description="How far to look back.")] = 7,
    limit: Annotated[int, Query(ge=1, le=500, description="Groups to show.")] = 100,
) -> DiffOut:
    """Grouped, with counts and the rule that would cover each; the newest 5000 payments are looked at."""
    return DiffOut.model_validate(await services.nomenclature_diff.uncovered(who.merchant_id, days=days, limit=limit))


@router.get(
    "/{rule_id}",
    operation_id="getNomenclatureRule",
    summary="Read a rule",
    responses=documented("not-found"),
)
async def read_rule(rule_id: RuleId, services: ServicesDep, response: Response, who: Visitor) -> RuleOut:
    """As it holds now; the ETag is its `version`."""
    return _out(await services.nomenclature.read(who.merchant_id, rule_id), response)


@router.patch(
    "/{rule_id}",
    operation_id="updateNomenclatureRule",
    summary="Change a rule",
    responses=documented("state-conflict") | _MOVED | _WRONG,
)
async def update_rule(
    rule_id: RuleId, body: RuleChange, services: ServicesDep, response: Response, who: Owner, if_match: IfMatch = None
) -> RuleOut:
    """A new version of the nomenclature. Receipts that the rule filled stay as they are."""
    version = _version(if_match)
    changed = await services.nomenclature.change(who.principal.actor, who.merchant_id, rule_id, version, body.given())
    return _out(changed, response)


@router.delete(
    "/{rule_id}",
    status_code=204,
    operation_id="deleteNomenclatureRule",
    summary="End a rule",
    responses=_MOVED,
)
async def delete_rule(rule_id: RuleId, services: ServicesDep, who: Owner, if_match: IfMatch = None) -> None:
    """A new version of the nomenclature without it. Earlier versions, and receipts that it filled, keep it."""
    await services.nomenclature.delete(who.principal.actor, who.merchant_id, rule_id, _version(if_match))


table = APIRouter(tags=["nomenclature"])


@table.get(
    "/nomenclature.csv",
    response_class=Response,
    operation_id="exportNomenclature",
    summary="All rules as CSV",
    responses={
        200: {"content": _CSV, "description": "Semicolons, UTF-8 with a byte order mark: opens in a spreadsheet."}
    },
)
async def export_rules(services: ServicesDep, who: Visitor) -> Response:
    """One row per rule; cells that a spreadsheet would take for a formula, number or date begin with an apostrophe."""
    text = await services.nomenclature_import.export(who.merchant_id)
    headers = {"Content-Disposition": 'attachment; filename="nomenclature.csv"'}
    return Response(text.encode(), media_type="text/csv; charset=utf-8", headers=headers)


@table.put(
    "/nomenclature.csv",
    operation_id="importNomenclature",
    summary="Replace all rules by those of a file",
    responses=documented("not-found", "state-conflict", "fiscal-rule-violation", "validation-failed"),
    openapi_extra={"requestBody": {"required": True, "content": _CSV}},
)
async def import_rules(
    request: Request,
    services: ServicesDep,
    who: Owner,
    confirm: Annotated[
        str | None, Query(max_length=64, description="`token` of the preview of this very file; left out: a preview.")
    ] = None,
) -> ImportOut:
    """Without `confirm` it says what would be added, changed and deleted, and stores nothing. Rows are known by `id`,
    else by what they match."""
    try:
        text = (await request.body()).decode("utf-8-sig")
    except UnicodeDecodeError:
        detail = "Save the file as CSV in UTF-8."
        raise Problem(
            "validation-failed", detail, errors=[{"pointer": "#/csv", "detail": detail, "code": "not_utf8"}]
        ) from None
    if confirm is None:
        plan = await services.nomenclature_import.preview(who.merchant_id, text)
    else:
        plan = await services.nomenclature_import.confirm(who.principal.actor, who.merchant_id, text, confirm)
    return ImportOut.model_validate(import_view(plan))


def import_view(plan: ImportPlan) -> dict[str, Any]:
    """A preview or an import as it is answered."""
    rows = [
        {
            **asdict(row),
            "rule_id": None if row.state == "added" and not plan.applied else row.rule_id,
            "findings": [finding_view(one) for one in row.findings],
        }
        for row in plan.rows
    ]
    counts = {state: plan.count(state) for state in ("added", "changed", "unchanged", "refused")}
    return {
        **counts,
        "applied": plan.applied,
        "version": plan.version,
        "deleted": list(plan.deleted),
        "rows": rows,
        "token": None if plan.applied else plan.token,
    }


def _out(row: RuleRow, response: Response) -> RuleOut:
    response.headers["ETag"] = f'"{row.since}"'
    return RuleOut.model_validate(rule_view(row))


def _version(if_match: str | None) -> int:
    if if_match is None:
        raise Problem("precondition-required", "Send If-Match with the rule's version that you saw.")
    text = if_match.strip().removeprefix('"').removesuffix('"')
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise PreconditionFailed("If-Match does not name a version of this rule; read it again")
    return int(text)
