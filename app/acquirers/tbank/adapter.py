"""Signed notifications of T-Bank («Т‑Касса») about one terminal (T-Bank API v1.80, «Уведомления об операциях»).

Sums are kopecks, and a notice tells no time: it happened when we heard of it. The bank lists no payments, so there is
no poll; all answers but HTTP 200 with the body `OK` bring a notice again, each hour of a day (the shorter of the two
periods that the document names).
"""

from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from pydantic import BaseModel

from app.acquirers.tbank import refunds
from app.acquirers.tbank.client import NotRead, state
from app.acquirers.tbank.config import Credentials, Settings
from app.acquirers.tbank.token import matches
from app.domain.contact import mask_contacts
from app.domain.event import EventType, PaymentEvent
from app.domain.receipt import Customer
from app.infra.contacts import normalize_email, normalize_phone
from app.infra.foreign_json import one_line, read_object
from app.ports.inbound import InboundReply, InboundRequest
from app.ports.source import (
    Alarm,
    Parsed,
    Passive,
    ReadBackFailed,
    SourceCapabilities,
    SourceContext,
    Verdict,
    VerifyResult,
)

NO_MONEY: Final = {
    "NEW": "a payment was opened",
    "FORM_SHOWED": "the form was shown",
    "AUTHORIZING": "on the way",
    "3DS_CHECKING": "on the way",
    "3DS_CHECKED": "on the way",
    "AUTHORIZED": "money is held, not taken",
    "CONFIRMING": "on the way",
    "REVERSING": "on the way",
    "REVERSED": "the hold was released",
    "PARTIAL_REVERSED": "a part of the hold was released; CONFIRMED will tell the rest",
    "REFUNDING": "on the way",
    "ASYNC_REFUNDING": "on the way",
    "CANCELED": "nothing was taken",
    "REJECTED": "nothing was taken",
    "AUTH_FAIL": "nothing was taken",
    "DEADLINE_EXPIRED": "nothing was taken",
    "ATTEMPTS_EXPIRED": "nothing was taken",
    "COMPLETED": "a card was bound",
    "ACTIVE": "an account was bound",
    "INACTIVE": "an account was not bound",
}
_MAX_KOPECKS: Final = 10**12


class _Unreadable(Exception):
    """A genuine notice that cannot become an event; a person must see it, for money moved."""


class TBankAdapter(Passive):
    """Believes what the terminal's password signs; refunds are read back besides, for their notices tell too little."""

    code: ClassVar[str] = "tbank"
    title: ClassVar[str] = "Т‑Банк (Т‑Касса)"
    docs_url: ClassVar[str] = "https://www.tbank.ru/kassa/dev/payments/"
    default_base_url: ClassVar[str | None] = "https://securepay.tinkoff.ru/v2"
    Credentials: ClassVar[type[BaseModel]] = Credentials
    Settings: ClassVar[type[BaseModel]] = Settings
    capabilities: ClassVar[SourceCapabilities] = SourceCapabilities(
        parts={"notify": "every notification of the terminal: payments, refunds, bindings, the bank's own receipts"},
        reads_back=True,
        may_fiscalize=True,
    )

    def verify(self, request: InboundRequest, credentials: Any, settings: Any) -> VerifyResult:
        """The token is checked over the numbers as they were written; nested objects are signed by nobody."""
        password = credentials.password.get_secret_value()
        if not password.strip():
            return Verdict.Forged("no password is configured for this terminal")
        try:
            members = read_object(request.body, numbers_as_text=True)
        except ValueError as error:
            return Verdict.Forged(f"the body cannot be read: {error}")
        if "Token" not in members:
            return Verdict.Forged("no Token was sent")
        if not matches(members, password):
            return Verdict.Forged("the token is not of this terminal's password")
        if members.get("TerminalKey") != credentials.terminal_key:
            return Verdict.Forged("the notice is of another terminal")
        return Verdict.Genuine()

    def reply(self, request: InboundRequest, *, stored: bool) -> InboundReply:
        """The bank takes two letters, without quotes, for "received"."""
        return InboundReply(200, b"OK") if stored else InboundReply(503, b"NOT STORED")

    async def parse(self, request: InboundRequest, context: SourceContext) -> Parsed | ReadBackFailed:
        """Events of one notice. What is genuine and yet unreadable is a final failure, never silence."""
        try:
            notice = read_object(request.body, numbers_as_text=True)
            status = one_line(notice.get("Status"))[:40].upper()
            if note := _nothing(notice, status):
                return Parsed(note=note)
            if status == "RECEIPT":
                return _receipt(notice, context.settings)
            if status == "CONFIRMED":
                return _payment(notice, context)
            return await _refund(notice, status, context)
        except ValueError as error:
            return ReadBackFailed(f"the body cannot be read: {error}", final=True)
        except _Unreadable as error:
            return ReadBackFailed(str(error), final=True)
        except NotRead as error:
            return ReadBackFailed(str(error))


def _nothing(notice: dict[str, Any], status: str) -> str | None:
    """Why a notice tells of no money; None when it does, or tells of a receipt."""
    if one_line(notice.get("NotificationType")) or "RequestKey" in notice:
        return f"a binding of a card or account ({status or 'no status'}): no money was taken"
    if status in NO_MONEY:
        return f"{status}: {NO_MONEY[status]}"
    if status not in ("CONFIRMED", "RECEIPT", *refunds.REFUNDS):
        return f"T-Bank has no status {status!r} that this program knows"
    if status != "RECEIPT" and notice.get("Success") is not True:
        return f"{status} without success (code {one_line(notice.get('ErrorCode'))[:20]}): no money moved"
    return None


def _payment(notice: dict[str, Any], context: SourceContext) -> Parsed:
    warnings: list[str] = []
    amount = _kopecks(notice)
    if amount <= 0:
        raise _Unreadable("CONFIRMED: Amount is not above zero")
    order_id = one_line(notice.get("OrderId")) or None
    event = PaymentEvent(
        type=EventType.PAYMENT_SUCCEEDED,
        external_id=_payment_id(notice),
        amount=amount,
        occurred_at=datetime.now(UTC),
        order_id=order_id,
        customer=_customer(notice, warnings) if context.settings.contact_from_data else Customer(),
        metadata=_metadata(notice),
        test=context.credentials.test,
    )
    return Parsed(events=(event,), warnings=tuple(warnings))


async def _refund(notice: dict[str, Any], status: str, context: SourceContext) -> Parsed | ReadBackFailed:
    """A refund by its level, so that order and repeats do not matter (see `refunds`)."""
    payment_id, amount = _payment_id(notice), _kopecks(notice)
    read = await state(context, payment_id)
    found = refunds.claim(status, amount, read, context.settings.partial_refunds)
    match found:
        case refunds.NotYet(status=now):
            return ReadBackFailed(f"the notice says {status}, and the bank's API still says {now}")
        case refunds.AskPerson():
            return _asked(payment_id, status, amount, found)
    warnings = [] if read.status == status else [f"the notice says {status}, the bank's API {read.status}: it counts"]
    if isinstance(found, refunds.Returned):
        warnings.append("another partial refund of this payment with the same sum would be taken for a repeat")
    event = PaymentEvent(
        type=EventType.REFUND_SUCCEEDED,
        external_id=f"{payment_id}:{found.key}",
        amount=found.amount if isinstance(found, refunds.Returned) else 0,
        left_after=found.amount if isinstance(found, refunds.Left) else None,
        occurred_at=datetime.now(UTC),
        payment_id=payment_id,
        order_id=one_line(notice.get("OrderId")) or None,
        test=context.credentials.test,
    )
    return Parsed(events=(event,), warnings=tuple(warnings))


def _asked(payment_id: str, status: str, amount: int, why: refunds.AskPerson) -> Parsed:
    """Told once for each sum: a second refund of the payment is a second question."""
    alarm = Alarm(
        EventType.PAYMENT_SUCCEEDED,
        payment_id,
        f"refund_unclear_{status.lower()}_{amount}",
        f"T-Bank reports a refund of this payment ({status}, Amount {amount} kopecks): {why.reason}. Look the sum up "
        "in the bank's cabinet and make the refund by hand.",
        f"Т‑Банк сообщил о возврате по этому платежу ({status}, Amount {amount} коп.): {why.reason_ru}. Посмотрите "
        "сумму в кабинете банка и оформите возврат вручную.",
    )
    return Parsed(note=alarm.reason, alarms=(alarm,))


def _receipt(notice: dict[str, Any], settings: Settings) -> Parsed:
    """A receipt of the bank's own till: the second one for the same money or, where it is wanted, one that failed."""
    payment_id, done = _payment_id(notice), notice.get("Success") is True
    if done and settings.acquirer_fiscalizes:
        return Parsed(note="RECEIPT: the bank's till made the receipt, as this source's settings say")
    if not done and not settings.acquirer_fiscalizes:
        return Parsed(note="RECEIPT without success: the bank's till made no receipt")
    if done:
        alarm = Alarm(
            EventType.PAYMENT_SUCCEEDED,
            payment_id,
            "fiscalized_twice",
            "T-Bank's own till made a receipt of this payment, and so do we: the buyer gets two. Switch one of them "
            "off, and undo the second receipt by a correction.",
            "Касса, подключённая в Т‑Банке, сама пробила чек по этому платежу, и мы тоже: покупатель получит два чека. "
            "Отключите одну из касс и исправьте второй чек коррекцией.",
        )
    else:
        alarm = Alarm(
            EventType.PAYMENT_SUCCEEDED,
            payment_id,
            "acquirer_receipt_failed",
            "T-Bank's own till is to make the receipts of this terminal, and could not make this one "
            f"(code {one_line(notice.get('ErrorCode'))[:20]}). Make it in the bank's cabinet, or here by hand.",
            "Чеки этого терминала пробивает касса, подключённая в Т‑Банке, но этот чек она не пробила "
            f"(код {one_line(notice.get('ErrorCode'))[:20]}). Оформите его в кабинете банка или здесь вручную.",
        )
    return Parsed(note=f"RECEIPT: {alarm.reason}", alarms=(alarm,))


def _payment_id(notice: dict[str, Any]) -> str:
    value = one_line(notice.get("PaymentId"))
    if not (value.isascii() and value.isdigit() and len(value) <= 20):
        raise _Unreadable("PaymentId is no number")
    return value


def _kopecks(notice: dict[str, Any]) -> int:
    """Amount as it was written: a whole number of kopecks, perhaps with a dot and zeros."""
    digits, _, decimals = one_line(notice.get("Amount")).partition(".")
    if not (digits.isascii() and digits.isdigit()) or decimals.strip("0") or len(digits) > 15:
        raise _Unreadable("Amount is no whole number of kopecks")
    if int(digits) > _MAX_KOPECKS:
        raise _Unreadable("Amount is out of range")
    return int(digits)


def _customer(notice: dict[str, Any], warnings: list[str]) -> Customer:
    """From `Data`, which comes under this name although it is switched on as `DATA`."""
    data = notice.get("Data", notice.get("DATA"))
    told = {name.lower(): one_line(value) for name, value in data.items()} if isinstance(data, dict) else {}
    found: dict[str, str] = {}
    for name, normalize in (("email", normalize_email), ("phone", normalize_phone)):
        if told.get(name):
            try:
                found[name] = normalize(told[name])
            except ValueError as error:
                warnings.append(str(error))
    return Customer(found.get("email"), found.get("phone"), told.get("name") or None)


def _metadata(notice: dict[str, Any]) -> dict[str, object]:
    """The way of paying; card data stays where it came from."""
    data = notice.get("Data", notice.get("DATA"))
    source = one_line(data.get("Source", data.get("source"))) if isinstance(data, dict) else ""
    return {"payment_method": source[:40]} if source and mask_contacts(source) == source else {}
