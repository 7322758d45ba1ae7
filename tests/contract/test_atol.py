"""The ATOL Online driver against every exchange of its fact sheet: bytes out, outcome in."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.domain.causes import CATALOGUE
from app.domain.decide import LookupMoment, Past, after_lookup, after_poll, after_submit
from app.domain.errors import Invalid
from app.domain.ffd import CorrectionKind, FfdVersion, Measure, Operation, PaymentObject, Taxation
from app.domain.lifecycle import Happening, Status, step
from app.domain.outcome import Accepted, CannotTell, Fiscalized, Rejected, Unknown
from app.domain.receipt import Customer, Item, MarkingCode, Payment, Receipt
from app.domain.vat import VatRate
from app.infra.compact_json import exact_json
from app.infra.tokens import Tokens
from app.kassas.atol import PLUGIN
from app.kassas.atol.answer import AGENT_FAILURES, DRIVER_FAILURES, NOT_REGISTERED, REFUSALS
from app.kassas.atol.services import DEFAULT_BASE_URL, SERVICES, Credentials, api_url
from app.ports.inbound import InboundRequest
from app.ports.kassa import DriverContext, KassaDriver, KassaProfile, LookupClass, Mark
from app.ports.registry import description, discover_kassas
from tests.contract.exchanges.atol import (
    AT,
    CORRECTION,
    CREDENTIALS,
    DONE,
    EVERYTHING,
    EXCHANGES,
    FRESH,
    GET_TOKEN,
    GIVEN,
    MUG,
    TAKEN,
    TOKEN,
    UUID,
    V4_CORRECTION,
    V4_SALE,
    Exchange,
    error,
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


def context(http: httpx.AsyncClient, token: str | None = TOKEN, **changes: Any) -> DriverContext:
    tokens = Tokens()
    if token is not None:
        tokens.put("v5-example", token, 60)
    made = DriverContext(
        http=http,
        base_url="https://provider.example/possystem/",
        credentials=Credentials.model_validate(CREDENTIALS),
        profile=PROFILE,
        tokens=tokens,
        callback_url=CALLBACK_URL,
        not_after=12345.5,
        deadline_seconds=9.0,
        created_at=AT,
    )
    return replace(made, **changes)


def credentials(**changes: Any) -> Credentials:
    return Credentials.model_validate(CREDENTIALS | changes)


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
                outcome = await DRIVER.poll(PROVIDER_ID, UUID, exchange.receipt, to)
            case "lookup":
                outcome = await DRIVER.lookup(PROVIDER_ID, exchange.receipt, to)

    assert outcome == exchange.outcome
    assert [(r.method, r.url.path, r.content.decode()) for r in seen] == [
        (sent.method, sent.path, sent.body or "") for sent, _ in exchange.wire
    ]
    token = TOKEN
    for request in seen:
        assert request.url.host == "provider.example"
        assert not request.url.query
        assert 0 < request.extensions["deadline_seconds"] <= 9.0
        if request.url.path.endswith("/getToken"):
            token = FRESH
            assert "Token" not in request.headers
            assert request.extensions["private"], "a token is a secret: its exchange is not kept"
            assert "not_after" not in request.extensions
            continue
        assert request.headers["Token"] == token
        # The freshness bound is for what may print, also after a renewal of the token.
        assert request.extensions.get("not_after") == (12345.5 if request.method == "POST" else None)
        if request.method == "POST":
            assert request.headers["Content-Type"] == "application/json; charset=utf-8"


def test_every_cause_is_in_the_catalogue() -> None:
    causes = {*AGENT_FAILURES.values(), *DRIVER_FAILURES.values(), *NOT_REGISTERED.values(), *REFUSALS.values()}
    causes |= {"register_failed", "duplicate_id", "lookup_impossible", "provider_down", "rate_limited"}
    assert causes <= set(CATALOGUE)


def test_it_is_a_whole_driver() -> None:
    driver: KassaDriver = discover_kassas().get("atol")
    assert isinstance(driver, PLUGIN)
    day = 86_400
    classes = [driver.capabilities.lookup_class(seconds) for seconds in (0, 31 * day, 32 * day, 400 * day)]
    assert classes == [LookupClass.C, LookupClass.C, LookupClass.D, LookupClass.D]
    told = description(driver)
    assert told["credentials"]["properties"]["password"]["writeOnly"]
    assert not any(other["properties"][name].get("writeOnly") for other in [told["credentials"]] for name in ("login",))


@pytest.mark.parametrize(
    "wrong",
    [
        {"login": ""},
        {"login": "a b"},
        {"password": ""},
        {"group_code": "a/b"},
        {"company_email": "shop"},
        {"service": "another"},
        {"more": 1},
    ],
)
def test_credentials_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        credentials(**wrong)


def test_the_password_is_not_shown() -> None:
    assert "not-a-real-password" not in repr(credentials())


def test_what_only_a_person_can_tell_goes_to_a_person_from_every_state() -> None:
    stuck, lost = Unknown("x", stuck="register_failed"), Unknown("x")
    late = LookupMoment(visible=True, confirmed=True)
    assert after_submit(stuck, SALE, LookupClass.C, Past()) is Happening.UNDECIDABLE
    assert after_lookup(stuck, SALE, LookupClass.A, Past(), late) is Happening.UNDECIDABLE
    assert after_poll(stuck, SALE, late) is Happening.UNDECIDABLE
    assert after_submit(lost, SALE, LookupClass.C, Past()) is Happening.UNKNOWN
    for status in (Status.SENDING, Status.UNKNOWN, Status.ACCEPTED):
        assert step(status, Happening.UNDECIDABLE).status is Status.NEEDS_ATTENTION


# The services that speak this protocol.


@pytest.mark.parametrize(
    ("service", "base_url", "ffd", "url"),
    [
        ("atol", DEFAULT_BASE_URL, FfdVersion.V1_2, "https://online.atol.ru/possystem/v5"),
        ("atol", DEFAULT_BASE_URL + "/", FfdVersion.V1_05, "https://online.atol.ru/possystem/v4"),
        ("atol", "https://testonline.atol.ru/possystem", FfdVersion.V1_2, "https://testonline.atol.ru/possystem/v5"),
        ("atol", DEFAULT_BASE_URL, FfdVersion.V1_1, None),
        ("evotor", DEFAULT_BASE_URL, FfdVersion.V1_2, "https://fiscalization.evotor.ru/possystem/v5"),
        ("evotor", DEFAULT_BASE_URL, FfdVersion.V1_05, None),
        ("ekomkassa", DEFAULT_BASE_URL, FfdVersion.V1_2, "https://app.ecomkassa.ru/fiscalorder/v5"),
        ("ekomkassa", "https://proxy.example/x/", FfdVersion.V1_2, "https://proxy.example/x/v5"),
        ("compatible", "https://ferma-at.ofd.ru/possystem/v1", FfdVersion.V1_2, "https://ferma-at.ofd.ru/possystem/v1"),
    ],
)
def test_where_a_service_lives(service: str, base_url: str, ffd: FfdVersion, url: str | None) -> None:
    assert api_url(base_url, credentials(service=service), ffd) == url


def test_ids_belong_to_a_group_of_one_service() -> None:
    assert DRIVER.group_key(credentials()) == "atol:v5-example_5179"
    assert DRIVER.group_key(credentials(service="evotor")) != DRIVER.group_key(credentials())


@pytest.mark.parametrize("service", sorted(SERVICES))
async def test_a_second_send_leaves_only_where_an_id_counts_once(service: str) -> None:
    http, seen = answering(Answer(200, TAKEN))
    async with http:
        made = context(http, credentials=credentials(service=service), resend=True)
        outcome = await DRIVER.submit(PROVIDER_ID, SALE, made)
    if service == "atol":
        assert outcome == Accepted(UUID, 5.0)
    else:
        assert isinstance(outcome, Unknown)
        assert outcome.stuck == "lookup_impossible"
        assert not seen


async def test_a_format_that_the_service_does_not_take_is_refused_before_sending() -> None:
    http, seen = answering()
    async with http:
        to = context(http, credentials=credentials(service="evotor"))
        refused = await DRIVER.submit(PROVIDER_ID, V4_SALE, to)
        asked = await DRIVER.poll(PROVIDER_ID, UUID, V4_SALE, to)
        report = await DRIVER.check(replace(to, profile=replace(PROFILE, ffd=FfdVersion.V1_05)))
    assert isinstance(refused, Rejected)
    assert (refused.cause, refused.pointer) == ("payload_not_supported", "#/ffd")
    assert isinstance(asked, CannotTell)
    assert not report.ok
    assert not seen


async def test_a_token_may_travel_in_the_address() -> None:
    http, seen = answering(Answer(200, TAKEN))
    async with http:
        await DRIVER.submit(PROVIDER_ID, SALE, context(http, credentials=credentials(token_in_query=True)))
    assert seen[0].url.params["token"] == TOKEN
    assert "Token" not in seen[0].headers


# Tokens.


async def test_a_token_is_fetched_once_and_kept_for_less_than_its_day() -> None:
    http, seen = answering(GIVEN, Answer(200, TAKEN), Answer(200, DONE))
    kept: list[float] = []

    class Cache(Tokens):
        def put(self, key: str, token: str, seconds: float) -> None:
            kept.append(seconds)
            super().put(key, token, seconds)

    async with http:
        to = context(http, tokens=Cache())
        assert isinstance(await DRIVER.submit(PROVIDER_ID, SALE, to), Accepted)
        assert isinstance(await DRIVER.poll(PROVIDER_ID, UUID, SALE, to), Fiscalized)
    assert [request.url.path.rpartition("/")[2] for request in seen] == ["getToken", "sell", UUID]
    assert (seen[0].method, seen[0].url.path, seen[0].content.decode()) == (
        GET_TOKEN.method,
        GET_TOKEN.path,
        GET_TOKEN.body,
    )
    assert kept == [23 * 3600.0]


async def test_the_answer_of_ekomkassa_is_understood() -> None:
    http, _ = answering(Answer(200, {"code": 0, "text": "", "token": FRESH}), Answer(200, TAKEN))
    async with http:
        assert isinstance(await DRIVER.submit(PROVIDER_ID, SALE, context(http, None)), Accepted)
    http, _ = answering(Answer(401, {"code": 12, "text": "wrong"}))
    async with http:
        outcome = await DRIVER.submit(PROVIDER_ID, SALE, context(http, None))
    assert getattr(outcome, "cause", None) == "credentials_refused"


async def test_a_token_that_another_call_renewed_is_left_alone() -> None:
    """Two calls meet the same refusal; the later one must not throw away what the first one fetched."""
    tokens = Tokens()
    tokens.put("v5-example", TOKEN, 60)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("getToken"):
            return httpx.Response(503)
        tokens.put("v5-example", FRESH, 60)
        return httpx.Response(401, json=error(11))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        await DRIVER.submit(PROVIDER_ID, SALE, context(http, tokens=tokens))
    assert tokens.get("v5-example") == FRESH


# What a body may hold.


def _item(**changes: Any) -> Receipt:
    return replace(SALE, items=(replace(SALE.items[0], **changes),))


def _agent(**changes: Any) -> Receipt:
    agent = EVERYTHING.items[2].agent
    assert agent is not None
    return _item(agent=replace(agent, **changes))


def _v4(**changes: Any) -> Receipt:
    return replace(V4_SALE, items=(replace(V4_SALE.items[0], **changes),))


INSTRUCTED = CORRECTION.correction
assert INSTRUCTED is not None
MARK = "#/items/0/marking_code"

IMPOSSIBLE = {
    "four decimals": (_item(quantity=Decimal("0.3335")), "#/items/0/quantity"),
    "too many": (_item(quantity=Decimal(100_000)), "#/items/0/quantity"),
    "too dear a line": (_item(amount=4_294_967_296), "#/items/0/amount"),
    "too dear": (
        replace(SALE, items=(_item(amount=4_000_000_000).items[0],) * 3),
        "#/items",
    ),
    "unprintable": (_item(name="🎉🎉"), "#/items/0/name"),
    "declaration": (_item(declaration="1" * 33), "#/items/0/declaration"),
    "additional props": (_item(additional_props="я" * 65), "#/items/0/additional_props"),
    "marking state": (_item(marking=MarkingCode("0104607809591508" + "21abc", state=255)), MARK),
    "long marking": (_item(marking=MarkingCode("x" * 33, state=1)), MARK),
    "v4 long marking": (_v4(marking=MarkingCode("x" * 151)), MARK),
    "v4 fraction": (_v4(marking=MarkingCode("x", numerator=1, denominator=2)), MARK),
    "v4 object": (_v4(payment_object=PaymentObject.AGENT_WITHDRAWAL), "#/items/0/payment_object"),
    "v4 cashier's INN": (replace(V4_SALE, cashier_inn="500100732259"), "#/cashier_inn"),
    "v4 correction of a refund": (replace(V4_CORRECTION, operation=Operation.SELL_REFUND), "#/operation"),
    "v4 seven rates": (
        replace(V4_CORRECTION, items=tuple(replace(MUG, vat=rate) for rate in tuple(VatRate)[:7])),
        "#/items",
    ),
    "format": (replace(SALE, ffd=FfdVersion.V1_1), "#/ffd"),
    "agent's operation": (_agent(paying_agent_operation="я" * 25), "#/items/0/agent/paying_agent_operation"),
    "operator's name": (_agent(transfer_operator_name="я" * 65), "#/items/0/agent/transfer_operator_name"),
    "nobody": (replace(SALE, customer=Customer(name="Иванов")), "#/customer"),
    "long e-mail": (replace(SALE, customer=Customer(email="a" * 60 + "@example.org")), "#/customer/email"),
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
    "place": (replace(SALE, place="я" * 257), "#/place"),
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


@pytest.mark.parametrize("provider_id", ["", "а", "a" * 129, "a/b", "a\n"])
async def test_an_id_that_the_service_may_refuse_is_never_sent(provider_id: str) -> None:
    http, seen = answering()
    async with http:
        refused = await DRIVER.submit(provider_id, SALE, context(http))
    assert isinstance(refused, Rejected)
    assert (refused.cause, refused.pointer) == ("payload_not_supported", "#/provider_id")
    assert not seen


@pytest.mark.parametrize("reference", [None, "", "../../x", "a b"])
async def test_without_a_uuid_nobody_is_asked(reference: str | None) -> None:
    http, seen = answering()
    async with http:
        assert isinstance(await DRIVER.poll(PROVIDER_ID, reference, SALE, context(http)), CannotTell)
    assert not seen


def _body(receipt: Receipt, **changes: Any) -> Any:
    return json.loads(exact_json(DRIVER.payload(PROVIDER_ID, receipt, context(answering()[0], **changes))))


def test_a_repeat_has_the_same_body_whenever_it_is_sent() -> None:
    """A kassa's settings may change between a send and its repeat, and so does the clock; the body may not."""
    moved = replace(PROFILE, timezone="Asia/Kamchatka", internet=False, ffd=FfdVersion.V1_05)
    assert _body(SALE, profile=moved) == _body(SALE)
    assert _body(SALE)["timestamp"] == "23.11.2026 12:00:00"
    assert _body(SALE, created_at=AT + timedelta(hours=1))["timestamp"] == "23.11.2026 13:00:00"


@pytest.mark.parametrize(
    "url", [None, "https://gw.example/" + "a" * 256, "https://gw.example/a b", "https://gw.example/[a]", "ftp://x/y"]
)
def test_a_callback_address_outside_the_mask_is_left_out(url: str | None) -> None:
    assert "service" not in _body(SALE, callback_url=url)


@pytest.mark.parametrize(
    ("code", "member"),
    [
        ("46070078", {"ean8": "46070078"}),
        ("4607007800001", {"ean13": "4607007800001"}),
        ("14607007800008", {"itf14": "14607007800008"}),
        ("00000046198488X?io+qCABm8wAYa", {"short": "00000046198488X?io+qCABm8wAYa"}),
        ("RU-430302-ABC1234567", {"fur": "RU-430302-ABC1234567"}),
        ("whatever", {"unknown": "whatever"}),
        ("0104607809591508" + "21abc\x1d93x", {"gs1m": "MDEwNDYwNzgwOTU5MTUwODIxYWJjHTkzeA=="}),
    ],
)
def test_a_marking_code_goes_where_its_shape_belongs(code: str, member: dict[str, str]) -> None:
    line = _body(_item(marking=MarkingCode(code, state=1)))["receipt"]["items"][0]
    assert (line["mark_code"], line["mark_processing_mode"], line["planned_status"]) == (member, "0", 1)
    assert "mark_quantity" not in line


def test_by_protocol_v4_a_marking_code_is_sent_as_scanned() -> None:
    line = _body(_v4(marking=MarkingCode("010460780959150821abc\x1d93x")))["receipt"]["items"][0]
    assert line["nomenclature_code"] == "010460780959150821abc\x1d93x"


def test_of_another_measure_protocol_v4_says_nothing() -> None:
    assert "measurement_unit" not in _body(_v4(measure=Measure.ANOTHER))["receipt"]["items"][0]


@pytest.mark.parametrize("rate", VatRate)
@pytest.mark.parametrize("sale", [SALE, V4_SALE], ids=["v5", "v4"])
def test_every_rate_has_its_word_and_sum(rate: VatRate, sale: Receipt) -> None:
    gross = 122_000 * 105
    vat = _body(replace(sale, items=(replace(MUG, vat=rate, price=gross, amount=gross, quantity=Decimal(1)),)))
    told = vat["receipt"]["items"][0]["vat"]
    assert told["type"] == rate.code
    expected = Decimal(gross) / 100 * rate.rate.num / rate.rate.den
    assert Decimal(str(told["sum"])) == expected.quantize(Decimal("0.01"), "ROUND_HALF_UP")


def test_a_correction_by_protocol_v4_names_its_number_where_there_is_one() -> None:
    basis = V4_CORRECTION.correction
    assert basis is not None
    for kind in CorrectionKind:
        numbered = replace(V4_CORRECTION, correction=replace(basis, kind=kind, document_number="15"))
        assert _body(numbered)["correction"]["correction_info"]["base_number"] == "15"


@given(st.integers(0, 4_294_967_295), st.decimals(Decimal("0.001"), Decimal("99999.999"), places=3))
def test_numbers_leave_digit_by_digit(kopecks: int, quantity: Decimal) -> None:
    receipt = _item(price=kopecks, amount=kopecks, quantity=quantity)
    text = exact_json(DRIVER.payload(PROVIDER_ID, receipt, context(answering()[0])))
    item = json.loads(text, parse_float=Decimal)["receipt"]["items"][0]
    assert item["price"] * 100 == item["sum"] * 100 == kopecks
    assert item["price"].as_tuple().exponent == -2
    assert item["quantity"] == quantity


@given(st.lists(st.tuples(st.sampled_from(list(VatRate)[:6]), st.integers(1, 10**6)), min_size=1, max_size=20))
def test_the_taxes_of_a_v4_correction_are_those_of_its_sums(lines: list[tuple[VatRate, int]]) -> None:
    items: tuple[Item, ...] = tuple(
        replace(MUG, vat=rate, price=amount, amount=amount, quantity=Decimal(1)) for rate, amount in lines
    )
    paid = (Payment(V4_CORRECTION.payments[0].kind, sum(amount for _, amount in lines)),)
    vats = _body(replace(V4_CORRECTION, items=items, payments=paid))["correction"]["vats"]
    assert [vat["type"] for vat in vats] == list(dict.fromkeys(rate.code for rate, _ in lines))
    assert len(vats) <= 6


# Callbacks and the check.


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b'{"external_id": 5}', b'{"external_id": "../x"}'])
def test_a_callback_of_another_shape_says_nothing(body: bytes) -> None:
    assert DRIVER.callback_hint(InboundRequest("POST", "secret", "", {}, body)) is None


def test_a_callback_is_the_report_and_names_our_id() -> None:
    request = InboundRequest("POST", "secret", "", {}, json.dumps(DONE, indent=1).encode())
    assert DRIVER.callback_hint(request) == PROVIDER_ID


async def test_a_check_asks_for_a_document_that_cannot_exist() -> None:
    http, seen = answering(GIVEN, Answer(400, error(30, status="fail")))
    async with http:
        report = await DRIVER.check(context(http, None))
    assert report.ok
    marks = [(line.name, line.mark) for line in report.lines]
    assert marks == [("credentials", Mark.OK), ("group", Mark.OK), ("place", Mark.WARNING)]
    assert [request.method for request in seen] == ["POST", "GET"]
    assert "v5" in report.lines[1].detail


@pytest.mark.parametrize(
    ("answers", "failed"),
    [
        ((Answer(401, error(12)),), "credentials"),
        ((Answer(400, error(13)),), "credentials"),
        ((Answer(403, error(14)),), "account"),
        ((Answer(401, error(21)),), "format"),
        ((GIVEN, Answer(401, error(20))), "group"),
        ((GIVEN, Answer(401, error(21))), "format"),
        ((GIVEN, Answer(200, b"<html>")), "connection"),
        ((GIVEN, Answer(200, DONE)), "connection"),
        ((GIVEN, httpx.ReadTimeout("late")), "connection"),
        ((httpx.ConnectError("no"),), "connection"),
        ((Answer(429),), "connection"),
        ((Answer(503),), "connection"),
    ],
)
async def test_a_check_says_what_fails_and_what_to_do(answers: Any, failed: str) -> None:
    http, _ = answering(*answers)
    async with http:
        report = await DRIVER.check(context(http, None))
    lines = [line for line in report.lines if line.mark is Mark.FAILED]
    assert [line.name for line in lines] == [failed]
    assert lines[0].fix
