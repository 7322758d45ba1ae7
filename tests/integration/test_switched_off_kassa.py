"""A kassa that a person switched off: what is reported meanwhile waits in its lane, in order, and goes on after it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.db.repos import lanes_read
from tests.support import rows
from tests.support.world import World, new_kassa, open_world


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path) as opened:
        yield opened


async def switch(world: World, status: str, kassa_id: UUID | None = None) -> None:
    change = {"status": status, "max_in_flight": 1}
    await world.runtime.services.kassas.change("test", world.merchant_id, kassa_id or world.kassa_id, change)


async def second_kassa(world: World, **changes: Any) -> UUID:
    made = await world.runtime.services.kassas.create(
        "test", world.merchant_id, new_kassa(world.simulator_url, name="Second", **changes)
    )
    return made.kassa.id


async def waiting(world: World) -> int:
    async with world.runtime.database.pipeline() as tx:
        return (await lanes_read.states(tx, world.merchant_id, [world.kassa_id]))[world.kassa_id].waiting


async def told(world: World, kind: str) -> object:
    return await rows.scalar(world.runtime.database, f"SELECT count(*) FROM messages WHERE type = '{kind}'")


async def code(world: World, event: UUID) -> str | None:
    found: str | None = ((await world.receipt(event)).failure or {}).get("code")
    return found


async def test_what_is_reported_meanwhile_waits_in_its_order_and_goes_out_after_it(world: World) -> None:
    async with world.working():
        sold = await world.pay("p-0", 100_00)
        await world.status(sold, "fiscalized")
        await switch(world, "off")
        events = [
            await world.pay("p-1", 200_00),
            await world.pay("p-2", 300_00),
            await world.refund("r-0", "p-0", 100_00),
        ]
        for event in events:
            row = await world.status(event, "queued")
            assert (row.kassa_id, row.failure) == (world.kassa_id, None)
        assert await waiting(world) == len(events)
    # Another worker, as after a restart: it finds the lane as paused as it was.
    async with world.working():
        later = await world.refund("r-1", "p-1", 200_00)
        row = await world.status(later, "queued")
        assert row.kassa_id == world.kassa_id
        assert [one["total"] for one in await world.tape()] == [100_00]
        assert await told(world, "kassa.paused") == 1
        view = await world.runtime.services.kassas.read(world.merchant_id, world.kassa_id)
        assert view.lane.waiting == len(events), "the return of a sale that waits has its turn after it"
        await switch(world, "active")
        for event in (*events, later):
            await world.status(event, "fiscalized")
    printed = [(one["operation"], one["total"]) for one in await world.tape()]
    assert printed[:4] == [("sell", 100_00), ("sell", 200_00), ("sell", 300_00), ("sell_refund", 100_00)]
    assert printed[4:] == [("sell_refund", 200_00)]
    assert (await told(world, "kassa.paused"), await told(world, "kassa.resumed")) == (1, 1)


async def test_one_that_is_switched_on_is_preferred(world: World) -> None:
    other = await second_kassa(world)
    await switch(world, "off", other)
    async with world.working():
        await world.status(await world.pay("p-0", 100_00), "fiscalized")
        await switch(world, "off")
        await switch(world, "active", other)
        paid = await world.status(await world.pay("p-1", 200_00), "fiscalized")
        assert paid.kassa_id == other
        # Another took the place of the kassa that sold, and it may never come back: a person says where it is returned.
        back = await world.refund("r-0", "p-0", 100_00)
        await world.status(back, "held")
    assert await code(world, back) == "kassa_missing"


async def test_the_branch_s_own_kassa_is_waited_for(world: World) -> None:
    """Another branch's kassa is at another place of settlement, whether it is on or off."""
    other = await second_kassa(world)
    merchants = world.runtime.services.merchants
    await merchants.create_branch("test", world.merchant_id, name="Север", external_id="north", kassa_id=world.kassa_id)
    await merchants.create_branch("test", world.merchant_id, name="Юг", external_id="south", kassa_id=other)
    await switch(world, "off")
    north, south = await world.pay(branch="north"), await world.pay(branch="south")
    assert (await world.receipt(north)).kassa_id == world.kassa_id
    assert (await world.receipt(south)).kassa_id == other


async def test_of_several_that_are_off_none_is_guessed(world: World) -> None:
    other = await second_kassa(world)
    await switch(world, "off", other)
    await switch(world, "off")
    event = await world.pay()
    assert await code(world, event) == "kassa_missing"
    async with world.working():
        await switch(world, "active")
        assert (await world.status(event, "fiscalized")).kassa_id == world.kassa_id


async def test_one_for_tests_that_is_off_takes_no_money(world: World) -> None:
    """Else the live kassa that is connected next would never see it."""
    await switch(world, "off")
    other = await second_kassa(world, test=True)
    merchants = world.runtime.services.merchants
    await merchants.create_branch("test", world.merchant_id, name="Проба", external_id="trial", kassa_id=other)
    await switch(world, "off", other)
    real, trial = await world.pay(branch="trial"), await world.pay(branch="trial", test=True)
    assert await code(world, real) == "kassa_missing"
    assert ((await world.receipt(trial)).status, (await world.receipt(trial)).kassa_id) == ("queued", other)
