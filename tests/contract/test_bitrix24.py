"""The portal's posts against the adapter: who is believed, what a check becomes, what is answered, what is reported."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from pydantic import ValidationError

from app.crms.bitrix24 import PLUGIN
from app.crms.bitrix24.form import listed, parse_form, read
from app.crms.bitrix24.vat import read_record
from app.domain.codec import event_from_json, event_to_json
from app.domain.errors import Finding, Invalid
from app.domain.event import EventItem, EventPayment, EventType, PaymentEvent
from app.domain.ffd import AgentType
from app.domain.receipt import Customer, MarkingCode
from app.domain.vat import VatRate
from app.ports.inbound import InboundReply, InboundRequest
from app.ports.source import NotReported, Report, Reported, ReportFailed, SourceContext, Verdict
from tests.contract.contexts import source_context
from tests.contract.exchanges import bitrix24 as wire
from tests.support.desk import PRINTED, MemoryDesk

ADAPTER = PLUGIN()
SETTINGS: dict[str, Any] = {"vat": {"3": "vat22"}, "vat_zero": "none"}

ON_THE_WAY = ("held", "queued", "sending", "accepted", "unknown", "needs_attention")


def credentials(**changes: Any) -> Any:
    return PLUGIN.Credentials(**({"token": wire.TOKEN} | changes))


def settings(**changes: Any) -> Any:
    return PLUGIN.Settings(**(SETTINGS | changes))


def post(part: str, body: bytes, media: str = wire.FORM) -> InboundRequest:
    return InboundRequest("POST", part, "", {"content-type": media}, body)


class Portal:
    """The portal's REST API: answers by method, and what was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {name.replace("__", "."): answer for name, answer in answers.items()}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        method = request.url.path.rpartition("/")[2]
        assert str(request.url).startswith(wire.WEBHOOK)
        self.calls.append((method, json.loads(request.content)))
        answer = self.answers[method]
        if isinstance(answer, Exception):
            raise answer
        status, body = answer if isinstance(answer, tuple) else (400 if "error" in answer else 200, answer)
        return httpx.Response(status, content=body) if isinstance(body, bytes) else httpx.Response(status, json=body)


def _nobody_is_called(request: httpx.Request) -> httpx.Response:
    raise AssertionError("the post carries all that is needed")


async def answered(
    request: InboundRequest, desk: MemoryDesk, portal: Any = _nobody_is_called, secrets: Any = None, **changes: Any
) -> dict[str, Any]:
    """The answer, which is always HTTP 200 with JSON."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(portal)) as http:
        reply = await ADAPTER.answer(request, desk, context(http, secrets, **changes))
    return told(reply)


def context(http: httpx.AsyncClient, secrets: Any = None, **changes: Any) -> SourceContext:
    return source_context(http, secrets or credentials(), settings(**changes))


def told(reply: InboundReply | None) -> dict[str, Any]:
    assert reply is not None
    assert (reply.status, reply.media_type) == (200, "application/json")
    found: dict[str, Any] = json.loads(reply.body)
    return found


async def printed(check: dict[str, Any], **options: Any) -> PaymentEvent:
    """The event of a check that is accepted."""
    desk = MemoryDesk()
    answer = await answered(post("print", wire.form(check)), desk, **options)
    (event,) = desk.events.values()
    assert list(answer) == ["UUID"]
    return event


async def refused(check: dict[str, Any], **options: Any) -> str:
    """The sentences of a check that is refused; nothing is stored."""
    desk = MemoryDesk()
    answer = await answered(post("print", wire.form(check)), desk, **options)
    assert desk.events == {}
    assert list(answer) == ["ERRORS"]
    return "; ".join(answer["ERRORS"])


async def asked(uuid: str, desk: MemoryDesk) -> dict[str, Any]:
    return await answered(post("check", wire.form({"uuid": uuid})), desk)


class TestWhoIsBelieved:
    def verdict(self, check: dict[str, Any], secrets: Any = None, **changes: Any) -> object:
        return ADAPTER.verify(post("print", wire.form(check)), secrets or credentials(), settings(**changes))

    def test_the_token_among_the_cashbox_parameters(self):
        assert self.verdict(wire.CHECK) == Verdict.Genuine()
        request = post("print", wire.as_json(wire.CHECK), wire.JSON)
        assert ADAPTER.verify(request, credentials(), settings()) == Verdict.Genuine()

    @pytest.mark.parametrize(
        "params",
        [
            None,
            {},
            {"CRM_KASSA": {}},
            {"CRM_KASSA": {"TOKEN": ""}},
            {"CRM_KASSA": {"TOKEN": wire.TOKEN + "0"}},
            {"CRM_KASSA": {"TOKEN": {"0": wire.TOKEN}}},
            {"CRM_KASSA": "TOKEN"},
            {"AUTH": {"TOKEN": wire.TOKEN}},
            {"CRM_KASSA": {"TOKEN": "не ascii"}},
        ],
    )
    def test_another_token_is_refused(self, params):
        found = self.verdict(wire.check(cashbox_params=params))
        assert isinstance(found, Verdict.Forged)
        assert wire.TOKEN not in found.reason

    def test_without_a_configured_token_everything_is_refused(self):
        for part in ("print", "check"):
            request = post(part, wire.form(wire.CHECK))
            assert isinstance(ADAPTER.verify(request, None, settings()), Verdict.Forged)
        with pytest.raises(ValidationError):
            credentials(token="short")

    def test_a_set_portal_is_the_only_one(self):
        assert self.verdict(wire.CHECK, portal=wire.PORTAL.upper()) == Verdict.Genuine()
        assert self.verdict(wire.CHECK, portal="other.bitrix24.example") == Verdict.Forged(
            "the check is of another portal"
        )

    def test_what_cannot_be_read_is_not_believed(self):
        request = post("print", b"a[=1")
        assert isinstance(ADAPTER.verify(request, credentials(), settings()), Verdict.Forged)

    def test_a_question_has_no_token(self):
        request = post("check", wire.form({"uuid": wire.UUID}))
        assert ADAPTER.verify(request, credentials(), settings()) == Verdict.Genuine()

    def test_a_refusal_is_said_in_the_portals_words_and_tells_no_reason(self):
        wrong = told(ADAPTER.refuse(post("print", b""), "the secret of the address does not match"))
        assert "Зарегистрируйте кассу заново" in wrong["ERRORS"][0]
        assert told(ADAPTER.refuse(post("check", b""), "the secret")) == {"STATUS": "WAIT"}

    def test_while_nothing_is_known_a_check_is_printed_again_and_a_question_waits(self):
        assert "повторите печать" in told(ADAPTER.away("print"))["ERRORS"][0]
        assert told(ADAPTER.away("check")) == {"STATUS": "WAIT"}
        assert ADAPTER.away("pay") is None

    def test_secrets_are_not_shown(self):
        secrets = credentials(portal_webhook=wire.WEBHOOK + "/")
        assert secrets.portal_webhook.get_secret_value() == wire.WEBHOOK
        assert wire.TOKEN not in repr(secrets)
        with pytest.raises(ValidationError) as wrong:
            credentials(portal_webhook="https://shop.bitrix24.example/made0up0code")
        assert "made0up0code" not in str(wrong.value.errors(include_input=False))

    @pytest.mark.parametrize(
        "wrong",
        [{"vat": {"3": "vat21"}}, {"vat": {"0": "none"}}, {"vat_zero": "0"}, {"agent_type": "x"}, {"portal": "a b"}],
    )
    def test_settings_know_their_words(self, wrong):
        with pytest.raises(ValidationError):
            settings(**wrong)


class TestWhatACheckBecomes:
    async def test_a_sale_with_delivery(self):
        assert await printed(wire.CHECK) == PaymentEvent(
            type=EventType.PAYMENT_SUCCEEDED,
            external_id=wire.KEY,
            amount=130000,
            occurred_at=datetime.fromtimestamp(1795421700, UTC),
            customer=Customer("anna@example.org", "+79990000000"),
            items=(
                EventItem(
                    name="Чай «Байховый»",
                    quantity=Decimal(2),
                    price=50000,
                    amount=100000,
                    vat="vat22",
                    payment_method="full_payment",
                    payment_object="commodity",
                    measure="piece",
                ),
                EventItem(
                    name="Доставка курьером",
                    quantity=Decimal(1),
                    price=30000,
                    amount=30000,
                    vat="none",
                    payment_method="full_payment",
                    payment_object="service",
                ),
            ),
            payments=(EventPayment("electronic", 130000),),
            items_origin="event",
            metadata={"bitrix24_type": "sell", "bitrix24_check": "77", "portal": wire.PORTAL},
        )

    @pytest.mark.parametrize("name", wire.TYPES)
    @pytest.mark.parametrize("encoding", ["form", "json"])
    async def test_every_type(self, name, encoding):
        kind, method, paid = wire.TYPES[name]
        body = wire.form(wire.of_type(name)) if encoding == "form" else wire.as_json(wire.of_type(name))
        desk = MemoryDesk()
        answer = await answered(post("print", body, wire.FORM if encoding == "form" else wire.JSON), desk)
        (event,) = desk.events.values()
        assert event.type.value == kind
        assert event.items[0].payment_method == method
        before = method in ("advance", "prepayment", "full_prepayment")
        assert event.items[0].vat == ("vat122" if before else "vat22")
        kinds = {"cash": "cash", "cashless": "electronic", "credit": "credit"}
        assert event.payments == (EventPayment(kinds[paid], 100000),)
        assert event.stands_alone is (True if kind == "refund.succeeded" else None)
        assert event.payment_id is None
        assert answer == {"UUID": f"{'r' if kind == 'refund.succeeded' else 'p'}:{wire.KEY}"}
        assert event_from_json(event_to_json(event)) == event

    async def test_the_operation_is_the_types_whatever_the_signs_say(self):
        event = await printed(wire.check(type="sellreturn", calculated_sign="consumption", operation="consumption"))
        assert event.type is EventType.REFUND_SUCCEEDED
        event = await printed(wire.check(calculated_sign="consumption"))
        assert event.type is EventType.PAYMENT_SUCCEEDED

    async def test_a_credit_without_payments_is_all_credit(self):
        event = await printed(wire.of_type("credit") | {"payments": []})
        assert event.payments == (EventPayment("credit", 100000),)

    async def test_a_debt_is_paid_by_one_line(self):
        items = [wire.ITEM | {"payment_method": "credit_payment"}, wire.ITEM | {"name": "Кофе", "payment_method": ""}]
        check = wire.of_type("creditpayment") | {
            "items": items,
            "payments": [{"type": "cash", "sum": "2000"}],
            "total_sum": "2000",
        }
        event = await printed(check)
        (line,) = event.items
        assert (line.name, line.amount, line.quantity) == ("Оплата долга: Чай «Байховый», Кофе", 200000, Decimal(1))
        assert (line.payment_method, line.payment_object, line.vat) == ("credit_payment", "payment", "vat22")
        items[1] |= {"vat": "0"}
        assert "разные ставки" in await refused(check)

    async def test_a_closing_of_unknown_order_sells_for_no_money(self):
        event = await printed(wire.check(payments=[{"type": "advance", "sum": "1300"}]))
        assert event.type is EventType.PAYMENT_SUCCEEDED
        assert event.payments == (EventPayment("prepaid", 130000),)

    @pytest.mark.parametrize("order", ["42", {"ID": "42"}, {"id": "42", "ACCOUNT_NUMBER": "7"}])
    async def test_a_closing_of_a_named_order_closes_what_was_prepaid(self, order):
        check = wire.check(payments=[{"type": "advance", "sum": "1300"}], order=order)
        event = await printed(check)
        assert (event.type, event.order_id, event.payment_id) == (EventType.ORDER_SETTLED, "42", None)
        assert (await printed(check, closings="as_sent")).type is EventType.PAYMENT_SUCCEEDED

    async def test_a_closing_with_money_is_a_payment_with_its_offset(self):
        payments = [
            {"type": "advance", "sum": "300"},
            {"type": "cash", "sum": "600"},
            {"type": "cashless", "sum": "400"},
        ]
        event = await printed(wire.check(payments=payments, order="42"))
        assert event.type is EventType.PAYMENT_SUCCEEDED
        assert {each.kind: each.amount for each in event.payments} == {
            "prepaid": 30000,
            "cash": 60000,
            "electronic": 40000,
        }

    async def test_a_return_names_its_order_or_stands_alone_or_waits(self):
        returned = wire.of_type("sellreturn")
        assert (await printed(returned | {"order": {"ID": "42"}})).order_id == "42"
        assert (await printed(returned, returns="hold")).stands_alone is None

    @pytest.mark.parametrize("flag", ["Y", "N"])
    async def test_older_portals_say_cash_by_a_flag(self, flag):
        event = await printed(wire.check(payments=[{"is_cash": flag, "sum": "1300"}]))
        assert event.payments[0].kind == ("cash" if flag == "Y" else "electronic")

    @pytest.mark.parametrize("word", ["bonus", "", "Advance payment", "prepaid"])
    async def test_an_unknown_payment_word_is_refused(self, word):
        assert "вид оплаты" in await refused(wire.check(payments=[{"type": word, "sum": "1300"}]))

    @pytest.mark.parametrize(
        ("word", "ours"),
        [
            ("commodity_marking", "commodity_with_marking"),
            ("commodity_marking_no_marking", "commodity_without_marking"),
            ("non-operating_gain", "non_operating_gain"),
            ("agent_commission", "agent_commission"),
            ("composite", "another"),
            ("", None),
        ],
    )
    async def test_payment_objects(self, word, ours):
        assert (await printed(wire.one_line(payment_object=word))).items[0].payment_object == ours

    @pytest.mark.parametrize(("code", "ours"), [("166", "kilogram"), ("006", "meter"), ("356", "hour"), ("778", None)])
    async def test_measures(self, code, ours):
        assert (await printed(wire.one_line(measure_code=code))).items[0].measure == ours

    async def test_discounts_are_in_the_price_already(self):
        line = (await printed(wire.one_line(base_price="600", discount={"discount": "100"}))).items[0]
        assert (line.price, line.amount) == (50000, 100000)

    @pytest.mark.parametrize(
        ("price", "quantity", "total", "kopecks"),
        [
            ("33.333333333333", "3", "100", 3333),
            ("500.0000", "2.0000", "1000.0000", 50000),
            ("0.1", "3", "0.30000000000000004", 10),
            ("3.33", "30", "100.00", 333),
        ],
    )
    async def test_sums_as_php_writes_them(self, price, quantity, total, kopecks):
        line = (await printed(wire.one_line(price=price, quantity=quantity, sum=total))).items[0]
        assert line.price == kopecks

    async def test_a_supplier_makes_an_agent_of_us(self):
        supplier = {"phones": ["8 (495) 000-00-00"], "name": "ООО «Поставщик»", "inn": "7700000009"}
        check = wire.one_line(supplier_info=supplier)
        agent = (await printed(check, agent_type="commission_agent")).items[0].agent
        assert agent is not None
        assert (agent.type, agent.supplier_inn) == (AgentType.COMMISSION_AGENT, "7700000009")
        assert agent.supplier_phones == ("+74950000000",)
        assert "agent_type" in await refused(check)
        empty = wire.one_line(supplier_info={"phones": [], "name": "", "inn": ""})
        assert (await printed(empty)).items[0].agent is None

    async def test_a_marking_code_keeps_its_separators(self):
        code = "0104600000000000215made\x1d93up\x1d92+/="
        check = wire.one_line(quantity="1", sum="500", payment_object="commodity_marking", marking_code=code)
        assert (await printed(check)).items[0].marking == MarkingCode(code)

    async def test_a_broken_marking_code_is_refused(self):
        body = wire.form(wire.CHECK).replace(b"marking_code%5D=", b"marking_code%5D=01%FF%FE46")
        body = body.replace(b"marking_code]=", b"marking_code]=01%FF%FE46")
        desk = MemoryDesk()
        answer = await answered(post("print", body), desk)
        assert "код маркировки повреждён" in answer["ERRORS"][0]
        assert desk.events == {}

    async def test_a_binary_nomenclature_code_harms_nothing(self):
        name = b"items%5B0%5D%5Bnomenclature_code%5D="
        body = wire.form(wire.CHECK)
        assert name in body
        body = body.replace(name, name + b"%44%4D%00%00%FF%9C%D0%1D")
        desk = MemoryDesk()
        assert await answered(post("print", body), desk) == {"UUID": wire.UUID}
        (event,) = desk.events.values()
        assert event == await printed(wire.CHECK)

    @pytest.mark.parametrize(
        ("email", "phone", "expected"),
        [
            ("", "+79990000000", Customer(None, "+79990000000")),
            ("anna@example.org", "", Customer("anna@example.org", None)),
            ("Portal@Example.org", "", Customer()),
            ("not an address", "12", Customer()),
            (None, None, Customer()),
        ],
    )
    async def test_contacts(self, email, phone, expected):
        check = wire.check(client_email=email, client_phone=phone)
        assert (await printed(check, system_email="portal@example.org")).customer == expected

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"type": "correction"}, "Тип чека"),
            ({"type": None}, "Тип чека"),
            ({"items": []}, "нет строк"),
            ({"payments": []}, "нет оплат"),
            ({"payments": [{"type": "cash", "sum": "1299.99"}]}, "Сумма оплат 1299.99"),
            ({"payments": [{"type": "cash", "sum": "-1300"}]}, "не читается"),
            ({"payments": [{"type": "cash", "sum": "1300", "currency": "USD"}]}, "только в рублях"),
            ({"total_sum": "1400"}, "Итог чека 1400.00"),
            ({"items": [wire.ITEM | {"sum": "1e3"}]}, "сумма не читается"),
            ({"items": [wire.ITEM | {"sum": "1000.005"}]}, "сумма не читается"),
            ({"items": [wire.ITEM | {"sum": "1100"}]}, "цена × количество"),
            ({"items": [wire.ITEM | {"quantity": "0"}]}, "количество не читается"),
            ({"items": [wire.ITEM | {"name": "  "}]}, "нет наименования"),
            ({"items": [wire.ITEM | {"currency": "USD"}]}, "только в рублях"),
            ({"items": [wire.ITEM | {"payment_method": "barter"}]}, "способ расчёта barter"),
            ({"items": [wire.ITEM | {"payment_object": "magic"}]}, "предмет расчёта magic"),
            ({"items": {"first": wire.ITEM}}, "Список items"),
            ({"uuid": None}, "нет номера портала"),
            ({"uuid": "77"}, "нет номера портала"),
            ({"uuid": f"check|{'x' * 99}|77"}, "нет номера портала"),
        ],
    )
    async def test_what_is_in_doubt_is_refused_with_a_sentence(self, changes, reason):
        assert reason in await refused(wire.check(**changes))

    @pytest.mark.parametrize("date", [None, "", "yesterday", "0", "99999999999"])
    async def test_an_impossible_time_is_the_present_one(self, date):
        event = await printed(wire.check(date_create=date))
        assert abs((event.occurred_at - datetime.now(UTC)).total_seconds()) < 60

    async def test_no_secret_and_no_contact_is_kept_in_the_open(self):
        event = await printed(wire.check(order={"ID": "42", "USER_EMAIL": "anna@example.org"}))
        assert "anna" not in json.dumps(event.metadata)
        assert wire.TOKEN not in json.dumps(event_to_json(event))


class TestVat:
    async def test_zero_is_not_without_vat(self):
        assert "vat_zero" in await refused(wire.CHECK, vat_zero=None)
        assert (await printed(wire.CHECK, vat_zero="vat22")).items[1].vat == "vat22"

    async def test_a_record_that_nobody_named_is_refused(self):
        assert "с номером 3" in await refused(wire.CHECK, vat={})

    async def test_a_record_is_read_once(self):
        portal = Portal(catalog__vat__get=wire.VAT_22)
        secrets = credentials(portal_webhook=wire.WEBHOOK)
        desk = MemoryDesk()
        async with httpx.AsyncClient(transport=httpx.MockTransport(portal)) as http:
            where = context(http, secrets, vat={})
            for number in ("1", "2"):
                check = wire.check(uuid=f"check|{wire.PORTAL}|{number}")
                told(await ADAPTER.answer(post("print", wire.form(check)), desk, where))
        assert [event.items[0].vat for event in desk.events.values()] == ["vat22", "vat22"]
        assert portal.calls == [("catalog.vat.get", {"id": 3})]

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (wire.DENIED, "не дал прочитать"),
            (httpx.ConnectError("x"), "сейчас не читается"),
            ((503, b"<html>"), "сейчас не читается"),
            ({"error": "QUERY_LIMIT_EXCEEDED"}, "сейчас не читается"),
            ({"result": {"vat": {"id": 3, "name": "Особая", "rate": 0}}}, "не понять ставку"),
            ({"result": {"vat": {"id": 3, "name": "НДС 13%", "rate": 13}}}, "не понять ставку"),
            ({"result": []}, "не понять ставку"),
        ],
    )
    async def test_a_refused_read_back_refuses_the_check(self, answer, reason):
        portal = Portal(catalog__vat__get=answer)
        sentence = await refused(wire.CHECK, portal=portal, secrets=credentials(portal_webhook=wire.WEBHOOK), vat={})
        assert reason in sentence
        assert "made0up0code" not in sentence

    @pytest.mark.parametrize(
        ("record", "rate"),
        [
            (wire.VAT_22["result"], VatRate.VAT22),
            (wire.VAT_0["result"], VatRate.VAT0),
            (wire.VAT_NONE["result"], VatRate.NONE),
            ({"vat": {"name": "НДС", "rate": "10.0000"}}, VatRate.VAT10),
            ({"vat": {"name": "Без НДС", "rate": 22}}, None),
            ({"vat": {"name": "", "rate": None}}, None),
            ({"vat": {"name": "НДС 10%", "rate": 0}}, None),
            ({"vat": {"name": "НДС", "rate": "NaN"}}, None),
            ({"vat": {"name": "НДС", "rate": "много"}}, None),
        ],
    )
    def test_a_record_is_read_by_number_and_name(self, record, rate):
        assert read_record(record) is rate


class TestPrintedAgain:
    @pytest.mark.parametrize(
        "status", ["held", "queued", "sending", "accepted", "unknown", "needs_attention", "fiscalized"]
    )
    async def test_the_same_check_is_the_same_receipt(self, status):
        desk = MemoryDesk()
        request = post("print", wire.form(wire.CHECK))
        first = await answered(request, desk)
        desk.ends(status, fiscal=PRINTED if status == "fiscalized" else None)
        assert await answered(request, desk) == first == {"UUID": wire.UUID}
        assert await answered(request, desk, vat={"3": "vat10"}) == first
        assert len(desk.events) == 1
        assert desk.tried_again == []

    async def test_a_rejected_one_is_tried_again(self):
        desk = MemoryDesk()
        request = post("print", wire.form(wire.CHECK))
        first = await answered(request, desk)
        desk.ends("rejected", failure_ru="Касса отказала: нет бумаги.")
        assert (await asked(wire.UUID, desk))["STATUS"] == "ERROR"
        assert await answered(request, desk) == first
        assert desk.tried_again == [wire.KEY]
        assert await asked(wire.UUID, desk) == {"STATUS": "WAIT"}

    @pytest.mark.parametrize("status", ["cancelled", "refused", "ignored"])
    async def test_what_will_never_be_printed_is_said(self, status):
        desk = MemoryDesk()
        request = post("print", wire.form(wire.CHECK))
        await answered(request, desk)
        desk.ends(status)
        assert list(await answered(request, desk)) == ["ERRORS"]
        assert (await asked(wire.UUID, desk))["STATUS"] == "ERROR"

    async def test_fifty_at_once_are_one_event(self):
        desk = MemoryDesk()
        request = post("print", wire.form(wire.CHECK))
        answers = await asyncio.gather(*(answered(request, desk) for _ in range(50)))
        assert answers == [{"UUID": wire.UUID}] * 50
        assert len(desk.events) == 1

    async def test_a_portal_may_not_know_its_domain(self):
        desk = MemoryDesk()
        answer = await answered(post("print", wire.form(wire.check(uuid="check||77"))), desk)
        assert answer == {"UUID": "p:check||77"}
        assert await asked("p:check||77", desk) == {"STATUS": "WAIT"}

    async def test_another_checks_number_is_another_receipt(self):
        desk = MemoryDesk()
        for number in ("1", "2"):
            await answered(post("print", wire.form(wire.check(uuid=f"check|{wire.PORTAL}|{number}"))), desk)
        assert len(desk.events) == 2

    async def test_a_report_that_is_refused_tells_all_findings_once(self):
        desk = MemoryDesk()
        finding = Finding("#/items/0/vat", "vat", "in English", "Ставка не действует.")
        desk.invalid = Invalid("this cannot become a receipt", (finding, finding))
        assert await answered(post("print", wire.form(wire.CHECK)), desk) == {"ERRORS": ["Ставка не действует."]}
        desk.invalid = Invalid("this cannot become a receipt")
        assert list(await answered(post("print", wire.form(wire.CHECK)), desk)) == ["ERRORS"]

    async def test_while_the_database_is_away_the_check_is_to_be_printed_again(self):
        desk = MemoryDesk()
        desk.away = True
        assert "повторите печать" in (await answered(post("print", wire.form(wire.CHECK)), desk))["ERRORS"][0]

    @pytest.mark.parametrize("body", [b"", b"a[=1", b"{", b"[1]", b"\xff", b"a=1&a=2"])
    async def test_what_cannot_be_read_is_refused(self, body):
        desk = MemoryDesk()
        assert list(await answered(post("print", body), desk)) == ["ERRORS"]
        assert await answered(post("check", body), desk) == {"STATUS": "WAIT"}
        assert desk.events == {}


class TestQuestions:
    async def test_a_printed_check_has_all_eight_fields(self):
        desk = MemoryDesk()
        await answered(post("print", wire.form(wire.CHECK)), desk)
        desk.ends("fiscalized", fiscal=PRINTED)
        done = {
            "STATUS": "DONE",
            "UUID": wire.UUID,
            "REG_NUMBER_KKT": "0000000001012345",
            "FISCAL_DOC_ATTR": "3456789012",
            "FISCAL_DOC_NUMBER": "41",
            "FISCAL_RECEIPT_NUMBER": "3",
            "FN_NUMBER": "9999078900001234",
            "SHIFT_NUMBER": "7",
            "PRINT_END_TIME": str(int(datetime(2026, 11, 23, 8, 16, tzinfo=UTC).timestamp())),
        }
        assert await asked(wire.UUID, desk) == done
        body = json.dumps({"uuid": wire.UUID}).encode()
        assert await answered(post("check", body, wire.JSON), desk) == done

    @pytest.mark.parametrize(
        "status",
        [
            "held",
            "queued",
            "sending",
            "accepted",
            "unknown",
            "needs_attention",
            "received",
            "planned",
            "linked",
            "pruned",
            "new",
        ],
    )
    async def test_any_doubt_waits(self, status):
        desk = MemoryDesk()
        await answered(post("print", wire.form(wire.CHECK)), desk)
        desk.ends(status, linked=status == "linked")
        assert await asked(wire.UUID, desk) == {"STATUS": "WAIT"}

    async def test_printed_without_fiscal_data_waits(self):
        desk = MemoryDesk()
        await answered(post("print", wire.form(wire.CHECK)), desk)
        desk.ends("fiscalized")
        assert await asked(wire.UUID, desk) == {"STATUS": "WAIT"}

    async def test_a_database_that_is_away_waits(self):
        desk = MemoryDesk()
        await answered(post("print", wire.form(wire.CHECK)), desk)
        desk.ends("fiscalized", fiscal=PRINTED)
        desk.away = True
        assert await asked(wire.UUID, desk) == {"STATUS": "WAIT"}

    async def test_a_final_refusal_is_an_error_in_peoples_words(self):
        desk = MemoryDesk()
        await answered(post("print", wire.form(wire.CHECK)), desk)
        desk.ends("rejected", failure_ru="Касса отказала: ИНН неверен.")
        assert await asked(wire.UUID, desk) == {"STATUS": "ERROR", "ERROR": "Касса отказала: ИНН неверен."}

    @pytest.mark.parametrize("uuid", [f"r:{wire.KEY}", f"p:check|{wire.PORTAL}|78", "rcpt_1", "x", "p:check", "p:"])
    async def test_an_unknown_uuid_is_an_error(self, uuid):
        desk = MemoryDesk()
        await answered(post("print", wire.form(wire.CHECK)), desk)
        assert (await asked(uuid, desk))["STATUS"] == "ERROR"

    async def test_no_uuid_is_a_doubt(self):
        desk = MemoryDesk()
        for members in ({}, {"uuid": ""}, {"UUID": wire.UUID}, {"uuid": ["1"]}):
            assert await answered(post("check", wire.form(members)), desk) == {"STATUS": "WAIT"}

    async def test_an_empty_field_of_the_kassa_is_an_empty_text(self):
        desk = MemoryDesk()
        await answered(post("print", wire.form(wire.CHECK)), desk)
        desk.ends("fiscalized", fiscal=replace(PRINTED, shift=None))
        done = await asked(wire.UUID, desk)
        assert (done["STATUS"], done["SHIFT_NUMBER"], len(done)) == ("DONE", "", 9)


class TestReports:
    def of(self, **changes: Any) -> Report:
        members: dict[str, Any] = {
            "receipt_id": "rcpt_1",
            "event_type": EventType.PAYMENT_SUCCEEDED,
            "event_external_id": wire.KEY,
            "order_id": None,
            "operation": "sell",
            "status": "fiscalized",
            "total": 130000,
            "fiscal": PRINTED,
            "public_url": None,
            "failure_ru": None,
        }
        return Report(**(members | changes))

    async def report(self, report: Report, portal: Portal, **secrets: Any) -> Any:
        known = credentials(**({"portal_webhook": wire.WEBHOOK} | secrets))
        async with httpx.AsyncClient(transport=httpx.MockTransport(portal)) as http:
            return await ADAPTER.report(report, context(http, known))

    async def test_all_eight_fields_as_text(self):
        portal = Portal(sale__cashbox__check__apply={"result": True})
        assert await self.report(self.of(), portal) == Reported()
        ((method, sent),) = portal.calls
        assert method == "sale.cashbox.check.apply"
        assert sent == {
            "UUID": wire.UUID,
            "PRINT_END_TIME": "1795421760",
            "REG_NUMBER_KKT": "0000000001012345",
            "FISCAL_DOC_ATTR": "3456789012",
            "FISCAL_DOC_NUMBER": "41",
            "FISCAL_RECEIPT_NUMBER": "3",
            "FN_NUMBER": "9999078900001234",
            "SHIFT_NUMBER": "7",
        }

    @pytest.mark.parametrize(
        ("type", "letter"),
        [(EventType.PAYMENT_SUCCEEDED, "p"), (EventType.REFUND_SUCCEEDED, "r"), (EventType.ORDER_SETTLED, "s")],
    )
    async def test_the_uuid_is_the_one_that_print_answered(self, type, letter):
        portal = Portal(sale__cashbox__check__apply={"result": True})
        await self.report(self.of(event_type=type), portal)
        assert portal.calls[0][1]["UUID"] == f"{letter}:{wire.KEY}"

    @pytest.mark.parametrize(
        ("answer", "final"),
        [
            (wire.NOT_FOUND, False),
            ({"error": "ERROR_CHECK_APPLY", "error_description": "x"}, False),
            ({"error": "ERROR_CHECK_FAILURE", "error_description": "x"}, True),
            (wire.DENIED, False),
            ({"error": "QUERY_LIMIT_EXCEEDED"}, False),
            ({"result": False}, False),
            ((502, b"<html>"), False),
            ((200, b"[]"), False),
            ((200, {"time": {}}), False),
            (httpx.ReadTimeout("x"), False),
        ],
    )
    async def test_what_the_portal_did_not_take_is_told_again(self, answer, final):
        found = await self.report(self.of(), Portal(sale__cashbox__check__apply=answer))
        assert isinstance(found, ReportFailed)
        assert found.final is final
        assert found.reason
        assert "made0up0code" not in found.reason

    @pytest.mark.parametrize("status", ["rejected", "needs_attention", "cancelled", "held"])
    async def test_failures_are_left_to_the_portals_question(self, status):
        found = await self.report(self.of(status=status, fiscal=None), Portal())
        assert isinstance(found, NotReported)

    async def test_without_a_webhook_the_portal_asks(self):
        assert isinstance(await self.report(self.of(), Portal(), portal_webhook=None), NotReported)

    async def test_a_receipt_of_no_check_is_not_reported(self):
        assert isinstance(await self.report(self.of(event_external_id="manual:1"), Portal()), NotReported)


NAMES = st.text(st.characters(exclude_characters="[]", codec="utf-8"), min_size=1, max_size=8)
VALUES = st.text(st.characters(codec="utf-8"), max_size=12)
TREES = st.dictionaries(
    NAMES,
    st.recursive(
        VALUES,
        lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=4) | st.lists(inner, min_size=1, max_size=4),
        max_leaves=12,
    ),
    max_size=4,
)


def indexed(value: Any) -> Any:
    """Lists as the form has them: by index."""
    match value:
        case list():
            return {str(index): indexed(member) for index, member in enumerate(value)}
        case dict():
            return {name: indexed(member) for name, member in value.items()}
        case _:
            return value


def depth(value: Any) -> int:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(depth, members), default=0) if members else 0


class TestForm:
    @settings_of_hypothesis(max_examples=150, deadline=None)
    @given(TREES.filter(lambda tree: depth(tree) <= 8))
    def test_what_php_writes_is_read_back(self, tree):
        assert parse_form(wire.form(tree)) == indexed(tree)

    @settings_of_hypothesis(max_examples=150, deadline=None)
    @given(TREES.filter(lambda tree: depth(tree) <= 6))
    def test_json_says_the_same(self, tree):
        assert read(json.dumps(tree).encode(), wire.JSON) == indexed(tree)

    @settings_of_hypothesis(max_examples=200, deadline=None)
    @given(st.binary(max_size=200))
    def test_any_bytes_are_read_or_refused(self, body):
        for media in (wire.FORM, wire.JSON):
            try:
                assert isinstance(read(body, media), dict)
            except ValueError:
                continue

    def test_php_numbers_empty_brackets(self):
        assert parse_form(b"a[]=x&a[]=y&a[5]=z&a[]=w&b%5Bc%5D%5B%5D=1") == {
            "a": {"0": "x", "1": "y", "5": "z", "6": "w"},
            "b": {"c": {"0": "1"}},
        }

    @pytest.mark.parametrize("body", [b"a=1&a[b]=2", b"a[b]=1&a=2", b"a=1&a=2", b"[a]=1", b"a]=1", b"a[b=1", b"=1"])
    def test_what_may_mean_two_things_is_refused(self, body):
        with pytest.raises(ValueError, match="field"):
            parse_form(body)

    def test_the_same_value_twice_is_one(self):
        assert parse_form(b"a=1&a=1&&") == {"a": "1"}

    @pytest.mark.parametrize("body", [b"a" + b"[b]" * 8 + b"=1", b"a=1&" * 20_001, b'{"a":' * 9 + b"1" + b"}" * 9])
    def test_there_are_limits(self, body):
        with pytest.raises(ValueError, match="too"):
            read(body, wire.FORM)

    def test_json_values_are_text_as_in_a_form(self):
        assert read(b'{"a": true, "b": false, "c": null, "d": 10.50, "e": 7}', "") == {
            "a": "1",
            "b": "",
            "c": "",
            "d": "10.50",
            "e": "7",
        }

    def test_lists_are_in_the_order_of_their_indexes(self):
        assert listed({"10": "c", "0": "a", "9": "b"}) == ["a", "b", "c"]
        assert listed("") == listed(None) == []
        with pytest.raises(ValueError, match="no index"):
            listed({"a": "1"})
