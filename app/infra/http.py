"""The one HTTP client for everything that calls out: the httpx API over aiohttp's connections.

It ends in an answer, in `NotSent` (certainly not sent) or in `MaybeSent` (everything else); `http_gate` decides which.
"""

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial, reduce
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
from yarl import URL

from app.infra.clock import boottime
from app.infra.egress import EgressPolicy, GuardedResolver, Lookup
from app.infra.http_gate import Attempt, BodyTooLarge, Clock, GatedRequest, MaybeSent, NotSent, WireStops

__all__ = [
    "AiohttpTransport",
    "Exchange",
    "HttpClients",
    "MaybeSent",
    "NotSent",
    "RecordingTransport",
    "WireStops",
    "client_over",
    "open_http",
]

CONNECT_SECONDS = 5.0
DEADLINE_SECONDS = 30.0
MAX_BODY = 1 << 20
# Below the idle time after which common servers hang up (5 s), so that a reused connection is seldom a dead one.
KEEP_ALIVE_SECONDS = 2.0

_REQUEST_FRAMING = frozenset({b"connection", b"transfer-encoding", b"content-length"})
_ANSWER_FRAMING = frozenset({b"content-encoding", b"transfer-encoding", b"content-length"})
_SECRET_NAME = re.compile(r"auth|cookie|token|secret|api[-_]?key|passw|session", re.IGNORECASE)
_BLOT = "[redacted]"
_ORIGINS = 4096  # of which the verdict of the policy is remembered; it depends on nothing else in a URL
_SHORTEST_SECRET = 4  # a shorter one would blot out innocent text


class AiohttpTransport(httpx.AsyncBaseTransport):
    """One exchange over a shared aiohttp session: read whole, never redirected, never repeated once a byte was out.

    Request extensions: `deadline_seconds` bounds the whole exchange (else httpx's read timeout does); `not_after`
    (time of `clock`) is the last moment for the first byte. httpx's connect timeout bounds waiting for a free
    connection, name resolution, TCP and TLS together.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        policy: EgressPolicy,
        clock: Clock = boottime,
        max_body: int = MAX_BODY,
        stops: WireStops | None = None,
    ) -> None:
        self._session, self._policy, self._clock, self._max_body = session, policy, clock, max_body
        self._stops = stops
        self._judged: set[tuple[str, bytes, int | None]] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeouts = request.extensions.get("timeout", {})
        deadline = _first(request.extensions.get("deadline_seconds"), timeouts.get("read"), DEADLINE_SECONDS)
        connect = aiohttp.ClientTimeout(total=None, connect=_first(timeouts.get("connect"), CONNECT_SECONDS))
        attempt = self._attempt(request)
        try:
            async with asyncio.timeout(deadline):
                attempt.check_fresh()
                url = self._target(request.url)
                body = await request.aread()
                while True:
                    try:
                        return await self._exchange(request, url, body, connect, attempt)
                    except Exception:
                        if not attempt.may_repeat():
                            raise
                        attempt = self._attempt(request)
        except Exception as error:
            raise attempt.verdict(error, request) from None
        except BaseException:
            attempt.cut()
            raise

    def _attempt(self, request: httpx.Request) -> Attempt:
        not_after = request.extensions.get("not_after")
        return Attempt(self._policy, request.url.scheme, self._clock, not_after, self._stops)

    def _target(self, url: httpx.URL) -> URL:
        """aiohttp's URL of exactly the parts that were judged."""
        origin = (url.scheme, url.raw_host, url.port)
        if origin not in self._judged:
            self._policy.check_url(url)
            if len(self._judged) >= _ORIGINS:
                self._judged.clear()
            self._judged.add(origin)
        host = url.raw_host.decode("ascii")
        path, _, query = url.raw_path.decode("ascii").partition("?")
        return URL.build(
            scheme=url.scheme,
            host=f"[{host}]" if ":" in host else host,
            port=url.port,
            path=path,
            query_string=query,
            encoded=True,
        )

    async def _exchange(
        self, request: httpx.Request, url: URL, body: bytes, timeout: aiohttp.ClientTimeout, attempt: Attempt
    ) -> httpx.Response:
        response = await self._session.request(
            request.method,
            url,
            data=body or None,
            headers=[
                (k.decode("ascii"), v.decode()) for k, v in request.headers.raw if k.lower() not in _REQUEST_FRAMING
            ],
            allow_redirects=False,
            timeout=timeout,
            trace_request_ctx=attempt,
            middlewares=(attempt,),
        )
        try:
            parts: list[bytes] = []
            room = self._max_body
            async for part in response.content.iter_any():
                room -= len(part)
                if room < 0:
                    raise BodyTooLarge
                parts.append(part)
            attempt.finish()
        finally:
            response.close()
        # aiohttp decoded within the limit above; a Content-Encoding left here would make httpx decode without one.
        drop = _ANSWER_FRAMING if "Content-Encoding" in response.headers else frozenset[bytes]()
        return httpx.Response(
            response.status,
            headers=[(k, v) for k, v in response.raw_headers if k.lower() not in drop],
            content=b"".join(parts),
            extensions={
                "http_version": b"HTTP/1.1",
                "reason_phrase": (response.reason or "").encode("ascii", "replace"),
            },
        )


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)


class HttpClients:
    """The outgoing connections of a process. Transports and clients made from it are cheap and share them."""

    def __init__(
        self,
        policy: EgressPolicy,
        kept: aiohttp.ClientSession,
        fresh: aiohttp.ClientSession,
        clock: Clock,
        stops: WireStops | None = None,
    ) -> None:
        self._policy, self._kept, self._fresh, self._clock = policy, kept, fresh, clock
        self._stops = stops

    def stopping(self, stops: WireStops) -> "HttpClients":
        """The same connections for exchanges that a test stops in the middle; others are not touched."""
        if stops == WireStops():
            return self
        return HttpClients(self._policy, self._kept, self._fresh, self._clock, stops)

    def transport(self, *, reuse: bool = True, max_body: int = MAX_BODY) -> AiohttpTransport:
        """`reuse=False` opens a connection per request: half as fast, but no server can be hanging up on it just then.

        It suits submits whose unknown outcome is dear (no deduplication at the provider) and customers' webhooks.
        """
        session = self._kept if reuse else self._fresh
        return AiohttpTransport(session, self._policy, self._clock, max_body, self._stops)

    def client(
        self,
        *,
        reuse: bool = True,
        max_body: int = MAX_BODY,
        deadline: float = DEADLINE_SECONDS,
        connect: float = CONNECT_SECONDS,
    ) -> httpx.AsyncClient:
        """A client for one purpose; `max_body` in bytes, `deadline` in seconds for a whole exchange."""
        return client_over(self.transport(reuse=reuse, max_body=max_body), deadline=deadline, connect=connect)


class _Client(httpx.AsyncClient):
    """httpx's client without the machinery between it and its transport that we never use: no redirects, no cookies,
    no challenges. That machinery costs as much as the exchange itself."""

    async def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
        """Straight to the transport; with an `Auth` that may ask again, or redirects, in httpx's own way."""
        auth = options.get("auth")
        if isinstance(auth, httpx.BasicAuth):
            request = next(auth.sync_auth_flow(request))
        elif isinstance(auth, httpx.Auth | tuple) or request.url.userinfo or options.get("follow_redirects") is True:
            return await super().send(request, stream=stream, **options)
        # Asked of httpx, because that is where respx steps in.
        response = await self._transport_for_url(request.url).handle_async_request(request)
        response.request = request
        if not stream:
            await response.aread()
        return response


def client_over(
    transport: httpx.AsyncBaseTransport, *, deadline: float = DEADLINE_SECONDS, connect: float = CONNECT_SECONDS
) -> httpx.AsyncClient:
    """A client with our habits over any transport: no redirects, no cookies, no environment. Builds no SSL context."""
    return _Client(
        transport=transport,
        timeout=httpx.Timeout(deadline, connect=connect),
        headers={"Accept-Encoding": "identity", "User-Agent": "crm-kassa"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        follow_redirects=False,
        trust_env=False,
    )


@asynccontextmanager
async def open_http(
    policy: EgressPolicy,
    *,
    ssl_context: ssl.SSLContext | None = None,
    limit: int = 200,
    limit_per_host: int = 0,
    clock: Clock = boottime,
    lookup: Lookup | None = None,
) -> AsyncIterator[HttpClients]:
    """Opens the process's connections: at most `limit` kept and `limit` fresh ones (0 per host: no such limit).

    `policy` judges every look-up (kept for 10 s) and every connection. Tests pass `ssl_context`, `clock`, `lookup`.
    """
    resolver = GuardedResolver(policy, lookup)
    trust = ssl_context or _trust()
    connector = partial(aiohttp.TCPConnector, resolver=resolver, ssl=trust, limit=limit, limit_per_host=limit_per_host)
    try:
        async with (
            _session(connector(keepalive_timeout=KEEP_ALIVE_SECONDS)) as kept,
            _session(connector(force_close=True)) as fresh,
        ):
            yield HttpClients(policy, kept, fresh, clock)
    finally:
        await resolver.close()


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    trace = aiohttp.TraceConfig()
    trace.on_connection_queued_start.append(_queued)
    trace.on_connection_queued_end.append(_dequeued)
    return aiohttp.ClientSession(
        connector=connector,
        request_class=GatedRequest,
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        trace_configs=[trace],
    )


async def _queued(session: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
    context.trace_request_ctx.queued = True


async def _dequeued(session: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
    context.trace_request_ctx.queued = False


def _trust() -> ssl.SSLContext:
    """Mozilla's roots and the machine's own, where an operator adds a national or company root."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    context.set_alpn_protocols(["http/1.1"])
    return context


@dataclass(frozen=True, slots=True)
class Exchange:
    """What went over the wire once. The bodies hold buyers' contacts: they are stored encrypted only."""

    method: str
    url: str
    request_headers: tuple[tuple[str, str], ...]
    request_body: bytes
    status: int | None
    response_headers: tuple[tuple[str, str], ...]
    response_body: bytes
    error: str | None
    seconds: float


class RecordingTransport(httpx.AsyncBaseTransport):
    """Keeps every exchange over `inner`, also the failed ones.

    Headers and query parameters that are credentials by their name are blotted out, and each of `secrets` wherever
    it stands, bodies included. Of a request with the extension `private` (a token is fetched) no body is kept.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, secrets: Iterable[str] = ()) -> None:
        self._inner = inner
        self._secrets = tuple(secret for secret in secrets if len(secret) >= _SHORTEST_SECRET)
        self.exchanges: list[Exchange] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body, started = await request.aread(), time.perf_counter()
        private = bool(request.extensions.get("private"))
        answer: httpx.Response | None = None
        error: str | None = None
        try:
            response = await self._inner.handle_async_request(request)
            await response.aread()
            answer = response
            return response
        except BaseException as caught:
            reason = f": {caught.reason}" if isinstance(caught, NotSent | MaybeSent) else ""
            error = type(caught).__name__ + reason
            raise
        finally:
            self.exchanges.append(
                Exchange(
                    method=request.method,
                    url=self._url(request.url),
                    request_headers=self._headers(request.headers),
                    request_body=_BLOT.encode() if private else self._body(body),
                    status=answer.status_code if answer else None,
                    response_headers=self._headers(answer.headers) if answer else (),
                    response_body=(_BLOT.encode() if private else self._body(answer.content)) if answer else b"",
                    error=error,
                    seconds=time.perf_counter() - started,
                )
            )

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _url(self, url: httpx.URL) -> str:
        if url.userinfo:
            url = url.copy_with(userinfo=b"")
        if url.query:
            for name in [name for name in url.params if _SECRET_NAME.search(name)]:
                url = url.copy_set_param(name, _BLOT)
        return self._text(str(url))

    def _headers(self, headers: httpx.Headers) -> tuple[tuple[str, str], ...]:
        return tuple(
            (name, _BLOT if _SECRET_NAME.search(name) else self._text(value)) for name, value in headers.multi_items()
        )

    def _text(self, text: str) -> str:
        return reduce(lambda done, secret: done.replace(secret, _BLOT), self._secrets, text)

    def _body(self, body: bytes) -> bytes:
        return reduce(lambda done, secret: done.replace(secret.encode(), _BLOT.encode()), self._secrets, body)
