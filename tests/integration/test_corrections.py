"""Corrections over the API: the right documents for the format of the kassa, in order, on the tape, and never twice."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.domain import correction
from app.infra.ids import parse
from app.main import create_app
from tests.support.rows import scalar
from tests.support.world import World, new_kassa, open_world

DEFAULTS = {"vat": "vat22", "payment_method": "full_payment", "payment_object": "service", "measure": "another"}
CUSTOMER = {"email": "anna@example.org"}
LINE = {"name": "Занятие", "quantity": "1", "price": 122000, "amount": 122000}
SALE: dict[str, Any] = {
    "type": "payment.succeeded",
    "external_id": "p-1",
    "order_id": "A-1",
    "amount": 122000,
    "customer": CUSTOMER,
    "items": [{**LINE, "vat": "vat10"}],
}
MISSING: dict[str, Any] = {
    "operation": "sell",
    "amount": 150000,
    "customer": CUSTOMER,
    "items": [{"name": "Услуга", "quantity": "1", "price": 150000, "amount": 150000}],
    "correction": {"kind": "self", "corrected_date": "2026-11-18"},
}


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path) as found:
        kassas = found.runtime.services.kassas
        await kassas.change("test", found.merchant_id, found.kassa_id, {"defaults": DEFAULTS})
        yield found


@pytest.fixture
def app(world: World) -> FastAPI:
    return create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)


@pytest.fixture
async def api(world: World, app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    admin = await world.runtime.services.access.ensure_admin_key()
    transport, base = httpx.ASGITransport(app), "http://kassa.example.org"
    async with httpx.AsyncClient(
        transport=transport, base_url=base, headers={"Authorization": f"Bearer {admin}"}
    ) as one:
        made = await one.post("/v1/api-keys", json={"merchant_id": f"mer_{world.merchant_id.hex}", "scopes": ["*"]})
    headers = {"Authorization": f"Bearer {made.json()['key']}"}
    async with httpx.AsyncClient(transport=transport, base_url=base, headers=headers) as client:
        yield client


async def old_kassa(world: World, **changes: Any) -> None:
    """A branch `old` whose kassa prints FFD 1.05."""
    kassas, merchants = world.runtime.services.kassas, world.runtime.services.merchants
    kassa = await kassas.create(
        "test", world.merchant_id, new_kassa(world.simulator_url, name="Old", ffd="1.05", defaults=DEFAULTS, **changes)
    )
    await merchants.create_branch("test", world.merchant_id, name="Old", external_id="old", kassa_id=kassa.kassa.id)


async def sold(world: World, api: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    """A sale that is on the tape."""
    event = await api.post("/v1/events", json={**SALE, **changes})
    assert event.status_code == 202, event.text
    return await settled(world, api, event.json()["receipts"][0]["id"])


async def settled(world: World, api: httpx.AsyncClient, receipt: str) -> dict[str, Any]:
    shown: dict[str, Any] = {}

    async def ended() -> bool:
        shown.update((await api.get(f"/v1/receipts/{receipt}")).json())
        return shown["status"] in ("fiscalized", "rejected")

    await world.until(ended)
    return shown


async def correct(api: httpx.AsyncClient, key: str, body: dict[str, Any]) -> httpx.Response:
    return await api.post("/v1/corrections", json=body, headers={"Idempotency-Key": key})


async def preview(api: httpx.AsyncClient, body: dict[str, Any]) -> httpx.Response:
    return await api.post("/v1/corrections", json=body, params={"dry_run": True})


async def test_a_wrong_rate_by_ffd_1_2_is_reversed_and_sold_again(world: World, api: httpx.AsyncClient) -> None:
    async with world.working():
        wrong = await sold(world, api)
        body = {"receipt": wrong["id"], "case": "wrong_rate", "vat": "vat22", "reason": "ошибка в настройке"}
        before = await scalar(world.runtime.database, "SELECT count(*) FROM receipts")
        shown = await preview(api, body)
        assert shown.status_code == 200, shown.text
        assert [one["role"] for one in shown.json()["documents"]] == ["reversal", "right"]
        assert "ФПД " + wrong["fiscal"]["fpd"] in shown.json()["explanation"]
        assert await scalar(world.runtime.database, "SELECT count(*) FROM receipts") == before
        made = await correct(api, "k-1", body)
        assert made.status_code == 202, made.text
        again = await correct(api, "k-1", body)
        assert (again.content, again.headers["idempotent-replayed"]) == (made.content, "true")
        for document in made.json()["documents"]:
            await settled(world, api, document["receipt"]["id"])
    tape = await world.tape()
    assert [(one["operation"], one["correction"], one["total"]) for one in tape] == [
        ("sell", False, 122000),
        ("sell_refund", True, 122000),
        ("sell", True, 122000),
    ]
    assert [one["body"]["items"][0]["vat"] for one in tape] == [2, 2, 11]
    assert {one["body"].get("corrected_date") for one in tape[1:]} == {
        tape[0]["local_time"][8:10] + "." + tape[0]["local_time"][5:7] + ".2026"
    }
    done = (await api.get(made.headers["location"])).json()
    assert done["notes"] == ["link_kept_here", "second_after_first"]
    for document in done["documents"]:
        assert f"ФД № {document['receipt']['fiscal']['fd']}," in done["explanation"]
    refused = await correct(api, "k-2", body)
    assert (refused.status_code, refused.json()["rule"]) == (409, "already_corrected")


async def test_the_right_one_waits_until_the_reversal_is_made(world: World, api: httpx.AsyncClient) -> None:
    async with world.working():
        wrong = await sold(world, api)
        await world.fault("refuse", params={"type": "UNAVAILABLE_VALUE", "path": "$.loc.billing_place", "desc": "-"})
        made = (await correct(api, "k-1", {"receipt": wrong["id"], "case": "wrong_rate", "vat": "vat22"})).json()
        reversal, right = (one["receipt"]["id"] for one in made["documents"])
        assert (await settled(world, api, reversal))["status"] == "rejected"
        await world.idle()
        assert (await api.get(f"/v1/receipts/{right}")).json()["status"] == "queued"
        assert len(await world.tape()) == 1
        assert (await api.post(f"/v1/receipts/{reversal}/retry")).status_code == 200
        assert (await settled(world, api, right))["status"] == "fiscalized"
    assert [one["operation"] for one in await world.tape()] == ["sell", "sell_refund", "sell"]


async def test_a_corrected_sale_is_refunded_as_it_should_have_been(world: World, api: httpx.AsyncClient) -> None:
    async with world.working():
        wrong = await sold(world, api)
        body = {"receipt": wrong["id"], "case": "wrong_sum", "amount": 100000, "vat": "vat22"}
        made = (await correct(api, "k-1", body)).json()
        right = await settled(world, api, made["documents"][1]["receipt"]["id"])
        assert right["total"] == 100000
        refund = await api.post(f"/v1/receipts/{right['id']}/refund", json={}, headers={"Idempotency-Key": "r-1"})
        assert refund.status_code == 202, refund.text
        await world.idle()
    last = (await world.tape())[-1]
    assert (last["operation"], last["correction"], last["total"]) == ("sell_refund", False, 100000)
    assert last["body"]["items"][0]["vat"] == 11
    more = await api.post(f"/v1/receipts/{wrong['id']}/refund", json={}, headers={"Idempotency-Key": "r-2"})
    assert more.status_code == 409


async def test_without_its_reversal_the_right_one_is_given_up(world: World, api: httpx.AsyncClient) -> None:
    async with world.working():
        wrong = await sold(world, api)
    body = {"receipt": wrong["id"], "case": "wrong_rate", "vat": "vat22"}
    made = (await correct(api, "k-1", body)).json()
    reversal, right = (one["receipt"]["id"] for one in made["documents"])
    assert (await api.post(f"/v1/receipts/{reversal}/cancel")).json()["status"] == "cancelled"
    assert (await api.get(f"/v1/receipts/{right}")).json()["status"] == "cancelled"
    async with world.working():
        second = (await correct(api, "k-2", body)).json()
        assert (await settled(world, api, second["documents"][1]["receipt"]["id"]))["status"] == "fiscalized"
    assert [one["operation"] for one in await world.tape()] == ["sell", "sell_refund", "sell"]


async def test_of_many_corrections_at_once_one_is_made(world: World, api: httpx.AsyncClient) -> None:
    async with world.working():
        wrong = await sold(world, api)
        body = {"receipt": wrong["id"], "case": "wrong_rate", "vat": "vat22"}
        answers = await asyncio.gather(*(correct(api, f"k-{n}", body) for n in range(4)))
        assert sorted(one.status_code for one in answers) == [202, 409, 409, 409]
        assert {one.json()["rule"] for one in answers if one.status_code == 409} == {"already_corrected"}
        await world.idle()
    assert [one["operation"] for one in await world.tape()] == ["sell", "sell_refund", "sell"]


async def test_what_was_returned_must_fit_into_the_right_sum(world: World, api: httpx.AsyncClient) -> None:
    async with world.working():
        wrong = await sold(world, api)
        await api.post(f"/v1/receipts/{wrong['id']}/refund", json={"amount": 60000}, headers={"Idempotency-Key": "r"})
        await world.idle()
        for body in ({"case": "wrong_sum", "amount": 50000}, {"case": "duplicate"}):
            refused = await preview(api, {"receipt": wrong["id"], **body})
            assert (refused.status_code, refused.json()["rule"]) == (409, "refunds_exceed")
        fits = await correct(api, "k-1", {"receipt": wrong["id"], "case": "wrong_sum", "amount": 60000})
        assert fits.status_code == 202, fits.text
        await world.idle()
    assert [one["total"] for one in await world.tape()] == [122000, 60000, 122000, 60000]


async def test_a_repair_by_ffd_1_05_needs_1192_or_a_persons_word(world: World, api: httpx.AsyncClient) -> None:
    await old_kassa(world)
    async with world.working():
        wrong = await sold(world, api, branch="old")
        body = {"receipt": wrong["id"], "case": "wrong_rate", "vat": "vat22"}
        for refused in (await preview(api, body), await correct(api, "k-1", body)):
            assert (refused.status_code, refused.json()["rule"]) == (422, "additional_prop_not_supported")
            assert refused.json()["ffd_tag"] == 1192
        made = await correct(api, "k-2", {**body, "without_link": True})
        assert made.status_code == 202, made.text
        for document in made.json()["documents"]:
            await settled(world, api, document["receipt"]["id"])
    tape = await world.tape()
    assert [(one["operation"], one["correction"]) for one in tape] == [
        ("sell", False),
        ("sell_refund", False),
        ("sell", False),
    ]
    assert [one["body"]["items"][0]["vat"] for one in tape] == [2, 2, 11]


async def test_a_provider_that_carries_1192_names_the_wrong_receipt(world: World, api: httpx.AsyncClient) -> None:
    credentials = {"login": "v4-simulator", "password": "password", "group_code": "v4-simulator_1"}
    credentials["company_email"] = "shop@example.org"
    await old_kassa(world, provider="atol", base_url=f"{world.simulator_url}/possystem", credentials=credentials)
    async with world.working():
        wrong = await sold(world, api, branch="old")
        made = await correct(api, "k-1", {"receipt": wrong["id"], "case": "wrong_rate", "vat": "vat22"})
        assert made.status_code == 202, made.text
        for document in made.json()["documents"]:
            assert document["additional_prop"] == wrong["fiscal"]["fpd"]
            await settled(world, api, document["receipt"]["id"])
    bodies = [one["body"]["receipt"] for one in await world.tape()]
    assert [one.get("additional_check_props") for one in bodies] == [None, *[wrong["fiscal"]["fpd"]] * 2]


async def test_a_second_print_is_reversed_and_the_receipt_stands(world: World, api: httpx.AsyncClient) -> None:
    async with world.working():
        receipt = await sold(world, api)
        twin = {**receipt["fiscal"], "fd": 999_999, "fpd": "1234567890"}
        told = {name: twin[name] for name in ("fn", "fd", "fpd", "fiscalized_at", "local_time")}
        body = {"receipt": receipt["id"], "case": "duplicate", "fiscal": told}
        made = await correct(api, "k-1", body)
        assert made.status_code == 202, made.text
        assert "ФПД 1234567890" in made.json()["explanation"]
        await world.idle()
        refund = await api.post(f"/v1/receipts/{receipt['id']}/refund", json={}, headers={"Idempotency-Key": "r"})
        assert refund.status_code == 202, refund.text
        await world.idle()
    assert [(one["operation"], one["correction"]) for one in await world.tape()] == [
        ("sell", False),
        ("sell_refund", True),
        ("sell_refund", False),
    ]


async def test_a_receipt_whose_fate_is_open_is_not_corrected(world: World, api: httpx.AsyncClient) -> None:
    queued = (await api.post("/v1/events", json=SALE)).json()["receipts"][0]["id"]
    for case, rule in (("not_registered", "receipt_under_way"), ("duplicate", "receipt_not_made")):
        refused = await correct(api, f"k-{case}", {"receipt": queued, "case": case})
        assert (refused.status_code, refused.json()["rule"]) == (409, rule), refused.text
    row = parse("rcpt", queued)
    for status in ("sending", "accepted", "unknown", "needs_attention"):
        await scalar(
            world.runtime.database, "UPDATE receipts SET status = :s WHERE id = :i RETURNING 1", s=status, i=row
        )
        refused = await correct(api, f"k-{status}", {"receipt": queued, "case": "not_registered"})
        assert (refused.status_code, refused.json()["rule"]) == (409, "outcome_unknown")


async def test_a_rejected_receipt_with_an_unproven_send_is_not_corrected(world: World, api: httpx.AsyncClient) -> None:
    await world.fault("refuse", params={"type": "UNAVAILABLE_VALUE", "path": "$.loc.billing_place", "desc": "-"})
    async with world.working():
        event = (await api.post("/v1/events", json=SALE)).json()
        rejected = await settled(world, api, event["receipts"][0]["id"])
        assert rejected["status"] == "rejected"
        body = {"receipt": rejected["id"], "case": "not_registered", "vat": "vat22"}
        database, row = world.runtime.database, parse("rcpt", rejected["id"])
        await scalar(database, "UPDATE attempts SET outcome = 'unknown' WHERE receipt_id = :i RETURNING 1", i=row)
        refused = await correct(api, "k-1", body)
        assert (refused.status_code, refused.json()["rule"]) == (409, "attempt_not_proven_absent")
        await scalar(database, "UPDATE attempts SET outcome = 'rejected' WHERE receipt_id = :i RETURNING 1", i=row)
        made = await correct(api, "k-2", body)
        assert made.status_code == 202, made.text
        await settled(world, api, made.json()["documents"][0]["receipt"]["id"])
        assert (await api.get(f"/v1/receipts/{rejected['id']}")).json()["status"] == "cancelled"
        again = await correct(api, "k-3", body)
        assert (again.status_code, again.json()["rule"]) == (409, "already_corrected")
    (printed,) = await world.tape()
    assert (printed["operation"], printed["correction"], printed["total"]) == ("sell", True, 122000)


async def test_a_payment_that_was_reported_is_not_missing(world: World, api: httpx.AsyncClient) -> None:
    async with world.working():
        receipt = await sold(world, api)
    body = {**MISSING, "payment_id": "p-1"}
    for refused in (await correct(api, "k-1", body), await preview(api, body)):
        assert (refused.status_code, refused.json()["rule"]) == (409, "payment_already_reported")
        assert refused.json()["receipts"] == [{"id": receipt["id"], "status": "fiscalized"}]
    made = await correct(api, "k-2", {**body, "payment_id": "p-2"})
    assert made.status_code == 202, made.text
    assert made.json()["correction"]["corrected_date"] == "2026-11-18"
    later = await api.post("/v1/events", json={**SALE, "external_id": "p-2"})
    assert (later.status_code, later.json()["code"]) == (409, "duplicate_event")
    second = await correct(api, "k-3", {**body, "payment_id": "p-2"})
    assert (second.status_code, second.json()["rule"]) == (409, "payment_already_reported")


async def test_missing_money_by_ffd_1_05_is_a_correction_and_a_refund_a_purchase(
    world: World, api: httpx.AsyncClient
) -> None:
    await old_kassa(world)
    async with world.working():
        for key, operation in (("k-1", "sell"), ("k-2", "sell_refund")):
            body = {**MISSING, "operation": operation, "branch": "old"}
            shown = (await preview(api, body)).json()["documents"][0]
            assert shown["totals_only"]
            assert shown["vat"] == [{"rate": "vat22", "amount": 150000, "vat_amount": 27049}]
            made = await correct(api, key, body)
            assert made.status_code == 202, made.text
            await settled(world, api, made.json()["id"])
    assert [(one["operation"], one["correction"]) for one in await world.tape()] == [("sell", True), ("buy", True)]


async def test_a_body_of_neither_form_is_told_where_it_is_wrong(api: httpx.AsyncClient) -> None:
    wrong = await correct(api, "k-1", {**MISSING, "operation": "sold"})
    assert [one["pointer"] for one in wrong.json()["errors"]] == ["#/operation"]
    wrong = await correct(api, "k-2", {"receipt": "rcpt_" + "0" * 32, "case": "wrong"})
    assert [one["pointer"] for one in wrong.json()["errors"]] == ["#/case"]
    wrong = await api.post("/v1/corrections", json=MISSING)
    assert wrong.json()["code"] == "idempotency_key_missing"


CSV = """\ufeffID платежа;Дата;Сумма;Наименование;НДС;E-mail
m-1;18.11.2026;1 500,00;Занятие;22%;anna@example.org
m-2;2026-11-19;500,50;Курс;без НДС;anna@example.org
p-1;18.11.2026;1220;Занятие;22%;anna@example.org
m-1;18.11.2026;10,00;Занятие;22%;anna@example.org
m-4;вчера;много;Занятие;22%;anna@example.org
m-5;18.11.2026;10,00;Занятие;22%;
m-6;18.11.2027;10,00;Занятие;22%;anna@example.org
"""


async def test_a_list_is_previewed_confirmed_once_and_followed(world: World, api: httpx.AsyncClient) -> None:
    await api.post("/v1/events", json=SALE)
    made = await api.post("/v1/corrections/batches", json={"csv": CSV})
    assert made.status_code == 201, made.text
    batch = made.json()
    assert (batch["status"], batch["documents"], batch["refused"], batch["total"]) == ("previewed", 2, 5, 200050)
    assert [[one["code"] for one in row["findings"]] for row in batch["rows"]] == [
        [],
        [],
        ["payment_already_reported"],
        ["payment_repeated"],
        ["date_format", "amount_format"],
        ["missing_customer"],
        ["correction_date"],
    ]
    assert batch["rows"][1]["document"]["vat"] == [{"rate": "none", "amount": 50050, "vat_amount": 0}]
    assert batch["rows"][5]["findings"][0]["pointer"] == "#/rows/5/customer"
    assert await scalar(world.runtime.database, "SELECT count(*) FROM receipts WHERE correction") == 0

    path = f"/v1/corrections/batches/{batch['id']}"
    wrong = await api.post(f"{path}/confirm", json={"token": "0" * 32})
    assert (wrong.status_code, wrong.json()["rule"]) == (409, "token_differs")
    # One of the two is reported before somebody says yes.
    await api.post("/v1/events", json={**SALE, "external_id": "m-2"})
    yes, also = await asyncio.gather(*(api.post(f"{path}/confirm", json={"token": batch["token"]}) for _ in range(2)))
    assert (yes.status_code, also.status_code) == (200, 200), (yes.text, also.text)
    yes = await api.get(path)
    assert yes.json()["rows_by_state"] == {"planned": 0, "sent": 1, "refused": 6, "failed": 0}
    again = await api.post(f"{path}/confirm", json={"token": batch["token"]})
    assert again.json()["rows"] == yes.json()["rows"]
    async with world.working():
        await world.idle()
    done = (await api.get(path)).json()
    assert (done["status"], done["receipts_by_status"]) == ("done", {"fiscalized": 1})
    corrected = [one for one in await world.tape() if one["correction"]]
    assert [(one["total"], one["body"]["corrected_date"]) for one in corrected] == [(150000, "18.11.2026")]
    kept = "SELECT count(*) FROM correction_rows WHERE payload IS NOT NULL"
    assert await scalar(world.runtime.database, kept) == 0


async def test_a_confirmation_that_broke_off_goes_on(world: World, api: httpx.AsyncClient) -> None:
    rows = [
        {"payment_id": f"m-{n}", "date": "2026-11-18", "amount": 100 + n, "customer": CUSTOMER,
         "items": [{**LINE, "price": 100 + n, "amount": 100 + n}]}
        for n in range(40)
    ]  # fmt: skip
    batch = (await api.post("/v1/corrections/batches", json={"rows": rows})).json()
    path = f"/v1/corrections/batches/{batch['id']}/confirm"
    async with world.runtime.database.pipeline() as tx:
        kept = (await tx.execute(text("SELECT id, payload FROM correction_rows ORDER BY number"))).all()
    first = (await api.post(path, json={"token": batch["token"]})).json()
    assert first["rows_by_state"]["sent"] == 40
    # As if the process had died between storing the receipts and noting it.
    for row_id, payload in kept[7:]:
        lost = "UPDATE correction_rows SET state = 'planned', event_id = NULL, payload = :p WHERE id = :i RETURNING 1"
        await scalar(world.runtime.database, lost, p=payload, i=row_id)
    total = await scalar(world.runtime.database, "SELECT count(*) FROM receipts WHERE correction")
    again = (await api.post(path, json={"token": batch["token"]})).json()
    assert again["rows_by_state"]["sent"] == 40
    assert await scalar(world.runtime.database, "SELECT count(*) FROM receipts WHERE correction") == total == 40


async def test_a_file_that_is_no_list_says_so_at_once(api: httpx.AsyncClient) -> None:
    for file, rules in (
        ("", ["list_empty"]),
        ("payment_id;date;amount\n", ["list_empty"]),
        ("payment_id,sum,colour\n1,2,3\n", ["column_unknown", "column_missing"]),
    ):
        refused = await api.post("/v1/corrections/batches", json={"csv": file})
        assert refused.status_code == 422
        assert [one["code"] for one in refused.json()["errors"]] == rules


async def test_the_corrected_day_may_not_lie_ahead(api: httpx.AsyncClient) -> None:
    body = {**MISSING, "correction": {"kind": "self", "corrected_date": date(2099, 1, 1).isoformat()}}
    refused = await preview(api, body)
    assert (refused.status_code, refused.json()["rule"]) == (422, "correction_date")


PAGE = Path(__file__).parents[2] / "docs" / "corrections.md"


def block(name: str) -> str:
    """The code block that follows `<!-- test: name -->` in the page for accountants."""
    found = re.search(rf"<!-- test: {name} -->\n```\w+\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None, f"the page has no block {name}"
    return found[1]


async def test_the_examples_of_the_page_work(world: World, api: httpx.AsyncClient) -> None:
    async with world.working():
        wrong = await sold(world, api)
    repair = json.loads(block("wrong-rate")) | {"receipt": wrong["id"]}
    assert (await correct(api, "k-1", repair)).status_code == 202
    assert (await correct(api, "k-2", json.loads(block("missing")))).status_code == 202
    batch = await api.post("/v1/corrections/batches", json={"csv": block("csv")})
    assert (batch.status_code, batch.json()["documents"], batch.json()["total"]) == (201, 2, 249050), batch.text


def test_the_page_names_every_rule_of_a_refusal() -> None:
    page = PAGE.read_text(encoding="utf-8")
    told = set(re.findall(r"`([a-z_]+)`", page.partition("Refused, by the name")[2].partition("## By the API")[0]))
    app = Path(correction.__file__).parents[1]
    sources = [app / "domain" / "correction.py", *(app / "services").glob("correction_guards.py")]
    known = {name for path in sources for name in re.findall(r'"((?:[a-z]+_)+[a-z]+)"', path.read_text("utf-8"))}
    assert told - {"rule"} - {"already_corrected", "payment_already_reported"} <= known
