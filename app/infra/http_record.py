"""What went over the wire, kept for the history of a receipt without its credentials."""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import httpx

from app.infra.http_gate import MaybeSent, NotSent
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


class RecordingTransport(httpx.AsyncBaseTransport):
    """Keeps every exchange over `inner`, also the failed ones.

    Headers and query parameters that are credentials by their name are blotted out, and each of `secrets` wherever
    it stands, bodies included. Of a request with the extension `private` (a token is fetched) no body is kept.
    Each is a part of the span that it is made in.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, secrets: Iterable[str] = ()) -> None:
        self._inner = inner
        self._secrets = tuple(secret for secret in secrets if len(secret) >= _SHORTEST_SECRET)
        self.exchanges: list[Exchange] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        span = _part(current(), request)
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
            span.fail(type(caught).__name__)
            raise
        finally:
            _over(span, answer)
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
            for name in [name for name in url.params if _is_secret(name)]:
                url = url.copy_set_param(name, _BLOT)
        return self._text(str(url))

    def _headers(self, headers: httpx.Headers) -> tuple[tuple[str, str], ...]:
        return tuple((name, _BLOT if _is_secret(name) else self._text(value)) for name, value in headers.multi_items())

    def _text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _BLOT)
        return text

    def _body(self, body: bytes) -> bytes:
        for secret in self._secrets:
            body = body.replace(secret.encode(), _BLOT.encode())
        return body


def _part(span: Span, request: httpx.Request) -> Span:
    if not span.on:
        return span
    method, url = request.method, request.url
    return span.child(method, http_call(method, url.scheme, url.host, url.port), kind=Kind.CLIENT)


def _over(span: Span, answer: httpx.Response | None) -> None:
    if answer is not None:
        span.set({"http.response.status_code": answer.status_code})
        if answer.status_code >= 400:
            span.fail(str(answer.status_code))
    span.end()


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None
