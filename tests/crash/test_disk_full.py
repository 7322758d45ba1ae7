"""The database's disk is full: 503 and nothing lost, once on a disk of the server's own that is really full, once where
the server refuses single tables, which needs no rights and can be aimed."""

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from app.cli import doctor
from app.cli.launch import keep_running
from app.db import migrate
from app.db.trouble import DISK_FULL_ADVICE
from app.infra.ids import parse
from app.infra.postgres import EmbeddedPostgres
from app.main import create_app
from tests.support import rows
from tests.support.disk import refusing_tables, small_disk
from tests.support.world import World, open_world

_BOUNDED_SECONDS = 15.0
"""No answer takes longer: the time after which a statement is given up (`Database.command_timeout`)."""


@dataclass
class Till:
    """Sources that report payments over HTTP without a pause, each again until it hears that it is stored."""

    world: World
    http: httpx.AsyncClient
    acknowledged: dict[int, str] = field(default_factory=dict)
    refused: int = 0
    longest: float = 0.0
    amounts: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1_000))
    open: bool = True

    @asynccontextmanager
    async def pressing(self, sources: int = 6) -> AsyncIterator[None]:
        """While the block runs; whoever has a payment then still brings it in."""
        tasks = [asyncio.create_task(self._press()) for _ in range(sources)]
        try:
            yield
            self.open = False
            await asyncio.wait_for(asyncio.gather(*tasks), 60)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _press(self) -> None:
        while self.open:
            amount = next(self.amounts)
            while (told := await self.press(amount)) is None:
                await asyncio.sleep(0.02)
            self.acknowledged[amount] = told

    async def press(self, amount: int) -> str | None:
        """One payment, known at the register by its amount; None: it was refused, as it should be."""
        began = time.monotonic()
        answer = await self.http.post("/v1/events", json=sale(amount))
        self.longest = max(self.longest, time.monotonic() - began)
        if answer.status_code in (200, 202):
            told: str = answer.json()["id"]
            return told
        assert answer.status_code == 503, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "service_unavailable"
        assert answer.json()["retryable"] is True
        assert int(answer.headers["retry-after"]) >= 1
        self.refused += 1
        return None

    async def until(self, number: str, more: int, seconds: float = 60) -> None:
        """Until so many more were `acknowledged` or `refused`."""

        def now() -> int:
            return len(self.acknowledged) if number == "acknowledged" else self.refused

        wanted = now() + more

        async def enough() -> bool:
            return now() >= wanted

        await self.world.until(enough, seconds)


def sale(amount: int) -> dict[str, Any]:
    return {
        "type": "payment.succeeded",
        "external_id": f"p-{amount}",
        "amount": amount,
        "customer": {"email": "anna@example.org"},
        "items": [{"name": "Абонемент", "quantity": "1", "price": amount, "amount": amount, "vat": "none"}],
    }


@asynccontextmanager
async def shop(url: str, folder: Path) -> AsyncIterator[tuple[World, httpx.AsyncClient]]:
    """The program on this database, and a client with a key."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(open_world(url, folder, lease_seconds=2.0))
        made = await world.runtime.services.access.create(
            world.principal, merchant_id=world.merchant_id, name="crm", scopes=["*"]
        )
        app = create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)
        http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="https://kassa.example.org",
            headers={"Authorization": f"Bearer {made.text}"},
        )
        yield world, await stack.enter_async_context(http)


async def refusals(http: httpx.AsyncClient, reason: str = "disk_full") -> float:
    """What `/metrics` tells of them."""
    name = f'kassa_database_refusals_total{{reason="{reason}"}} '
    lines = (await http.get("/metrics")).text.splitlines()
    return next(float(line.removeprefix(name)) for line in lines if line.startswith(name))


@pytest.mark.timeout(300)
async def test_on_a_full_disk_nothing_is_acknowledged_and_nothing_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """First only tables cannot grow: reading works. Then the server cannot write its log (WAL), ends, and comes back
    when there is room: its keeper, that of `crm-kassa up`, starts it again and again."""
    async with AsyncExitStack() as stack:
        disk = stack.enter_context(small_disk(tmp_path / "disk", 112))
        server = EmbeddedPostgres(disk.path / "db", shared_buffers="16MB")
        await server.start()
        stack.push_async_callback(server.stop)
        await migrate.upgrade(server.url)
        world, http = await stack.enter_async_context(shop(server.url, tmp_path / "world"))
        till = Till(world, http)
        await stack.enter_async_context(world.working(2))
        async with till.pressing():
            await till.until("acknowledged", 30)
            assert (await http.get("/readyz")).json() == {"status": "pass"}
            assert await refusals(http) == 0
            assert [one.verdict for one in await doctor.disk(world.runtime)] == [doctor.Verdict.OK]

            disk.fill()
            await till.until("refused", 30)
            assert server.pid is not None, "a table that cannot grow ends nobody"
            assert (await http.get("/v1/receipts")).status_code == 200
            ready = await http.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (200, "warn")
            assert "disk is full" in ready.json()["output"]
            assert await refusals(http) >= 30 / 6
            (found,) = await doctor.disk(world.runtime)
            assert (found.verdict, found.fix) == (doctor.Verdict.FAILED, DISK_FULL_ADVICE)

            stored = len(till.acknowledged)
            await _end_the_log(server)
            await asyncio.wait_for(server.wait(), 30)
            keeper = asyncio.create_task(keep_running(server))
            stack.callback(keeper.cancel)
            await till.until("refused", 30)
            ready = await http.get("/readyz")
            assert ready.status_code == 503
            assert "disk is full" in ready.json()["output"], "why it went away is remembered"
            assert (await http.get("/livez")).status_code == 200
            assert len(till.acknowledged) == stored, "what is not stored is not acknowledged"

            disk.clear()
            began = time.monotonic()
            await till.until("acknowledged", 1)
            back = time.monotonic() - began
            await till.until("acknowledged", 50)
        assert (await http.get("/readyz")).status_code == 200
        for event in till.acknowledged.values():
            await world.status(parse("evt", event), "fiscalized", seconds=60)
        await world.idle(seconds=60)
        printed = Counter(document["total"] for document in await world.tape())
        keeper.cancel()
    assert set(till.acknowledged) == set(printed)
    assert set(printed.values()) == {1}, "nothing was printed twice"
    assert till.longest < _BOUNDED_SECONDS
    with capsys.disabled():
        print(
            f"\n  {len(till.acknowledged)} acknowledged, {till.refused} refused, slowest answer {till.longest:.2f} s, "
            f"{back:.1f} s from the room to the first payment"
        )


async def _end_the_log(server: EmbeddedPostgres) -> None:
    """As hours of load would: the piece of the log that is at hand is used up, and a new one finds no room."""
    connection = await asyncpg.connect(server.url)
    try:
        with contextlib.suppress(asyncpg.PostgresError, OSError):
            while True:
                await connection.execute("SELECT pg_switch_wal()")
                await connection.execute("SELECT pg_logical_emit_message(false, 'test', repeat('x', 100000))")
    finally:
        connection.terminate()


async def test_a_receipt_whose_mark_finds_no_room_is_not_sent_and_costs_no_attempt(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        refusing_tables(database_url) as tables,
        shop(database_url, tmp_path) as (world, http),
        world.working(),
    ):
        await tables.refuse("attempts")
        event = await world.pay()
        await _refused(world, http, 3)  # a lease apart
        assert await world.tape() == [], "what could not be marked was sent"
        assert (await world.receipt(event)).status == "queued"
        assert await rows.scalar(world.runtime.database, "SELECT attempt FROM jobs") in (0, 1)

        await tables.take()
        found = await world.status(event, "fiscalized")
        await world.idle()
        assert (found.marks, len(await world.tape())) == (1, 1)
        assert await rows.scalar(world.runtime.database, "SELECT count(*) FROM attempts") == 1


async def test_what_the_provider_printed_meanwhile_is_stored_when_there_is_room(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with refusing_tables(database_url) as tables, shop(database_url, tmp_path) as (world, http), world.working():
        await world.fault("slow", params={"seconds": 1.0})
        event = await world.pay()
        await world.status(event, "sending")
        await tables.refuse("receipts")
        waits: list[int] = []
        database, wait = world.runtime.database, world.runtime.database.before_again

        async def noted(tried: int) -> None:
            waits.append(tried)
            await wait(tried)

        monkeypatch.setattr(database, "before_again", noted)
        await _refused(world, http, 6)
        assert waits[:5] == [0, 1, 2, 3, 4], "a database that answers is not asked to store without a pause"
        assert (await world.receipt(event)).status == "sending"
        assert len(await world.tape()) == 1

        await tables.take()
        await world.status(event, "fiscalized")
        await world.idle()
        assert len(await world.tape()) == 1
        assert await rows.scalar(world.runtime.database, "SELECT count(*) FROM attempts") == 1


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("53100", "disk_full"),
        ("53200", "out_of_memory"),
        ("53300", "too_many_connections"),
        ("57P03", "starting"),
        ("25006", "read_only"),
        ("58030", "away"),
    ],
)
async def test_a_write_that_the_database_refuses_is_a_503_and_can_be_repeated(
    database_url: str, tmp_path: Path, state: str, reason: str
) -> None:
    async with refusing_tables(database_url) as tables, shop(database_url, tmp_path) as (_, http):
        calls: tuple[tuple[str, dict[str, Any], dict[str, str]], ...] = (
            ("/v1/events", sale(5_000), {}),
            (
                "/v1/receipts",
                {
                    "operation": "sell",
                    "amount": 700,
                    "items": sale(700)["items"],
                    "customer": {"email": "a@example.org"},
                },
                KEY,
            ),
            ("/v1/branches", {"name": "Улица"}, {}),
        )
        await tables.refuse(state=state)
        for path, body, headers in calls:
            answer = await http.post(path, json=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable"), (path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) >= 1
        assert await refusals(http, reason) >= len(calls)
        assert (await http.get("/v1/events")).json()["data"] == []
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "warn" if reason == "disk_full" else "pass")
        await tables.take()
        for path, body, headers in calls:
            answer = await http.post(path, json=body, headers=headers)
            assert answer.status_code in (201, 202), (path, answer.text)


async def test_a_managed_database_that_made_itself_read_only_is_gone_on_with_by_itself(
    database_url: str, tmp_path: Path
) -> None:
    """What Azure, Aiven and Scaleway do to a disk that is nearly full: `default_transaction_read_only`."""
    admin = await asyncpg.connect(database_url)
    name = await admin.fetchval("SELECT current_database()")
    async with shop(database_url, tmp_path) as (world, http), world.working():
        await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        # The setting is one of new sessions.
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()",
            name,
        )

        async def only_reads() -> bool:
            refused = (await http.post("/v1/events", json=sale(5_000))).status_code
            assert refused in (202, 503)
            return await refusals(http, "read_only") > 0

        await world.until(only_reads)
        answer = await http.post("/v1/events", json=sale(6_000))
        assert answer.status_code == 503
        assert (await http.get("/v1/receipts")).status_code == 200

        await admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await admin.close()
        for amount in (5_000, 6_000):
            again = await _stored(world, http, amount)
            await world.status(parse("evt", again), "fiscalized", seconds=60)
        await world.idle(seconds=60)
        assert sorted(document["total"] for document in await world.tape()) == [5_000, 6_000]


async def _stored(world: World, http: httpx.AsyncClient, amount: int) -> str:
    """The event of a source that repeats its report as long as it hears 503."""
    till = Till(world, http)
    while (told := await till.press(amount)) is None:
        await asyncio.sleep(0.02)
    return told


KEY = {"Idempotency-Key": "0c6b3c2e-by-hand"}


async def _refused(world: World, http: httpx.AsyncClient, times: int) -> None:
    """Until the database has refused this process so often for want of room."""

    async def enough() -> bool:
        return await refusals(http) >= times

    await world.until(enough)
