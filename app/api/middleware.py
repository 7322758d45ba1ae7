"""Around every request: its id, its log line and metrics, limits of size and rate, and who is calling.

Pure ASGI, outermost first: Observe, LimitBody, Authenticate. What refuses here answers with the same problems as the
routes do.
"""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import problems
from app.domain.errors import KassaError
from app.infra.ids import new_id, public
from app.infra.logging import bind_request_id, enabled, served
from app.infra.metrics import Metrics, labelled
from app.infra.tracing import Entry, Kind, Tracing
from app.services.access import KeyInvalid
from app.services.bundle import Services
from app.services.principal import Principal

log = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,128}")
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_API = "/v1/"
_REMEMBERED = 10_000
_MOST_DIGITS = 12


class Observe:
    """Gives each request its id, answers what nobody caught with a 500, and tells of it once in log and metrics."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing
        self._seconds = metrics.http_request_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = _header(scope, b"x-request-id")
        if given is not None and not _REQUEST_ID.fullmatch(given):
            given = None
        request_id = given or f"req_{new_id().hex}"
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0
        started = time.perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _secured(message.get("headers", ()), request_id)
            await send(message)

        caller = _header(scope, b"traceparent") if self._tracing.on else None
        with bind_request_id(request_id), self._tracing.entry(caller=caller) as entry:
            try:
                await self._app(scope, receive, answer)
            except ClientDisconnect:
                status = status or 499
            except Exception:
                log.exception("request.broke", method=scope["method"], route=_route(scope))
                if status:
                    raise
                detail = f"Report it with the request id {request_id}."
                await problems.response(scope, "internal-error", detail)(scope, receive, answer)
            finally:
                self._tell(scope, given, status, time.perf_counter() - started)
                if entry.events:
                    _trace(entry, scope, status)

    def _tell(self, scope: Scope, given_id: str | None, status: int, seconds: float) -> None:
        route = _route(scope)
        labelled(self._seconds, scope["method"], route, f"{status // 100}xx").observe(seconds)
        if scope["path"] in _QUIET or not enabled("info"):
            return
        principal: Principal | None = scope["state"].get("principal")
        served(
            given_id,
            {
                "request_id": scope["state"]["request_id"],
                "method": scope["method"],
                "route": route,
                "status": status,
                "duration_ms": round(seconds * 1000, 1),
                "key_id": None if principal is None else public("key", principal.key_id),
            },
        )


class LimitBody:
    """Refuses bodies that are too large before they are read whole, chunked ones too, and other types than JSON (a path
    that ends in `.csv` takes CSV). One that is not there whole `seconds` after it was asked for is not waited for."""

    def __init__(self, app: ASGIApp, api_bytes: int, inbound_bytes: int, seconds: float) -> None:
        self._app = app
        self._api = api_bytes
        self._inbound = inbound_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        api = scope["path"].startswith(_API)
        limit = self._api if api else self._inbound
        length = _header(scope, b"content-length") or ""
        chunked = _header(scope, b"transfer-encoding") is not None
        if length.isdecimal() and (len(length.lstrip("0")) > _MOST_DIGITS or int(length) > limit):
            await _too_large(scope, limit)(scope, receive, send)
            return
        if api and scope["method"] in _WITH_BODY and (chunked or length not in ("", "0")):
            media_type = _header(scope, b"content-type") or ""
            if media_type != "application/json":
                media_type = media_type.partition(";")[0].strip().lower()
            wanted = "text/csv" if scope["path"].endswith(".csv") else "application/json"
            if media_type != wanted:
                told = problems.response(scope, "unsupported-media-type", f"Send {wanted}.", supported=[wanted])
                await told(scope, receive, send)
                return
        if not chunked and length.lstrip("0") == "":
            await self._app(scope, receive, send)
            return
        await self._watched(scope, receive, send, limit)

    async def _watched(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        """A chunked body names no length: it is counted as it comes. A refusal wins over the route's answer."""
        seen = 0
        until: float | None = None
        whole = started = False
        refusal: ASGIApp | None = None

        async def watched() -> Message:
            nonlocal seen, until, whole, refusal
            if whole:
                return await receive()
            clock = asyncio.get_running_loop()
            until = until or clock.time() + self._seconds
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                refusal = _too_slow(scope, self._seconds)
                raise problems.Problem("request-timeout") from None
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                whole = not message.get("more_body", False)
                if seen > limit and not started:
                    refusal = _too_large(scope, limit)
                    raise problems.Problem("payload-too-large", max_bytes=limit)
            return message

        async def answer(message: Message) -> None:
            nonlocal started
            if refusal is None:
                started = True
                await send(message)

        try:
            await self._app(scope, watched, answer)
        except problems.Problem:
            if refusal is None:
                raise
        if refusal is not None and not started:
            await refusal(scope, receive, send)


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimit:
    """Token buckets of one process, per API key and per address that fails to log in; 0 per minute switches it off."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    @property
    def on(self) -> bool:
        return self.per_minute > 0

    def take(self, who: str) -> float:
        """Take one token; how many seconds until there is one, 0 when it was taken."""
        bucket = self._filled(who)
        if bucket.tokens < 1:
            return (1 - bucket.tokens) * 60 / self.per_minute
        bucket.tokens -= 1
        return 0.0

    def left(self, who: str) -> int:
        return int(self._filled(who).tokens)

    def _filled(self, who: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.setdefault(who, _Bucket(float(self.per_minute), now))
        gained = (now - bucket.at) * self.per_minute / 60
        bucket.tokens, bucket.at = min(float(self.per_minute), bucket.tokens + gained), now
        self._buckets.move_to_end(who)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return bucket


class Authenticate:
    """Nothing under `/v1/` runs without a key that works: checked before the body is read, for every route there is."""

    def __init__(self, app: ASGIApp, rate: RateLimit) -> None:
        self._app = app
        self._rate = rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_API):
            await self._app(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        peer = ""
        if self._rate.on:
            peer = f"ip {scope['client'][0] if scope.get('client') else ''}"
            if self._rate.left(peer) < 1:
                await self._limited(scope, peer)(scope, receive, send)
                return
        try:
            principal = await services.access.authenticate(_header(scope, b"authorization"))
        except KassaError as refused:
            if self._rate.on and isinstance(refused, KeyInvalid):
                self._rate.take(peer)
            await problems.from_error(scope, refused)(scope, receive, send)
            return
        scope["state"]["principal"] = principal
        if not self._rate.on:
            await self._app(scope, receive, send)
            return
        who = f"key {principal.key_id}"
        if self._rate.take(who):
            await self._limited(scope, who)(scope, receive, send)
            return
        await self._app(scope, receive, self._telling(who, send))

    def _telling(self, who: str, send: Send) -> Send:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["RateLimit-Policy"] = f'"default";q={self._rate.per_minute};w=60'
                headers["RateLimit"] = f'"default";r={self._rate.left(who)};t=60'
            await send(message)

        return answer

    def _limited(self, scope: Scope, who: str) -> ASGIApp:
        seconds = max(1, ceil(self._rate.take(who)))
        return problems.response(
            scope,
            "rate-limited",
            f"At most {self._rate.per_minute} requests a minute; the next one is possible in {seconds} s.",
            headers={"Retry-After": str(seconds), "RateLimit-Policy": f'"default";q={self._rate.per_minute};w=60'},
            policy="default",
        )


def _trace(entry: Entry, scope: Scope, status: int) -> None:
    """A request that brought events, by its route as OpenTelemetry has it: its path may hold a secret."""
    method, route = scope["method"], _route(scope)
    values = {"http.request.method": method, "http.route": route, "http.response.status_code": status}
    error = str(status) if status >= 500 else None
    entry.tell(f"{method} {route}", Kind.SERVER, values | {"url.scheme": scope["scheme"]}, error=error)


def _too_large(scope: Scope, limit: int) -> ASGIApp:
    return problems.response(scope, "payload-too-large", f"A body has at most {limit} bytes.", max_bytes=limit)


def _too_slow(scope: Scope, seconds: float) -> ASGIApp:
    """The connection ends with it: what still trickles in is nobody's request."""
    detail = f"The body was not there whole within {seconds:g} seconds."
    return problems.response(scope, "request-timeout", detail, headers={"Connection": "close"})


_EVERY_ANSWER = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
_OURS = frozenset({b"x-request-id", *(name for name, _ in _EVERY_ANSWER)})


def _secured(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """With what every answer carries; names are in small letters, as ASGI wants them."""
    told = [header for header in headers if header[0] not in _OURS]
    cacheable = any(name == b"cache-control" for name, _ in told)
    told += ((b"x-request-id", request_id.encode()), *_EVERY_ANSWER)
    if not cacheable:
        told.append((b"cache-control", b"no-store"))
    return told


def _header(scope: Scope, wanted: bytes) -> str | None:
    """The first header of this name in small letters, as the server hands it over."""
    for name, value in scope["headers"]:
        if name == wanted:
            text: str = value.decode("latin-1")
            return text
    return None


def _route(scope: Scope) -> str:
    """The route's template: a path may hold an id, and that of an inbound webhook a secret."""
    path = getattr(scope.get("route"), "path", None)
    if path is None:
        return "unmatched"
    return f"/v1{path}" if scope["path"].startswith(_API) and not path.startswith(_API) else str(path)
