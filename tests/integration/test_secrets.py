"""Canaries: secrets and a buyer go through a bad day of the whole program, and are looked for wherever people read."""

import base64
import io
import json
import logging
import urllib.parse
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI, Request, Response
from sqlalchemy import select, text

from app.db.tables import metadata
from app.domain.contact import mask_contacts
from app.infra.crypto import aad
from app.infra.ids import parse, public
from app.infra.logging import set_up
from app.main import create_app
from app.ports.kassa import DriverContext
from tests.support import rows
from tests.support.collector import Collector, open_collector
from tests.support.server import serve
from tests.support.world import World, open_world

EMAIL, PHONE, NAME = "olga.canary@example.org", "+79990001122", "Ольга Канарейкина"
BUYER = {"email": EMAIL, "phone": PHONE, "name": NAME}
KASSA_TOKEN = "kassa-token-of-the-canary"
CLOUD_SECRET = "cloudpayments-secret-of-the-canary"
COLLECTOR_KEY = "key-of-the-collector-of-the-canary"
SALE: dict[str, Any] = {
    "type": "payment.succeeded",
    "amount": 5000,
    "customer": BUYER,
    "items": [{"name": "Абонемент", "quantity": "1", "price": 5000, "amount": 5000, "vat": "none"}],
}
BY_HAND = {name: SALE[name] for name in ("amount", "customer", "items")} | {"operation": "sell"}


@dataclass
class Day:
    """What was planted, and everything that was said: where → text."""

    world: World
    secrets: dict[str, str] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    posted: list[bytes] = field(default_factory=list)

    @property
    def buyer(self) -> dict[str, str]:
        """A buyer's traces; a masked phone may show its last four digits, a masked name its initials."""
        return {
            "email": "olga.canary",
            "phone": "9990001122",
            "phone as written": "(999) 000-11-22",
            "name": "Канарейк",
        }

    def leaks(self) -> list[str]:
        return [
            f"{what} in {where}: …{body[max(body.find(form) - 60, 0) : body.find(form) + 60]}…"
            for what, value in {**self.secrets, **self.buyer}.items()
            for form in spellings(value)
            for where, body in self.said.items()
            if form in body
        ]


def spellings(value: str) -> set[str]:
    """As itself, as JSON and URLs write it, and in base64 wherever it may begin."""
    raw = value.encode()
    inner = {base64.b64encode(b"\0" * shift + raw).decode()[shift + bool(shift) : -4] for shift in range(3)}
    return {value, json.dumps(value)[1:-1], urllib.parse.quote(value), urllib.parse.quote_plus(value)} | {
        one for one in inner if len(one) > 8
    }


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """All that the process logs at debug level; its logging is put back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    kept = {
        name: (one.level, one.disabled, list(one.handlers), one.propagate)
        for name in list(logging.root.manager.loggerDict)
        if isinstance(one := logging.getLogger(name), logging.Logger)
    }
    stream = io.StringIO()
    set_up(scrub=mask_contacts, level="DEBUG", stream=stream)
    yield stream
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, (was, disabled, own, propagate) in kept.items():
        one = logging.getLogger(name)
        one.setLevel(was)
        one.disabled, one.handlers[:], one.propagate = disabled, own, propagate


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    async with open_collector() as found:
        yield found


@pytest.fixture
async def world(
    database_url: str, tmp_path: Path, log_lines: io.StringIO, collector: Collector
) -> AsyncIterator[World]:
    async with open_world(
        database_url,
        tmp_path,
        simulator={"digitalkassa": {"groups": [{"actor_token": KASSA_TOKEN}]}},
        public_url="http://127.0.0.1:9",
        freshness_seconds=1.0,
        otlp_endpoint=collector.url,
        otlp_headers=f"x-key={COLLECTOR_KEY}",
    ) as found:
        yield found


def crm(day: Day) -> FastAPI:
    """The merchant's system on a bad day: its error page repeats what it knows of the order."""
    app = FastAPI()

    @app.post("/failing")
    async def failing(request: Request) -> Response:
        day.posted.append(await request.body())
        return Response(f"Traceback: order of {EMAIL}, 8 (999) 000-11-22, {PHONE}", 500)

    @app.post("/gone")
    async def gone() -> Response:
        return Response(f"no shop of {EMAIL} here", 410)

    return app


async def live(day: Day, http: httpx.AsyncClient, sink: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Payments and notifications, each with its own misfortune, and every question that an operator may ask."""
    world = day.world
    services, simulator = world.runtime.services, world.simulator_url
    merchant = public("mer", world.merchant_id)
    day.secrets["admin key"] = await services.access.ensure_admin_key() or ""
    problems: list[str] = []
    answers: list[str] = []

    async def ask(method: str, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> Any:
        """The answer as JSON. A secret may stand in the one answer that makes it; all others are read."""
        answer = await http.request(
            method, path, json=body, headers={"Authorization": f"Bearer {key or day.secrets['API key']}", **headers}
        )
        (problems if answer.status_code >= 400 else answers).append(answer.text)
        return answer.json() if answer.content else None

    def told_once() -> None:
        answers.pop()

    made = await ask("POST", "/v1/api-keys", {"merchant_id": merchant, "scopes": ["*"]}, key=day.secrets["admin key"])
    day.secrets["API key"] = made["key"]
    told_once()
    scopes = ["events:read", "receipts:read", "webhooks:read", "settings:read", "events:write"]
    blind = (await ask("POST", "/v1/api-keys", {"scopes": scopes}))["key"]
    day.secrets["another API key"] = blind
    told_once()

    kassa = f"/v1/kassas/{public('kas', world.kassa_id)}"
    credentials = {"actor_id": "1", "actor_token": KASSA_TOKEN, "c_group_id": 4321}
    day.secrets |= {"kassa token": KASSA_TOKEN, "kassa basic": base64.b64encode(f"1:{KASSA_TOKEN}".encode()).decode()}
    await ask("PATCH", kassa, {"credentials": credentials})
    await ask("PATCH", kassa, {"credentials": {**credentials, "c_group_id": KASSA_TOKEN, "actor_tokn": KASSA_TOKEN}})
    async with world.runtime.database.pipeline() as tx:
        sealed = (await tx.execute(text("SELECT callback_secret FROM kassas"))).scalar_one()
    where = aad("kassas", "callback_secret", world.merchant_id, world.kassa_id)
    day.secrets["callback secret"] = world.runtime.keys.box.open(sealed, where).decode()

    day.secrets["CloudPayments secret"] = CLOUD_SECRET
    site = {"public_id": "pk_1", "api_secret": CLOUD_SECRET}
    acquirer = {"kind": "cloudpayments", "name": "Эквайринг", "acquirer_fiscalizes": False, "path_secret": True}
    contact = {"fallback_contact": {"email": EMAIL}}
    source = await ask("POST", "/v1/sources", {**acquirer, **contact, "credentials": site})
    told_once()
    address = (
        source["addresses"][0]["url"].replace("http://127.0.0.1:9", str(http.base_url).rstrip("/")).rpartition("/")[0]
    )
    day.secrets["path secret"] = address.partition("/s-")[2]
    await ask("POST", "/v1/sources", {**acquirer, "credentials": {**site, "api_secret_2": CLOUD_SECRET}})

    endpoints = []
    for path in ("failing", "gone"):
        endpoint = await ask("POST", "/v1/webhook-endpoints", {"url": f"{sink}/{path}", "types": ["*"]})
        told_once()
        day.secrets[f"webhook secret of {path}"] = endpoint["secret"]
        endpoints.append(endpoint["id"])
    rotated = await ask("POST", f"/v1/webhook-endpoints/{endpoints[0]}/rotate-secret")
    told_once()
    day.secrets["new webhook secret"] = rotated["secret"]

    async def sale(external_id: str, **changes: Any) -> Any:
        return await ask("POST", "/v1/events", {**SALE, "external_id": external_id, **changes}, key=blind)

    async def cloud(**order: Any) -> list[dict[str, Any]]:
        data = {"CloudPayments": {"CustomerReceipt": {"email": EMAIL, "phone": PHONE, "customerInfo": NAME}}}
        fields = {"Email": EMAIL, "AccountId": EMAIL, "Name": NAME, "Data": data, **order.pop("fields", {})}
        told = {"target_base_url": address, "api_secret": CLOUD_SECRET, "retry_seconds": 0, "attempts": 1, **order}
        answer = await world.http.post(f"{simulator}/cloudpayments/send", json={**told, "fields": fields})
        found: list[dict[str, Any]] = answer.json()["answers"]
        return found

    echo = f"Чек отклонён: {EMAIL}, {PHONE}, 8 (999) 000-11-22, {NAME}"
    events: dict[str, Any] = {}

    async def reaches(name: str, *wanted: str) -> None:
        await world.status(parse("evt", events[name]["id"]), *wanted)

    async with world.working():
        events["good"] = await sale("good")
        await reaches("good", "fiscalized")

        await world.fault("unauthorized", times=None)
        events["refused credentials"] = await sale("refused credentials")
        await world.until(lambda: rows.scalar(world.runtime.database, "SELECT 1 FROM lanes WHERE paused_at > 'epoch'"))
        await ask("POST", f"{kassa}/check")
        await world.http.delete(f"{simulator}/faults")
        await ask("POST", f"{kassa}/check")
        await reaches("refused credentials", "fiscalized")

        refusal = {"type": "UNAVAILABLE_VALUE", "path": "$.loc.billing_place", "desc": echo}
        await world.fault("refuse", params=refusal)
        events["rejected"] = await sale("rejected")
        await reaches("rejected", "rejected")

        await world.fault("drop_after")
        events["lost answer"] = await sale("lost answer")
        await reaches("lost answer", "fiscalized")

        for fault in (
            {"status": 500, "body": echo},
            {"status": 201, "body": json.dumps({"doc": echo}), "register": True},
        ):
            await world.fault("answer", params=fault)
            events[f"junk {fault['status']}"] = await sale(f"junk {fault['status']}")
            await reaches(f"junk {fault['status']}", "unknown", "fiscalized")

        driver = world.runtime.drivers.driver("digitalkassa")

        async def broken(self: Any, provider_id: str, receipt: Any, context: DriverContext) -> Any:
            raise RuntimeError(f"cannot send {EMAIL} {PHONE} with {context.credentials}")

        with monkeypatch.context() as patched:
            patched.setattr(type(driver), "submit", broken)
            events["broken driver"] = await sale("broken driver")
            await reaches("broken driver", "unknown")

        assert (await cloud())[0]["accepted"]
        for forged in ("no_signature", "bad_signature", "body_changed"):
            assert (await cloud(forge=forged))[0]["status"] == 401
        unreadable = {"Amount": EMAIL, "Currency": PHONE}
        assert (await cloud(fields=unreadable))[0]["accepted"]
        await world.http.post(f"{address}x/pay", content=EMAIL)

        by_hand = await ask("POST", "/v1/receipts", BY_HAND, **{"Idempotency-Key": "by-hand"})
        told_once()
        events["held"] = await sale("held", customer=None)
        await ask("PATCH", f"/v1/events/{events['held']['id']}", {"customer": BUYER})
        told_once()
        await reaches("held", "fiscalized")
        sent = "SELECT count(DISTINCT outcome) = 2 FROM deliveries WHERE outcome IN ('failed', 'gone')"
        await world.until(lambda: rows.scalar(world.runtime.database, sent))
        await world.until(
            lambda: rows.scalar(
                world.runtime.database, "SELECT count(*) = 2 FROM notifications WHERE status IN ('processed', 'failed')"
            )
        )

    await sale("good", amount=1)
    for wrong in (
        {**SALE, "external_id": "x", "customer": {"email": f"{EMAIL} and {PHONE}"}},
        {**SALE, "external_id": "x", "customer": {"phone": f"{PHONE}{PHONE}"}},
        {**SALE, "external_id": "x", "currency": EMAIL, "type": PHONE, "taxation": NAME},
        {**SALE, "external_id": "x", "payments": [{"type": EMAIL, "amount": 1}]},
    ):
        await ask("POST", "/v1/events", wrong)
    await ask("POST", "/v1/receipts", {**BY_HAND, "order_id": "other"}, **{"Idempotency-Key": "by-hand"})
    await ask("GET", f"/v1/receipts?email={EMAIL}x&phone={PHONE}{PHONE}&nam={NAME}")
    await ask("GET", "/v1/kassas", key=f"{day.secrets['API key']}x")
    await ask("POST", f"/callbacks/{public('kas', world.kassa_id)}/{day.secrets['callback secret']}x")

    for path in ("/v1/events", "/v1/receipts", "/v1/messages", "/v1/sources", "/v1/kassas", "/v1/webhook-endpoints"):
        await ask("GET", f"{path}?limit=100", key=blind)
    for endpoint_id in endpoints:
        await ask("GET", f"/v1/webhook-endpoints/{endpoint_id}/deliveries")
    made_receipts = [one["id"] for event in events.values() for one in event["receipts"]]
    for receipt_id in (*made_receipts, by_hand["id"]):
        await ask("GET", f"/v1/receipts/{receipt_id}/timeline")
    shown = await http.get(
        f"/v1/receipts/{by_hand['id']}", headers={"Authorization": f"Bearer {day.secrets['API key']}"}
    )
    assert shown.json()["customer"]["email"] == EMAIL, "whoever may read buyers does"

    await http.get(f"/in/{source['id']}/s-{day.secrets['path secret']}/pay?Email={EMAIL}")
    day.said["metrics"] = (await http.get("/metrics")).text
    day.said |= {"problems": "\n".join(problems), "answers": "\n".join(answers)}
    day.said["messages"] = b"\n".join(day.posted).decode()


async def sent(world: World) -> str:
    """What went over the wire to the kassa, opened."""
    async with world.runtime.database.pipeline() as tx:
        found = await tx.execute(text("SELECT id, exchange FROM attempts WHERE exchange IS NOT NULL"))
    where = ("attempts", "exchange", world.merchant_id)
    return "\n".join(world.runtime.keys.box.open(row.exchange, aad(*where, row.id)).decode() for row in found)


async def told(collector: Collector) -> bool:
    """Whether every kind of span has arrived, failed ones too."""
    wanted = {"POST /v1/events", "notice", "intake", "plan", "submit", "lookup", "settle", "deliver", "POST", "GET"}
    return wanted <= {one.name for one in collector.spans} and any(one.failed for one in collector.spans)


async def stored(world: World) -> dict[str, str]:
    """Every column of every table as somebody with a dump would read it."""
    found = {}
    async with world.runtime.database.pipeline() as tx:
        for table in metadata.sorted_tables:
            for column in table.columns:
                values = (await tx.execute(select(column))).scalars()
                found[f"{table.name}.{column.name}"] = "\n".join(
                    bytes(value).decode("utf-8", "replace")
                    if isinstance(value, bytes | memoryview)
                    else json.dumps(value, ensure_ascii=False, default=str)
                    for value in values
                )
    return found


async def test_no_secret_and_no_buyer_is_said_or_stored_in_clear(
    world: World, log_lines: io.StringIO, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = Day(world, {"key of the collector": COLLECTOR_KEY})
    runtime = world.runtime
    app = create_app(runtime.services, runtime.settings, metrics=runtime.metrics, tracing=runtime.tracing)
    async with (
        serve(app, log_config=None) as url,
        serve(crm(day), log_config=None) as sink,
        httpx.AsyncClient(base_url=url, timeout=30) as http,
    ):
        await live(day, http, sink, monkeypatch)
        await world.until(lambda: told(collector))
    day.said |= {"spans": "\n".join(collector.raw), "logs": log_lines.getvalue(), **await stored(world)}

    assert all(day.secrets.values())
    assert EMAIL in await sent(world), "what is looked for did go through"
    assert collector.headers[0]["x-key"] == COLLECTOR_KEY
    for written in ("Абонемент", "Чек отклонён", "Traceback", "/failing", "/in/", "good"):
        assert written not in day.said["spans"], "a trace tells what became of it, and nothing that anybody wrote"
    for where in ("logs", "metrics", "problems", "answers", "messages", "receipts.customer", "attempts.exchange"):
        assert day.said[where].strip(), f"nothing was read of {where}"
    for word in ("driver.raised", "inbound.forged", "request.served"):
        assert word in day.said["logs"]
    assert not (found := day.leaks()), "\n".join(found)


def test_a_leak_is_found_in_every_spelling() -> None:
    for shift in range(3):
        hidden = base64.b64encode(b"x" * shift + EMAIL.encode() + b"yz").decode()
        assert any(form in hidden for form in spellings(EMAIL)), shift
    assert any(form in json.dumps({"name": NAME}) for form in spellings(NAME))
    assert any(form in urllib.parse.urlencode({"email": EMAIL, "name": NAME}) for form in spellings(NAME))
