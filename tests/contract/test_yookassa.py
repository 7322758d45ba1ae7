"""YooKassa's notifications and lists against the adapter: only what is read from its API counts."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from app.acquirers.yookassa import PLUGIN
from app.acquirers.yookassa.config import PUBLISHED
from app.domain.codec import event_from_json, event_to_json
from app.domain.event import EventType, PaymentEvent
from app.domain.receipt import Customer
from app.domain.settlement_key import by_rule
from app.ports.inbound import InboundRequest
from app.ports.source import Alarm, Parsed, PollFailed, ReadBackFailed, Verdict
from tests.contract.contexts import source_context
from tests.contract.exchanges import yookassa as wire

ADAPTER = PLUGIN()
CREDENTIALS = PLUGIN.Credentials(shop_id=wire.SHOP_ID, secret_key=SecretStr(wire.SECRET))
SINCE = datetime(2026, 11, 23, tzinfo=UTC)

Answer = tuple[int, Any] | Exception


def settings(**changes: Any) -> Any:
    return PLUGIN.Settings(**({"acquirer_fiscalizes": False} | changes))


def request(body: bytes, peer: str = "") -> InboundRequest:
    return InboundRequest("POST", "notify", "", {"content-type": "application/json"}, body, peer)


class Api:
    """YooKassa's API by path; what was asked is kept."""

    def __init__(self, **answers: Answer | Callable[[httpx.Request], Answer]) -> None:
        self.answers: dict[str, Any] = {f"payments/{wire.PAYMENT_ID}": (200, wire.PAYMENT)}
        self.answers |= {f"refunds/{wire.REFUND_ID}": (200, wire.REFUND)}
        self.answers |= answers
        self.asked: list[httpx.Request] = []

    def __call__(self, asked: httpx.Request) -> httpx.Response:
        self.asked.append(asked)
        answer = self.answers.get(str(asked.url).partition("?")[0].removeprefix(f"{wire.BASE}/"), wire.NOT_FOUND)
        answer = answer(asked) if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        status, body = answer
        return httpx.Response(status, content=body if isinstance(body, bytes) else json.dumps(body).encode())


def paid(**changes: Any) -> Api:
    return Api(**{f"payments/{wire.PAYMENT_ID}": (200, wire.PAYMENT | changes)})


async def parsed(body: bytes, api: Api | None = None, **changes: Any) -> Parsed | ReadBackFailed:
    async with httpx.AsyncClient(transport=httpx.MockTransport(api or Api())) as http:
        context = source_context(http, CREDENTIALS, settings(**changes), wire.BASE)
        return await ADAPTER.parse(request(body), context)


async def understood(body: bytes, api: Api | None = None, **changes: Any) -> Parsed:
    found = await parsed(body, api, **changes)
    assert isinstance(found, Parsed), found
    return found


async def failure(body: bytes, api: Api) -> ReadBackFailed:
    found = await parsed(body, api)
    assert isinstance(found, ReadBackFailed), found
    assert wire.SECRET not in found.reason
    return found


async def polled(api: Api, **changes: Any) -> list[PaymentEvent | Alarm]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(api)) as http:
        context = source_context(http, CREDENTIALS, settings(**changes), wire.BASE)
        return [one async for one in ADAPTER.poll(SINCE, context)]


PAID = wire.notice("payment.succeeded", wire.PAYMENT)
RETURNED = wire.notice("refund.succeeded", wire.REFUND)


class TestSender:
    def test_nothing_is_signed_so_nothing_is_believed(self):
        assert ADAPTER.verify(request(PAID), CREDENTIALS, settings()) == Verdict.NeedsReadBack()
        assert ADAPTER.verify(request(b"anything"), CREDENTIALS, settings()) == Verdict.NeedsReadBack()

    @pytest.mark.parametrize(
        ("peer", "inside"),
        [
            ("77.75.153.7", True),
            ("77.75.153.200", False),
            ("185.71.76.31", True),
            ("2a02:5180:0:2669::7", True),
            ("2a02:5180:0:2670::7", False),
            ("127.0.0.1", False),
            ("10.1.2.3", True),
        ],
    )
    def test_the_networks_are_an_option(self, peer, inside):
        asked = settings(allowed_networks=["published", "10.1.0.0/16"])
        verdict = ADAPTER.verify(request(PAID, peer), CREDENTIALS, asked)
        assert isinstance(verdict, Verdict.NeedsReadBack if inside else Verdict.Forged)
        assert isinstance(ADAPTER.verify(request(PAID, peer), CREDENTIALS, settings()), Verdict.NeedsReadBack)

    @pytest.mark.parametrize("peer", ["", "unix:", "not an address"])
    def test_a_sender_without_an_address_is_in_no_network(self, peer):
        asked = settings(allowed_networks=["published"])
        assert isinstance(ADAPTER.verify(request(PAID, peer), CREDENTIALS, asked), Verdict.Forged)

    def test_the_networks_are_those_of_the_official_sdk(self):
        from yookassa.domain.common.security_helper import SecurityHelper

        official = {text if "/" in text else f"{text}/32" for text in SecurityHelper.YOOKASSA_NETWORKS}
        assert set(PUBLISHED) == official

    @pytest.mark.parametrize("secret", ["", "  "])
    def test_without_a_key_everything_is_refused(self, secret):
        bare = CREDENTIALS.model_copy(update={"secret_key": SecretStr(secret)})
        assert isinstance(ADAPTER.verify(request(PAID), bare, settings()), Verdict.Forged)

    @pytest.mark.parametrize(
        "make",
        [
            lambda: PLUGIN.Settings(),
            lambda: settings(allowed_networks=["77.75.153.1/25"]),
            lambda: settings(allowed_networks=["everyone"]),
            lambda: PLUGIN.Credentials(shop_id="", secret_key="x"),
            lambda: PLUGIN.Credentials(shop_id="1", secret_key=""),
        ],
    )
    def test_a_source_cannot_be_configured_without_its_answers(self, make):
        with pytest.raises(ValidationError):
            make()

    def test_the_key_is_not_told(self):
        assert wire.SECRET not in repr(CREDENTIALS)

    def test_the_exact_reply(self):
        stored, lost = ADAPTER.reply(request(PAID), stored=True), ADAPTER.reply(request(PAID), stored=False)
        assert (stored.status, stored.body) == (200, b"")
        assert lost.status == 503


class TestEvents:
    async def test_a_payment(self):
        (event,) = (await understood(PAID)).events
        assert event == PaymentEvent(
            type=EventType.PAYMENT_SUCCEEDED,
            external_id=wire.PAYMENT_ID,
            amount=199000,
            occurred_at=datetime(2026, 11, 23, 8, 15, 31, 135000, tzinfo=UTC),
            order_id="inv-42",
            customer=Customer("anna@example.org", "+79990000000"),
            description="Абонемент",
            metadata={"crm": "moyklass", "crm_payment_id": "777", "payment_method": "sbp"},
        )

    async def test_it_is_read_with_the_shops_pair(self):
        api = Api()
        await understood(PAID, api)
        (asked,) = api.asked
        assert str(asked.url) == f"{wire.BASE}/payments/{wire.PAYMENT_ID}"
        assert asked.headers["authorization"] == httpx.BasicAuth(wire.SHOP_ID, wire.SECRET)._auth_header

    async def test_a_refund_is_read_with_its_payment(self):
        api = Api()
        (event,) = (await understood(RETURNED, api)).events
        assert event.type is EventType.REFUND_SUCCEEDED
        assert (event.external_id, event.payment_id, event.amount) == (wire.REFUND_ID, wire.PAYMENT_ID, 50050)
        assert (event.order_id, event.occurred_at) == ("inv-42", datetime(2026, 11, 24, 10, tzinfo=UTC))
        assert event.customer == Customer()
        assert [asked.url.path.split("/")[2] for asked in api.asked] == ["refunds", "payments"]

    async def test_a_replay_is_the_same_event(self):
        body = wire.notice("payment.succeeded", {"id": wire.PAYMENT_ID})
        assert (await understood(PAID)).events == (await understood(body)).events

    async def test_a_partial_capture_is_the_captured_sum(self):
        captured = {"amount": {"value": "1490.5", "currency": "RUB"}}
        found = await understood(wire.notice("payment.succeeded", wire.PAYMENT | captured), paid(**captured))
        assert found.events[0].amount == 149050

    @pytest.mark.parametrize("kind", ["payment", "refund"])
    async def test_a_notification_that_names_another_sum_than_is_read_is_not_believed(self, kind):
        about = wire.PAYMENT if kind == "payment" else wire.REFUND
        lie = wire.notice(f"{kind}.succeeded", about | {"amount": {"value": "1.00", "currency": "RUB"}})
        found = await understood(lie)
        assert found.events == ()
        assert "another sum" in str(found.note)

    async def test_of_the_notification_nothing_but_kind_and_id_is_used(self):
        lie = wire.PAYMENT | {"metadata": {"email": "thief@example.net"}, "test": True, "status": "pending"}
        assert (await understood(wire.notice("payment.succeeded", lie))).events == (await understood(PAID)).events

    async def test_a_test_payment_says_so(self):
        assert (await understood(PAID, paid(test=True))).events[0].test
        assert (await understood(RETURNED, paid(test=True))).events[0].test
        assert not (await understood(PAID)).events[0].test

    @pytest.mark.parametrize("body", [PAID, RETURNED])
    async def test_payments_and_refunds_reported_twice_meet_under_the_order_or_the_crms_payment(self, body):
        event = (await understood(body)).events[0]
        said = wire.PAYMENT["metadata"]
        assert by_rule("order_id", event) == said["order_id"]
        assert by_rule("metadata.crm_payment_id", event) == said["crm_payment_id"]
        assert by_rule("payment_id", event) == wire.PAYMENT_ID


class TestNoReceipt:
    @pytest.mark.parametrize(
        "kind",
        [
            *("payment.waiting_for_capture", "payment.canceled", "payment_method.active", "deal.closed"),
            *("payout.succeeded", "payout.canceled", "payment.unheard_of", "", "refund.canceled"),
        ],
    )
    async def test_other_kinds_are_noted_and_nothing_is_asked(self, kind):
        api = Api()
        found = await understood(wire.notice(kind, wire.PAYMENT), api)
        assert (found.events, api.asked) == ((), [])
        assert found.note

    @pytest.mark.parametrize(
        "changes",
        [
            {"status": "pending"},
            {"status": "waiting_for_capture"},
            {"status": "canceled"},
            {"paid": False},
            {"paid": "true"},
        ],
    )
    async def test_a_notification_that_the_api_does_not_confirm_is_noted(self, changes):
        found = await understood(PAID, paid(**changes))
        assert found.events == ()
        assert "no money was taken" in str(found.note)

    async def test_a_refund_that_the_api_does_not_confirm_is_noted(self):
        api = Api(**{f"refunds/{wire.REFUND_ID}": (200, wire.REFUND | {"status": "canceled"})})
        found = await understood(RETURNED, api)
        assert (found.events, "nothing was returned" in str(found.note)) == ((), True)

    @pytest.mark.parametrize("recipient", [{"account_id": "999"}, {}, None])
    @pytest.mark.parametrize("body", [PAID, RETURNED])
    async def test_another_shops_money_is_not_ours(self, body, recipient):
        found = await understood(body, paid(recipient=recipient))
        assert found.events == ()
        assert "another shop" in str(found.note)

    async def test_what_this_shop_does_not_have_is_a_visible_failure(self):
        found = await failure(wire.notice("payment.succeeded", {"id": "made-up"}), Api())
        assert found.final
        assert "another shop's, or made up" in found.reason

    @pytest.mark.parametrize("id", ["../refunds/1", "a?b", "", None, 5.5, {"a": 1}, "x" * 65, "a/b", "а"])
    async def test_an_id_that_cannot_be_one_is_never_put_into_a_path(self, id):
        api = Api()
        found = await understood(wire.notice("payment.succeeded", {"id": id}), api)
        assert (found.events, api.asked) == ((), [])

    @pytest.mark.parametrize(
        "body", [b"", b"[]", b"{", b"null", b'{"event":"payment.succeeded"}', b"[" * 10_000, b"\xff"]
    )
    async def test_junk_is_noted(self, body):
        found = await understood(body)
        assert found.events == ()
        assert found.note


class TestReadingBack:
    @pytest.mark.parametrize(
        "answer",
        [
            wire.UNAUTHORIZED,
            (403, {}),
            (429, {}),
            (500, b"<html>"),
            (202, {"type": "processing"}),
            (200, b"<html>"),
            (200, [1]),
            (200, wire.PAYMENT | {"id": "another"}),
            httpx.ConnectTimeout("slow"),
            httpx.ReadError("cut"),
        ],
        ids=["401", "403", "429", "500", "202", "html", "list", "another", "timeout", "cut"],
    )
    @pytest.mark.parametrize("body", [PAID, RETURNED])
    async def test_without_an_answer_nothing_is_decided(self, body, answer):
        found = await failure(body, Api(**{f"payments/{wire.PAYMENT_ID}": answer}))
        assert not found.final

    async def test_a_refused_key_is_named_as_the_cause(self):
        found = await failure(PAID, Api(**{f"payments/{wire.PAYMENT_ID}": wire.UNAUTHORIZED}))
        assert "secret key" in found.reason
        assert "invalid_credentials" in found.reason

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"amount": {"value": "10.00", "currency": "USD"}}, "roubles"),
            ({"amount": {"value": "0.00", "currency": "RUB"}}, "above zero"),
            ({"amount": {"value": "10.001", "currency": "RUB"}}, "above zero"),
            ({"amount": None}, "no currency"),
            ({"captured_at": "yesterday", "created_at": None}, "no moment"),
        ],
    )
    async def test_money_that_cannot_become_a_receipt_is_a_final_failure(self, changes, reason):
        found = await failure(PAID, paid(**changes))
        assert found.final
        assert reason in found.reason


class TestDoubleFiscalization:
    @pytest.mark.parametrize("registered", ["pending", "succeeded"])
    async def test_a_receipt_of_their_own_is_an_alarm(self, registered):
        found = await understood(PAID, paid(receipt_registration=registered))
        (alarm,) = found.alarms
        assert (alarm.type, alarm.external_id) == (EventType.PAYMENT_SUCCEEDED, wire.PAYMENT_ID)
        assert alarm.code == "fiscalized_twice"
        assert "два чека" in alarm.reason_ru
        assert alarm.reason in found.warnings

    async def test_also_of_a_refund(self):
        api = Api(**{f"refunds/{wire.REFUND_ID}": (200, wire.REFUND | {"receipt_registration": "succeeded"})})
        (alarm,) = (await understood(RETURNED, api)).alarms
        assert (alarm.type, alarm.external_id) == (EventType.REFUND_SUCCEEDED, wire.REFUND_ID)

    async def test_none_where_it_is_wanted_or_did_not_come_about(self):
        assert (await understood(PAID, paid(receipt_registration="succeeded"), acquirer_fiscalizes=True)).alarms == ()
        assert (await understood(PAID, paid(receipt_registration="canceled"))).alarms == ()


class TestMetadata:
    async def read(self, **members: str) -> Parsed:
        return await understood(PAID, Api(**{f"payments/{wire.PAYMENT_ID}": (200, wire.with_metadata(**members))}))

    async def test_lines_in_the_words_of_the_neutral_event(self):
        found = await self.read(items=json.dumps(wire.LINES, ensure_ascii=False))
        lesson, book = found.events[0].items
        assert (lesson.name, str(lesson.quantity), lesson.price, lesson.amount) == ("Занятие", "8", 20000, 160000)
        assert (lesson.vat, lesson.payment_method) == ("none", "full_prepayment")
        assert (book.sku, book.payment_object, book.measure, book.amount) == ("B-1", "commodity", "piece", 39000)
        assert (found.events[0].items_origin, found.warnings) == ("event", ())

    async def test_long_lists_go_on_in_further_keys(self):
        text = json.dumps(wire.LINES, ensure_ascii=False)
        found = await self.read(items=text[:50], items_2=text[50:90], items_3=text[90:])
        assert len(found.events[0].items) == 2

    async def test_one_line_by_its_name(self):
        (item,) = (await self.read(item_name="Абонемент", item_code="A-8")).events[0].items
        assert (item.name, item.sku, item.price, item.amount) == ("Абонемент", "A-8", 199000, 199000)

    async def test_the_lines_may_be_switched_off(self):
        assert (await understood(PAID, paid(metadata={"item_name": "X"}), items_from_metadata=False)).events[
            0
        ].items == ()

    @pytest.mark.parametrize(
        "items",
        [
            "{",
            "[]",
            "{}",
            '"x"',
            "[1]",
            '[{"name":"A"}]',
            '[{"name":"","price":199000}]',
            '[{"name":"A","price":1990.00}]',
            '[{"name":"A","price":"199000"}]',
            '[{"name":"A","price":true}]',
            '[{"name":"A","price":-1}]',
            '[{"name":"A","price":199000,"vat":"vat18"}]',
            '[{"name":"A","price":199000,"quantity":"0"}]',
            '[{"name":"A","price":199000,"colour":"red"}]',
            '[{"name":"A","price":199000}],"x":[]',
            '[{"name":"A","price":1}]',
            "[" * 20_000,
        ],
    )
    async def test_lines_that_cannot_be_read_do_not_lose_the_payment(self, items):
        found = await self.read(items=items)
        assert (found.events[0].amount, found.events[0].items, found.events[0].items_origin) == (199000, (), None)
        assert any("metadata.items" in warning for warning in found.warnings)

    async def test_contacts_that_are_none_are_told_without_repeating_them(self):
        found = await self.read(email="anna(at)example", phone="12")
        assert found.events[0].customer == Customer()
        assert len(found.warnings) == 2
        assert "anna" not in str(found.warnings)

    @pytest.mark.parametrize(
        ("known_as", "customer"),
        [
            ("anna@example.org", Customer("anna@example.org")),
            ("+79990000000", Customer(None, "+79990000000")),
            ("7", Customer()),
        ],
    )
    async def test_the_shops_own_name_of_the_buyer_is_looked_at_last(self, known_as, customer):
        found = await understood(PAID, paid(metadata={}, merchant_customer_id=known_as))
        assert found.events[0].customer == customer

    async def test_contacts_stay_out_of_what_goes_on_in_the_open(self):
        event = (await self.read(crm_payment_id="anna@example.org")).events[0]
        assert event.metadata == {"crm": "moyklass", "payment_method": "sbp"}

    async def test_branch_and_delivery(self):
        event = (await self.read(branch="south", delivered="true")).events[0]
        assert (event.branch, event.delivered) == ("south", True)
        assert (await self.read(delivered="yes")).warnings

    @settings_of_hypothesis(max_examples=100, deadline=None)
    @given(
        st.dictionaries(
            st.sampled_from(
                [
                    "order_id",
                    "email",
                    "phone",
                    "name",
                    "inn",
                    "item_name",
                    "items",
                    "items_2",
                    "branch",
                    "delivered",
                    "crm",
                ]
            ),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=20),
                lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
                max_leaves=4,
            ),
        )
    )
    async def test_no_metadata_breaks_the_adapter(self, members):
        (event,) = (await understood(PAID, paid(metadata=members))).events
        assert event.amount == 199000
        assert event_from_json(json.loads(json.dumps(event_to_json(event)).encode())) == event


class TestPoll:
    def lists(self, payments: Any = (), refunds: Any = ()) -> Api:
        return Api(payments=(200, wire.page(*payments)), refunds=(200, wire.page(*refunds)))

    async def test_it_tells_what_the_notifications_tell(self):
        found = await polled(self.lists([wire.PAYMENT], [wire.REFUND]))
        assert found == [*(await understood(PAID)).events, *(await understood(RETURNED)).events]

    async def test_what_is_asked_for(self):
        api = self.lists()
        assert await polled(api) == []
        payments, refunds = (dict(asked.url.params) for asked in api.asked)
        since = "2026-11-23T00:00:00.000Z"
        assert payments == {"captured_at.gte": since, "status": "succeeded", "limit": "100"}
        assert refunds == {"created_at.gte": since, "status": "succeeded", "limit": "100"}

    async def test_pages_come_newest_first_and_are_told_oldest_first(self):
        ids = [f"p-{number}" for number in range(5)]
        newest_first = [
            wire.PAYMENT | {"id": id, "captured_at": f"2026-11-2{number + 3}T08:00:00Z"}
            for number, id in enumerate(ids)
        ][::-1]

        def answer(asked: httpx.Request) -> Answer:
            start = int(asked.url.params.get("cursor", "0"))
            return 200, wire.page(*newest_first[start : start + 2], cursor=str(start + 2) if start < 3 else None)

        found = await polled(Api(payments=answer, refunds=(200, wire.page())))
        assert [one.external_id for one in found] == ids

    async def test_a_refunds_payment_that_was_listed_is_not_asked_for_again(self):
        api = self.lists([wire.PAYMENT], [wire.REFUND, wire.REFUND | {"id": "r-2"}])
        await polled(api)
        assert len(api.asked) == 2

    async def test_other_shops_and_unpaid_ones_are_left_out(self):
        other = wire.PAYMENT | {"recipient": {"account_id": "1"}}
        assert (
            await polled(self.lists([other, wire.PAYMENT | {"paid": False}], [wire.REFUND | {"payment_id": "gone"}]))
            == []
        )

    async def test_one_that_cannot_be_read_is_an_alarm_and_hinders_no_other(self):
        dollars = wire.PAYMENT | {"id": "p-usd", "amount": {"value": "10.00", "currency": "USD"}}
        found = await polled(self.lists([dollars, wire.PAYMENT], [wire.REFUND | {"payment_id": "?"}]))
        (event,) = [one for one in found if isinstance(one, PaymentEvent)]
        alarms = [one for one in found if isinstance(one, Alarm)]
        assert event.external_id == wire.PAYMENT_ID
        assert [(one.external_id, one.code) for one in alarms] == [
            ("p-usd", "unreadable"),
            (wire.REFUND_ID, "unreadable"),
        ]
        assert "рублях" in alarms[0].reason_ru

    async def test_a_receipt_of_their_own_is_an_alarm_here_too(self):
        found = await polled(self.lists([wire.PAYMENT | {"receipt_registration": "succeeded"}]))
        assert [type(one) for one in found] == [PaymentEvent, Alarm]

    @pytest.mark.parametrize(
        "answer",
        [
            (500, {}),
            wire.UNAUTHORIZED,
            (200, {"type": "list"}),
            (200, wire.page(cursor="same")),
            httpx.ReadTimeout("slow"),
        ],
    )
    async def test_a_list_that_does_not_come_whole_fails(self, answer):
        with pytest.raises(PollFailed) as failed:
            await polled(Api(payments=answer, refunds=(200, wire.page())))
        assert wire.SECRET not in str(failed.value)


@settings_of_hypothesis(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
async def test_no_bytes_break_the_adapter(body):
    assert isinstance(await parsed(body), Parsed)
    assert ADAPTER.reply(request(body), stored=True).status == 200
