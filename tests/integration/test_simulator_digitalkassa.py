"""The digitalkassa driver against the simulator over real sockets: every fault, and the tape as the judge."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

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
from app.infra.http import HttpClients, open_http
from app.kassas.digitalkassa import PLUGIN, Credentials
from app.ports.inbound import InboundRequest
from app.ports.kassa import DriverContext, KassaProfile, Mark
from app.simulator.server import SimulatorConfig, create_simulator
from tests.contract.exchanges.digitalkassa import CORRECTION, EVERYTHING, SALE
from tests.support.server import serve

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


class _NoTokens:
    def get(self, key: str) -> str | None:
        return None

    def put(self, key: str, token: str, seconds: float) -> None:
        raise AssertionError("digitalkassa has no tokens")

    def drop(self, key: str) -> None:
        raise AssertionError("digitalkassa has no tokens")


@dataclass
class Bench:
    """The driver with its context, and the simulator's own doors."""

    base_url: str
    context: DriverContext
    admin: httpx.AsyncClient

    async def submit(self, receipt: Receipt = SALE, provider_id: str = ID, **changes: Any) -> LookupOutcome:
        return await DRIVER.submit(provider_id, receipt, replace(self.context, **changes))

    async def lookup(self, receipt: Receipt = SALE, provider_id: str = ID, **changes: Any) -> LookupOutcome:
        return await DRIVER.lookup(provider_id, receipt, replace(self.context, **changes))

    async def poll(self, receipt: Receipt = SALE, provider_id: str = ID) -> LookupOutcome:
        return await DRIVER.poll(provider_id, None, receipt, self.context)

    async def fault(self, kind: str, params: dict[str, Any] | None = None, **more: Any) -> None:
        answer = await self.admin.post("/faults", json={"kind": kind, "params": params or {}, **more})
        assert answer.status_code == 201, answer.text

    async def printed(self, provider_id: str = ID) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.admin.get("/tape", params={"provider_id": provider_id})).json()
        return found


def credentials(**changes: Any) -> Credentials:
    return Credentials.model_validate({"actor_id": "1", "actor_token": "t", "c_group_id": 4321} | changes)


@asynccontextmanager
async def bench(clients: HttpClients, config: SimulatorConfig | None = None, **options: Any) -> AsyncIterator[Bench]:
    async with serve(create_simulator(config), **options) as base_url:
        client = clients.client()
        context = DriverContext(
            http=client,
            base_url=f"{base_url}/v2.1",
            credentials=credentials(),
            profile=PROFILE,
            tokens=_NoTokens(),
            deadline_seconds=5,
        )
        admin = clients.client()
        admin.base_url = httpx.URL(base_url)
        yield Bench(base_url, context, admin)


@pytest.fixture
async def http() -> AsyncIterator[HttpClients]:
    async with open_http(EgressPolicy.parse("127.0.0.0/8")) as clients:
        yield clients


@pytest.fixture
async def at(http: HttpClients) -> AsyncIterator[Bench]:
    async with bench(http) as made:
        yield made


OWN_CORRECTION = replace(CORRECTION, correction=CorrectionBasis(CorrectionKind.SELF, date(2026, 11, 20)))


@pytest.mark.parametrize(
    "receipt",
    [
        *(replace(SALE, operation=operation) for operation in Operation),
        *(replace(OWN_CORRECTION, operation=operation) for operation in Operation),
        CORRECTION,
        EVERYTHING,
        replace(SALE, customer=Customer(phone="+79990000000"), internet=False, timezone="Asia/Kamchatka"),
    ],
)
async def test_what_the_driver_writes_a_strict_provider_takes(at: Bench, receipt: Receipt) -> None:
    outcome = await at.submit(receipt)
    assert isinstance(outcome, Fiscalized), outcome
    [document] = await at.printed()
    fiscal = outcome.fiscal
    assert (document["operation"], document["correction"]) == (receipt.operation.code, receipt.correction is not None)
    assert (document["total"], document["taxation"]) == (receipt.total, receipt.taxation.code)
    assert (document["fn"], document["fd"], str(document["fpd"])) == (fiscal.fn, fiscal.fd, fiscal.fpd)
    assert (document["kkt_rn"], document["kkt_serial"]) == (fiscal.kkt_rn, fiscal.kkt_serial)
    assert (document["shift"], document["number_in_shift"]) == (fiscal.shift, fiscal.number_in_shift)
    assert document["local_time"] == fiscal.local_time
    assert document["at"] == fiscal.fiscalized_at.isoformat().replace("+00:00", "Z")
    assert fiscal.ffd is FfdVersion.V1_2
    assert outcome.warnings == ()
    assert "buyer@example.org" not in str(document)
    assert "+79990000000" not in str(document)

    assert await at.lookup(receipt) == outcome
    assert await at.submit(receipt) == outcome
    assert len(await at.printed()) == 1
    assert fiscal.receipt_url is not None
    paper = await at.admin.get(fiscal.receipt_url)
    assert document["qr"] in paper.text


GONE = "no answer: "
CASES: dict[str, tuple[str, dict[str, Any], Callable[[LookupOutcome], bool], int]] = {
    "drop_before": ("drop_before", {}, lambda o: _lost(o, "disconnected"), 0),
    "drop_after": ("drop_after", {}, lambda o: _lost(o, "disconnected"), 1),
    "half_body": ("half_body", {}, lambda o: _lost(o, "disconnected"), 1),
    "hang": ("hang", {}, lambda o: _lost(o, "timeout"), 1),
    "hang unregistered": ("hang", {"register": False}, lambda o: _lost(o, "timeout"), 0),
    "error_before": ("error_before", {"status": 503}, lambda o: _unknown(o, "503"), 0),
    "error_after": ("error_after", {}, lambda o: _unknown(o, "500"), 1),
    "gateway": ("error_after", {"status": 504}, lambda o: _unknown(o, "504"), 1),
    "garbage": ("answer", {"status": 201, "body": "<html>", "register": True}, lambda o: _unknown(o, "201"), 1),
    "time-out": (
        "answer",
        {"status": 400, "body": '[{"type":"ERR_TIMED_OUT","desc":"x"}]', "register": True},
        lambda o: _unknown(o, "ERR_TIMED_OUT"),
        1,
    ),
    "slow": ("slow", {"seconds": 0.05}, lambda o: isinstance(o, Fiscalized), 1),
    "401": ("unauthorized", {}, lambda o: _paused(o, "credentials_refused"), 0),
    "402": ("unauthorized", {"status": 402}, lambda o: _paused(o, "payment_required"), 0),
    "403": ("unauthorized", {"status": 403}, lambda o: _paused(o, "account_inactive"), 0),
    "429": (
        "rate_limited",
        {"retry_after": 3},
        lambda o: _paused(o, "rate_limited") and isinstance(o, Unavailable) and o.retry_after_seconds == 3,
        0,
    ),
    "refuse": (
        "refuse",
        {"type": "BAD_VALUE", "path": "$.items[0].vat"},
        lambda o: isinstance(o, Rejected) and (o.cause, o.pointer) == ("value_invalid", "#/items/0/vat"),
        0,
    ),
}


def _lost(outcome: LookupOutcome, reason: str) -> bool:
    return isinstance(outcome, Unknown) and outcome.reason.startswith(f"{GONE}{reason}")


def _unknown(outcome: LookupOutcome, code: str) -> bool:
    return isinstance(outcome, Unknown) and outcome.provider_code == code


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

    found = await at.lookup()
    assert isinstance(found, Fiscalized if documents else NotFound)
    again = await at.submit()
    assert isinstance(again, Fiscalized)
    assert len(await at.printed()) == 1
    assert [played["kind"] for played in (await at.admin.get("/faults")).json()["played"]] == [kind]


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "half_body"])
async def test_connections_are_cut_by_either_http_implementation(http: HttpClients, kind: str) -> None:
    async with bench(http, http="h11") as at:
        await at.fault(kind)
        assert _lost(await at.submit(), "disconnected")
        assert len(await at.printed()) == (kind != "drop_before")


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
    outcome = await at.lookup()
    assert isinstance(outcome, CannotTell)
    assert outcome.scope is scope
    assert isinstance(await at.lookup(), Fiscalized)


async def test_a_queue_ends_after_its_polls(at: Bench) -> None:
    await at.fault("queue", {"polls": 2})
    assert await at.submit() == Accepted()
    assert await at.printed() == []
    assert [await at.poll(), await at.poll()] == [Pending(), Pending()]
    assert isinstance(await at.poll(), Fiscalized)
    assert len(await at.printed()) == 1


async def test_a_queue_may_never_end(at: Bench) -> None:
    await at.fault("queue_forever")
    assert await at.submit() == Accepted()
    assert [await at.poll(), await at.submit(), await at.poll()] == [Pending(), Accepted(), Pending()]
    assert await at.printed() == []


async def test_a_queue_may_end_in_a_refusal(at: Bench) -> None:
    await at.fault("queue", {"polls": 1, "refuse": True, "type": "UNAVAILABLE_VALUE", "path": "$.loc.billing_place"})
    assert await at.submit() == Accepted()
    assert await at.poll() == Pending()
    for outcome in (await at.poll(), await at.lookup(), await at.submit()):
        assert isinstance(outcome, Rejected)
        assert outcome.cause == "place_not_registered"
    assert await at.printed() == []


async def test_no_provider_is_certainly_not_sent(at: Bench) -> None:
    async with serve(create_simulator()) as gone:
        pass
    away = {"base_url": f"{gone}/v2.1"}
    outcome = await at.submit(**away)
    assert isinstance(outcome, Unavailable)
    assert (outcome.cause, outcome.scope) == ("wire_not_sent", Scope.PROVIDER)
    assert (await at.lookup(**away)).__class__ is CannotTell


async def test_a_frozen_worker_does_not_send(at: Bench) -> None:
    outcome = await at.submit(not_after=boottime() - 0.001)
    assert isinstance(outcome, Unavailable)
    assert (outcome.cause, outcome.scope) == ("wire_not_sent", Scope.RECEIPT)
    assert isinstance(await at.lookup(), NotFound)


async def test_another_receipt_under_the_same_id_is_not_printed(at: Bench) -> None:
    first = await at.submit()
    second = await at.submit(replace(SALE, operation=Operation.BUY))
    assert isinstance(first, Fiscalized)
    assert isinstance(second, Fiscalized)
    assert second.fiscal == first.fiscal
    assert "409" in second.warnings[0]
    assert len(await at.printed()) == 1


async def test_receipts_and_corrections_do_not_answer_for_each_other(at: Bench) -> None:
    await at.submit(CORRECTION)
    assert isinstance(await at.lookup(SALE), NotFound)
    assert isinstance(await at.lookup(CORRECTION), Fiscalized)


async def test_groups_are_kept_apart(at: Bench) -> None:
    other = {"c_group_id": 77, "actor_id": "2", "actor_token": "u", "taxation": 1, "billing_place_list": ["x"]}
    assert (await at.admin.post("/digitalkassa/groups", json=other)).status_code == 201
    assert isinstance(await at.submit(), Fiscalized)
    mine = {"credentials": credentials(c_group_id=77, actor_id="2", actor_token="u")}
    assert isinstance(await at.lookup(**mine), NotFound)
    refused = await at.submit(replace(SALE, place="x"), **mine)
    assert isinstance(refused, Rejected)
    assert (refused.cause, refused.pointer) == ("taxation_not_registered", "#/taxation")
    misplaced = await at.submit(**mine)
    assert isinstance(misplaced, Rejected)
    assert (misplaced.cause, misplaced.pointer) == ("place_not_registered", "#/place")
    foreign = {"credentials": credentials(c_group_id=77)}
    assert _paused(await at.submit(**foreign), "group_not_found")
    assert isinstance(await at.lookup(**foreign), CannotTell)
    assert _paused(await at.submit(credentials=credentials(actor_token="wrong")), "credentials_refused")
    for state, cause in (({"paid": False}, "payment_required"), ({"active": False}, "account_inactive")):
        await at.admin.post("/digitalkassa/groups", json=other | state)
        assert _paused(await at.submit(**mine), cause)


async def test_a_check_over_the_wire(at: Bench) -> None:
    report = await DRIVER.check(at.context)
    assert report.ok
    assert {line.mark for line in report.lines} == {Mark.OK}
    assert report.facts["taxation"] == [taxation.code for taxation in Taxation]
    auth = httpx.BasicAuth("1", "t")
    await at.admin.post("/v2.1/c_groups/4321/shifts/mode", json={"mode": 1}, auth=auth)
    by_hand = await DRIVER.check(at.context)
    assert by_hand.ok
    assert [line.name for line in by_hand.lines if line.mark is Mark.WARNING] == ["shifts"]
    refused = await DRIVER.check(replace(at.context, credentials=credentials(actor_token="wrong")))
    assert [line.name for line in refused.lines] == ["credentials"]


async def test_shifts_kept_by_hand_hold_receipts_back(at: Bench) -> None:
    shifts, auth = "/v2.1/c_groups/4321/shifts", httpx.BasicAuth("1", "t")
    await at.admin.post(f"{shifts}/mode", json={"mode": 1}, auth=auth)
    assert await at.submit() == Accepted()
    assert await at.poll() == Pending()
    opened = (await at.admin.post(f"{shifts}/open", json={"name": "Кассир"}, auth=auth)).json()
    assert (opened["shift_number"], opened["fd_number"]) == (1, 1)
    outcome = await at.poll()
    assert isinstance(outcome, Fiscalized)
    assert (outcome.fiscal.shift, outcome.fiscal.fd) == (1, 2)
    status = (await at.admin.get(f"{shifts}/report", auth=auth)).json()
    assert status == {"shift_status": 1, "shift_number": 1, "check_number": 1, "mode": 1}
    closed = (await at.admin.post(f"{shifts}/close", auth=auth)).json()
    assert closed["fd_number"] == 3
    assert (await at.admin.post(f"{shifts}/close", auth=auth)).status_code == 400
    assert (await at.admin.post(f"{shifts}/open", json={"tin": "1"}, auth=auth)).status_code == 400
    assert (await at.admin.post(f"{shifts}/explode", auth=auth)).status_code == 404


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
        for provider_id in ("lost1", "twice1", "later1", "once1"):
            await at.submit(provider_id=provider_id, callback_url=url)
        hints = [DRIVER.callback_hint(await asyncio.wait_for(heard.get(), 5)) for _ in range(4)]
        assert sorted(map(str, hints)) == ["later1", "once1", "twice1", "twice1"]
        assert heard.empty()
        assert isinstance(await at.poll(provider_id="later1"), Fiscalized)


async def test_a_callback_nobody_hears_disturbs_nothing(at: Bench) -> None:
    assert isinstance(await at.submit(callback_url="http://127.0.0.1:1/callbacks/x"), Fiscalized)
    assert isinstance(await at.lookup(), Fiscalized)


async def test_ids_survive_a_restart(http: HttpClients, tmp_path: Path) -> None:
    config = SimulatorConfig(tape_path=tmp_path / "tape.jsonl")
    async with bench(http, config) as before:
        first = await before.submit()
        await before.fault("queue", {"polls": 9})
        assert await before.submit(EVERYTHING, "queued1") == Accepted()
    async with bench(http, config) as after:
        found, again = await after.lookup(), await after.submit()
        assert isinstance(first, Fiscalized)
        for outcome in (found, again):
            assert isinstance(outcome, Fiscalized)
            assert replace(outcome.fiscal, receipt_url=None) == replace(first.fiscal, receipt_url=None)
        late = await after.poll(EVERYTHING, "queued1")
        assert isinstance(late, Fiscalized)
        assert late.fiscal.fd == first.fiscal.fd + 1
        documents = (await after.admin.get("/tape", params={"kind": "all"})).json()
        assert [document["fd"] for document in documents] == [1, 2, 3]


async def test_a_provider_without_deduplication_shows_a_double(http: HttpClients) -> None:
    async with bench(http, SimulatorConfig(settings={"digitalkassa": {"dedup": False}})) as at:
        await at.submit()
        await at.submit()
        assert len(await at.printed()) == 2


async def test_random_faults_repeat_with_their_seed(http: HttpClients) -> None:
    async def play() -> list[str]:
        async with bench(http) as at:
            mix = {"mix": {"drop_after": 0.2, "error_before": 0.2, "queue": 0.2}, "seed": 7}
            assert (await at.admin.post("/faults", json=mix)).status_code == 201
            return [type(await at.submit(provider_id=f"r{number}")).__name__ for number in range(30)]

    first, second = await play(), await play()
    assert first == second
    assert {"Unknown", "Accepted", "Fiscalized"} <= set(first)


async def test_faults_are_listed_used_up_in_order_and_cleared(at: Bench) -> None:
    await at.fault("refuse", match={"operation": "buy"}, times=2)
    await at.fault("unauthorized", match={"path": "*/receipts/*"}, times=None)
    await at.fault("rate_limited", match={"provider": "other"})
    buy = replace(SALE, operation=Operation.BUY)
    outcomes = [type(await at.submit(receipt)) for receipt in (buy, SALE, buy, buy, SALE)]
    assert outcomes == [Rejected, Unavailable, Rejected, Unavailable, Unavailable]
    listed = (await at.admin.get("/faults")).json()["scripted"]
    assert [(fault["kind"], fault["times"]) for fault in listed] == [("unauthorized", None), ("rate_limited", 1)]
    assert (await at.admin.delete("/faults")).status_code == 204
    assert isinstance(await at.submit(), Fiscalized)
    assert (await at.admin.post("/faults", json={"kind": "explode"})).status_code == 422


ITEM = {"type": 4, "name": "Урок", "price": 10, "quantity": 1, "amount": 10.0, "payment_method": 4, "vat": 6, "unit": 0}
BODY: dict[str, Any] = {
    "type": 1,
    "taxation": 2,
    "is_internet": 1,
    "timezone": 2,
    "items": [ITEM],
    "amount": {"cashless": 10.00},
    "notify": {"phone": "+79990000000"},
    "loc": {"billing_place": "https://shop.example/"},
}


@pytest.fixture
async def inside() -> AsyncIterator[httpx.AsyncClient]:
    """The simulator without sockets: what it takes and refuses does not depend on them."""
    transport = httpx.ASGITransport(create_simulator())
    async with httpx.AsyncClient(transport=transport, base_url="http://simulator") as client:
        yield client


@pytest.mark.parametrize(
    ("change", "kind", "path"),
    [
        ({"order_id": "5"}, "UNEXPECTED_FIELD", "$.order_id"),
        ({"items": [ITEM | {"sku": "5"}]}, "UNEXPECTED_FIELD", "$.items[0].sku"),
        ({"notify": {}}, "BAD_VALUE", "$.notify"),
        ({"notify": {"phone": "89990000000"}}, "BAD_VALUE", "$.notify.phone"),
        ({"customer": None}, "BAD_VALUE", "$.customer"),
        ({"customer": {"name": ""}}, "BAD_VALUE", "$.customer.name"),
        ({"items": []}, "BAD_VALUE", "$.items"),
        ({"items": [ITEM | {"price": 10.001}]}, "BAD_VALUE", "$.items[0].price"),
        ({"items": [ITEM | {"price": "10"}]}, "BAD_VALUE", "$.items[0].price"),
        ({"items": [ITEM | {"price": True}]}, "BAD_VALUE", "$.items[0].price"),
        ({"items": [ITEM | {"quantity": 1.0005}]}, "BAD_VALUE", "$.items[0].quantity"),
        ({"items": [ITEM | {"amount": 10.01}]}, "BAD_VALUE", "$.items[0].amount"),
        ({"items": [ITEM | {"vat": 13}]}, "BAD_VALUE", "$.items[0].vat"),
        ({"items": [ITEM | {"unit": 1}]}, "BAD_VALUE", "$.items[0].unit"),
        ({"items": [ITEM | {"type": 33}]}, "MISSED_REQUIRED_FIELD", "$.items[0].marking"),
        ({"items": [ITEM | {"name": "Урок за 10 ₽"}]}, "BAD_VALUE", "$.items[0].name"),
        ({"items": [ITEM | {"agent": {"type": 4}}]}, "MISSED_REQUIRED_FIELD", "$.items[0].agent.supplier"),
        ({"items": [ITEM | {"agent": {}}]}, "MISSED_REQUIRED_FIELD", "$.items[0].agent"),
        ({"amount": {"cashless": 9}}, "BAD_VALUE", "$.amount"),
        ({"taxation": 3}, "BAD_VALUE", "$.taxation"),
        ({"timezone": 12}, "BAD_VALUE", "$.timezone"),
        ({"corrected_date": "20.11.2026"}, "UNEXPECTED_FIELD", "$.corrected_date"),
        ({"loc": {"billing_place": "https://shop.example"}}, "UNAVAILABLE_VALUE", "$.loc.billing_place"),
    ],
)
async def test_the_simulator_is_strict(inside: httpx.AsyncClient, change: dict[str, Any], kind: str, path: str) -> None:
    url, auth = f"/v2.1/c_groups/4321/receipts/{ID}", httpx.BasicAuth("1", "t")
    answer = await inside.post(url, json=BODY | change, auth=auth)
    assert answer.status_code == 400
    assert (kind, path) in [(entry["type"], entry.get("path")) for entry in answer.json()]
    assert (await inside.get("/tape")).json() == []
    assert (await inside.post(url, json=BODY, auth=auth)).status_code == 201


@pytest.mark.parametrize("missing", list(BODY))
async def test_the_simulator_wants_every_required_member(inside: httpx.AsyncClient, missing: str) -> None:
    body = {name: value for name, value in BODY.items() if name != missing}
    auth = httpx.BasicAuth("1", "t")
    answer = await inside.post(f"/v2.1/c_groups/4321/receipts/{ID}", json=body, auth=auth)
    assert answer.status_code == 400
    assert ("MISSED_REQUIRED_FIELD", f"$.{missing}") in [(entry["type"], entry["path"]) for entry in answer.json()]


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", b'{"type": NaN}', b"[" * 100_000])
async def test_the_simulator_survives_any_body(inside: httpx.AsyncClient, raw: bytes) -> None:
    url, auth = "/v2.1/c_groups/4321/receipts", httpx.BasicAuth("1", "t")
    assert (await inside.post(f"{url}/{ID}", content=raw, auth=auth)).status_code == 400
    assert (await inside.post(f"{url}/with-hyphen", json=BODY, auth=auth)).status_code == 400
    assert (await inside.post(f"{url}/{ID}", json=BODY)).status_code == 401
    bad = {"Authorization": "Basic !!!"}
    assert (await inside.post(f"{url}/{ID}", json=BODY, headers=bad)).status_code == 401


async def test_the_front_page_shows_the_tape(at: Bench) -> None:
    await at.submit()
    page = await at.admin.get("/")
    assert ID in page.text
    assert "digitalkassa" in page.text
    assert (await at.admin.get("/livez")).text == "ok"
    assert (await at.admin.get("/receipt/1/2/3")).status_code == 404


async def test_many_at_once_get_one_document_each(at: Bench) -> None:
    work: list[Awaitable[LookupOutcome]] = [at.submit(provider_id=f"m{number % 20}") for number in range(60)]
    outcomes = await asyncio.gather(*work)
    assert len({o.fiscal.fd for o in outcomes if isinstance(o, Fiscalized)}) == 20
    assert len((await at.admin.get("/tape")).json()) == 20
