"""One exchange: judged, written at once, its answer read whole; ended by an answer, `NotSent` or `MaybeSent`."""

import asyncio
import re
from collections.abc import Sequence
from functools import lru_cache

import httpx

from app.infra.clock import boottime
from app.infra.egress import EgressPolicy
from app.infra.http_gate import Attempt, Clock, GateClosed, WireStops
from app.infra.http_pool import Pool
from app.infra.http_wire import Answer, Connection, Origin, Target

CONNECT_SECONDS = 5.0
DEADLINE_SECONDS = 30.0
MAX_BODY = 1 << 20

_REQUEST_FRAMING = frozenset({b"connection", b"transfer-encoding", b"content-length"})
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"[!-~]+")
_BODY_EXPECTED = frozenset({b"POST", b"PUT", b"PATCH"})
_ORIGINS = 4096  # of which the verdict of the policy is remembered; it depends on nothing else in a URL


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
        self._stopped = self._stops != WireStops()
        self._judged: set[Origin] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        extensions = request.extensions
        timeouts = extensions.get("timeout", {})
        answer = await self.exchange(
            request.method,
            Target.of(request.url),
            request.headers.raw,
            request,
            deadline=first(extensions.get("deadline_seconds"), timeouts.get("read"), DEADLINE_SECONDS),
            connect=first(timeouts.get("connect"), CONNECT_SECONDS),
            not_after=extensions.get("not_after"),
        )
        return Whole(answer)

    async def exchange(
        self,
        method: str,
        target: Target,
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
        until = asyncio.get_running_loop().time() + deadline
        try:
            attempt.check_fresh()
            self._judge_origin(target)
            verb = method.encode("ascii")
            if isinstance(body, bytes) and not self._stopped:
                return await self._on_some_connection(attempt, target, verb, headers, body, connect, until)
            # What may be waited for between the steps below is bounded as well.
            async with asyncio.timeout_at(until):
                content = body if isinstance(body, bytes) else await body.aread()
                return await self._on_some_connection(attempt, target, verb, headers, content, connect, until)
        except Exception as error:
            raise attempt.verdict(error, target.origin[1], request) from None
        except BaseException:
            attempt.cut()
            raise

    async def _on_some_connection(
        self,
        attempt: Attempt,
        target: Target,
        method: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        connect: float,
        until: float,
    ) -> Answer:
        """`until` is the last moment for the answer; a connection is waited for no longer than `connect` seconds."""
        wire = _written(method, target.path, headers, body, self._pool.keeps)
        loop, slots = asyncio.get_running_loop(), self._pool.slots
        connected_until = min(loop.time() + connect, until)
        if slots.locked():
            attempt.queued = True
            async with asyncio.timeout_at(connected_until):
                await slots.acquire()
            attempt.queued = False
        else:
            await slots.acquire()
        try:
            connection = attempt.connection = await self._connection(target.origin, connected_until)
            waiter = attempt.write(method, wire, self._max_body)
            # A timer of the one thing that is waited for: a timeout around a task costs as much as the write.
            late = loop.call_at(until, connection.expire)
            try:
                if self._stops.written is not None:
                    await attempt.flushed()
                    await self._stops.written()
                await waiter
            finally:
                late.cancel()
            answer = connection.answer()
            self._pool.give(target.origin, connection)
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

    def _judge_origin(self, target: Target) -> None:
        """Scheme, host and port are all that is judged of a URL."""
        if target.origin not in self._judged:
            self._policy.check_url(httpx.URL(target.url))
            if len(self._judged) >= _ORIGINS:
                self._judged.clear()
            self._judged.add(target.origin)


class Whole(httpx.Response):
    """An answer that was read already. httpx itself would encode and decode its body once more."""

    def __init__(self, answer: Answer, asked: tuple[str, str] | None = None) -> None:
        """`asked`: method and URL of a request that was never made a value of httpx's."""
        super().__init__(
            answer.status,
            headers=answer.headers,
            stream=httpx.ByteStream(answer.body),
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": answer.reason},
        )
        self._content = answer.body
        self.is_closed = self.is_stream_consumed = True
        self._asked = asked

    @property
    def request(self) -> httpx.Request:
        if self._request is None and self._asked is not None:
            self._request = httpx.Request(*self._asked)
        return super().request

    @request.setter
    def request(self, value: httpx.Request) -> None:
        self._request = value


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


def first(*values: float | None) -> float:
    return next(value for value in values if value is not None)
