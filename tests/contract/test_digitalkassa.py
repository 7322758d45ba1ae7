"""The digitalkassa driver against every exchange of its fact sheet: bytes out, outcome in."""

import base64
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.domain.errors import Invalid
from app.domain.ffd import AgentType, CorrectionKind, FfdVersion, Taxation
from app.domain.outcome import CannotTell, Fiscalized, Rejected
from app.domain.receipt import Agent, MarkingCode, Receipt
from app.infra.compact_json import exact_json
from app.kassas.digitalkassa import PLUGIN, Credentials, from_wire, to_pointer
from app.ports.inbound import InboundRequest
from app.ports.kassa import DriverContext, KassaDriver, KassaProfile, LookupClass, Mark
from app.ports.registry import discover_kassas
from tests.contract.exchanges.digitalkassa import (
    CORRECTION,
    CREDENTIALS,
    EVERYTHING,
    EXCHANGES,
    FISCAL,
    GROUP_INFO,
    RESULT,
    Exchange,
)
from tests.contract.scenarios import CALLBACK_URL, PROVIDER_ID, SALE, Answer

DRIVER = PLUGIN()
PROFILE = KassaProfile(
    id="kas_1",
    ffd=FfdVersion.V1_2,
    taxation=(Taxation.USN_INCOME,),
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


def context(http: httpx.AsyncClient, **changes: Any) -> DriverContext:
    made = DriverContext(
        http=http,
        base_url="https://provider.example/v2.1/",
        credentials=Credentials.model_validate(CREDENTIALS),
        profile=PROFILE,
        tokens=_NoTokens(),
        callback_url=CALLBACK_URL,
        not_after=12345.5,
        deadline_seconds=9.0,
    )
    return replace(made, **changes)


def answering(*answers: Answer | httpx.TransportError) -> tuple[httpx.AsyncClient, list[httpx.Request]]:
    """A client whose requests are kept and answered in this order; one too many fails the test."""
    left, seen = list(answers), []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        found = left.pop(0)
        if isinstance(found, httpx.TransportError):
            raise found
        return httpx.Response(found.status, headers=found.headers, content=found.content)

    return httpx.AsyncClient(transport=httpx.MockTransport(answer)), seen


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.name)
async def test_exchange(exchange: Exchange) -> None:
    http, seen = answering(*(answer for _, answer in exchange.wire))
    async with http:
        to = context(http)
        match exchange.call:
            case "submit":
                outcome: object = await DRIVER.submit(PROVIDER_ID, exchange.receipt, to)
            case "poll":
                outcome = await DRIVER.poll(PROVIDER_ID, None, exchange.receipt, to)
            case "lookup":
                outcome = await DRIVER.lookup(PROVIDER_ID, exchange.receipt, to)

    assert outcome == exchange.outcome
    assert [(r.method, r.url.path, r.content.decode()) for r in seen] == [
        (sent.method, sent.path, sent.body or "") for sent, _ in exchange.wire
    ]
    for request in seen:
        assert request.url.host == "provider.example"
        assert request.headers["Authorization"] == "Basic " + base64.b64encode(b"100:not-a-real-token").decode()
        assert request.headers["Accept"] == "application/json"
        if request.method == "POST":
            assert request.headers["Content-Type"] == "application/json; charset=utf-8"
            assert (request.extensions["not_after"], request.extensions["deadline_seconds"]) == (12345.5, 9.0)
        else:  # the freshness bound is for what may print; a later question has only what is left of the time
            assert "not_after" not in request.extensions
            assert 0 < request.extensions["deadline_seconds"] <= 9.0


def test_it_is_a_whole_driver() -> None:
    driver: KassaDriver = discover_kassas().get("digitalkassa")
    assert isinstance(driver, PLUGIN)
    # Nobody states how long an id is deduplicated: the driver counts on a day, and looks up for ever.
    assert driver.capabilities.lookup_class(86_399) is LookupClass.A
    assert driver.capabilities.lookup_class(10**9) is LookupClass.B
    assert driver.group_key(Credentials.model_validate(CREDENTIALS)) == "4321"


@pytest.mark.parametrize(
    "wrong",
    [{"actor_id": ""}, {"actor_id": "1:2"}, {"actor_token": ""}, {"c_group_id": 0}, {"c_group_id": "x"}, {"more": 1}],
)
def test_credentials_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Credentials.model_validate(CREDENTIALS | wrong)


def test_the_token_is_not_shown() -> None:
    assert "not-a-real-token" not in repr(Credentials.model_validate(CREDENTIALS))


def _item(**changes: Any) -> Receipt:
    return replace(SALE, items=(replace(SALE.items[0], **changes),))


ATTORNEY = Agent(AgentType.ATTORNEY, "7700000009", "ООО", ("+74950000000",))
INSTRUCTED = CORRECTION.correction
assert INSTRUCTED is not None

IMPOSSIBLE = {
    "four decimals": (_item(quantity=Decimal("0.3335")), "#/items/0/quantity"),
    "too many": (_item(quantity=Decimal(100_000)), "#/items/0/quantity"),
    "too few": (_item(quantity=Decimal("0.0001")), "#/items/0/quantity"),
    "unprintable": (_item(name="🎉🎉"), "#/items/0/name"),
    "declaration": (_item(declaration="1" * 33), "#/items/0/declaration"),
    "additional props": (_item(additional_props="я" * 65), "#/items/0/additional_props"),
    "marking by FFD 1.05": (
        replace(_item(marking=MarkingCode("01", state=1)), ffd=FfdVersion.V1_05),
        "#/items/0/marking_code",
    ),
    "marking state": (_item(marking=MarkingCode("01", state=5)), "#/items/0/marking_code"),
    "attorney's phones": (
        _item(agent=replace(ATTORNEY, paying_agent_phones=("+7495",))),
        "#/items/0/agent/paying_agent_phones",
    ),
    "attorney's transfer": (
        _item(agent=replace(ATTORNEY, transfer_operator_inn="7700000009")),
        "#/items/0/agent/transfer_operator_name",
    ),
    "paying agent's operation": (
        _item(agent=replace(ATTORNEY, type=AgentType.PAYING_AGENT, paying_agent_operation="Перевод")),
        "#/items/0/agent/paying_agent_operation",
    ),
    "bank agent's operator": (
        _item(agent=replace(ATTORNEY, type=AgentType.BANK_PAYING_AGENT, payment_operator_phones=("+7495",))),
        "#/items/0/agent/payment_operator_phones",
    ),
    "abroad": (replace(SALE, timezone="Europe/Berlin"), "#/timezone"),
    "half an hour": (replace(SALE, timezone="Asia/Kolkata"), "#/timezone"),
    "nowhere": (replace(SALE, timezone="Mars/Olympus"), "#/timezone"),
    "order without number": (
        replace(CORRECTION, correction=replace(INSTRUCTED, document_number=None)),
        "#/correction/document_number",
    ),
    "long order number": (
        replace(CORRECTION, correction=replace(INSTRUCTED, document_number="1" * 33)),
        "#/correction/document_number",
    ),
    "cashier": (replace(SALE, cashier_name="я" * 65), "#/cashier_name"),
    "user prop": (replace(SALE, user_prop=("Заказ", "1" * 257)), "#/user_prop/value"),
}


@pytest.mark.parametrize(("receipt", "pointer"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
async def test_what_cannot_be_carried_is_refused_before_sending(receipt: Receipt, pointer: str) -> None:
    http, seen = answering()
    async with http:
        outcome = await DRIVER.submit(PROVIDER_ID, receipt, context(http))
        with pytest.raises(Invalid) as preview:
            DRIVER.payload(PROVIDER_ID, receipt, context(http))
    assert isinstance(outcome, Rejected)
    assert (outcome.cause, outcome.pointer) == ("payload_not_supported", pointer)
    assert preview.value.findings[0].pointer == pointer
    assert not seen


@pytest.mark.parametrize("provider_id", ["", "with-hyphen", "а", "a" * 65, "a/b", "a\n"])
async def test_an_id_that_the_service_may_refuse_is_never_sent(provider_id: str) -> None:
    http, seen = answering()
    async with http:
        refused = await DRIVER.submit(provider_id, SALE, context(http))
        asked = await DRIVER.lookup(provider_id, SALE, context(http))
    assert isinstance(refused, Rejected)
    assert (refused.cause, refused.pointer) == ("payload_not_supported", "#/provider_id")
    assert isinstance(asked, CannotTell)
    assert not seen


async def test_without_a_callback_address_there_is_no_service_member() -> None:
    http, seen = answering(Answer(202))
    async with http:
        await DRIVER.submit(PROVIDER_ID, SALE, context(http, callback_url=None))
    assert "service" not in json.loads(seen[0].content)


def test_a_correction_by_oneself_carries_no_order_number() -> None:
    own = replace(INSTRUCTED, kind=CorrectionKind.SELF)
    body = DRIVER.payload(PROVIDER_ID, replace(CORRECTION, correction=own), context(answering()[0]))
    assert "order_number" not in body


def test_the_time_zone_is_the_receipts_own() -> None:
    """A kassa's settings may change between a send and its repeat; the body under one id may not."""
    moved = context(answering()[0], profile=replace(PROFILE, timezone="Asia/Kamchatka"))
    assert DRIVER.payload(PROVIDER_ID, SALE, moved)["timezone"] == 2
    assert DRIVER.payload(PROVIDER_ID, EVERYTHING, moved)["timezone"] == 9


@given(st.integers(0, 10**13), st.decimals(Decimal("0.001"), Decimal("99999.999"), places=3))
def test_numbers_leave_digit_by_digit(kopecks: int, quantity: Decimal) -> None:
    receipt = _item(price=kopecks, amount=kopecks, quantity=quantity)
    text = exact_json(DRIVER.payload(PROVIDER_ID, receipt, context(answering()[0])))
    item = json.loads(text, parse_float=Decimal)["items"][0]
    assert item["price"] * 100 == kopecks
    assert item["price"].as_tuple().exponent == -2
    assert item["quantity"] == quantity


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
RESULTS = st.fixed_dictionaries(
    {},
    optional={
        part: st.fixed_dictionaries({}, optional={name: JSON | st.just(value) for name, value in members.items()})
        for part, members in RESULT.items()
    },
)


@given(RESULTS | JSON)
def test_whatever_a_success_says_it_is_a_document_or_a_value_error(body: object) -> None:
    try:
        fiscal = from_wire(json.dumps(body).encode(), "Europe/Moscow")
    except ValueError:
        return
    assert len(fiscal.fn) == 16
    assert fiscal.fd >= 1
    assert fiscal.fpd.isdecimal()
    assert fiscal.fiscalized_at.utcoffset() is not None


@given(st.sampled_from([200, 201, 202, 400, 401, 404, 409, 422, 500, 503]), st.binary(max_size=200))
async def test_no_answer_is_a_bug(status: int, body: bytes) -> None:
    answers = [Answer(status, body)] * 3
    for call in (DRIVER.submit(PROVIDER_ID, SALE, context(answering(*answers)[0])),
                 DRIVER.lookup(PROVIDER_ID, SALE, context(answering(*answers)[0]))):  # fmt: skip
        assert not isinstance(await call, Fiscalized | Rejected)


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("$.items[0].vat", "#/items/0/vat"),
        ("$.items[12].unit", "#/items/12/measure"),
        ("$.items[1].marking.code", "#/items/1/marking_code"),
        ("$.items[1].agent.supplier.tin", "#/items/1/agent/supplier/tin"),
        ("$.amount", "#/payments"),
        ("$.customer.tin", "#/customer/inn"),
        ("$['corrected_date']", "#/correction/corrected_date"),
        ("$", "#"),
        ("", None),
        (None, None),
        ("items", None),
    ],
)
def test_their_paths_point_into_our_receipt(path: str | None, pointer: str | None) -> None:
    assert to_pointer(path) == pointer


def test_register_time_is_local_to_the_receipt() -> None:
    fiscal = from_wire(json.dumps(RESULT).encode(), "Asia/Kamchatka")
    assert fiscal.local_time == "2026-11-23T12:00:05"
    assert fiscal.fiscalized_at.astimezone(ZoneInfo("Asia/Kamchatka")).strftime("%H:%M:%S") == "12:00:05"
    assert from_wire(json.dumps(RESULT).encode(), "Europe/Moscow") == FISCAL


def _inbound(query: str = "", body: bytes = b"") -> InboundRequest:
    return InboundRequest("POST", "secret", query, {}, body)


def test_a_callback_is_known_by_the_address_we_gave() -> None:
    assert DRIVER.callback_hint(_inbound(f"receipt={PROVIDER_ID}")) == PROVIDER_ID
    repeated = RESULT | {"service": {"callback_url": f"{CALLBACK_URL}?receipt={PROVIDER_ID}"}}
    assert DRIVER.callback_hint(_inbound(body=json.dumps(repeated).encode())) == PROVIDER_ID


@pytest.mark.parametrize(
    "request_",
    [
        _inbound(),
        _inbound("receipt=../../etc"),
        _inbound(body=b"\xff"),
        _inbound(body=b"[]"),
        _inbound(body=b'{"service": "x"}'),
        _inbound(body=b'{"service": {"callback_url": 5}}'),
        _inbound(body=b'{"service": {"callback_url": "http://[x"}}'),
        _inbound(body=b"[" * 100_000),
    ],
)
def test_a_callback_of_another_shape_says_nothing(request_: InboundRequest) -> None:
    assert DRIVER.callback_hint(request_) is None


GROUP_OK = Answer(200, GROUP_INFO)
AUTOMATIC = Answer(200, {"shift_status": 1, "shift_number": 3, "check_number": 5, "mode": 0})


async def test_a_check_tries_everything_without_a_receipt() -> None:
    http, seen = answering(GROUP_OK, AUTOMATIC)
    async with http:
        report = await DRIVER.check(context(http))
    assert report.ok
    assert {line.name for line in report.lines} == {"credentials", "group", "place", "taxation", "shifts"}
    assert all(line.mark is Mark.OK for line in report.lines)
    assert report.facts["taxation"] == ["osn", "usn_income"]
    assert report.facts["places"] == ["https://shop.example/"]
    assert [request.method for request in seen] == ["GET", "GET"]


@pytest.mark.parametrize(
    ("answers", "profile", "failed"),
    [
        ((GROUP_OK, AUTOMATIC), replace(PROFILE, place="https://shop.example"), "place"),
        ((GROUP_OK, AUTOMATIC), replace(PROFILE, taxation=(Taxation.USN_INCOME, Taxation.PATENT)), "taxation"),
        ((Answer(401, []),), PROFILE, "credentials"),
        ((Answer(402),), PROFILE, "account"),
        ((Answer(403),), PROFILE, "account"),
        ((Answer(404),), PROFILE, "group"),
        ((Answer(500),), PROFILE, "group"),
        ((Answer(200, b"<html>"),), PROFILE, "group"),
        ((Answer(200, {"taxation": True, "billing_place_list": []}),), PROFILE, "group"),
        ((httpx.ConnectError("no"),), PROFILE, "connection"),
    ],
)
async def test_a_check_says_what_fails_and_what_to_do(answers: Any, profile: KassaProfile, failed: str) -> None:
    http, _ = answering(*answers)
    async with http:
        report = await DRIVER.check(context(http, profile=profile))
    lines = [line for line in report.lines if line.mark is Mark.FAILED]
    assert [line.name for line in lines] == [failed]
    assert lines[0].fix


@pytest.mark.parametrize(
    "answer", [Answer(200, {"mode": 1}), Answer(404), Answer(200, b"x"), Answer(200, []), httpx.ReadTimeout("late")]
)
async def test_an_odd_shift_mode_only_warns(answer: Answer | httpx.TransportError) -> None:
    http, _ = answering(GROUP_OK, answer)
    async with http:
        report = await DRIVER.check(context(http))
    assert report.ok
    assert [line.name for line in report.lines if line.mark is Mark.WARNING] == ["shifts"]
