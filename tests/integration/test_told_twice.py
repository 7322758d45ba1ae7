"""Refunds that a CRM tells by sums and a bank by what is left, in both orders: each is returned once, or a person is
asked."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from app.domain.event import EventType
from tests.support.sources import Town, open_town
from tests.support.world import payment

PAID = 1990_00


@pytest.fixture
async def town(database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    """The CRM and the bank name one order; an order is paid by one payment."""
    async with open_town(database_url, tmp_path) as found:
        await found.change(settlement_key_from="order_id")
        async with found.world.working():
            yield found


@pytest.fixture
async def bank(town: Town) -> UUID:
    return await town.connect(name="Bank", settlement_key_from="order_id")


async def report(town: Town, source_id: UUID, external_id: str, amount: int, **changes: object) -> UUID:
    event = payment(external_id, amount, order_id="inv-1", **changes)
    intake = town.world.runtime.services.intake
    return (await intake.accept(town.world.merchant_id, source_id, event, "source", refuse=False)).event_id


EITHER = pytest.mark.parametrize("paid", ["crm_first", "bank_first"], indirect=True)


@pytest.fixture
async def paid(town: Town, bank: UUID, request: pytest.FixtureRequest) -> UUID:
    """One payment that both told; the event that has the receipt."""
    order = [(town.source_id, "c-1"), (bank, "b-1")]
    told = [
        await report(town, *one, PAID)
        for one in (order if getattr(request, "param", "crm_first") == "crm_first" else order[::-1])
    ]
    await town.world.status(told[0], "fiscalized")
    return told[0]


async def from_crm(town: Town, name: str, amount: int) -> UUID:
    what = {"type": EventType.REFUND_SUCCEEDED, "payment_id": "c-1", "items": ()}
    return await report(town, town.source_id, name, amount, **what)


async def from_bank(town: Town, bank: UUID, left: int) -> UUID:
    what = {"type": EventType.REFUND_SUCCEEDED, "payment_id": "b-1", "items": (), "left_after": left}
    return await report(town, bank, f"b-1:left:{left}", 0, **what)


async def settled(town: Town, event_id: UUID, status: str) -> None:
    await town.until("SELECT status FROM events WHERE id = :e", status, e=event_id)


async def returned(town: Town) -> list[int]:
    await town.world.idle()
    return sorted(one["total"] for one in await town.world.tape() if one["operation"] == "sell_refund")


@EITHER
async def test_the_crm_first_then_the_bank(town: Town, bank: UUID, paid: UUID) -> None:
    await town.world.status(await from_crm(town, "cr-1", 500_00), "fiscalized")
    level = await from_bank(town, bank, 1490_00)
    await settled(town, level, "ignored")
    # A second true refund of the same sum.
    await town.world.status(await from_crm(town, "cr-2", 500_00), "fiscalized")
    await settled(town, await from_bank(town, bank, 990_00), "ignored")
    assert await returned(town) == [500_00, 500_00]


@EITHER
async def test_the_bank_first_then_the_crm(town: Town, bank: UUID, paid: UUID) -> None:
    level = await from_bank(town, bank, 1490_00)
    await town.world.status(level, "fiscalized")
    again = await from_crm(town, "cr-1", 500_00)
    await settled(town, again, "linked")
    assert await town.scalar("SELECT linked_to FROM events WHERE id = :e", e=again) == level
    assert await town.scalar("SELECT amount FROM events WHERE id = :e", e=level) == 500_00
    await town.world.status(await from_bank(town, bank, 990_00), "fiscalized")
    await settled(town, await from_crm(town, "cr-2", 500_00), "linked")
    assert await returned(town) == [500_00, 500_00]


async def test_now_the_one_and_now_the_other_first(town: Town, bank: UUID, paid: UUID) -> None:
    await town.world.status(await from_bank(town, bank, 1690_00), "fiscalized")
    await settled(town, await from_crm(town, "cr-1", 300_00), "linked")
    await town.world.status(await from_crm(town, "cr-2", 300_00), "fiscalized")
    await settled(town, await from_bank(town, bank, 1390_00), "ignored")
    await town.world.status(await from_bank(town, bank, 1290_00), "fiscalized")
    await settled(town, await from_crm(town, "cr-3", 100_00), "linked")
    assert await returned(town) == [100_00, 300_00, 300_00]


async def test_both_at_once_are_returned_once(town: Town, bank: UUID, paid: UUID) -> None:
    for number in range(3):
        async with asyncio.TaskGroup() as group:
            group.create_task(from_bank(town, bank, PAID - 100_00 * (number + 1)))
            group.create_task(from_crm(town, f"cr-{number}", 100_00))
        await town.world.idle()
        # Where each saw the other on its way, both wait, and the sweep plans the one after the other.
        await town.until("SELECT count(*) FROM events WHERE status IN ('received', 'held')", 0)
    assert await returned(town) == [100_00, 100_00, 100_00]


async def test_the_rest_goes_back_whoever_told_a_part(town: Town, bank: UUID, paid: UUID) -> None:
    await town.world.status(await from_crm(town, "cr-1", 500_00), "fiscalized")
    await town.world.status(await from_bank(town, bank, 0), "fiscalized")
    await settled(town, await from_crm(town, "cr-2", 1490_00), "linked")
    assert await returned(town) == [500_00, 1490_00]


async def test_a_step_that_another_told_in_part_waits_and_goes_on_when_it_is_clear(
    town: Town, bank: UUID, paid: UUID
) -> None:
    await town.world.status(await from_crm(town, "cr-1", 300_00), "fiscalized")
    second = await from_bank(town, bank, 1490_00)
    held = await town.world.status(second, "held")
    assert (held.failure or {})["code"] == "refund_unclear"
    assert await returned(town) == [300_00]
    await settled(town, await from_bank(town, bank, 1690_00), "ignored")
    await town.world.status(second, "fiscalized")
    await settled(town, await from_crm(town, "cr-2", 200_00), "linked")
    assert await returned(town) == [200_00, 300_00]


async def test_a_hold_that_turns_out_to_be_told_already_is_given_up(town: Town, bank: UUID, paid: UUID) -> None:
    await town.world.status(await from_crm(town, "cr-1", 300_00), "fiscalized")
    second = await from_bank(town, bank, 1490_00)
    await town.world.status(second, "held")
    await town.world.status(await from_crm(town, "cr-2", 200_00), "fiscalized")
    await town.world.status(second, "cancelled")
    await settled(town, second, "ignored")
    assert await returned(town) == [200_00, 300_00]


@pytest.mark.parametrize(("answer", "back"), [("other_money", [300_00, 500_00]), ("made_elsewhere", [500_00])])
async def test_a_crms_other_sum_after_the_bank_is_asked(
    town: Town, bank: UUID, paid: UUID, answer: str, back: list[int]
) -> None:
    await town.world.status(await from_bank(town, bank, 1490_00), "fiscalized")
    other = await from_crm(town, "cr-1", 300_00)
    held = await town.world.status(other, "held")
    assert (held.failure or {})["code"] == "refund_unclear"
    assert await returned(town) == [500_00]
    await decide(town, other, answer)
    await town.world.status(other, "fiscalized" if answer == "other_money" else "cancelled")
    assert await returned(town) == back


async def test_a_person_says_that_the_banks_refund_is_other_money(town: Town, bank: UUID, paid: UUID) -> None:
    await town.world.status(await from_crm(town, "cr-1", 300_00), "fiscalized")
    level = await from_bank(town, bank, 1490_00)
    await town.world.status(level, "held")
    await decide(town, level, "other_money")
    await town.world.status(level, "fiscalized")
    assert await returned(town) == [300_00, 500_00]


async def decide(town: Town, event_id: UUID, answer: str) -> None:
    world = town.world
    row = await world.receipt(event_id)
    actions = world.runtime.services.actions
    await actions.resolve(world.principal, world.merchant_id, row.id, answer, row.sequence, "compared", None)
