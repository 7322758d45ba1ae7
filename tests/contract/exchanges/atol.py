"""ATOL Online v5 and v4 on the wire: `WIRE` for the scenarios of every driver, `EXCHANGES` for what is its own."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal
from unittest.mock import ANY

import httpx

from app.domain.ffd import (
    AgentType,
    CorrectionKind,
    FfdVersion,
    Measure,
    Operation,
    PaymentKind,
    PaymentMethod,
    PaymentObject,
    Taxation,
)
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
from app.domain.receipt import Agent, CorrectionBasis, Customer, Echo, FiscalData, Item, MarkingCode, Payment, Receipt
from app.domain.vat import VatRate
from app.infra.http import MaybeSent, NotSent
from app.ports.inbound import InboundRequest
from tests.contract.scenarios import CALLBACK_URL, PROVIDER_ID, SALE, Answer, Exchanges, Sent, Step

CREDENTIALS = {
    "login": "v5-example",
    "password": "not-a-real-password",
    "group_code": "v5-example_5179",
    "company_email": "shop@example.org",
}
TOKEN, FRESH = "a-token-of-an-earlier-call", "a-token-of-this-call"
UUID = "2c9e0f6a-0000-4000-8000-1f2e3d4c5b6a"
V5, V4 = "/possystem/v5", "/possystem/v4"
GROUP = f"{V5}/v5-example_5179"
AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

_HEAD = (
    f'{{"external_id":"{PROVIDER_ID}","timestamp":"23.11.2026 12:00:00","service":{{"callback_url":"{CALLBACK_URL}"}},'
)
_COMPANY = (
    '"company":{"email":"shop@example.org","sno":"usn_income","inn":"7700000009",'
    '"payment_address":"https://shop.example/"},'
)
SALE_BODY = (
    _HEAD + '"receipt":{"client":{"email":"buyer@example.org"},' + _COMPANY + '"items":[{"name":"Подписка, 1 месяц",'
    '"price":1490.00,"quantity":1,"measure":0,"sum":1490.00,"payment_method":"full_payment","payment_object":4,'
    '"vat":{"type":"none","sum":0.00}}],"payments":[{"type":1,"sum":1490.00}],"total":1490.00,'
    '"internet":true,"timezone":2}}'
)

MUG = Item(
    name="Кружка «Ёж» — синяя",
    price=61_000,
    quantity=Decimal(2),
    amount=122_000,
    vat=VatRate.VAT22,
    payment_method=PaymentMethod.FULL_PAYMENT,
    payment_object=PaymentObject.COMMODITY,
)
CORRECTION = replace(
    SALE,
    taxation=Taxation.OSN,
    items=(MUG,),
    payments=(Payment(PaymentKind.ELECTRONIC, 122_000),),
    customer=Customer(),
    correction=CorrectionBasis(CorrectionKind.INSTRUCTION, date(2026, 11, 20), "77-15/0001"),
)
_OSN = _COMPANY.replace("usn_income", "osn")
CORRECTION_BODY = (
    _HEAD + '"correction":{' + _OSN + '"items":[{"name":"Кружка \\"Ёж\\" - синяя","price":610.00,"quantity":2,'
    '"measure":0,"sum":1220.00,"payment_method":"full_payment","payment_object":1,'
    '"vat":{"type":"vat22","sum":220.00}}],"payments":[{"type":1,"sum":1220.00}],"total":1220.00,'
    '"internet":true,"timezone":2,'
    '"correction_info":{"type":"instruction","base_date":"20.11.2026","base_number":"77-15/0001"}}}'
)
OWN_CORRECTION = replace(
    CORRECTION,
    operation=Operation.SELL_REFUND,
    correction=CorrectionBasis(CorrectionKind.SELF, date(2026, 11, 2), "memo 5"),
)
OWN_CORRECTION_BODY = CORRECTION_BODY.replace(
    '"instruction","base_date":"20.11.2026","base_number":"77-15/0001"', '"self","base_date":"02.11.2026"'
)

V4_SALE = replace(SALE, ffd=FfdVersion.V1_05)
V4_SALE_BODY = (
    SALE_BODY.replace('"measure":0', '"measurement_unit":"шт"')
    .replace('"payment_object":4', '"payment_object":"service"')
    .replace(',"internet":true,"timezone":2', "")
)
V4_CORRECTION = replace(
    CORRECTION,
    ffd=FfdVersion.V1_05,
    items=(MUG, replace(MUG, vat=VatRate.VAT10, price=11_000, amount=11_000, quantity=Decimal(1))),
    payments=(Payment(PaymentKind.CASH, 33_000), Payment(PaymentKind.ELECTRONIC, 100_000)),
    correction=CorrectionBasis(CorrectionKind.SELF, date(2026, 11, 20)),
    cashier_name="Петрова Мария",
)
V4_CORRECTION_BODY = (
    _HEAD + '"correction":{' + _OSN.replace('"email":"shop@example.org",', "") + '"correction_info":{"type":"self",'
    '"base_date":"20.11.2026","base_number":"б/н"},"payments":[{"type":0,"sum":330.00},{"type":1,"sum":1000.00}],'
    '"vats":[{"type":"vat22","sum":220.00},{"type":"vat10","sum":10.00}],"cashier":"Петрова Мария"}}'
)

EVERYTHING = Receipt(
    operation=Operation.SELL,
    taxation=Taxation.OSN,
    ffd=FfdVersion.V1_2,
    items=(
        Item(
            name="Сыр",
            price=99_999,
            quantity=Decimal("0.355"),
            amount=35_500,
            vat=VatRate.VAT10,
            payment_method=PaymentMethod.FULL_PAYMENT,
            payment_object=PaymentObject.COMMODITY,
            measure=Measure.KILOGRAM,
            sku="not sent",
            excise=7,
            country="643",
            declaration="10702020/060520/0013422",
            additional_props="ИД 5",
        ),
        Item(
            name="Молоко",
            price=10_001,
            quantity=Decimal(1),
            amount=10_001,
            vat=VatRate.VAT10,
            payment_method=PaymentMethod.FULL_PAYMENT,
            payment_object=PaymentObject.COMMODITY_WITH_MARKING,
            marking=MarkingCode("010460780959150821sSBmxTYIFT(eq\x1d93dGVz", state=2, numerator=1, denominator=2),
        ),
        Item(
            name="Перевод",
            price=1,
            quantity=Decimal(10),
            amount=10,
            vat=VatRate.VAT122,
            payment_method=PaymentMethod.ADVANCE,
            payment_object=PaymentObject.PAYMENT,
            agent=Agent(
                AgentType.BANK_PAYING_AGENT,
                "7700000009",
                "ООО Поставщик",
                ("+74950000000",),
                paying_agent_operation="Перевод",
                paying_agent_phones=("+74950000001",),
                transfer_operator_name="Оператор",
                transfer_operator_inn="7700000009",
                transfer_operator_address="Москва",
                transfer_operator_phones=("+74950000002",),
            ),
        ),
        Item(
            name="Связь",
            price=100,
            quantity=Decimal(1),
            amount=100,
            vat=VatRate.VAT20,
            payment_method=PaymentMethod.CREDIT,
            payment_object=PaymentObject.SERVICE,
            agent=Agent(
                AgentType.PAYING_SUBAGENT,
                "7700000009",
                "ООО Связь",
                ("+74950000000",),
                paying_agent_phones=("+74950000001",),
                payment_operator_phones=("+74950000003",),
            ),
        ),
    ),
    payments=(
        Payment(PaymentKind.CASH, 5),
        Payment(PaymentKind.CASH, 6),
        Payment(PaymentKind.PREPAID, 45_000),
        Payment(PaymentKind.ELECTRONIC, 0),
        Payment(PaymentKind.CREDIT, 500),
        Payment(PaymentKind.OTHER, 100),
    ),
    customer=Customer("buyer@example.org", "+79990000000", "Иванов Иван", "500100732259"),
    place="https://shop.example/",
    timezone="Asia/Vladivostok",
    internet=False,
    cashier_name="Петрова Мария",
    cashier_inn="500100732259",
    user_prop=("Заказ", "A-1042"),
)
EVERYTHING_BODY = (
    _HEAD.replace("12:00:00", "19:00:00")
    + '"receipt":{"client":{"email":"buyer@example.org","phone":"+79990000000","name":"Иванов Иван",'
    '"inn":"500100732259"},' + _OSN + '"items":[{"name":"Сыр","price":999.99,"quantity":0.355,"measure":11,'
    '"sum":355.00,"payment_method":"full_payment","payment_object":1,"vat":{"type":"vat10","sum":32.27},'
    '"user_data":"ИД 5","excise":0.07,"country_code":"643","declaration_number":"10702020/060520/0013422"},'
    '{"name":"Молоко","price":100.01,"quantity":1,"measure":0,"sum":100.01,"payment_method":"full_payment",'
    '"payment_object":33,"vat":{"type":"vat10","sum":9.09},'
    '"mark_code":{"gs1m":"MDEwNDYwNzgwOTU5MTUwODIxc1NCbXhUWUlGVChlcR05M2RHVno="},"mark_processing_mode":"0",'
    '"planned_status":2,"mark_quantity":{"numerator":1,"denominator":2}},'
    '{"name":"Перевод","price":0.01,"quantity":10,"measure":0,"sum":0.10,"payment_method":"advance",'
    '"payment_object":10,"vat":{"type":"vat122","sum":0.02},"agent_info":{"type":"bank_paying_agent",'
    '"paying_agent":{"operation":"Перевод","phones":["+74950000001"]},'
    '"money_transfer_operator":{"phones":["+74950000002"],"name":"Оператор","address":"Москва","inn":"7700000009"}},'
    '"supplier_info":{"phones":["+74950000000"],"name":"ООО Поставщик","inn":"7700000009"}},'
    '{"name":"Связь","price":1.00,"quantity":1,"measure":0,"sum":1.00,"payment_method":"credit","payment_object":4,'
    '"vat":{"type":"vat20","sum":0.17},"agent_info":{"type":"paying_subagent",'
    '"paying_agent":{"phones":["+74950000001"]},"receive_payments_operator":{"phones":["+74950000003"]}},'
    '"supplier_info":{"phones":["+74950000000"],"name":"ООО Связь","inn":"7700000009"}}],'
    '"payments":[{"type":0,"sum":0.11},{"type":2,"sum":450.00},{"type":3,"sum":5.00},{"type":4,"sum":1.00}],'
    '"total":456.11,"cashier":"Петрова Мария","additional_user_props":{"name":"Заказ","value":"A-1042"},'
    '"cashier_inn":"500100732259","internet":false,"timezone":9}}'
)

TAKEN: dict[str, Any] = {"uuid": UUID, "timestamp": "23.11.2026 12:00:01", "error": None, "status": "wait"}
PAYLOAD: dict[str, Any] = {
    "total": 1490.0,
    "fns_site": "www.nalog.gov.ru",
    "fn_number": "9999078902010421",
    "shift_number": 23,
    "receipt_datetime": "23.11.2026 12:00:05",
    "fiscal_receipt_number": 6,
    "fiscal_document_number": 133,
    "ecr_registration_number": "0000111118041361",
    "fiscal_document_attribute": 3449555941,
    "ofd_inn": "7709364346",
    "ofd_receipt_url": "https://ofd.example/v1?fn=9999078902010421",
}
DONE: dict[str, Any] = {
    "uuid": UUID,
    "error": None,
    "status": "done",
    "payload": PAYLOAD,
    "timestamp": "23.11.2026 12:00:06",
    "group_code": "v5-example_5179",
    "daemon_code": "d1",
    "device_code": "KKT1",
    "external_id": PROVIDER_ID,
    "callback_url": CALLBACK_URL,
    "warnings": None,
}
FISCAL = FiscalData(
    fn="9999078902010421",
    fd=133,
    fpd="3449555941",
    fiscalized_at=datetime(2026, 11, 23, 9, 0, 5, tzinfo=UTC),
    local_time="23.11.2026 12:00:05",
    kkt_rn="0000111118041361",
    shift=23,
    number_in_shift=6,
    receipt_url="https://ofd.example/v1?fn=9999078902010421",
)
PRINTED = Fiscalized(FISCAL, UUID, Echo(total=149_000))


def error(code: int, text: str = "Неверно", kind: str = "system", **more: Any) -> dict[str, Any]:
    """An answer with an error of the service's own form."""
    return {"error": {"error_id": "e1", "code": code, "text": text, "type": kind}, "timestamp": "…"} | more


def _payload(**members: object) -> dict[str, Any]:
    return DONE | {"payload": PAYLOAD | members}


def _lacking(member: str) -> dict[str, Any]:
    return DONE | {"payload": {name: value for name, value in PAYLOAD.items() if name != member}}


@dataclass(frozen=True)
class Exchange:
    """One call of the driver: every request with its answer (or its failure), and the outcome."""

    name: str
    call: Literal["submit", "poll", "lookup"]
    outcome: LookupOutcome
    wire: tuple[tuple[Sent, Answer | httpx.TransportError], ...]
    receipt: Receipt = SALE


def _register(receipt: Receipt) -> Sent:
    version = V5 if receipt.ffd is FfdVersion.V1_2 else V4
    operation = receipt.operation.code + ("_correction" if receipt.correction else "")
    headers = {"Content-Type": "application/json; charset=utf-8"}
    return Sent("POST", f"{version}/v5-example_5179/{operation}", headers=headers, carries_receipt=True)


def _ask(receipt: Receipt) -> Sent:
    return Sent("GET", f"{V5 if receipt.ffd is FfdVersion.V1_2 else V4}/v5-example_5179/report/{UUID}")


POST = replace(_register(SALE), body=SALE_BODY, carries_receipt=False)
GET = _ask(SALE)
GET_TOKEN = Sent("POST", f"{V5}/getToken", '{"login":"v5-example","pass":"not-a-real-password"}')
GIVEN = Answer(200, {"error": None, "token": FRESH, "timestamp": "23.11.2026 12:00:00"})


def _submit(name: str, answer: Answer | httpx.TransportError, outcome: LookupOutcome) -> Exchange:
    return Exchange(name, "submit", outcome, ((POST, answer),))


def _poll(name: str, answer: Answer | httpx.TransportError, outcome: LookupOutcome) -> Exchange:
    return Exchange(f"poll: {name}", "poll", outcome, ((GET, answer),))


def _made(name: str, receipt: Receipt, body: str) -> Exchange:
    sent = replace(_register(receipt), body=body, carries_receipt=False)
    return Exchange(name, "submit", Accepted(UUID, 5.0), ((sent, Answer(200, TAKEN)),), receipt)


def _refused(code: int, cause: str, text: str, pointer: str | None) -> Exchange:
    told = error(code, text, status="fail")
    return _submit(f"refused: {code} {text}", Answer(400, told), Rejected(cause, str(code), text, pointer))


def _failed(kind: str, code: int, outcome: LookupOutcome) -> Exchange:
    told = error(code, "Сбой", kind, status="fail", uuid=UUID, payload=None)
    return _poll(f"failed: {kind} {code}", Answer(200, told), outcome)


def _stopped(http: int, code: int, cause: str) -> Exchange:
    outcome = Unavailable(cause, Scope.KASSA, None, str(code), "Неверно")
    return _submit(f"stopped: {http}/{code}", Answer(http, error(code)), outcome)


EXCHANGES: tuple[Exchange, ...] = (
    *(
        _made(operation.code, replace(SALE, operation=operation), SALE_BODY)
        for operation in Operation  # the operation is in the address only
    ),
    _made("correction by instruction", CORRECTION, CORRECTION_BODY),
    _made("correction by oneself, of a refund", OWN_CORRECTION, OWN_CORRECTION_BODY),
    _made("every member", EVERYTHING, EVERYTHING_BODY),
    _made("v4 sale", V4_SALE, V4_SALE_BODY),
    _made("v4 correction", V4_CORRECTION, V4_CORRECTION_BODY),
    # The same id again: both answers that the document speaks of, and the one that it leaves open.
    _submit("known id, error 33 with uuid", Answer(400, error(33, uuid=UUID, status="wait")), Accepted(UUID, 5.0)),
    _submit(
        "known id, error 33 alone",
        Answer(400, error(33, status="wait")),
        Unknown(ANY, "33", "Неверно", stuck="duplicate_id"),
    ),
    # Refused for good.
    _refused(32, "value_invalid", "PatternMismatch: #/receipt/items/3/sum", "#/items/3/amount"),
    _refused(32, "value_invalid", "PropertyRequired: #/receipt/company/payment_address", "#/place"),
    _refused(32, "value_invalid", "PropertyRequired: #/correction/items/0/vat", "#/items/0/vat"),
    _refused(32, "value_invalid", "Bad: #/correction/correction_info/base_number", "#/correction/document_number"),
    _refused(32, "value_invalid", "PatternMismatch: #/receipt/client/email", "#/customer/email"),
    _refused(32, "value_invalid", "Ошибка валидации", None),
    _refused(13, "value_invalid", "Неверно", None),
    _refused(31, "payload_not_supported", "Неверно", None),
    _refused(40, "value_invalid", "Неверно", None),
    _submit("media type", Answer(415, error(41)), Rejected("refused_other", "41", "Неверно")),
    _submit(
        "the buyer is not repeated",
        Answer(400, error(32, "Адрес buyer@example.org неверен", status="fail")),
        Rejected("value_invalid", "32", "Адрес *** неверен"),
    ),
    # Certainly not registered.
    _stopped(401, 12, "credentials_refused"),
    _stopped(403, 14, "account_inactive"),
    _stopped(401, 20, "group_not_found"),
    _stopped(401, 21, "ffd_not_registered"),
    _submit(
        "too many requests",
        Answer(429, headers={"Retry-After": "30"}),
        Unavailable("rate_limited", Scope.KASSA, 30.0, "429"),
    ),
    *(
        _submit(
            f"not sent: {reason}",
            NotSent(reason, "no"),
            Unavailable("wire_not_sent", scope, None, None, f"{reason}: no"),
        )
        for reason, scope in (
            ("dns", Scope.PROVIDER),
            ("refused", Scope.PROVIDER),
            ("tls", Scope.PROVIDER),
            ("stale", Scope.RECEIPT),
            ("forbidden", Scope.KASSA),
        )
    ),
    # It may have arrived.
    *(
        _submit(f"error {code} says nothing", Answer(http, error(code)), Unknown(ANY, str(code), "Неверно"))
        for http, code in ((400, 0), (400, 1), (500, 50), (400, 30), (400, 99), (500, 32))
    ),
    _submit("a uuid beside an error", Answer(200, TAKEN | error(1)), Unknown(ANY, "1", "Неверно")),
    _submit("an error 33 of a gateway", Answer(502, error(33, uuid=UUID)), Unknown(ANY, "33", "Неверно")),
    _submit("somebody else's 403", Answer(403, b"<h1>Forbidden</h1>"), Unknown(ANY, "403", "<h1>Forbidden</h1>")),
    _submit("taken, without a uuid", Answer(200, TAKEN | {"uuid": None}), Unknown(ANY, "200", ANY)),
    _submit("lost reply", MaybeSent("disconnected", "gone"), Unknown("no answer: disconnected: gone")),
    _submit("a transport error nobody foresaw", httpx.ReadTimeout("late"), Unknown("no answer: ReadTimeout: late")),
    # Tokens.
    *(
        Exchange(
            f"the token is refused ({code}), a fresh one is taken",
            "submit",
            Accepted(UUID, 5.0),
            ((POST, Answer(401, error(code))), (GET_TOKEN, GIVEN), (POST, Answer(200, TAKEN))),
        )
        for code in (10, 11)
    ),
    Exchange(
        "the token is refused twice",
        "submit",
        Unavailable("credentials_refused", Scope.KASSA, None, "11", "Неверно"),
        ((POST, Answer(401, error(11))), (GET_TOKEN, GIVEN), (POST, Answer(401, error(11)))),
    ),
    *(
        Exchange(
            f"no fresh token: {name}",
            "submit",
            Unavailable(cause, scope, None, code, ANY),
            ((POST, Answer(401, error(11))), (GET_TOKEN, answer)),
        )
        for name, answer, cause, scope, code in (
            ("wrong password", Answer(401, error(12)), "credentials_refused", Scope.KASSA, "12"),
            ("impossible login", Answer(400, error(13)), "credentials_refused", Scope.KASSA, "13"),
            ("blocked", Answer(403, error(14)), "account_inactive", Scope.KASSA, "14"),
            ("other version", Answer(401, error(21)), "ffd_not_registered", Scope.KASSA, "21"),
            ("down", Answer(503, b"x"), "provider_down", Scope.PROVIDER, "503"),
            ("no token", Answer(200, {"token": ""}), "provider_down", Scope.PROVIDER, "200"),
            ("a token that is no header", Answer(200, {"token": "a\r\nb"}), "provider_down", Scope.PROVIDER, "200"),
            ("nobody there", NotSent("refused", "no"), "wire_not_sent", Scope.PROVIDER, None),
            ("lost", MaybeSent("timeout", "late"), "provider_down", Scope.PROVIDER, None),
        )
    ),
    # Reports.
    _poll("done", Answer(200, DONE), PRINTED),
    _poll("in work, told as error 34", Answer(200, error(34, status="wait", callback_url="")), Pending()),
    _poll("in work", Answer(200, TAKEN), Pending()),
    _poll("another total", Answer(200, _payload(total=1490.01)), replace(PRINTED, echo=Echo(total=149_001))),
    _poll(
        "without what is not needed",
        Answer(
            200,
            {
                "status": "done",
                "payload": {
                    "fn_number": "9999078902010421",
                    "fiscal_document_number": 133,
                    "fiscal_document_attribute": 3449555941,
                    "receipt_datetime": "23.11.2026 12:00:05",
                    "new": [],
                },
            },
        ),
        Fiscalized(FiscalData(FISCAL.fn, FISCAL.fd, FISCAL.fpd, FISCAL.fiscalized_at, FISCAL.local_time)),
    ),
    _poll(
        "warnings",
        Answer(
            200,
            _payload(marks_result=[{"position": 0, "result": 15}, {"position": 1, "result": 5}, None])
            | {"warnings": {"callback_url": "callback_url не соответствует маске"}},
        ),
        replace(
            PRINTED,
            warnings=(
                "callback_url: callback_url не соответствует маске",
                "the marking code of line 1 was not found good (tag 2106 = 5)",
            ),
        ),
    ),
    _poll("another document", Answer(200, DONE | {"external_id": "another"}), CannotTell(ANY)),
    *(
        _poll(f"no document: {member}", Answer(200, _lacking(member)), Unknown(ANY, "200"))
        for member in ("fn_number", "fiscal_document_number", "fiscal_document_attribute", "receipt_datetime")
    ),
    *(
        _poll(f"no document: {name} is {value}", Answer(200, _payload(**{name: value})), Unknown(ANY, "200"))
        for name, value in (
            ("fn_number", "999907"),
            ("fiscal_document_number", 0),
            ("receipt_datetime", "yesterday"),
            ("receipt_datetime", "31.02.2026 12:00:00"),
            ("receipt_datetime", "01.01.1970 12:00:00"),
            ("total", 1490.001),
        )
    ),
    _poll(
        "a link that is no link",
        Answer(200, _payload(ofd_receipt_url="javascript:1")),
        replace(PRINTED, fiscal=replace(FISCAL, receipt_url=None)),
    ),
    # Failed: the id is spent.
    _failed("timeout", 1, Rejected("not_printed", "1", "Сбой")),
    _failed("agent", 2003, Rejected("value_unavailable", "2003", "Сбой")),
    _failed("agent", 2004, Rejected("not_printed", "2004", "Сбой")),
    _failed("agent", 2007, Rejected("value_invalid", "2007", "Сбой")),
    _failed("system", 32, Rejected("value_invalid", "32", "Сбой")),
    _failed("driver", 13, Rejected("value_invalid", "13", "Сбой")),
    _failed("driver", 40, Rejected("not_printed", "40", "Сбой")),
    _failed("driver", 119, Rejected("not_printed", "119", "Сбой")),
    _failed("driver", 225, Rejected("value_unavailable", "225", "Сбой")),
    _failed("driver", 421, Rejected("not_printed", "421", "Сбой")),
    # The register may have printed it.
    *(
        _failed(kind, code, Unknown(ANY, str(code), "Сбой", stuck="register_failed"))
        for kind, code in (("driver", 1), ("driver", 177), ("driver", 999), ("agent", 2999), ("unknown", 13))
    ),
    # Questions that prove nothing, and the one that does.
    _poll("no such uuid", Answer(400, error(30, status="fail")), NotFound(ANY)),
    _poll("another group", Answer(401, error(20)), CannotTell(ANY, Scope.KASSA, "20", "Неверно")),
    _poll("down", Answer(503, b"x"), CannotTell(ANY, Scope.PROVIDER, "503", "x")),
    _poll("error 50", Answer(500, error(50)), CannotTell(ANY, Scope.PROVIDER, "50", "Неверно")),
    _poll("no such page", Answer(404, b"x"), CannotTell(ANY, Scope.RECEIPT, "404", "x")),
    _poll("failed for no reason", Answer(200, {"status": "fail", "error": None}), CannotTell(ANY, ANY, "200", ANY)),
    _poll("no connection", NotSent("refused", "no"), CannotTell("no answer: refused: no", Scope.PROVIDER)),
    _poll("lost reply", MaybeSent("timeout", "late"), CannotTell("no answer: timeout: late", Scope.PROVIDER)),
    Exchange(
        "poll: a fresh token",
        "poll",
        PRINTED,
        ((GET, Answer(401, error(11))), (GET_TOKEN, GIVEN), (GET, Answer(200, DONE))),
    ),
    Exchange(
        "poll: no fresh token",
        "poll",
        CannotTell("no token: credentials_refused", Scope.KASSA, "12", "Неверно"),
        ((GET, Answer(401, error(11))), (GET_TOKEN, Answer(401, error(12)))),
    ),
    Exchange("lookup: not offered", "lookup", CannotTell(ANY), ()),
)

_REGISTER, _ASK = _register(SALE), _ask(SALE)
_EXPIRED = Answer(401, error(11, "Срок действия токена истёк"))

WIRE = Exchanges(
    credentials=CREDENTIALS,
    base_path="/possystem/",
    fiscal=FISCAL,
    receipt_request=_register,
    made=lambda _: Answer(200, TAKEN),
    poll_request=_ask,
    lookup_request=None,
    reference=UUID,
    headers={"Accept": "application/json"},
    tokens={CREDENTIALS["login"]: TOKEN},
    callback=InboundRequest("POST", "secret", "", {}, f'{{"external_id": "{PROVIDER_ID}"}}'.encode()),
    shown={
        "refused": (Step(_REGISTER, Answer(400, error(32, "PatternMismatch: #/receipt/items/0/vat"))),),
        "unknown-refusal": (Step(_REGISTER, Answer(400, error(1))),),
        "credentials-refused": (
            Step(_REGISTER, _EXPIRED),
            Step(GET_TOKEN, Answer(401, error(12))),
        ),
        "auth-expired": (Step(_REGISTER, _EXPIRED), Step(GET_TOKEN, GIVEN), Step(_REGISTER, Answer(200, TAKEN))),
        "rate-limited": (Step(_REGISTER, Answer(429, headers={"Retry-After": "30"})),),
        "duplicate": (Step(_REGISTER, Answer(400, error(33, uuid=UUID, status="wait"))),),
        "done": (Step(_ASK, Answer(200, DONE)),),
        "not-ready": (Step(_ASK, Answer(200, error(34, status="wait"))),),
        "refused-later": (Step(_ASK, Answer(200, error(2007, "Неверно", "agent", status="fail"))),),
        "poll-unknown-status": (Step(_ASK, Answer(200, TAKEN | {"status": "thinking"})),),
        "poll-missing-fn": (Step(_ASK, Answer(200, _lacking("fn_number"))),),
        "poll-auth-expired": (Step(_ASK, _EXPIRED), Step(GET_TOKEN, GIVEN), Step(_ASK, Answer(200, DONE))),
        "poll-other-total": (Step(_ASK, Answer(200, _payload(total=1490.01))),),
    },
    lacks={"missing-fn": "a registration only queues the document and never tells fiscal data"},
)
