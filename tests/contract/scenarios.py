"""What must hold for every kassa driver, whatever its provider's protocol: the scenarios, and the shape of the wire.

A scenario says *what must hold*; `tests/contract/exchanges/<code>.py` says *the wire* of one provider and exports one
value, `WIRE: Exchanges`. `test_kassas.py` plays each scenario over real sockets against each registered driver.

To write the wire of a provider:

1. `credentials`, `base_path`, `fiscal` (the document in your canned successes), and `receipt_request(receipt)`: the
   request that carries a receipt. With those the suite can already do to the driver what the world does to everybody
   (lost answer, 5xx, foreign page, ...): a scenario with `happens_to` needs nothing more.
2. `made(receipt)`: the provider's good answer to that request. It serves every scenario that makes a document.
3. `poll_request`, `lookup_request`: what the driver asks first. `lookup_request` is None when there is no look-up.
4. `shown`: for each other scenario the whole conversation, steps in order: `{"refused": (Step(request, Answer(…)),)}`.
   Naming a scenario here always wins over what the suite would have played by itself.
5. `lacks`: scenarios that this protocol cannot have, each with the reason as a sentence. A scenario that is neither
   shown nor lacked fails the suite; those that every protocol has (`always`) cannot be lacked.

The body of the request that carries a receipt is compared with `golden/<code>/<name of the receipt>.json`, digit by
digit. After a change that is meant: `pytest tests/contract/test_kassas.py --update-golden`, and read the difference.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

from app.domain.ffd import (
    AgentType,
    CorrectionKind,
    FfdVersion,
    Operation,
    PaymentKind,
    PaymentMethod,
    PaymentObject,
    Taxation,
)
from app.domain.lifecycle import Happening
from app.domain.outcome import (
    Accepted,
    CannotTell,
    Fiscalized,
    NotFound,
    Pending,
    Rejected,
    Unavailable,
    Unknown,
)
from app.domain.receipt import Agent, CorrectionBasis, Customer, FiscalData, Item, MarkingCode, Payment, Receipt
from app.domain.vat import VatRate
from app.ports.inbound import InboundRequest
from app.ports.kassa import Capabilities

PROVIDER_ID = "9f1c2d7e6b5a4f0c8d3e2a1b0c9d8e7f"
CALLBACK_URL = "https://gw.example/callbacks/kas_1/secret"
PLACE = "https://shop.example/"
MERCHANT_INN = "7700000009"
CREATED_AT = datetime(2026, 11, 23, 9, 0, 5, tzinfo=UTC)
"""When every receipt here was made. A body takes its time from there: taken from a clock it fits no golden file."""


@dataclass(frozen=True)
class Answer:
    """What the provider answers: a JSON value, text, or bytes as they are."""

    status: int
    body: object = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        match self.body:
            case bytes():
                return self.body
            case str():
                return self.body.encode()
            case _:
                return json.dumps(self.body, ensure_ascii=False).encode()


class Cut(Enum):
    """What the network does instead of an answer."""

    REFUSED = "nobody listens: no byte can leave"
    LOST = "the request is read whole, then the connection is gone"
    HALF = "the answer breaks off in the middle of its body"
    SILENT = "the request is read whole, and no answer ever comes"
    STALE = "the freshness bound of the submit has passed before its first byte"


@dataclass(frozen=True)
class Sent:
    """A request that must leave. `path` with its query. `body`: exactly this text; None for the one that carries the
    receipt (compared with the golden file) and for those without a body. `headers` must be among those sent."""

    method: Literal["GET", "POST", "PUT"]
    path: str
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    carries_receipt: bool = False


@dataclass(frozen=True)
class Step:
    """One request of a conversation and what comes back."""

    sent: Sent
    back: Answer | Cut


Steps = tuple[Step, ...]


@dataclass(frozen=True)
class Exchanges:
    """The wire of one provider; see this module's docstring."""

    credentials: Mapping[str, Any]
    base_path: str
    fiscal: FiscalData
    receipt_request: Callable[[Receipt], Sent]
    made: Callable[[Receipt], Answer]
    poll_request: Callable[[Receipt], Sent]
    lookup_request: Callable[[Receipt], Sent] | None
    shown: Mapping[str, Steps]
    lacks: Mapping[str, str] = field(default_factory=dict)
    reference: str | None = None
    """What `Accepted` told, as it is handed to `poll`."""
    tokens: Mapping[str, str] = field(default_factory=dict)
    """The kassa's token cache as an earlier call left it, so that each scenario shows only its own requests."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of every request."""
    callback: InboundRequest | None = None
    """A callback of this provider about PROVIDER_ID; needed when the capabilities say `callbacks`."""


Call = Literal["submit", "poll", "lookup"]

IN_HAND: frozenset[type] = frozenset({Fiscalized, Accepted})
CERTAINLY_NOT: frozenset[type] = frozenset({Unavailable})
MAY_BE: frozenset[type] = frozenset({Unknown})
FINAL: frozenset[type] = frozenset({Rejected})
NO_WISER: frozenset[type] = frozenset({CannotTell, Unknown})
"""A look-up or a poll that failed. Not `NotFound` and not `Unavailable`: both would say that nothing was printed."""


@dataclass(frozen=True)
class Scenario:
    """One thing that must hold. `ends` are the outcomes that keep the promise; `after` what the service makes of them.

    `happens_to`: what comes back from the decisive request, the same for every provider. `needs`: the capability
    without which the scenario is not asked for. `always`: no provider is without it.
    """

    name: str
    call: Call
    holds: str
    ends: frozenset[type]
    receipt: Receipt
    happens_to: Answer | Cut | None = None
    after: frozenset[Happening] | None = None
    needs: Callable[[Capabilities], bool] = lambda _: True
    always: bool = False
    makes: bool = False
    golden: str = "sale"
    refused_before_sending: bool = False
    resend: bool = False


# The receipts. Each is one that a service would really ask for; `test_receipts_are_lawful` checks them all.

SALE = Receipt(
    operation=Operation.SELL,
    taxation=Taxation.USN_INCOME,
    ffd=FfdVersion.V1_2,
    items=(
        Item(
            name="Подписка, 1 месяц",
            price=149_000,
            quantity=Decimal("1.000"),
            amount=149_000,
            vat=VatRate.NONE,
            payment_method=PaymentMethod.FULL_PAYMENT,
            payment_object=PaymentObject.SERVICE,
        ),
    ),
    payments=(Payment(PaymentKind.ELECTRONIC, 149_000),),
    customer=Customer(email="buyer@example.org"),
    place=PLACE,
    timezone="Europe/Moscow",
    internet=True,
)


def _line(name: str, price: int, quantity: str, amount: int, **more: Any) -> Item:
    return replace(SALE.items[0], name=name, price=price, quantity=Decimal(quantity), amount=amount, **more)


def _receipt(*items: Item, paid: Mapping[PaymentKind, int] | None = None, **more: Any) -> Receipt:
    total = sum(item.amount for item in items)
    payments = tuple(Payment(kind, sum_) for kind, sum_ in (paid or {PaymentKind.ELECTRONIC: total}).items())
    return replace(SALE, items=items, payments=payments, **more)


_PREPAID = _line('Курс "Ёж", предоплата', 1_000_001, "1", 1_000_001, payment_method=PaymentMethod.FULL_PREPAYMENT)
_GIVEN = replace(_PREPAID, name='Курс "Ёж"', payment_method=PaymentMethod.FULL_PAYMENT)
_CHEESE = _line("Сыр", 99_999, "0.355", 35_500, payment_object=PaymentObject.COMMODITY, vat=VatRate.VAT10)
_MUG = _line("Кружка", 50_050, "2", 100_100, payment_object=PaymentObject.COMMODITY, vat=VatRate.VAT22)

MAKES: dict[str, Receipt] = {
    "sale": SALE,
    "sale-of-several-lines": _receipt(
        _CHEESE, _MUG, taxation=Taxation.OSN, customer=Customer(phone="+79990000000"), internet=False
    ),
    "sale-in-mixed-payments": _receipt(
        _MUG,
        taxation=Taxation.OSN,
        paid={PaymentKind.CASH: 30_005, PaymentKind.ELECTRONIC: 70_094, PaymentKind.PREPAID: 1},
    ),
    "prepayment": _receipt(_PREPAID),
    "settlement-of-a-prepayment": _receipt(_GIVEN, paid={PaymentKind.PREPAID: 1_000_001}),
    "refund-full": replace(SALE, operation=Operation.SELL_REFUND),
    "refund-of-some-lines": _receipt(
        replace(_MUG, quantity=Decimal(1), amount=50_050), taxation=Taxation.OSN, operation=Operation.SELL_REFUND
    ),
    "refund-by-amount": _receipt(_line("Подписка, 1 месяц", 10_001, "1", 10_001), operation=Operation.SELL_REFUND),
    "refund-of-a-prepayment": _receipt(_PREPAID, operation=Operation.SELL_REFUND),
    "refund-in-cash": _receipt(
        _MUG, taxation=Taxation.OSN, operation=Operation.SELL_REFUND, paid={PaymentKind.CASH: 100_100}
    ),
    "buy": replace(SALE, operation=Operation.BUY),
    "buy-refund": replace(SALE, operation=Operation.BUY_REFUND),
}
"""Receipts of every operation and of each kind of refund, FFD 1.2; an older format has its own sale below."""


def _needs_operation(operation: Operation) -> Callable[[Capabilities], bool]:
    return lambda can: operation in can.operations


def _needs_format(ffd: FfdVersion) -> Callable[[Capabilities], bool]:
    return lambda can: ffd in can.ffd


def _needs_correction(ffd: FfdVersion) -> Callable[[Capabilities], bool]:
    return lambda can: ffd in can.corrections


def _lacks_operation(operation: Operation) -> Callable[[Capabilities], bool]:
    return lambda can: operation not in can.operations


def _lacks_correction(ffd: FfdVersion) -> Callable[[Capabilities], bool]:
    """In a format of the driver only: a kassa with another one cannot be created, so there is nothing to refuse."""
    return lambda can: ffd in can.ffd - can.corrections


def _looks_up(can: Capabilities) -> bool:
    return can.lookup_seconds != 0


def _deduplicates(can: Capabilities) -> bool:
    return can.dedup_seconds != 0


_DAY = date(2026, 11, 20)
_BASES = {
    "by-oneself": CorrectionBasis(CorrectionKind.SELF, _DAY),
    "by-instruction": CorrectionBasis(CorrectionKind.INSTRUCTION, _DAY, "77-15/0001"),
}


def _corrections() -> dict[str, Receipt]:
    """Of a sale in each format and, where the format knows it, of a refund; by oneself and by instruction."""
    corrected = _receipt(_MUG, taxation=Taxation.OSN, customer=Customer(), internet=False)
    return {
        f"correction-of-{what}-{how}-ffd-{ffd.value}": replace(
            corrected, operation=operation, ffd=ffd, correction=basis
        )
        for ffd in FfdVersion
        for what, operation in (("a-sale", Operation.SELL), ("a-refund", Operation.SELL_REFUND))
        for how, basis in _BASES.items()
        if ffd is FfdVersion.V1_2 or not operation.is_refund
    }


def _made(name: str, receipt: Receipt, needs: Callable[[Capabilities], bool]) -> Scenario:
    return Scenario(
        name,
        "submit",
        "this receipt leaves digit by digit as in its golden file, and is taken",
        IN_HAND,
        receipt,
        after=frozenset({Happening.FISCALIZED, Happening.ACCEPTED}),
        needs=needs,
        always=True,
        makes=True,
        golden=name,
    )


def _cannot(name: str, receipt: Receipt, needs: Callable[[Capabilities], bool]) -> Scenario:
    return Scenario(
        f"{name}-undeclared",
        "submit",
        "what the capabilities do not declare is refused (payload_not_supported) before a byte leaves, never dropped",
        FINAL,
        receipt,
        needs=needs,
        always=True,
        refused_before_sending=True,
    )


_MARKED = _receipt(
    _line(
        "Молоко",
        10_001,
        "1",
        10_001,
        payment_object=PaymentObject.COMMODITY_WITH_MARKING,
        vat=VatRate.VAT10,
        marking=MarkingCode("010460780959150821sSBmxTYIFT(eq\x1d93dGVz", state=1),
    ),
    taxation=Taxation.OSN,
)
_FOR_ANOTHER = _receipt(
    _line(
        "Урок",
        50_000,
        "1",
        50_000,
        agent=Agent(AgentType.ANOTHER, "7700000009", "ООО Поставщик", ("+74950000000",)),
    )
)

_MAKING: tuple[Scenario, ...] = (
    *(_made(name, receipt, _needs_operation(receipt.operation)) for name, receipt in MAKES.items()),
    *(
        _made(f"sale-ffd-{ffd.value}", replace(SALE, ffd=ffd), _needs_format(ffd))
        for ffd in FfdVersion
        if ffd is not SALE.ffd
    ),
    *(_made(name, receipt, _needs_correction(receipt.ffd)) for name, receipt in _corrections().items()),
    _made("sale-of-marked-goods", _MARKED, lambda can: can.marking),
    _made("sale-for-a-principal", _FOR_ANOTHER, lambda can: can.agents),
)

_UNDECLARED: tuple[Scenario, ...] = (
    *(
        _cannot(name, replace(SALE, operation=operation), _lacks_operation(operation))
        for name, operation in (("buy", Operation.BUY), ("buy-refund", Operation.BUY_REFUND))
    ),
    *(
        _cannot(
            f"correction-ffd-{ffd.value}",
            _corrections()[f"correction-of-a-sale-by-instruction-ffd-{ffd.value}"],
            _lacks_correction(ffd),
        )
        for ffd in FfdVersion
    ),
    _cannot("marking", _MARKED, lambda can: not can.marking),
    _cannot("agent", _FOR_ANOTHER, lambda can: not can.agents),
)

_CYRILLIC_1251 = '{"сообщение":"Сервис временно недоступен","status":"ошибка"}'.encode("cp1251")
_PAGE = Answer(200, "<!doctype html><title>Welcome to nginx!</title>", {"Content-Type": "text/html"})
_ECHO = "Чек для buyer@example.org не принят"

WORLD: dict[str, Answer | Cut] = {
    "lost-reply": Cut.LOST,
    "half-reply": Cut.HALF,
    "slow-past-the-deadline": Cut.SILENT,
    "server-error": Answer(500, "Internal Server Error"),
    "bad-gateway": Answer(502, "<html><h1>502 Bad Gateway</h1></html>", {"Content-Type": "text/html"}),
    "overloaded": Answer(503, b"", {"Retry-After": "30"}),
    "gateway-timeout": Answer(504, b""),
    "garbage": Answer(200, b"\x00\xff{]"),
    "html-page-with-200": _PAGE,
    "empty-200": Answer(200),
    "empty-object": Answer(200, {}),
    "null": Answer(200, b"null"),
    "a-list": Answer(200, []),
    "no-content": Answer(204),
    "bottomless-json": Answer(200, b"[" * 100_000),
    "wrong-charset": Answer(200, _CYRILLIC_1251, {"Content-Type": "application/json; charset=utf-8"}),
    "unheard-of-charset": Answer(200, _CYRILLIC_1251, {"Content-Type": "application/json; charset=klingon-8"}),
    "ten-mebibytes": Answer(200, b'{"a":"' + b"a" * (10 << 20) + b'"}'),
    "redirect": Answer(302, b"", {"Location": "/elsewhere"}),
    "redirect-that-keeps-the-method": Answer(307, b"", {"Location": "/elsewhere"}),
    "somebody-elses-400": Answer(400, "<h1>Bad Request</h1>", {"Content-Type": "text/html"}),
    "unheard-of-http-status": Answer(418, b"{}"),
    "an-error-that-repeats-the-buyer": Answer(500, {"error": _ECHO, "message": _ECHO, "text": _ECHO}),
}
"""What the world does to every provider alike, at the decisive request of any call. Nothing of it proves anything."""

_WORLD: tuple[Scenario, ...] = (
    *(
        Scenario(
            name,
            "submit",
            "the receipt may have been printed: unknown, neither final nor to be sent again as if nothing happened",
            MAY_BE,
            SALE,
            happens_to=event,
            after=frozenset({Happening.UNKNOWN, Happening.UNDECIDABLE}),
            always=True,
        )
        for name, event in WORLD.items()
    ),
    *(
        Scenario(
            f"{call}-{name}",
            call,
            "a question that failed proves nothing: neither that the receipt is there nor that it is not",
            NO_WISER,
            SALE,
            happens_to=event,
            after=frozenset({Happening.CANNOT_TELL, Happening.UNKNOWN}),
            needs=_looks_up if call == "lookup" else lambda _: True,
            always=True,
        )
        for call in ("poll", "lookup")
        for name, event in ({"no-connection": Cut.REFUSED} | WORLD).items()
    ),
    *(
        Scenario(
            name,
            "submit",
            "no byte of the receipt left: certainly not registered, so the same id may be sent later",
            CERTAINLY_NOT,
            SALE,
            happens_to=event,
            after=frozenset({Happening.UNAVAILABLE}),
            always=True,
        )
        for name, event in (("dropped-before", Cut.REFUSED), ("not-fresh", Cut.STALE))
    ),
)

_SPOKEN: tuple[Scenario, ...] = (
    Scenario(
        "refused",
        "submit",
        "the provider's own final refusal is final, with a cause that says who acts",
        FINAL,
        SALE,
        after=frozenset({Happening.REJECTED}),
    ),
    Scenario(
        "unknown-refusal",
        "submit",
        "an error of the provider's own form whose code is in no table is not final",
        MAY_BE,
        SALE,
        after=frozenset({Happening.UNKNOWN, Happening.UNDECIDABLE}),
        always=True,
    ),
    Scenario(
        "credentials-refused",
        "submit",
        "wrong or withdrawn credentials: certainly not registered, and the whole kassa waits for a person",
        CERTAINLY_NOT,
        SALE,
        after=frozenset({Happening.UNAVAILABLE}),
        always=True,
    ),
    Scenario(
        "auth-expired",
        "submit",
        "a token that ran out is dropped: the receipt is sent once more with a fresh one, or waits; it is not refused",
        CERTAINLY_NOT | IN_HAND,
        SALE,
    ),
    Scenario(
        "rate-limited",
        "submit",
        "too many requests: not registered, come back later; never a refusal",
        CERTAINLY_NOT | MAY_BE,
        SALE,
    ),
    Scenario(
        "missing-fn",
        "submit",
        "a success without the number of the fiscal storage is no receipt yet",
        MAY_BE | frozenset({Accepted}),
        SALE,
    ),
    Scenario(
        "duplicate",
        "submit",
        "the id stands there already: what stands there counts, and it is not refused",
        IN_HAND | MAY_BE,
        SALE,
        needs=_deduplicates,
        always=True,
    ),
    Scenario(
        "sent-again",
        "submit",
        "a repeat under one id has the same body to the digit, or the provider takes it for another receipt",
        IN_HAND,
        SALE,
        after=frozenset({Happening.FISCALIZED, Happening.ACCEPTED}),
        needs=_deduplicates,
        always=True,
        resend=True,
    ),
    Scenario(
        "done",
        "poll",
        "printed: fiscal storage, document and sign as the provider told them, time in UTC",
        frozenset({Fiscalized}),
        SALE,
        after=frozenset({Happening.FISCALIZED}),
        always=True,
    ),
    Scenario(
        "not-ready",
        "poll",
        "still in the provider's queue",
        frozenset({Pending, Accepted}),
        SALE,
        after=frozenset({Happening.PENDING, Happening.ACCEPTED}),
    ),
    Scenario("refused-later", "poll", "accepted, then refused for good", FINAL, SALE),
    Scenario(
        "poll-unknown-status",
        "poll",
        "a state that is in no table is neither success nor refusal",
        NO_WISER | frozenset({Pending}),
        SALE,
        always=True,
    ),
    Scenario(
        "poll-missing-fn",
        "poll",
        "a success without the number of the fiscal storage is no receipt yet",
        NO_WISER | frozenset({Pending}),
        SALE,
        always=True,
    ),
    Scenario(
        "poll-auth-expired",
        "poll",
        "the question is repeated with a fresh token, or fails; it proves nothing",
        NO_WISER | frozenset({Fiscalized, Pending}),
        SALE,
    ),
    Scenario(
        "poll-other-total",
        "poll",
        "another sum than the one we asked for is never adopted silently: the service sees a mismatch",
        frozenset({Fiscalized}),
        SALE,
        after=frozenset({Happening.MISMATCH}),
    ),
    Scenario(
        "found",
        "lookup",
        "the document under our id, with all that makes it one",
        frozenset({Fiscalized}),
        SALE,
        after=frozenset({Happening.FISCALIZED}),
        needs=_looks_up,
        always=True,
    ),
    Scenario(
        "absent",
        "lookup",
        "not there, with a proof that this is not merely a wrong group or a stale copy",
        frozenset({NotFound}),
        SALE,
        after=frozenset({Happening.NOT_FOUND}),
        needs=_looks_up,
        always=True,
    ),
    Scenario(
        "absent-or-another-group",
        "lookup",
        "the same answer where the group or the credentials are not ours proves nothing",
        NO_WISER,
        SALE,
        after=frozenset({Happening.CANNOT_TELL, Happening.UNKNOWN}),
        needs=_looks_up,
    ),
    Scenario(
        "found-other-total",
        "lookup",
        "another sum than the one we asked for is never adopted silently: the service sees a mismatch",
        frozenset({Fiscalized}),
        SALE,
        after=frozenset({Happening.MISMATCH}),
        needs=_looks_up,
    ),
    Scenario(
        "no-look-up",
        "lookup",
        "a provider that cannot be asked by our id is not asked: the answer proves nothing and no byte leaves",
        frozenset({CannotTell}),
        SALE,
        needs=lambda can: not _looks_up(can),
        always=True,
        refused_before_sending=True,
    ),
)

SCENARIOS: dict[str, Scenario] = {one.name: one for one in (*_MAKING, *_UNDECLARED, *_WORLD, *_SPOKEN)}
