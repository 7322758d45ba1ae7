"""What went over the wire, kept for the history of a receipt without its credentials."""

import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import httpx

from app.infra.http_gate import MaybeSent, NotSent
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


Exchanging = Callable[..., Awaitable[Answer]]
"""`Transport.exchange`."""


@dataclass(slots=True)
class _Sent:
    method: str
    url: str
    headers: Iterable[tuple[str, str]]
    body: bytes


@dataclass(slots=True)
class _Came:
    status: int | None = None
    headers: Iterable[tuple[str, str]] = ()
    body: bytes = b""


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
        with self._kept(sent, private, url.scheme, url.host, url.port) as came:
            response = await self.inner.handle_async_request(request)
            await response.aread()
            came.status, came.headers, came.body = (
                response.status_code,
                response.headers.multi_items(),
                response.content,
            )
        return response

    async def exchange(
        self,
        inner: Exchanging,
        method: str,
        target: Target,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        *,
        private: bool,
        **limits: Any,
    ) -> Answer:
        """One over `inner`, which is the transport below without httpx's values."""
        sent = _Sent(method, self._text(target.url), _read(headers), body)
        with self._kept(sent, private, *target.origin) as came:
            answer = await inner(method, target, headers, body, **limits)
            came.status, came.headers, came.body = answer.status, _read(answer.headers), answer.body
        return answer

    @contextmanager
    def _kept(self, sent: _Sent, private: bool, scheme: str, host: str, port: int | None) -> Iterator[_Came]:
        """Notes an exchange that goes on meanwhile, and what comes of it."""
        span = current()
        if span.on:
            span = span.child(sent.method, http_call(sent.method, scheme, host, port), kind=Kind.CLIENT)
        came, started = _Came(), time.perf_counter()
        error: str | None = None
        try:
            yield came
        except BaseException as caught:
            reason = f": {caught.reason}" if isinstance(caught, NotSent | MaybeSent) else ""
            error = type(caught).__name__ + reason
            span.fail(type(caught).__name__)
            raise
        finally:
            _over(span, came.status)
            told = came.status is not None
            self.exchanges.append(
                Exchange(
                    method=sent.method,
                    url=sent.url,
                    request_headers=self._headers(sent.headers),
                    request_body=_BLOT.encode() if private else self._body(sent.body),
                    status=came.status,
                    response_headers=self._headers(came.headers),
                    response_body=_BLOT.encode() if private and told else self._body(came.body),
                    error=error,
                    seconds=time.perf_counter() - started,
                )
            )

    async def aclose(self) -> None:
        await self.inner.aclose()

    def _url(self, url: httpx.URL) -> str:
        if url.userinfo:
            url = url.copy_with(userinfo=b"")
        if url.query:
            for name in [name for name in url.params if _is_secret(name)]:
                url = url.copy_set_param(name, _BLOT)
        return self._text(str(url))

    def _headers(self, headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return tuple((name, _BLOT if _is_secret(name) else self._text(value)) for name, value in headers)

    def _text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _BLOT)
        return text

    def _body(self, body: bytes) -> bytes:
        for secret in self._secrets:
            body = body.replace(secret.encode(), _BLOT.encode())
        return body


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
