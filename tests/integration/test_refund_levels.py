"""Refunds that tell what they leave of a payment, through the whole pipeline: the tape shows what was returned."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.support.world import World, open_world


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path) as found:
        yield found


async def left(world: World, level: int) -> UUID:
    return await world.refund(f"p-1:left:{level}", "p-1", 0, left_after=level)


async def returned(world: World) -> list[int]:
    return sorted(one["total"] for one in await world.tape() if one["operation"] == "sell_refund")


async def test_levels_in_their_order(world: World) -> None:
    async with world.working():
        await world.status(await world.pay("p-1"), "fiscalized")
        for level in (149_000, 99_000, 0):
            await left(world, level)
            await world.idle()
        assert await returned(world) == [50_000, 50_000, 99_000]


async def test_levels_backwards_repeated_and_at_once(world: World) -> None:
    async with world.working():
        await world.status(await world.pay("p-1"), "fiscalized")
        last = await left(world, 99_000)
        await world.idle()
        late = await left(world, 149_000)
        assert await left(world, 99_000) == last
        await asyncio.gather(*(left(world, level) for level in (149_000, 99_000, 120_000) for _ in range(5)))
        await world.idle()
        assert await returned(world) == [100_000]
        assert await world.receipts(late) == []
        async with world.runtime.database.engine.connect() as connection:
            query = text("SELECT DISTINCT status, reason->>'code' FROM events WHERE external_id LIKE '%left:1%'")
            assert [tuple(row) for row in await connection.execute(query)] == [("ignored", "nothing_to_print")]


async def test_levels_that_came_before_their_payment_wait_for_it(world: World) -> None:
    async with world.working():
        first = await left(world, 149_000)
        second = await left(world, 0)
        for event in (first, second):
            await world.status(event, "held")
        await world.status(await world.pay("p-1"), "fiscalized")

        async def all_is_returned() -> bool:
            return sum(await returned(world)) == 199_000

        await world.until(all_is_returned, 90)
        await world.idle()
        assert sum(await returned(world)) == 199_000


async def test_what_a_crm_returned_by_its_sum_is_not_returned_again(world: World) -> None:
    async with world.working():
        await world.status(await world.pay("p-1"), "fiscalized")
        await world.status(await world.refund("crm-1", "p-1", 50_000), "fiscalized")
        await left(world, 149_000)
        await left(world, 100_000)
        await world.idle()
        assert await returned(world) == [49_000, 50_000]


async def test_a_level_that_returns_nothing_is_for_a_person(world: World) -> None:
    async with world.working():
        await world.status(await world.pay("p-1"), "fiscalized")
        row = await world.status(await left(world, 199_000), "held")
        assert (row.failure or {})["code"] == "data_missing"
        await world.idle()
        assert await returned(world) == []
