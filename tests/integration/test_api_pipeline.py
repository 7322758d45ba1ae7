"""The API of events, receipts, messages and inbound calls over the real services, database, worker and simulator."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from app.infra.ids import new_id
from app.main import create_app, openapi_document
from app.ports.inbound import InboundReply, InboundRequest
from app.services.principal import Principal
from tests.support.world import World, open_world

PAYMENT: dict[str, Any] = {
    "type": "payment.succeeded",
    "external_id": "p-1",
    "amount": 199000,
    "currency": "RUB",
    "customer": {"email": "anna@example.org"},
    "items": [{"name": "Абонемент", "quantity": "1", "price": 199000, "amount": 199000, "vat": "none"}],
}
BY_HAND = {name: PAYMENT[name] for name in ("amount", "customer", "items")} | {"operation": "sell"}

CallerOf = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path) as found:
        yield found


@pytest.fixture
def app(world: World) -> FastAPI:
    return create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)


@pytest.fixture
def caller(world: World, app: FastAPI) -> CallerOf:
    """A client with a fresh key of these scopes, for the world's merchant or another one."""

    async def client(*scopes: str, merchant_id: UUID | None = None) -> httpx.AsyncClient:
        admin = Principal(new_id(), None, None, frozenset({"admin"}))
        made = await world.runtime.services.access.create(
            admin, merchant_id=merchant_id or world.merchant_id, name="test", scopes=scopes or ("*",)
        )
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://kassa.example.org",
            headers={"Authorization": f"Bearer {made.text}", "Content-Type": "application/json"},
        )

    return client


@pytest.fixture
async def api(caller: CallerOf) -> httpx.AsyncClient:
    return await caller("*")


async def test_a_payment_is_stored_once_and_answered_as_promised(api: httpx.AsyncClient) -> None:
    first = await api.post("/v1/events", json=PAYMENT)
    assert first.status_code == 202
    event = first.json()
    assert event["id"].startswith("evt_")
    assert event["status"] == "planned"
    assert [(one["id"][:5], one["status"]) for one in event["receipts"]] == [("rcpt_", "queued")]
    assert first.headers["location"] == f"/v1/events/{event['id']}"
    assert (await api.get(first.headers["location"])).json() == event

    again = await api.post("/v1/events", json={**PAYMENT, "metadata": {"try": 2}})
    assert again.status_code == 200
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == event

    items = [{**PAYMENT["items"][0], "price": 5, "amount": 5}]
    other = await api.post("/v1/events", json={**PAYMENT, "amount": 5, "items": items})
    assert other.status_code == 409
    assert other.json()["code"] == "duplicate_event"
    assert other.json()["existing_id"] == event["id"]


async def test_a_refund_is_received_at_once_and_planned_by_the_worker(world: World, api: httpx.AsyncClient) -> None:
    await api.post("/v1/events", json=PAYMENT)
    refund = {"type": "refund.succeeded", "external_id": "r-1", "payment_id": "p-1", "amount": 1000}
    answer = await api.post("/v1/events", json=refund)
    assert (answer.status_code, answer.json()["status"], answer.json()["receipts"]) == (202, "received", [])
    async with world.working():
        done = await api.post("/v1/events", json=refund, headers={"Prefer": "respond-async, wait=20"})
    assert done.status_code == 200
    assert done.headers["preference-applied"] == "wait=20"
    assert [one["operation"] for one in done.json()["receipts"]] == ["sell_refund"]
    assert done.json()["receipts"][0]["fiscal"]["qr"].endswith("&n=2")


async def test_waiting_answers_200_with_the_receipt_or_202_when_the_time_is_up(
    world: World, api: httpx.AsyncClient
) -> None:
    late = await api.post("/v1/events", json=PAYMENT, headers={"Prefer": "wait=0"})
    assert late.status_code == 202
    assert late.headers["preference-applied"] == "wait=0"
    async with world.working():
        done = await api.post("/v1/events", json={**PAYMENT, "external_id": "p-2"}, headers={"Prefer": "wait=99"})
    assert done.status_code == 200
    assert done.headers["preference-applied"] == "wait=30"
    assert "idempotent-replayed" not in done.headers
    assert done.json()["receipts"][0]["status"] == "fiscalized"


def with_item(**members: Any) -> dict[str, Any]:
    return {**PAYMENT, "items": [{**PAYMENT["items"][0], **members}]}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({**PAYMENT, "colour": "red"}, "#/colour"),
    (with_item(colour="red"), "#/items/0/colour"),
    ({**PAYMENT, "amount": "199000"}, "#/amount"),
    ({**PAYMENT, "amount": 199000.5}, "#/amount"),
    ({**PAYMENT, "amount": True}, "#/amount"),
    ({**PAYMENT, "amount": -1}, "#/amount"),
    ({**PAYMENT, "currency": "USD"}, "#/currency"),
    ({**PAYMENT, "type": "payment.failed"}, "#/type"),
    ({**PAYMENT, "external_id": " "}, "#/external_id"),
    ({**PAYMENT, "external_id": "a\x00b"}, "#/external_id"),
    ({**PAYMENT, "customer": {"email": "anna at example"}}, "#/customer/email"),
    ({**PAYMENT, "customer": {"phone": "12"}}, "#/customer/phone"),
    ({**PAYMENT, "occurred_at": "2026-11-23T11:00:00"}, "#/occurred_at"),
    ({**PAYMENT, "occurred_at": "0001-01-01T00:00:00+05:00"}, "#/occurred_at"),
    ({**PAYMENT, "occurred_at": 1795431600}, "#/occurred_at"),
    ({**PAYMENT, "delivered": "yes"}, "#/delivered"),
    ({**PAYMENT, "taxation": "envd"}, "#/taxation"),
    ({**PAYMENT, "source": "nobody"}, "#/source"),
    ({**PAYMENT, "metadata": {"a": ["\x00"]}}, "#/metadata"),
    ({**PAYMENT, "metadata": {"a": "x" * 20_000}}, "#/metadata"),
    ({**PAYMENT, "payments": [{"type": "barter", "amount": 1}]}, "#/payments/0/type"),
    (with_item(quantity=1), "#/items/0/quantity"),
    (with_item(quantity="0"), "#/items/0/quantity"),
    (with_item(quantity="1e3"), "#/items/0/quantity"),
    (with_item(quantity="١"), "#/items/0/quantity"),
    (with_item(vat="vat13"), "#/items/0/vat"),
    (with_item(marking_code={"code": ""}), "#/items/0/marking_code/code"),
    (with_item(agent={"type": "spy", "supplier_inn": "7707083893", "supplier_name": "x"}), "#/items/0/agent/type"),
    ({"type": "refund.succeeded", "external_id": "r-1", "amount": 5}, "#/payment_id"),
]


async def test_what_is_wrong_is_pointed_at_and_not_repeated(api: httpx.AsyncClient) -> None:
    for body, pointer in WRONG:
        answer = await api.post("/v1/events", json=body)
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"), body
        assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]
        assert "anna at example" not in answer.text
    assert (await api.get("/v1/events")).json()["data"] == []


async def test_a_body_that_is_no_event_never_breaks_anything(api: httpx.AsyncClient) -> None:
    for body in [b"", b"{", b"[]", b'"\xff"', b'{"external_id":"\\ud800"}', b"[" * 100_000, b"null"]:
        assert (await api.post("/v1/events", content=body)).status_code in (400, 422), body[:20]


async def test_an_idempotency_key_on_an_event_is_only_checked_for_its_form(api: httpx.AsyncClient) -> None:
    assert (await api.post("/v1/events", json=PAYMENT, headers={"Idempotency-Key": "k"})).status_code == 202
    other = {**PAYMENT, "external_id": "p-2"}
    assert (await api.post("/v1/events", json=other, headers={"Idempotency-Key": '"k"'})).status_code == 202
    wrong = await api.post("/v1/events", json=PAYMENT, headers={"Idempotency-Key": "a b"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "idempotency_key_invalid")


async def test_a_misspelt_parameter_is_an_error_everywhere(api: httpx.AsyncClient) -> None:
    for method, path in (("POST", "/v1/events?tset=1"), ("GET", "/v1/receipts?stat=held"), ("GET", "/v1/events?a=b")):
        answer = await api.request(method, path, json=PAYMENT if method == "POST" else None)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["parameter"] in ("tset", "stat", "a")


async def test_the_buyer_is_shown_only_to_who_may_read_buyers(
    world: World, api: httpx.AsyncClient, caller: CallerOf
) -> None:
    blind = await caller("events:write", "events:read", "receipts:read")
    event = (await blind.post("/v1/events", json=PAYMENT)).json()
    shown = (await api.post("/v1/events", json={**PAYMENT, "external_id": "p-2"})).json()
    assert event["customer"]["email"] == event["receipts"][0]["customer"]["email"] == "a***@e***.org"
    assert shown["customer"]["email"] == shown["receipts"][0]["customer"]["email"] == "anna@example.org"
    path = f"/v1/receipts/{event['receipts'][0]['id']}"
    assert (await blind.get(path)).json()["customer"]["email"] == "a***@e***.org"
    assert (await api.get(path)).json()["customer"]["email"] == "anna@example.org"
    assert (await blind.get("/v1/receipts", params={"email": "ANNA@example.org"})).json()["data"]


async def test_each_call_needs_its_scope(caller: CallerOf) -> None:
    for method, path, scope in (
        ("POST", "/v1/events", "events:write"),
        ("GET", "/v1/events", "events:read"),
        ("GET", "/v1/receipts", "receipts:read"),
        ("POST", "/v1/receipts", "receipts:write"),
        ("POST", "/v1/corrections", "receipts:write"),
        ("POST", "/v1/receipts/bulk", "receipts:write"),
        ("GET", "/v1/messages", "webhooks:read"),
    ):
        others = {"events:write", "events:read", "receipts:read", "receipts:write", "webhooks:read"} - {scope}
        answer = await (await caller(*others)).request(method, path, headers={"Idempotency-Key": "k"})
        assert (answer.status_code, answer.json()["required_scopes"]) == (403, [scope])


async def test_an_admin_key_reports_no_events(world: World, app: FastAPI) -> None:
    text = await world.runtime.services.access.ensure_admin_key()
    admin = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://kassa.example.org")
    answer = await admin.post("/v1/events", json=PAYMENT, headers={"Authorization": f"Bearer {text}"})
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")


async def test_another_merchants_things_are_not_found(world: World, api: httpx.AsyncClient, caller: CallerOf) -> None:
    event = (await api.post("/v1/events", json=PAYMENT)).json()
    other = await world.runtime.services.merchants.create("test", name="Другая", inn="7707083893")
    stranger = await caller(merchant_id=other.id)
    receipt = event["receipts"][0]["id"]
    for method, path in (
        ("GET", f"/v1/events/{event['id']}"),
        ("PATCH", f"/v1/events/{event['id']}"),
        ("POST", f"/v1/events/{event['id']}/replan"),
        ("GET", f"/v1/receipts/{receipt}"),
        ("GET", f"/v1/receipts/{receipt}/timeline"),
        ("PATCH", f"/v1/receipts/{receipt}"),
        ("POST", f"/v1/receipts/{receipt}/retry"),
        ("POST", f"/v1/receipts/{receipt}/cancel"),
        ("POST", f"/v1/receipts/{receipt}/refund"),
    ):
        body = None if method == "GET" or path.endswith(("retry", "replan")) else {}
        headers = {"If-Match": '"0"', "Idempotency-Key": "k"}
        answer = await stranger.request(method, path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
    assert (await stranger.get("/v1/events")).json()["data"] == []
    assert (await stranger.get("/v1/messages")).json()["data"] == []


async def test_lists_go_page_by_page(api: httpx.AsyncClient) -> None:
    for number in range(3):
        await api.post("/v1/events", json={**PAYMENT, "external_id": f"p-{number}", "order_id": "A-1"})
    for path in ("/v1/events", "/v1/receipts"):
        first = (await api.get(path, params={"limit": 2, "order_id": "A-1"})).json()
        assert [one["external_id"] for one in first["data"]] == ["p-2", "p-1"]
        assert first["has_more"]
        more = {"limit": 2, "order_id": "A-1", "cursor": first["next_cursor"]}
        rest = (await api.get(path, params=more)).json()
        assert [one["external_id"] for one in rest["data"]] == ["p-0"]
        assert (rest["has_more"], rest["next_cursor"]) == (False, None)
        assert (await api.get(path, params={**more, "order_id": "A-2"})).status_code == 400


async def test_a_held_payment_is_filled_and_goes_on(api: httpx.AsyncClient) -> None:
    held = (await api.post("/v1/events", json={**PAYMENT, "customer": None})).json()
    assert held["status"] == "held"
    assert [one["pointer"] for one in held["missing"]] == ["#/customer"]
    assert held["receipts"][0]["failure"]["missing"] == held["missing"]
    filled = await api.patch(f"/v1/events/{held['id']}", json={"customer": {"phone": "8 (999) 000-00-00"}})
    assert filled.status_code == 200
    assert filled.json()["status"] == "planned"
    assert filled.json()["receipts"][0]["status"] == "queued"
    assert filled.json()["customer"]["phone"] == "+79990000000"


async def test_lines_and_payments_can_be_corrected_too(api: httpx.AsyncClient) -> None:
    held = (await api.post("/v1/events", json={**PAYMENT, "customer": None})).json()
    receipt = held["receipts"][0]
    changes = {
        "customer": {"email": "anna@example.org"},
        "items": [{**PAYMENT["items"][0], "name": "Курс"}],
        "payments": [{"type": "cash", "amount": 199000}],
    }
    path = f"/v1/receipts/{receipt['id']}"
    assert (await api.patch(path, json=changes)).status_code == 428
    assert (await api.patch(path, json=changes, headers={"If-Match": '"99"'})).status_code == 412
    assert (await api.patch(path, json=changes, headers={"If-Match": "*"})).status_code == 412
    shown = await api.get(path)
    done = await api.patch(path, json=changes, headers={"If-Match": shown.headers["etag"]})
    assert done.status_code == 200
    assert done.json()["items"][0]["name"] == "Курс"
    assert done.json()["payments"] == [{"type": "cash", "amount": 199000}]


async def test_a_receipt_by_hand_is_made_once_per_key(api: httpx.AsyncClient) -> None:
    assert (await api.post("/v1/receipts", json=BY_HAND)).json()["code"] == "idempotency_key_missing"
    first = await api.post("/v1/receipts", json=BY_HAND, headers={"Idempotency-Key": "k-1"})
    assert first.status_code == 202
    again = await api.post("/v1/receipts", json=BY_HAND, headers={"Idempotency-Key": '"k-1"'})
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"] == f"/v1/receipts/{first.json()['id']}"
    other = await api.post("/v1/receipts", json={**BY_HAND, "order_id": "A"}, headers={"Idempotency-Key": "k-1"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len((await api.get("/v1/receipts")).json()["data"]) == 1


async def test_a_final_refusal_is_replayed_and_a_faulty_request_is_not(api: httpx.AsyncClient) -> None:
    wrong = {**BY_HAND, "amount": 5}
    first = await api.post("/v1/receipts", json=wrong, headers={"Idempotency-Key": "k-1"})
    again = await api.post("/v1/receipts", json=wrong, headers={"Idempotency-Key": "k-1"})
    assert first.status_code == again.status_code == 422
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["content-type"] == "application/problem+json"

    invalid = await api.post("/v1/receipts", json={**BY_HAND, "colour": 1}, headers={"Idempotency-Key": "k-2"})
    assert invalid.status_code == 422
    assert (await api.post("/v1/receipts", json=BY_HAND, headers={"Idempotency-Key": "k-2"})).status_code == 202


async def test_a_correction_says_what_it_corrects(api: httpx.AsyncClient) -> None:
    body = {**BY_HAND, "correction": {"kind": "self", "corrected_date": "2026-11-02"}}
    made = await api.post("/v1/corrections", json=body, headers={"Idempotency-Key": "k-1"})
    assert made.status_code == 202
    assert made.json()["correction"] == {"kind": "self", "corrected_date": "2026-11-02", "document_number": None}


async def test_a_sale_is_refunded_by_lines_by_amount_and_never_beyond(world: World, api: httpx.AsyncClient) -> None:
    sale = {
        **PAYMENT,
        "amount": 300,
        "items": [{"name": "Урок", "sku": "L", "quantity": "3", "price": 100, "amount": 300, "vat": "none"}],
    }
    event = (await api.post("/v1/events", json=sale)).json()
    path = f"/v1/receipts/{event['receipts'][0]['id']}/refund"

    async def refund(key: str, body: dict[str, Any]) -> httpx.Response:
        return await api.post(path, json=body, headers={"Idempotency-Key": key})

    two = await refund("k-1", {"items": [{"sku": "L", "quantity": "2"}], "reason": "отмена занятий"})
    assert two.status_code == 202
    assert two.json()["items"][0]["amount"] == 200
    assert two.headers["location"] == f"/v1/events/{two.json()['id']}"
    assert (await refund("k-1", {"items": [{"sku": "L", "quantity": "2"}], "reason": "отмена занятий"})).json() == (
        two.json()
    )
    missing = await refund("k-2", {"items": [{"name": "Пирог", "quantity": "1"}]})
    assert missing.json()["errors"][0]["pointer"] == "#/items/0"
    too_many = await refund("k-3", {"items": [{"name": "урок", "quantity": "4"}]})
    assert (too_many.status_code, too_many.json()["code"]) == (422, "refund_exceeds_payment")
    both = await refund("k-4", {"items": [{"sku": "L", "quantity": "1"}], "amount": 5})
    assert (both.status_code, both.json()["code"]) == (422, "validation_failed")
    async with world.working():
        await world.idle()
    told = (await api.get(f"/v1/events/{two.json()['id']}")).json()
    assert [(one["operation"], one["total"], one["status"]) for one in told["receipts"]] == [
        ("sell_refund", 200, "fiscalized")
    ]


async def test_many_are_previewed_then_cancelled(api: httpx.AsyncClient) -> None:
    for number in range(3):
        await api.post("/v1/events", json={**PAYMENT, "external_id": f"p-{number}"})
    asked = {"action": "cancel", "filter": {"status": ["queued"]}, "reason": "касса закрыта"}
    preview = (await api.post("/v1/receipts/bulk", json=asked)).json()
    assert (preview["preview"], preview["count"], len(preview["ids"]), preview["results"]) == (True, 3, 3, [])
    done = (await api.post("/v1/receipts/bulk", json={**asked, "preview": False})).json()
    assert [one["done"] for one in done["results"]] == [True] * 3
    assert (await api.post("/v1/receipts/bulk", json=asked)).json()["count"] == 0
    again = {"action": "cancel", "filter": {"status": ["cancelled"]}, "preview": False}
    refused = (await api.post("/v1/receipts/bulk", json=again)).json()
    assert [(one["done"], one["code"]) for one in refused["results"]] == [(False, "state_conflict")] * 3
    assert (await api.post("/v1/receipts/bulk", json={"action": "retry", "filter": {}})).status_code == 422


async def test_a_history_and_the_feed_tell_what_happened(world: World, api: httpx.AsyncClient) -> None:
    event = (await api.post("/v1/events", json=PAYMENT)).json()
    path = f"/v1/receipts/{event['receipts'][0]['id']}"
    async with world.working():
        await world.idle()
    told = await api.get(f"{path}/timeline")
    assert [one["what"] for one in told.json()["data"]] == ["planned", "planned", "marked", "attempt", "fiscalized"]
    assert "anna@example.org" not in told.text

    async def committed() -> bool:
        return bool((await api.get("/v1/messages")).json()["data"])

    await world.until(committed)
    feed = (await api.get("/v1/messages")).json()
    body = json.loads(feed["data"][0]["body"])
    assert body["type"] == feed["data"][0]["type"] == "receipt.fiscalized"
    assert body["data"]["receipt"]["sequence"] == (await api.get(path)).json()["sequence"]
    assert body["data"]["receipt"]["customer"]["email"] == "a***@e***.org"
    behind = (await api.get("/v1/messages", params={"after": feed["next_cursor"]})).json()
    assert (behind["data"], behind["next_cursor"]) == ([], feed["next_cursor"])
    assert (await api.get("/v1/messages", params={"after": "x"})).json()["code"] == "invalid_cursor"


class Recorder:
    """Stands where notifications are received, and keeps what the routes hand on."""

    def __init__(self) -> None:
        self.heard: list[tuple[str | None, ...]] = []
        self.request: InboundRequest | None = None

    async def receive(self, source_id: str, part: str, secret: str | None, request: InboundRequest) -> InboundReply:
        self.heard.append((source_id, part, secret))
        self.request = request
        return InboundReply(201, b"ok=1", "text/html", {"X-Reply": "1"})

    async def callback(self, kassa_id: str, secret: str, request: InboundRequest) -> None:
        self.heard.append((kassa_id, secret))
        self.request = request


async def test_inbound_calls_are_handed_on_as_they_came(world: World, api: httpx.AsyncClient) -> None:
    recorder = Recorder()
    world.runtime.services.inbound = recorder  # type: ignore[assignment]
    raw = b"a=%D0%B6&b=\xff\x00"
    reply = await api.post(
        "/in/src_1/pay?x=1&x=2", content=raw, headers=[("X-Sig", "s"), ("x-two", "1"), ("X-Two", "2")]
    )
    assert (reply.status_code, reply.content, reply.headers["x-reply"]) == (201, b"ok=1", "1")
    assert recorder.request is not None
    assert (recorder.request.method, recorder.request.part, recorder.request.query) == ("POST", "pay", "x=1&x=2")
    assert recorder.request.body == raw
    assert (recorder.request.headers["x-sig"], recorder.request.headers["x-two"]) == ("s", "1, 2")
    await api.get("/in/src_1/s-top-secret/check?y=1")
    done = await api.post("/callbacks/kas_1/hush", content=b"{}")
    assert (done.status_code, done.text) == (200, "OK")
    assert recorder.heard == [("src_1", "pay", None), ("src_1", "check", "top-secret"), ("kas_1", "hush")]


async def test_the_hottest_route_is_named_in_the_metrics(world: World, api: httpx.AsyncClient) -> None:
    await api.post("/v1/events", json=PAYMENT)
    told, _ = world.runtime.metrics.exposition()
    assert b'method="POST",route="/v1/events"' in told


def test_the_description_of_the_api_tells_these_calls_whole() -> None:
    described = openapi_document()
    post = described["paths"]["/v1/events"]["post"]
    assert post["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/EventIn"}
    assert {"200", "202", "400", "409", "422"} <= set(post["responses"])
    assert {one["name"] for one in post["parameters"]} == {"Prefer", "Idempotency-Key", "dry_run"}
    assert not [path for path in described["paths"] if not path.startswith("/v1/")]
    for path in ("/v1/receipts", "/v1/corrections", "/v1/receipts/{receipt_id}/refund"):
        (key,) = [one for one in described["paths"][path]["post"]["parameters"] if one["name"] == "Idempotency-Key"]
        # What may only be tried needs no key for that.
        assert key["required"] == path.endswith("/refund")
