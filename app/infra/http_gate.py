"""Knows of one HTTP request whether its first byte left: the line between "certainly not sent" and "maybe sent".

Every write of a connection passes the gate, and the gate alone decides; an exception's class only gives the reason.
"""

import asyncio
import errno
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, cast

import aiohttp
import httpx
from aiohttp.connector import Connection

from app.infra.egress import EgressPolicy, ForbiddenUrl

NotSentReason = Literal[
    "dns", "refused", "connect_timeout", "tls", "forbidden", "pool", "stale", "unsupported", "connect"
]
MaybeSentReason = Literal["timeout", "disconnected", "protocol", "too_large", "other"]
Clock = Callable[[], float]

_TEXT: dict[NotSentReason | MaybeSentReason, str] = {
    "dns": "the host name could not be resolved",
    "refused": "the connection was refused",
    "connect_timeout": "no connection was established in time",
    "tls": "the TLS handshake or the certificate check failed",
    "forbidden": "this address may not be called",
    "pool": "no connection became free in time",
    "stale": "the request was held back because its time had passed",
    "unsupported": "the request cannot be put into HTTP/1.1",
    "connect": "no connection was established",
    "timeout": "no complete answer came in time",
    "disconnected": "the connection was lost before the complete answer",
    "protocol": "the answer is not HTTP",
    "too_large": "the answer is larger than allowed",
    "other": "the exchange broke off",
}


class NotSent(httpx.TransportError):
    """No byte of the request left this process and none will: sending it again cannot double anything."""

    def __init__(self, reason: NotSentReason, message: str, *, request: httpx.Request | None = None) -> None:
        super().__init__(message, request=request)
        self.reason: NotSentReason = reason


class MaybeSent(httpx.TransportError):
    """The request may have arrived, also when the error is one nobody foresaw. Only the other side knows."""

    def __init__(self, reason: MaybeSentReason, message: str, *, request: httpx.Request | None = None) -> None:
        super().__init__(message, request=request)
        self.reason: MaybeSentReason = reason


class _GateClosed(Exception):
    """The gate let nothing through."""


class BodyTooLarge(Exception):
    """The answer passed the limit."""


class _Failed(Exception):
    """Carries aiohttp's error past aiohttp's own retry, which repeats GET, PUT and DELETE on a broken connection."""


@dataclass(frozen=True, slots=True)
class WireStops:
    """Where a test may end or hold up an exchange; in a normal start nowhere.

    `connected`: a connection is there and no byte of the request written. `written`: the kernel has the whole request.
    """

    connected: Callable[[], Awaitable[None]] | None = None
    written: Callable[[], Awaitable[None]] | None = None


class Attempt:
    """One try on one connection, and the facts about it: whether its first byte passed, and by what it was stopped."""

    def __init__(
        self, policy: EgressPolicy, scheme: str, clock: Clock, not_after: float | None, stops: WireStops | None = None
    ) -> None:
        self._policy, self._scheme, self._clock, self._not_after = policy, scheme, clock, not_after
        self.stops = stops
        self._transport: asyncio.Transport | None = None
        self._written = self._closed = False
        self.queued = self.reused = self.stale = False

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """The middleware that ties this attempt to aiohttp's request."""
        cast(GatedRequest, request).attempt = self
        try:
            return await handler(request)
        except Exception as error:
            raise _Failed from error

    def enter(self, conn: Connection) -> None:
        """Puts the gate into an established connection; refuses one that already has something to say."""
        protocol = conn.protocol
        found: object = protocol.transport if protocol is not None else None
        if self._closed or self._transport is not None or protocol is None or found is None:
            raise _GateClosed
        if isinstance(found, _Gate):
            self.reused, transport = True, found.inner
        else:
            transport = cast(asyncio.Transport, found)
            peer = transport.get_extra_info("peername")
            if peer is None:  # already gone again
                raise _GateClosed
            self._policy.check_address(peer[0], peer[1], self._scheme)
        if protocol.should_close:  # it spoke unasked (an idle server's 408): that must not become our answer
            raise _GateClosed
        self._transport = transport
        protocol.transport = cast(asyncio.Transport, _Gate(transport, self))

    def pass_bytes(self) -> None:
        """Called with every write, right before it; the first one must still be in time."""
        if self._closed:
            raise _GateClosed
        if not self._written:
            self.check_fresh()
            self._written = True

    def check_fresh(self) -> None:
        """Refuses once the freshness bound has passed."""
        if self._not_after is not None and self._clock() > self._not_after:
            self.stale = self._closed = True
            raise _GateClosed

    async def flushed(self) -> None:
        """Return when no byte waits in this process."""
        # A transport tells only its protocol when its buffer has emptied, and that is aiohttp's.
        while self._transport is not None and self._transport.get_write_buffer_size():  # noqa: ASYNC110
            await asyncio.sleep(0)

    def finish(self) -> None:
        """The whole answer was read."""
        self._closed = True

    def cut(self) -> bool:
        """Nothing leaves from here on, not even what waits in buffers. True: the first byte had passed."""
        self._closed = True
        if self._transport is not None:
            # Without this the kernel goes on sending after the deadline, and a look-up could come too early.
            with suppress(Exception):  # already closed: each event loop says so in its own way
                sock = self._transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        return self._written

    def may_repeat(self) -> bool:
        """A kept connection turned out dead before anything was written: another one may be taken."""
        return not self.cut() and self.reused and not self.stale

    def verdict(self, error: Exception, request: httpx.Request) -> NotSent | MaybeSent:
        """What to tell the caller. The original error is left out of it: its text may carry the URL's secrets."""
        cause = error.__cause__ if isinstance(error, _Failed) and error.__cause__ else error
        host = request.url.host
        if self.cut():
            reason = _maybe_reason(cause)
            return MaybeSent(reason, f"{host}: {_TEXT[reason]} ({type(cause).__name__})", request=request)
        held = "stale" if self.stale else _not_sent_reason(cause, self.queued)
        return NotSent(held, f"{host}: {_TEXT[held]} ({type(cause).__name__})", request=request)


class _Gate:
    """Stands before a connection's transport: what aiohttp writes passes here first, so nothing leaves unnoticed."""

    __slots__ = ("attempt", "inner")

    def __init__(self, inner: asyncio.Transport, attempt: Attempt) -> None:
        self.inner, self.attempt = inner, attempt

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.attempt.pass_bytes()
        self.inner.write(data)

    def writelines(self, chunks: Iterable[bytes | bytearray | memoryview]) -> None:
        self.attempt.pass_bytes()
        self.inner.writelines(chunks)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class GatedRequest(aiohttp.ClientRequest):
    """aiohttp's request, except that it meets the gate on its connection before it can write."""

    attempt: Attempt

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        self.attempt.enter(conn)
        if self.attempt.stops is not None:
            return await self._stopping_send(conn, self.attempt.stops)
        return await super().send(conn)

    async def _stopping_send(self, conn: Connection, stops: WireStops) -> aiohttp.ClientResponse:
        if stops.connected is not None:
            await stops.connected()
        response = await super().send(conn)
        if stops.written is not None:
            # aiohttp writes the body in a task of its own, and uvloop hands it to the kernel a turn later.
            if self._writer is not None:
                await asyncio.wait({self._writer})
            await self.attempt.flushed()
            await stops.written()
        return response


def _not_sent_reason(error: BaseException, queued: bool) -> NotSentReason:
    match error:
        case ForbiddenUrl():
            return "forbidden"
        case TimeoutError():
            return "pool" if queued else "connect_timeout"
        case aiohttp.ClientConnectorDNSError():
            return "dns"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "tls"
        case OSError(errno=errno.ECONNREFUSED):
            return "refused"
        case ValueError() | TypeError() | httpx.StreamError():
            return "unsupported"
        case _:
            return "connect"


def _maybe_reason(error: BaseException) -> MaybeSentReason:
    match error:
        case TimeoutError():
            return "timeout"
        case BodyTooLarge():
            return "too_large"
        case aiohttp.ClientResponseError():
            return "protocol"
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError() | OSError():
            return "disconnected"
        case _:
            return "other"
