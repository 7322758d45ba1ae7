"""Returns of a source that names no sale: of a known order from that order's sale, else by their own lines, once."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.domain.event import EventItem, EventPayment, EventType
from app.domain.money import parse_quantity
from tests.support.world import World, open_world, payment


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path) as opened:
        yield opened


async def given_back(world: World, external_id: str, amount: int, **changes: Any) -> UUID:
    line = EventItem(
        name=changes.pop("name", "Чайник"),
        quantity=parse_quantity("1"),
        price=amount,
        amount=amount,
        vat=changes.pop("vat", "vat22"),
        payment_method=changes.pop("method", "full_payment"),
        payment_object="commodity",
    )
    given: dict[str, Any] = {"items": (line,), "items_origin": "event", "stands_alone": True, **changes}
    event = payment(external_id, amount, type=EventType.REFUND_SUCCEEDED, **given)
    answer = await world.runtime.services.intake.accept(world.merchant_id, world.source_id, event, "test")
    return answer.event_id


async def done(world: World) -> None:
    async with world.working():
        await world.idle(60)


async def printed(world: World) -> list[tuple[str, int]]:
    return [(one["operation"], one["total"]) for one in await world.tape()]


async def test_its_own_lines_are_returned_and_printed_once(world: World) -> None:
    paid = (EventPayment("cash", 700_00),)
    event = await given_back(world, "check|portal|1", 700_00, payments=paid)
    again = await given_back(world, "check|portal|1", 700_00, payments=paid)
    other = await given_back(world, "check|portal|2", 700_00, method="full_prepayment", vat="vat122")
    await done(world)
    assert event == again
    assert await printed(world) == [("sell_refund", 700_00)] * 2
    receipt = await world.receipt(event)
    assert receipt.document is not None
    assert receipt.document["payments"] == [{"kind": "cash", "amount": 700_00}]
    (line,) = receipt.document["items"]
    assert (line["name"], line["vat"], line["payment_method"]) == ("Чайник", "vat22", "full_payment")
    (line,) = (await world.receipt(other)).document["items"]
    assert (line["vat"], line["payment_method"]) == ("vat122", "full_prepayment")


async def test_a_rate_that_has_ended_is_returned_as_it_was_sold(world: World) -> None:
    event = await given_back(world, "check|portal|1", 700_00, vat="vat20")
    await done(world)
    (line,) = (await world.receipt(event)).document["items"]
    assert line["vat"] == "vat20"
    assert await printed(world) == [("sell_refund", 700_00)]


async def test_the_sale_of_its_order_answers_for_it(world: World) -> None:
    await world.pay("check|portal|1", 1000_00, order_id="42")
    await done(world)
    first = await given_back(world, "check|portal|2", 600_00, name="Абонемент", order_id="42")
    await done(world)
    second = await given_back(world, "check|portal|3", 600_00, name="Абонемент", order_id="42")
    await done(world)
    assert (await world.receipt(first)).status == "fiscalized"
    held = await world.receipt(second)
    assert (held.status, (held.failure or {})["code"]) == ("held", "refund_exceeds_payment")
    (line,) = (await world.receipt(first)).document["items"]
    assert line["vat"] == "none"
    assert await printed(world) == [("sell", 1000_00), ("sell_refund", 600_00)]


async def test_of_an_order_with_several_payments_the_latest_with_enough_left_answers(world: World) -> None:
    await world.pay("check|portal|1", 1000_00, order_id="42")
    await done(world)
    second = await world.pay("check|portal|2", 1000_00, order_id="42")
    await done(world)
    event = await given_back(world, "check|portal|3", 600_00, name="Абонемент", order_id="42")
    await done(world)
    assert await printed(world) == [("sell", 1000_00)] * 2 + [("sell_refund", 600_00)]
    assert (await world.receipt(event)).chain_id == (await world.receipt(second)).chain_id


async def test_an_order_that_was_never_reported_leaves_its_own_lines(world: World) -> None:
    await given_back(world, "check|portal|1", 700_00, order_id="never reported")
    await done(world)
    assert await printed(world) == [("sell_refund", 700_00)]


@pytest.mark.parametrize("changes", [{"stands_alone": None}, {"items": ()}])
async def test_what_does_not_stand_alone_waits_for_its_sale(world: World, changes: dict[str, Any]) -> None:
    event = await given_back(world, "check|portal|1", 700_00, **changes)
    await done(world)
    held = await world.receipt(event)
    assert held.operation == "sell_refund"
    assert (held.status, (held.failure or {})["code"]) == ("held", "payment_unknown")
    assert await printed(world) == []


async def test_a_return_that_contradicts_itself_is_held_with_its_findings(world: World) -> None:
    event = await given_back(world, "check|portal|1", 700_00, payments=(EventPayment("cash", 1_00),))
    await done(world)
    held = await world.receipt(event)
    assert (held.status, (held.failure or {})["code"]) == ("held", "data_missing")
    assert await printed(world) == []


async def test_what_waits_for_a_setting_goes_on_when_it_is_there(world: World) -> None:
    event = await given_back(world, "check|portal|1", 700_00, branch="north")
    await done(world)
    held = await world.receipt(event)
    assert (held.status, (held.failure or {})["code"]) == ("held", "kassa_missing")
    await world.runtime.services.merchants.create_branch(
        "test", world.merchant_id, name="North", external_id="north", kassa_id=world.kassa_id
    )
    await done(world)
    assert (await world.receipt(event)).status == "fiscalized"
    assert await printed(world) == [("sell_refund", 700_00)]


async def test_a_named_payment_wins_over_its_own_lines(world: World) -> None:
    await world.pay("p-1", 1000_00)
    await done(world)
    event = await given_back(world, "check|portal|1", 600_00, name="Абонемент", payment_id="p-1")
    await done(world)
    receipt = await world.receipt(event)
    assert receipt.status == "fiscalized"
    (line,) = receipt.document["items"]
    assert line["vat"] == "none"
