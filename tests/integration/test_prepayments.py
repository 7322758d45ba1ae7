"""Prepayments, their closings and refunds through the API, judged by the simulator's tape and the ledger's own sums."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.db.tables import PREPAID_SALE
from app.domain.lessons import lesson_amounts
from app.services.prepayments import PrepaymentSearch
from tests.support.shop import BUYER, Json, Shop, open_shop
from tests.support.world import new_kassa


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_shop(database_url, tmp_path) as found:
        yield found


async def lessons(shop: Shop, given: int) -> list[Json]:
    await shop.pay("pack", 10_000_00, order_id="pupil-7")
    parts = lesson_amounts(10_000_00, 12)[:given]
    return [
        await shop.close(f"lesson-{number}", part, f"Занятие {number}", payment_id="pack", order_id="pupil-7")
        for number, part in enumerate(parts, start=1)
    ]


async def test_a_lesson_pack_twelve_sold_eight_given_four_returned(shop: Shop) -> None:
    closings = await lessons(shop, 8)
    await shop.done()
    assert await shop.sums(order_id="pupil-7") == (10_000_00, 6666_66, 0, 3333_34)
    back = await shop.refund("back", 3333_34, payment_id="pack")
    await shop.done()
    assert (await shop.printed())[:4] == [("sell", 10_000_00), ("sell", 833_33), ("sell", 833_33), ("sell", 833_34)]
    assert (await shop.printed())[-1] == ("sell_refund", 3333_34)
    assert len(await shop.printed()) == 10
    first = await shop.receipt(closings[0])
    assert [(one["name"], one["payment_method"], one["payment_object"]) for one in first["items"]] == [
        ("Занятие 1", "full_payment", "service")
    ]
    assert first["payments"] == [{"type": "prepaid", "amount": 833_33}]
    refund = await shop.receipt(back)
    assert refund["items"][0]["payment_method"] == "full_prepayment"
    assert refund["payments"] == [{"type": "electronic", "amount": 3333_34}]
    assert await shop.sums(order_id="pupil-7") == (10_000_00, 6666_66, 3333_34, 0)
    assert await shop.ledger(open=True) == []
    (row,) = await shop.ledger(order_id="pupil-7")
    assert (len(row["closed_by"]), row["returned_by"]) == (8, [refund["id"]])
    too_late = await shop.close("lesson-9", 1, payment_id="pack")
    await shop.done()
    assert (await shop.receipt(too_late))["failure"]["code"] == "settlement_exceeds_prepayment"


async def test_a_lesson_pack_recalculated_keeps_what_it_closes(shop: Shop) -> None:
    """The school returns only 2,000.00: the kept 1,333.34 has a closing of its own. A chargeback is the same refund."""
    await lessons(shop, 8)
    await shop.done()
    await shop.refund("back", 2000_00, payment_id="pack")
    await shop.done()
    await shop.close("recalculated", 1333_34, "Перерасчёт занятий", payment_id="pack")
    await shop.done()
    assert (await shop.printed())[-2:] == [("sell_refund", 2000_00), ("sell", 1333_34)]
    assert await shop.sums(order_id="pupil-7") == (10_000_00, 8000_00, 2000_00, 0)


async def test_fifty_refunds_at_once_never_return_more_than_was_sold(shop: Shop) -> None:
    lines = [
        {"name": "Кружка", "quantity": "3", "price": 333_33, "amount": 999_99, "vat": "none"},
        {"name": "Ложка", "quantity": "1", "price": 500_00, "amount": 500_00, "vat": "none", "discount": 50_00},
    ]
    coupon = [{"type": "coupon", "amount": 200_00, "name": "ЛЕТО"}]
    sale = await shop.pay("p-1", 1249_99, items=lines, delivered=True, discounts=coupon)
    sold: dict[str, int] = {}
    for item in sale["receipts"][0]["items"]:
        sold[item["name"]] = sold.get(item["name"], 0) + item["amount"]
    assert sold == {"Кружка": 862_06, "Ложка": 387_93}
    path = f"/v1/receipts/{sale['receipts'][0]['id']}/refund"

    async def part(number: int) -> int:
        while True:
            answer = await shop.api.post(path, json={"amount": 70_01}, headers={"Idempotency-Key": f"k-{number}"})
            # A busy database asks for the same request again; under its key it is the same refund.
            if answer.status_code != 503:
                return answer.status_code
            await asyncio.sleep(0.1)

    async with shop.world.working():
        answers = await asyncio.gather(*(part(number) for number in range(50)))
        await shop.world.idle(120)
    # Who asked when nothing was left any more was told so at once; the others were judged under the sale's lock.
    assert set(answers) <= {202, 422}
    refunds = [total for operation, total in await shop.printed() if operation == "sell_refund"]
    assert refunds == [70_01] * 17
    waiting = (await shop.api.get("/v1/receipts", params={"status": "held", "limit": 100})).json()["data"]
    assert {one["failure"]["code"] for one in waiting} <= {"refund_exceeds_payment"}
    assert len(waiting) == answers.count(202) - 17
    # A second sum that fills the sale takes exactly what is left of each line.
    rest = await shop.refund("rest", 1249_99 - 17 * 70_01, payment_id="p-1")
    await shop.done()
    returned: dict[str, int] = {}
    for one in (await shop.api.get("/v1/receipts", params={"operation": "sell_refund", "limit": 100})).json()["data"]:
        if one["status"] == "fiscalized":
            for item in one["items"]:
                returned[item["name"]] = returned.get(item["name"], 0) + item["amount"]
    assert returned == sold
    assert (await shop.receipt(rest))["status"] == "fiscalized"


def printed_elsewhere(**members: Any) -> Json:
    line = {
        "name": "Курс",
        "quantity": "2",
        "price": 500_00,
        "amount": 1000_00,
        "vat": "vat20",
        "payment_method": "full_payment",
    }
    return {
        "fn": "9960440300000001",
        "fd": 815,
        "fpd": "2718281828",
        "at": "2025-11-03T12:00:00+03:00",
        "items": [line],
        **members,
    }


async def test_a_sale_of_another_program_is_returned_to_exactly_zero(shop: Shop) -> None:
    first = await shop.refund("r-1", 400_00, original=printed_elsewhere(), customer=BUYER)
    await shop.done()
    second = await shop.refund("r-2", 600_00, original=printed_elsewhere(items=[]), customer=BUYER)
    await shop.done()
    third = await shop.refund("r-3", 1, original=printed_elsewhere(items=[]), customer=BUYER)
    other = printed_elsewhere()
    other["items"] = [{**other["items"][0], "name": "Другое"}]
    differs = await shop.refund("r-4", 1, original=other, customer=BUYER)
    unread = await shop.refund("r-5", 1, original=printed_elsewhere(fd=816, items=[]), customer=BUYER)
    await shop.done()
    assert await shop.printed() == [("sell_refund", 400_00), ("sell_refund", 600_00)]
    for event in (first, second):
        (line,) = (await shop.receipt(event))["items"]
        assert (line["vat"], line["payment_method"]) == ("vat20", "full_payment")
    assert (await shop.receipt(third))["failure"]["code"] == "refund_exceeds_payment"
    assert (await shop.receipt(differs))["failure"]["missing"][0]["pointer"] == "#/original/items"
    held = await shop.receipt(unread)
    assert held["failure"]["missing"][0]["field"] == "original"
    silent = printed_elsewhere(fd=816)
    del silent["items"][0]["vat"]
    told = await shop.api.patch(f"/v1/events/{unread['id']}", json={"original": silent})
    assert [one["pointer"] for one in told.json()["missing"]] == ["#/original/items/0/vat"]
    filled = await shop.api.patch(f"/v1/events/{unread['id']}", json={"original": printed_elsewhere(fd=816)})
    assert filled.json()["receipts"][0]["status"] == "queued"


async def test_a_document_of_ours_is_returned_as_ours(shop: Shop) -> None:
    sale = await shop.pay("p-1", 1000_00)
    await shop.done()
    fiscal = (await shop.receipt(sale))["fiscal"]
    ours = printed_elsewhere(fn=fiscal["fn"], fd=fiscal["fd"], fpd=fiscal["fpd"], items=[])
    back = await shop.refund("r-1", 300_00, original=ours)
    await shop.done()
    assert (await shop.receipt(back))["items"][0]["name"] == "Абонемент"
    assert await shop.sums(email="anna@example.org") == (1000_00, 0, 300_00, 700_00)


async def test_an_order_with_several_payments_and_several_shipments(shop: Shop) -> None:
    early = await shop.close("early", 100_00, "Шкаф", order_id="A-1")
    parts = {"payment_method": "prepayment"}
    for number, amount in ((1, 3660_00), (2, 8540_00)):
        line = {"name": "Шкаф", "quantity": "1", "price": amount, "amount": amount, "vat": "none", **parts}
        await shop.pay(f"p-{number}", amount, items=[line], order_id="A-1")
    await shop.pay("other", 500_00, order_id="A-2")
    await shop.done()
    # What came before its payments waited, and went on by itself.
    async with shop.world.working():
        await shop.world.until(lambda: _status(shop, early, "fiscalized"), 60)
    assert await shop.sums(order_id="A-1") == (12_200_00, 100_00, 0, 12_100_00)
    shipped = await shop.report("order.settled", "s-1", 9000_00, order_id="A-1")
    await shop.done()
    too_much = await shop.report("order.settled", "s-2", 3100_01, order_id="A-1")
    await shop.done()
    assert await shop.sums(order_id="A-1") == (12_200_00, 9100_00, 0, 3100_00)
    (line,) = (await shop.receipt(shipped))["items"]
    assert (line["name"], line["quantity"], line["amount"], line["payment_method"]) == (
        "Шкаф",
        "1",
        9000_00,
        "full_payment",
    )
    assert (await shop.receipt(too_much))["failure"]["limit"] == 3100_00
    assert [(one["payment_id"], one["open"]) for one in await shop.ledger(order_id="A-1", open=True)] == [
        ("p-2", 3100_00)
    ]
    back = await shop.refund("r-1", 4000_00, payment_id="p-2")
    await shop.done()
    assert [(one["payment_method"], one["amount"]) for one in (await shop.receipt(back))["items"]] == [
        ("prepayment", 3100_00),
        ("full_payment", 900_00),
    ]
    assert await shop.sums(order_id="A-1") == (12_200_00, 9100_00, 3100_00, 0)
    assert await shop.sums(order_id="A-2") == (500_00, 0, 0, 500_00)


async def _status(shop: Shop, event: Json, wanted: str) -> bool:
    return bool((await shop.receipt(event))["status"] == wanted)


async def test_a_refund_goes_to_the_kassa_that_sold(shop: Shop) -> None:
    world = shop.world
    services = world.runtime.services
    await shop.pay("p-1", 1000_00)
    await shop.done()
    second = await services.kassas.create(
        "test",
        world.merchant_id,
        new_kassa(
            world.simulator_url,
            name="Second",
            credentials={"actor_id": "1", "actor_token": "t", "c_group_id": 4322},
        ),
    )
    branch = await shop.api.post("/v1/branches", json={"name": "Вторая", "kassa": f"kas_{second.kassa.id.hex}"})
    assert branch.status_code == 201, branch.text
    refund = await shop.refund("r-1", 100_00, payment_id="p-1", branch=branch.json()["id"])
    await shop.done()
    assert (await shop.receipt(refund))["kassa_id"] == f"kas_{world.kassa_id.hex}"
    off = await shop.api.patch(f"/v1/kassas/kas_{world.kassa_id.hex}", json={"status": "off"})
    assert off.status_code == 200, off.text
    held = await shop.refund("r-2", 100_00, payment_id="p-1")
    await shop.done()
    failure = (await shop.receipt(held))["failure"]
    assert (failure["code"], failure["missing"][0]["pointer"]) == ("kassa_missing", "#/branch")
    told = await shop.api.patch(f"/v1/events/{held['id']}", json={"branch": branch.json()["id"]})
    assert told.json()["receipts"][0]["kassa_id"] == f"kas_{second.kassa.id.hex}"


async def test_old_prepayments_are_found_page_by_page_and_only_ones_own(shop: Shop) -> None:
    world = shop.world
    for number in range(3):
        await shop.pay(f"p-{number}", 1000_00)
    await shop.pay("given", 1000_00, delivered=True)
    await shop.close("l-0", 1000_00, payment_id="p-0")
    await shop.done()
    async with world.runtime.database.pipeline() as tx:
        await tx.execute(
            text("UPDATE receipts SET created_at = created_at - interval '31 days' WHERE external_id <> 'p-2'")
        )
    assert [one["payment_id"] for one in await shop.ledger(open=True)] == ["p-2", "p-1"]
    (old,) = await shop.ledger(open=True, older_than="30d")
    assert (old["payment_id"], old["age_days"], old["open"]) == ("p-1", 31, 1000_00)
    assert [one["payment_id"] for one in await shop.ledger(open=False)] == ["p-0"]
    first = (await shop.api.get("/v1/prepayments", params={"limit": 2})).json()
    rest = (await shop.api.get("/v1/prepayments", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [one["payment_id"] for one in [*first["data"], *rest["data"]]] == ["p-2", "p-1", "p-0"]
    assert (await shop.api.get("/v1/prepayments", params={"older_than": "a month"})).status_code == 422
    assert await shop.sums() == (3000_00, 1000_00, 0, 2000_00)
    stranger = await world.runtime.services.merchants.create("test", name="Другая", inn="7707083893")
    reads = world.runtime.services.prepayments
    assert await reads.page(stranger.id, PrepaymentSearch(), None, 10, masked=True) == []
    (shown, *_) = await reads.page(world.merchant_id, PrepaymentSearch(open=True), None, 10, masked=True)
    assert shown.view["customer"]["email"] == "a***@e***.org"
    async with world.runtime.database.pipeline() as tx:
        await tx.execute(text("SET LOCAL enable_seqscan = off"))
        plan = await tx.execute(
            text(
                "EXPLAIN SELECT id FROM receipts WHERE merchant_id = :m AND prepayment_closed IS false AND "
                + PREPAID_SALE
                + " ORDER BY created_at DESC, id DESC LIMIT 20"
            ),
            {"m": world.merchant_id},
        )
        assert "ix_receipts_prepaid" in "\n".join(plan.scalars())


async def test_a_balance_is_moved_to_a_sibling(shop: Shop) -> None:
    """Named lessons change hands as a return and a new prepayment; an advance was nobody's in particular."""
    await shop.pay("anna", 3000_00, "Абонемент, Анна", order_id="anna")
    await shop.refund("move-out", 1200_00, payment_id="anna")
    await shop.pay("move-in", 1200_00, "Абонемент, Пётр", order_id="pyotr")
    advance = {"payment_method": "advance", "payment_object": "payment", "vat": "none"}
    line = {"name": "Аванс за обучение", "quantity": "1", "price": 900_00, "amount": 900_00, **advance}
    await shop.pay("top-up", 900_00, items=[line], order_id="family")
    given = {"name": "Занятие, Пётр", "quantity": "1", "price": 900_00, "amount": 900_00, "payment_object": "service"}
    await shop.report("order.settled", "l-1", 900_00, payment_id="top-up", items=[given])
    await shop.done()
    assert sorted(await shop.printed()) == [
        ("sell", 900_00),
        ("sell", 900_00),
        ("sell", 1200_00),
        ("sell", 3000_00),
        ("sell_refund", 1200_00),
    ]
    assert await shop.sums(order_id="anna") == (3000_00, 0, 1200_00, 1800_00)
    assert await shop.sums(order_id="pyotr") == (1200_00, 0, 0, 1200_00)
    assert await shop.sums(order_id="family") == (900_00, 900_00, 0, 0)


async def test_a_lesson_given_in_debt_is_paid_later(shop: Shop) -> None:
    """And a trial lesson paid and given the same day is one receipt that leaves nothing open."""
    owed = {"name": "Занятие", "quantity": "1", "price": 500_00, "amount": 500_00, "vat": "none"}
    debt = await shop.report(
        "payment.succeeded",
        "debt",
        500_00,
        customer=BUYER,
        items=[{**owed, "payment_method": "credit"}],
        payments=[{"type": "credit", "amount": 500_00}],
    )
    paid = await shop.report(
        "payment.succeeded", "paid", 500_00, customer=BUYER, items=[{**owed, "payment_method": "credit_payment"}]
    )
    trial = await shop.pay("trial", 300_00, "Пробное занятие", delivered=True)
    await shop.done()
    methods = [(await shop.receipt(one))["items"][0]["payment_method"] for one in (debt, paid, trial)]
    assert methods == ["credit", "credit_payment", "full_payment"]
    assert await shop.ledger() == []


async def test_an_absence_that_was_charged_is_reversed(shop: Shop) -> None:
    """No money moves: the closing is undone by offset, and the lesson can be given again."""
    await shop.pay("pack", 1000_00)
    await shop.close("absence", 250_00, payment_id="pack")
    await shop.done()
    await shop.refund(
        "reversed",
        250_00,
        payment_id="pack",
        items=[{"name": "Занятие", "quantity": "1", "price": 250_00, "amount": 250_00}],
        payments=[{"type": "prepaid", "amount": 250_00}],
    )
    await shop.done()
    (row,) = await shop.ledger()
    assert (row["closed"], row["returned"], row["open"], row["returned_later"]) == (0, 0, 1000_00, 0)
    await shop.close("again", 1000_00, payment_id="pack")
    await shop.done()
    assert (await shop.printed())[1:] == [("sell", 250_00), ("sell_refund", 250_00), ("sell", 1000_00)]
    assert await shop.sums(email="anna@example.org") == (1000_00, 1000_00, 0, 0)


async def test_two_pupils_in_one_payment_are_closed_each_by_name(shop: Shop) -> None:
    lines = [
        {"name": f"Абонемент, {who}", "sku": who, "quantity": "1", "price": 600_00, "amount": 600_00, "vat": "none"}
        for who in ("Анна", "Пётр")
    ]
    await shop.pay("family", 1200_00, items=lines)
    lesson = {"name": "Занятие, Пётр", "sku": "Пётр", "quantity": "1", "price": 150_00, "amount": 150_00}
    await shop.report("order.settled", "l-1", 150_00, payment_id="family", items=[lesson])
    # A lower price after the sale goes back on the line that it is about.
    less = {"name": "Абонемент, Анна", "sku": "Анна", "quantity": "1", "price": 100_00, "amount": 100_00}
    cheaper = await shop.refund("cheaper", 100_00, payment_id="family", items=[less])
    await shop.done()
    (line,) = (await shop.receipt(cheaper))["items"]
    assert (line["name"], line["payment_method"]) == ("Абонемент, Анна", "full_prepayment")
    assert await shop.sums(email="anna@example.org") == (1200_00, 150_00, 100_00, 950_00)


async def test_money_is_printed_once_and_gross_by_who_took_it(shop: Shop) -> None:
    """A loan is paid by the bank at once; a payout net of commission and a bank statement are the same money again."""
    world = shop.world
    loan = await shop.pay("crm-1", 24_000_00, settlement_key="payment-77")
    again = await shop.pay("statement-1", 24_000_00, settlement_key="payment-77")
    await shop.done()
    assert await shop.printed() == [("sell", 24_000_00)]
    assert (await shop.receipt(loan))["payments"] == [{"type": "electronic", "amount": 24_000_00}]
    seen = (await shop.api.get(f"/v1/events/{again['id']}")).json()
    assert (seen["status"], seen["linked_to"]) == ("linked", loan["id"])
    async with world.runtime.database.pipeline() as tx:
        await tx.execute(text("UPDATE sources SET acquirer_fiscalizes = true"))
    world.runtime.services.catalog.forget(world.merchant_id)
    platform = await shop.pay("platform-1", 500_00)
    assert (platform["status"], platform["receipts"]) == ("ignored", [])


async def test_a_refund_that_names_only_its_order_returns_the_latest_payment_with_enough_left(shop: Shop) -> None:
    await shop.pay("old", 5000_00, order_id="pupil-7")
    await shop.done()
    await shop.pay("new", 1000_00, order_id="pupil-7")
    await shop.pay("another", 9000_00, order_id="pupil-8")
    await shop.done()
    small = await shop.refund("r-1", 700_00, order_id="pupil-7")
    await shop.done()
    large = await shop.refund("r-2", 700_00, order_id="pupil-7")
    await shop.done()
    assert [(await shop.receipt(one))["status"] for one in (small, large)] == ["fiscalized"] * 2
    returned = {row["payment_id"]: row["returned"] for row in await shop.ledger(order_id="pupil-7")}
    assert returned == {"old": 700_00, "new": 700_00}
    timeline = (await shop.api.get(f"/v1/receipts/{(await shop.receipt(large))['id']}/timeline")).json()
    assert {"payment_id": "old", "matched_by": "order_id"} in [one.get("data") for one in timeline["data"]]


async def test_a_refund_of_an_order_is_never_split_and_goes_on_when_one_payment_is_enough(shop: Shop) -> None:
    await shop.pay("one", 600_00, order_id="pupil-7")
    await shop.pay("two", 600_00, order_id="pupil-7")
    await shop.done()
    back = await shop.refund("r-1", 1000_00, order_id="pupil-7")
    await shop.done()
    held = await shop.receipt(back)
    assert (held["status"], held["failure"]["code"]) == ("held", "refund_exceeds_payment")
    assert "600.00" in str(held["failure"])
    await shop.pay("three", 1000_00, order_id="pupil-7")
    async with shop.world.working():
        await shop.world.status(UUID(back["id"].removeprefix("evt_")), "fiscalized")
        await shop.world.idle(60)
    assert (await shop.printed()).count(("sell_refund", 1000_00)) == 1
    assert await shop.sums(order_id="pupil-7") == (2200_00, 0, 1000_00, 1200_00)


async def test_a_refund_of_an_order_nobody_paid_waits_for_its_payment(shop: Shop) -> None:
    back = await shop.refund("r-1", 100_00, order_id="pupil-7")
    await shop.done()
    assert (await shop.receipt(back))["failure"]["code"] == "payment_unknown"
    await shop.pay("late", 100_00, order_id="pupil-7")
    async with shop.world.working():
        await shop.world.status(UUID(back["id"].removeprefix("evt_")), "fiscalized")
        await shop.world.idle(60)
    assert await shop.printed() == [("sell", 100_00), ("sell_refund", 100_00)]


async def test_twenty_refunds_of_an_order_at_once_return_no_more_than_each_payment_has(shop: Shop) -> None:
    for number in range(3):
        await shop.pay(f"p-{number}", 1000_00, order_id="pupil-7")
    await shop.done()
    await asyncio.gather(*(shop.refund(f"r-{number}", 300_00, order_id="pupil-7") for number in range(20)))
    async with shop.world.working(2):
        await shop.world.idle(120)
    assert (await shop.printed()).count(("sell_refund", 300_00)) == 9
    assert {row["returned"] for row in await shop.ledger(order_id="pupil-7")} == {900_00}


async def test_what_was_given_is_drawn_from_an_advance_that_names_nothing(shop: Shop) -> None:
    for number in (1, 2):
        line = {
            "name": f"Аванс {number}",
            "quantity": "1",
            "price": 500_00,
            "amount": 500_00,
            "vat": "none",
            "payment_method": "advance",
            "payment_object": "payment",
        }
        await shop.pay(f"p-{number}", 500_00, items=[line], order_id="pupil-7")
    await shop.done()
    lesson = {"name": "Занятие", "quantity": "1", "price": 700_00, "amount": 700_00, "payment_object": "service"}
    closing = await shop.report("order.settled", "day-1", 700_00, items=[lesson], order_id="pupil-7")
    await shop.done()
    found = await shop.receipt(closing)
    assert (found["status"], found["items"][0]["name"]) == ("fiscalized", "Занятие")
    assert await shop.sums(order_id="pupil-7") == (1000_00, 700_00, 0, 300_00)
