"""Posts one message to one endpoint, once, and says what came of it; when to try again is decided elsewhere."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final, cast

import httpx

from app import __version__
from app.infra.http import Client, MaybeSent, NotSent, Target, Transport
from app.outbound.signing import sign

HEAD_BYTES: Final = 1024
"""How much of an endpoint's answer is kept for the person who looks for the fault."""

MAX_RETRY_AFTER_SECONDS: Final = 24 * 3600.0
_CONNECT_SECONDS = 5.0
_GONE = 410
_THROTTLING = frozenset({429, 502, 504})
_HEADERS = (
    (b"content-type", b"application/json"),
    (b"user-agent", f"CRM-Kassa/{__version__}".encode()),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"identity"),
)


@dataclass(frozen=True, slots=True)
class Delivered:
    """The endpoint answered 2xx: it has the message."""

    status: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Retry:
    """It may not have the message; the same one is sent again later.

    `status` is None when no answer came. `retry_after_seconds` (at most a day) is the endpoint's own wish.
    """

    status: int | None
    reason: str
    retry_after_seconds: float | None
    response_head: str
    seconds: float

    @property
    def throttle(self) -> bool:
        """The endpoint is overloaded: fewer messages at once should go to it."""
        return self.status in _THROTTLING


@dataclass(frozen=True, slots=True)
class Gone:
    """410: the endpoint wants nothing any more and is to be switched off."""

    response_head: str
    seconds: float
    status: int = _GONE


SendResult = Delivered | Retry | Gone


async def send(
    http: httpx.AsyncClient,
    url: str,
    message_id: str,
    body: bytes,
    secrets: Sequence[str],
    now: datetime,
    *,
    timeout: float = 15,
    traceparent: str | None = None,
) -> SendResult:
    """One signed POST within `timeout` seconds; `now` is this attempt's moment. Redirects are not followed.

    `traceparent` goes along unsigned: the signature is over id, timestamp and body.

    Never raises for what the endpoint or the network does; ValueError when a secret cannot sign.
    """
    timestamp = int(now.timestamp())
    headers = [
        (b"webhook-id", message_id.encode()),
        (b"webhook-timestamp", b"%d" % timestamp),
        (b"webhook-signature", sign(secrets, message_id, timestamp, body).encode()),
        *_HEADERS,
    ]
    if traceparent is not None:
        headers.append((b"traceparent", traceparent.encode()))
    started = time.monotonic()
    direct = http.direct if isinstance(http, Client) else None
    try:
        if direct is None:
            answer = await _post(http, httpx.URL(url), headers, body, timeout)
        else:
            answer = await _post_directly(direct, _target(url), headers, body, timeout)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        return Retry(None, _why(error, timeout), None, "", time.monotonic() - started)
    return _judge(answer, time.monotonic() - started, now)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is looked at of an answer; the head of its body as sent."""

    status: int
    retry_after: str
    head: bytes


async def _post_directly(
    transport: Transport, target: Target, headers: list[tuple[bytes, bytes]], body: bytes, timeout: float
) -> _Answer:
    """Over our own transport, which reads an answer whole, within its limit, and bounds the time itself."""
    connect = min(timeout, _CONNECT_SECONDS)
    headers = [(b"host", target.authority), *headers]
    answer = await transport.exchange("POST", target, headers, body, deadline=timeout, connect=connect)
    return _Answer(answer.status, answer.header(b"retry-after") or "", answer.body[:HEAD_BYTES])


async def _post(
    http: httpx.AsyncClient, url: httpx.URL, headers: list[tuple[bytes, bytes]], body: bytes, timeout: float
) -> _Answer:
    """Over any other; the status line decides: an answer that breaks off in its body is still the endpoint's."""
    answer: httpx.Response | None = None
    head = b""
    try:
        async with (
            asyncio.timeout(timeout),
            http.stream(
                "POST",
                url,
                content=body,
                headers=headers,
                follow_redirects=False,
                timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
                extensions={"deadline_seconds": timeout},
            ) as answer,
        ):
            head = await _head(answer)
    except (httpx.HTTPError, TimeoutError):
        if answer is None:
            raise
    return _Answer(answer.status_code, answer.headers.get("retry-after", ""), head)


@lru_cache(maxsize=1024)
def _target(url: str) -> Target:
    """An endpoint's address, read once and not for each message."""
    return Target.of(httpx.URL(url))


def _judge(answer: _Answer, seconds: float, now: datetime) -> SendResult:
    status = answer.status
    if 200 <= status < 300:
        return Delivered(status, seconds)
    head = _printable(answer.head)
    if status == _GONE:
        return Gone(head, seconds)
    reason = f"the endpoint answered {status}"
    if 300 <= status < 400:
        reason += "; redirects are not followed, give the endpoint its final address"
    return Retry(status, reason, _retry_after(answer.retry_after, now), head, seconds)


async def _head(answer: httpx.Response) -> bytes:
    """The first bytes, as sent: an endless or packed answer costs no more than these."""
    if answer.is_stream_consumed:
        return answer.content[:HEAD_BYTES]
    async with aclosing(cast(AsyncGenerator[bytes, None], answer.aiter_raw(HEAD_BYTES))) as chunks:
        return await anext(chunks, b"")


def _why(error: Exception, timeout: float) -> str:
    """A plain reason. Only our own transport's text is passed on: it names no resolved address."""
    match error:
        case NotSent() | MaybeSent():
            return str(error)
        case httpx.InvalidURL() | httpx.UnsupportedProtocol():
            return "the endpoint's address is not a URL that can be called"
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return "no connection was established in time"
        case httpx.ConnectError():
            return "no connection was established"
        case httpx.TimeoutException() | TimeoutError():
            return f"no complete answer came within {timeout:g} s"
        case _:
            return "the connection was lost before the answer"


def _retry_after(text: str, now: datetime) -> float | None:
    """RFC 9110, section 10.2.3: seconds or a date; what cannot be read is no wish."""
    text = text.strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        seconds = float(text[:12])
    else:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, IndexError, OverflowError):
            return None
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _printable(head: bytes) -> str:
    """Text that a terminal, a log and PostgreSQL can hold."""
    text = head[:HEAD_BYTES].decode("utf-8", "replace")
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text).strip()
