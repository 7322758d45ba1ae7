"""A merchant's VAT over HTTP and in the pipeline: dated rates, groups, stale answers, income against the bounds."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.infra.ids import new_id, public
from app.main import create_app
from app.services.principal import Principal
from tests.support import rows
from tests.support.server import serve
from tests.support.world import World, open_world


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path) as found:
        yield found


@pytest.fixture
async def api(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(
            serve(create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics))
        )
        admin = Principal(new_id(), None, None, frozenset({"admin"}))
        key = await world.runtime.services.access.create(
            admin, merchant_id=world.merchant_id, name="test", scopes=("*",)
        )
        headers = {"Authorization": f"Bearer {key.text}"}
        yield await stack.enter_async_context(httpx.AsyncClient(base_url=url, headers=headers, timeout=30))


def vat_url(world: World) -> str:
    return f"/v1/merchants/{public('mer', world.merchant_id)}/vat"


def event(external_id: str, day: str, **changes: Any) -> dict[str, Any]:
    return {
        "type": "payment.succeeded",
        "external_id": external_id,
        "amount": 12_200_00,
        "occurred_at": f"{day}T12:00:00Z",
        "customer": {"email": "anna@example.org"},
        "items": [
            {"name": "Курс", "quantity": "1", "price": 12_200_00, "amount": 12_200_00, "payment_object": "service"}
            | changes.pop("line", {})
        ],
        "delivered": True,
        **changes,
    }


async def planned(api: httpx.AsyncClient, sent: dict[str, Any]) -> str | None:
    answer = await api.post("/v1/events", json=sent)
    assert answer.status_code == 202, answer.text
    (receipt,) = answer.json()["receipts"]
    vat: str | None = receipt["items"][0]["vat"] if receipt["items"] else None
    return vat


RATES = {
    "rates": [
        {"from": "2025-01-01", "vat": "vat20"},
        {"from": "2026-01-01", "vat": "vat22"},
    ],
    "groups": [{"name": "minors", "rates": [{"from": "2025-01-01", "vat": "none"}], "names": ["детск"]}],
}


async def test_rates_by_date_decide_about_every_payment(world: World, api: httpx.AsyncClient) -> None:
    answer = await api.put(vat_url(world), json=RATES)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["rates"] == RATES["rates"]
    assert (told["rate_today"], told["groups"][0]["names"], told["credit_payment"]) == (
        "vat22",
        ["детск"],
        "as_shipped",
    )
    assert (await api.get(vat_url(world))).json()["rates"] == RATES["rates"]
    assert await planned(api, event("a", "2025-12-31")) == "vat20"
    # 23:30 of the 31st in UTC is the New Year in Moscow already.
    assert await planned(api, event("b", "2026-01-01", occurred_at="2025-12-31T23:30:00Z")) == "vat22"
    assert await planned(api, event("c", "2026-01-01", delivered=False)) == "vat122"
    assert await planned(api, event("d", "2026-01-15", shipped_on="2025-12-30")) == "vat20"
    minors = {"name": "Детская студия"}
    assert await planned(api, event("e", "2026-02-01", line=minors)) == "none"
    assert await planned(api, event("f", "2026-02-01", line={"vat_group": "minors"})) == "none"


async def test_a_rate_that_does_not_hold_is_refused_with_a_sentence(world: World, api: httpx.AsyncClient) -> None:
    answer = await api.put(vat_url(world), json={"rates": [{"from": "2025-01-01", "vat": "vat20"}]})
    assert answer.status_code == 422
    (found,) = answer.json()["errors"]
    assert (found["code"], found["pointer"]) == ("vat_not_in_force", "#/rates/0/vat")
    assert "2026-01-01" in found["fix"]
    assert (await api.get(vat_url(world))).json()["rates"] == []


async def test_what_waits_for_its_rate_goes_on_when_the_merchant_answers(world: World, api: httpx.AsyncClient) -> None:
    sent = event("a", "2025-12-31", line={"vat_group": "minors"})
    answer = await api.post("/v1/events", json=sent)
    assert answer.json()["status"] == "held"
    async with world.working():
        await api.put(vat_url(world), json=RATES)
        (receipt,) = answer.json()["receipts"]

        async def filled() -> bool:
            return bool((await api.get(f"/v1/receipts/{receipt['id']}")).json()["items"])

        await world.until(filled)
    assert (await api.get(f"/v1/receipts/{receipt['id']}")).json()["items"][0]["vat"] == "none"


async def test_the_bounds_are_told_once_each(world: World, api: httpx.AsyncClient) -> None:
    year = world.runtime.services.vat._clock.now().year
    rates = {
        "rates": [{"from": "2026-01-01", "vat": "none"}],
        "income_elsewhere": [{"year": year, "income": 11 * 10**8}],
    }
    assert (await api.put(vat_url(world), json=rates)).status_code == 200
    async with world.working():
        paid = [await world.pay(f"p-{number}", 60_000_000) for number in range(2)]
        for one in paid:
            await world.status(one, "fiscalized")
        back = await world.refund("r-1", "p-0", 10_000_000)
        await world.status(back, "fiscalized")
    told = (await api.get(vat_url(world))).json()
    assert told["regime"] == "usn"
    # 11,000,000.00 elsewhere and 1,200,000.00 less 100,000.00 here.
    assert told["income"] == 11 * 10**8 + 2 * 60_000_000 - 10_000_000
    for _ in range(2):
        await world.runtime.services.vat.review_one(world.merchant_id)
    feed = (await api.get("/v1/messages")).json()["data"]
    reviews = [one for one in feed if one["type"] == "merchant.vat_regime_review"]
    percents = [bound["percent"] for bound in told["bounds"]]
    expected = sum((share >= 80) + (share >= 100) for share in percents)
    assert expected
    assert len(reviews) == expected
    assert await rows.scalar(world.runtime.database, "SELECT count(*) FROM vat_reviews") == expected


async def test_the_daily_round_takes_each_merchant_once(world: World) -> None:
    await world.runtime.services.vat.review()
    first = await rows.scalar(world.runtime.database, "SELECT max(vat_reviewed_at) FROM merchants")
    await world.runtime.services.vat.review()
    assert first is not None
    assert await rows.scalar(world.runtime.database, "SELECT max(vat_reviewed_at) FROM merchants") == first


async def test_offsets_and_goods_of_principals_are_no_income(world: World, api: httpx.AsyncClient) -> None:
    agent = {
        "type": "another",
        "supplier_inn": "7702203276",
        "supplier_name": "ООО «Поставщик»",
        "supplier_phones": ["+74951234567"],
    }
    line = {"quantity": "1", "payment_object": "service", "payment_method": "full_payment", "vat": "none"}
    sent = event("a", "2026-11-20", payments=[{"type": "electronic", "amount": 12_200_00}])
    sent["occurred_at"] = world.runtime.services.vat._clock.now().isoformat()
    sent["items"] = [
        {**line, "name": "Лампа", "price": 10_000_00, "amount": 10_000_00, "agent": agent},
        {**line, "name": "Доставка", "price": 2_200_00, "amount": 2_200_00},
    ]
    offset = {**sent, "external_id": "b", "payments": [{"type": "prepaid", "amount": 12_200_00}]}
    async with world.working():
        for one in (sent, offset):
            answer = await api.post("/v1/events", json=one, headers={"Prefer": "wait=20"})
            assert answer.json()["receipts"][0]["status"] == "fiscalized", answer.text
    assert (await api.get(vat_url(world))).json()["income"] == 2_200_00
