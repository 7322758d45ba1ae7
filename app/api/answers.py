"""Answers made from service views: JSON bytes, and answers that are given once per Idempotency-Key."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response

from app.api.deps import Tenant
from app.api.problems import from_error
from app.domain.errors import DuplicateEvent, Invalid, KassaError
from app.infra.compact_json import json_bytes
from app.services.bundle import Services
from app.services.idempotency import Answer, canonical_key, fingerprint

REPLAYED = "Idempotent-Replayed"

_KEPT_HEADERS = ("content-type", "location", "etag")

_KEY = r"[A-Za-z0-9_\-.:~+/=]{1,255}"
KEY_SCHEMA: dict[str, Any] = {"type": "string", "pattern": f'^({_KEY}|"{_KEY}")$'}
"""The form of an `Idempotency-Key`, as the description of the API tells it."""

_HEARD_AGAIN = (
    "Your own id of this request, bare or in quotes: a repeat with the same key and content hears the first answer "
    "again, for 7 days."
)


def _described(description: str, *, required: bool) -> dict[str, Any]:
    told = {"required": required, "description": description, "schema": KEY_SCHEMA}
    return {"parameters": [{"name": "Idempotency-Key", "in": "header", **told}]}


KEY_REQUIRED = _described(_HEARD_AGAIN, required=True)
"""`openapi_extra=` of routes that need a key: a missing one is a 400, which FastAPI's own check would not answer."""

KEY_UNLESS_DRY = _described(f"{_HEARD_AGAIN} Needed unless `dry_run`.", required=False)
"""The same of routes that may only be tried."""


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Compact UTF-8 JSON. The value comes from a view and is not validated again."""
    return Response(json_bytes(value), status, dict(headers or {}), "application/json")


def _required_key(
    request: Request, _: Annotated[str | None, Header(alias="Idempotency-Key", include_in_schema=False)] = None
) -> str:
    return canonical_key(request.headers.getlist("idempotency-key"))


KeyDep = Annotated[str, Depends(_required_key)]


def _key_unless_dry(
    request: Request, _: Annotated[str | None, Header(alias="Idempotency-Key", include_in_schema=False)] = None
) -> str:
    given = request.headers.getlist("idempotency-key")
    # A dry run keeps no key, so it needs none.
    return "dry-run" if not given and request.query_params.get("dry_run") in _TRUE else canonical_key(given)


_TRUE = ("true", "True", "TRUE", "1", "on", "yes", "t", "y")
"""What the framework reads as true in a query."""

KeyUnlessDryDep = Annotated[str, Depends(_key_unless_dry)]


async def once(
    request: Request, services: Services, who: Tenant, key: str, work: Callable[[], Awaitable[Response]]
) -> Response:
    """The answer of `work`, or the first one given under this key. Final refusals are answers too; others are not kept.

    A refusal that another day may not repeat (a state, a busy database) lets the same key try again.
    """

    async def handler() -> Answer:
        try:
            response = await work()
        except KassaError as refused:
            if not isinstance(refused, DuplicateEvent | Invalid):
                raise
            response = from_error(request.scope, refused)
        kept = {name: value for name, value in response.headers.items() if name in _KEPT_HEADERS}
        return Answer(response.status_code, bytes(response.body), kept)

    path: bytes = request.scope.get("raw_path") or request.url.path.encode()
    asked = fingerprint(request.method, path.decode("latin-1"), request.url.query, await request.body())
    answer = await services.idempotency.once(who.merchant_id, key, asked, handler)
    headers = dict(answer.headers)
    if answer.replayed:
        headers[REPLAYED] = "true"
    return Response(answer.body, answer.status, headers)
