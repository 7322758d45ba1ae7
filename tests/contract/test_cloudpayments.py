"""CloudPayments' notices against the adapter: who is believed, what becomes an event, what is answered."""

import copy
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from app.acquirers.cloudpayments import PLUGIN
from app.domain.codec import event_from_json, event_to_json
from app.domain.event import EventItem, EventPayment, EventType, PaymentEvent
from app.domain.ffd import AgentType
from app.domain.receipt import Customer, MarkingCode
from app.ports.inbound import InboundRequest
from app.ports.source import Parsed, ReadBackFailed, Report, ReportFailed, Verdict
from tests.contract.contexts import source_context
from tests.contract.exchanges import cloudpayments as wire

ADAPTER = PLUGIN()
CREDENTIALS = PLUGIN.Credentials(public_id="pk_made_up", api_secret=SecretStr(wire.SECRET))


def settings(**changes: Any) -> Any:
    return PLUGIN.Settings(**({"acquirer_fiscalizes": False} | changes))


def post(body: bytes, headers: dict[str, str], part: str = "pay", media: str = wire.FORM) -> InboundRequest:
    return InboundRequest("POST", part, "", headers | {"content-type": media}, body)


def notice(part: str, fields: dict[str, Any]) -> InboundRequest:
    body = wire.form(fields)
    return post(body, wire.signed(body), part)


async def parsed(request: InboundRequest, **changes: Any) -> Parsed | ReadBackFailed:
    async with httpx.AsyncClient(transport=httpx.MockTransport(_nobody_is_called)) as http:
        context = source_context(http, CREDENTIALS, settings(**changes))
        return await ADAPTER.parse(request, context)


def _nobody_is_called(request: httpx.Request) -> httpx.Response:
    raise AssertionError("a notice carries all that is needed")


async def event(part: str, fields: dict[str, Any], **changes: Any) -> PaymentEvent:
    found = await parsed(notice(part, fields), **changes)
    assert isinstance(found, Parsed), found
    assert len(found.events) == 1, found.note
    return found.events[0]


async def warnings(part: str, fields: dict[str, Any], **changes: Any) -> str:
    found = await parsed(notice(part, fields), **changes)
    assert isinstance(found, Parsed), found
    return "; ".join(found.warnings)


async def failure(part: str, fields: dict[str, Any]) -> ReadBackFailed:
    found = await parsed(notice(part, fields))
    assert isinstance(found, ReadBackFailed), found
    assert found.final
    return found


def with_receipt(receipt: Any, fields: dict[str, Any] = wire.PAY) -> dict[str, Any]:
    return fields | {"Data": {"CloudPayments": {"CustomerReceipt": receipt}}}


def with_item(**changes: Any) -> dict[str, Any]:
    receipt = copy.deepcopy(wire.CUSTOMER_RECEIPT)
    receipt["Items"][0] |= changes
    return with_receipt(receipt)


class TestSignature:
    def verdict(self, request: InboundRequest, secret: str = wire.SECRET) -> object:
        credentials = CREDENTIALS.model_copy(update={"api_secret": SecretStr(secret)})
        return ADAPTER.verify(request, credentials, settings())

    def test_the_worked_form_example(self):
        both = {"content-hmac": wire.VECTOR_FORM_HMAC, "x-content-hmac": wire.VECTOR_FORM_X_HMAC}
        assert self.verdict(post(wire.VECTOR_FORM, both)) == Verdict.Genuine()

    @pytest.mark.parametrize(
        "header", [("content-hmac", wire.VECTOR_FORM_HMAC), ("x-content-hmac", wire.VECTOR_FORM_X_HMAC)]
    )
    def test_either_header_is_enough(self, header):
        assert self.verdict(post(wire.VECTOR_FORM, dict([header]))) == Verdict.Genuine()
        other = "x-content-hmac" if header[0] == "content-hmac" else "content-hmac"
        assert self.verdict(post(wire.VECTOR_FORM, {header[0]: header[1], other: "AAAA"})) == Verdict.Genuine()

    @pytest.mark.parametrize("header", ["content-hmac", "x-content-hmac"])
    def test_the_worked_json_example(self, header):
        request = post(wire.VECTOR_JSON, {header: wire.VECTOR_JSON_HMAC}, media=wire.JSON)
        assert self.verdict(request) == Verdict.Genuine()

    def test_json_with_plus_and_per_cent_signs_is_signed_as_it_is(self):
        body = wire.as_json(wire.PAY | {"Data": {"phone": "+79990000000", "discount": "10%25"}})
        request = post(body, {"x-content-hmac": wire.digest(body)}, media=wire.JSON)
        assert self.verdict(request) == Verdict.Genuine()

    def test_get_is_signed_over_the_query(self):
        query = wire.VECTOR_FORM.decode()
        for header, value in (("content-hmac", wire.VECTOR_FORM_HMAC), ("x-content-hmac", wire.VECTOR_FORM_X_HMAC)):
            assert self.verdict(InboundRequest("GET", "pay", query, {header: value}, b"")) == Verdict.Genuine()
        assert isinstance(
            self.verdict(InboundRequest("GET", "pay", query + "0", {"content-hmac": wire.VECTOR_FORM_HMAC}, b"")),
            Verdict.Forged,
        )

    def test_the_headers_are_not_interchangeable(self):
        swapped = {"content-hmac": wire.VECTOR_FORM_X_HMAC, "x-content-hmac": wire.VECTOR_FORM_HMAC}
        assert isinstance(self.verdict(post(wire.VECTOR_FORM, swapped)), Verdict.Forged)

    @pytest.mark.parametrize(
        "forged",
        [
            post(wire.VECTOR_FORM, {}),
            post(wire.VECTOR_FORM, {"content-hmac": "", "x-content-hmac": " "}),
            post(wire.VECTOR_FORM, {"content-hmac": "не base64"}),
            post(wire.VECTOR_FORM + b" ", {"content-hmac": wire.VECTOR_FORM_HMAC}),
            post(wire.VECTOR_FORM.replace(b"1990", b"1"), {"x-content-hmac": wire.VECTOR_FORM_X_HMAC}),
            post(wire.VECTOR_FORM, {"content-hmac": wire.digest(wire.VECTOR_FORM, "another_secret")}),
            post(b"", {"content-hmac": wire.VECTOR_FORM_HMAC}),
        ],
        ids=["none", "blank", "junk", "body+space", "sum", "other secret", "empty body"],
    )
    def test_a_forgery_is_refused_with_a_reason_without_the_secret(self, forged):
        verdict = self.verdict(forged)
        assert isinstance(verdict, Verdict.Forged)
        assert verdict.reason
        assert wire.SECRET not in verdict.reason

    def test_without_a_secret_everything_is_refused(self):
        unsigned = {"content-hmac": wire.digest(wire.VECTOR_FORM, "")}
        for secret in ("", "  "):
            assert self.verdict(post(wire.VECTOR_FORM, unsigned), secret) == Verdict.Forged(
                "no API secret is configured for this source"
            )

    def test_a_source_cannot_be_configured_without_its_answers(self):
        with pytest.raises(ValidationError):
            PLUGIN.Credentials(public_id="pk", api_secret="")
        with pytest.raises(ValidationError):
            PLUGIN.Settings()
        assert wire.SECRET not in repr(CREDENTIALS)


class TestReply:
    def test_stored_is_exactly_code_zero(self):
        for part in ("pay", "refund", "check", "receipt", "something"):
            reply = ADAPTER.reply(notice(part, wire.PAY), stored=True)
            assert (reply.status, reply.body, reply.media_type) == (200, b'{"code":0}', "application/json")

    @pytest.mark.parametrize("part", ["pay", "confirm", "refund", "cancel", "fail", "recurrent"])
    def test_not_stored_brings_the_notice_again(self, part):
        reply = ADAPTER.reply(notice(part, wire.PAY), stored=False)
        assert reply.status == 503
        assert json.loads(reply.body)["code"] != 0

    def test_our_trouble_never_declines_a_payment(self):
        assert ADAPTER.reply(notice("check", wire.PAY), stored=False).body == b'{"code":0}'


class TestEvents:
    async def test_a_payment(self):
        assert await event("pay", wire.PAY) == PaymentEvent(
            type=EventType.PAYMENT_SUCCEEDED,
            external_id="455",
            amount=199000,
            occurred_at=datetime(2026, 11, 23, 8, 15, tzinfo=UTC),
            order_id="inv 42",
            customer=Customer("anna@example.org", "+79990000000", "Анна Примерова"),
            items=(
                EventItem(
                    name="Абонемент «8 занятий»",
                    quantity=Decimal(1),
                    price=199000,
                    amount=199000,
                    vat="none",
                    payment_method="full_prepayment",
                    payment_object="service",
                    measure="piece",
                ),
            ),
            taxation="usn_income",
            items_origin="event",
            description="Абонемент",
            metadata={"account_id": "user-7", "subscription_id": "sc_1"},
        )

    async def test_form_json_and_get_tell_the_same(self):
        query = wire.form(wire.PAY).decode()
        over_get = InboundRequest("GET", "pay", query, wire.signed(query.encode()), b"")
        body = wire.as_json(wire.PAY)
        over_json = post(body, wire.signed(body, decoded=False), media=wire.JSON)
        for request in (over_get, over_json):
            assert ADAPTER.verify(request, CREDENTIALS, settings()) == Verdict.Genuine()
            assert (await parsed(request)) == (await parsed(notice("pay", wire.PAY)))

    async def test_a_replay_is_the_same_event(self):
        first, second = await event("pay", wire.PAY), await event("pay", wire.PAY | {"TotalFee": "40.00"})
        assert first == second

    async def test_two_stages_give_one_payment(self):
        hold = await parsed(notice("pay", wire.HOLD))
        assert isinstance(hold, Parsed)
        assert hold.events == ()
        assert "authorized" in str(hold.note)
        confirmed = await event("confirm", wire.CONFIRM)
        assert confirmed == await event("pay", wire.PAY)

    async def test_a_partial_capture_is_the_captured_sum(self):
        assert (await event("confirm", wire.CONFIRM | {"Amount": "1490.50"})).amount == 149050

    async def test_a_refund_names_its_payment(self):
        refund = await event("refund", wire.REFUND)
        assert refund.type is EventType.REFUND_SUCCEEDED
        assert (refund.external_id, refund.payment_id, refund.amount) == ("501", "455", 50050)
        assert refund.occurred_at == datetime(2026, 11, 24, 10, tzinfo=UTC)
        assert refund.items == ()
        assert refund.order_id == "inv 42"

    async def test_a_partial_refund_does_not_repeat_the_lines_of_the_sale(self):
        partial = await event("refund", with_receipt(wire.CUSTOMER_RECEIPT, wire.REFUND))
        assert (partial.items, partial.items_origin, partial.taxation) == ((), None, None)
        full = await event("refund", with_receipt(wire.CUSTOMER_RECEIPT, wire.REFUND | {"Amount": "1990"}))
        assert [item.amount for item in full.items] == [199000]

    @pytest.mark.parametrize(
        ("part", "fields"),
        [
            ("check", wire.PAY),
            ("cancel", wire.CANCEL),
            ("fail", wire.FAIL),
            ("recurrent", wire.RECURRENT),
            ("receipt", wire.RECEIPT),
            ("pay", wire.HOLD),
            ("pay", wire.PAY | {"OperationType": "CardPayout"}),
            ("confirm", wire.CONFIRM | {"Status": "Authorized"}),
            ("refund", wire.REFUND | {"OperationType": "CardPayout"}),
            ("kkt", wire.PAY),
            ("", wire.PAY),
        ],
    )
    async def test_what_moves_no_buyers_money_makes_no_event_and_says_why(self, part, fields):
        found = await parsed(notice(part, fields))
        assert isinstance(found, Parsed)
        assert found.events == ()
        assert found.note

    async def test_the_last_segment_names_the_kind(self):
        request = notice("s-path-secret/Refund/", wire.REFUND)
        found = await parsed(request)
        assert isinstance(found, Parsed)
        assert found.events[0].type is EventType.REFUND_SUCCEEDED

    @pytest.mark.parametrize("value", ["1", "True"])
    async def test_a_test_payment_is_marked(self, value):
        assert (await event("pay", wire.PAY | {"TestMode": value})).test
        assert not (await event("pay", wire.PAY)).test

    async def test_sbp_has_no_card(self):
        without = {name: value for name, value in wire.PAY.items() if not name.startswith("Card")}
        assert (await event("pay", without | {"PaymentMethod": "SBP"})).metadata["payment_method"] == "SBP"

    async def test_no_card_data_and_no_contact_in_metadata(self):
        for account in ("anna@example.org", "+79990000000", "89990000000"):
            found = await event("pay", wire.PAY | {"AccountId": account})
            assert found.metadata == {"subscription_id": "sc_1"}
        stored = json.dumps(event_to_json(await event("pay", wire.PAY)))
        for secret in ("400000", "0002", "tk_made_up", "card_made_up", "12/29", "A1B2C3", "192.0.2.7"):
            assert secret not in stored

    async def test_an_order_may_be_the_settlement_key(self):
        assert (await event("pay", wire.PAY, settlement_key="order_id")).settlement_key == "inv 42"
        assert (await event("pay", wire.PAY)).settlement_key is None
        assert (await event("refund", wire.REFUND, settlement_key="order_id")).settlement_key is None

    async def test_an_event_survives_storage(self):
        found = await event("pay", wire.PAY)
        assert event_from_json(event_to_json(found)) == found

    @pytest.mark.parametrize(
        ("part", "changes", "reason"),
        [
            ("pay", {"Currency": "USD"}, "USD"),
            ("pay", {"Currency": ""}, "Currency is missing"),
            ("pay", {"Amount": "1990.001"}, "part of a kopeck"),
            ("pay", {"Amount": "1 990"}, "Amount"),
            ("pay", {"Amount": ""}, "Amount"),
            ("pay", {"Amount": "NaN"}, "Amount"),
            ("pay", {"Amount": "0.00"}, "above zero"),
            ("pay", {"Amount": "-5"}, "above zero"),
            ("pay", {"Status": ""}, "Status is missing"),
            ("pay", {"OperationType": ""}, "OperationType is missing"),
            ("pay", {"TransactionId": "45x"}, "TransactionId"),
            ("refund", {"PaymentTransactionId": ""}, "PaymentTransactionId"),
            ("refund", {"OperationType": ""}, "OperationType is missing"),
        ],
    )
    async def test_money_that_cannot_be_understood_is_never_silent(self, part, changes, reason):
        base = wire.REFUND if part == "refund" else wire.PAY
        assert reason in (await failure(part, base | changes)).reason

    @pytest.mark.parametrize(
        ("body", "media"),
        [
            (wire.form(wire.PAY) + b"&amount=1.00", wire.FORM),
            (b"Name=%FF%98&Amount=1", wire.FORM),
            (b"a=1&" * 600, wire.FORM),
            (b"[1,2]", wire.JSON),
            (b'{"TransactionId":', wire.JSON),
            (b'{"Amount":1e999999999}', wire.JSON),
            (b'{"Amount":NaN}', wire.JSON),
            (b"[" * 200_000, wire.JSON),
            (b"", wire.FORM),
        ],
        ids=["two sums", "no encoding", "many fields", "list", "torn", "huge exponent", "nan", "deep", "empty"],
    )
    async def test_an_unreadable_body_is_a_final_failure(self, body, media):
        found = await parsed(post(body, {}, media=media))
        assert isinstance(found, ReadBackFailed)
        assert found.final

    async def test_a_cabinet_set_to_windows_1251_is_understood(self):
        body = b"&".join(
            (wire.form({k: v for k, v in wire.PAY.items() if k != "Description"}), b"Description=%D3%F0%EE%EA")
        )
        body = body.replace(b"Data=", b"Unused=")
        found = await parsed(post(body, {}))
        assert isinstance(found, Parsed)
        assert found.events[0].description == "Урок"
        assert "Windows-1251" in found.warnings[0]

    async def test_a_time_that_cannot_be_read_does_not_lose_the_payment(self):
        fields = wire.PAY | {"DateTime": "вчера"}
        assert "DateTime" in await warnings("pay", fields)
        assert abs((await event("pay", fields)).occurred_at - datetime.now(UTC)) < timedelta(minutes=1)

    async def test_a_time_with_a_zone_is_brought_to_utc(self):
        found = await event("pay", wire.PAY | {"DateTime": "2026-11-23T11:15:00+03:00"})
        assert found.occurred_at == datetime(2026, 11, 23, 8, 15, tzinfo=UTC)

    async def test_control_characters_never_reach_the_database(self):
        found = await event("pay", wire.PAY | {"Description": "Урок\x00\n1", "InvoiceId": "in\x00v"})
        assert (found.description, found.order_id) == ("Урок 1", "in v")
        lone = wire.as_json(wire.PAY).replace(b'"user-7"', b'"user\\ud800-7"')
        answer = await parsed(post(lone, {}, media=wire.JSON))
        assert isinstance(answer, Parsed)
        assert answer.events[0].metadata["account_id"] == "user -7"


class TestCustomerReceipt:
    @pytest.mark.parametrize(
        "data",
        [
            {"CloudPayments": {"CustomerReceipt": wire.CUSTOMER_RECEIPT}},
            {"cloudPayments": {"customerReceipt": wire.CUSTOMER_RECEIPT}},
            {"cloudpayments": {"CUSTOMERRECEIPT": {k.upper(): v for k, v in wire.CUSTOMER_RECEIPT.items()}}},
        ],
        ids=["Pascal", "camel", "upper"],
    )
    async def test_spelling_varies_from_shop_to_shop(self, data):
        found = await event("pay", wire.PAY | {"Data": data})
        assert found.items == (await event("pay", wire.PAY)).items
        assert found.customer.phone == "+79990000000"

    async def test_pascal_case_inside_the_lines(self):
        receipt = copy.deepcopy(wire.CUSTOMER_RECEIPT)
        receipt["Items"] = [{name[0].upper() + name[1:]: value for name, value in receipt["Items"][0].items()}]
        assert (await event("pay", with_receipt(receipt))).items == (await event("pay", wire.PAY)).items

    async def test_in_json_data_may_be_text_or_an_object(self):
        as_text = wire.PAY | {"Data": json.dumps(wire.PAY["Data"])}
        for fields in (as_text, wire.PAY):
            found = await parsed(post(wire.as_json(fields), {}, media=wire.JSON))
            assert isinstance(found, Parsed)
            assert len(found.events[0].items) == 1

    @pytest.mark.parametrize("data", ["{broken", "[]", "null", "5", '{"CloudPayments": 1}', "", "[" * 100_000])
    async def test_broken_or_foreign_data_does_not_lose_the_payment(self, data):
        found = await event("pay", wire.PAY | {"Data": data})
        assert (found.items, found.items_origin) == ((), None)
        assert found.customer == Customer("anna@example.org")

    async def test_broken_data_is_told(self):
        for data in ("{broken", '{"price": 1e300}'):
            assert "Data cannot be read" in await warnings("pay", wire.PAY | {"Data": data})

    async def test_lines_may_be_switched_off_while_the_contact_is_kept(self):
        found = await event("pay", wire.PAY, items_from_data=False)
        assert (found.items, found.taxation) == ((), None)
        assert found.customer.phone == "+79990000000"

    async def test_a_receipt_in_the_data_warns_of_a_second_one(self):
        assert "CloudKassir" in await warnings("pay", wire.PAY)
        assert await warnings("pay", wire.PAY, acquirer_fiscalizes=True) == ""
        assert await warnings("pay", wire.PAY | {"Data": ""}) == ""

    @pytest.mark.parametrize(
        ("vat", "code"),
        [
            (None, "none"),
            (0, "vat0"),
            (5, "vat5"),
            (7, "vat7"),
            (10, "vat10"),
            (20, "vat20"),
            (22, "vat22"),
            ("22", "vat22"),
            (22.0, "vat22"),
            (105, "vat105"),
            (107, "vat107"),
            (110, "vat110"),
            (120, "vat120"),
            (122, "vat122"),
        ],
    )
    async def test_vat(self, vat, code):
        assert (await event("pay", with_item(vat=vat))).items[0].vat == code

    @pytest.mark.parametrize("vat", [18, 12, "", "x", 22.5, True, {"a": 1}])
    async def test_an_unknown_vat_is_left_to_the_kassa_and_told(self, vat):
        assert (await event("pay", with_item(vat=vat))).items[0].vat is None
        assert "is no rate in force" in await warnings("pay", with_item(vat=vat))

    async def test_a_line_that_does_not_speak_of_vat_is_left_to_the_kassa(self):
        receipt = copy.deepcopy(wire.CUSTOMER_RECEIPT)
        del receipt["Items"][0]["vat"]
        assert (await event("pay", with_receipt(receipt))).items[0].vat is None

    @pytest.mark.parametrize(
        ("method", "code"), [(0, None), (1, "full_prepayment"), ("4", "full_payment"), (7, "credit_payment"), (9, None)]
    )
    async def test_method(self, method, code):
        assert (await event("pay", with_item(method=method))).items[0].payment_method == code
        assert ("method" in await warnings("pay", with_item(method=method))) == (method == 9)

    @pytest.mark.parametrize(
        ("subject", "code"), [(0, None), (1, "commodity"), (4, "service"), (33, "commodity_with_marking"), (28, None)]
    )
    async def test_object(self, subject, code):
        assert (await event("pay", with_item(object=subject))).items[0].payment_object == code

    @pytest.mark.parametrize(
        ("unit", "measure"),
        [
            ({"measurementUnit": "шт."}, "piece"),
            ({"measurementUnit": "ЧАС"}, "hour"),
            ({"measurementUnit": "занятие"}, None),
            ({"measurementUnit": None}, None),
            ({"unitCode": 71, "measurementUnit": "шт"}, "hour"),
            ({"UnitCode": "11"}, "kilogram"),
        ],
    )
    async def test_measure(self, unit, measure):
        assert (await event("pay", with_item(**unit))).items[0].measure == measure

    async def test_prices_are_told_after_the_discount(self):
        found = await event("pay", with_item(price=700, quantity=3, amount=1990))
        assert [(item.quantity, item.price, item.amount) for item in found.items] == [
            (Decimal(2), 66333, 132666),
            (Decimal(1), 66334, 66334),
        ]
        assert {item.name for item in found.items} == {"Абонемент «8 занятий»"}

    async def test_a_sum_no_price_can_give_becomes_one_unit_that_names_its_quantity(self):
        item = (await event("pay", with_item(price=0.01, quantity=150, amount=0.5))).items[0]
        assert (item.quantity, item.price, item.amount) == (Decimal(1), 50, 50)
        assert item.name.endswith("(150)")

    @pytest.mark.parametrize(
        "changes",
        [
            {"label": ""},
            {"price": "много"},
            {"price": -1990, "amount": -1990},
            {"amount": 1990.01},
            {"amount": 1990.001},
            {"quantity": 0},
            {"quantity": "1e9"},
            {"agentSign": 99},
            {"agentSign": -1},
            {"agentSign": 6, "purveyorData": "OOO"},
            {"rawMarkCode": "01\n02"},
        ],
    )
    async def test_an_unreadable_line_leaves_all_lines_out(self, changes):
        found = await event("pay", with_item(**changes))
        assert (found.items, found.amount) == ((), 199000)
        assert "CustomerReceipt cannot be read" in await warnings("pay", with_item(**changes))

    async def test_lines_that_do_not_add_up_are_kept_for_a_person_to_see(self):
        found = await event("pay", with_item(price=1000, amount=1000))
        assert (found.amount, found.items[0].amount) == (199000, 100000)

    async def test_an_advance_beside_the_payment(self):
        receipt = copy.deepcopy(wire.CUSTOMER_RECEIPT)
        receipt["amounts"] = {"electronic": "990.00", "advancePayment": "1000.00"}
        found = await event("pay", with_receipt(receipt, wire.PAY | {"Amount": "990.00"}))
        assert found.payments == (EventPayment("electronic", 99000), EventPayment("prepaid", 100000))

    async def test_an_agents_line_keeps_its_supplier(self):
        supplier = {"Name": "ООО «Пример»", "Inn": "7700000009", "Phone": "+79990000000"}
        agent = (await event("pay", with_item(AgentSign=6, PurveyorData=supplier))).items[0].agent
        assert agent is not None
        assert (agent.type, agent.supplier_inn, agent.supplier_phones) == (
            AgentType.ANOTHER,
            "7700000009",
            ("+79990000000",),
        )

    async def test_an_agent_without_a_supplier_stays_an_agent(self):
        agent = (await event("pay", with_item(AgentSign=0))).items[0].agent
        assert agent is not None
        assert (agent.type, agent.supplier_inn) == (AgentType.BANK_PAYING_AGENT, "")

    async def test_a_marking_code_keeps_its_group_separators(self):
        item = (await event("pay", with_item(rawMarkCode="0104600000000000215abc~93dGVz", groupSeparator="~"))).items[0]
        assert item.marking == MarkingCode("0104600000000000215abc\x1d93dGVz")

    async def test_the_receipts_own_email_goes_first(self):
        receipt = wire.CUSTOMER_RECEIPT | {"email": "Mother@Example.ORG"}
        assert (await event("pay", with_receipt(receipt))).customer.email == "Mother@example.org"
        receipt = wire.CUSTOMER_RECEIPT | {"email": "anna(at)example"}
        assert (await event("pay", with_receipt(receipt))).customer.email == "anna@example.org"
        told = await warnings("pay", with_receipt(receipt))
        assert "e-mail" in told
        assert "anna(at)" not in told

    async def test_a_bad_phone_is_told_without_repeating_it(self):
        receipt = wire.CUSTOMER_RECEIPT | {"phone": "12"}
        assert (await event("pay", with_receipt(receipt))).customer.phone is None
        assert "phone" in await warnings("pay", with_receipt(receipt))

    @pytest.mark.parametrize(
        ("number", "code"), [(0, "osn"), (2, "usn_income_outcome"), (4, "esn"), (5, "patent"), (3, None)]
    )
    async def test_taxation(self, number, code):
        fields = with_receipt(wire.CUSTOMER_RECEIPT | {"taxationSystem": number})
        assert (await event("pay", fields)).taxation == code
        assert ("TaxationSystem" in await warnings("pay", fields)) == (code is None)


async def test_it_offers_neither_polling_nor_reports():
    context = source_context(httpx.AsyncClient(), CREDENTIALS, settings())
    async with context.http:
        assert [found async for found in ADAPTER.poll(datetime.now(UTC), context)] == []
        report = Report(
            "rcpt_1", EventType.PAYMENT_SUCCEEDED, "455", None, "sell", "fiscalized", 199000, None, None, None
        )
        answer = await ADAPTER.report(report, context)
    assert isinstance(answer, ReportFailed)
    assert answer.final
    assert not ADAPTER.capabilities.reports
    assert not ADAPTER.capabilities.polls


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(["22", "1990.00"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
OPTIONAL = (
    "amount vat method object unitCode measurementUnit agentSign purveyorData agentData rawMarkCode groupSeparator "
    "markPartQuantity expectedMarkItemStatus excise"
)
LINE = st.fixed_dictionaries(
    {"label": st.text(max_size=8), "price": ANY | st.just(10), "quantity": ANY | st.just(1)},
    optional=dict.fromkeys(OPTIONAL.split(), ANY),
)
RECEIPT = st.fixed_dictionaries(
    {"Items": st.lists(LINE | ANY, max_size=3)},
    optional=dict.fromkeys(("amounts", "email", "phone", "customerInfo", "customerInn", "taxationSystem"), ANY),
)


@settings_of_hypothesis(max_examples=150, deadline=None)
@given(RECEIPT | ANY, st.sampled_from(["form", "json"]), st.sampled_from(["pay", "refund"]))
async def test_no_data_from_a_browser_breaks_the_adapter(receipt, media, part):
    base = wire.REFUND if part == "refund" else wire.PAY
    fields = base | {"Data": {"CloudPayments": {"CustomerReceipt": receipt}}}
    if media == "json":
        found = await parsed(post(wire.as_json(fields), {}, part, wire.JSON))
    else:
        found = await parsed(notice(part, fields))
    if isinstance(found, ReadBackFailed):  # NaN and the like in JSON mode spoil the whole body
        assert media == "json"
        return
    (event_,) = found.events
    assert event_.amount == (50050 if part == "refund" else 199000)
    assert event_from_json(json.loads(json.dumps(event_to_json(event_)).encode())) == event_


@settings_of_hypothesis(max_examples=150, deadline=None)
@given(
    st.binary(max_size=80),
    st.sampled_from([wire.FORM, wire.JSON, ""]),
    st.sampled_from([*PLUGIN.capabilities.parts, "x"]),
)
async def test_no_bytes_break_the_adapter(body, media, part):
    request = post(body, {"content-hmac": "x", "x-content-hmac": "y"}, part, media)
    assert isinstance(ADAPTER.verify(request, CREDENTIALS, settings()), Verdict.Forged)
    assert isinstance(await parsed(request), (Parsed, ReadBackFailed))
    assert ADAPTER.reply(request, stored=True).status == 200
