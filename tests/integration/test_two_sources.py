"""The same money reported by two sources is one receipt; both histories tell of it, what contradicts asks a person."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.domain.errors import Conflict
from app.domain.event import EventType
from app.domain.receipt import Customer
from tests.support.sources import Town, open_town
from tests.support.world import payment


@pytest.fixture
async def town(database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    """The town's CRM names the acquirer's payment in `metadata.acquirer_id`; the acquirer is a second source."""
    async with open_town(database_url, tmp_path) as found:
        await found.change(settlement_key_from="metadata.acquirer_id")
        yield found


@pytest.fixture
async def acquirer(town: Town) -> UUID:
    return await town.connect(name="Acquirer", settlement_key_from="payment_id")


async def report(town: Town, source_id: UUID, external_id: str, amount: int = 100_00, **changes: Any) -> UUID:
    intake = town.world.runtime.services.intake
    event = payment(external_id, amount, **changes)
    return (await intake.accept(town.world.merchant_id, source_id, event, "source", refuse=False)).event_id


async def crm(town: Town, external_id: str, acquirer_id: str, amount: int = 100_00, **changes: Any) -> UUID:
    changes = {"metadata": {"acquirer_id": acquirer_id}, **changes}
    return await report(town, town.source_id, external_id, amount, **changes)


async def refund(town: Town, source_id: UUID, external_id: str, payment_id: str, amount: int, **changes: Any) -> UUID:
    changes = {"type": EventType.REFUND_SUCCEEDED, "payment_id": payment_id, "items": (), **changes}
    return await report(town, source_id, external_id, amount, **changes)


async def status(town: Town, event_id: UUID) -> str:
    found: str = await town.scalar("SELECT status FROM events WHERE id = :e", e=event_id)
    return found


async def lines(town: Town, event_id: UUID) -> dict[str, dict[str, Any]]:
    found = await town.query("SELECT what, data FROM timeline WHERE event_id = :e AND receipt_id IS NULL", e=event_id)
    return {row.what: row.data for row in found}


async def decide(town: Town, event_id: UUID, answer: str) -> None:
    world = town.world
    receipt = await world.receipt(event_id)
    await world.runtime.services.actions.resolve(
        world.principal, world.merchant_id, receipt.id, answer, receipt.sequence, "compared in both cabinets", None
    )


@pytest.mark.parametrize("crm_first", [True, False])
async def test_the_second_report_is_linked_and_both_histories_say_so(
    town: Town, acquirer: UUID, crm_first: bool
) -> None:
    if crm_first:
        first, second = await crm(town, "c-1", "a-1"), await report(town, acquirer, "a-1")
    else:
        first, second = await report(town, acquirer, "a-1"), await crm(town, "c-1", "a-1")
    assert (await status(town, first), await status(town, second)) == ("planned", "linked")
    assert len(await town.world.receipts(first)) == 1
    assert await town.world.receipts(second) == []
    sources = [f"src_{one.hex}" for one in ((town.source_id, acquirer) if crm_first else (acquirer, town.source_id))]
    assert (await lines(town, second))["linked"]["first_event"] == f"evt_{first.hex}"
    assert (await lines(town, second))["linked"]["first_source"] == sources[0]
    again = (await lines(town, first))["reported_again"]
    assert again == {"event": f"evt_{second.hex}", "source": sources[1], "same_money": True, "amount": 100_00}
    shown = await town.world.runtime.services.reads.event(town.world.merchant_id, second, masked=True)
    assert shown["linked_to"] == f"evt_{first.hex}"


async def test_both_at_the_same_moment_are_one_receipt(town: Town, acquirer: UUID) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(crm(town, f"c-{number}", f"a-{number}"))
            group.create_task(report(town, acquirer, f"a-{number}"))
    assert await town.scalar("SELECT count(*) FROM receipts") == 20
    assert await town.scalar("SELECT count(*) FROM events WHERE status = 'linked' AND linked_to IS NOT NULL") == 20


async def test_another_amount_is_held_and_alarmed_about(town: Town, acquirer: UUID) -> None:
    first = await report(town, acquirer, "a-1", 100_00)
    second = await crm(town, "c-1", "a-1", 99_00)
    async with town.world.working():
        await town.world.status(first, "fiscalized")
        held = await town.world.status(second, "held")
        # Whatever plans held payments again does not print it.
        await town.change(name="Renamed")
        await town.until("SELECT count(*) FROM jobs WHERE kind = 4", 0)
        assert (await town.world.receipt(second)).status == "held"
    assert held.failure is not None
    assert held.failure["code"] == "settlement_conflict"
    assert held.failure["first_event"] == f"evt_{first.hex}"
    assert held.failure["first_amount"] == 100_00
    assert await town.scalar("SELECT code FROM alarms") == "settlement_conflict"
    assert (await lines(town, first))["reported_again"]["same_money"] is False
    assert await town.scalar("SELECT count(*) FROM messages WHERE type = 'receipt.held'") == 1
    assert await town.scalar("SELECT count(*) FROM messages WHERE type = 'event.alarm'") == 1
    with pytest.raises(Conflict, match="other_money"):
        await town.world.runtime.services.actions.retry(town.world.principal, town.world.merchant_id, held.id)


@pytest.mark.parametrize(("answer", "end"), [("other_money", "fiscalized"), ("made_elsewhere", "cancelled")])
async def test_a_person_says_whether_it_is_other_money(town: Town, acquirer: UUID, answer: str, end: str) -> None:
    await report(town, acquirer, "a-1", 100_00)
    second = await crm(town, "c-1", "a-1", 99_00)
    async with town.world.working():
        await town.world.status(second, "held")
        with pytest.raises(Conflict):
            await decide(town, second, "send_again")
        await decide(town, second, answer)
        await town.world.status(second, end)


async def test_other_money_is_no_answer_to_anything_else(town: Town) -> None:
    event_id = await town.world.pay(customer=Customer())
    with pytest.raises(Conflict):
        await decide(town, event_id, "other_money")


async def test_two_payments_of_one_source_are_never_the_same_money(town: Town, acquirer: UUID) -> None:
    await town.change(acquirer, settlement_key_from="order_id")
    await town.change(settlement_key_from="order_id")
    first = await report(town, acquirer, "a-1", order_id="A")
    second = await report(town, acquirer, "a-2", order_id="A")
    third = await crm(town, "c-1", "-", order_id="A")
    fourth = await crm(town, "c-2", "-", order_id="A")
    async with town.world.working():
        await town.world.status(second, "held")
        await town.world.status(fourth, "held")
        await town.world.status(first, "fiscalized")
    assert await status(town, third) == "linked"


async def test_the_built_in_source_speaks_for_many(town: Town) -> None:
    first, second = [await town.world.pay(name, settlement_key="k") for name in ("p-1", "p-2")]
    assert (await status(town, first), await status(town, second)) == ("planned", "linked")


async def test_parts_that_two_sources_return_meet_by_sum_and_order(town: Town, acquirer: UUID) -> None:
    first = await report(town, acquirer, "a-1", 100_00)
    await crm(town, "c-1", "a-1", 100_00)
    named = {"metadata": {"acquirer_id": "a-1"}}
    made = [
        await refund(town, acquirer, "ar-1", "a-1", 30_00),
        await refund(town, town.source_id, "cr-1", "c-1", 30_00, **named),
        await refund(town, town.source_id, "cr-2", "c-1", 30_00, **named),
        await refund(town, acquirer, "ar-2", "a-1", 30_00),
        await refund(town, acquirer, "ar-3", "a-1", 15_00),
    ]
    repeated = await refund(town, acquirer, "ar-1", "a-1", 30_00)
    assert repeated == made[0]
    assert [await status(town, one) for one in (made[1], made[3])] == ["linked", "linked"]
    async with town.world.working():
        for one in (first, made[0], made[2], made[4]):
            await town.world.status(one, "fiscalized")
    assert await town.scalar("SELECT sum(total) FROM receipts WHERE operation = 'sell_refund'") == 75_00


async def test_a_source_without_a_key_for_an_event_says_nothing_of_it(town: Town, acquirer: UUID) -> None:
    await town.change(acquirer, settlement_key_from="none")
    assert await status(town, await crm(town, "c-1", "a-1", metadata={})) == "planned"
    assert await status(town, await report(town, acquirer, "a-1", settlement_key="k")) == "planned"
    assert await town.scalar("SELECT count(*) FROM settlement_keys") == 0


async def test_what_the_acquirer_prints_itself_is_not_printed_for_the_crm(town: Town, acquirer: UUID) -> None:
    await town.change(acquirer, acquirer_fiscalizes=True)
    assert await status(town, await report(town, acquirer, "a-1")) == "ignored"
    assert await status(town, await crm(town, "c-1", "a-1")) == "linked"
    assert await town.scalar("SELECT count(*) FROM receipts") == 0
    # A test of the acquirer stands for no money.
    assert await status(town, await report(town, acquirer, "a-2", test=True)) == "ignored"
    assert await status(town, await crm(town, "c-2", "a-2")) == "planned"


async def test_what_was_printed_here_and_there_is_alarmed_about(town: Town, acquirer: UUID) -> None:
    await town.change(acquirer, acquirer_fiscalizes=True)
    await crm(town, "c-1", "a-1")
    async with town.world.working():
        assert await status(town, await report(town, acquirer, "a-1")) == "ignored"
        await town.until("SELECT code FROM alarms", "fiscalized_twice")


async def test_a_key_from_before_whose_event_is_gone_links_nothing(town: Town, acquirer: UUID) -> None:
    async with town.world.runtime.database.pipeline() as tx:
        await tx.execute(
            text(
                "INSERT INTO settlement_keys (merchant_id, type, settlement_key, event_id) "
                "VALUES (:m, 'payment.succeeded', 'a-1', kassa_uuid7())"
            ),
            {"m": town.world.merchant_id},
        )
    second = await crm(town, "c-1", "a-1")
    async with town.world.working():
        await town.world.status(second, "held")
