"""digitalkassa API v2.1 on the wire: `WIRE` for the scenarios of every driver, `EXCHANGES` for what is its own."""

import base64
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
from app.domain.receipt import Agent, CorrectionBasis, Customer, FiscalData, Item, MarkingCode, Payment, Receipt
from app.domain.vat import VatRate
from app.infra.http import MaybeSent, NotSent
from app.ports.inbound import InboundRequest
from tests.contract.scenarios import CALLBACK_URL, PROVIDER_ID, SALE, Answer, Exchanges, Sent, Step

GROUP = "/v2.1/c_groups/4321"
PATH = f"{GROUP}/receipts/{PROVIDER_ID}"
CORRECTION_PATH = f"{GROUP}/receipts/correction/{PROVIDER_ID}"
CREDENTIALS = {"actor_id": "100", "actor_token": "not-a-real-token", "c_group_id": 4321}

_SALE_REST = (
    '"taxation":2,"is_internet":1,"timezone":2,"items":[{"type":4,"name":"Подписка, 1 месяц","price":1490.00,'
    '"quantity":1,"amount":1490.00,"payment_method":4,"vat":6,"unit":0}],"amount":{"cashless":1490.00},'
    '"loc":{"billing_place":"https://shop.example/"},"notify":{"emails":["buyer@example.org"]},'
    f'"service":{{"callback_url":"{CALLBACK_URL}?receipt={PROVIDER_ID}"}}}}'
)
SALE_BODY = '{"type":1,' + _SALE_REST

CORRECTION = replace(
    SALE,
    taxation=Taxation.OSN,
    items=(
        Item(
            name="Кружка «Ёж» — синяя",
            price=50_000,
            quantity=Decimal(2),
            amount=100_000,
            vat=VatRate.VAT22,
            payment_method=PaymentMethod.FULL_PAYMENT,
            payment_object=PaymentObject.COMMODITY,
        ),
    ),
    payments=(Payment(PaymentKind.ELECTRONIC, 100_000),),
    customer=Customer(),
    correction=CorrectionBasis(CorrectionKind.INSTRUCTION, date(2026, 11, 20), "77-15/0001"),
)
CORRECTION_BODY = (
    '{"type":1,"taxation":1,"is_internet":1,"timezone":2,"items":[{"type":1,"name":"Кружка \\"Ёж\\" - синяя",'
    '"price":500.00,"quantity":2,"amount":1000.00,"payment_method":4,"vat":11,"unit":0}],'
    '"amount":{"cashless":1000.00},"loc":{"billing_place":"https://shop.example/"},'
    '"corrected_date":"20.11.2026","order_number":"77-15/0001",'
    f'"service":{{"callback_url":"{CALLBACK_URL}?receipt={PROVIDER_ID}"}}}}'
)
OWN_CORRECTION = replace(
    CORRECTION,
    operation=Operation.SELL_REFUND,
    correction=CorrectionBasis(CorrectionKind.SELF, date(2026, 11, 2), "memo 5"),
)
OWN_CORRECTION_BODY = CORRECTION_BODY.replace('{"type":1,"tax', '{"type":2,"tax').replace(
    '"corrected_date":"20.11.2026","order_number":"77-15/0001",', '"corrected_date":"02.11.2026",'
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
            vat=VatRate.NONE,
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
    '{"type":1,"taxation":1,"is_internet":0,"timezone":9,"items":['
    '{"type":1,"name":"Сыр","price":999.99,"quantity":0.355,"amount":355.00,"payment_method":4,"vat":2,"unit":11,'
    '"excise":0.07,"additional_props":"ИД 5","declaration_number":"10702020/060520/0013422","country_code":"643"},'
    '{"type":33,"name":"Молоко","price":100.01,"quantity":1,"amount":100.01,"payment_method":4,"vat":2,"unit":0,'
    '"marking":{"code":"010460780959150821sSBmxTYIFT(eq\\u001d93dGVz","item_status":2,"numerator":1,"denominator":2}},'
    '{"type":10,"name":"Перевод","price":0.01,"quantity":10,"amount":0.10,"payment_method":3,"vat":12,"unit":0,'
    '"agent":{"type":1,"supplier":{"phones":["+74950000000"],"name":"ООО Поставщик","tin":"7700000009"},'
    '"paying_agent":{"phones":["+74950000001"],"operation":"Перевод"},'
    '"money_transfer_operator":{"phones":["+74950000002"],"name":"Оператор","tin":"7700000009","address":"Москва"}}},'
    '{"type":4,"name":"Связь","price":1.00,"quantity":1,"amount":1.00,"payment_method":6,"vat":6,"unit":0,'
    '"agent":{"type":8,"supplier":{"phones":["+74950000000"],"name":"ООО Связь","tin":"7700000009"},'
    '"paying_agent":{"phones":["+74950000001"]},"payment_operator":{"phones":["+74950000003"]}}}],'
    '"amount":{"cash":0.11,"prepayment":450.00,"postpayment":5.00,"barter":1.00},'
    '"loc":{"billing_place":"https://shop.example/"},'
    '"notify":{"emails":["buyer@example.org"],"phone":"+79990000000"},'
    '"customer":{"tin":"500100732259","name":"Иванов Иван"},'
    '"additional_attribute":{"name":"Заказ","value":"A-1042"},'
    '"cashier":{"name":"Петрова Мария","tin":"500100732259"},'
    f'"service":{{"callback_url":"{CALLBACK_URL}?receipt={PROVIDER_ID}"}}}}'
)

RESULT: dict[str, Any] = {
    "doc": {
        "reg_time": "2026-11-23T12:00:05",
        "shift_num": 214,
        "index": 37,
        "fiscal_sign": 3004144185,
        "fiscal_num": 18342,
    },
    "cashbox": {
        "rn": "0001234567012345",
        "ffd": "4",
        "fn_num": "7380440700000001",
        "factory_num": "00307900000001",
    },
    "service": {"callback_url": CALLBACK_URL, "receipt_url": "https://receipts.example/abc"},
}
FISCAL = FiscalData(
    fn="7380440700000001",
    fd=18342,
    fpd="3004144185",
    fiscalized_at=datetime(2026, 11, 23, 9, 0, 5, tzinfo=UTC),
    local_time="2026-11-23T12:00:05",
    kkt_rn="0001234567012345",
    kkt_serial="00307900000001",
    shift=214,
    number_in_shift=37,
    ffd=FfdVersion.V1_2,
    receipt_url="https://receipts.example/abc",
)
GROUP_INFO = {"type": "online_store", "taxation": 3, "billing_place_list": ["https://shop.example/"]}


@dataclass(frozen=True)
class Exchange:
    """One call of the driver: every request with its answer (or its failure), and the outcome."""

    name: str
    call: Literal["submit", "poll", "lookup"]
    outcome: LookupOutcome
    wire: tuple[tuple[Sent, Answer | httpx.TransportError], ...]
    receipt: Receipt = SALE


POST = Sent("POST", PATH, SALE_BODY)
GET = Sent("GET", PATH)
GET_GROUP = Sent("GET", GROUP)
DONE = Answer(201, RESULT)


def _without(part: str, member: str) -> dict[str, Any]:
    return RESULT | {part: {name: value for name, value in RESULT[part].items() if name != member}}


def _with(part: str, **members: object) -> dict[str, Any]:
    return RESULT | {part: RESULT[part] | members}


def _error(kind: str, path: str | None = None, desc: str = "Неверно") -> list[dict[str, str]]:
    return [{"type": kind, "desc": desc} | ({"path": path} if path else {})]


def _made(name: str, operation: Operation, number: int) -> Exchange:
    sent = Sent("POST", PATH, '{"type":' + str(number) + "," + _SALE_REST)
    return Exchange(name, "submit", Fiscalized(FISCAL), ((sent, DONE),), replace(SALE, operation=operation))


def _submit(name: str, answer: Answer | httpx.TransportError, outcome: LookupOutcome) -> Exchange:
    return Exchange(name, "submit", outcome, ((POST, answer),))


def _asked(name: str, answer: Answer | httpx.TransportError, outcome: LookupOutcome) -> tuple[Exchange, ...]:
    return tuple(Exchange(f"{call}: {name}", call, outcome, ((GET, answer),)) for call in ("poll", "lookup"))


def _refused(kind: str, cause: str, path: str | None, pointer: str | None) -> Exchange:
    words = f"{kind} Неверно {path}" if path else f"{kind} Неверно"
    return _submit(f"refused: {kind} {path}", Answer(400, _error(kind, path)), Rejected(cause, kind, words, pointer))


def _path(receipt: Receipt) -> str:
    return PATH if receipt.correction is None else CORRECTION_PATH


def _register(receipt: Receipt) -> Sent:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    return Sent("POST", _path(receipt), headers=headers, carries_receipt=True)


def _ask(receipt: Receipt) -> Sent:
    return Sent("GET", _path(receipt))


_REGISTER, _ASK = _register(SALE), _ask(SALE)
_NO_ECHO = "v2.1 returns neither the total nor the operation of a receipt, so there is nothing to compare"

WIRE = Exchanges(
    credentials=CREDENTIALS,
    base_path="/v2.1/",
    fiscal=FISCAL,
    receipt_request=_register,
    made=lambda _: DONE,
    poll_request=_ask,
    lookup_request=_ask,
    headers={
        "Accept": "application/json",
        "Authorization": "Basic " + base64.b64encode(b"100:not-a-real-token").decode(),
    },
    callback=InboundRequest("POST", "secret", f"receipt={PROVIDER_ID}", {}, b""),
    shown={
        "refused": (Step(_REGISTER, Answer(400, _error("BAD_VALUE", "$.items[0].vat"))),),
        "unknown-refusal": (Step(_REGISTER, Answer(400, _error("ERR_TIMED_OUT"))),),
        "credentials-refused": (Step(_REGISTER, Answer(401, [])),),
        "rate-limited": (Step(_REGISTER, Answer(429, headers={"Retry-After": "30"})),),
        "missing-fn": (Step(_REGISTER, Answer(201, _without("cashbox", "fn_num"))),),
        "duplicate": (Step(_REGISTER, Answer(409)), Step(_ASK, Answer(200, RESULT))),
        "done": (Step(_ASK, Answer(200, RESULT)),),
        "not-ready": (Step(_ASK, Answer(202)),),
        "refused-later": (Step(_ASK, Answer(400, _error("UNAVAILABLE_VALUE", "$.loc.billing_place"))),),
        "poll-unknown-status": (Step(_ASK, Answer(203, {"status": "thinking"})),),
        "poll-missing-fn": (Step(_ASK, Answer(200, _without("cashbox", "fn_num"))),),
        "found": (Step(_ASK, Answer(200, RESULT)),),
        "absent": (Step(_ASK, Answer(404, [])), Step(GET_GROUP, Answer(200, GROUP_INFO))),
        "absent-or-another-group": (Step(_ASK, Answer(404)), Step(GET_GROUP, Answer(404))),
    },
    lacks={
        "auth-expired": "there are no tokens: every request carries actor_id and actor_token",
        "poll-auth-expired": "there are no tokens: every request carries actor_id and actor_token",
        "poll-other-total": _NO_ECHO,
        "found-other-total": _NO_ECHO,
    },
)

EXCHANGES: tuple[Exchange, ...] = (
    _made("sale", Operation.SELL, 1),
    _made("sale refund", Operation.SELL_REFUND, 2),
    _made("purchase", Operation.BUY, 3),
    _made("purchase refund", Operation.BUY_REFUND, 4),
    Exchange(
        "correction by instruction",
        "submit",
        Fiscalized(FISCAL),
        ((Sent("POST", CORRECTION_PATH, CORRECTION_BODY), DONE),),
        CORRECTION,
    ),
    Exchange(
        "correction by oneself, of a refund",
        "submit",
        Accepted(),
        ((Sent("POST", CORRECTION_PATH, OWN_CORRECTION_BODY), Answer(202)),),
        OWN_CORRECTION,
    ),
    Exchange(
        "every member",
        "submit",
        Fiscalized(replace(FISCAL, fiscalized_at=datetime(2026, 11, 23, 2, 0, 5, tzinfo=UTC))),
        ((Sent("POST", PATH, EVERYTHING_BODY), DONE),),
        EVERYTHING,
    ),
    # Taken.
    _submit("queued", Answer(202), Accepted()),
    _submit("queued, ask later", Answer(202, headers={"Retry-After": "7"}), Accepted(poll_after_seconds=7)),
    _submit("an undocumented 200 that is a receipt", Answer(200, RESULT), Fiscalized(FISCAL)),
    _submit(
        "without what is not needed",
        Answer(
            201,
            {
                "doc": {"reg_time": "2026-11-23T12:00:05+03:00", "fiscal_sign": 3004144185, "fiscal_num": 18342},
                "cashbox": {"fn_num": "7380440700000001", "ffd": "odd", "new": 1},
                "service": [],
            },
        ),
        Fiscalized(
            FiscalData(FISCAL.fn, FISCAL.fd, FISCAL.fpd, FISCAL.fiscalized_at, local_time="2026-11-23T12:00:05+03:00")
        ),
    ),
    _submit(
        "swapped numbers are kept as told, with a warning",
        Answer(201, _with("doc", fiscal_sign=2, fiscal_num=1111111111)),
        Fiscalized(
            replace(FISCAL, fd=1111111111, fpd="2"),
            warnings=("fiscal_num and fiscal_sign look swapped: compare FD and FPD with the receipt's QR",),
        ),
    ),
    _submit(
        "another format than the kassa's",
        Answer(201, _with("cashbox", ffd="2")),
        Fiscalized(
            replace(FISCAL, ffd=FfdVersion.V1_05), warnings=("the register works by FFD 1.05, the kassa is set to 1.2",)
        ),
    ),
    _submit(
        "a link that is no link",
        Answer(201, _with("service", receipt_url="javascript:alert(1)")),
        Fiscalized(replace(FISCAL, receipt_url=None)),
    ),
    # A success that is none.
    _submit("missing FN", Answer(201, _without("cashbox", "fn_num")), Unknown(ANY, "201")),
    _submit("short FN", Answer(201, _with("cashbox", fn_num="738044")), Unknown(ANY, "201")),
    _submit("missing FD", Answer(201, _without("doc", "fiscal_num")), Unknown(ANY, "201")),
    _submit("FD zero", Answer(201, _with("doc", fiscal_num=0)), Unknown(ANY, "201")),
    _submit("missing FPD", Answer(201, _without("doc", "fiscal_sign")), Unknown(ANY, "201")),
    _submit("missing time", Answer(201, _without("doc", "reg_time")), Unknown(ANY, "201")),
    _submit(
        "odd time",
        Answer(201, _with("doc", reg_time="yesterday")),
        Unknown("a success that is no receipt: doc.reg_time is no time", "201"),
    ),
    *(
        _submit(f"time out of the world: {told}", Answer(201, _with("doc", reg_time=told)), Unknown(ANY, "201"))
        for told in ("0001-01-01T00:00:00", "1970-01-01T00:00:00", "9999-12-31T23:59:59")
    ),
    _submit("garbage", Answer(201, b"<html>502 Bad Gateway</html>"), Unknown(ANY, "201")),
    _submit("half a body", Answer(201, b'{"doc": {"fiscal_num": 1'), Unknown(ANY, "201")),
    _submit("bottomless", Answer(201, b"[" * 100_000), Unknown(ANY, "201")),
    _submit("an empty 201", Answer(201), Unknown(ANY, "201")),
    _submit("a list", Answer(201, []), Unknown(ANY, "201")),
    # Refused, each type of a 400.
    _refused("UNEXPECTED_FIELD", "field_unexpected", "$.items[0].color", "#/items/0/color"),
    _refused("MISSED_REQUIRED_FIELD", "field_missing", "$.items[0].vat", "#/items/0/vat"),
    _refused("MISSED_REQUIRED_FIELD", "field_missing", "$.notify", "#/customer"),
    _refused("BAD_VALUE", "value_invalid", "$.items[3].type", "#/items/3/payment_object"),
    _refused("BAD_VALUE", "value_invalid", "$.notify.emails[0]", "#/customer/email"),
    _refused("BAD_VALUE", "value_invalid", None, None),
    _refused("UNAVAILABLE_VALUE", "place_not_registered", "$.loc.billing_place", "#/place"),
    _refused("UNAVAILABLE_VALUE", "taxation_not_registered", "$.taxation", "#/taxation"),
    _refused("UNAVAILABLE_VALUE", "value_unavailable", "$['items'][0]['vat']", "#/items/0/vat"),
    _submit(
        "refused for two reasons: the first leads",
        Answer(400, _error("BAD_VALUE", "$.amount.barter") + _error("UNEXPECTED_FIELD", "$.x")),
        Rejected(
            "value_invalid",
            "BAD_VALUE",
            "BAD_VALUE Неверно $.amount.barter; UNEXPECTED_FIELD Неверно $.x",
            "#/payments/barter",
        ),
    ),
    _submit(
        "the buyer is not repeated",
        Answer(400, _error("BAD_VALUE", "$.notify.emails[0]", "Адрес buyer@example.org неверен")),
        Rejected("value_invalid", "BAD_VALUE", "BAD_VALUE Адрес *** неверен $.notify.emails[0]", "#/customer/email"),
    ),
    _submit("impossible for this group", Answer(406), Rejected("refused_other", "406")),
    # Not a refusal, although it is a 400.
    _submit(
        "the register did not answer in time",
        Answer(400, _error("ERR_TIMED_OUT")),
        Unknown(ANY, "ERR_TIMED_OUT", "ERR_TIMED_OUT Неверно"),
    ),
    _submit("an unknown type", Answer(400, _error("ERR_NEW")), Unknown(ANY, "ERR_NEW", "ERR_NEW Неверно")),
    _submit(
        "a refusal beside a time-out",
        Answer(400, _error("BAD_VALUE") + _error("ERR_TIMED_OUT")),
        Unknown(ANY, "BAD_VALUE", "BAD_VALUE Неверно; ERR_TIMED_OUT Неверно"),
    ),
    _submit("a 400 without words", Answer(400, []), Unknown(ANY, "400")),
    _submit("somebody else's 400", Answer(400, b"<h1>Bad  Request</h1>"), Unknown(ANY, "400", "<h1>Bad Request</h1>")),
    # The account: certainly not registered.
    _submit("auth expired", Answer(401, []), Unavailable("credentials_refused", Scope.KASSA, None, "401")),
    _submit("payment required", Answer(402), Unavailable("payment_required", Scope.KASSA, None, "402")),
    _submit("actor deactivated", Answer(403), Unavailable("account_inactive", Scope.KASSA, None, "403")),
    _submit("group missing", Answer(404), Unavailable("group_not_found", Scope.KASSA, None, "404")),
    _submit(
        "too many requests",
        Answer(429, headers={"Retry-After": "30"}),
        Unavailable("rate_limited", Scope.KASSA, 30.0, "429"),
    ),
    # It may have arrived.
    *(
        _submit(f"HTTP {status}", Answer(status, b"oops"), Unknown(ANY, str(status), "oops"))
        for status in (204, 207, 302, 408, 413, 418, 422, 500, 502, 503, 504)
    ),
    _submit("lost reply", MaybeSent("disconnected", "gone"), Unknown("no answer: disconnected: gone")),
    _submit("a transport error nobody foresaw", httpx.ReadTimeout("late"), Unknown("no answer: ReadTimeout: late")),
    # It certainly did not.
    *(
        _submit(
            f"not sent: {reason}",
            NotSent(reason, "no"),
            Unavailable("wire_not_sent", scope, None, None, f"{reason}: no"),
        )
        for reason, scope in (
            ("dns", Scope.PROVIDER),
            ("refused", Scope.PROVIDER),
            ("connect_timeout", Scope.PROVIDER),
            ("tls", Scope.PROVIDER),
            ("stale", Scope.RECEIPT),
            ("pool", Scope.RECEIPT),
            ("forbidden", Scope.KASSA),
        )
    ),
    # Duplicate: the truth is what stands under the id.
    Exchange(
        "duplicate, done",
        "submit",
        Fiscalized(
            FISCAL, warnings=("409: a document stood under this id already; compare its total with the receipt",)
        ),
        ((POST, Answer(409)), (GET, Answer(200, RESULT))),
    ),
    Exchange("duplicate, in the queue", "submit", Accepted(), ((POST, Answer(409)), (GET, Answer(202)))),
    Exchange(
        "duplicate that is not there",
        "submit",
        Unknown(ANY, "409"),
        ((POST, Answer(409)), (GET, Answer(404)), (GET_GROUP, Answer(200, GROUP_INFO))),
    ),
    Exchange(
        "duplicate, and then silence",
        "submit",
        Unknown(ANY, "409"),
        ((POST, Answer(409)), (GET, NotSent("refused", "no"))),
    ),
    # Asking.
    *_asked("done", Answer(200, RESULT), Fiscalized(FISCAL)),
    *_asked("still queued", Answer(202), Pending()),
    *_asked("garbage", Answer(200, b"{}"), Unknown(ANY, "200")),
    *_asked(
        "failed in the queue",
        Answer(400, _error("UNAVAILABLE_VALUE", "$.loc.billing_place")),
        Rejected(
            "place_not_registered", "UNAVAILABLE_VALUE", "UNAVAILABLE_VALUE Неверно $.loc.billing_place", "#/place"
        ),
    ),
    *_asked("time-out", Answer(400, _error("ERR_TIMED_OUT")), CannotTell(ANY, Scope.RECEIPT, "ERR_TIMED_OUT", ANY)),
    *_asked("auth expired", Answer(401, []), CannotTell(ANY, Scope.KASSA, "401")),
    *_asked("too many requests", Answer(429), CannotTell(ANY, Scope.KASSA, "429")),
    *_asked("down", Answer(503), CannotTell(ANY, Scope.PROVIDER, "503")),
    *_asked("an unknown status", Answer(418), CannotTell(ANY, Scope.RECEIPT, "418")),
    *_asked("no connection", NotSent("refused", "no"), CannotTell("no answer: refused: no", Scope.PROVIDER)),
    *_asked("lost reply", MaybeSent("timeout", "late"), CannotTell("no answer: timeout: late", Scope.PROVIDER)),
    Exchange(
        "not there, and the group says so",
        "lookup",
        NotFound(ANY),
        ((GET, Answer(404, [])), (GET_GROUP, Answer(200, GROUP_INFO))),
    ),
    Exchange(
        "not there, but the group is not ours",
        "lookup",
        CannotTell(ANY, Scope.KASSA, "404"),
        ((GET, Answer(404)), (GET_GROUP, Answer(404))),
    ),
    Exchange(
        "not there, but the group is no group",
        "lookup",
        CannotTell(ANY, Scope.KASSA, "200"),
        ((GET, Answer(404)), (GET_GROUP, Answer(200, b"<html>Welcome</html>"))),
    ),
    Exchange(
        "not there, and the group does not answer",
        "lookup",
        CannotTell(ANY, Scope.PROVIDER),
        ((GET, Answer(404)), (GET_GROUP, MaybeSent("timeout", "late"))),
    ),
    Exchange(
        "a correction is asked for among corrections",
        "lookup",
        Fiscalized(FISCAL),
        ((Sent("GET", CORRECTION_PATH), Answer(200, RESULT)),),
        CORRECTION,
    ),
)
