"""One post, every way it can end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from app import __version__
from app.infra.egress import EgressPolicy
from app.infra.http import open_http
from app.outbound.sender import Delivered, Gone, Retry, SendResult, send
from app.outbound.signing import new_secret, verify
from tests.support.server import serve

NOW = datetime(2026, 11, 23, 11, 0, 0, 900000, tzinfo=UTC)
URL = "https://crm.example.org/hook?tenant=1"
BODY = '{"type":"receipt.fiscalized","data":{"name":"Анна"}}'.encode()
SECRETS = [new_secret(), new_secret()]

Answer = Callable[[httpx.Request], httpx.Response]


async def post(answer: Answer | httpx.Response, **options: Any) -> SendResult:
    def respond(request: httpx.Request) -> httpx.Response:
        return answer if isinstance(answer, httpx.Response) else answer(request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(respond), follow_redirects=True) as http:
        return await send(http, URL, "msg_1", BODY, SECRETS, NOW, **options)


async def retry(answer: Answer | httpx.Response, **options: Any) -> Retry:
    result = await post(answer, **options)
    assert isinstance(result, Retry), result
    return result


async def test_the_request_is_signed_and_byte_for_byte():
    seen: list[httpx.Request] = []

    def remember(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(204)

    assert isinstance(await post(remember), Delivered)
    (request,) = seen
    headers = request.headers
    assert (request.method, str(request.url), request.content) == ("POST", URL, BODY)
    assert headers["webhook-id"] == "msg_1"
    assert headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert headers["content-type"] == "application/json"
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"] == f"CRM-Kassa/{__version__}"
    for secret in SECRETS:
        stamp, signature = headers["webhook-timestamp"], headers["webhook-signature"]
        assert verify([secret], "msg_1", stamp, signature, BODY, NOW.timestamp())


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_delivered(status):
    result = await post(httpx.Response(status, text="thanks"))
    assert isinstance(result, Delivered)
    assert result.status == status
    assert 0 <= result.seconds < 5


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
async def test_a_redirect_is_a_failure_and_not_followed(status):
    asked: list[httpx.URL] = []

    def redirect(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(status, headers={"location": "http://169.254.169.254/latest"})

    result = await retry(redirect)
    assert len(asked) == 1
    assert result.status == status
    assert "final address" in result.reason


async def test_410_ends_the_endpoint():
    result = await post(httpx.Response(410, text="no such hook"))
    assert isinstance(result, Gone)
    assert (result.status, result.response_head) == (410, "no such hook")


@pytest.mark.parametrize("status", [100, 400, 401, 403, 404, 408, 429, 500, 502, 503, 504, 599])
async def test_everything_else_is_tried_again(status):
    result = await retry(httpx.Response(status, text="later"))
    assert (result.status, result.response_head, result.retry_after_seconds) == (status, "later", None)
    assert str(status) in result.reason
    assert result.throttle is (status in (429, 502, 504))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        (" 7 ", 7),
        ("999999999999999", 86400),
        ("Mon, 23 Nov 2026 11:02:00 GMT", 119.1),
        ("Mon, 23 Nov 2026 11:02:00", 119.1),
        ("Mon, 23 Nov 2026 10:00:00 GMT", 0),
        ("Mon, 30 Nov 2026 11:00:00 GMT", 86400),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("٣", None),
        ("Mon, 99 Nov 2026 11:00:00 GMT", None),
    ],
)
async def test_retry_after(header, seconds):
    result = await retry(httpx.Response(503, headers=[(b"retry-after", header.encode())]))
    assert result.retry_after_seconds == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx.ConnectError("[Errno 111] Connect call failed ('10.1.2.3', 443)"), "no connection was established"),
        (httpx.ConnectTimeout("10.1.2.3"), "no connection was established in time"),
        (httpx.PoolTimeout("10.1.2.3"), "no connection was established in time"),
        (httpx.ReadTimeout("10.1.2.3"), "no complete answer came within 15 s"),
        (httpx.RemoteProtocolError("10.1.2.3"), "the connection was lost before the answer"),
        (httpx.ReadError("10.1.2.3"), "the connection was lost before the answer"),
        (httpx.UnsupportedProtocol("ftp://10.1.2.3"), "the endpoint's address is not a URL that can be called"),
        (httpx.InvalidURL("10.1.2.3"), "the endpoint's address is not a URL that can be called"),
    ],
)
async def test_a_transport_error_is_told_without_resolved_addresses(error, reason):
    def fail(request: httpx.Request) -> httpx.Response:
        raise error

    result = await retry(fail)
    assert (result.status, result.reason, result.response_head) == (None, reason, "")


async def test_the_deadline_is_for_the_whole_exchange():
    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

    async with httpx.AsyncClient(transport=Silent()) as http:
        result = await send(http, URL, "msg_1", BODY, SECRETS, NOW, timeout=0.05)
    assert isinstance(result, Retry)
    assert result.reason == "no complete answer came within 0.05 s"


class _Body(httpx.AsyncByteStream):
    """An answer that never ends, or breaks off, after some chunks."""

    def __init__(self, *chunks: bytes, then: Callable[[], Any]) -> None:
        self.chunks, self.then, self.given, self.closed = chunks, then, 0, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            self.given += len(chunk)
            yield chunk
        await self.then()

    async def aclose(self) -> None:
        self.closed = True


async def _never() -> None:
    await asyncio.Event().wait()


async def _broken() -> None:
    raise httpx.ReadError("connection reset")


async def test_an_endless_answer_is_cut_after_its_head():
    body = _Body(*[b"x" * 700] * 1000, then=_never)
    result = await retry(httpx.Response(500, stream=body))
    assert result.response_head == "x" * 1024
    assert body.given <= 2 * 1024
    assert body.closed


@pytest.mark.parametrize("then", [_never, _broken])
async def test_the_status_counts_even_if_the_body_breaks_off(then):
    assert isinstance(await post(httpx.Response(200, stream=_Body(b"o", then=then)), timeout=0.05), Delivered)
    assert isinstance(await post(httpx.Response(410, stream=_Body(b"o", then=then)), timeout=0.05), Gone)
    assert (await retry(httpx.Response(500, stream=_Body(b"o", then=then)), timeout=0.05)).status == 500


async def test_the_kept_head_is_printable():
    junk = b"\x00\x1b[31mred\x07\r\n\tok\xff \xd0\x90\xd0" + b"\x9f" * 10
    head = (await retry(httpx.Response(500, content=junk))).response_head
    assert all(char.isprintable() or char in "\n\t" for char in head)
    assert "red" in head
    assert "А" in head


async def test_a_packed_answer_is_not_unpacked():
    packed = httpx.Response(500, headers={"content-encoding": "gzip"}, stream=_Body(b"not gzip at all", then=_done))
    assert (await retry(packed)).response_head == "not gzip at all"


async def _done() -> None:
    return None


async def test_without_a_secret_nothing_is_sent():
    async with httpx.AsyncClient(transport=httpx.MockTransport(_forbidden)) as http:
        with pytest.raises(ValueError, match="without a signing secret"):
            await send(http, URL, "msg_1", BODY, [], NOW)


def _forbidden(request: httpx.Request) -> httpx.Response:
    raise AssertionError("sent")


async def test_over_our_own_transport_a_dead_endpoint_is_a_plain_reason():
    async with open_http(EgressPolicy.parse("127.0.0.0/8")) as clients:
        http = clients.client()
        async with serve(_echo) as base:
            assert isinstance(await send(http, f"{base}/hook", "msg_1", BODY, SECRETS, NOW), Delivered)
        gone = await send(http, f"{base}/hook", "msg_2", BODY, SECRETS, NOW)
    assert isinstance(gone, Retry)
    assert (gone.status, gone.response_head) == (None, "")
    assert "refused" in gone.reason


async def test_a_forbidden_address_is_told_as_such():
    async with open_http(EgressPolicy()) as clients:
        result = await send(clients.client(), "https://localhost/hook", "msg_1", BODY, SECRETS, NOW)
    assert isinstance(result, Retry)
    assert "may not be called" in result.reason
    assert "127.0.0.1" not in result.reason
    assert "::1" not in result.reason


async def _echo(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """Answers 200 to the exact body, 400 to any other."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200 if body == BODY else 400, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
