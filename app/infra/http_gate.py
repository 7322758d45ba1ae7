"""Knows of one HTTP request whether its first byte left: the line between "certainly not sent" and "maybe sent".

The one write of a request passes the gate, and the gate alone decides; an exception's class only gives the reason.
"""

import asyncio
import errno
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import httpx

from app.infra.egress import ForbiddenUrl
from app.infra.http_wire import BodyTooLarge, Connection, Disconnected, NoAddress, NotHttp

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


class GateClosed(Exception):
    """The gate let nothing through."""


@dataclass(frozen=True, slots=True)
class WireStops:
    """Where a test may end or hold up an exchange; in a normal start nowhere.

    `connected`: a connection is there and no byte of the request written. `written`: the kernel has the whole request.
    """

    connected: Callable[[], Awaitable[None]] | None = None
    written: Callable[[], Awaitable[None]] | None = None


class Attempt:
    """One exchange, and the facts about it: whether its first byte passed, and by what it was stopped."""

    __slots__ = ("_clock", "_closed", "_not_after", "_written", "connection", "queued", "stale")

    def __init__(self, clock: Clock, not_after: float | None) -> None:
        self._clock, self._not_after = clock, not_after
        self._written = self._closed = False
        self.connection: Connection | None = None
        self.queued = self.stale = False

    def write(self, method: bytes, request: bytes, max_body: int) -> asyncio.Future[None]:
        """The whole request at once, if its time has not passed and the connection can take it."""
        connection = self.connection
        if self._closed or connection is None or not connection.ready:
            raise GateClosed
        self.check_fresh()
        self._written = True
        return connection.write(method, request, max_body)

    def check_fresh(self) -> None:
        """Refuses once the freshness bound has passed."""
        if self._not_after is not None and self._clock() > self._not_after:
            self.stale = self._closed = True
            raise GateClosed

    async def flushed(self) -> None:
        """Return when no byte waits in this process."""
        transport = None if self.connection is None else self.connection.transport
        # uvloop hands a write to the kernel a turn later, and tells only when a buffer was full before.
        while transport is not None and transport.get_write_buffer_size():  # noqa: ASYNC110
            await asyncio.sleep(0)

    def cut(self) -> bool:
        """Nothing leaves from here on, not even what waits in buffers. True: the first byte had passed."""
        self._closed = True
        transport = None if self.connection is None else self.connection.transport
        if transport is not None:
            # Without this the kernel goes on sending after the deadline, and a look-up could come too early.
            with suppress(Exception):  # already closed: each event loop says so in its own way
                sock = transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        return self._written

    def verdict(self, error: Exception, host: str, request: httpx.Request | None) -> NotSent | MaybeSent:
        """What to tell the caller. The original error is left out of it: its text may carry the URL's secrets."""
        if self.cut():
            reason = _maybe_reason(error)
            return MaybeSent(reason, f"{host}: {_TEXT[reason]} ({type(error).__name__})", request=request)
        held = "stale" if self.stale else _not_sent_reason(error, self.queued)
        return NotSent(held, f"{host}: {_TEXT[held]} ({type(error).__name__})", request=request)


def _not_sent_reason(error: BaseException, queued: bool) -> NotSentReason:
    match error:
        case ForbiddenUrl():
            return "forbidden"
        case TimeoutError():
            return "pool" if queued else "connect_timeout"
        case NoAddress():
            return "dns"
        case ssl.SSLError():
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
        case NotHttp():
            return "protocol"
        case Disconnected() | OSError():
            return "disconnected"
        case _:
            return "other"
