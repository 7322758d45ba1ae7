"""Discounts, remarks, dry runs, offsets and bad input through the API of the whole program."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support import rows
from tests.support.shop import BUYER, Json, Shop, open_shop
from tests.support.world import new_kassa

LINE: Json = {"name": "Кружка «Лето»", "quantity": "1", "price": 1000_00, "amount": 1000_00, "vat": "none"}
PAYMENT: Json = {
    "type": "payment.succeeded",
    "external_id": "p-1",
    "amount": 1000_00,
    "customer": BUYER,
    "items": [LINE],
    "delivered": True,
}


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_shop(database_url, tmp_path) as found:
        yield found


async def stored(shop: Shop) -> int:
    """Rows of everything that a request may leave behind."""
    tables = ("events", "event_identities", "receipts", "jobs", "chains", "idempotency_keys", "messages")
    return sum([await rows.scalar(shop.world.runtime.database, f"SELECT count(*) FROM {one}") for one in tables])


async def test_discounts_are_told_wherever_the_receipt_is(shop: Shop) -> None:
    event = await shop.report(
        "payment.succeeded",
        "p-1",
        2299_79,
        customer=BUYER,
        delivered=True,
        items=[
            {"name": "Кружка", "quantity": "3", "price": 333_33, "amount": 999_99, "vat": "none"},
            {"name": "Чайник", "quantity": "1", "price": 1500_00, "amount": 1500_00, "vat": "none"},
            {"name": "Ложка", "quantity": "2", "price": 49_90, "amount": 99_80, "vat": "none"},
            {"name": "Доставка", "quantity": "1", "price": 350_00, "amount": 350_00, "discount": 350_00, "vat": "none"},
        ],
        discounts=[{"type": "coupon", "amount": 200_00, "name": "ЛЕТО"}, {"type": "bonus", "amount": 100_00}],
    )
    (receipt,) = event["receipts"]
    assert [(one["name"], one["quantity"], one["price"], one["amount"]) for one in receipt["items"]] == [
        ("Кружка", "1", 294_86, 294_86),
        ("Кружка", "2", 294_87, 589_74),
        ("Чайник", "1", 1326_91, 1326_91),
        ("Ложка", "2", 44_14, 88_28),
    ]
    told = receipt["adjustments"]
    assert [(one["line"], one["full"], one["amount"], one["items"], one["change"]) for one in told] == [
        (0, 999_99, 884_60, [0, 1], "line_split"),
        (1, 1500_00, 1326_91, [2], None),
        (2, 99_80, 88_28, [3], None),
        (3, 350_00, 0, [], "free_line_dropped"),
    ]
    assert all(one["full"] - sum(part["amount"] for part in one["taken"]) == one["amount"] for one in told)
    taken = {(part["reason"], part["name"]): 0 for one in told for part in one["taken"]}
    for one in told:
        for part in one["taken"]:
            taken[part["reason"], part["name"]] += part["amount"]
    assert taken == {("coupon", "ЛЕТО"): 200_00, ("bonus", None): 100_00, ("line_discount", None): 350_00}
    assert {one["code"] for one in receipt["remarks"]} == {"line_split", "free_line_dropped"}
    assert {one["severity"] for one in receipt["remarks"]} == {"fixed"}

    here = f"/v1/receipts/{receipt['id']}"
    explained = (await shop.api.get(f"{here}/explain")).json()
    assert (explained["adjustments"], explained["remarks"]) == (told, receipt["remarks"])
    lines = (await shop.api.get(f"{here}/timeline")).json()["data"]
    planned = next(one for one in lines if (one["what"], one["status"]) == ("planned", "queued"))
    assert planned["data"]["adjustments"] == told
    assert planned["data"]["remarks"] == receipt["remarks"]
    await shop.done()
    assert await shop.printed() == [("sell", 2299_79)]
    page = (await shop.api.get(f"{here}/view", headers={"Accept": "text/html"})).text.replace("\u00a0", " ")
    assert "«Кружка»: до скидок 999,99, учтено: купон ЛЕТО 76,93, бонусы 38,46, в чеке 884,60" in page
    assert "«Доставка»: ничего не стоит (скидка на строку 350,00), в чек не включено." in page


async def test_warnings_are_kept_and_come_first(shop: Shop) -> None:
    event = await shop.report(
        "payment.succeeded",
        "p-1",
        100,
        customer=BUYER,
        items=[{**LINE, "name": "Ж" * 200, "price": 100, "amount": 100}],
    )
    (receipt,) = event["receipts"]
    (remark,) = receipt["remarks"]
    assert (remark["severity"], remark["code"], remark["pointer"]) == ("warning", "name_cut", "#/items/0")
    assert (remark["ffd_tag"], remark["detail_ru"][:12]) == (1030, "Наименование")
    explained = (await shop.api.get(f"/v1/receipts/{receipt['id']}/explain")).json()
    assert remark["detail_ru"] in explained["text_ru"]


async def test_a_dry_run_says_everything_and_leaves_nothing(shop: Shop) -> None:
    before = await stored(shop)
    answer = await shop.api.post("/v1/events?dry_run=true", json=PAYMENT, headers={"Idempotency-Key": "mine"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["outcome"], found["existing_id"]) == ("planned", None)
    assert [one["code"] for one in found["findings"]] == ["name_fitted"]
    (receipt,) = found["receipts"]
    assert receipt["payload"]["provider"] == "digitalkassa"
    assert receipt["payload"]["body"]["items"][0]["name"] == 'Кружка "Лето"'
    # As a number with both decimals, as it goes over the wire.
    assert '"amount":{"cashless":1000.00}' in answer.text
    assert receipt["payload"]["body"]["notify"] == {"emails": ["anna@example.org"]}
    assert await stored(shop) == before

    wrong = {**PAYMENT, "amount": 1, "items": [{**LINE, "vat": "vat20"}, {**LINE, "payment_object": "another"}]}
    refused = (await shop.api.post("/v1/events?dry_run=true", json=wrong)).json()
    assert refused["outcome"] == "refused"
    assert {one["code"] for one in refused["findings"]} == {"totals", "vat_not_in_force"}
    assert all(one["detail_ru"] and one["fix"] and one["severity"] == "error" for one in refused["findings"])

    by_hand = {name: PAYMENT[name] for name in ("amount", "customer", "items")} | {"operation": "sell_refund"}
    told = {
        "order_id": "o-1",
        "operation": "sell",
        "delivered": True,
        "payments": [{"type": "prepaid", "amount": 1000_00}],
    }
    warned = (await shop.api.post("/v1/receipts?dry_run=true", json={**by_hand, **told})).json()
    assert (warned["outcome"], warned["findings"][0]["code"]) == ("planned", "prepaid_by_hand")
    assert warned["receipts"][0]["nomenclature"] is None
    answer = await shop.api.post("/v1/receipts?dry_run=true", json=by_hand)
    assert answer.status_code == 200, answer.text
    assert answer.json()["receipts"][0]["payload"]["body"]["type"] == 2
    assert await stored(shop) == before
    for path in ("/v1/events?dry_run=maybe", "/v1/events?dry_run=true&colour=red"):
        assert (await shop.api.post(path, json=PAYMENT)).status_code == 422

    # Nothing was kept: the same identity and the same key are free, and the body sent is the one that was shown.
    event = await shop.report(**{k: v for k, v in PAYMENT.items() if k != "type"}, type="payment.succeeded")
    await shop.done()
    (document,) = await shop.world.tape()
    assert document["total"] == 1000_00
    body = receipt["payload"]["body"]
    assert document["body"]["items"][0]["name"] == body["items"][0]["name"]
    again = (await shop.api.post("/v1/events?dry_run=true", json=PAYMENT)).json()
    assert again["existing_id"] == event["id"]
    assert (await shop.api.post("/v1/receipts", json=by_hand, headers={"Idempotency-Key": "mine"})).status_code == 202


async def test_a_dry_run_of_a_refund_looks_at_its_sale(shop: Shop) -> None:
    await shop.report(**{k: v for k, v in PAYMENT.items() if k != "type"}, type="payment.succeeded")
    await shop.done()
    before = await stored(shop)
    refund = {"type": "refund.succeeded", "external_id": "r-1", "payment_id": "p-1", "amount": 300_00}
    found = (await shop.api.post("/v1/events?dry_run=true", json=refund)).json()
    assert (found["outcome"], found["receipts"][0]["operation"]) == ("planned", "sell_refund")
    assert found["receipts"][0]["payload"]["body"]["type"] == 2
    found = (await shop.api.post("/v1/events?dry_run=true", json={**refund, "amount": 1000_01})).json()
    assert (found["outcome"], found["reason"]) == ("held", {"code": "refund_exceeds_payment", "limit": 1000_00})
    found = (await shop.api.post("/v1/events?dry_run=true", json={**refund, "payment_id": "nobody"})).json()
    assert (found["outcome"], found["reason"]["code"]) == ("held", "payment_unknown")
    closing = {"type": "order.settled", "external_id": "s-1", "order_id": "o-1", "amount": 5}
    assert (await shop.api.post("/v1/events?dry_run=true", json=closing)).json()["outcome"] == "held"
    assert await stored(shop) == before


async def test_a_dry_run_shows_no_secret_and_no_contact_without_the_right(shop: Shop) -> None:
    shop.world.runtime.services.previews._drivers._public_url = "https://kassa.example.org"
    found = (await shop.api.post("/v1/events?dry_run=true", json=PAYMENT)).json()
    url = found["receipts"][0]["payload"]["body"]["service"]["callback_url"]
    assert url.startswith(f"https://kassa.example.org/callbacks/kas_{shop.world.kassa_id.hex}/***")
    admin = shop.world.principal
    plain = await shop.world.runtime.services.access.create(
        admin, merchant_id=shop.world.merchant_id, name="plain", scopes=("events:write",)
    )
    told = await shop.api.post(
        "/v1/events?dry_run=true", json=PAYMENT, headers={"Authorization": f"Bearer {plain.text}"}
    )
    assert told.status_code == 200
    assert "anna@example.org" not in told.text


AGENT: Json = {"type": "another", "supplier_inn": "7702203277", "supplier_name": "ООО"}
TOMORROW = (datetime.now(UTC) + timedelta(days=2)).isoformat()
OFFSET: Json = {"order_id": "o-1", "payments": [{"type": "prepaid", "amount": 1000_00}]}
BAD: list[tuple[str, Json]] = [
    ("greater_than_equal", {"amount": -1}),
    ("greater_than_equal", {"items": [{**LINE, "price": -1000_00, "amount": -1000_00}]}),
    ("totals", {"amount": 1}),
    ("discount_exceeds", {"amount": 1, "discounts": [{"type": "coupon", "amount": 1000_01}]}),
    ("agent_incomplete", {"items": [{**LINE, "agent": AGENT}]}),
    ("vat_not_in_force", {"items": [{**LINE, "vat": "vat20"}]}),
    ("mark_object", {"items": [{**LINE, "payment_object": "service", "marking_code": "0104600000000000215abc"}]}),
    ("mark_missing", {"items": [{**LINE, "payment_object": "commodity_with_marking"}]}),
    # An offset is planned later, under the lock of what it closes; what is wrong by itself is told at once.
    ("vat_not_in_force", {"items": [{**LINE, "vat": "vat20"}], **OFFSET}),
    ("agent_incomplete", {"items": [{**LINE, "agent": AGENT}], **OFFSET}),
    ("too_many_items", {"amount": 101, "items": [{**LINE, "price": 1, "amount": 1}] * 101}),
    ("quantity_decimals", {"amount": 100, "items": [{**LINE, "quantity": "0.1234", "price": 810, "amount": 100}]}),
    ("taxation_not_registered", {"taxation": "osn"}),
    ("date_in_future", {"occurred_at": TOMORROW}),
    ("inn_checksum", {"customer": {**BUYER, "inn": "7707083894"}}),
]


@pytest.mark.parametrize(("rule", "change"), BAD, ids=[f"{rule}-{index}" for index, (rule, _) in enumerate(BAD)])
async def test_what_cannot_be_a_receipt_is_refused_by_the_rules_name(shop: Shop, rule: str, change: Json) -> None:
    answer = await shop.api.post("/v1/events", json={**PAYMENT, **change})
    assert answer.status_code == 422
    assert rule in [one["code"] for one in answer.json()["errors"]], answer.text
    by_hand = {name: value for name, value in {**PAYMENT, **change}.items() if name not in ("type", "external_id")}
    answer = await shop.api.post(
        "/v1/receipts", json={**by_hand, "operation": "sell"}, headers={"Idempotency-Key": "k-1"}
    )
    assert answer.status_code == 422
    assert rule in [one["code"] for one in answer.json()["errors"]], answer.text
    for table in ("events", "event_identities", "receipts", "jobs"):
        assert await rows.scalar(shop.world.runtime.database, f"SELECT count(*) FROM {table}") == 0, table


async def test_all_that_is_wrong_is_said_at_once(shop: Shop) -> None:
    items = [
        {**LINE, "vat": "vat20", "agent": AGENT},
        {**LINE, "payment_object": "commodity_with_marking", "discount": 1000_01},
    ]
    answer = await shop.api.post("/v1/events", json={**PAYMENT, "items": items, "taxation": "osn"})
    assert answer.status_code == 422
    found = {(one["code"], one["pointer"]) for one in answer.json()["errors"]}
    assert found == {
        ("totals", "#/amount"),
        ("discount_exceeds", "#/items/1/discount"),
        ("taxation_not_registered", "#/taxation"),
        ("vat_not_in_force", "#/items/0/vat"),
        ("agent_incomplete", "#/items/0/agent/supplier_inn"),
        ("agent_incomplete", "#/items/0/agent/supplier_phones"),
        ("mark_missing", "#/items/1/marking_code"),
    }
    assert {one["severity"] for one in answer.json()["errors"]} == {"error"}


async def test_more_than_is_left_is_refused_when_it_is_asked_for(shop: Shop) -> None:
    sale = await shop.report(**{k: v for k, v in PAYMENT.items() if k != "type"}, type="payment.succeeded")
    await shop.done()
    path = f"/v1/receipts/{sale['receipts'][0]['id']}/refund"
    answer = await shop.api.post(path, json={"amount": 1000_01}, headers={"Idempotency-Key": "a"})
    assert (answer.status_code, answer.json()["code"]) == (422, "refund_exceeds_payment")
    assert answer.json()["errors"][0]["code"] == "refund_exceeds"
    assert answer.json()["refundable"] == 1000_00
    # What a source reports has happened: it is kept, and waits for a person under the same name.
    reported = await shop.refund("r-1", 1000_01, payment_id="p-1")
    await shop.done()
    assert (await shop.receipt(reported))["failure"]["code"] == "refund_exceeds_payment"


async def test_partial_refunds_of_a_discounted_sale_end_at_exactly_zero(shop: Shop) -> None:
    items = [
        {"name": "Сыр", "quantity": "1.237", "price": 899_90, "amount": 1113_18, "vat": "none", "measure": "kilogram"},
        {"name": "Кружка", "quantity": "7", "price": 99_99, "amount": 699_93, "vat": "none", "discount": 33},
        {"name": "Чай", "quantity": "2", "price": 150_01, "amount": 300_02, "vat": "none"},
    ]
    whole = 1113_18 + 699_93 - 33 + 300_02
    coupon = [{"type": "coupon", "amount": 411_11}]
    amount = whole - 411_11
    sale = await shop.report(
        "payment.succeeded", "p-1", amount, customer=BUYER, delivered=True, items=items, discounts=coupon
    )
    left = amount
    for number, part in enumerate((amount // 3, amount // 7, 1, left - amount // 3 - amount // 7 - 1)):
        await shop.refund(f"r-{number}", part, payment_id="p-1")
        await shop.done()
        left -= part
    assert left == 0
    sold, returned = {}, {}
    for one in sale["receipts"][0]["items"]:
        sold[one["name"]] = sold.get(one["name"], 0) + one["amount"]
    for one in (await shop.api.get("/v1/receipts", params={"operation": "sell_refund"})).json()["data"]:
        assert one["status"] == "fiscalized"
        for item in one["items"]:
            returned[item["name"]] = returned.get(item["name"], 0) + item["amount"]
    assert returned == sold
    path = f"/v1/receipts/{sale['receipts'][0]['id']}/refund"
    assert (await shop.api.post(path, json={}, headers={"Idempotency-Key": "more"})).status_code == 409


def sold_whole(amount: int, *payments: Json, **members: Any) -> Json:
    line = {"name": "Стол", "quantity": "1", "price": amount, "amount": amount, "vat": "none"}
    return {"customer": BUYER, "items": [line], "payments": list(payments), "delivered": True, **members}


async def test_a_payment_with_an_offset_closes_the_orders_prepayment(shop: Shop) -> None:
    await shop.pay("first", 3660_00, "Стол", order_id="o-1", delivered=False)
    await shop.done()
    rest = ({"type": "prepaid", "amount": 3660_00}, {"type": "electronic", "amount": 8540_00})
    second = await shop.report("payment.succeeded", "rest", 12200_00, **sold_whole(12200_00, *rest, order_id="o-1"))
    assert second["status"] == "received"
    await shop.done()
    receipt = await shop.receipt(second)
    assert receipt["status"] == "fiscalized"
    assert receipt["payments"] == [
        {"type": "prepaid", "amount": 3660_00},
        {"type": "electronic", "amount": 8540_00},
    ]
    assert receipt["remarks"] == []
    assert await shop.sums(order_id="o-1") == (3660_00, 3660_00, 0, 0)
    assert await shop.ledger(open=True) == []
    (row,) = await shop.ledger(order_id="o-1")
    assert row["closed_by"] == [receipt["id"]]
    # What was given is returned where it was given, once.
    too_much = await shop.refund("twice", 1, payment_id="first")
    back = await shop.refund("back", 12200_00, payment_id="rest")
    await shop.done()
    assert (await shop.receipt(too_much))["failure"]["code"] == "refund_exceeds_payment"
    assert (await shop.receipt(back))["status"] == "fiscalized"


async def test_an_offset_beyond_what_is_open_waits_for_a_person(shop: Shop) -> None:
    await shop.pay("first", 1000_00, "Стол", order_id="o-1", delivered=False)
    await shop.done()
    parts = ({"type": "prepaid", "amount": 1000_01}, {"type": "electronic", "amount": 99_99})
    event = await shop.report("payment.succeeded", "rest", 1100_00, **sold_whole(1100_00, *parts, order_id="o-1"))
    await shop.done()
    held = await shop.receipt(event)
    assert (held["status"], held["failure"]["code"]) == ("held", "settlement_exceeds_prepayment")
    assert held["failure"]["limit"] == 1000_00
    fixed = [{"type": "prepaid", "amount": 1000_00}, {"type": "electronic", "amount": 100_00}]
    answer = await shop.api.patch(f"/v1/events/{event['id']}", json={"payments": fixed})
    assert answer.status_code == 200, answer.text
    await shop.done()
    assert (await shop.receipt(event))["status"] == "fiscalized"
    assert await shop.sums(order_id="o-1") == (1000_00, 1000_00, 0, 0)


async def test_a_gift_card_is_spent_in_two_orders_and_an_offset_return_fills_it_again(shop: Shop) -> None:
    advance = {
        "name": "Подарочный сертификат",
        "quantity": "1",
        "price": 2000_00,
        "amount": 2000_00,
        "vat": "none",
        "payment_method": "advance",
        "payment_object": "payment",
    }
    await shop.report("payment.succeeded", "card", 2000_00, customer=BUYER, items=[advance])
    await shop.done()
    one = {"type": "prepaid", "amount": 1500_00, "payment_id": "card"}
    await shop.report("payment.succeeded", "order-1", 1500_00, **sold_whole(1500_00, one))
    await shop.done()
    other = ({"type": "prepaid", "amount": 600_00, "payment_id": "card"}, {"type": "cash", "amount": 100_00})
    event = await shop.report("payment.succeeded", "order-2", 700_00, **sold_whole(700_00, *other))
    await shop.done()
    assert (await shop.receipt(event))["failure"]["limit"] == 500_00
    back = {"payments": [{"type": "prepaid", "amount": 100_00}]}
    returned = await shop.refund("back", 100_00, payment_id="order-1", **back)
    await shop.done()
    assert (await shop.receipt(returned))["status"] == "fiscalized"
    (row,) = await shop.ledger(open=True)
    assert (row["received"], row["closed"], row["open"]) == (2000_00, 1400_00, 600_00)
    assert (await shop.api.post(f"/v1/events/{event['id']}/replan")).status_code == 200
    await shop.done()
    assert (await shop.receipt(event))["status"] == "fiscalized"
    assert await shop.ledger(open=True) == []


async def test_an_offset_of_money_from_elsewhere_is_believed_and_remarked(shop: Shop) -> None:
    part = {"type": "prepaid", "amount": 500_00, "elsewhere": True}
    event = await shop.report("payment.succeeded", "p-1", 500_00, **sold_whole(500_00, part, order_id="o-1"))
    (receipt,) = event["receipts"]
    assert [(one["severity"], one["code"]) for one in receipt["remarks"]] == [("warning", "prepaid_elsewhere")]
    assert "500.00" in receipt["remarks"][0]["detail"]


@pytest.mark.parametrize(
    ("setting", "items", "amounts"),
    [("drop", ["Стол"], [1000_00]), ("kopeck", ["Стол", "Доставка"], [999_99, 1]), ("refuse", [], [])],
)
async def test_free_lines_go_by_the_setting(shop: Shop, setting: str, items: list[str], amounts: list[int]) -> None:
    kassas = shop.world.runtime.services.kassas
    asked = new_kassa(shop.world.simulator_url)
    asked = new_kassa(shop.world.simulator_url, defaults={**asked.defaults, "zero_lines": setting})
    made = await kassas.create("test", shop.world.merchant_id, asked)
    branch = await shop.api.post("/v1/branches", json={"name": "Зал", "kassa": f"kas_{made.kassa.id.hex}"})
    assert branch.status_code == 201, branch.text
    delivery = {"name": "Доставка", "quantity": "1", "price": 0, "amount": 0, "vat": "none"}
    body = sold_whole(1000_00, branch=branch.json()["id"])
    answer = await shop.api.post(
        "/v1/events",
        json={
            "type": "payment.succeeded",
            "external_id": "p-1",
            "amount": 1000_00,
            **body,
            "items": [*body["items"], delivery],
        },
    )
    if setting == "refuse":
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["code"] == "zero_line"
        return
    (receipt,) = answer.json()["receipts"]
    assert [one["name"] for one in receipt["items"]] == items
    assert [one["amount"] for one in receipt["items"]] == amounts
