"""The neutral event: any CRM reports a payment or refund here, as often as it likes, and gets one receipt."""

import re
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.api.answers import REPLAYED, json_answer
from app.api.deps import ServicesDep, Tenant, tenant
from app.api.pagination import Page, PageQuery
from app.api.problems import Problem, documented, from_pydantic
from app.api.schemas.events import Changes, EventIn, EventOut, Identifier, PastMoment
from app.api.types import EventId, SourceId
from app.domain.errors import NotFound
from app.domain.event import EventStatus, EventType
from app.services.bundle import Services
from app.services.idempotency import canonical_key
from app.services.principal import Principal
from app.services.reads import EventFilter

router = APIRouter(prefix="/events", tags=["events"])

LONGEST_WAIT = 30

_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?=,|;|$)", re.IGNORECASE)

_WRITES = tenant("events:write")


async def accept_event(request: Request) -> Response:
    """Report a payment, a refund or a closing: the hottest path, so bytes go straight into the model.

    Its route is a plain one: FastAPI's own way to a handler costs more than everything that happens here.
    """
    principal = _WRITES.check(request)
    merchant_id = principal.merchant_id
    if merchant_id is None:
        raise Problem("insufficient-scope", "An admin key acts for no merchant; make a key of the merchant.")
    if request.scope["query_string"]:
        strange = [("query", name) for name in request.query_params]
        raise RequestValidationError(
            [{"type": "extra_forbidden", "loc": loc, "msg": "Unknown parameter"} for loc in strange]
        )
    key = request.headers.getlist("idempotency-key")
    if key:
        canonical_key(key)
    try:
        body = EventIn.model_validate_json(await request.body())
    except ValidationError as invalid:
        found = invalid.errors(include_url=False, include_context=False, include_input=False)
        return from_pydantic(request.scope, [{**one, "loc": ("body", *one["loc"])} for one in found])
    event = body.to_domain()
    services: Services = request.app.state.services
    source_id = await _source(services, principal, merchant_id, body.source)
    answer = await services.intake.accept(merchant_id, source_id, event, principal.actor)

    masked = not principal.may("receipts:read_pii")
    headers = {"Location": f"/v1/events/evt_{answer.event_id.hex}"}
    if not answer.fresh:
        headers[REPLAYED] = "true"
    status = 202 if answer.fresh else 200
    seconds = _wait_seconds(request)
    if seconds is not None:
        headers["Preference-Applied"] = f"wait={seconds}"
    try:
        if seconds is not None:
            status = 200 if await services.reads.wait(merchant_id, answer.event_id, seconds) else 202
        if answer.view is None or seconds is not None or not (masked or event.customer.has_contact):
            view = await services.reads.event(merchant_id, answer.event_id, masked=masked)
        else:
            view = answer.view(masked)
    except NotFound:
        if answer.fresh:
            raise
        # Its identity is kept for ever, the event itself is not: a repeat after years is still no new receipt.
        status, view = 200, services.reads.pruned(merchant_id, answer.event_id, source_id, event, masked=masked)
    return json_answer(view, status, headers)


class _Accept:
    """The same as an ASGI application: what a route puts around a function is not paid for."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Log and metrics name a request by its route, which only FastAPI's own routes say of themselves.
        scope["route"] = HOT
        response = await accept_event(Request(scope, receive, send))
        await response(scope, receive, send)


HOT = Route("/v1/events", _Accept(), methods=["POST"], name="accept_event", include_in_schema=False)
"""Stands before all other routes of the application."""

_CREATED: dict[int | str, dict[str, Any]] = {
    200: {
        "model": EventOut,
        "description": "Reported before (`Idempotent-Replayed: true`), or finished while you waited. Of a report "
        "that is older than this installation keeps receipts, `status` is `pruned` and `receipts` is empty: it had its "
        "receipt, and no other is made.",
        "headers": {
            "Idempotent-Replayed": {"description": "`true`: this is a repeat.", "schema": {"type": "string"}},
            "Preference-Applied": {"description": "The wait that was kept to.", "schema": {"type": "string"}},
        },
    },
    202: {
        "description": "Stored; its receipts are on their way.",
        "headers": {"Location": {"description": "Where the event is read.", "schema": {"type": "string"}}},
        "links": {
            "getEvent": {"operationId": "getEvent", "parameters": {"event_id": "$response.body#/id"}},
            "getReceipt": {
                "operationId": "getReceipt",
                "parameters": {"receipt_id": "$response.body#/receipts/0/id"},
            },
        },
    },
}
_PAYMENT = {
    "type": "payment.succeeded",
    "external_id": "p-1",
    "amount": 199000,
    "currency": "RUB",
    "customer": {"email": "anna@example.org"},
    "items": [{"name": "Абонемент", "quantity": "1", "price": 199000, "amount": 199000, "vat": "none"}],
}
_REFUND = {"type": "refund.succeeded", "external_id": "r-1", "payment_id": "p-1", "amount": 50000, "currency": "RUB"}


# Never reached, the plain route stands before it; here for the description of the API.
@router.post(
    "",
    status_code=202,
    response_model=EventOut,
    operation_id="createEvent",
    summary="Report a payment, a refund or a closing",
    responses=_CREATED
    | documented(
        "idempotency-key-invalid",
        "malformed-json",
        "duplicate-event",
        "validation-failed",
        "fiscal-rule-violation",
        "receipt-totals-mismatch",
    ),
)
async def create_event(
    request: Request,
    _: Annotated[Tenant, Depends(_WRITES)],
    body: Annotated[
        EventIn,
        Body(
            openapi_examples={
                "payment": {"summary": "A payment", "value": _PAYMENT},
                "refund": {"summary": "A refund of a part of it", "value": _REFUND},
            }
        ),
    ],
    prefer: Annotated[
        str | None,
        Header(
            alias="Prefer",
            description=f"`wait=N`, at most {LONGEST_WAIT} seconds: answer when the receipt is finished.",
        ),
    ] = None,
    idempotency_key: Annotated[
        str | None, Header(alias="Idempotency-Key", description="Not needed: an event has its own identity.")
    ] = None,
) -> Response:
    """The same event may be reported again and again: it is one receipt, for ever.

    The first report is answered 202, a repeat 200 with the present state, and the same identity with other content
    409 with `existing_id`.
    """
    return await accept_event(request)


def _event_filter(
    status: Annotated[list[EventStatus], Query(default_factory=list, description="One or several.")],
    type: Annotated[list[EventType], Query(default_factory=list, description="One or several.")],
    source: Annotated[SourceId | None, Query(description="Who reported it.")] = None,
    external_id: Annotated[Identifier | None, Query(description="The source's id of the payment or refund.")] = None,
    payment_id: Annotated[Identifier | None, Query(description="Refunds and closings of this payment.")] = None,
    order_id: Annotated[Identifier | None, Query(description="Your order.")] = None,
    received_from: Annotated[PastMoment | None, Query(description="Inclusive.")] = None,
    received_to: Annotated[PastMoment | None, Query(description="Exclusive.")] = None,
) -> EventFilter:
    return EventFilter(
        status=tuple(one.value for one in status),
        type=tuple(one.value for one in type),
        source_id=source,
        external_id=external_id,
        payment_id=payment_id,
        order_id=order_id,
        received_from=received_from,
        received_to=received_to,
    )


@router.get(
    "",
    response_model=Page[EventOut],
    operation_id="listEvents",
    summary="List events, newest first",
    responses=documented("invalid-cursor", "not-found", "validation-failed"),
)
async def list_events(
    services: ServicesDep,
    who: Annotated[Tenant, Depends(tenant("events:read"))],
    wanted: Annotated[EventFilter, Depends(_event_filter)],
    page: PageQuery,
) -> Response:
    """Filters narrow together; a parameter that may be repeated means any of its values."""
    masked = not who.principal.may("receipts:read_pii")
    shown = await services.reads.events(who.merchant_id, wanted, page.after, page.fetch, masked=masked)
    return json_answer(page.page(shown, lambda one: one.view, lambda one: one.position).model_dump())


@router.get(
    "/{event_id}",
    response_model=EventOut,
    operation_id="getEvent",
    summary="Read an event and its receipts",
    responses=documented("not-found"),
)
async def read_event(
    event_id: EventId, services: ServicesDep, who: Annotated[Tenant, Depends(tenant("events:read"))]
) -> Response:
    """The event's present state."""
    masked = not who.principal.may("receipts:read_pii")
    return json_answer(await services.reads.event(who.merchant_id, event_id, masked=masked))


@router.patch(
    "/{event_id}",
    response_model=EventOut,
    operation_id="updateEvent",
    summary="Fill in what a held event lacks",
    responses=documented("malformed-json", "not-found", "state-conflict", "validation-failed"),
)
async def update_event(
    event_id: EventId,
    body: Changes,
    services: ServicesDep,
    who: Annotated[Tenant, Depends(tenant("receipts:write"))],
) -> Response:
    """Members that are left out stay; a customer is merged, lists are replaced. The receipt is then planned again."""
    await services.actions.patch_event(who.principal, who.merchant_id, event_id, body.given())
    masked = not who.principal.may("receipts:read_pii")
    return json_answer(await services.reads.event(who.merchant_id, event_id, masked=masked))


@router.post(
    "/{event_id}/replan",
    response_model=EventOut,
    operation_id="replanEvent",
    summary="Plan a held event again",
    responses=documented("not-found", "state-conflict"),
)
async def replan_event(
    event_id: EventId, services: ServicesDep, who: Annotated[Tenant, Depends(tenant("receipts:write"))]
) -> Response:
    """After a default or a kassa was set, or the sale of a refund got its receipt."""
    await services.actions.replan(who.principal, who.merchant_id, event_id)
    masked = not who.principal.may("receipts:read_pii")
    return json_answer(await services.reads.event(who.merchant_id, event_id, masked=masked))


async def _source(services: Services, principal: Principal, merchant_id: UUID, name: str | None) -> UUID:
    try:
        found: UUID = await services.intake.source_of(principal, merchant_id, name)
    except NotFound as unknown:
        # The path is right; it is the body that names what is not there.
        raise Problem(
            "validation-failed",
            "1 member is not valid.",
            errors=[{"pointer": "#/source", "detail": unknown.detail, "code": "unknown_source"}],
        ) from None
    return found


def _wait_seconds(request: Request) -> int | None:
    """Of `Prefer: wait=N` (RFC 7240). What cannot be read is no preference; more than the most means the most."""
    found = _WAIT.search(", ".join(request.headers.getlist("prefer")))
    return None if found is None else min(int(found[1]), LONGEST_WAIT)
