"""Every refusal as an RFC 9457 problem. The only place that knows which refusal is which HTTP status.

Nothing that the caller sent is repeated in an answer: it may be a buyer's contact or a password.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.domain.errors import Busy, Finding, Invalid, KassaError

PROBLEM_BASE = "https://crm-kassa.dev/problems/"
"""Beginning of every problem's `type`. Clients compare it as text: it never changes."""

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 50


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of problem: its HTTP status, its title, and whether the same request may succeed later."""

    status: int
    title: str
    retryable: bool = False


KINDS: dict[str, Kind] = {
    "malformed-json": Kind(400, "The body is not JSON"),
    "idempotency-key-missing": Kind(400, "Idempotency-Key is missing"),
    "idempotency-key-invalid": Kind(400, "Idempotency-Key is not valid"),
    "invalid-cursor": Kind(400, "The cursor is not valid"),
    "authentication-required": Kind(401, "An API key is needed"),
    "invalid-api-key": Kind(401, "The API key is not valid"),
    "signature-invalid": Kind(401, "The signature is not valid"),
    "insufficient-scope": Kind(403, "The API key may not do this"),
    "merchant-suspended": Kind(403, "The merchant is suspended"),
    "not-found": Kind(404, "Not found"),
    "method-not-allowed": Kind(405, "The method is not allowed here"),
    "not-acceptable": Kind(406, "No acceptable form of the answer"),
    "idempotency-request-in-progress": Kind(409, "The first request with this key is still running", retryable=True),
    "duplicate-event": Kind(409, "The same identity came with other content"),
    "state-conflict": Kind(409, "The present state forbids it"),
    "precondition-failed": Kind(412, "The thing was changed meanwhile"),
    "request-timeout": Kind(408, "The body came too slowly", retryable=True),
    "payload-too-large": Kind(413, "The body is too large"),
    "unsupported-media-type": Kind(415, "The body is of another media type than the route takes"),
    "validation-failed": Kind(422, "The request is not valid"),
    "idempotency-key-reused": Kind(422, "Idempotency-Key came back with other content"),
    "receipt-totals-mismatch": Kind(422, "The sums do not add up"),
    "refund-exceeds-payment": Kind(422, "More would be returned than was paid"),
    "fiscal-rule-violation": Kind(422, "A fiscal rule is broken"),
    "provider-not-configured": Kind(422, "The provider cannot be used"),
    "webhook-url-forbidden": Kind(422, "The address may not be called"),
    "precondition-required": Kind(428, "If-Match is needed"),
    "rate-limited": Kind(429, "Too many requests", retryable=True),
    "internal-error": Kind(500, "Something broke here", retryable=True),
    "service-unavailable": Kind(503, "Not available at the moment", retryable=True),
}
"""Problem slug → what it is. A slug, once given out, keeps its meaning and status."""

_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")

_BY_STATUS = {
    400: "malformed-json",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    408: "request-timeout",
    413: "payload-too-large",
    415: "unsupported-media-type",
    429: "rate-limited",
    503: "service-unavailable",
}


class Problem(Exception):
    """A refusal that only the HTTP edge can have; what services refuse are `KassaError`s."""

    def __init__(
        self, slug: str, detail: str | None = None, *, headers: Mapping[str, str] | None = None, **facts: Any
    ) -> None:
        super().__init__(slug)
        self.slug = slug
        self.detail = detail
        self.headers = headers
        self.facts = facts


class FieldError(BaseModel):
    """One thing wrong with the request: where it stands and what is wrong."""

    pointer: str | None = Field(default=None, description="JSON pointer into the body, such as `#/items/0/price`.")
    parameter: str | None = Field(default=None, description="Name of a query parameter.")
    header: str | None = Field(default=None, description="Name of a header.")
    detail: str
    detail_ru: str | None = None
    code: str = Field(description="Stable name of the rule that is broken.")
    ffd_tag: int | None = Field(default=None, description="Tag of the fiscal format that the rule is about.")
    fix: str | None = Field(default=None, description="What to do.")
    severity: str | None = Field(default=None, description="`error`; warnings and what was put right refuse nothing.")


class ProblemDocument(BaseModel):
    """An error (RFC 9457). Further members may appear; pass over those you do not know."""

    type: str = Field(description="Identifies the kind of problem; the same for every occurrence.")
    title: str
    status: int
    code: str = Field(description="The last part of `type`, with underscores.")
    retryable: bool = Field(description="Whether the same request may succeed later.")
    request_id: str = Field(description="Name it when you ask for help.")
    detail: str | None = Field(default=None, description="What happened this time, for people.")
    errors: list[FieldError] | None = None


def request_id_of(scope: Scope) -> str:
    """The id that the outermost middleware gave this request."""
    return str(scope.get("state", {}).get("request_id", ""))


def response(
    scope: Scope,
    slug: str,
    detail: str | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    **facts: Any,
) -> Response:
    """A problem as an answer; `facts` are its further members, those that are None are left out."""
    kind = KINDS[slug]
    body: dict[str, Any] = {
        "type": PROBLEM_BASE + slug,
        "title": kind.title,
        "status": kind.status,
        "code": slug.replace("-", "_"),
        "retryable": kind.retryable,
        "request_id": request_id_of(scope),
    }
    if detail:
        body["detail"] = detail
    body |= {name: _plain(value) for name, value in facts.items() if value is not None and name not in body}
    told = dict(headers or {})
    if kind.status == HTTPStatus.UNAUTHORIZED:
        told.setdefault("WWW-Authenticate", "Bearer")
    if kind.retryable and kind.status != HTTPStatus.INTERNAL_SERVER_ERROR:
        told.setdefault("Retry-After", "1")
    return JSONResponse(body, kind.status, told, MEDIA_TYPE)


def other_methods(path: str, methods: Collection[str]) -> Route:
    """Answers what a path has no method for, before a path that would take its last part for an id."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        told = {"Allow": ", ".join(sorted(methods))}
        await response(scope, "method-not-allowed", headers=told)(scope, receive, send)

    return Route(path, refuse, methods=[one for one in _METHODS if one not in methods])


def from_error(scope: Scope, error: KassaError) -> Response:
    """A business refusal as an answer."""
    slug = error.code if error.code in KINDS else "internal-error"
    facts: dict[str, Any] = dict(error.facts)
    headers = {}
    if isinstance(error, Busy):
        headers["Retry-After"] = str(max(1, error.retry_after_seconds))
    if isinstance(error, Invalid) and error.findings:
        facts["errors"] = [_finding(finding) for finding in error.findings[:MAX_ERRORS]]
        if slug == "fiscal-rule-violation":
            facts.setdefault("rule", error.findings[0].rule)
            facts.setdefault("ffd_tag", error.findings[0].tag)
    return response(scope, slug, error.detail, headers=headers, **facts)


REFUSALS = (KassaError, Problem, RequestValidationError, HTTPException)
"""What a route may raise instead of answering."""


def install(app: FastAPI) -> None:
    """The handlers that leave no answer without the problem form."""
    for kind in REFUSALS:
        app.add_exception_handler(kind, _handled)


def documented(*slugs: str) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route that may answer these problems."""
    by_status: dict[int, list[str]] = {}
    for slug in slugs:
        by_status.setdefault(KINDS[slug].status, []).append(slug)
    return {
        status: {
            "description": "; ".join(f"{KINDS[slug].title} (`{slug}`)" for slug in named) + ".",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, named in sorted(by_status.items())
    }


def _handled(request: Request, error: Exception) -> Response:
    return refusal(request.scope, error)


def refusal(scope: Scope, error: Exception) -> Response:
    """One of REFUSALS as an answer."""
    match error:
        case KassaError():
            return from_error(scope, error)
        case Problem():
            return response(scope, error.slug, error.detail, headers=error.headers, **error.facts)
        case RequestValidationError():
            return from_pydantic(scope, error.errors())
        case HTTPException():
            return _http_exception(scope, error)
        case _:
            raise error


def from_pydantic(scope: Scope, errors: Sequence[Any]) -> Response:
    """Pydantic's findings about a request whose locations begin with body, query, header or path."""
    if any(one["type"] == "json_invalid" for one in errors):
        return response(scope, "malformed-json", "The body is not JSON in UTF-8.")
    if any(one["loc"][:1] == ("path",) for one in errors):
        return response(scope, "not-found", "There is no such thing here.")
    told = [_field_error(one) for one in errors[:MAX_ERRORS]]
    detail = "1 member is not valid." if len(errors) == 1 else f"{len(errors)} members are not valid."
    return response(scope, "validation-failed", detail, errors=told)


def _http_exception(scope: Scope, error: HTTPException) -> Response:
    slug = _BY_STATUS.get(error.status_code, "internal-error" if error.status_code >= 500 else "validation-failed")
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed(scope))
    return response(scope, slug, headers=headers)


def _allowed(scope: Scope) -> list[str]:
    """All methods of this path: the framework has one route per method and names only the first one's."""
    path = scope["path"]
    found: set[str] = set()
    for route in iter_route_contexts(scope["app"].routes):
        if route.methods and route.path_regex.match(path):
            found |= route.methods
    return sorted(found)


_IN_WORDS = {
    "missing": ("This member is required.", "Это поле обязательно."),
    "extra_forbidden": (
        "There is no such member: look for a slip of the pen, or leave it out.",
        "Такого поля нет: проверьте, нет ли опечатки, или уберите его.",
    ),
    "string_type": ('Must be text, in quotes: "1" in place of 1.', "Нужна строка в кавычках: «1» вместо 1."),
    "timezone_aware": (
        "Must say its offset from UTC: 2026-11-23T11:00:00+03:00, or Z at the end.",
        "Укажите смещение от UTC: 2026-11-23T11:00:00+03:00 или Z в конце.",
    ),
    "kopecks": (
        "Must be whole kopecks, a number without a point: 199.00 roubles are 19900.",
        "Нужны целые копейки, число без точки: 199,00 ₽ это 19900.",
    ),
    # A tag of a union is the caller's own text, and pydantic repeats it in the sentence.
    "union_tag_invalid": ("The kind of this member is not known.", "Такого вида здесь нет."),
}
"""By the type of pydantic's finding, in English and Russian; what is rare keeps pydantic's words."""


def _field_error(error: Mapping[str, Any]) -> dict[str, Any]:
    where, *path = error["loc"] or ("body",)
    code = error["type"]
    text, ru = _IN_WORDS.get(code, (str(error["msg"]).removeprefix("Value error, "), None))
    told = {"detail": text, "code": code} | ({} if ru is None else {"detail_ru": ru})
    match where:
        case "query" | "cookie":
            return {"parameter": str(path[0]) if path else "", **told}
        case "header":
            return {"header": str(path[0]) if path else "", **told}
        case _:
            return {"pointer": pointer(path), **told}


def pointer(path: Sequence[Any]) -> str:
    """A JSON pointer in the form of a URI fragment (RFC 6901, section 6, without percent-encoding)."""
    return "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _finding(finding: Finding) -> dict[str, Any]:
    told = {
        "pointer": finding.pointer,
        "detail": finding.detail,
        "detail_ru": finding.detail_ru,
        "code": finding.rule,
        "ffd_tag": finding.tag,
        "fix": finding.fix,
        "severity": finding.severity.value,
    }
    return {name: value for name, value in told.items() if value is not None}


def _plain(value: Any) -> Any:
    match value:
        case UUID():
            return str(value)
        case set() | frozenset():
            return sorted(str(member) for member in value)
        case tuple() | list():
            return [_plain(member) for member in value]
        case dict():
            return {str(name): _plain(member) for name, member in value.items()}
        case _:
            return value
