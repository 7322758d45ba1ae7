"""What is old goes, what is needed stays, and a payment pressed again after years is still a repeat."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from app.db.repos import retention
from app.infra.ids import new_id
from app.main import create_app
from app.services.principal import Principal
from app.services.retention import Limits, Retention
from tests.support import rows
from tests.support.sink import Sink, open_sink
from tests.support.world import World, open_world

DAY = 86_400.0
YEAR = 366 * DAY
KEEP = Limits(days=90, years=5)


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path, prune_daily=False) as found:
        yield found


async def count(world: World, table: str, where: str = "true") -> int:
    found = await rows.scalar(world.runtime.database, f"SELECT count(*) FROM {table} WHERE {where}")
    assert isinstance(found, int)
    return found


async def everything(world: World) -> dict[str, int]:
    tables = ("receipts", "events", "chains", "attempts", "timeline", "messages", "message_endpoints", "deliveries")
    return {table: await count(world, table) for table in (*tables, "event_identities")}


async def prune(world: World, limits: Limits = KEEP, **how: Any) -> dict[str, int]:
    return (await Retention(world.runtime.database, batch=2).prune(limits, "test", **how)).counts


async def paid(world: World, *, delivered: bool = True, number: int = 3) -> list[UUID]:
    """Payments with their receipts made and told; `delivered` false: prepayments."""
    made = [await world.pay(f"p-{n}", delivered=delivered) for n in range(number)]
    async with world.working():
        for event_id in made:
            await world.status(event_id, "fiscalized")
        await world.idle()
    return made


@pytest.fixture
async def sink(world: World) -> AsyncIterator[Sink]:
    async with open_sink() as found:
        await world.runtime.services.endpoints.create("test", world.merchant_id, url=found.url, types=["*"])
        yield found


async def test_after_days_only_raw_data_goes(world: World, sink: Sink) -> None:
    await paid(world)
    before = await everything(world)
    assert await prune(world) == {}
    await rows.move_time(world.runtime.database, 91 * DAY)
    assert (await prune(world, dry=True)) == {"exchanges": before["attempts"], "messages": before["messages"]}
    assert await everything(world) == before
    gone = await prune(world)
    assert gone == {
        "exchanges": before["attempts"],
        "messages": before["messages"],
        "deliveries": before["deliveries"],
    }
    assert before["deliveries"] > 0
    after = await everything(world)
    assert after == before | {"messages": 0, "message_endpoints": 0, "deliveries": 0}
    assert await count(world, "attempts", "exchange IS NOT NULL") == 0
    assert await prune(world) == {}


async def test_after_years_a_payment_goes_whole_and_is_still_a_repeat(world: World, sink: Sink) -> None:
    first, *_ = await paid(world)
    await world.refund("r-0", "p-0", 99_000)
    async with world.working():
        await world.idle()
    before = await everything(world)
    await rows.move_time(world.runtime.database, 5 * YEAR)
    counted = await prune(world, dry=True)
    assert (counted["receipts"], counted["events"], counted["payments"]) == (4, 4, 3)
    gone = await prune(world)
    assert (gone["receipts"], gone["events"], gone["payments"]) == (4, 4, 3)
    assert await everything(world) == dict.fromkeys(before, 0) | {"event_identities": before["event_identities"]}
    assert await world.pay("p-0", delivered=True) == first
    assert await count(world, "receipts") == 0
    assert await count(world, "jobs") == 0
    told = await rows.scalar(
        world.runtime.database, "SELECT data->'counts'->>'receipts' FROM audit WHERE action = 'retention.pruned'"
    )
    assert told == "4"


async def test_a_repeat_of_what_is_gone_is_answered_as_what_it_was(world: World) -> None:
    app = create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)
    admin = Principal(new_id(), None, None, frozenset({"admin"}))
    key = await world.runtime.services.access.create(admin, merchant_id=world.merchant_id, name="t", scopes=("*",))
    body = {
        "type": "payment.succeeded",
        "external_id": "old",
        "amount": 100,
        "currency": "RUB",
        "delivered": True,
        "customer": {"email": "anna@example.org"},
        "items": [{"name": "Урок", "quantity": "1", "price": 100, "amount": 100, "vat": "none"}],
    }
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://kassa.example.org",
        headers={"Authorization": f"Bearer {key.text}"},
    ) as api:
        fresh = (await api.post("/v1/events", json=body)).json()
        async with world.working():
            await world.idle()
        await rows.move_time(world.runtime.database, 5 * YEAR)
        assert (await prune(world))["receipts"] == 1
        for prefer in ({}, {"Prefer": "wait=1"}):
            again = await api.post("/v1/events", json=body, headers=prefer)
            assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
            view = again.json()
            assert (view["id"], view["status"], view["receipts"]) == (fresh["id"], "pruned", [])
            assert (view["amount"], view["external_id"], set(view)) == (100, "old", set(fresh))
            assert view["received_at"][:16] == fresh["received_at"][:16]
        other = await api.post("/v1/events", json=body | {"amount": 200, "items": []})
        assert (other.status_code, other.json()["existing_id"]) == (409, fresh["id"])
        assert (await api.get(f"/v1/events/{fresh['id']}")).status_code == 404
        assert await count(world, "receipts") == 0


async def test_open_prepayments_and_what_is_unfinished_stay(world: World) -> None:
    await paid(world, delivered=False, number=2)
    waiting = await world.pay("waiting", delivered=True)
    await rows.move_time(world.runtime.database, 6 * YEAR)
    counts = await prune(world)
    assert "receipts" not in counts
    assert await count(world, "receipts") == 3
    assert (await world.receipt(waiting)).status == "queued"
    async with world.runtime.database.pipeline() as tx:
        await tx.execute(text("UPDATE chains SET settled = sold WHERE payment_id LIKE 'p-%'"))
    assert (await prune(world))["receipts"] == 2


async def test_a_payment_with_anything_newer_stays_whole(world: World) -> None:
    await paid(world, number=1)
    await rows.move_time(world.runtime.database, 4.9 * YEAR)
    await world.refund("r-0", "p-0", 99_000)
    async with world.working():
        await world.idle()
    await rows.move_time(world.runtime.database, 6 * YEAR)
    assert "receipts" not in await prune(world)
    await rows.move_time(world.runtime.database, 11 * YEAR)
    assert (await prune(world))["receipts"] == 2


async def test_a_message_that_waits_for_its_delivery_stays(world: World, sink: Sink) -> None:
    await paid(world, number=1)
    await rows.scalar(world.runtime.database, "UPDATE message_endpoints SET status = 'pending' RETURNING 1")
    await rows.move_time(world.runtime.database, 91 * DAY)
    assert "messages" not in await prune(world)


async def test_the_daily_run_takes_one_turn_a_day_and_goes_on_from_its_place(world: World) -> None:
    await paid(world, number=1)
    database = world.runtime.database
    await rows.move_time(database, 91 * DAY)
    keeper = Retention(database)
    await keeper.daily(Limits(90, None))
    assert await count(world, "attempts", "exchange IS NOT NULL") == 0
    async with database.pipeline() as tx:
        assert await retention.place(tx) > retention.FIRST
        assert not await retention.take_turn(tx, DAY)
    await rows.move_time(database, 92.1 * DAY)
    async with database.pipeline() as tx:
        assert await retention.take_turn(tx, DAY)
    assert await count(world, "receipts") == 1
