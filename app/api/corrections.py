"""Correction receipts: for a settlement that was made without a receipt, or with a wrong one."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from app.api.answers import KEY_REQUIRED, KeyDep, once
from app.api.deps import ServicesDep, Tenant, tenant
from app.api.problems import documented
from app.api.receipts import made_by_hand
from app.api.schemas.actions import CorrectionIn
from app.api.schemas.receipts import ReceiptOut

router = APIRouter(prefix="/corrections", tags=["receipts"])


@router.post(
    "",
    status_code=202,
    response_model=ReceiptOut,
    operation_id="createCorrection",
    summary="Make a correction receipt",
    responses=documented(
        "idempotency-key-missing",
        "idempotency-key-invalid",
        "malformed-json",
        "idempotency-request-in-progress",
        "idempotency-key-reused",
        "validation-failed",
        "fiscal-rule-violation",
        "receipt-totals-mismatch",
    ),
    openapi_extra=KEY_REQUIRED,
)
async def create_correction(
    request: Request,
    body: CorrectionIn,
    key: KeyDep,
    services: ServicesDep,
    who: Annotated[Tenant, Depends(tenant("receipts:write"))],
) -> Response:
    """Never made by the program itself: an unknown outcome is not corrected, it is found out."""

    async def work() -> Response:
        operation, event = body.to_domain(key)
        basis = body.correction.to_domain()
        made = await services.actions.correction(who.principal, who.merchant_id, key, operation, event, basis)
        return await made_by_hand(services, who, made)

    return await once(request, services, who, key, work)
