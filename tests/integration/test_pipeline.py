"""From payment to receipt through the real driver, over real HTTP, with a real database; the tape is the judge."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from app.domain.errors import DuplicateEvent
from app.domain.event import EventItem
from app.domain.money import parse_quantity
from app.domain.receipt import Customer
from tests.support import rows
from tests.support.world import World, new_kassa, open_world


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path) as found:
        yield found


async def test_a_payment_becomes_one_receipt(world: World) -> None:
    event = await world.pay()
    assert (await world.receipt(event)).status == "queued"
    async with world.working():
        row = await world.status(event, "fiscalized")
    (document,) = await world.tape(row.provider_id)
    assert (row.fn, row.fd, row.fpd) == (document["fn"], document["fd"], str(document["fpd"]))
    assert document["total"] == row.total == 199_000
    assert row.sequence == 1
    assert await world.timeline(row.id) == ["planned", "marked", "fiscalized"]


async def test_the_same_payment_again_is_the_same_event(world: World) -> None:
    first = await world.pay("p-1")
    async with world.working():
        await world.status(first, "fiscalized")
        assert await world.pay("p-1") == first
        with pytest.raises(DuplicateEvent) as other:
            await world.pay("p-1", amount=1_00)
        await world.idle()
    assert other.value.facts == {"existing_id": f"evt_{first.hex}", "differs": ["amount", "items"]}
    assert "amount, items" in other.value.detail
    assert len(await world.tape()) == 1


async def test_fifty_presses_at_once_are_one_receipt(world: World) -> None:
    events = await asyncio.gather(*(world.pay("p-1", occurred_at=_noon()) for _ in range(50)))
    assert len(set(events)) == 1
    async with world.working(2):
        await world.status(events[0], "fiscalized")
        await world.idle()
    assert len(await world.tape()) == 1


async def test_a_lost_answer_is_looked_up_and_never_resent(world: World) -> None:
    await world.fault("drop_after", times=1)
    event = await world.pay()
    async with world.working():
        row = await world.status(event, "fiscalized")
    assert len(await world.tape()) == 1
    assert "unknown" in await world.timeline(row.id)


async def test_a_request_that_never_arrived_is_sent_again_under_the_same_id(world: World) -> None:
    """The register shows nothing: only after the visibility delay is it sent again."""
    await world.fault("drop_before", times=1)
    world.runtime.settings.freshness_seconds = 0.3
    event = await world.pay()
    before = (await world.receipt(event)).provider_id
    async with world.working():
        await world.until(lambda: _is(world, event, "unknown"))
        await rows.move_time(world.runtime.database, 120)
        row = await world.status(event, "fiscalized")
    assert row.provider_id == before
    assert (row.version, row.marks) == (1, 2)
    assert len(await world.tape()) == 1
    assert "not_found" in await world.timeline(row.id)


async def test_a_queued_receipt_is_polled(world: World) -> None:
    await world.fault("queue", times=1, params={"polls": 2})
    event = await world.pay()
    async with world.working():
        row = await world.status(event, "accepted")
        for _ in range(3):
            # A person does not wait for the schedule: the poll is made due now.
            await world.runtime.services.actions.retry(world.principal, world.merchant_id, row.id)
            await world.until(lambda: _polled(world))
        row = await world.status(event, "fiscalized")
    assert row.sequence == 2, "accepted and fiscalized are told"
    assert len(await world.tape()) == 1


async def test_a_refusal_is_final_and_says_who_acts(world: World) -> None:
    await world.fault(
        "refuse",
        times=1,
        params={"type": "UNAVAILABLE_VALUE", "path": "$.loc.billing_place", "desc": "Место недоступно"},
    )
    event = await world.pay()
    async with world.working():
        row = await world.status(event, "rejected")
    assert row.failure is not None
    assert row.failure["code"] == "place_not_registered"
    assert row.failure["who"] in ("operator", "merchant")
    assert await world.tape() == []


async def test_refused_credentials_pause_the_kassa_and_burn_no_attempt(world: World) -> None:
    await world.fault("unauthorized", times=None)
    events = [await world.pay() for _ in range(5)]
    async with world.working():
        await world.until(lambda: _paused(world))
        for event in events:
            await world.until(lambda event=event: _is(world, event, "queued"))
        await world.http.delete(f"{world.simulator_url}/faults")
        for event in events:
            await world.status(event, "fiscalized")
    assert len(await world.tape()) == 5
    told = "SELECT count(*) FROM messages WHERE type = :t"
    assert await rows.scalar(world.runtime.database, told, t="kassa.paused") == 1
    assert await rows.scalar(world.runtime.database, told, t="kassa.resumed") == 1


async def test_a_refund_waits_for_its_sale_and_follows_it(world: World) -> None:
    sale = await world.pay("p-1")
    refund = await world.refund("r-1", "p-1", 199_000)
    async with world.working():
        await world.status(refund, "fiscalized")
    documents = await world.tape()
    assert [d["operation"] for d in documents] == ["sell", "sell_refund"]
    assert (await world.receipt(sale)).status == "fiscalized"


async def test_a_refund_before_its_payment_is_held_and_released_by_it(world: World) -> None:
    refund = await world.refund("r-1", "p-1", 50_000)
    async with world.working():
        row = await world.status(refund, "held")
        assert row.failure is not None
        assert row.failure["code"] == "payment_unknown"
        await world.pay("p-1")
        await world.status(refund, "fiscalized")
    assert [(d["operation"], d["total"]) for d in await world.tape()] == [("sell", 199_000), ("sell_refund", 50_000)]


async def test_more_than_was_sold_is_never_refunded(world: World) -> None:
    await world.pay("p-1")
    first = await world.refund("r-1", "p-1", 150_000)
    second = await world.refund("r-2", "p-1", 100_000)
    async with world.working():
        states = sorted([(await world.status(e, "fiscalized", "held")).status for e in (first, second)])
    assert states == ["fiscalized", "held"]
    refunded = sum(d["total"] for d in await world.tape() if d["operation"] == "sell_refund")
    assert refunded <= 199_000


async def test_a_payment_without_contact_is_held_and_goes_on_when_filled(world: World) -> None:
    event = await world.pay(customer=Customer())
    row = await world.receipt(event)
    assert (row.status, row.sequence) == ("held", 1)
    assert row.failure is not None
    assert [m["field"] for m in row.failure["missing"]] == ["customer"]
    await world.runtime.services.actions.patch_receipt(
        world.principal, world.merchant_id, row.id, 1, {"customer": {"email": "anna@example.org"}}
    )
    async with world.working():
        await world.status(event, "fiscalized")
    assert len(await world.tape()) == 1


async def test_cancel_before_sending(world: World) -> None:
    event = await world.pay()
    row = await world.receipt(event)
    await world.runtime.services.actions.cancel(world.principal, world.merchant_id, row.id, "ошибка кассира")
    async with world.working():
        await world.idle()
    assert (await world.receipt(event)).status == "cancelled"
    assert await world.tape() == []


async def test_a_refund_of_a_cancelled_sale_is_held(world: World) -> None:
    sale = await world.pay("p-1")
    refund = await world.refund("r-1", "p-1", 199_000)
    row = await world.receipt(sale)
    await world.runtime.services.actions.cancel(world.principal, world.merchant_id, row.id, None)
    async with world.working():
        held = await world.status(refund, "held")
    assert held.failure is not None
    assert held.failure["code"] == "sale_not_fiscalized"
    assert await world.tape() == []


async def test_a_sale_and_two_refunds_at_the_same_moment(world: World) -> None:
    """From three clients, a hundred times: each sale once, its refunds after it, never above it, none held for ever."""

    async def buyer(n: int) -> None:
        amount = 10_000 + n
        await asyncio.gather(
            world.refund(f"a-{n}", f"p-{n}", 4_000),
            world.pay(f"p-{n}", amount=amount),
            world.refund(f"b-{n}", f"p-{n}", 6_000),
        )

    async with world.working(2):
        await asyncio.gather(*(buyer(n) for n in range(100)))
        await world.until(lambda: _all_done(world, 300), seconds=60)
        await world.idle()
    documents = await world.tape()
    assert len(documents) == 300
    refunds = [d["total"] for d in documents if d["operation"] == "sell_refund"]
    assert sorted(refunds) == [4_000] * 100 + [6_000] * 100
    assert sorted(d["total"] for d in documents if d["operation"] == "sell") == [10_000 + n for n in range(100)]
    order = await _printed_order(world)
    for chain, kinds in order.items():
        assert kinds[0] == "sell", chain
        assert kinds[1:] == ["sell_refund", "sell_refund"], chain


async def test_two_hundred_receipts_with_faults_are_two_hundred_documents(world: World) -> None:
    await world.http.post(
        f"{world.simulator_url}/faults",
        json={"mix": {"drop_after": 0.08, "error_after": 0.06, "half_body": 0.04, "rate_limited": 0.02}, "seed": 7},
    )
    events = await asyncio.gather(*(world.pay(f"p-{n}", amount=100 + n) for n in range(200)))
    async with world.working(2):
        for event in events:
            await world.status(event, "fiscalized", seconds=60)
        await world.idle()
    documents = await world.tape()
    assert len(documents) == 200
    assert sorted(d["total"] for d in documents) == [100 + n for n in range(200)]


async def _is(world: World, event: UUID, status: str) -> bool:
    return (await world.receipt(event)).status == status


async def _polled(world: World) -> bool:
    """Nothing is leased: the poll that was due has been answered."""
    leased = "SELECT count(*) FROM jobs WHERE lease_token IS NOT NULL OR run_at <= kassa_now()"
    return await rows.scalar(world.runtime.database, leased) == 0


async def _paused(world: World) -> bool:
    found = await rows.scalar(
        world.runtime.database, "SELECT paused_at IS NOT NULL FROM lanes WHERE id = :id", id=world.kassa_id
    )
    return bool(found)


def _noon() -> datetime:
    return datetime(2026, 11, 23, 9, tzinfo=UTC)


async def _all_done(world: World, number: int) -> bool:
    done = "SELECT count(*) FROM receipts WHERE status = 'fiscalized'"
    return await rows.scalar(world.runtime.database, done) == number


async def _printed_order(world: World) -> dict[UUID, list[str]]:
    """Kinds of documents by payment, in the order in which the register printed them."""
    async with world.runtime.database.pipeline() as tx:
        found = await tx.execute(text("SELECT chain_id, operation FROM receipts ORDER BY chain_id, fd"))
    order: dict[UUID, list[str]] = {}
    for chain, operation in found:
        order.setdefault(chain, []).append(operation)
    return order


async def test_a_held_payment_goes_on_by_itself_when_its_kassa_is_clear(world: World) -> None:
    line = EventItem(name="Абонемент", quantity=parse_quantity("1"), price=100, amount=100)
    kassas = world.runtime.services.kassas
    other = await kassas.create("test", world.merchant_id, new_kassa(world.simulator_url, name="Second"))
    event = await world.pay(amount=100, items=(line,))
    row = await world.receipt(event)
    assert row.failure is not None
    assert row.failure["code"] == "kassa_missing"
    async with world.working():
        await kassas.change("test", world.merchant_id, other.kassa.id, {"status": "off"})
        row = await world.status(event, "fiscalized")
    assert row.document is not None
    assert row.document["items"][0]["vat"] == "none", "from the kassa's defaults"


async def test_a_branch_that_nobody_knows_holds_the_payment_until_it_is_there(world: World) -> None:
    event = await world.pay(branch="north")
    row = await world.receipt(event)
    assert row.failure is not None
    assert row.failure["code"] == "kassa_missing"
    async with world.working():
        await world.runtime.services.merchants.create_branch(
            "test", world.merchant_id, name="Север", external_id="north", kassa_id=world.kassa_id
        )
        await world.status(event, "fiscalized")


async def test_our_own_slowness_does_not_pause_the_kassa(database_url: str, tmp_path: Path) -> None:
    """A mark that went stale was not sent; it says nothing of the provider."""
    async with open_world(database_url, tmp_path, freshness_seconds=1e-6) as world:
        await world.pay()
        async with world.working():
            await world.until(lambda: _tried(world, 5))
        assert await world.tape() == []
        told = "SELECT count(*) FROM messages WHERE type = 'kassa.paused'"
        assert await rows.scalar(world.runtime.database, told) == 0


async def _tried(world: World, times: int) -> bool:
    tried = await rows.scalar(world.runtime.database, "SELECT count(*) FROM attempts WHERE outcome = 'unavailable'")
    return isinstance(tried, int) and tried >= times
