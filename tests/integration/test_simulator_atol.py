"""The ATOL Online driver against the simulator over real sockets: every fault, and the tape as the judge."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID as Uuid
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI, Request

from app.domain.ffd import CorrectionKind, FfdVersion, Operation, Taxation
from app.domain.outcome import (
    Accepted,
    CannotTell,
    Fiscalized,
    LookupOutcome,
    NotFound,
    Pending,
    Rejected,
    Scope,
    Unavailable,
    Unknown,
)
from app.domain.receipt import CorrectionBasis, Customer, Receipt
from app.infra.clock import boottime
from app.infra.egress import EgressPolicy
from app.infra.http import HttpClients, RecordingTransport, client_over, open_http
from app.infra.tokens import Tokens
from app.kassas.atol import PLUGIN
from app.kassas.atol.services import Credentials
from app.ports.inbound import InboundRequest
from app.ports.kassa import DriverContext, KassaProfile, Mark
from app.simulator.server import SimulatorConfig, create_simulator
from tests.contract.exchanges.atol import CORRECTION, EVERYTHING, V4_CORRECTION, V4_SALE
from tests.contract.scenarios import SALE
from tests.support import rows
from tests.support.server import serve
from tests.support.world import World, new_kassa, open_world

DRIVER = PLUGIN()
ID = "0123456789abcdef0123456789abcdef"
PROFILE = KassaProfile(
    id="kas_1",
    ffd=FfdVersion.V1_2,
    taxation=tuple(Taxation),
    place="https://shop.example/",
    timezone="Europe/Moscow",
    internet=True,
    merchant_inn="7700000009",
)
OLD = {"login": "v4-simulator", "group_code": "v4-simulator_1"}


def credentials(**changes: Any) -> Credentials:
    given = {"login": "v5-simulator", "password": "password", "group_code": "v5-simulator_1"}
    return Credentials.model_validate(given | {"company_email": "shop@example.org"} | changes)


@dataclass
class Bench:
    """The driver with its context, and the simulator's own doors. It remembers the uuids as the program does."""

    base_url: str
    context: DriverContext
    admin: httpx.AsyncClient
    uuids: dict[str, str] = field(default_factory=dict)

    def _of(self, receipt: Receipt, changes: dict[str, Any]) -> DriverContext:
        if receipt.ffd is FfdVersion.V1_05 and "credentials" not in changes:
            changes = changes | {"credentials": credentials(**OLD)}
        return replace(self.context, **changes)

    async def submit(self, receipt: Receipt = SALE, provider_id: str = ID, **changes: Any) -> LookupOutcome:
        outcome = await DRIVER.submit(provider_id, receipt, self._of(receipt, changes))
        if isinstance(outcome, Accepted) and outcome.reference:
            self.uuids[provider_id] = outcome.reference
        return outcome

    async def poll(self, receipt: Receipt = SALE, provider_id: str = ID, **changes: Any) -> LookupOutcome:
        return await DRIVER.poll(provider_id, self.uuids.get(provider_id), receipt, self._of(receipt, changes))

    async def fault(self, kind: str, params: dict[str, Any] | None = None, **more: Any) -> None:
        answer = await self.admin.post("/faults", json={"kind": kind, "params": params or {}, **more})
        assert answer.status_code == 201, answer.text

    async def printed(self, provider_id: str = ID) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.admin.get("/tape", params={"provider_id": provider_id})).json()
        return found


@asynccontextmanager
async def bench(clients: HttpClients, **settings: Any) -> AsyncIterator[Bench]:
    config = settings.pop("config", None) or SimulatorConfig(settings={"atol": settings})
    async with serve(create_simulator(config)) as base_url:
        context = DriverContext(
            http=clients.client(),
            base_url=f"{base_url}/possystem",
            credentials=credentials(),
            profile=PROFILE,
            tokens=Tokens(),
            deadline_seconds=5,
            created_at=datetime(2026, 11, 23, 9, 0, tzinfo=UTC),
        )
        admin = clients.client()
        admin.base_url = httpx.URL(base_url)
        yield Bench(base_url, context, admin)


@cache
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()


@pytest.fixture
async def http() -> AsyncIterator[HttpClients]:
    async with open_http(EgressPolicy.parse("127.0.0.0/8"), ssl_context=_trust()) as clients:
        yield clients


@pytest.fixture
async def at(http: HttpClients) -> AsyncIterator[Bench]:
    async with bench(http) as made:
        yield made


OWN_CORRECTION = replace(CORRECTION, correction=CorrectionBasis(CorrectionKind.SELF, date(2026, 11, 20)))


RECEIPTS = (
    *(replace(SALE, operation=operation) for operation in Operation),
    *(replace(OWN_CORRECTION, operation=operation) for operation in Operation),
    *(replace(V4_SALE, operation=operation) for operation in Operation),
    V4_CORRECTION,
    replace(V4_CORRECTION, operation=Operation.BUY),
    CORRECTION,
    EVERYTHING,
    replace(SALE, customer=Customer(phone="+79990000000"), internet=False, timezone="Asia/Kamchatka"),
)


async def test_what_the_driver_writes_a_strict_provider_takes(at: Bench) -> None:
    for number, receipt in enumerate(RECEIPTS):
        await _taken_and_printed_once(at, receipt, f"r{number}")


async def _taken_and_printed_once(at: Bench, receipt: Receipt, provider_id: str) -> None:
    taken = await at.submit(receipt, provider_id)
    assert isinstance(taken, Accepted), taken
    outcome = await at.poll(receipt, provider_id)
    assert isinstance(outcome, Fiscalized), outcome
    [document] = await at.printed(provider_id)
    fiscal = outcome.fiscal
    assert (document["operation"], document["correction"]) == (receipt.operation.code, receipt.correction is not None)
    assert (document["total"], document["taxation"]) == (receipt.total, receipt.taxation.code)
    assert (document["fn"], document["fd"], str(document["fpd"])) == (fiscal.fn, fiscal.fd, fiscal.fpd)
    assert document["kkt_rn"] == fiscal.kkt_rn
    assert (document["shift"], document["number_in_shift"]) == (fiscal.shift, fiscal.number_in_shift)
    if receipt.ffd is FfdVersion.V1_2:  # v4 tells no zone: its group keeps Moscow time
        assert document["at"] == fiscal.fiscalized_at.isoformat().replace("+00:00", "Z")
    assert outcome.echo.total == receipt.total
    assert outcome.warnings == ()
    assert "buyer@example.org" not in str(document)
    assert "+79990000000" not in str(document)

    assert await at.submit(receipt, provider_id) == taken, "a repeat is answered by the first uuid"
    assert await at.poll(receipt, provider_id) == outcome
    assert len(await at.printed(provider_id)) == 1
    assert fiscal.receipt_url is not None
    assert document["qr"] in (await at.admin.get(fiscal.receipt_url)).text


CASES: dict[str, tuple[str, dict[str, Any], Callable[[LookupOutcome], bool], int]] = {
    "drop_before": ("drop_before", {}, lambda o: _lost(o, "disconnected"), 0),
    "drop_after": ("drop_after", {}, lambda o: _lost(o, "disconnected"), 1),
    "half_body": ("half_body", {}, lambda o: _lost(o, "disconnected"), 1),
    "hang": ("hang", {}, lambda o: _lost(o, "timeout"), 1),
    "hang unregistered": ("hang", {"register": False}, lambda o: _lost(o, "timeout"), 0),
    "error_before": ("error_before", {"status": 503}, lambda o: _unknown(o, "503"), 0),
    "error_after": ("error_after", {}, lambda o: _unknown(o, "500"), 1),
    "garbage": ("answer", {"status": 200, "body": "<html>", "register": True}, lambda o: _unknown(o, "200"), 1),
    "error 50": ("refuse", {"status": 500, "code": 50}, lambda o: _unknown(o, "50"), 0),
    "slow": ("slow", {"seconds": 0.05}, lambda o: isinstance(o, Accepted), 1),
    "12": ("unauthorized", {}, lambda o: _paused(o, "credentials_refused"), 0),
    "14": ("unauthorized", {"status": 403}, lambda o: _paused(o, "account_inactive"), 0),
    "20": ("unauthorized", {"code": 20}, lambda o: _paused(o, "group_not_found"), 0),
    "429": (
        "rate_limited",
        {"retry_after": 3},
        lambda o: _paused(o, "rate_limited") and isinstance(o, Unavailable) and o.retry_after_seconds == 3,
        0,
    ),
    "refuse": (
        "refuse",
        {"text": "PatternMismatch: #/receipt/items/0/vat/type"},
        lambda o: isinstance(o, Rejected) and (o.cause, o.pointer) == ("value_invalid", "#/items/0/vat/type"),
        0,
    ),
}


def _lost(outcome: LookupOutcome, reason: str) -> bool:
    return isinstance(outcome, Unknown) and outcome.reason.startswith(f"no answer: {reason}")


def _unknown(outcome: LookupOutcome, code: str) -> bool:
    return isinstance(outcome, Unknown) and outcome.provider_code == code and outcome.stuck is None


def _paused(outcome: LookupOutcome, cause: str) -> bool:
    return isinstance(outcome, Unavailable) and (outcome.cause, outcome.scope) == (cause, Scope.KASSA)


@pytest.mark.parametrize(("kind", "params", "expected", "documents"), CASES.values(), ids=CASES)
async def test_a_fault_at_sending(
    at: Bench, kind: str, params: dict[str, Any], expected: Callable[[LookupOutcome], bool], documents: int
) -> None:
    await at.fault(kind, params)
    outcome = await at.submit(deadline_seconds=0.3 if kind == "hang" else 5)
    assert expected(outcome), outcome
    assert len(await at.printed()) == documents

    assert isinstance(await DRIVER.lookup(ID, SALE, at.context), CannotTell), "only a repeat can find it"
    assert isinstance(await at.submit(resend=True), Accepted)
    assert isinstance(await at.poll(), Fiscalized)
    assert len(await at.printed()) == 1
    assert [played["kind"] for played in (await at.admin.get("/faults")).json()["played"]] == [kind]


@pytest.mark.parametrize(
    ("kind", "params", "scope"),
    [
        ("drop_before", {}, Scope.PROVIDER),
        ("half_body", {}, Scope.PROVIDER),
        ("error_before", {"status": 500}, Scope.PROVIDER),
        ("unauthorized", {}, Scope.KASSA),
        ("rate_limited", {}, Scope.KASSA),
    ],
)
async def test_a_fault_at_asking_proves_nothing(at: Bench, kind: str, params: dict[str, Any], scope: Scope) -> None:
    await at.submit()
    await at.fault(kind, params, match={"action": "lookup", "provider_id": ID})
    outcome = await at.poll()
    assert isinstance(outcome, CannotTell)
    assert outcome.scope is scope
    assert isinstance(await at.poll(), Fiscalized)


@pytest.mark.parametrize("status", [401, 500])
async def test_without_a_token_no_receipt_leaves(at: Bench, status: int) -> None:
    await at.fault("error_before", {"status": status}, match={"action": "other"})
    outcome = await at.submit()
    assert isinstance(outcome, Unavailable)
    assert outcome.cause == ("credentials_refused" if status == 401 else "provider_down")
    assert await at.printed() == []


@pytest.mark.parametrize("repeat", ["uuid", "error", "error_without_uuid"])
async def test_each_way_in_which_a_repeat_may_be_answered(http: HttpClients, repeat: str) -> None:
    async with bench(http, repeat=repeat) as at:
        await at.fault("drop_after")
        assert _lost(await at.submit(), "disconnected")
        again = await at.submit()
        if repeat == "error_without_uuid":
            assert isinstance(again, Unknown)
            assert again.stuck == "duplicate_id"
        else:
            assert isinstance(again, Accepted)
            assert isinstance(await at.poll(), Fiscalized)
        assert len(await at.printed()) == 1


async def test_a_service_that_forgets_ids_shows_a_double(http: HttpClients) -> None:
    async with bench(http, dedup=False) as at:
        await at.submit()
        await at.submit()
        assert len(await at.printed()) == 2
        careful = {"credentials": credentials(service="compatible"), "resend": True}
        assert isinstance(await at.submit(**careful), Unknown)
        assert len(await at.printed()) == 2


async def test_a_queue_ends_after_its_polls(at: Bench) -> None:
    await at.fault("queue", {"polls": 2})
    assert isinstance(await at.submit(), Accepted)
    assert await at.printed() == []
    assert [await at.poll(), await at.poll()] == [Pending(), Pending()]
    assert isinstance(await at.poll(), Fiscalized)
    assert len(await at.printed()) == 1


async def test_a_queue_may_never_end(at: Bench) -> None:
    await at.fault("queue_forever")
    taken = await at.submit()
    assert isinstance(taken, Accepted)
    assert [await at.poll(), await at.submit(), await at.poll()] == [Pending(), taken, Pending()]
    assert await at.printed() == []


@pytest.mark.parametrize(
    ("fail", "cause"),
    [
        ({"type": "timeout", "code": 1}, "not_printed"),
        ({"type": "agent", "code": 2009}, "value_unavailable"),
        ({"type": "driver", "code": 48}, "value_invalid"),
    ],
)
async def test_a_queue_may_end_in_a_refusal_that_spends_the_id(at: Bench, fail: dict[str, Any], cause: str) -> None:
    await at.fault("queue", {"polls": 1, "fail": fail})
    assert isinstance(await at.submit(), Accepted)
    assert await at.poll() == Pending()
    for _ in range(2):
        outcome = await at.poll()
        assert isinstance(outcome, Rejected)
        assert outcome.cause == cause
        await at.submit()
    assert await at.printed() == []


async def test_a_register_that_broke_down_is_for_a_person(at: Bench) -> None:
    await at.fault("queue", {"polls": 0, "fail": {"type": "driver", "code": 177, "text": "Нет связи"}})
    await at.submit()
    outcome = await at.poll()
    assert isinstance(outcome, Unknown)
    assert (outcome.stuck, outcome.provider_message) == ("register_failed", "Нет связи")


async def test_a_receipt_of_another_company_fails_in_the_group(at: Bench) -> None:
    group = {"group_code": "g_1", "login": "g", "password": "p", "inn": "7707083893"}
    assert (await at.admin.post("/atol/groups", json=group)).status_code == 201
    mine = {"credentials": credentials(group_code="g_1", login="g", password="p")}
    assert isinstance(await at.submit(**mine), Accepted)
    refused = await at.poll(**mine)
    assert isinstance(refused, Rejected)
    assert refused.cause == "value_unavailable"


async def test_no_provider_is_certainly_not_sent(at: Bench) -> None:
    async with serve(create_simulator()) as gone:
        pass
    await at.submit(provider_id="other")  # with a token in hand it is the receipt that does not leave
    for tokens in (at.context.tokens, Tokens()):
        outcome = await at.submit(base_url=f"{gone}/possystem", tokens=tokens)
        assert isinstance(outcome, Unavailable)
        assert (outcome.cause, outcome.scope) == ("wire_not_sent", Scope.PROVIDER)


async def test_a_frozen_worker_does_not_send(at: Bench) -> None:
    """The token may still be fetched, the receipt may not leave."""
    outcome = await at.submit(not_after=boottime() - 0.001)
    assert isinstance(outcome, Unavailable)
    assert (outcome.cause, outcome.scope) == ("wire_not_sent", Scope.RECEIPT)
    assert await at.printed() == []


async def test_an_expired_token_is_renewed_in_the_middle_of_a_receipt(at: Bench) -> None:
    await at.submit(provider_id="first")
    before = at.context.tokens.get("v5-simulator")
    await at.admin.post("/atol/tokens/expire")
    assert isinstance(await at.submit(), Accepted)
    assert at.context.tokens.get("v5-simulator") not in (None, before)
    await at.admin.post("/atol/tokens/expire")
    assert isinstance(await at.poll(), Fiscalized)
    assert len(await at.printed()) == 1


async def test_the_tokens_of_the_simulator_run_out(http: HttpClients) -> None:
    now = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    config = SimulatorConfig(settings={"atol": {"token_seconds": 60}}, now=lambda: now)
    async with bench(http, config=config) as at:
        await at.submit(provider_id="first")
        before = at.context.tokens.get("v5-simulator")
        now += timedelta(seconds=60)
        assert isinstance(await at.submit(), Accepted)
        assert at.context.tokens.get("v5-simulator") != before


async def test_no_token_is_kept_in_the_record(http: HttpClients) -> None:
    async with bench(http) as at:
        transport = RecordingTransport(http.transport(), secrets=["password"])
        await at.submit(http=client_over(transport))
        token = at.context.tokens.get("v5-simulator")
        assert token
        assert len(transport.exchanges) == 2
        assert token not in repr(transport.exchanges)
        assert "v5-simulator_1/sell" in transport.exchanges[1].url
        assert ID.encode() in transport.exchanges[1].request_body


async def test_groups_and_versions_are_kept_apart(at: Bench) -> None:
    await at.submit()
    assert _paused(await at.submit(V4_SALE, credentials=credentials()), "ffd_not_registered")
    foreign = {"credentials": credentials(group_code="v4-simulator_1")}
    assert _paused(await at.submit(provider_id="x", **foreign), "group_not_found")
    assert isinstance(await at.poll(**foreign), CannotTell)
    wrong = {"credentials": credentials(password="wrong"), "tokens": Tokens()}
    assert _paused(await at.submit(provider_id="x", **wrong), "credentials_refused")
    other = {"group_code": "g_2", "login": "g2", "password": "p"}
    await at.admin.post("/atol/groups", json=other)
    mine = {"credentials": credentials(group_code="g_2", login="g2", password="p")}
    assert isinstance(await at.poll(**mine), NotFound)
    await at.admin.post("/atol/groups", json=other | {"active": False})
    assert _paused(await at.submit(provider_id="x", **mine, tokens=Tokens()), "account_inactive")


async def test_a_check_over_the_wire(at: Bench) -> None:
    report = await DRIVER.check(at.context)
    assert report.ok
    assert [line.name for line in report.lines if line.mark is Mark.OK] == ["credentials", "group"]
    for changes, line in (
        ({"password": "wrong"}, "credentials"),
        ({"group_code": "none"}, "group"),
        (OLD, "format"),
    ):
        refused = await DRIVER.check(replace(at.context, credentials=credentials(**changes), tokens=Tokens()))
        assert [found.name for found in refused.lines] == [line]
    assert (await at.admin.get("/tape")).json() == []


@asynccontextmanager
async def gateway() -> AsyncIterator[tuple[str, "asyncio.Queue[InboundRequest]"]]:
    """Where callbacks arrive."""
    app, heard = FastAPI(), asyncio.Queue[InboundRequest]()

    @app.post("/callbacks/kas_1/{secret}")
    async def hear(secret: str, request: Request) -> None:
        heard.put_nowait(InboundRequest("POST", secret, request.url.query, {}, await request.body()))

    async with serve(app) as base_url:
        yield f"{base_url}/callbacks/kas_1/secret", heard


async def test_callbacks_come_once_twice_or_never_and_name_the_receipt(at: Bench) -> None:
    async with gateway() as (url, heard):
        await at.fault("lose_callback", match={"provider_id": "lost1"})
        await at.fault("duplicate_callback", match={"provider_id": "twice1"})
        await at.fault("queue", {"seconds": 0.01}, match={"provider_id": "later1"})
        await at.fault("queue", {"seconds": 0.01, "fail": {"type": "timeout"}}, match={"provider_id": "failed1"})
        for provider_id in ("lost1", "twice1", "later1", "failed1", "once1"):
            await at.submit(provider_id=provider_id, callback_url=url)
        calls = [await asyncio.wait_for(heard.get(), 5) for _ in range(5)]
        hints = sorted(str(DRIVER.callback_hint(call)) for call in calls)
        assert hints == ["failed1", "later1", "once1", "twice1", "twice1"]
        assert {json.loads(call.body)["status"] for call in calls} == {"done", "fail"}
        assert heard.empty()


async def test_a_callback_nobody_hears_disturbs_nothing(at: Bench) -> None:
    assert isinstance(await at.submit(callback_url="http://127.0.0.1:1/callbacks/x"), Accepted)
    assert isinstance(await at.poll(), Fiscalized)


async def test_documents_survive_a_restart(http: HttpClients, tmp_path: Path) -> None:
    config = SimulatorConfig(tape_path=tmp_path / "tape.jsonl")
    async with bench(http, config=config) as before:
        first = await before.submit()
        printed = await before.poll()
        await before.fault("queue", {"polls": 9})
        await before.submit(EVERYTHING, "queued1")
    async with bench(http, config=config) as after:
        assert await after.submit() == first
        again = await after.poll()
        assert isinstance(printed, Fiscalized)
        assert isinstance(again, Fiscalized)
        assert replace(again.fiscal, receipt_url=None) == replace(printed.fiscal, receipt_url=None)
        after.uuids |= before.uuids
        late = await after.poll(EVERYTHING, "queued1")
        assert isinstance(late, Fiscalized)
        assert late.fiscal.fd == again.fiscal.fd + 1


async def test_many_at_once_get_one_document_each(at: Bench) -> None:
    work: list[Awaitable[LookupOutcome]] = [at.submit(provider_id=f"m{number % 20}") for number in range(60)]
    outcomes = await asyncio.gather(*work)
    assert len({outcome.reference for outcome in outcomes if isinstance(outcome, Accepted)}) == 20
    assert len((await at.admin.get("/tape")).json()) == 20


LINE = {
    "name": "Урок",
    "price": 10,
    "quantity": 1,
    "measure": 0,
    "sum": 10.0,
    "payment_method": "full_payment",
    "payment_object": 4,
    "vat": {"type": "vat22", "sum": 1.80},
}
COMPANY = {"email": "a@example.org", "sno": "osn", "inn": "7700000009", "payment_address": "https://shop.example/"}
RECEIPT: dict[str, Any] = {
    "client": {"phone": "+79990000000"},
    "company": COMPANY,
    "items": [LINE],
    "payments": [{"type": 1, "sum": 10.00}],
    "total": 10.00,
}
BODY = {"external_id": ID, "timestamp": "23.11.2026 12:00:00", "receipt": RECEIPT}
SELL = "/possystem/v5/v5-simulator_1/sell"


@cache
def _simulator() -> Any:
    return create_simulator()


@pytest.fixture
async def inside() -> AsyncIterator[httpx.AsyncClient]:
    """The simulator without sockets: what it takes and refuses does not depend on them. The client has a token."""
    transport = httpx.ASGITransport(_simulator())
    async with httpx.AsyncClient(transport=transport, base_url="http://simulator") as client:
        given = await client.post("/possystem/v5/getToken", json={"login": "v5-simulator", "pass": "password"})
        client.headers["Token"] = given.json()["token"]
        yield client


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"order_id": "5"}, "NoAdditionalPropertiesAllowed: #/receipt/order_id"),
        ({"items": [LINE | {"sku": "5"}]}, "NoAdditionalPropertiesAllowed: #/receipt/items/0/sku"),
        ({"client": {}}, "#/receipt/client"),
        ({"client": {"phone": "phone"}}, "#/receipt/client/phone"),
        ({"client": None}, "#/receipt/client"),
        ({"items": []}, "#/receipt/items"),
        ({"items": [LINE | {"price": 10.001}]}, "#/receipt/items/0/price"),
        ({"items": [LINE | {"price": "10"}]}, "#/receipt/items/0/price"),
        ({"items": [LINE | {"quantity": 1.0005}]}, "#/receipt/items/0/quantity"),
        ({"items": [LINE | {"sum": 10.01}]}, "#/receipt/items/0"),
        ({"items": [LINE | {"vat": {"type": "vat18"}}]}, "NotInEnumeration: #/receipt/items/0/vat/type"),
        ({"items": [LINE | {"vat": {"type": "vat22", "sum": 2.2}}]}, "#/receipt/items/0"),
        ({"items": [LINE | {"measure": 1}]}, "#/receipt/items/0/measure"),
        ({"items": [LINE | {"payment_object": "service"}]}, "#/receipt/items/0/payment_object"),
        ({"items": [LINE | {"name": "Урок за 10 ₽"}]}, "PatternMismatch: #/receipt/items/0/name"),
        ({"items": [LINE | {"agent_info": {"type": "another"}}]}, "supplier_info"),
        ({"items": [LINE | {"mark_code": {"gs1m": "MDE="}}]}, "mark_processing_mode"),
        ({"items": [LINE | {"mark_code": {"gs1m": "MDE="}, "mark_processing_mode": "0"}]}, "planned_status"),
        ({"items": [LINE | {"mark_code": {}, "mark_processing_mode": "0"}]}, "mark_code"),
        ({"items": [LINE | {"mark_code": {"gs1m": "!"}, "mark_processing_mode": "0"}]}, "Base64"),
        ({"payments": [{"type": 1, "sum": 9}]}, "#/receipt/payments"),
        ({"total": 9}, "#/receipt/total"),
        ({"company": COMPANY | {"sno": "envd"}}, "#/receipt/company/sno"),
        ({"timezone": 12}, "#/receipt/timezone"),
    ],
)
async def test_the_simulator_is_strict(inside: httpx.AsyncClient, change: dict[str, Any], words: str) -> None:
    one = BODY | {"external_id": uuid4().hex}
    answer = await inside.post(SELL, json=one | {"receipt": RECEIPT | change})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == 32
    assert words in answer.json()["error"]["text"]
    assert (await inside.get("/tape", params={"provider_id": one["external_id"]})).json() == []
    assert (await inside.post(SELL, json=one)).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (SELL, {"receipt": RECEIPT}, 32),
        (SELL, BODY | {"timestamp": "2026-11-23T12:00:00"}, 32),
        (SELL, BODY | {"receipt": None}, 32),
        (SELL, BODY | {"correction": RECEIPT}, 32),
        (SELL + "_correction", BODY, 32),
        (SELL.replace("sell", "give"), BODY, 31),
        ("/possystem/v5/getToken", {"login": "v5-simulator"}, 13),
        ("/possystem/v5/getToken", {"login": "v5-simulator", "pass": "x"}, 12),
        ("/possystem/v4/getToken", {"login": "v5-simulator", "pass": "password"}, 21),
    ],
)
async def test_the_simulator_has_the_services_own_errors(
    inside: httpx.AsyncClient, path: str, body: dict[str, Any], code: int
) -> None:
    before = (await inside.get("/tape")).json()
    assert (await inside.post(path, json=body)).json()["error"]["code"] == code
    assert (await inside.get("/tape")).json() == before


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", b'{"receipt": NaN}', b"[" * 100_000])
async def test_the_simulator_survives_any_body(inside: httpx.AsyncClient, raw: bytes) -> None:
    kind = {"Content-Type": "application/json; charset=utf-8"}
    assert (await inside.post(SELL, content=raw, headers=kind)).status_code == 400
    assert (await inside.post(SELL, content=raw, headers={"Content-Type": "text/plain"})).status_code == 415
    assert (await inside.post(SELL, json=BODY, headers={"Token": "wrong"})).json()["error"]["code"] == 11
    assert (await inside.post(SELL, json=BODY, headers={"Token": ""})).json()["error"]["code"] == 10


async def test_a_token_may_come_in_the_address(inside: httpx.AsyncClient) -> None:
    token = inside.headers.pop("Token")
    assert (await inside.post(SELL, params={"token": token}, json=BODY)).status_code == 200


async def test_a_bad_callback_address_is_only_a_warning(inside: httpx.AsyncClient) -> None:
    one = BODY | {"external_id": uuid4().hex}
    given = (await inside.post(SELL, json=one | {"service": {"callback_url": "http://[x"}})).json()
    report = (await inside.get(f"/possystem/v5/v5-simulator_1/report/{given['uuid']}")).json()
    assert report["status"] == "done"
    assert report["warnings"] == {"callback_url": "callback_url не соответствует маске"}


# The whole program.


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """A merchant whose only switched-on kassa is one of ATOL Online."""
    async with open_world(database_url, tmp_path) as found:
        kassas = found.runtime.services.kassas
        await kassas.change("test", found.merchant_id, found.kassa_id, {"status": "off"})
        made = await kassas.create(
            "test",
            found.merchant_id,
            new_kassa(
                found.simulator_url,
                provider="atol",
                credentials={
                    "login": "v5-simulator",
                    "password": "password",
                    "group_code": "v5-simulator_1",
                    "company_email": "shop@example.org",
                },
                base_url=f"{found.simulator_url}/possystem",
            ),
        )
        found.kassa_id = made.kassa.id
        yield found


async def _after(world: World, event: Uuid, status: str) -> Any:
    """The receipt in this state; what is due later is due now."""
    for awaited in ("unknown", "accepted"):
        row = await world.status(event, awaited, "accepted", status)
        if row.status == status:
            return row
        await rows.move_time(world.runtime.database, 60)
    return await world.status(event, status)


async def test_a_payment_becomes_one_receipt(world: World) -> None:
    event = await world.pay()
    async with world.working():
        row = await _after(world, event, "fiscalized")
    (document,) = await world.tape(row.provider_id)
    assert document["provider"] == "atol"
    assert (row.fn, row.fd, row.fpd) == (document["fn"], document["fd"], str(document["fpd"]))
    assert document["total"] == row.total == 199_000
    assert row.sequence == 2, "accepted and fiscalized are told"
    assert await world.timeline(row.id) == ["planned", "marked", "accepted", "fiscalized"]


async def test_a_lost_answer_is_sent_again_and_meets_the_first_document(world: World) -> None:
    await world.fault("drop_after", times=1)
    event = await world.pay()
    async with world.working():
        row = await _after(world, event, "fiscalized")
    assert len(await world.tape()) == 1
    timeline = await world.timeline(row.id)
    assert timeline.count("marked") == 2
    assert "resend_deduplicated" in timeline


@pytest.mark.parametrize(
    ("kind", "params", "cause"),
    [
        ("refuse", {"code": 32, "text": "PatternMismatch: #/receipt/company/payment_address"}, "value_invalid"),
        ("queue", {"polls": 0, "fail": {"type": "timeout", "code": 1}}, "not_printed"),
    ],
)
async def test_what_the_service_refused_is_sent_again_as_a_new_version(
    world: World, kind: str, params: dict[str, Any], cause: str
) -> None:
    """The old id cannot be asked for, and need not be: the service itself said that nothing was printed under it."""
    await world.fault(kind, times=1, params=params)
    event = await world.pay()
    async with world.working():
        row = await _after(world, event, "rejected")
        assert row.failure is not None
        assert row.failure["code"] == cause
        await world.runtime.services.actions.retry(world.principal, world.merchant_id, row.id)
        again = await _after(world, event, "fiscalized")
    assert (again.version, again.provider_id != row.provider_id) == (2, True)
    assert len(await world.tape()) == 1


async def test_a_register_that_broke_down_waits_for_a_person_and_stops_nobody(world: World) -> None:
    fail = {"type": "driver", "code": 177, "text": "Нет связи"}
    await world.fault("queue", times=1, params={"polls": 0, "fail": fail})
    broken, well = await world.pay(), await world.pay()
    async with world.working():
        row = await _after(world, broken, "needs_attention")
        await world.status(well, "fiscalized")
    assert row.failure is not None
    assert (row.failure["code"], row.failure["who"]) == ("register_failed", "operator")
    assert len(await world.tape()) == 1


async def test_an_id_that_exists_without_a_uuid_waits_for_a_person(database_url: str, tmp_path: Path) -> None:
    """The one answer of which the document is unsure: nothing is printed twice, and somebody is called."""
    simulator = {"atol": {"repeat": "error_without_uuid"}}
    async with open_world(database_url, tmp_path, simulator=simulator) as world:
        await world.runtime.services.kassas.change(
            "test",
            world.merchant_id,
            world.kassa_id,
            {
                "provider": "atol",
                "base_url": f"{world.simulator_url}/possystem",
                "credentials": credentials().model_dump(mode="python")
                | {"password": credentials().password.get_secret_value()},
            },
        )
        await world.fault("drop_after", times=1)
        event = await world.pay()
        async with world.working():
            row = await world.status(event, "needs_attention")
        assert row.failure is not None
        assert row.failure["code"] == "duplicate_id"
        assert len(await world.tape()) == 1
