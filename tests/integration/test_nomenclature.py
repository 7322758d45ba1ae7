"""The nomenclature over HTTP and through the pipeline: rules, versions, holds that end by themselves, tables, diff."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from app.domain.event import EventItem, EventPayment, EventType
from app.domain.money import parse_quantity
from app.domain.nomenclature import Glob, folded
from app.domain.receipt import Customer
from app.infra.ids import public
from app.main import create_app
from app.queue.replan import replan_held_late
from app.services.nomenclature_checks import MAX_RULES
from app.services.nomenclature_diff import without_buyer
from tests.support import rows
from tests.support.world import World, open_world, payment

CSV = {"Content-Type": "text/csv"}


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path) as found:
        yield found


@pytest.fixture
def app(world: World) -> FastAPI:
    return create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)


@pytest.fixture
async def http(app: FastAPI, world: World) -> AsyncIterator[httpx.AsyncClient]:
    """The world's merchant with every right."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://kassa.example.org") as client:
        admin = {"Authorization": f"Bearer {await world.runtime.services.access.ensure_admin_key()}"}
        body = {"merchant_id": public("mer", world.merchant_id), "scopes": ["*"]}
        made = await client.post("/v1/api-keys", json=body, headers=admin)
        client.headers["Authorization"] = f"Bearer {made.json()['key']}"
        yield client


async def made(http: httpx.AsyncClient, match: dict[str, Any], fill: dict[str, Any] | None = None, **more: Any) -> Any:
    answer = await http.post("/v1/nomenclature", json={"match": match, "fill": fill or {}, **more})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/nomenclature/{answer.json()['id']}"
    assert answer.headers["etag"] == f'"{answer.json()["version"]}"'
    return answer.json()


def item(name: str, amount: int = 199_000, **said: Any) -> EventItem:
    return EventItem(name=name, quantity=parse_quantity("1"), price=amount, amount=amount, **said)


async def shown(http: httpx.AsyncClient, world: World, event_id: UUID) -> dict[str, Any]:
    row = await world.receipt(event_id)
    found: dict[str, Any] = (await http.get(f"/v1/receipts/{public('rcpt', row.id)}")).json()
    return found


async def policy(http: httpx.AsyncClient, world: World, unmapped: str) -> None:
    answer = await http.patch(f"/v1/merchants/{public('mer', world.merchant_id)}", json={"unmapped": unmapped})
    assert answer.status_code == 200, answer.text
    assert answer.json()["unmapped"] == unmapped


async def test_a_rule_lives_from_version_to_version(http: httpx.AsyncClient) -> None:
    first = await made(http, {"text": "Абон*"}, {"name": "Абонемент", "vat": "none"})
    second = await made(http, {"sku": "A-1"}, {"vat": "vat5"}, priority=3, override=True, comment="кружки")
    assert (first["version"], second["version"]) == (1, 2)
    assert second["fill"] == {
        "name": None, "payment_object": None, "payment_method": None, "vat": "vat5", "measure": None, "agent": None,
    }  # fmt: skip
    path = f"/v1/nomenclature/{first['id']}"

    assert (await http.patch(path, json={"priority": 1})).status_code == 428
    stale = await http.patch(path, json={"priority": 1}, headers={"If-Match": '"2"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    change = {"fill": {"vat": "vat5", "name": None}, "match": {"payment_type": "cash"}}
    changed = await http.patch(path, json=change, headers={"If-Match": '"1"'})
    assert changed.status_code == 200, changed.text
    after = changed.json()
    assert (after["version"], after["created_at"]) == (3, first["created_at"])
    assert (after["match"]["text"], after["match"]["payment_type"]) == ("Абон*", "cash")
    assert (after["fill"]["vat"], after["fill"]["name"]) == ("vat5", None)
    assert (await http.get(path)).headers["etag"] == '"3"'
    same = await http.patch(path, json=change, headers={"If-Match": '"3"'})
    assert same.json()["version"] == 3, "nothing changed, so there is no new version"

    assert (await http.delete(path)).status_code == 428
    assert (await http.delete(path, headers={"If-Match": '"3"'})).status_code == 204
    assert (await http.get(path)).status_code == 404
    now = (await http.get("/v1/nomenclature")).json()["data"]
    assert [one["id"] for one in now] == [second["id"]]
    before = (await http.get("/v1/nomenclature", params={"version": 1})).json()["data"]
    assert [(one["id"], one["fill"]["vat"], one["ended_in"]) for one in before] == [(first["id"], "none", 3)]
    assert (await http.get("/v1/nomenclature", params={"version": 0})).json()["data"] == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"match": {}}, "rule_for_everything"),
        ({"match": {"text": " ** "}}, "text_empty"),
        ({"match": {"sku": "a"}, "fill": {"vat": "vat20"}}, "vat_not_in_force"),
        ({"match": {"sku": "a"}, "fill": {"name": "\u0301"}}, "name_empty"),
        (
            {"match": {"sku": "a"}, "fill": {"agent": {"type": "another", "supplier_inn": "7707083890",
             "supplier_name": "ООО"}}},
            "agent_incomplete",
        ),
    ],
)  # fmt: skip
async def test_a_rule_that_makes_no_sense_is_refused(http: httpx.AsyncClient, body: Any, code: str) -> None:
    answer = await http.post("/v1/nomenclature", json=body)
    assert answer.status_code == 422, answer.text
    assert code in [one["code"] for one in answer.json()["errors"]]
    assert all(one["detail_ru"] for one in answer.json()["errors"])
    assert (await http.get("/v1/nomenclature")).json()["data"] == []


async def test_two_rules_never_ask_the_same(http: httpx.AsyncClient) -> None:
    first = await made(http, {"text": "Учёба «А»"})
    again = await http.post("/v1/nomenclature", json={"match": {"text": 'учеба "а"'}, "priority": 5})
    assert (again.status_code, again.json()["existing_id"]) == (409, first["id"])
    other = await made(http, {"sku": "A"})
    moved = await http.patch(
        f"/v1/nomenclature/{other['id']}",
        json={"match": {"sku": None, "text": "учеба «а»"}},
        headers={"If-Match": f'"{other["version"]}"'},
    )
    assert moved.status_code == 409


async def test_receipts_say_which_version_filled_them_and_keep_it(world: World, http: httpx.AsyncClient) -> None:
    rule = await made(http, {"text": "абон*"}, {"name": "Абонемент, 8 занятий", "measure": "hour"})
    async with world.working():
        old = await world.pay(items=(item("Абон. 8", vat="none"),))
        await world.status(old, "fiscalized")
        change = {"fill": {"name": "Абонемент"}}
        path = f"/v1/nomenclature/{rule['id']}"
        assert (await http.patch(path, json=change, headers={"If-Match": '"1"'})).status_code == 200
        new = await world.pay(items=(item("Абон. 8"), item("Кружка", 100_00, vat="none")), amount=209_000)
        await world.status(new, "fiscalized")
    first, second = await shown(http, world, old), await shown(http, world, new)
    assert first["items"][0]["name"] == "Абонемент, 8 занятий"
    assert first["nomenclature"] == {
        "version": 1,
        "lines": [{"rule_id": rule["id"], "members": ["name", "measure"], "reported_name": "Абон. 8"}],
    }
    assert [line["name"] for line in second["items"]] == ["Абонемент", "Кружка"]
    assert (second["nomenclature"]["version"], second["nomenclature"]["lines"][1]) == (2, None)
    assert first["items_origin"] == second["items_origin"] == "nomenclature"
    printed = str(await world.tape())
    assert "Абонемент, 8 занятий" in printed
    assert "Абон. 8" not in printed
    line = {"name": "Абон. 8", "quantity": "1", "price": 199_000, "amount": 199_000}
    report = {"type": "payment.succeeded", "external_id": "dry", "amount": 199_000, "items": [line]}
    report["customer"] = {"email": "anna@example.org"}
    dry = (await http.post("/v1/events?dry_run=true", json=report)).json()
    assert dry["receipts"][0]["nomenclature"]["version"] == 2
    assert dry["receipts"][0]["nomenclature"]["lines"][0] == second["nomenclature"]["lines"][0]


async def test_what_is_unknown_is_held_and_goes_on_when_its_rule_comes(world: World, http: httpx.AsyncClient) -> None:
    await policy(http, world, "hold")
    async with world.working():
        held = await world.pay(items=(item("Робототехника, 1 модуль", sku="R-1"),))
        other = await world.pay(items=(item("Шахматы"),))
        row = await world.status(held, "held")
        assert row.failure is not None
        assert row.failure["code"] == "nomenclature_missing"
        (gap,) = row.failure["missing"]
        for told in (gap["detail"], gap["detail_ru"]):
            assert "Робототехника, 1 модуль" in told
            assert "R-1" in told
        view = (await http.get(f"/v1/events/{public('evt', held)}")).json()
        assert view["missing"][0]["field"] == "nomenclature"
        await made(http, {"text": "робототехника*"}, {"vat": "none"})
        await world.status(held, "fiscalized")
        assert (await world.receipt(other)).status == "held"
        messages = (await http.get("/v1/messages")).json()["data"]
        told_held = [m for m in messages if m["type"] == "receipt.held"]
        assert len(told_held) == 2, "a hold that says nothing new is told once"
        await made(http, {"text": "шахматы"})
        await world.status(other, "fiscalized")
    assert (await shown(http, world, other))["nomenclature"]["lines"][0]["members"] == []


async def test_a_change_of_policy_lets_what_was_held_go_on(world: World, http: httpx.AsyncClient) -> None:
    await policy(http, world, "hold")
    async with world.working():
        held = await world.pay()
        await world.status(held, "held")
        await policy(http, world, "default")
        await world.status(held, "fiscalized")


async def test_what_another_process_held_under_the_old_rules_is_swept(world: World, http: httpx.AsyncClient) -> None:
    await policy(http, world, "hold")
    stale = await world.runtime.services.catalog.merchant(world.merchant_id)
    await made(http, {"text": "абонемент"})
    # Another process that still believes the settings of three seconds ago.
    world.runtime.services.catalog._known.put(world.merchant_id, stale)
    held = await world.pay()
    assert (await world.receipt(held)).status == "held"
    async with world.runtime.database.pipeline() as tx:
        await tx.exec_driver_sql("DELETE FROM jobs")
        await replan_held_late(tx)
    assert await rows.scalar(world.runtime.database, "SELECT count(*) FROM jobs") == 1
    async with world.working():
        await world.status(held, "fiscalized")


async def test_refuse_is_an_answer_and_a_source_has_its_own_policy(world: World, http: httpx.AsyncClient) -> None:
    await policy(http, world, "refuse")
    event = {
        "type": "payment.succeeded",
        "external_id": "x-1",
        "amount": 100,
        "customer": {"email": "anna@example.org"},
        "items": [{"name": "Кружка", "quantity": "1", "price": 100, "amount": 100, "vat": "none"}],
    }
    refused = await http.post("/v1/events", json=event)
    assert (refused.status_code, refused.json()["rule"]) == (422, "nomenclature_unmapped")
    assert "Кружка" in refused.json()["errors"][0]["detail_ru"]
    source = public("src", world.source_id)
    own = await http.patch(f"/v1/sources/{source}", json={"unmapped": "default"})
    assert (own.status_code, own.json()["unmapped"]) == (200, "default")
    taken = await http.post("/v1/events", json=event)
    assert (taken.status_code, taken.json()["status"]) == (202, "planned")
    assert (await http.patch(f"/v1/sources/{source}", json={"unmapped": None})).json()["unmapped"] is None
    by_hand = {"operation": "sell", **{name: event[name] for name in ("amount", "customer", "items")}}
    typed = await http.post("/v1/receipts", json=by_hand, headers={"Idempotency-Key": "hand-1"})
    assert (typed.status_code, typed.json()["items_origin"]) == (202, "person")


async def test_a_person_may_give_the_lines_of_one_held_receipt(world: World, http: httpx.AsyncClient) -> None:
    await policy(http, world, "hold")
    held = await world.pay()
    row = await world.receipt(held)
    lines = [{"name": "Абонемент", "quantity": "1", "price": 199_000, "amount": 199_000, "vat": "none"}]
    answer = await http.patch(
        f"/v1/receipts/{public('rcpt', row.id)}", json={"items": lines}, headers={"If-Match": f'"{row.sequence}"'}
    )
    assert (answer.status_code, answer.json()["status"]) == (200, "queued"), answer.text
    assert answer.json()["items_origin"] == "person"


async def test_a_refund_names_lines_as_its_source_does(world: World, http: httpx.AsyncClient) -> None:
    rule = await made(http, {"text": "абон*"}, {"name": "Абонемент, 8 занятий"})
    async with world.working():
        sale = await world.pay("p-1", items=(item("Абон. 8"), item("Кружка", 100_00, vat="none")), amount=209_000)
        await world.status(sale, "fiscalized")
        # The rule is another by now; what was sold is returned under the name that was printed.
        await http.delete(f"/v1/nomenclature/{rule['id']}", headers={"If-Match": '"1"'})
        back = await world.refund("r-1", "p-1", 100_000, items=(item("Абон. 8", 100_000),))
        await world.status(back, "fiscalized")
    assert (await shown(http, world, back))["items"][0]["name"] == "Абонемент, 8 занятий"


async def test_a_closing_takes_the_rate_of_its_rule(world: World, http: httpx.AsyncClient) -> None:
    kassa = public("kas", world.kassa_id)
    assert (await http.patch(f"/v1/kassas/{kassa}", json={"defaults": {"vat": "vat22"}})).status_code == 200
    await made(http, {"text": "детский*"}, {"name": "Детские занятия", "vat": "none"})
    rule = await made(http, {"text": "хор*"}, {"name": "Хор", "vat": "vat22"})
    settled: dict[str, Any] = {"type": EventType.ORDER_SETTLED, "payment_id": "p-1", "items": ()}
    async with world.working():
        lines = (item("Детский абонемент", 100_000), item("Хор, 8", 50_000), item("Кружка", 50_000))
        sale = await world.pay("p-1", items=lines, amount=200_000)
        await world.status(sale, "fiscalized")
        change = {"fill": {"vat": "vat5"}}
        path = f"/v1/nomenclature/{rule['id']}"
        assert (await http.patch(path, json=change, headers={"If-Match": '"2"'})).status_code == 200
        closing = await world.pay("c-1", 200_000, **settled)
        await world.status(closing, "fiscalized")
    before, after = (await shown(http, world, sale))["items"], (await shown(http, world, closing))["items"]
    assert [(line["name"], line["vat"]) for line in before] == [
        ("Детские занятия", "none"),
        ("Хор", "vat122"),
        ("Кружка", "vat122"),
    ]
    assert [(line["name"], line["vat"]) for line in after] == [
        ("Детские занятия", "none"),
        ("Хор", "vat5"),
        ("Кружка", "vat22"),
    ]


async def test_branch_source_and_payment_type_choose_the_rule(world: World, http: httpx.AsyncClient) -> None:
    kassa = public("kas", world.kassa_id)
    branch = (await http.post("/v1/branches", json={"name": "Ленина", "external_id": "f-1", "kassa": kassa})).json()
    await made(http, {"branch": branch["id"]}, {"name": "На Ленина"})
    await made(http, {"payment_type": "cash"}, {"name": "Наличными"})
    await made(http, {"source": public("src", world.source_id)}, {"name": "Из api"})
    cash = (EventPayment("cash", 199_000),)
    names = []
    for event in ({"branch": "f-1", "payments": cash}, {"payments": cash}, {}):
        names.append((await shown(http, world, await world.pay(**event)))["items"][0]["name"])
    assert names == ["На Ленина", "Наличными", "Из api"]


async def test_a_table_goes_out_and_comes_back(world: World, http: httpx.AsyncClient) -> None:
    agent = {
        "type": "another",
        "supplier_inn": "7707083893",
        "supplier_name": "ООО «Ромашка»",
        "supplier_phones": ["+74950000000", "+79990000000"],
    }
    await made(http, {"text": "абон*; «лето»"}, {"name": '=HYPERLINK("x")', "vat": "none", "agent": agent})
    await made(http, {"sku": "007", "source": public("src", world.source_id)}, {"measure": "hour"}, comment="+1")
    out = await http.get("/v1/nomenclature.csv")
    assert out.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in out.headers["content-disposition"]
    assert out.content.startswith("\ufeffid;priority;source".encode())
    assert ";'007;" in out.text
    assert "'=HYPERLINK" in out.text

    same = await http.put("/v1/nomenclature.csv", content=out.content, headers=CSV)
    assert same.status_code == 200, same.text
    told = same.json()
    assert (told["unchanged"], told["added"], told["changed"], told["deleted"]) == (2, 0, 0, [])
    stored = await http.put("/v1/nomenclature.csv", content=out.content, headers=CSV, params={"confirm": told["token"]})
    assert (stored.json()["applied"], stored.json()["version"]) == (True, 2), "nothing changed: no new version"

    table = 'sku;text;name;vat\r\n;"абон*; «лето»";Абонемент;none\r\n;секция*;Секция;без НДС\r\n'
    preview = (await http.put("/v1/nomenclature.csv", content=table.encode(), headers=CSV)).json()
    assert (preview["changed"], preview["added"], len(preview["deleted"])) == (1, 1, 1)
    assert not preview["applied"]
    assert len((await http.get("/v1/nomenclature")).json()["data"]) == 2, "a preview stores nothing"
    other = (table + ";шахматы;;\r\n").encode()
    wrong = await http.put("/v1/nomenclature.csv", content=other, headers=CSV, params={"confirm": preview["token"]})
    assert (wrong.status_code, wrong.json()["rule"]) == (409, "token_differs")
    await made(http, {"text": "между"})
    late = await http.put(
        "/v1/nomenclature.csv", content=table.encode(), headers=CSV, params={"confirm": preview["token"]}
    )
    assert late.status_code == 409, "the rules are others than those that the preview showed"
    again = (await http.put("/v1/nomenclature.csv", content=table.encode(), headers=CSV)).json()
    done = await http.put(
        "/v1/nomenclature.csv", content=table.encode(), headers=CSV, params={"confirm": again["token"]}
    )
    assert (done.json()["version"], done.json()["applied"]) == (4, True)
    rules = (await http.get("/v1/nomenclature")).json()["data"]
    assert {one["match"]["text"]: one["fill"]["name"] for one in rules} == {
        "абон*; «лето»": "Абонемент",
        "секция*": "Секция",
    }
    assert len((await http.get("/v1/nomenclature", params={"version": 2})).json()["data"]) == 2


async def test_a_table_with_a_wrong_line_changes_nothing(world: World, http: httpx.AsyncClient) -> None:
    await made(http, {"text": "абон*"})
    table = (
        "id;text;branch;vat;agent_supplier_inn\n"
        ";шахматы;Нигде;19;\n"
        ";секция;;;7707083893\n"
        "nom_00000000000000000000000000000000;хор;;;\n"
        ";хор ;;;\n"
        ";***;;;\n"
    )
    answer = await http.put("/v1/nomenclature.csv", content=table.encode(), headers=CSV)
    told = answer.json()
    assert (told["refused"], told["token"]) == (5, None), told
    assert [[one["code"] for one in row["findings"]] for row in told["rows"]] == [
        ["value_unknown", "branch_unknown"],
        ["cell_missing"],
        ["rule_unknown"],
        ["rule_repeated"],
        ["text_empty"],
    ]
    forced = await http.put("/v1/nomenclature.csv", content=table.encode(), headers=CSV, params={"confirm": "0" * 32})
    assert forced.status_code == 422
    broken = await http.put("/v1/nomenclature.csv", content="\xff".encode("latin-1"), headers=CSV)
    assert broken.json()["errors"][0]["code"] == "not_utf8"
    as_json = await http.put("/v1/nomenclature.csv", json={})
    assert (as_json.status_code, as_json.json()["supported"]) == (415, ["text/csv"])
    assert len((await http.get("/v1/nomenclature")).json()["data"]) == 1


async def test_what_no_rule_covers_is_told_without_its_buyers(world: World, http: httpx.AsyncClient) -> None:
    await made(http, {"text": "абонемент*"})
    anna = Customer(email="anna@example.org", name="Иванова Анна")
    await world.pay()
    for number in range(3):
        await world.pay(items=(item("Кружок рисования", 100, vat="none"),), amount=100, customer=anna)
        await world.pay(
            items=(),
            amount=100,
            description=f"Оплата по счёту № 1234{number} от 0{number + 1}.11.2026, Анны Ивановой, +79990000000",
            customer=anna,
        )
    await world.pay(items=(item("Кружка", 100, sku="M-1"),), amount=100)
    await policy(http, world, "hold")
    await world.pay(items=(item("Кружка", 100, sku="M-1"),), amount=100)
    found = (await http.get("/v1/nomenclature/diff")).json()
    assert (found["version"], found["events_read"], found["complete"], found["groups"]) == (1, 9, True, 3)
    drawing, invoice, mug = sorted(found["data"], key=lambda one: (-one["lines"], one["text"]))
    assert (drawing["text"], drawing["lines"], drawing["amount"], drawing["held"]) == ("Кружок рисования", 3, 300, 0)
    assert drawing["example"]["vat"] == "none"
    assert (invoice["text"], invoice["lines"]) == ("Оплата по счёту * от *, *, *", 3)
    assert (mug["match"], mug["lines"], mug["held"], mug["policy"]) == ({"sku": "M-1", "text": None}, 2, 1, "hold")
    told = str(found)
    assert not [secret for secret in ("Анна", "Иванова", "anna", "7999", "0000,", "1234") if secret in told], told
    for group in found["data"]:
        match = {name: value for name, value in group["match"].items() if value is not None}
        await made(http, match)
    assert (await http.get("/v1/nomenclature/diff")).json()["data"] == []


@pytest.mark.parametrize(
    "text", ["Оплата № 77 от 01.02.2026 за Петрова", "a@example.org и +79990000000", "х" * 300, "Счёт 1234567 «А»"]
)
def test_the_rule_that_is_proposed_covers_the_text(text: str) -> None:
    event = payment("p", customer=Customer(name="Петров Иван"), occurred_at=datetime.now(UTC))
    told = without_buyer(text, event)
    assert "Петров" not in told
    assert len(told) <= 255
    assert Glob(told).matches(folded(text))


async def test_a_merchant_without_rules_reads_none_and_pays_nothing(world: World) -> None:
    settings = await world.runtime.services.catalog.merchant(world.merchant_id, fresh=True)
    assert settings.rules is None
    await world.pay()
    assert [one.nomenclature for one in settings.compiled.values()] == [None]


async def test_rules_are_read_once_per_version(world: World, http: httpx.AsyncClient) -> None:
    await made(http, {"text": "абон*"})
    catalog = world.runtime.services.catalog
    first = await catalog.merchant(world.merchant_id, fresh=True)
    again = await catalog.merchant(world.merchant_id, fresh=True)
    assert first is not again
    assert first.rules is again.rules is not None
    await made(http, {"text": "хор*"})
    assert (await catalog.merchant(world.merchant_id)).rules is not first.rules


async def test_there_are_not_more_rules_than_a_file_holds(world: World, http: httpx.AsyncClient) -> None:
    table = "sku;name\n" + "".join(f"A-{n};Товар {n}\n" for n in range(MAX_RULES))
    preview = (await http.put("/v1/nomenclature.csv", content=table.encode(), headers=CSV)).json()
    assert preview["added"] == MAX_RULES
    await http.put("/v1/nomenclature.csv", content=table.encode(), headers=CSV, params={"confirm": preview["token"]})
    assert (await http.post("/v1/nomenclature", json={"match": {"sku": "one too many"}})).status_code == 409
    assert (await shown(http, world, await world.pay(items=(item("x", sku="A-7"),))))["items"][0]["name"] == "Товар 7"
    too_many = table + "A-x;Товар\n"
    answer = await http.put("/v1/nomenclature.csv", content=too_many.encode(), headers=CSV)
    assert answer.json()["errors"][0]["code"] == "list_too_long"
