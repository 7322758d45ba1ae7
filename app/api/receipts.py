"""Receipts: found, read with their history, made by hand, refunded, and the decisions that only a person can take."""

from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from app.api.answers import KEY_REQUIRED, KEY_UNLESS_DRY, KeyDep, KeyUnlessDryDep, json_answer, once
from app.api.deps import ServicesDep, Tenant, tenant
from app.api.events import DRY_RUN
from app.api.pagination import Page, PageQuery
from app.api.problems import Problem, documented
from app.api.schemas.actions import BulkIn, BulkOut, CancelIn, LateIn, ManualIn, RefundIn, ResolveIn
from app.api.schemas.events import Changes, EventOut, Identifier, PastMoment
from app.api.schemas.explain import ExplanationOut
from app.api.schemas.lines import Email, OperationName, Phone
from app.api.schemas.previews import DryRunOut
from app.api.schemas.receipts import ReceiptOut, TimelineOut
from app.api.types import BranchId, EventId, KassaId, ReceiptId
from app.domain.errors import Conflict, KassaError, NotFound, PreconditionFailed
from app.domain.lifecycle import Status
from app.infra.compact_json import exact_json
from app.infra.ids import public
from app.services.bundle import Services
from app.services.by_hand import manual_event, manual_shape
from app.services.reads import ReceiptSearch
from app.services.refund_lines import AskedLine, refund_lines

router = APIRouter(prefix="/receipts", tags=["receipts"])

BULK_AT_ONCE = 200

Reader = Annotated[Tenant, Depends(tenant("receipts:read"))]
Writer = Annotated[Tenant, Depends(tenant("receipts:write"))]

_DRY: dict[int | str, dict[str, Any]] = {
    200: {"model": DryRunOut, "description": "A dry run: what would become of it."}
}
_ACTION = documented("not-found", "state-conflict")


def _search(
    status: Annotated[list[Status], Query(default_factory=list, description="One or several.")],
    operation: Annotated[list[OperationName], Query(default_factory=list, description="One or several.")],
    order_id: Annotated[Identifier | None, Query(description="Your order.")] = None,
    external_id: Annotated[Identifier | None, Query(description="The source's id of the payment or refund.")] = None,
    event_id: Annotated[EventId | None, Query(description="Receipts of this event.")] = None,
    kassa: Annotated[KassaId | None, Query()] = None,
    branch: Annotated[BranchId | None, Query()] = None,
    created_from: Annotated[PastMoment | None, Query(description="Inclusive.")] = None,
    created_to: Annotated[PastMoment | None, Query(description="Exclusive.")] = None,
    fd: Annotated[int | None, Query(ge=0, le=4_294_967_295, description="Number of the fiscal document.")] = None,
    fpd: Annotated[str | None, Query(pattern=r"^[0-9]{1,10}$", description="Fiscal sign.")] = None,
    email: Annotated[Email | None, Query(description="The buyer's whole e-mail.")] = None,
    phone: Annotated[Phone | None, Query(description="The buyer's whole phone.")] = None,
    phone_tail: Annotated[
        str | None, Query(pattern=r"^[0-9]{4}$", description="Last four digits of the buyer's phone.")
    ] = None,
) -> ReceiptSearch:
    return ReceiptSearch(
        status=tuple(one.value for one in status),
        operation=tuple(operation),
        order_id=order_id,
        external_id=external_id,
        event_id=event_id,
        kassa_id=kassa,
        branch_id=branch,
        created_from=created_from,
        created_to=created_to,
        fd=fd,
        fpd=fpd,
        email=email,
        phone=phone,
        phone_tail=phone_tail,
    )


@router.get(
    "",
    response_model=Page[ReceiptOut],
    operation_id="listReceipts",
    summary="Find receipts, newest first",
    responses=documented("invalid-cursor", "not-found", "validation-failed"),
)
async def list_receipts(
    services: ServicesDep, who: Reader, wanted: Annotated[ReceiptSearch, Depends(_search)], page: PageQuery
) -> Response:
    """Filters narrow together; a parameter that may be repeated means any of its values."""
    shown = await services.reads.receipts(who.merchant_id, wanted, page.after, page.fetch, masked=_masked(who))
    return json_answer(page.page(shown, lambda one: one.view, lambda one: one.position).model_dump())


@router.post(
    "",
    status_code=202,
    response_model=ReceiptOut,
    operation_id="createReceipt",
    summary="Make a receipt by hand",
    responses=_DRY
    | documented(
        "idempotency-key-missing",
        "idempotency-key-invalid",
        "malformed-json",
        "idempotency-request-in-progress",
        "idempotency-key-reused",
        "validation-failed",
        "fiscal-rule-violation",
        "receipt-totals-mismatch",
    ),
    openapi_extra=KEY_UNLESS_DRY,
)
async def create_receipt(
    request: Request,
    body: ManualIn,
    key: KeyUnlessDryDep,
    services: ServicesDep,
    who: Writer,
    dry_run: Annotated[bool, Query(description=f"{DRY_RUN} The key may be left out.")] = False,
) -> Response:
    """For money that no source reports. The same pipeline and checks as every other receipt."""
    if dry_run:
        operation, event = body.to_domain(key)
        source_id = await services.intake.source_of(who.principal, who.merchant_id, None)
        found = await services.previews.event(
            who.merchant_id, source_id, manual_event(event, key), masked=_masked(who), shape=manual_shape(operation)
        )
        return Response(exact_json(found), media_type="application/json")

    async def work() -> Response:
        operation, event = body.to_domain(key)
        made = await services.by_hand.manual(who.principal, who.merchant_id, key, operation, event)
        return await made_by_hand(services, who, made)

    return await once(request, services, who, key, work)


@router.post(
    "/bulk",
    response_model=BulkOut,
    operation_id="changeReceipts",
    summary="Retry, cancel or confirm many receipts",
    responses=documented("malformed-json", "validation-failed"),
)
async def change_receipts(body: BulkIn, services: ServicesDep, who: Writer) -> Response:
    """A preview (the default) only says what would be touched. Each receipt is treated as by its own action."""
    asked = body.filter
    wanted = ReceiptSearch(
        status=tuple(one.value for one in asked.status),
        operation=tuple(asked.operation),
        order_id=asked.order_id,
        external_id=asked.external_id,
        kassa_id=asked.kassa,
        branch_id=asked.branch,
        created_from=asked.created_from,
        created_to=asked.created_to,
        email=asked.email,
        phone=asked.phone,
        cause=asked.cause,
    )
    count, found = await services.reads.matching(who.merchant_id, wanted, body.after, BULK_AT_ONCE + 1)
    ids = found[:BULK_AT_ONCE]
    results = [] if body.preview else [await _one_of_many(services, who, one, body) for one in ids]
    return json_answer(
        {
            "action": body.action,
            "preview": body.preview,
            "count": count,
            "ids": [public("rcpt", one) for one in ids],
            "results": results,
            "next_after": public("rcpt", ids[-1]) if len(found) > len(ids) else None,
        }
    )


@router.get(
    "/{receipt_id}",
    response_model=ReceiptOut,
    operation_id="getReceipt",
    summary="Read a receipt",
    responses=documented("not-found"),
)
async def read_receipt(receipt_id: ReceiptId, services: ServicesDep, who: Reader) -> Response:
    """The present state; the ETag is its `sequence`."""
    return await _shown(services, who, receipt_id)


@router.get(
    "/{receipt_id}/timeline",
    response_model=TimelineOut,
    operation_id="getReceiptTimeline",
    summary="Read a receipt's history",
    responses=documented("not-found"),
)
async def read_timeline(receipt_id: ReceiptId, services: ServicesDep, who: Reader) -> Response:
    """Every state, exchange with the provider (contacts masked), decision and actor, oldest first."""
    return json_answer({"data": await services.reads.timeline(who.merchant_id, receipt_id)})


@router.get(
    "/{receipt_id}/explain",
    response_model=ExplanationOut,
    operation_id="explainReceipt",
    summary="What happened to a receipt, why, who acts, and what can be done now",
    responses=documented("not-found"),
)
async def explain_receipt(receipt_id: ReceiptId, services: ServicesDep, who: Reader) -> Response:
    """In English and Russian, with the calls that are possible now, ready to copy."""
    found = await services.explain.receipt(who.merchant_id, receipt_id)
    if found is None:
        raise NotFound("no such receipt")
    return json_answer(found)


@router.post(
    "/{receipt_id}/confirm-late",
    response_model=ReceiptOut,
    operation_id="confirmLateReceipt",
    summary="Decide how a late receipt is made",
    responses=_ACTION | documented("malformed-json", "validation-failed", "fiscal-rule-violation"),
)
async def confirm_late_receipt(receipt_id: ReceiptId, body: LateIn, services: ServicesDep, who: Writer) -> Response:
    """For a receipt that is held with the cause `deadline_passed`; the same for many at once: `POST
    /v1/receipts/bulk`. Never for one that may be registered already."""
    await services.late.confirm(who.principal, who.merchant_id, receipt_id, body.how, body.reason)
    return await _shown(services, who, receipt_id)


@router.patch(
    "/{receipt_id}",
    response_model=ReceiptOut,
    operation_id="updateReceipt",
    summary="Fill in a held receipt, correct a rejected one",
    responses=documented(
        "malformed-json",
        "not-found",
        "state-conflict",
        "precondition-failed",
        "validation-failed",
        "fiscal-rule-violation",
        "precondition-required",
    ),
)
async def update_receipt(
    receipt_id: ReceiptId,
    body: Changes,
    services: ServicesDep,
    who: Writer,
    if_match: Annotated[
        str | None, Header(alias="If-Match", description="The receipt's `sequence` (its ETag) that you saw. Required.")
    ] = None,
) -> Response:
    """Members that are left out stay; a customer is merged, lists are replaced. A corrected receipt is a new version
    under a new id at the provider. Of a finished receipt that went to the fallback contact the `customer` can be sent
    later: no document is made again, refunds go to the buyer, and `receipt.contact_added` tells you our link."""
    await services.actions.patch_receipt(who.principal, who.merchant_id, receipt_id, _sequence(if_match), body.given())
    return await _shown(services, who, receipt_id)


@router.post(
    "/{receipt_id}/refund",
    status_code=202,
    response_model=EventOut,
    operation_id="refundReceipt",
    summary="Refund a sale in full, by lines or by amount",
    responses=documented(
        "idempotency-key-missing",
        "idempotency-key-invalid",
        "malformed-json",
        "not-found",
        "idempotency-request-in-progress",
        "state-conflict",
        "idempotency-key-reused",
        "validation-failed",
        "fiscal-rule-violation",
        "refund-exceeds-payment",
    ),
    openapi_extra=KEY_REQUIRED,
)
async def refund_receipt(
    request: Request, receipt_id: ReceiptId, body: RefundIn, key: KeyDep, services: ServicesDep, who: Writer
) -> Response:
    """Answered with the refund's event; its receipt is planned at once under the sale's lock."""

    async def work() -> Response:
        asked = [
            AskedLine(Decimal(one.quantity), one.name, one.sku, one.marking_code, one.amount)
            for one in body.items or ()
        ]
        sale = await services.reads.receipt(who.merchant_id, receipt_id, masked=True)
        event_id = await services.by_hand.refund(
            who.principal,
            who.merchant_id,
            receipt_id,
            key,
            refund_lines(sale["items"], asked),
            body.amount,
            dict(body.metadata),
            body.reason,
        )
        view = await services.reads.event(who.merchant_id, event_id, masked=_masked(who))
        return json_answer(view, 202, {"Location": f"/v1/events/{view['id']}"})

    return await once(request, services, who, key, work)


@router.post(
    "/{receipt_id}/retry",
    response_model=ReceiptOut,
    operation_id="retryReceipt",
    summary="Do now what is planned for later",
    responses=_ACTION,
)
async def retry_receipt(receipt_id: ReceiptId, services: ServicesDep, who: Writer) -> Response:
    """Never sends what may already be printed: an unknown outcome is looked up first."""
    await services.actions.retry(who.principal, who.merchant_id, receipt_id)
    return await _shown(services, who, receipt_id)


@router.post(
    "/{receipt_id}/cancel",
    response_model=ReceiptOut,
    operation_id="cancelReceipt",
    summary="Give a receipt up before it is sent",
    responses=_ACTION | documented("malformed-json", "validation-failed"),
)
async def cancel_receipt(
    receipt_id: ReceiptId, services: ServicesDep, who: Writer, body: CancelIn | None = None
) -> Response:
    """A receipt that is on its way cannot be cancelled; refund it when it is there."""
    await services.actions.cancel(who.principal, who.merchant_id, receipt_id, None if body is None else body.reason)
    return await _shown(services, who, receipt_id)


@router.post(
    "/{receipt_id}/resolve",
    response_model=ReceiptOut,
    operation_id="resolveReceipt",
    summary="Decide what only a person can know",
    responses=_ACTION | documented("malformed-json", "precondition-failed", "validation-failed"),
)
async def resolve_receipt(receipt_id: ReceiptId, body: ResolveIn, services: ServicesDep, who: Writer) -> Response:
    """For `unknown` and `needs_attention`. Look into the provider's cabinet first; the reason is kept for ever."""
    await services.actions.resolve(
        who.principal,
        who.merchant_id,
        receipt_id,
        body.answer,
        body.sequence,
        body.reason,
        None if body.fiscal is None else body.fiscal.to_domain(),
    )
    return await _shown(services, who, receipt_id)


async def made_by_hand(services: Services, who: Tenant, event_id: UUID) -> Response:
    """202 with the one receipt of a request made by hand; Conflict when the source's settings make none."""
    try:
        event = await services.reads.event(who.merchant_id, event_id, masked=_masked(who))
    except NotFound:
        raise Conflict(
            "a receipt was made under this key, and is too old to be kept; use a new key for new money",
            event_id=public("evt", event_id),
        ) from None
    if not event["receipts"]:
        raise Conflict("this source makes no receipts", reason=event["reason"], event_id=event["id"])
    receipt = event["receipts"][0]
    return json_answer(receipt, 202, {"Location": f"/v1/receipts/{receipt['id']}", "ETag": f'"{receipt["sequence"]}"'})


def _masked(who: Tenant) -> bool:
    return not who.principal.may("receipts:read_pii")


async def _shown(services: Services, who: Tenant, receipt_id: UUID) -> Response:
    view = await services.reads.receipt(who.merchant_id, receipt_id, masked=_masked(who))
    return json_answer(view, headers={"ETag": f'"{view["sequence"]}"'})


def _sequence(if_match: str | None) -> int:
    if if_match is None:
        raise Problem("precondition-required", "Send If-Match with the receipt's sequence that you saw.")
    text = if_match.strip().removeprefix('"').removesuffix('"')
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise PreconditionFailed("If-Match does not name a sequence of this receipt; read it again")
    return int(text)


async def _one_of_many(services: Services, who: Tenant, receipt_id: UUID, body: BulkIn) -> dict[str, object]:
    code = detail = None
    try:
        if body.action == "retry":
            await services.actions.retry(who.principal, who.merchant_id, receipt_id)
        elif body.action != "cancel":
            await services.late.confirm(who.principal, who.merchant_id, receipt_id, body.action, body.reason)
        else:
            await services.actions.cancel(who.principal, who.merchant_id, receipt_id, body.reason)
    except KassaError as refused:
        code, detail = refused.code.replace("-", "_"), refused.detail
    return {"id": public("rcpt", receipt_id), "done": code is None, "code": code, "detail": detail}
