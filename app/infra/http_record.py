"""What went over the wire, kept for the history of a receipt without its credentials."""

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Self

import httpx

from app.infra.http_gate import MaybeSent, NotSent
from app.infra.http_transport import Transport
from app.infra.http_wire import Answer, Target
from app.infra.tracing import Kind, Span, current, http_call

_SECRET_NAME = re.compile(r"auth|cookie|token|secret|api[-_]?key|passw|session", re.IGNORECASE)
_BLOT = "[redacted]"
_SHORTEST_SECRET = 4  # a shorter one would blot out innocent text


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


class _Sent(NamedTuple):
    method: str
    url: str
    headers: Iterable[tuple[str, str]]
    body: bytes


class RecordingTransport(httpx.AsyncBaseTransport):
    """Keeps every exchange over `inner`, also the failed ones.

    Headers and query parameters that are credentials by their name are blotted out, and each of `secrets` wherever
    it stands, bodies included. Of a request with the extension `private` (a token is fetched) no body is kept.
    Each is a part of the span that it is made in.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, secrets: Iterable[str] = ()) -> None:
        self.inner = inner
        self._secrets = tuple(secret for secret in secrets if len(secret) >= _SHORTEST_SECRET)
        self.exchanges: list[Exchange] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        sent = _Sent(request.method, self._url(url), request.headers.multi_items(), await request.aread())
        private = bool(request.extensions.get("private"))
        with _Kept(self, sent, private, url.scheme, url.host, url.port) as came:
            response = await self.inner.handle_async_request(request)
            await response.aread()
            came.status, came.body = response.status_code, response.content
            came.headers = response.headers.multi_items()
        return response

    async def exchange(
        self,
        inner: Transport,
        method: str,
        target: Target,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        *,
        private: bool,
        **limits: Any,
    ) -> Answer:
        """One over `inner`, the transport below, without httpx's values."""
        sent = _Sent(method, self._text(target.url), _read(headers), body)
        with _Kept(self, sent, private, *target.origin) as came:
            answer = await inner.exchange(method, target, headers, body, **limits)
            came.status, came.headers, came.body = answer.status, _read(answer.headers), answer.body
        return answer

    async def aclose(self) -> None:
        await self.inner.aclose()

    def _url(self, url: httpx.URL) -> str:
        if url.userinfo:
            url = url.copy_with(userinfo=b"")
        if url.query:
            for name in [name for name in url.params if _is_secret(name)]:
                url = url.copy_set_param(name, _BLOT)
        return self._text(str(url))

    def blotted(self, headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return tuple((name, _BLOT if _is_secret(name) else self._text(value)) for name, value in headers)

    def _text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _BLOT)
        return text

    def without_secrets(self, body: bytes) -> bytes:
        for secret in self._secrets:
            body = body.replace(secret.encode(), _BLOT.encode())
        return body


class _Kept:
    """An exchange that goes on meanwhile; what comes of it is noted at the end, whatever that is."""

    __slots__ = ("_private", "_sent", "_span", "_started", "_to", "body", "headers", "status")

    def __init__(
        self, to: RecordingTransport, sent: _Sent, private: bool, scheme: str, host: str, port: int | None
    ) -> None:
        self._to, self._sent, self._private, self._started = to, sent, private, time.perf_counter()
        self._span = current()
        if self._span.on:
            told = http_call(sent.method, scheme, host, port)
            self._span = self._span.child(sent.method, told, kind=Kind.CLIENT)
        self.status: int | None = None
        self.headers: Iterable[tuple[str, str]] = ()
        self.body = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, caught: BaseException | None, trace: object) -> None:
        error: str | None = None
        if caught is not None:
            error = type(caught).__name__
            self._span.fail(error)
            if isinstance(caught, NotSent | MaybeSent):
                error += f": {caught.reason}"
        _over(self._span, self.status)
        to, sent = self._to, self._sent
        to.exchanges.append(
            Exchange(
                method=sent.method,
                url=sent.url,
                request_headers=to.blotted(sent.headers),
                request_body=_BLOT.encode() if self._private else to.without_secrets(sent.body),
                status=self.status,
                response_headers=to.blotted(self.headers),
                response_body=_BLOT.encode()
                if self._private and self.status is not None
                else to.without_secrets(self.body),
                error=error,
                seconds=time.perf_counter() - self._started,
            )
        )


def _over(span: Span, status: int | None) -> None:
    if status is not None:
        span.set({"http.response.status_code": status})
        if status >= 400:
            span.fail(str(status))
    span.end()


def _read(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """As httpx reads them: names in small letters."""
    return [(_name(name), _value(value)) for name, value in headers]


@lru_cache(maxsize=1024)
def _name(name: bytes) -> str:
    return name.decode("latin-1").lower()


def _value(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None
