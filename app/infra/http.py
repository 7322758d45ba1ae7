"""The one HTTP client for everything that calls out: the httpx API over connections of our own.

It ends in an answer, in `NotSent` (certainly not sent) or in `MaybeSent` (everything else); `http_gate` decides which.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from app.infra.clock import boottime
from app.infra.egress import EgressPolicy, GuardedResolver, Lookup
from app.infra.http_gate import Attempt, Clock, GateClosed, MaybeSent, NotSent, WireStops
from app.infra.http_pool import Pool
from app.infra.http_record import Exchange, RecordingTransport
from app.infra.http_wire import Answer, Connection, Origin

__all__ = [
    "Answer",
    "Client",
    "Exchange",
    "HttpClients",
    "MaybeSent",
    "NotSent",
    "RecordingTransport",
    "Transport",
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
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"[!-~]+")
_BODY_EXPECTED = frozenset({b"POST", b"PUT", b"PATCH"})
_ORIGINS = 4096  # of which the verdict of the policy is remembered; it depends on nothing else in a URL
_PORTS = {"http": 80, "https": 443}


class Transport(httpx.AsyncBaseTransport):
    """One exchange over shared connections: read whole, never redirected, never repeated once a byte was out.

    Request extensions: `deadline_seconds` bounds the whole exchange (else httpx's read timeout does); `not_after`
    (time of `clock`) is the last moment for the first byte. httpx's connect timeout bounds waiting for a free
    connection, name resolution, TCP and TLS together.
    """

    def __init__(
        self,
        pool: Pool,
        policy: EgressPolicy,
        clock: Clock = boottime,
        max_body: int = MAX_BODY,
        stops: WireStops | None = None,
    ) -> None:
        self._pool, self._policy, self._clock, self._max_body = pool, policy, clock, max_body
        self._stops = stops or WireStops()
        self._judged: set[Origin] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        extensions = request.extensions
        timeouts = extensions.get("timeout", {})
        answer = await self.exchange(
            request.method,
            request.url,
            request.headers.raw,
            request,
            deadline=_first(extensions.get("deadline_seconds"), timeouts.get("read"), DEADLINE_SECONDS),
            connect=_first(timeouts.get("connect"), CONNECT_SECONDS),
            not_after=extensions.get("not_after"),
        )
        return _Whole(answer)

    async def exchange(
        self,
        method: str,
        url: httpx.URL,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | httpx.Request,
        *,
        deadline: float,
        connect: float = CONNECT_SECONDS,
        not_after: float | None = None,
    ) -> Answer:
        """The same without httpx's values; `headers` name the host, framing ones among them are ours to set.

        A request as `body` is one whose body is not read yet. NotSent or MaybeSent, and nothing else.
        """
        attempt = Attempt(self._clock, not_after)
        request = body if isinstance(body, httpx.Request) else None
        try:
            async with asyncio.timeout(deadline):
                attempt.check_fresh()
                origin = self._origin(url)
                content = await body.aread() if isinstance(body, httpx.Request) else body
                verb = method.encode("ascii")
                wire = _written(verb, url.raw_path, headers, content, self._pool.keeps)
                return await self._on_some_connection(attempt, origin, verb, wire, connect)
        except Exception as error:
            raise attempt.verdict(error, url.host, request) from None
        except BaseException:
            attempt.cut()
            raise

    async def _on_some_connection(
        self, attempt: Attempt, origin: Origin, method: bytes, wire: bytes, seconds: float
    ) -> Answer:
        slots, until = self._pool.slots, asyncio.get_running_loop().time() + seconds
        if slots.locked():
            attempt.queued = True
            async with asyncio.timeout_at(until):
                await slots.acquire()
            attempt.queued = False
        else:
            await slots.acquire()
        try:
            connection = attempt.connection = await self._connection(origin, until)
            waiter = attempt.write(method, wire, self._max_body)
            if self._stops.written is not None:
                await attempt.flushed()
                await self._stops.written()
            await waiter
            answer = connection.answer()
            self._pool.give(origin, connection)
            return answer
        finally:
            slots.release()

    async def _connection(self, origin: Origin, until: float) -> Connection:
        """One that can take a request now. A kept one that died meanwhile makes room for another."""
        while True:
            connection = self._pool.idle(origin)
            reused = connection is not None
            if connection is None:
                async with asyncio.timeout_at(until):
                    connection = await self._pool.connect(origin)
            try:
                if not reused:
                    self._judge(connection, origin)
                if self._stops.connected is not None:
                    await self._stops.connected()
            except BaseException:
                connection.abort()
                raise
            if connection.ready or not reused:
                return connection
            connection.close()

    def _judge(self, connection: Connection, origin: Origin) -> None:
        peer = connection.peer
        if peer is None:  # already gone again
            raise GateClosed
        self._policy.check_address(peer[0], peer[1], origin[0])

    def _origin(self, url: httpx.URL) -> Origin:
        """Scheme, host and port, which are all that is judged of a URL."""
        scheme = url.scheme
        origin = (scheme, url.raw_host.decode("ascii"), url.port or _PORTS.get(scheme, 0))
        if origin not in self._judged:
            self._policy.check_url(url)
            if len(self._judged) >= _ORIGINS:
                self._judged.clear()
            self._judged.add(origin)
        return origin


class _Whole(httpx.Response):
    """An answer that was read already. httpx itself would encode and decode its body once more."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(
            answer.status,
            headers=answer.headers,
            stream=httpx.ByteStream(answer.body),
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": answer.reason},
        )
        self._content = answer.body
        self.is_closed = self.is_stream_consumed = True


def _written(method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes, keep: bool) -> bytes:
    """The request's bytes. ValueError for what HTTP/1.1 cannot carry: nothing may break out of its line."""
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
        raise ValueError("no request line")
    lines = [b"%b %b HTTP/1.1" % (method, target)]
    lines += [field + value for name, value in headers if (field := _field(name))]
    if not keep:
        lines.append(b"Connection: close")
    if body or method in _BODY_EXPECTED:
        lines.append(b"Content-Length: %d" % len(body))
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1 or b"\0" in head:
        raise ValueError("a header with the end of a line in it")
    return b"%b\r\n\r\n%b" % (head, body)


@lru_cache(maxsize=256)
def _field(name: bytes) -> bytes:
    """How its line begins; empty for the framing, which is ours."""
    if not _TOKEN.fullmatch(name):
        raise ValueError("no name of a header")
    return b"" if name.lower() in _REQUEST_FRAMING else name + b": "


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)


class Client(httpx.AsyncClient):
    """httpx's client without the machinery between it and its transport that we never use: no redirects, no cookies,
    no challenges. That machinery costs more than the exchange itself."""

    def __init__(self, transport: httpx.AsyncBaseTransport, timeout: httpx.Timeout) -> None:
        super().__init__(
            transport=transport,
            timeout=timeout,
            headers={"Accept-Encoding": "identity", "User-Agent": "crm-kassa"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            follow_redirects=False,
            trust_env=False,
        )
        self._habits = [(name.lower(), name, value) for name, value in self.headers.raw if name != b"Connection"]
        self._timeouts = timeout.as_dict()

    @property
    def direct(self) -> Transport | None:
        """The transport itself, for whoever has no use for httpx's values; None where something stands before it."""
        return self._transport if isinstance(self._transport, Transport) else None

    def over(self, transport: httpx.AsyncBaseTransport, *, deadline: float) -> "Client":
        """The same client over another transport: a copy, because making one costs more than a whole exchange."""
        copy = object.__new__(Client)
        copy.__dict__.update(self.__dict__)
        copy._transport = transport
        copy._timeout = _timeout(deadline, CONNECT_SECONDS)
        copy._timeouts = copy._timeout.as_dict()
        return copy

    def build_request(self, method: str, url: httpx.URL | str, **options: Any) -> httpx.Request:
        """What calls of drivers are made of, bytes and headers, without the detours; all else in httpx's own way."""
        content, headers, extensions = options.get("content"), options.get("headers"), options.get("extensions")
        plain = all(options[name] is None for name in _DETOURS if name in options)
        at_default = options.get("timeout", httpx.USE_CLIENT_DEFAULT) is httpx.USE_CLIENT_DEFAULT
        target = url if isinstance(url, httpx.URL) else httpx.URL(url)
        if not (plain and at_default and type(content) is bytes and type(headers) is dict and target.is_absolute_url):
            return super().build_request(method, url, **options)
        given = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
        named = {name.lower() for name, _ in given}
        return httpx.Request(
            method,
            target,
            headers=[
                *([] if b"host" in named else [(b"Host", target.netloc)]),
                *((name, value) for lower, name, value in self._habits if lower not in named),
                *given,
                (b"Content-Length", b"%d" % len(content)),
            ],
            stream=httpx.ByteStream(content),
            extensions={"timeout": self._timeouts, **(extensions or {})},
        )

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


_DETOURS = ("data", "files", "json", "params", "cookies")


def client_over(
    transport: httpx.AsyncBaseTransport, *, deadline: float = DEADLINE_SECONDS, connect: float = CONNECT_SECONDS
) -> Client:
    """A client with our habits over any transport: no redirects, no cookies, no environment. Builds no SSL context."""
    return Client(transport, _timeout(deadline, connect))


@lru_cache(maxsize=256)
def _timeout(deadline: float, connect: float) -> httpx.Timeout:
    return httpx.Timeout(deadline, connect=connect)


class HttpClients:
    """The outgoing connections of a process. Transports and clients made from it are cheap and share them."""

    def __init__(
        self,
        policy: EgressPolicy,
        kept: Pool,
        fresh: Pool,
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

    def transport(self, *, reuse: bool = True, max_body: int = MAX_BODY) -> Transport:
        """`reuse=False` opens a connection per request: half as fast, but no server can be hanging up on it just then.

        It suits submits whose unknown outcome is dear (no deduplication at the provider) and customers' webhooks.
        """
        pool = self._kept if reuse else self._fresh
        return Transport(pool, self._policy, self._clock, max_body, self._stops)

    def client(
        self,
        *,
        reuse: bool = True,
        max_body: int = MAX_BODY,
        deadline: float = DEADLINE_SECONDS,
        connect: float = CONNECT_SECONDS,
    ) -> Client:
        """A client for one purpose; `max_body` in bytes, `deadline` in seconds for a whole exchange."""
        return client_over(self.transport(reuse=reuse, max_body=max_body), deadline=deadline, connect=connect)


@asynccontextmanager
async def open_http(
    policy: EgressPolicy,
    *,
    ssl_context: ssl.SSLContext | None = None,
    limit: int = 200,
    clock: Clock = boottime,
    lookup: Lookup | None = None,
) -> AsyncIterator[HttpClients]:
    """Opens the process's connections: at most `limit` kept and `limit` fresh ones at work.

    `policy` judges every look-up (kept for 10 s) and every connection. Tests pass `ssl_context`, `clock`, `lookup`.
    """
    resolver, trust = GuardedResolver(policy, lookup), ssl_context or _trust()
    kept = Pool(resolver, trust, limit=limit, keep=KEEP_ALIVE_SECONDS)
    fresh = Pool(resolver, trust, limit=limit, keep=0.0)
    try:
        yield HttpClients(policy, kept, fresh, clock)
    finally:
        await kept.close()
        await fresh.close()
        await resolver.close()


def _trust() -> ssl.SSLContext:
    """Mozilla's roots and the machine's own, where an operator adds a national or company root."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    context.set_alpn_protocols(["http/1.1"])
    return context
