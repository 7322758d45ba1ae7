"""Denial without a key: bodies that trickle, and forged notices by the hundred. Neither fills a disk or a process.

Large and deep bodies are in `tests/corpus`, rate limits in `test_api_settings.py`, a crowd in `tests/e2e`.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import structlog
from sqlalchemy import text

from app.cli.request_heads import BoundedHeads
from app.db.tables import metadata
from app.infra.ids import public
from app.main import create_app
from app.services.sources import NewSource
from tests.support.server import serve
from tests.support.world import World, open_world

SLOW = 0.4


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path, body_seconds=SLOW) as found:
        yield found


@pytest.fixture
async def url(world: World) -> AsyncIterator[str]:
    app = create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)
    async with serve(app) as found:
        yield found


async def acquirer(world: World) -> str:
    made = await world.runtime.services.sources.create(
        "test",
        world.merchant_id,
        NewSource(
            kind="cloudpayments",
            name="Эквайринг",
            credentials={"public_id": "pk", "api_secret": "hmac-secret"},
            settings={},
            defaults={},
            acquirer_fiscalizes=False,
        ),
    )
    return public("src", made.source.id)


async def trickled(url: str, path: str, *, key: str | None, framing: str) -> tuple[int, dict[str, object]]:
    """Head and one byte of a body, then silence; what is answered until the connection ends."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [f"POST {path} HTTP/1.1", "Host: kassa.example.org", "Content-Type: application/json", framing]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    one = b"1\r\n{\r\n" if framing.startswith("Transfer") else b"{"
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode() + one)
        await writer.drain()
        raw = await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()
    head, _, content = raw.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content)


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("path", ["/v1/events", "/v1/branches", "/in/{source}/pay"])
async def test_a_body_that_trickles_is_not_waited_for(world: World, url: str, path: str, framing: str) -> None:
    access = world.runtime.services.access
    key = (await access.create(world.principal, merchant_id=world.merchant_id, name="k", scopes=["*"])).text
    status, told = await trickled(url, path.format(source=await acquirer(world)), key=key, framing=framing)
    assert (status, told["code"], told["retryable"]) == (408, "request_timeout", True)


async def test_without_a_key_the_body_is_not_even_begun(world: World, url: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(
            b"POST /v1/events HTTP/1.1\r\nHost: k\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
        )
        await writer.drain()
        assert (await asyncio.wait_for(reader.readline(), 20)).split()[1] == b"401"
    finally:
        writer.close()


class Impatient(BoundedHeads):
    seconds = SLOW


async def test_a_head_without_end_is_not_kept(world: World) -> None:
    app = create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)
    async with serve(app, http=BoundedHeads) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        sent = 0
        try:
            writer.write(b"GET /livez HTTP/1.1\r\nHost: k\r\nX-Endless: ")
            while sent < 64 * 1024 * 1024 and not reader.at_eof():
                writer.write(b"x" * 65_536)
                await writer.drain()
                sent += 65_536
            told = await asyncio.wait_for(reader.read(), 20)
        except ConnectionError:
            # It was ended while we wrote; whether the answer came first is the network's affair.
            told = b"HTTP/1.1 400 "
        finally:
            writer.close()
    assert told.startswith(b"HTTP/1.1 400 ")
    assert sent < 32 * 1024 * 1024


@pytest.mark.parametrize("begun", [b"", b"GET /li", b"GET /livez HTTP/1.1\r\nHost: k\r\nX-A: b\r\n"])
async def test_a_head_that_does_not_come_is_not_waited_for(world: World, begun: bytes) -> None:
    app = create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)
    async with serve(app, http=Impatient) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(begun)
            assert await asyncio.wait_for(reader.read(), 20) == b""
        finally:
            writer.close()


async def test_a_connection_in_use_is_not_ended(world: World) -> None:
    """The time is that of one head, not of a connection."""
    app = create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)
    async with serve(app, http=Impatient) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        loop = asyncio.get_running_loop()
        begun, answers = loop.time(), 0
        try:
            while loop.time() < begun + 3 * SLOW:
                for part in (b"GET /livez HTTP/1.1\r\n", b"Host: kassa.example.org\r\n\r\n"):
                    writer.write(part)
                    await writer.drain()
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
                assert head.startswith(b"HTTP/1.1 200 ")
                await reader.readexactly(len(b'{"status":"pass"}'))
                answers += 1
        finally:
            writer.close()
    assert answers >= 2


async def test_forged_notices_fill_neither_tables_nor_logs(world: World, url: str) -> None:
    source = await acquirer(world)

    async def rows() -> dict[str, int]:
        async with world.runtime.database.pipeline() as tx:
            return {
                table: (await tx.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()
                for table in metadata.tables
            }

    before = await rows()
    with structlog.testing.capture_logs() as lines:
        async with httpx.AsyncClient(base_url=url, timeout=60) as http, asyncio.TaskGroup() as flood:

            async def forge() -> None:
                for number in range(25):
                    signed = {"Content-HMAC": "AAAA"}
                    answer = await http.post(f"/in/{source}/pay", content=b"x" * 1000 + b"%d" % number, headers=signed)
                    assert answer.status_code == 401

            for _ in range(8):
                flood.create_task(forge())
    assert await rows() == before
    told = [line for line in lines if line["event"] == "inbound.forged"]
    assert [(line["source_id"], line["untold"]) for line in told] == [(source, 0)]
    exposed = world.runtime.metrics.exposition()[0].decode()
    assert 'kassa_notifications_received_total{source="cloudpayments",verdict="forged"} 200.0' in exposed


async def test_what_was_not_told_is_counted_when_it_is_told_again(
    world: World, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await acquirer(world)
    monkeypatch.setattr("app.services.inbound._QUIET_SECONDS", 3600.0)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=60))
        lines = stack.enter_context(structlog.testing.capture_logs())
        for _ in range(3):
            await http.post(f"/in/{source}/pay", content=b"x")
        monkeypatch.setattr("app.services.inbound._QUIET_SECONDS", 0.0)
        await http.post(f"/in/{source}/pay", content=b"x")
    assert [line["untold"] for line in lines if line["event"] == "inbound.forged"] == [0, 2]
