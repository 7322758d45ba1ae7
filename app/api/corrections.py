"""Corrections: money without a receipt, a receipt that is wrong, and lists of payments without receipts."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from app.api.answers import KEY_UNLESS_DRY, json_answer, once
from app.api.deps import ServicesDep, Tenant, tenant
from app.api.problems import documented
from app.api.receipts import made_by_hand
from app.api.schemas.corrections import (
    FORMS,
    AnyCorrectionIn,
    BatchConfirmIn,
    BatchIn,
    BatchOut,
    CorrectionPlanOut,
    ReceiptCorrectionIn,
)
from app.api.schemas.receipts import ReceiptOut
from app.api.types import CorrectionBatchId, CorrectionId
from app.domain.correction_list import read_list
from app.domain.errors import Invalid
from app.domain.ffd import CorrectionKind
from app.services.bundle import Services
from app.services.correction_batches import listed
from app.services.idempotency import canonical_key


class _Route(APIRoute):
    """Two forms of one body: which of them was read stands in no pointer."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handler(request)
            except RequestValidationError as wrong:
                raise RequestValidationError([_untagged(one) for one in wrong.errors()], body=wrong.body) from None

        return handled


router = APIRouter(prefix="/corrections", tags=["receipts"], route_class=_Route)

Reader = Annotated[Tenant, Depends(tenant("receipts:read"))]
Writer = Annotated[Tenant, Depends(tenant("receipts:write"))]


_PREVIEWED: dict[int | str, dict[str, Any]] = {
    200: {"model": CorrectionPlanOut, "description": "With `dry_run`: what would be made."}
}


def _key(
    request: Request,
    dry_run: Annotated[bool, Query(description="Say what would be made, and store nothing. Needs no key.")] = False,
    _: Annotated[str | None, Header(alias="Idempotency-Key", include_in_schema=False)] = None,
) -> str | None:
    """None for a preview: it is no request that must be carried out once."""
    return None if dry_run else canonical_key(request.headers.getlist("idempotency-key"))


@router.post(
    "",
    status_code=202,
    response_model=ReceiptOut | CorrectionPlanOut,
    operation_id="createCorrection",
    summary="Make a correction",
    responses=_PREVIEWED
    | documented(
        "idempotency-key-missing",
        "idempotency-key-invalid",
        "malformed-json",
        "not-found",
        "idempotency-request-in-progress",
        "state-conflict",
        "idempotency-key-reused",
        "validation-failed",
        "fiscal-rule-violation",
        "receipt-totals-mismatch",
    ),
    openapi_extra=KEY_UNLESS_DRY,
)
async def create_correction(
    request: Request,
    body: AnyCorrectionIn,
    key: Annotated[str | None, Depends(_key)],
    services: ServicesDep,
    who: Writer,
) -> Response:
    """Never made by the program itself: an unknown outcome is not corrected, it is found out.

    With `receipt`: what happened to it, and the right documents follow; the answer is the correction with them.
    Without: a correction receipt for money that has none; the answer is that receipt.
    """
    if key is None:
        return json_answer(await _preview(services, who, body))
    named = key

    async def work() -> Response:
        if isinstance(body, ReceiptCorrectionIn):
            made = await services.corrections.repair(who.principal, who.merchant_id, named, body.to_domain())
            view = await services.corrections.read(who.merchant_id, made, masked=_masked(who))
            return json_answer(view, 202, {"Location": f"/v1/corrections/{view['id']}"})
        operation, event = body.to_domain(named)
        event_id = await services.missing.make(
            who.principal,
            who.merchant_id,
            named,
            operation,
            event,
            body.correction.to_domain(),
            payment_id=body.payment_id,
            source=body.source,
        )
        return await made_by_hand(services, who, event_id)

    return await once(request, services, who, key, work)


@router.post(
    "/batches",
    status_code=201,
    response_model=BatchOut,
    operation_id="createCorrectionBatch",
    summary="Preview corrections for a list of payments",
    responses=documented("malformed-json", "not-found", "validation-failed", "fiscal-rule-violation"),
)
async def create_batch(body: BatchIn, services: ServicesDep, who: Writer) -> Response:
    """For payments that have no receipts. Every row is judged; nothing is made before it is confirmed."""
    rows: list[Any] = [one.to_domain() for one in body.rows]
    if body.csv is not None:
        lines, faults = read_list(body.csv)
        if faults:
            raise Invalid("this file is no list of payments", faults)
        rows = [listed(line) for line in lines]
    view = await services.correction_batches.preview(
        who.principal, who.merchant_id, body.source, CorrectionKind.parse(body.kind), body.document_number, rows
    )
    return json_answer(view, 201, {"Location": f"/v1/corrections/batches/{view['id']}"})


@router.get(
    "/batches/{batch_id}",
    response_model=BatchOut,
    operation_id="getCorrectionBatch",
    summary="Read how far a list is",
    responses=documented("not-found"),
)
async def read_batch(batch_id: CorrectionBatchId, services: ServicesDep, who: Reader) -> Response:
    """Each row with its receipt, once it is sent."""
    return json_answer(await services.correction_batches.read(who.merchant_id, batch_id))


@router.post(
    "/batches/{batch_id}/confirm",
    response_model=BatchOut,
    operation_id="confirmCorrectionBatch",
    summary="Make the corrections of a list",
    responses=documented("malformed-json", "not-found", "state-conflict", "validation-failed"),
)
async def confirm_batch(
    batch_id: CorrectionBatchId, body: BatchConfirmIn, services: ServicesDep, who: Writer
) -> Response:
    """Once, however often it is asked; a payment that was reported since the preview is left out."""
    view = await services.correction_batches.confirm(who.principal, who.merchant_id, batch_id, body.token)
    return json_answer(view)


@router.get(
    "/{correction_id}",
    response_model=CorrectionPlanOut,
    operation_id="getCorrection",
    summary="Read a correction",
    responses=documented("not-found"),
)
async def read_correction(correction_id: CorrectionId, services: ServicesDep, who: Reader) -> Response:
    """Its documents as they stand by now, and the explanation with the numbers that are known."""
    return json_answer(await services.corrections.read(who.merchant_id, correction_id, masked=_masked(who)))


async def _preview(services: Services, who: Tenant, body: AnyCorrectionIn) -> dict[str, Any]:
    if isinstance(body, ReceiptCorrectionIn):
        return await services.corrections.preview(who.principal, who.merchant_id, body.to_domain())
    operation, event = body.to_domain("preview")
    return await services.missing.preview(
        who.principal,
        who.merchant_id,
        operation,
        event,
        body.correction.to_domain(),
        payment_id=body.payment_id,
        source=body.source,
    )


def _untagged(error: dict[str, Any]) -> dict[str, Any]:
    first, *rest = error["loc"]
    return {**error, "loc": (first, *rest[1:])} if first == "body" and rest and rest[0] in FORMS else error


def _masked(who: Tenant) -> bool:
    return not who.principal.may("receipts:read_pii")
