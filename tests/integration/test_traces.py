"""Traces, as a real collector gets them: one per event from its report to the webhook, and nothing waits for it."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.infra.ids import new_id, parse, public
from app.main import create_app
from app.services.principal import Principal
from tests.support import rows
from tests.support.collector import Collector, Told, open_collector
from tests.support.connected import EVENT
from tests.support.server import serve
from tests.support.sink import Sink, open_sink
from tests.support.world import World, open_world

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is given to the collector after a moment, not after five seconds."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """No thread of an exporter outlives its test: it draws random numbers, which Hypothesis takes for a strategy's."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith(("Otel", "traces-close")):
            thread.join(15)
            assert not thread.is_alive(), thread.name


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with open_collector() as found:
        yield found


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with open_sink() as found:
        yield found


@pytest.fixture
async def world(database_url: str, tmp_path: Path, collector: Collector) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path, otlp_endpoint=collector.url) as found:
        yield found


@pytest.fixture
async def api(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with calling(world) as client:
        yield client


@asynccontextmanager
async def calling(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """The merchant's system, over a real port."""
    runtime = world.runtime
    app = create_app(runtime.services, runtime.settings, metrics=runtime.metrics, tracing=runtime.tracing)
    admin = Principal(new_id(), None, None, frozenset({"admin"}))
    made = await runtime.services.access.create(admin, merchant_id=world.merchant_id, name="test", scopes=("*",))
    async with (
        serve(app) as url,
        httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {made.text}"}, timeout=30) as client,
    ):
        yield client


async def connect(world: World, sink: Sink, *types: str) -> str:
    made = await world.runtime.services.endpoints.create(
        "test", world.merchant_id, url=sink.url, types=list(types or ("receipt.*",))
    )
    assert made.secret is not None
    return made.secret


async def until(world: World, condition: Callable[[], Any]) -> None:
    async def there() -> Any:
        return condition()

    await world.until(there)


def standing(spans: list[Told]) -> dict[str, str]:
    """Who stands below whom, by name; the root below nobody."""
    names = {one.id: one.name for one in spans}
    return {one.name: names.get(one.parent, one.parent) for one in spans}


def roots(spans: list[Told]) -> list[Told]:
    known = {one.id for one in spans}
    return [one for one in spans if one.parent not in known]


async def test_one_event_is_one_trace_from_its_report_to_the_webhook(
    world: World, api: httpx.AsyncClient, sink: Sink, collector: Collector
) -> None:
    secret = await connect(world, sink)
    await world.fault("queue", params={"polls": 1})
    answer = await api.post("/v1/events", json=EVENT, headers={"traceparent": CALLER})
    event = parse("evt", answer.json()["id"])
    async with world.working():
        row = await world.status(event, "fiscalized")
        await until(world, lambda: len(collector.named(event, "deliver")) == 2)
        await world.idle()
    spans = collector.of(event)

    assert standing(spans) == {
        "POST /v1/events": "",
        "intake": "POST /v1/events",
        "plan": "intake",
        "submit": "POST /v1/events",
        "POST": "submit",
        "poll": "POST /v1/events",
        "GET": "poll",
        "settle": "poll",
        "deliver": "POST /v1/events",
    }
    (root,) = roots(spans)
    assert (root.name, root.kind, root.id, root.parent) == ("POST /v1/events", "server", event.hex[16:], "")
    assert root.links == [(CALLER[3:35], CALLER[36:52])], "the caller is linked; its id and its wish are not ours"
    assert root.values["http.response.status_code"] == 202
    assert root.values["http.route"] == "/v1/events"
    assert all(one["service.name"] == "crm-kassa" for one in collector.resources)

    (submit,), (exchange,) = collector.named(event, "submit"), collector.named(event, "POST")
    assert submit.values["kassa.receipt.id"] == public("rcpt", row.id)
    assert submit.values["kassa.provider"] == "digitalkassa"
    assert submit.values["kassa.attempt.outcome"] == "accepted"
    assert submit.values["kassa.attempt.number"] == 1
    assert (exchange.kind, exchange.values["http.request.method"]) == ("client", "POST")
    assert exchange.values["http.response.status_code"] < 300
    assert submit.began <= exchange.began <= exchange.ended <= submit.ended
    assert not [one for one in spans if one.failed]

    delivered = {one.values["kassa.message.type"]: one for one in collector.named(event, "deliver")}
    assert set(delivered) == {"receipt.accepted", "receipt.fiscalized"}
    assert len(sink.verified(secret)) == 2, "what goes along is outside the signature"
    for (headers, _), told in zip(sink.posts, sink.verified(secret), strict=True):
        span = delivered[told["type"]]
        assert headers["traceparent"] == f"00-{event.hex}-{span.id}-01"
        assert headers["webhook-id"] == span.values["kassa.message.id"]
        assert (span.kind, span.values["http.response.status_code"]) == ("client", 200)


async def test_a_report_that_comes_again_stands_in_the_same_trace(
    world: World, api: httpx.AsyncClient, collector: Collector
) -> None:
    event = parse("evt", (await api.post("/v1/events", json=EVENT)).json()["id"])
    assert (await api.post("/v1/events", json=EVENT)).status_code == 200
    await until(world, lambda: len(collector.named(event, "POST /v1/events")) == 2)
    first, again = collector.named(event, "POST /v1/events")
    assert (first.values["kassa.event.repeated"], again.values["kassa.event.repeated"]) == (False, True)
    assert again.parent == first.id
    assert len(roots(collector.of(event))) == 1


async def test_what_a_person_asks_for_begins_with_his_request(
    world: World, api: httpx.AsyncClient, collector: Collector
) -> None:
    paid, wrong = [await world.pay(name) for name in ("p-1", "p-2")]
    async with world.working():
        path = f"/v1/receipts/{public('rcpt', (await world.status(paid, 'fiscalized')).id)}/refund"
        row = await world.status(wrong, "fiscalized")
        cure = {"receipt": public("rcpt", row.id), "case": "wrong_rate", "vat": "vat22", "reason": "typing error"}
        for key, where, body in (("k-1", path, {"amount": 50_000}), ("k-2", "/v1/corrections", cure)):
            answer = await api.post(where, json=body, headers={"Idempotency-Key": key})
            assert answer.status_code == 202, answer.text
        await world.idle()
    refunds = "POST /v1/receipts/{receipt_id}/refund"
    await until(world, lambda: {refunds, "POST /v1/corrections"} <= {one.name for one in collector.spans})
    for name in (refunds, "POST /v1/corrections"):
        (root,) = [one for one in collector.spans if one.name == name]
        trace = UUID(root.trace)
        assert (root.parent, root.id) == ("", trace.hex[16:])
        await until(world, lambda trace=trace: len(roots(collector.of(trace))) == 1)
        assert [one.parent for one in collector.named(trace, "intake")] == [root.id]


async def test_money_that_was_reported_before_is_told_as_linked(world: World, collector: Collector) -> None:
    first, second = [await world.pay(name, settlement_key="k") for name in ("p-1", "p-2")]
    await until(world, lambda: collector.of(first) and collector.of(second))
    assert [(one.name, one.values["kassa.event.status"]) for one in collector.of(second)] == [("intake", "linked")]
    assert {one.name for one in collector.of(first)} == {"intake", "plan"}


async def test_every_attempt_and_look_up_is_seen_with_what_came_of_it(world: World, collector: Collector) -> None:
    await world.fault("rate_limited")
    await world.fault("drop_after")
    event = await world.pay()
    async with world.working():
        await world.status(event, "fiscalized")
        await world.idle()
    await until(world, lambda: collector.named(event, "lookup"))
    submits = collector.named(event, "submit")
    assert [one.values["kassa.attempt.outcome"] for one in submits] == ["unavailable", "unknown"]
    assert [one.failed for one in submits] == [True, True]
    assert submits[1].values["error.type"] == "unknown_outcome"
    assert [one.values["kassa.attempt.number"] for one in submits] == [1, 1], "a provider that is away costs no attempt"
    last = collector.named(event, "lookup")[-1]
    assert (last.values["kassa.attempt.outcome"], last.values["kassa.receipt.status"]) == ("fiscalized", "fiscalized")
    calls = [one for one in collector.of(event) if one.parent in {one.id for one in submits} and one.kind == "client"]
    assert [one.values.get("http.response.status_code") for one in calls] == [429, None]
    assert calls[1].values["error.type"] == "MaybeSent"
    (root,) = roots(collector.of(event))
    assert (root.name, root.id) == ("intake", event.hex[16:]), "whoever calls without a request begins with the intake"


async def test_a_refund_has_a_trace_of_its_own_that_leads_to_the_payment(world: World, collector: Collector) -> None:
    paid = await world.pay("p-1")
    async with world.working():
        await world.status(paid, "fiscalized")
        refund = await world.refund("r-1", "p-1", 50_000)
        await world.status(refund, "fiscalized")
        await world.idle()
    await until(world, lambda: collector.named(refund, "settle"))
    spans = collector.of(refund)
    assert {"intake", "plan", "submit"} <= {one.name for one in spans}
    assert [one.id for one in roots(spans)] == [refund.hex[16:]]
    (plan,) = collector.named(refund, "plan")
    assert plan.links == [(paid.hex, paid.hex[16:])]
    assert plan.values["kassa.event.status"] == "planned"


async def test_a_refund_that_waits_is_told_when_it_is_held_and_when_it_goes_on(
    world: World, collector: Collector
) -> None:
    refund = await world.refund("r-1", "p-late", 50_000)
    async with world.working():
        await world.status(refund, "held")
        await world.pay("p-late")
        await world.status(refund, "fiscalized")
        await world.idle()
    await until(world, lambda: collector.named(refund, "submit"))
    plans = collector.named(refund, "plan")
    assert [one.values["kassa.event.status"] for one in plans] == ["held", "planned"]
    assert plans[0].values["kassa.failure.code"] == "payment_unknown"


async def test_a_notice_is_the_root_and_began_when_it_was_posted(
    world: World, api: httpx.AsyncClient, collector: Collector
) -> None:
    asked = {
        "kind": "cloudpayments",
        "name": "Эквайринг",
        "acquirer_fiscalizes": False,
        "credentials": {"public_id": "pk_1", "api_secret": "secret-of-the-site"},
    }
    source = (await api.post("/v1/sources", json=asked)).json()
    address = str(api.base_url.join(f"/in/{source['id']}"))
    sent = {"target_base_url": address, "api_secret": "secret-of-the-site", "fields": {"Email": "anna@example.org"}}
    before = time.time_ns()
    answer = await world.http.post(f"{world.simulator_url}/cloudpayments/send", json=sent)
    assert answer.json()["answers"][0]["accepted"], answer.text
    posted = time.time_ns()
    async with world.working():
        await until(world, lambda: [one for one in collector.spans if one.name == "notice"])
    (notice,) = [one for one in collector.spans if one.name == "notice"]
    trace = UUID(notice.trace)
    assert (notice.kind, notice.parent, notice.id) == ("consumer", "", trace.hex[16:])
    assert before - 1_000_000 <= notice.began <= posted
    assert notice.values["kassa.event.id"] == public("evt", trace)
    (intake,) = collector.named(trace, "intake")
    assert intake.parent == notice.id
    assert intake.values["kassa.source.kind"] == "cloudpayments"


async def test_a_message_about_no_event_has_one_root_however_often_it_is_posted(
    world: World, sink: Sink, collector: Collector
) -> None:
    await connect(world, sink, "*")
    (endpoint,) = await world.runtime.services.endpoints.page(world.merchant_id, None, 10)
    sink.answers = [500, 500]
    await world.runtime.services.endpoints.test("test", world.merchant_id, endpoint.endpoint.id)
    async with world.working():
        for posts in (1, 2, 3):
            await until(world, lambda posts=posts: len(sink.posts) >= posts)
            await rows.due_now(world.runtime.database)
        await world.idle()
    await until(world, lambda: len(collector.spans) >= 3)
    assert len({one.trace for one in collector.spans}) == 1
    (root,) = roots(collector.spans)
    assert root.parent == ""
    told = sorted(collector.spans, key=lambda one: one.began)
    assert [one.values["http.request.resend_count"] for one in told] == [0, 1, 2]
    assert [one.values.get("error.type") for one in told] == ["500", "500", None]
    assert [headers["traceparent"][36:52] for headers, _ in sink.posts] == [one.id for one in told]


async def test_an_event_that_is_not_sampled_is_told_to_nobody_and_still_has_its_id(
    database_url: str, tmp_path: Path, sink: Sink, collector: Collector
) -> None:
    async with open_world(database_url, tmp_path, otlp_endpoint=collector.url, otlp_sample_ratio=0) as world:
        await connect(world, sink)
        event = await world.pay()
        async with world.working():
            await world.status(event, "fiscalized")
            await world.idle()
    ((headers, _),) = sink.posts
    assert headers["traceparent"].startswith(f"00-{event.hex}-")
    assert headers["traceparent"].endswith("-00")
    assert collector.spans == []


async def test_what_waits_is_given_away_at_the_end_with_the_headers_of_the_setting(
    database_url: str, tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    async with open_world(
        database_url, tmp_path, otlp_endpoint=collector.url, otlp_headers="authorization=Basic%20abc,x-tenant=7"
    ) as world:
        event = await world.pay()
        assert collector.spans == []
    assert collector.named(event, "intake")
    assert collector.headers[0]["authorization"] == "Basic abc"
    assert collector.headers[0]["x-tenant"] == "7"
    assert collector.resources[0]["deployment.environment.name"] == "test"


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """Takes connections and never answers."""
    held: list[asyncio.StreamWriter] = []

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        assert held, "it was asked"
        for writer in held:
            writer.close()
        server.close()


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    yield "http://127.0.0.1:9"


@asynccontextmanager
async def refusing() -> AsyncIterator[str]:
    async with open_collector() as found:
        found.status = 503
        yield found.url
        assert found.headers, "it was asked"


@pytest.mark.parametrize("away", [silent, nobody, refusing])
async def test_a_collector_that_is_away_delays_and_fails_nothing(
    away: Any, database_url: str, tmp_path: Path, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    async with away() as url, open_world(database_url, tmp_path, otlp_endpoint=url) as world:
        secret = await connect(world, sink)
        async with calling(world) as api, world.working():
            events = [
                parse("evt", (await api.post("/v1/events", json={**EVENT, "external_id": f"p-{n}"})).json()["id"])
                for n in range(20)
            ]
            for event in events:
                await world.status(event, "fiscalized")
            await until(world, lambda: len(sink.posts) == 20)
        assert len(sink.verified(secret)) == 20
        closing = time.monotonic()
        await world.runtime.tracing.close()
        # Three seconds, where a batch alone may wait for ten.
        assert time.monotonic() - closing < 8, "nor does anybody wait for it at the end"


LOADED = """
import sys
import app.main, app.runtime
from app.configured import tracing_of
from app.settings import Settings

heavy = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "google.protobuf", "requests")
def loaded(**settings):
    return tracing_of(Settings(_env_file=None, **settings)).on, [name for name in heavy if name in sys.modules]

print(loaded())
print(loaded(otlp_endpoint="http://127.0.0.1:9"))
"""


def test_without_the_setting_nothing_of_it_is_loaded() -> None:
    """The API package of OpenTelemetry is FastAPI's own dependency, and is there either way."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    off, on = done.stdout.splitlines()
    assert off == "(False, [])"
    assert on.startswith("(True, ['opentelemetry.sdk', 'opentelemetry.exporter', 'opentelemetry.proto'")
