"""«Мой Класс» against the adapter: what is believed, what becomes an event, what is asked, what is told back."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from app.crms.moyklass import PLUGIN, closings, wire
from app.crms.moyklass.payments import moment_of
from app.domain.event import EventItem, EventPayment, EventRequisites, EventType, PaymentEvent
from app.domain.receipt import Customer, FiscalData
from app.infra.pace import EvenPace
from app.infra.tokens import Tokens
from app.ports.inbound import InboundRequest
from app.ports.source import (
    Alarm,
    Parsed,
    PollFailed,
    ReadBackFailed,
    Report,
    Reported,
    ReportFailed,
    SourceContext,
    Verdict,
)
from tests.contract.exchanges import moyklass as mk

ADAPTER = PLUGIN()
CREDENTIALS = PLUGIN.Credentials(api_key=SecretStr(mk.API_KEY))
MOSCOW = ZoneInfo("Europe/Moscow")
SINCE = datetime(2026, 11, 19, tzinfo=UTC)
ONLINE = {"kind": "electronic", "internet": True}
LONG_AGO = date(2026, 1, 1)


def settings(**changes: Any) -> Any:
    known = {"payment_types": {"2": ONLINE}, "balance_method": "advance", "settle": "off"}
    return PLUGIN.Settings.model_validate(known | changes)


class Remembered:
    """What was reported before, by type and id."""

    def __init__(self, **amounts: int | None) -> None:
        self.told: dict[tuple[EventType, str], int | None] = {}
        for name, amount in amounts.items():
            kind, _, number = name.partition("_")
            self.told[EventType.PAYMENT_SUCCEEDED if kind == "p" else EventType.REFUND_SUCCEEDED, number] = amount

    async def amounts(self, type: EventType, external_ids: Sequence[str]) -> Mapping[str, int | None]:
        return {one: self.told[type, one] for one in external_ids if (type, one) in self.told}


class Crm:
    """A CRM of canned answers that notes what it was asked; `broken` answers first, once."""

    def __init__(self, **rows: Any) -> None:
        self.asked: list[httpx.Request] = []
        self.broken: list[httpx.Response] = []
        self.tokens = 0
        self.rows: dict[str, Any] = {
            "/payments/9007199254740993": mk.INCOME,
            "/payments/41": mk.BALANCE,
            "/payments/42": mk.REFUND,
            "/payments/43": mk.DEBIT,
            "/users/300": mk.PUPIL,
            "/userSubscriptions/1504": mk.USER_SUBSCRIPTION,
            "/subscriptions/12": mk.SUBSCRIPTION,
            "/invoices/70": mk.INVOICE,
            "/courses": mk.COURSES,
            "/paymentTypes": mk.PAYMENT_TYPES,
            "/payments": [mk.INCOME],
            "/lessonRecords": [],
            "/userSubscriptions": [],
            "/userComments": [],
        } | rows

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        path = request.url.path.removeprefix("/v1/company")
        if path == "/auth/getToken":
            self.tokens += 1
            assert json.loads(request.content) == {"apiKey": mk.API_KEY}
            return httpx.Response(200, json=mk.TOKEN)
        assert request.headers["x-access-token"] == mk.TOKEN["accessToken"]
        if self.broken:
            return self.broken.pop(0)
        if request.method == "POST":
            return httpx.Response(200, json={"id": 1})
        found = self.rows.get(path)
        if callable(found):
            return httpx.Response(200, json=found(request))
        if isinstance(found, list) and path in _MEMBERS:
            start, most = int(request.url.params["offset"]), int(request.url.params["limit"])
            rows = [row for row in found if _wanted(row, request.url.params)]
            return httpx.Response(
                200, json={_MEMBERS[path]: rows[start : start + most], "stats": {"totalItems": len(rows)}}
            )
        return httpx.Response(404, json={"code": "NotFound"}) if found is None else httpx.Response(200, json=found)

    def written(self, path: str) -> list[dict[str, Any]]:
        return [json.loads(one.content) for one in self.asked if one.method == "POST" and one.url.path.endswith(path)]


_MEMBERS = {
    "/payments": "payments",
    "/lessonRecords": "lessonRecords",
    "/userSubscriptions": "subscriptions",
    "/userComments": "userComments",
}


def _wanted(row: dict[str, Any], params: httpx.QueryParams) -> bool:
    return "optype" not in params or row.get("optype") in params["optype"].split(",")


def context(crm: Callable[[httpx.Request], httpx.Response], known: Any = None, **changes: Any) -> SourceContext:
    http = httpx.AsyncClient(transport=httpx.MockTransport(crm))
    wanted = {} if known is None else {"known": known}
    return SourceContext(
        http,
        "https://crm.example.org",
        CREDENTIALS,
        settings(**changes),
        "Europe/Moscow",
        "src_0",
        Tokens(),
        EvenPace(None),
        **wanted,
    )


def webhook(body: bytes) -> InboundRequest:
    return InboundRequest("POST", "webhook", "", {"content-type": "application/json"}, body)


async def parsed(crm: Crm, body: bytes, known: Any = None, **changes: Any) -> Parsed | ReadBackFailed:
    return await ADAPTER.parse(webhook(body), context(crm, known, **changes))


async def polled(crm: Crm, known: Any = None, **changes: Any) -> list[PaymentEvent | Alarm]:
    return [one async for one in ADAPTER.poll(SINCE, context(crm, known, **changes))]


async def only(crm: Crm, **changes: Any) -> PaymentEvent:
    (found,) = await polled(crm, **changes)
    assert isinstance(found, PaymentEvent)
    return found


class TestConnection:
    def test_nothing_is_signed_so_everything_is_read_back_and_the_address_must_be_secret(self):
        assert ADAPTER.verify(webhook(b"{}"), CREDENTIALS, settings()) == Verdict.NeedsReadBack()
        assert not ADAPTER.capabilities.signs

    def test_the_exact_reply(self):
        stored, lost = (ADAPTER.reply(webhook(b"{}"), stored=one) for one in (True, False))
        assert (stored.status, stored.body) == (200, b"OK")
        assert lost.status == 503

    def test_the_law_s_questions_have_no_default(self):
        for lacking in ("balance_method", "settle"):
            answers = {"balance_method": "advance", "settle": "per_day"}
            answers.pop(lacking)
            with pytest.raises(ValidationError):
                PLUGIN.Settings.model_validate(answers)
        with pytest.raises(ValidationError):
            PLUGIN.Credentials(api_key=SecretStr(""))
        for wrong in ({"hint_events": "("}, {"timezone": "Moscow"}, {"payment_types": {"2": {"kind": "electronic"}}}):
            with pytest.raises(ValidationError):
                settings(**wrong)
        assert mk.API_KEY not in repr(CREDENTIALS)


class TestToken:
    async def test_one_token_serves_all_calls_and_is_renewed_when_it_is_refused(self):
        crm = Crm()
        here = context(crm)
        assert len([one async for one in ADAPTER.poll(SINCE, here)]) == 1
        assert len([one async for one in ADAPTER.poll(SINCE, here)]) == 1
        assert crm.tokens == 1
        crm.broken = [httpx.Response(401, json={"code": "Auth"})]
        assert len([one async for one in ADAPTER.poll(SINCE, here)]) == 1
        assert crm.tokens == 2

    async def test_a_key_that_is_refused_is_said_without_it(self):
        def refuses(request: httpx.Request) -> httpx.Response:
            return httpx.Response(401, json={"code": "Auth"})

        failed = await ADAPTER.parse(webhook(mk.hint("payment_new", 41)), context(refuses))
        assert isinstance(failed, ReadBackFailed)
        assert "API" in failed.reason
        assert mk.API_KEY not in failed.reason

    async def test_a_token_about_to_end_is_not_kept_for_long(self):
        from app.crms.moyklass.client import _seconds_left

        soon = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
        assert _seconds_left(soon) == 60.0
        assert _seconds_left("nonsense") == 86_400.0


class TestHints:
    async def test_a_hint_is_read_back_and_only_that_is_believed(self):
        found = await parsed(Crm(), mk.hint("payment_new", 9007199254740993))
        assert isinstance(found, Parsed)
        (event,) = found.events
        assert event == PaymentEvent(
            type=EventType.PAYMENT_SUCCEEDED,
            external_id="9007199254740993",
            amount=490050,
            occurred_at=event.occurred_at,
            order_id="moyklass:300",
            customer=Customer("pupil@example.org", "+79990000001"),
            items=(
                EventItem(
                    name="Абонемент «8 занятий», Акварель",
                    quantity=Decimal(1),
                    price=490050,
                    amount=490050,
                    sku="12",
                    payment_method="full_prepayment",
                    payment_object="service",
                    measure="piece",
                ),
            ),
            items_origin="readback",
            payments=(EventPayment("electronic", 490050),),
            requisites=EventRequisites(internet=True),
            metadata={
                "user_id": 300,
                "filial_id": 1,
                "payment_type_id": 2,
                "user_subscription_id": 1504,
            },
        )

    @pytest.mark.parametrize(("event", "member"), [("payment_new", "id"), ("payment_changed", "paymentId")])
    async def test_either_member_names_the_payment(self, event, member):
        found = await parsed(Crm(), mk.hint(event, 41, member))
        assert isinstance(found, Parsed)
        assert [one.external_id for one in found.events] == ["41"]

    @pytest.mark.parametrize(
        "body",
        [
            mk.hint("user_changed", 300, "id"),
            mk.hint("lesson_deleted", 41),
            b"not json",
            b"[]",
            b"[" * 100_000,
            b'{"event": "payment_new"}',
            b'{"event": "payment_new", "object": {"id": "41"}}',
            b'{"event": "payment_new", "object": {"id": true}}',
            b'{"event": "payment_new", "object": {"id": -1}}',
            b'{"event": 7, "object": []}',
        ],
    )
    async def test_what_is_no_hint_is_noted_and_asks_nothing(self, body):
        crm = Crm()
        found = await parsed(crm, body)
        assert isinstance(found, Parsed)
        assert (found.events, found.alarms) == ((), ())
        assert found.note
        assert crm.asked == []

    async def test_other_names_can_be_set(self):
        crm = Crm()
        found = await parsed(crm, mk.hint("income_created", 41), hint_events="^income")
        assert isinstance(found, Parsed)
        assert len(found.events) == 1

    @pytest.mark.parametrize("status", [400, 402, 403, 429, 500, 503])
    async def test_a_read_back_that_is_refused_is_tried_later(self, status):
        crm = Crm()
        crm.broken = [httpx.Response(status, json={"code": "Wrong", "message": "pupil@example.org"})]
        failed = await parsed(crm, mk.hint("payment_new", 41))
        assert isinstance(failed, ReadBackFailed)
        assert not failed.final
        assert "@" not in failed.reason

    @pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"id": 41}', b'{"id":41,"summa":1e999}', b""])
    async def test_an_answer_that_cannot_be_read_is_tried_later(self, answer):
        crm = Crm()
        crm.broken = [httpx.Response(200, content=answer)]
        assert isinstance(await parsed(crm, mk.hint("payment_new", 41)), ReadBackFailed)

    async def test_a_replay_and_the_echo_of_our_own_comment_tell_nothing_new(self):
        known = Remembered(p_41=100000)
        for name in ("payment_new", "payment_changed"):
            found = await parsed(Crm(), mk.hint(name, 41), known)
            assert isinstance(found, Parsed)
            assert (found.events, found.alarms) == ((), ())
            assert "known already" in str(found.note)

    async def test_without_a_memory_a_replay_is_the_same_event(self):
        first, second = [await parsed(Crm(), mk.hint("payment_new", 41)) for _ in range(2)]
        assert isinstance(first, Parsed)
        assert isinstance(second, Parsed)
        assert first.events[0].external_id == second.events[0].external_id

    async def test_a_read_back_that_differs_from_what_was_reported_is_an_alarm(self):
        found = await parsed(Crm(), mk.hint("payment_changed", 41), Remembered(p_41=90000))
        assert isinstance(found, Parsed)
        (alarm,) = found.alarms
        assert (alarm.type, alarm.external_id, alarm.code) == (EventType.PAYMENT_SUCCEEDED, "41", "amount_changed")
        assert "900.00" in alarm.reason
        assert "1000.00" in alarm.reason_ru
        assert found.events == ()

    async def test_a_deleted_payment_is_an_alarm_where_it_was_reported(self):
        gone = Crm(**{"/payments/41": None})
        found = await parsed(gone, mk.hint("payment_deleted", 41), Remembered(p_41=100000))
        assert isinstance(found, Parsed)
        assert [(one.type, one.code) for one in found.alarms] == [(EventType.PAYMENT_SUCCEEDED, "payment_deleted")]
        refund = await parsed(gone, mk.hint("payment_deleted", 41), Remembered(r_41=1))
        assert isinstance(refund, Parsed)
        assert [one.type for one in refund.alarms] == [EventType.REFUND_SUCCEEDED]
        unknown = await parsed(gone, mk.hint("payment_deleted", 41), Remembered())
        assert isinstance(unknown, Parsed)
        assert unknown.alarms == ()

    async def test_a_charge_of_the_balance_is_never_a_receipt(self):
        found = await parsed(Crm(), mk.hint("payment_new", 43))
        assert isinstance(found, Parsed)
        assert found.events == ()
        assert "moves no money" in str(found.note)


class TestPoll:
    async def test_it_asks_for_incomes_and_refunds_by_their_creation(self):
        crm = Crm()
        await polled(crm)
        asked = next(one for one in crm.asked if one.url.path == "/v1/company/payments")
        assert asked.url.params["createdAt"].startswith("2026-11-19T00:00:00Z,")
        assert asked.url.params["optype"] == "income,refund"
        assert asked.url.params["limit"] == "500"

    async def test_every_page_is_read_and_each_payment_told_once_in_its_order(self):
        rows = [mk.REFUND | {"id": number} for number in range(1, 1203)]
        found = await polled(Crm(**{"/payments": rows[::-1] + rows[:3]}))
        assert [int(one.external_id) for one in found] == list(range(1, 1203))

    async def test_what_is_known_is_not_read_back_again(self):
        crm = Crm(**{"/payments": [mk.BALANCE, mk.REFUND]})
        assert await polled(crm, Remembered(p_41=100000, r_42=None)) == []
        assert [one.url.path for one in crm.asked[1:]] == ["/v1/company/payments"]

    async def test_an_edited_sum_is_an_alarm(self):
        (alarm,) = await polled(Crm(**{"/payments": [mk.REFUND]}), Remembered(r_42=50000))
        assert isinstance(alarm, Alarm)
        assert (alarm.type, alarm.code) == (EventType.REFUND_SUCCEEDED, "amount_changed")

    @pytest.mark.parametrize("status", [401, 429, 500])
    async def test_a_source_that_does_not_answer_is_said(self, status):
        crm = Crm()
        crm.broken = [httpx.Response(status), httpx.Response(status)]
        with pytest.raises(PollFailed):
            await polled(crm)

    async def test_one_payment_that_cannot_be_read_stops_no_other_and_is_said(self):
        rows = [mk.BALANCE | {"id": 1, "summa": "much"}, mk.INCOME | {"id": 2}, mk.BALANCE | {"id": 3}]
        crm = Crm(**{"/payments": rows, "/userSubscriptions/1504": {"id": 1504}})
        found = []

        async def poll() -> None:
            async for one in ADAPTER.poll(SINCE, context(crm)):
                found.append(one.external_id)

        with pytest.raises(PollFailed, match="2 payments cannot be read back; the first: payment 1"):
            await poll()
        assert found == ["3"]

    async def test_a_lost_connection_is_said(self):
        def gone(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("refused")

        with pytest.raises(PollFailed, match="did not answer"):
            [one async for one in ADAPTER.poll(SINCE, context(gone))]

    async def test_the_pupil_of_many_payments_is_asked_once(self):
        crm = Crm(**{"/payments": [mk.INCOME | {"id": number} for number in range(1, 6)]})
        assert len(await polled(crm)) == 5
        assert [one.url.path for one in crm.asked].count("/v1/company/users/300") == 1
        assert [one.url.path for one in crm.asked].count("/v1/company/courses") == 1


class TestMapping:
    async def test_money_onto_the_balance_is_an_advance_for_nothing_known(self):
        event = await only(Crm(**{"/payments": [mk.BALANCE]}))
        (line,) = event.items
        assert (line.name, line.payment_method, line.payment_object, line.sku) == (
            "Аванс за обучение",
            "advance",
            "payment",
            None,
        )
        other = await only(
            Crm(**{"/payments": [mk.BALANCE]}), balance_method="full_prepayment", balance_item_name="Оплата обучения"
        )
        assert [(one.name, one.payment_method, one.payment_object) for one in other.items] == [
            ("Оплата обучения", "full_prepayment", "service")
        ]

    async def test_the_invoice_that_was_charged_tells_what_it_was_for(self):
        event = await only(Crm(**{"/payments": [mk.BALANCE, mk.DEBIT]}))
        assert event.items[0].sku == "12"
        two = Crm(**{"/payments": [mk.BALANCE, mk.DEBIT, mk.DEBIT | {"id": 44}]})
        assert (await only(two)).items[0].sku is None
        off = await only(Crm(**{"/payments": [mk.BALANCE, mk.DEBIT]}), invoices_tell_purpose=False)
        assert off.items[0].sku is None

    async def test_a_part_of_the_price_is_a_prepayment_and_a_trial_is_paid_in_full(self):
        part = await only(Crm(**{"/payments": [mk.INCOME | {"summa": 2000}]}))
        assert part.items[0].payment_method == "prepayment"
        trial = await only(Crm(), delivered_subscriptions=[12])
        assert trial.items[0].payment_method == "full_payment"

    async def test_a_refund_names_the_pupil_s_account_and_no_payment(self):
        event = await only(Crm(**{"/payments": [mk.REFUND]}))
        assert (event.type, event.amount, event.payment_id, event.order_id, event.items) == (
            EventType.REFUND_SUCCEEDED,
            50025,
            None,
            "moyklass:300",
            (),
        )
        assert event.payments == (EventPayment("electronic", 50025),)

    async def test_the_payer_is_reached_where_the_school_keeps_the_contact(self):
        parent = await only(Crm(), email_attribute="mom_email", phone_attribute="mom_phone")
        assert parent.customer == Customer("mother@example.org", "+79990000002")
        assert (await only(Crm(), email_attribute="father_email")).customer.email == "pupil@example.org"
        nobody = await only(Crm(), email_attribute="father_email", contact_of_pupil=False)
        assert not nobody.customer.has_contact
        gone = await only(Crm(**{"/users/300": None}))
        assert not gone.customer.has_contact
        odd = mk.PUPIL | {"email": "not an address", "phone": "89990000001"}
        assert (await only(Crm(**{"/users/300": odd}))).customer == Customer(None, "+79990000001")

    async def test_a_payment_type_that_nobody_mapped_is_held_with_its_name_and_resumes_when_it_is(self):
        event = await only(Crm(**{"/payments": [mk.INCOME | {"paymentTypeId": 3}]}))
        assert event.question is not None
        assert event.question.member == "payments"
        assert "3 «Терминал»" in event.question.detail_ru
        assert (event.payments, event.requisites) == ((), None)
        desk = settings(payment_types={"3": {"kind": "cash", "internet": False}})
        answered = ADAPTER.reconsider(event, desk)
        assert answered is not None
        assert (answered.question, answered.requisites) == (None, EventRequisites(internet=False))
        assert answered.payments == (EventPayment("cash", 490050),)
        assert ADAPTER.reconsider(event, settings()) == event
        assert ADAPTER.reconsider(event, settings(payment_types={"3": "not_fiscalized"})) is None

    @pytest.mark.parametrize("rule", ["not_fiscalized", "acquirer"])
    async def test_what_is_printed_elsewhere_is_left_alone_without_a_question(self, rule):
        crm = Crm(**{"/payments": [mk.INCOME, mk.REFUND]})
        assert await polled(crm, payment_types={"2": rule}) == []
        assert len(crm.asked) == 2

    async def test_filials_go_to_their_branches(self):
        assert (await only(Crm(), branches={"1": "Центр"})).branch == "Центр"
        assert (await only(Crm())).branch is None
        assert await polled(Crm(), branches={"1": "not_fiscalized"}) == []
        lost = await only(Crm(), branches={"2": "Центр"})
        assert lost.question is not None
        assert (lost.question.member, lost.branch) == ("branch", "moyklass filial 1")

    async def test_both_questions_open_keep_the_payment_from_a_branch_that_nobody_named(self):
        lost = await only(Crm(), branches={"2": "Центр"}, payment_types={})
        assert lost.question is not None
        assert (lost.question.member, lost.branch) == ("payments", "moyklass filial 1")

    async def test_a_branch_that_a_person_named_stays_when_the_settings_answer_the_rest(self):
        lost = await only(Crm(), branches={"2": "Центр"}, payment_types={})
        named = replace(lost, branch="Север")
        answered = ADAPTER.reconsider(named, settings(branches={"1": "Юг"}))
        assert answered is not None
        assert (answered.branch, answered.question) == ("Север", None)
        by_settings = ADAPTER.reconsider(lost, settings(branches={"1": "Юг"}))
        assert by_settings is not None
        assert (by_settings.branch, by_settings.question) == ("Юг", None)

    async def test_a_subscription_that_is_gone_or_has_no_name_leaves_an_advance(self):
        for rows in ({"/userSubscriptions/1504": None}, {"/subscriptions/12": {"id": 12, "name": ""}}):
            assert (await only(Crm(**rows))).items[0].payment_method == "advance"

    def test_a_day_without_a_time(self):
        now = datetime(2026, 11, 20, 21, 30, tzinfo=UTC)
        assert moment_of(date(2026, 11, 21), MOSCOW, now) == now
        assert moment_of(date(2026, 12, 21), MOSCOW, now) == now
        assert moment_of(date(2026, 11, 20), MOSCOW, now) == datetime(2026, 11, 20, 9, tzinfo=UTC)

    @given(st.integers(min_value=1, max_value=10**11))
    def test_doubles_are_read_to_the_kopeck(self, amount):
        told = json.loads(json.dumps(float(Decimal(amount).scaleb(-2))), parse_float=wire.number, parse_int=wire.number)
        assert wire.money({"summa": told}, "summa") == amount


def charges(*records: dict[str, Any]) -> list[wire.Charge]:
    found = [wire.charge(json.loads(json.dumps(one), parse_float=Decimal)) for one in records]
    return [one for one in found if one is not None]


class TestClosings:
    def owed(self, group: closings.Group, told: Mapping[str, int | None]) -> PaymentEvent | Alarm | None:
        now = datetime(2026, 12, 1, tzinfo=UTC)
        return closings.owed(group, told, {12: "Абонемент"}, settings(), MOSCOW, now)

    def test_one_closing_per_pupil_and_day_drawn_from_what_was_prepaid(self):
        other = mk.record(3, userId=301, userSubscription=None)
        found = closings.groups(charges(mk.record(1), mk.record(2), other, mk.record(4, "2026-11-21")), "per_day")
        assert [(one.key, one.amount) for one in found] == [
            ("day:300:2026-11-20", 122512),
            ("day:301:2026-11-20", 61256),
            ("day:300:2026-11-21", 61256),
        ]
        event = self.owed(found[0], {})
        assert isinstance(event, PaymentEvent)
        assert (event.type, event.external_id, event.order_id) == (
            EventType.ORDER_SETTLED,
            "day:300:2026-11-20",
            "moyklass:300",
        )
        assert [(one.name, one.sku, one.amount) for one in event.items] == [
            ("Абонемент, занятие 20.11.2026", "12", 122512)
        ]
        assert event.occurred_at == datetime(2026, 11, 20, 9, tzinfo=UTC)

    def test_a_late_charge_is_a_closing_of_its_own_and_a_reversed_one_an_alarm(self):
        (group,) = closings.groups(charges(mk.record(1), mk.record(2, summa=100)), "per_day")
        assert self.owed(group, {"day:300:2026-11-20": group.amount}) is None
        late = self.owed(group, {"day:300:2026-11-20": 61256})
        assert isinstance(late, PaymentEvent)
        assert (late.external_id, late.amount) == ("day:300:2026-11-20:2", 10000)
        alarm = self.owed(group, {"day:300:2026-11-20": 61256, "day:300:2026-11-20:2": 20000})
        assert isinstance(alarm, Alarm)
        assert (alarm.external_id, alarm.code) == ("day:300:2026-11-20", "charge_reversed")
        assert self.owed(group, {"day:300:2026-11-20": None}) is None

    @given(
        st.lists(st.lists(st.integers(1, 10**6), max_size=4), min_size=1, max_size=6),
        st.sampled_from(["per_day", "month_end"]),
    )
    @settings_of_hypothesis(max_examples=60)
    def test_whenever_charges_arrive_everything_is_closed_exactly_once(self, arrivals, schedule):
        told: dict[str, int | None] = {}
        seen: list[wire.Charge] = []
        for batch in arrivals:
            for amount in batch:
                day = date(2026, 10, 1) + timedelta(days=len(seen) % 45)
                seen.append(wire.Charge(len(seen) + 1, 300, day, amount, 1504, 12, None, 1))
            for group in closings.groups(seen, schedule):
                found = self.owed(group, told)
                if isinstance(found, PaymentEvent):
                    assert sum(item.amount for item in found.items) == found.amount
                    assert found.external_id not in told
                    told[found.external_id] = found.amount
                assert self.owed(group, told) is None
        assert sum(amount or 0 for amount in told.values()) == sum(one.amount for one in seen)

    def test_months_and_ends_of_subscriptions(self):
        found = charges(mk.record(1, "2026-10-30"), mk.record(2, "2026-11-02"), mk.record(3, "2026-11-20"))
        assert [(one.key, one.due) for one in closings.groups(found, "month_end")] == [
            ("month:300:2026-10", date(2026, 10, 31)),
            ("month:300:2026-11", date(2026, 11, 30)),
        ]
        assert closings.groups(found, "subscription_end") == []
        over = wire.user_subscription(
            mk.USER_SUBSCRIPTION
            | {"price": 4900}
            | {"statusId": 4, "overDate": "2026-11-21", "stats": {"totalBilled": 4900, "totalBurned": 5}}
        )
        whole = closings.ended(over, found, "subscription_end")
        assert whole is not None
        assert (whole.key, whole.amount, whole.due) == ("subscription:1504", 490000, date(2026, 11, 21))
        burned = closings.ended(over, found, "per_day")
        assert burned is not None
        assert (burned.key, burned.amount) == ("burned:1504", 490000 - 3 * 61256)
        silent = wire.user_subscription(
            mk.USER_SUBSCRIPTION
            | {"price": None, "overDate": "2026-11-21", "stats": {"totalBilled": 1837, "totalBurned": 5}}
        )
        assert closings.ended(silent, found, "per_day") is None

    def test_no_group_is_ever_seen_in_part(self):
        assert closings.first_day("month_end", date(2026, 11, 20), 31) == date(2026, 10, 1)
        assert closings.first_day("per_day", date(2026, 11, 20), 31) == date(2026, 10, 20)

    def test_a_day_is_closed_in_its_evening(self):
        for hour, last in ((18, date(2026, 11, 19)), (19, date(2026, 11, 20))):
            now = datetime(2026, 11, 20, hour, tzinfo=UTC)
            assert closings.closed_until(now, MOSCOW, settings()) == last

    def test_what_closes_no_prepayment_of_ours_is_left_out(self):
        all_of_them = charges(mk.record(1), mk.record(2, summa=None), mk.record(3, bill=None), mk.record(4, summa=0))
        assert [one.amount for one in all_of_them] == [61256, 61256]
        assert closings.counted(all_of_them, settings(delivered_subscriptions=[12])) == []
        assert closings.counted(all_of_them, settings(branches={"1": "not_fiscalized"})) == []
        assert closings.counted(all_of_them, settings(settle_from="2026-11-20")) == []
        assert len(closings.counted(all_of_them, settings(settle_from="2026-11-19"))) == 2

    def test_the_money_of_a_family_s_subscription_is_its_owner_s(self):
        (one,) = charges(mk.record(1, userId=301))
        assert one.account == 300

    async def test_the_poll_closes_what_is_due_once_an_hour(self):
        crm = Crm(**{"/payments": [], "/lessonRecords": [mk.record(1), mk.record(2)]})
        here = context(crm, settle="per_day", settle_days_back=31)
        found = [one async for one in ADAPTER.poll(SINCE, here)]
        assert [one.external_id for one in found] == ["day:300:2026-11-20"]
        asked = next(one for one in crm.asked if one.url.path == "/v1/company/lessonRecords")
        assert asked.url.params["includeBills"] == "true"
        assert [one async for one in ADAPTER.poll(SINCE, here)] == []

    async def test_switched_off_it_asks_for_no_lessons(self):
        crm = Crm(**{"/payments": [], "/lessonRecords": [mk.record(1)]})
        assert await polled(crm) == []
        assert not [one for one in crm.asked if one.url.path == "/v1/company/lessonRecords"]

    async def test_the_estimate_counts_every_choice(self):
        rows = [mk.record(1), mk.record(2), mk.record(3, "2026-11-21"), mk.record(4, userId=301, userSubscription=None)]
        found = await ADAPTER.estimate(30, context(Crm(**{"/lessonRecords": rows})))
        assert found is not None
        assert (found.charges, found.customers, found.chosen) == (4, 2, "off")
        assert found.receipts == {"per_day": 3, "month_end": 2, "subscription_end": 1, "off": 0}


def told(**changes: Any) -> Report:
    known: dict[str, Any] = {
        "receipt_id": "rcpt_1",
        "event_type": EventType.PAYMENT_SUCCEEDED,
        "event_external_id": "41",
        "order_id": "moyklass:300",
        "operation": "sell",
        "status": "fiscalized",
        "total": 100000,
        "fiscal": None,
        "public_url": "https://kassa.example.org/r/1",
        "failure_ru": None,
        "metadata": {"user_id": 300},
    }
    return Report(**known | changes)


class TestReport:
    async def test_the_link_stands_at_the_pupil(self):
        crm = Crm()
        assert await ADAPTER.report(told(), context(crm)) == Reported()
        assert crm.written("/userComments") == [
            {"userId": 300, "comment": "Чек на 1000.00 ₽: https://kassa.example.org/r/1", "showToUser": True}
        ]
        assert crm.written("/payments/41") == []

    async def test_told_once_however_often_it_is_tried(self):
        text = "Чек на 1000.00 ₽: https://kassa.example.org/r/1"
        crm = Crm(**{"/userComments": [{"id": 1, "userId": 300, "comment": text}]})
        assert await ADAPTER.report(told(), context(crm)) == Reported()
        assert crm.written("/userComments") == []

    async def test_hidden_off_and_in_the_payment_by_setting(self):
        crm = Crm()
        await ADAPTER.report(told(), context(crm, pupil_comment="hidden"))
        assert crm.written("/userComments")[0]["showToUser"] is False
        crm = Crm(**{"/payments/41": mk.BALANCE | {"comment": "Мама просила чек"}})
        await ADAPTER.report(told(), context(crm, pupil_comment="off", payment_comment=True))
        assert crm.written("/userComments") == []
        (written,) = crm.written("/payments/41")
        assert written == {
            "date": "2026-11-20",
            "summa": 1000,
            "paymentTypeId": 2,
            "filialId": 1,
            "cashboxId": 777,
            "comment": "Мама просила чек\nЧек на 1000.00 ₽: https://kassa.example.org/r/1",
        }

    async def test_a_refund_s_payment_cannot_be_changed_and_is_not_tried(self):
        crm = Crm()
        refund = told(event_type=EventType.REFUND_SUCCEEDED, event_external_id="42")
        assert await ADAPTER.report(refund, context(crm, payment_comment=True)) == Reported()
        assert crm.written("/payments/42") == []
        assert crm.written("/userComments")[0]["comment"].startswith("Чек возврата")

    async def test_without_a_link_the_requisites_are_told(self):
        crm = Crm()
        fiscal = FiscalData("9960440300000001", 815, "2718281828", SINCE, "2026-11-19T03:00:00")
        await ADAPTER.report(told(public_url=None, fiscal=fiscal), context(crm))
        assert "ФД 815" in crm.written("/userComments")[0]["comment"]

    async def test_a_failure_is_a_task_where_one_is_wanted(self):
        crm = Crm()
        failed = told(status="rejected", failure_ru="Касса отказала. " * 40)
        assert await ADAPTER.report(failed, context(crm)) == Reported()
        assert crm.written("/tasks") == []
        await ADAPTER.report(failed, context(crm, failure_task={"manager_ids": [12], "category_id": 5}))
        (task,) = crm.written("/tasks")
        assert {name: task[name] for name in ("managerIds", "userId", "categoryId")} == {
            "managerIds": [12],
            "userId": 300,
            "categoryId": 5,
        }
        assert len(task["body"]) == 250
        assert task["beginDate"] < task["endDate"]
        assert crm.written("/userComments") == []

    async def test_closings_are_told_only_on_request(self):
        crm = Crm()
        closing = told(event_type=EventType.ORDER_SETTLED)
        assert await ADAPTER.report(closing, context(crm)) == Reported()
        assert crm.asked == []
        await ADAPTER.report(closing, context(crm, report_closings=True))
        assert crm.written("/userComments")[0]["comment"].startswith("Чек зачёта предоплаты")

    @pytest.mark.parametrize(("status", "final"), [(400, True), (402, False), (403, True), (429, False), (500, False)])
    async def test_what_the_crm_does_not_take(self, status, final):
        crm = Crm()
        crm.broken = [httpx.Response(status)]
        failed = await ADAPTER.report(told(), context(crm))
        assert isinstance(failed, ReportFailed)
        assert failed.final is final

    async def test_an_event_of_nobody(self):
        failed = await ADAPTER.report(told(metadata={}), context(Crm()))
        assert isinstance(failed, ReportFailed)
        assert failed.final
