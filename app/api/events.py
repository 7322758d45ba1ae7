"""The neutral event: any CRM reports a payment or refund here, as often as it likes, and gets one receipt."""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.api import problems
from app.api.answers import KEY_SCHEMA, REPLAYED, json_answer
from app.api.deps import ServicesDep, Tenant, tenant
from app.api.pagination import Page, PageQuery
from app.api.problems import Problem, documented
from app.api.schemas.events import Changes, EventIn, EventOut, Identifier, PastMoment
from app.api.schemas.previews import DryRunOut
from app.api.types import EventId, SourceId
from app.domain.errors import NotFound
from app.domain.event import EventStatus, EventType
from app.infra.compact_json import exact_json, json_bytes
from app.services.bundle import Services
from app.services.idempotency import canonical_key
from app.services.principal import Principal
from app.services.reads import EventFilter

router = APIRouter(prefix="/events", tags=["events"])

LONGEST_WAIT = 30

DRY_RUN = (
    "True: say what would become of it, with all findings and the exact body that the provider would get; nothing is "
    "stored, and the identity or key stays free."
)

_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?=,|;|$)", re.IGNORECASE)

_WRITES = tenant("events:write")
_REPLAYED = REPLAYED.lower().encode()


async def accept_event(scope: Scope, receive: Receive, send: Send) -> None:
    """Report a payment, a refund or a closing: the hottest path, an ASGI application of its own.

    Bytes go straight into the model and out of the view: the framework's way to a handler and back costs more than
    everything that happens here. `app.main` puts it behind the same middleware as all routes.
    """
    # Log and metrics name a request by its route, which only FastAPI's own routes say of themselves.
    scope["route"] = HOT
    try:
        status, headers, body = await _accept(scope, lambda: _read(receive))
    except problems.REFUSALS as refused:
        await problems.refusal(scope, refused)(scope, receive, send)
        return
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length, _JSON]})
    await send({"type": "http.response.body", "body": body})


HOT = Route("/v1/events", accept_event, methods=["POST"], name="accept_event", include_in_schema=False)

_JSON = (b"content-type", b"application/json")


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        body = body + part if body else part
        if not message.get("more_body", False):
            return body


async def _accept(scope: Scope, read: Callable[[], Awaitable[bytes]]) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of the answer."""
    principal = _WRITES.checked(scope["state"].get("principal"))
    merchant_id = principal.merchant_id
    if merchant_id is None:
        raise Problem("insufficient-scope", "An admin key acts for no merchant; make a key of the merchant.")
    dry = bool(scope["query_string"]) and _dry_run(Request(scope))
    if key := [value.decode("latin-1") for name, value in scope["headers"] if name == b"idempotency-key"]:
        canonical_key(key)
    try:
        body = EventIn.model_validate_json(await read())
    except ValidationError as invalid:
        found = invalid.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found]) from None
    event = body.to_domain()
    services: Services = scope["app"].state.services
    source_id = await _source(services, principal, merchant_id, body.source)
    masked = not principal.may("receipts:read_pii")
    if dry:
        return 200, [], exact_json(await services.previews.event(merchant_id, source_id, event, masked=masked))
    answer = await services.intake.accept(merchant_id, source_id, event, principal.actor)

    headers = [(b"location", b"/v1/events/evt_%b" % answer.event_id.hex.encode())]
    if not answer.fresh:
        headers.append((_REPLAYED, b"true"))
    status = 202 if answer.fresh else 200
    seconds = _wait_seconds(scope)
    if seconds is not None:
        headers.append((b"preference-applied", b"wait=%d" % seconds))
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
    return status, headers, json_bytes(view)


_CREATED: dict[int | str, dict[str, Any]] = {
    200: {
        "model": EventOut | DryRunOut,
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


# Never reached, `accept_event` stands before it; here for the description of the API.
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
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Not needed: an event has its own identity.",
            json_schema_extra={"pattern": KEY_SCHEMA["pattern"]},
        ),
    ] = None,
    dry_run: Annotated[bool, Query(description=DRY_RUN)] = False,
) -> Response:
    """The same event may be reported again and again: it is one receipt, for ever.

    The first report is answered 202, a repeat 200 with the present state, and the same identity with other content
    409 with `existing_id` and the names of the members that are not the same (`differs`).
    """
    status, headers, answer = await _accept(request.scope, request.body)
    return Response(answer, status, {name.decode(): value.decode() for name, value in headers}, "application/json")


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


def _dry_run(request: Request) -> bool:
    strange = [name for name in request.query_params if name != "dry_run"]
    wrong = [{"type": "extra_forbidden", "loc": ("query", name), "msg": "Unknown parameter"} for name in strange]
    given = request.query_params.getlist("dry_run")
    if not strange and given not in (["true"], ["false"]):
        wrong.append({"type": "bool_parsing", "loc": ("query", "dry_run"), "msg": "must be true or false"})
    if wrong:
        raise RequestValidationError(wrong)
    return given == ["true"]


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


def _wait_seconds(scope: Scope) -> int | None:
    """Of `Prefer: wait=N` (RFC 7240). What cannot be read is no preference; more than the most means the most."""
    preferred = [value for name, value in scope["headers"] if name == b"prefer"]
    if not preferred:
        return None
    found = _WAIT.search(b", ".join(preferred).decode("latin-1"))
    return None if found is None else min(int(found[1]), LONGEST_WAIT)
