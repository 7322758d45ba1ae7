"""A person decides: each of the four answers to a receipt that needs attention, to its end at the register."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.support.world import World, open_world


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path, freshness_seconds=0.5) as found:
        yield found


async def test_found_asks_the_provider_once_more_and_adopts_the_document(world: World) -> None:
    event = await world.pay("p-1")
    async with world.working():
        await world.status(event, "fiscalized")
        await _stop(world, event)
        await _answer(world, event, "found")
        row = await world.status(event, "fiscalized")
    (document,) = await world.tape()
    assert (row.fd, row.sequence) == (document["fd"], 2)


async def test_send_again_sends_it_under_the_same_id(world: World) -> None:
    event = await world.pay("p-1")
    before = await _stop(world, event)
    await _answer(world, event, "send_again")
    async with world.working():
        row = await world.status(event, "fiscalized")
    assert row.provider_id == before
    assert len(await world.tape()) == 1


@pytest.mark.parametrize("answer", ["made_elsewhere", "abandon"])
async def test_no_receipt_is_made_of_what_is_given_up(world: World, answer: str) -> None:
    event = await world.pay("p-1")
    await _stop(world, event)
    await _answer(world, event, answer)
    async with world.working():
        await world.idle()
    row = await world.receipt(event)
    assert row.status == "cancelled"
    assert row.failure is not None
    assert row.failure["code"] == "resolved_by_person"
    assert await world.tape() == []


async def _stop(world: World, event: UUID) -> str:
    """As if nobody but a person could go on with it."""
    row = await world.receipt(event)
    async with world.runtime.database.pipeline() as tx:
        await tx.execute(text("DELETE FROM jobs WHERE ref = :id"), {"id": row.id})
        await tx.execute(
            text("UPDATE receipts SET status = 'needs_attention', fn = NULL, fd = NULL, fpd = NULL WHERE id = :id"),
            {"id": row.id},
        )
    return row.provider_id


async def _answer(world: World, event: UUID, answer: str) -> None:
    row = await world.receipt(event)
    await world.runtime.services.actions.resolve(
        world.principal, world.merchant_id, row.id, answer, row.sequence, "the cabinet", None
    )
