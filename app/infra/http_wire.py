"""HTTP/1.1 connections: one exchange at a time, parsed by llhttp, kept for the next one while the server keeps them.

A connection is handed out only while it is certain that nothing was said on it since its last answer.
"""

import asyncio
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, cast

import httptools
import httpx

Origin = tuple[str, str, int]
"""Scheme, host without brackets, port."""

_PORTS = {"http": 80, "https": 443}

# Of which httpx would make the very same bytes: a host in small letters, segments of letters that need no escape.
_PLAIN_URL = re.compile(
    r"(https?)://([a-z0-9]+(?:[.-][a-z0-9]+)*)(?::([1-9][0-9]{0,4}))?((?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?)"
)


class Target(NamedTuple):
    """Where a request goes: of its URL what stands on the wire (`authority`, `path` with the query), and the URL."""

    origin: Origin
    authority: bytes
    path: bytes
    url: str

    @classmethod
    def of(cls, url: httpx.URL) -> Self:
        scheme = url.scheme
        origin = (scheme, url.raw_host.decode("ascii"), url.port or _PORTS.get(scheme, 0))
        return cls(origin, url.netloc, url.raw_path, str(url))

    @classmethod
    def plain(cls, url: str) -> Self | None:
        """The same of an address that needs no reading by httpx, which costs more than a tenth of an exchange; None of
        any other."""
        found = _PLAIN_URL.fullmatch(url)
        if found is None:
            return None
        scheme, host, port, path = found.groups()
        authority = host if port is None else f"{host}:{port}"
        number = _PORTS[scheme] if port is None else int(port)
        if (port is not None and number == _PORTS[scheme]) or number > 65535:
            return None  # httpx leaves the one out and refuses the other
        return cls((scheme, host, number), authority.encode(), path.encode(), url)


# As aiohttp and its parser have them.
_LINE = 16 * 1024
_FIELD = 8190
_FIELDS = 128
_FRAMING = 8
"""Bytes of framing for each byte of a body, at the most: chunks of one byte have six."""


class NoAddress(Exception):
    """The host name has no address."""


class NoConnection(Exception):
    """The connection cannot take a request: it is closed, or it said something unasked."""


class BodyTooLarge(Exception):
    """The answer passed the limit."""


class NotHttp(Exception):
    """The answer breaks HTTP/1.1, or is packed in a way that was not asked for."""


class Disconnected(Exception):
    """The connection ended before the answer was whole."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. The body is unpacked; then no header tells its packing."""

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> str | None:
        """The first value of this header, its name in lower case."""
        return next((value.decode("latin-1") for one, value in self.headers if one.lower() == name), None)


_WINDOW = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
_PACKING = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


class Connection(asyncio.Protocol):
    """One connection, from its first byte to its last; `gone` hears of the latter."""

    def __init__(self, loop: asyncio.AbstractEventLoop, gone: "Callable[[Connection], None]") -> None:
        self._loop, self._gone = loop, gone
        self.transport: asyncio.Transport | None = None
        self.idle_since = 0.0
        self._parser = httptools.HttpResponseParser(self)
        # Servers that end lines by LF alone are read by every other client; what frames a body stays strict.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._waiter: asyncio.Future[None] | None = None
        self._silent = True
        self._begin(b"", 0)

    def _begin(self, method: bytes, max_body: int) -> None:
        self._bodiless, self._room, self._raw = method == b"HEAD", max_body, _FRAMING * max_body + _FRAMING * _LINE
        self._status, self._reason = 0, b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._fields = self._line = 0
        self._head = self._whole = self._interim = self._framed = self._reusable = False
        self._unpack: Any = None
        self._wrong: Exception | None = None

    @property
    def ready(self) -> bool:
        """Whether a request may be written: it is open, and the server has said nothing since the last answer."""
        return self._silent and self.transport is not None and not self.transport.is_closing()

    @property
    def kept(self) -> bool:
        """Whether the answer leaves it ready for another request."""
        return self._reusable and self.ready and not cast(asyncio.Transport, self.transport).get_write_buffer_size()

    @property
    def peer(self) -> tuple[str, int] | None:
        """The address it leads to; None when it is gone again."""
        found = None if self.transport is None else self.transport.get_extra_info("peername")
        return None if found is None else (found[0], found[1])

    def write(self, method: bytes, request: bytes, max_body: int) -> asyncio.Future[None]:
        """Give a whole request to the kernel; the future ends when the answer is whole, or why it never will be."""
        if not self.ready or self.transport is None:
            raise NoConnection
        self._begin(method, max_body)
        self._waiter = waiter = self._loop.create_future()
        self.transport.write(request)
        return waiter

    def answer(self) -> Answer:
        """What came. NotHttp when it cannot be unpacked."""
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        headers = self._headers
        if self._unpack is not None:
            headers = [one for one in headers if one[0].lower() not in _PACKING]
            if body and not self._unpack.eof:
                raise NotHttp("the packed body ends early")
            headers.append((b"Content-Length", b"%d" % len(body)))
        return Answer(self._status, self._reason, headers, body)

    def close(self) -> None:
        """End it in order."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """End it at once."""
        if self.transport is not None:
            self.transport.abort()

    # --- of the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:
            self._unasked()
            return
        try:
            if not self._head:
                data = self._read_head(data)
            if data and self._wrong is None:
                self._raw -= len(data)
                self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._whole:
                self._wrong = self._wrong or NotHttp(type(error).__name__)
            self._reusable = False
        if self._raw < 0:
            self._wrong = self._wrong or BodyTooLarge()
        if self._wrong is not None:
            self._end(self._wrong)
        elif self._whole:
            self._end(None)

    def eof_received(self) -> None:
        self._over()

    def connection_lost(self, exc: Exception | None) -> None:
        self._silent = False
        if exc is None:
            self._over()
        else:
            self._end(Disconnected(type(exc).__name__))
        self._gone(self)

    # --- of the parser

    def on_message_begin(self) -> None:
        if self._whole:  # more than was asked for
            self._silent = False

    def on_status(self, reason: bytes) -> None:
        if not self._whole:
            self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        if self._fields > _FIELDS or len(name) + len(value) > _FIELD:
            self._wrong = self._wrong or NotHttp("too much of a header")
        elif not self._head:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._whole:
            return
        self._status = self._parser.get_status_code()
        if self._status < 200:
            self._interim = True
            self._headers, self._reason = [], b""
            if self._status == 101:
                self._wrong = self._wrong or NotHttp("it changes the protocol")
            return
        self._head = True
        packing = b""
        for name, value in self._headers:
            match name.lower():
                case b"content-length":
                    self._framed = True
                case b"transfer-encoding":
                    self._framed = value.lower().rpartition(b",")[2].strip() == b"chunked"
                case b"content-encoding":
                    packing += value.strip().lower()
        if packing not in (b"", b"identity"):
            if packing not in _WINDOW:
                self._wrong = self._wrong or NotHttp("its packing was not asked for")
            else:
                self._unpack = zlib.decompressobj(_WINDOW[packing])
        if self._bodiless:
            # The parser does not know that no body follows; it is not asked again.
            self._whole = True

    def on_body(self, body: bytes) -> None:
        if self._wrong is not None or self._whole:
            return
        if self._unpack is not None:
            try:
                body = self._unpack.decompress(body, self._room + 1)
            except zlib.error:
                self._wrong = NotHttp("the packed body is broken")
                return
        self._room -= len(body)
        if self._room < 0:
            self._wrong = BodyTooLarge()
        elif body:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif not self._whole:
            self._whole, self._reusable = True, self._parser.should_keep_alive()

    # --- ends

    def expire(self) -> None:
        """The answer is not waited for any longer."""
        self._end(TimeoutError())

    def _read_head(self, data: bytes) -> bytes:
        """Feed what may be the head in pieces, so that one without end is noticed; what is left is the body's."""
        while data and not self._head:
            piece, data, before = data[:_LINE], data[_LINE:], self._fields
            self._parser.feed_data(piece)
            self._line = len(piece) + (self._line if self._fields == before else 0)
            if self._line > _LINE:
                self._wrong = NotHttp("a line of its head has no end")
                break
        return data

    def _over(self) -> None:
        """The server has nothing more to say."""
        complete = self._head and not self._framed and self._wrong is None
        self._end(None if complete else Disconnected("EOF"))

    def _unasked(self) -> None:
        self._silent = False
        self.abort()

    def _end(self, error: Exception | None) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        if error is None:
            waiter.set_result(None)
        else:
            self._silent = False
            waiter.set_exception(error)
