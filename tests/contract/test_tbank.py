"""T-Bank's notices against the adapter: who is believed, what becomes an event, and refunds that carry no id."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from app.acquirers.tbank import PLUGIN
from app.acquirers.tbank.client import State
from app.acquirers.tbank.refunds import REFUNDS, AskPerson, Left, NotYet, Returned, claim
from app.acquirers.tbank.token import token
from app.domain.codec import event_from_json, event_to_json
from app.domain.event import EventType, PaymentEvent
from app.domain.receipt import Customer
from app.domain.settlement_key import by_rule
from app.ports.inbound import InboundRequest
from app.ports.source import Parsed, ReadBackFailed, Verdict
from tests.contract.contexts import source_context
from tests.contract.exchanges import tbank as wire

ADAPTER = PLUGIN()
CREDENTIALS = PLUGIN.Credentials(terminal_key=wire.TERMINAL, password=SecretStr(wire.PASSWORD))
PAYMENT_ID = str(wire.NOTICE["PaymentId"])


def settings(**changes: Any) -> Any:
    return PLUGIN.Settings(**({"acquirer_fiscalizes": False} | changes))


def request(body: bytes) -> InboundRequest:
    return InboundRequest("POST", "notify", "", {"content-type": "application/json"}, body)


def notice(**changes: Any) -> bytes:
    return wire.signed({n: v for n, v in (wire.NOTICE | changes).items() if v is not None})


class Api:
    """The bank's API; what was asked is kept."""

    def __init__(self, answer: Any = None, status: int = 200) -> None:
        self.answer, self.status = answer, status
        self.asked: list[httpx.Request] = []

    def __call__(self, asked: httpx.Request) -> httpx.Response:
        self.asked.append(asked)
        if isinstance(self.answer, Exception):
            raise self.answer
        body = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
        return httpx.Response(self.status, content=body)


async def parsed(
    body: bytes, api: Api | None = None, credentials: Any = CREDENTIALS, **changes: Any
) -> Parsed | ReadBackFailed:
    async with httpx.AsyncClient(transport=httpx.MockTransport(api or Api())) as http:
        context = source_context(http, credentials, settings(**changes), wire.BASE)
        return await ADAPTER.parse(request(body), context)


async def understood(body: bytes, api: Api | None = None, **changes: Any) -> Parsed:
    found = await parsed(body, api, **changes)
    assert isinstance(found, Parsed), found
    return found


async def failure(body: bytes, api: Api | None = None, **changes: Any) -> ReadBackFailed:
    found = await parsed(body, api, **changes)
    assert isinstance(found, ReadBackFailed), found
    assert wire.PASSWORD not in found.reason
    return found


class TestToken:
    def verdict(self, body: bytes, password: str = wire.PASSWORD, terminal: str = wire.TERMINAL) -> object:
        ours = CREDENTIALS.model_copy(update={"password": SecretStr(password), "terminal_key": terminal})
        return ADAPTER.verify(request(body), ours, settings())

    def test_the_documents_own_vector(self):
        assert self.verdict(wire.PUBLISHED, wire.PUBLISHED_PASSWORD, "1321054611234DEMO") == Verdict.Genuine()

    @pytest.mark.parametrize("status", wire.WORKED)
    def test_the_worked_vectors(self, status):
        amount, expected = wire.WORKED[status]
        fields = wire.NOTICE | {"Status": status, "Amount": amount}
        assert token(fields, wire.PASSWORD) == wire.token(fields) == expected
        assert self.verdict(wire.signed(fields)) == Verdict.Genuine()

    @pytest.mark.parametrize("fields", [wire.RECEIPT, wire.CARD, wire.ACCOUNT], ids=["receipt", "card", "account"])
    def test_other_notices_are_signed_alike(self, fields):
        assert self.verdict(wire.signed(fields)) == Verdict.Genuine()

    def test_numbers_are_signed_as_they_were_written(self):
        signed = wire.signed(wire.NOTICE | {"Amount": "199000.00"}).replace(b'"199000.00"', b"199000.00")
        assert self.verdict(signed) == Verdict.Genuine()
        assert self.verdict(signed.replace(b"199000.00", b"199000.0")) != Verdict.Genuine()

    def test_nulls_and_nested_ones_are_not_signed(self):
        fields = wire.NOTICE | {"RebillId": None, "Data": {"a": [1]}, "Shops": [{"x": 1}]}
        assert self.verdict(wire.signed(fields)) == Verdict.Genuine()

    def test_hex_in_capitals_is_the_same_token(self):
        body = json.loads(notice())
        assert self.verdict(json.dumps(body | {"Token": body["Token"].upper()}).encode()) == Verdict.Genuine()

    @pytest.mark.parametrize(
        "body",
        [
            json.dumps(wire.NOTICE).encode(),
            json.dumps(json.loads(notice()) | {"Token": ""}).encode(),
            json.dumps(json.loads(notice()) | {"Token": None}).encode(),
            json.dumps(json.loads(notice()) | {"Token": 5}).encode(),
            json.dumps(json.loads(notice()) | {"Token": "й"}).encode(),
            wire.signed(wire.NOTICE, "another password"),
            wire.signed(wire.NOTICE, ""),
            notice().replace(b"199000", b"1"),
            notice().replace(b"CONFIRMED", b"REFUNDED"),
            notice().replace(b'"Success": true', b'"Success": false'),
            notice()[:-1] + b', "Amount": 1}',
            notice()[:-1] + b', "Extra": "1"}',
            b"",
            b"[]",
            b"{",
            b"[" * 100_000,
            b'{"Token":1e999999999}',
        ],
    )
    def test_a_forgery_is_refused_with_a_reason_without_the_password(self, body):
        verdict = self.verdict(body)
        assert isinstance(verdict, Verdict.Forged)
        assert verdict.reason
        assert wire.PASSWORD not in verdict.reason

    def test_another_terminals_notice_is_refused(self):
        verdict = self.verdict(wire.signed(wire.NOTICE | {"TerminalKey": "1700000000002"}))
        assert verdict == Verdict.Forged("the notice is of another terminal")

    def test_without_a_password_everything_is_refused(self):
        for password in ("", "  "):
            verdict = self.verdict(wire.signed(wire.NOTICE, password), password)
            assert verdict == Verdict.Forged("no password is configured for this terminal")

    def test_a_source_cannot_be_configured_without_its_answers(self):
        for make in (lambda: PLUGIN.Settings(), lambda: PLUGIN.Credentials(terminal_key="x", password="")):
            with pytest.raises(ValidationError):
                make()
        assert wire.PASSWORD not in repr(CREDENTIALS)

    def test_the_exact_reply(self):
        stored = ADAPTER.reply(request(notice()), stored=True)
        assert (stored.status, stored.body, stored.media_type) == (200, b"OK", "text/plain")
        lost = ADAPTER.reply(request(notice()), stored=False)
        assert (lost.status, lost.body == b"OK") == (503, False)


class TestPayments:
    async def test_a_payment(self):
        api = Api()
        (event,) = (await understood(notice(), api)).events
        assert datetime.now(UTC) - event.occurred_at < timedelta(minutes=1)
        assert replace(event, occurred_at=datetime(2026, 11, 23, tzinfo=UTC)) == PaymentEvent(
            type=EventType.PAYMENT_SUCCEEDED,
            external_id=PAYMENT_ID,
            amount=199000,
            occurred_at=datetime(2026, 11, 23, tzinfo=UTC),
            order_id="inv-42",
            customer=Customer("anna@example.org", "+79990000000", "Анна Примерова"),
            metadata={"payment_method": "cards"},
            test=True,
        )
        assert api.asked == []

    async def test_a_live_terminal_moves_money(self):
        live = PLUGIN.Credentials(terminal_key=wire.LIVE_TERMINAL, password=wire.PASSWORD)
        assert not (await understood(notice(TerminalKey=wire.LIVE_TERMINAL), credentials=live)).events[0].test

    async def test_a_replay_is_the_same_event(self):
        first, second = [(await understood(notice())).events[0] for _ in range(2)]
        assert replace(first, occurred_at=second.occurred_at) == second

    async def test_held_then_taken_is_one_payment_of_the_captured_sum(self):
        assert (await understood(notice(Status="AUTHORIZED"))).events == ()
        assert (await understood(notice(Status="PARTIAL_REVERSED"))).events == ()
        assert (await understood(notice(Amount=149050))).events[0].amount == 149050

    async def test_contacts_may_be_switched_off(self):
        assert (await understood(notice(), contact_from_data=False)).events[0].customer == Customer()
        assert (await understood(notice(Data=None))).events[0].customer == Customer()
        old_name = await understood(notice(Data=None, DATA={"Phone": "+79990000000"}))
        assert old_name.events[0].customer.phone == "+79990000000"

    async def test_contacts_that_are_none_are_told_without_repeating_them(self):
        found = await understood(notice(Data={"email": "anna(at)example", "phone": "12"}))
        assert found.events[0].customer == Customer()
        assert len(found.warnings) == 2
        assert "anna" not in str(found.warnings)

    async def test_money_reported_twice_meets_under_the_order_or_the_payment(self):
        paid = (await understood(notice())).events[0]
        assert [by_rule(rule, paid) for rule in (None, "order_id", "payment_id")] == [None, "inv-42", "5551234567"]

    @pytest.mark.parametrize(
        "status",
        [
            *("NEW", "AUTHORIZED", "REVERSED", "PARTIAL_REVERSED", "CANCELED", "REJECTED", "AUTH_FAIL"),
            *("DEADLINE_EXPIRED", "ASYNC_REFUNDING", "REFUNDING", "3DS_CHECKING", "UNHEARD_OF", ""),
        ],
    )
    async def test_other_statuses_are_noted_and_nothing_is_asked(self, status):
        api = Api()
        found = await understood(notice(Status=status), api)
        assert (found.events, found.alarms, api.asked) == ((), (), [])
        assert found.note

    @pytest.mark.parametrize("status", ["CONFIRMED", *REFUNDS])
    @pytest.mark.parametrize("success", [False, "true", None])
    async def test_without_success_no_money_moved(self, status, success):
        found = await understood(notice(Status=status, Success=success, ErrorCode="101"))
        assert (found.events, "without success" in str(found.note)) == ((), True)

    @pytest.mark.parametrize("fields", [wire.CARD, wire.ACCOUNT], ids=["card", "account"])
    async def test_bindings_are_noted(self, fields):
        found = await understood(wire.signed(fields))
        assert (found.events, "binding" in str(found.note)) == ((), True)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"Amount": 0}, "above zero"),
            ({"Amount": 10.5}, "kopecks"),
            ({"Amount": -5}, "kopecks"),
            ({"Amount": "much"}, "kopecks"),
            ({"Amount": 10**14}, "out of range"),
            ({"PaymentId": "x"}, "PaymentId"),
            ({"PaymentId": None}, "PaymentId"),
        ],
    )
    async def test_genuine_and_unreadable_is_a_final_failure(self, changes, reason):
        found = await failure(notice(**changes))
        assert found.final
        assert reason in found.reason

    async def test_a_sum_with_zeros_behind_the_dot_is_a_sum(self):
        assert (await understood(notice(Amount=199000.0))).events[0].amount == 199000


class TestDoubleFiscalization:
    async def test_the_banks_own_receipt_is_an_alarm(self):
        found = await understood(wire.signed(wire.RECEIPT))
        (alarm,) = found.alarms
        assert (alarm.type, alarm.external_id) == (EventType.PAYMENT_SUCCEEDED, PAYMENT_ID)
        assert alarm.code == "fiscalized_twice"
        assert "два чека" in alarm.reason_ru
        assert found.events == ()
        assert "anna" not in f"{found}"

    async def test_none_where_it_is_wanted(self):
        found = await understood(wire.signed(wire.RECEIPT), acquirer_fiscalizes=True)
        assert (found.events, found.alarms) == ((), ())

    async def test_the_wanted_one_that_failed_is_an_alarm(self):
        body = wire.signed(wire.RECEIPT | {"Success": False, "ErrorCode": "53"})
        (alarm,) = (await understood(body, acquirer_fiscalizes=True)).alarms
        assert alarm.code == "acquirer_receipt_failed"
        assert "53" in alarm.reason_ru
        assert (await understood(body)).alarms == ()


class TestRefunds:
    def refund(self, status: str = "REFUNDED", amount: int = 199000, **changes: Any) -> bytes:
        return notice(Status=status, Amount=amount, **changes)

    async def test_the_whole_payment_needs_no_answer_from_anybody(self):
        for amount in (0, 100, 199000):
            (event,) = (await understood(self.refund(amount=amount), Api(wire.state("REFUNDED", 0)))).events
            assert event.type is EventType.REFUND_SUCCEEDED
            assert (event.external_id, event.payment_id) == (f"{PAYMENT_ID}:left:0", PAYMENT_ID)
            assert (event.amount, event.left_after, event.order_id) == (0, 0, "inv-42")

    async def test_how_it_is_read_back(self):
        api = Api(wire.state("REFUNDED"))
        await understood(self.refund(), api)
        (asked,) = api.asked
        assert str(asked.url) == f"{wire.BASE}/GetState"
        body = json.loads(asked.content)
        assert body.pop("Token") == wire.token(body)
        assert body == {"TerminalKey": wire.TERMINAL, "PaymentId": PAYMENT_ID}

    async def test_a_part_is_a_persons_until_the_operator_knows_what_its_sum_means(self):
        found = await understood(self.refund("PARTIAL_REFUNDED", 50000), Api(wire.state("PARTIAL_REFUNDED", 149000)))
        (alarm,) = found.alarms
        assert found.events == ()
        assert (alarm.type, alarm.external_id) == (EventType.PAYMENT_SUCCEEDED, PAYMENT_ID)
        other = await understood(self.refund("PARTIAL_REFUNDED", 60000), Api(wire.state("PARTIAL_REFUNDED", 89000)))
        assert other.alarms[0].code != alarm.code
        assert "вручную" in alarm.reason_ru

    async def test_a_part_by_what_is_left(self):
        api = Api(wire.state("PARTIAL_REFUNDED", 149000))
        found = await understood(self.refund("PARTIAL_REFUNDED", 149000), api, partial_refunds="left")
        (event,) = found.events
        assert (event.external_id, event.amount, event.left_after) == (f"{PAYMENT_ID}:left:149000", 0, 149000)

    async def test_a_part_by_what_was_returned(self):
        api = Api(wire.state("PARTIAL_REFUNDED", 149000))
        found = await understood(self.refund("PARTIAL_REFUNDED", 50000), api, partial_refunds="returned")
        (event,) = found.events
        assert (event.external_id, event.amount, event.left_after) == (f"{PAYMENT_ID}:returned:50000", 50000, None)
        assert "same sum" in found.warnings[0]

    async def test_a_wrong_setting_is_found_out_by_the_read_back(self):
        api = Api(wire.state("PARTIAL_REFUNDED", 149000))
        found = await understood(self.refund("PARTIAL_REFUNDED", 50000), api, partial_refunds="left")
        assert found.events == ()
        assert "partial_refunds" in found.alarms[0].reason_ru

    async def test_a_part_that_is_read_after_the_whole_is_the_whole(self):
        late = await understood(self.refund("PARTIAL_REFUNDED", 149000), Api(wire.state("REFUNDED", 0)))
        whole = await understood(self.refund(), Api(wire.state("REFUNDED", 0)))
        assert replace(late.events[0], occurred_at=whole.events[0].occurred_at) == whole.events[0]
        assert "it counts" in late.warnings[0]

    @pytest.mark.parametrize("status", ["REFUNDING", "ASYNC_REFUNDING", "PARTIAL_REFUNDED"])
    async def test_what_the_bank_has_not_finished_is_asked_again(self, status):
        assert not (await failure(self.refund(), Api(wire.state(status, 1)))).final

    @pytest.mark.parametrize("status", ["CONFIRMED", "REVERSED", "NEW", ""])
    async def test_what_the_bank_does_not_confirm_is_for_a_person(self, status):
        found = await understood(self.refund(), Api(wire.state(status, 1)))
        assert found.events == ()
        assert len(found.alarms) == 1

    @pytest.mark.parametrize(
        "api",
        [
            Api(wire.state("REFUNDED"), 500),
            Api(b"<html>"),
            Api([1]),
            Api({"Success": False, "ErrorCode": "204", "Message": "Неверный токен."}),
            Api(wire.state("REFUNDED", ErrorCode="7")),
            Api(wire.state("REFUNDED", TerminalKey="another")),
            Api(wire.state("REFUNDED", PaymentId="1")),
            Api(httpx.ConnectTimeout("slow")),
        ],
    )
    async def test_without_an_answer_nothing_is_decided(self, api):
        assert not (await failure(self.refund(), api)).final

    async def test_on_a_test_terminal_it_is_a_test(self):
        assert (await understood(self.refund(), Api(wire.state("REFUNDED")))).events[0].test


PAID = 199_000


class TestRefundLedger:
    """The proof in `refunds`, tried: notices in any order, repeated, each read back at some later moment."""

    @settings_of_hypothesis(max_examples=300, deadline=None)
    @given(st.data())
    def test_no_order_and_no_repeat_returns_more_or_less_than_the_bank_did(self, data):
        levels = sorted(data.draw(st.sets(st.integers(0, PAID - 1), min_size=1, max_size=6)), reverse=True)
        notices = [("PARTIAL_REFUNDED" if level else "REFUNDED", level, number) for number, level in enumerate(levels)]
        arrived = data.draw(st.permutations(notices * data.draw(st.integers(1, 3))))
        contents: dict[str, Left] = {}
        ledger = PAID
        for status, level, number in arrived:
            now = levels[data.draw(st.integers(number, len(levels) - 1))]
            state = State("PARTIAL_REFUNDED" if now else "REFUNDED", now)
            found = claim(status, level, state, "left")
            assert isinstance(found, Left)
            assert contents.setdefault(found.key, found) == found
            ledger -= max(0, ledger - found.amount)
            assert ledger >= levels[-1]
        assert ledger == levels[-1]

    @settings_of_hypothesis(max_examples=200, deadline=None)
    @given(st.data())
    def test_lost_notices_are_made_up_for_by_the_last(self, data):
        levels = sorted(data.draw(st.sets(st.integers(1, PAID - 1), max_size=5)), reverse=True)
        heard = data.draw(st.lists(st.sampled_from(levels), unique=True)) if levels else []
        ledger = PAID
        for level in [*heard, 0]:
            found = claim("PARTIAL_REFUNDED" if level else "REFUNDED", level, State("REFUNDED", 0), "ask")
            assert found == Left(0)
            ledger = min(ledger, found.amount)
        assert ledger == 0

    @settings_of_hypothesis(max_examples=300, deadline=None)
    @given(
        st.sampled_from(REFUNDS),
        st.integers(0, PAID),
        st.sampled_from(["CONFIRMED", "REFUNDING", "ASYNC_REFUNDING", "REVERSED", "PARTIAL_REFUNDED", "REFUNDED", ""]),
        st.none() | st.integers(0, PAID),
        st.sampled_from(["ask", "left", "returned"]),
    )
    def test_no_sum_is_claimed_that_the_read_back_does_not_allow(self, status, amount, state, left, partial):
        found = claim(status, amount, State(state, left), partial)
        match found:
            case Left(amount=0):
                assert state == "REFUNDED"
            case Left(amount=claimed):
                assert (partial, state, status, claimed) == ("left", "PARTIAL_REFUNDED", "PARTIAL_REFUNDED", amount)
                assert left is None or left <= claimed
            case Returned(amount=claimed):
                assert (partial, state, status, claimed) == ("returned", "PARTIAL_REFUNDED", "PARTIAL_REFUNDED", amount)
                assert claimed > 0
            case NotYet():
                assert state in ("REFUNDING", "ASYNC_REFUNDING", "PARTIAL_REFUNDED")
            case AskPerson(reason=reason, reason_ru=reason_ru):
                assert reason
                assert reason_ru


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@settings_of_hypothesis(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*wire.NOTICE, "RebillId", "NotificationType"]), ANY), st.text(max_size=10))
async def test_no_notice_breaks_the_adapter(changes, extra):
    fields = wire.NOTICE | changes | {"Extra": extra}
    try:
        body = wire.signed(fields)
    except UnicodeEncodeError:  # half a surrogate pair, which the bank could not send either
        return
    ADAPTER.verify(request(body), CREDENTIALS, settings())
    found = await parsed(body, Api(wire.state("REFUNDED")))
    for event in found.events if isinstance(found, Parsed) else ():
        assert event_from_json(json.loads(json.dumps(event_to_json(event)).encode())) == event


@settings_of_hypothesis(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
async def test_no_bytes_break_the_adapter(body):
    assert isinstance(ADAPTER.verify(request(body), CREDENTIALS, settings()), Verdict.Forged)
    assert isinstance(await parsed(body), (Parsed, ReadBackFailed))
    assert ADAPTER.reply(request(body), stored=True).body == b"OK"


async def test_it_cannot_be_listed():
    async with httpx.AsyncClient(transport=httpx.MockTransport(Api())) as http:
        context = source_context(http, CREDENTIALS, settings(), wire.BASE)
        assert [found async for found in ADAPTER.poll(datetime.now(UTC), context)] == []
    assert not ADAPTER.capabilities.polls
