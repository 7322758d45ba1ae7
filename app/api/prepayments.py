"""Prepayments: who has paid and was not given yet, since when, and what an order or a buyer still has open."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from app.api.answers import json_answer
from app.api.deps import ServicesDep, Tenant, tenant
from app.api.pagination import Page, PageQuery
from app.api.problems import documented
from app.api.schemas.events import Identifier
from app.api.schemas.lines import Email, Phone
from app.api.schemas.prepayments import PrepaymentOut, TotalOut
from app.services.prepayments import PrepaymentSearch

router = APIRouter(prefix="/prepayments", tags=["prepayments"])

Reader = Annotated[Tenant, Depends(tenant("receipts:read"))]


def _search(
    open: Annotated[bool | None, Query(description="True: something is still open. False: nothing is.")] = None,
    older_than: Annotated[
        str | None,
        Query(pattern=r"^[0-9]{1,4}[dh]$", description="Reported before that long: `30d`, `12h`.", examples=["30d"]),
    ] = None,
    order_id: Annotated[Identifier | None, Query(description="Your order.")] = None,
    email: Annotated[Email | None, Query(description="The buyer's whole e-mail.")] = None,
    phone: Annotated[Phone | None, Query(description="The buyer's whole phone.")] = None,
) -> PrepaymentSearch:
    return PrepaymentSearch(open, _age(older_than), order_id, email, phone)


@router.get(
    "",
    response_model=Page[PrepaymentOut],
    operation_id="listPrepayments",
    summary="Find prepayments, newest first",
    responses=documented("invalid-cursor", "not-found", "validation-failed"),
)
async def list_prepayments(
    services: ServicesDep, who: Reader, wanted: Annotated[PrepaymentSearch, Depends(_search)], page: PageQuery
) -> Response:
    """One row per payment; `open=true&older_than=30d` are those that somebody should look at."""
    masked = not who.principal.may("receipts:read_pii")
    shown = await services.prepayments.page(who.merchant_id, wanted, page.after, page.fetch, masked=masked)
    return json_answer(page.page(shown, lambda one: one.view, lambda one: one.position).model_dump())


@router.get(
    "/balance",
    response_model=TotalOut,
    operation_id="readPrepaymentBalance",
    summary="Add up the prepayments of an order or a buyer",
    responses=documented("not-found", "validation-failed", "fiscal-rule-violation"),
)
async def read_balance(
    services: ServicesDep, who: Reader, wanted: Annotated[PrepaymentSearch, Depends(_search)]
) -> Response:
    """What was received, closed, returned and is open of all that match: of an order, a buyer, or everybody."""
    return json_answer(await services.prepayments.balance(who.merchant_id, wanted))


def _age(text: str | None) -> timedelta | None:
    if text is None:
        return None
    number = int(text[:-1])
    return timedelta(days=number) if text.endswith("d") else timedelta(hours=number)
