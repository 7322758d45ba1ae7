"""Signed notifications of CloudPayments about payments and refunds, one address per kind of notice.

Developers' page as of 2026-11 (fields sent since 2026-05-27). A notice does not name its kind, so the last segment of
the address does; amounts are roubles with a dot, times are UTC.
"""

import base64
import hmac
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, Literal
from urllib.parse import parse_qsl, unquote_to_bytes

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from app.acquirers.cloudpayments import customer_receipt
from app.acquirers.cloudpayments.wire import money, read_json, text, word
from app.domain.contact import mask_contacts
from app.domain.event import EventItem, EventPayment, EventType, PaymentEvent
from app.ports.inbound import InboundReply, InboundRequest
from app.ports.source import (
    Parsed,
    Passive,
    ReadBackFailed,
    SourceCapabilities,
    SourceContext,
    Verdict,
    VerifyResult,
)

PARTS: Final = {
    "check": "before the payment; answered at once, best left switched off: an error here declines the payment",
    "pay": "money taken (one stage) or held (two stages)",
    "confirm": "held money taken",
    "refund": "money returned, in full or in part",
    "cancel": "hold released; no receipt",
    "fail": "payment declined; no receipt",
    "recurrent": "subscription changed; no receipt",
    "receipt": "a receipt made by CloudKassir itself; not ours",
}
_EVENTFUL: Final = ("pay", "confirm", "refund")
_MAX_FIELDS = 500


class Credentials(BaseModel):
    """The site's pair from the CloudPayments cabinet."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    public_id: str = Field(min_length=1, title="Public ID")
    api_secret: SecretStr = Field(min_length=1, title="Пароль для API")


class Settings(BaseModel):
    """What the notifications do not say."""

    model_config = ConfigDict(extra="forbid")

    acquirer_fiscalizes: bool = Field(
        description="CloudKassir of this site makes receipts itself; then none are made here, or the buyer gets two."
    )
    items_from_data: bool = Field(
        default=True,
        description="Take the lines from CustomerReceipt. The widget runs in the buyer's browser: switch it off where "
        "names and VAT must not come from there.",
    )
    settlement_key: Literal["none", "order_id"] = Field(
        default="none",
        description="order_id: the same InvoiceId reported by a CRM is the same money. Only where an order is paid "
        "by one payment.",
    )


class _Unreadable(Exception):
    """A genuine notice that cannot become an event; a person must see it, for money moved."""


class CloudPaymentsAdapter(Passive):
    """Verifies and translates; the notices carry all that is needed, so nothing is asked of the API.

    Every notice is repeated for two days until it is taken, and there is no place for another's receipt.
    """

    code: ClassVar[str] = "cloudpayments"
    title: ClassVar[str] = "CloudPayments"
    docs_url: ClassVar[str] = "https://developers.cloudpayments.ru/"
    default_base_url: ClassVar[str | None] = "https://api.cloudpayments.ru"
    Credentials: ClassVar[type[BaseModel]] = Credentials
    Settings: ClassVar[type[BaseModel]] = Settings
    capabilities: ClassVar[SourceCapabilities] = SourceCapabilities(parts=PARTS, may_fiscalize=True)

    def verify(self, request: InboundRequest, credentials: Any, settings: Any) -> VerifyResult:
        """`Content-HMAC` signs the text as sent, `X-Content-HMAC` the same text decoded; one match is enough."""
        secret = credentials.api_secret.get_secret_value().encode()
        if not secret.strip():
            return Verdict.Forged("no API secret is configured for this source")
        sent = request.query.encode() if _is_get(request) else request.body
        plain = sent if _is_json(request) else unquote_to_bytes(sent.replace(b"+", b" "))
        given = [
            (signature.strip().encode(), signed)
            for signature, signed in (
                (request.headers.get("content-hmac", ""), sent),
                (request.headers.get("x-content-hmac", ""), plain),
            )
            if signature.strip()
        ]
        if not given:
            return Verdict.Forged("neither Content-HMAC nor X-Content-HMAC was sent")
        matches = [hmac.compare_digest(signature, _hmac(secret, signed)) for signature, signed in given]
        return Verdict.Genuine() if any(matches) else Verdict.Forged("the signature is not of this site's API secret")

    def reply(self, request: InboundRequest, *, stored: bool) -> InboundReply:
        """`{"code":0}` is "received"; any other code brings the notice again, up to 100 times.

        Check is always answered 0: it moves no money, and anything else would decline the buyer's payment.
        """
        if stored or _kind(request) == "check":
            return InboundReply(200, b'{"code":0}', "application/json")
        return InboundReply(503, b'{"code":13}', "application/json")

    async def parse(self, request: InboundRequest, context: SourceContext) -> Parsed | ReadBackFailed:
        """Events of one notice. What is genuine and yet unreadable is a final failure, never silence."""
        kind = _kind(request)
        if kind not in PARTS:
            return Parsed(note=f"CloudPayments has no notice {kind[:40]!r}; known: {', '.join(PARTS)}")
        if kind not in _EVENTFUL:
            return Parsed(note=f"{kind}: {PARTS[kind]}")
        warnings: list[str] = []
        try:
            fields = _fields(request, warnings)
            if kind == "refund":
                return _refund(fields, context.settings, warnings)
            return _payment(fields, context.settings, warnings, confirmed=kind == "confirm")
        except _Unreadable as error:
            return ReadBackFailed(f"{kind}: {error}", final=True)


def _hmac(secret: bytes, signed: bytes) -> bytes:
    return base64.b64encode(hmac.digest(secret, signed, "sha256"))


def _kind(request: InboundRequest) -> str:
    return request.part.strip("/").rpartition("/")[2].lower()


def _is_get(request: InboundRequest) -> bool:
    return request.method.upper() == "GET"


def _is_json(request: InboundRequest) -> bool:
    return not _is_get(request) and "json" in request.headers.get("content-type", "").lower()


def _fields(request: InboundRequest, warnings: list[str]) -> dict[str, Any]:
    """The notice's members under lower-case names, in whichever encoding the cabinet was set to."""
    raw = request.query.encode() if _is_get(request) else request.body
    for encoding in ("utf-8", "cp1251"):
        try:
            fields = _members(raw, encoding, as_json=_is_json(request))
        except UnicodeDecodeError:
            continue
        except (ValueError, RecursionError) as error:
            raise _Unreadable(f"the body cannot be read ({type(error).__name__})") from None
        if encoding != "utf-8":
            warnings.append("the notice is in Windows-1251; set the encoding to UTF-8 in the cabinet")
        return fields
    raise _Unreadable("the body is in no known encoding; set it to UTF-8 in the cabinet")


def _members(raw: bytes, encoding: str, *, as_json: bool) -> dict[str, Any]:
    """A name that came with two values is refused: nobody can tell which of them was meant."""
    body = raw.decode(encoding)
    if as_json:
        found = read_json(body)
        if not isinstance(found, dict):
            raise _Unreadable("the body is not a JSON object")
        return found
    fields: dict[str, Any] = {}
    for name, value in parse_qsl(
        body, keep_blank_values=True, encoding=encoding, errors="strict", max_num_fields=_MAX_FIELDS
    ):
        if fields.setdefault(name.lower(), value) != value:
            raise _Unreadable(f"the field {word(name)} came twice with different values")
    return fields


def _payment(fields: dict[str, Any], settings: Settings, warnings: list[str], *, confirmed: bool) -> Parsed:
    """Pay of one stage and Confirm of two stages are the same payment: one TransactionId, one identity."""
    # The document lists no OperationType for Confirm; that notice itself says that money was taken.
    for name, wanted in (("Status", "completed"), ("OperationType", "payment")):
        found = word(fields.get(name.lower()))
        if not found and not confirmed:
            raise _Unreadable(f"{name} is missing")
        if found and found != wanted:
            return Parsed(note=f"{name} is {found}: no money of a buyer was taken")
    if not text(fields.get("currency")):
        raise _Unreadable("Currency is missing")
    order_id = text(fields.get("invoiceid")) or None
    return _event(
        fields,
        settings,
        warnings,
        type=EventType.PAYMENT_SUCCEEDED,
        order_id=order_id,
        settlement_key=order_id if settings.settlement_key == "order_id" else None,
        test=word(fields.get("testmode")) in ("1", "true"),
    )


def _refund(fields: dict[str, Any], settings: Settings, warnings: list[str]) -> Parsed:
    """Each refund has a TransactionId of its own; its Amount is the part returned."""
    operation = word(fields.get("operationtype"))
    if not operation:
        raise _Unreadable("OperationType is missing")
    if operation != "refund":
        return Parsed(note=f"OperationType is {operation}: nothing was returned to a buyer")
    return _event(
        fields,
        settings,
        warnings,
        type=EventType.REFUND_SUCCEEDED,
        order_id=text(fields.get("invoiceid")) or None,
        payment_id=_id(fields, "PaymentTransactionId"),
    )


def _event(fields: dict[str, Any], settings: Settings, warnings: list[str], **known: Any) -> Parsed:
    amount = _amount(fields)
    receipt = customer_receipt.find(fields.get("data"), warnings)
    items: tuple[EventItem, ...] = ()
    payments: tuple[EventPayment, ...] = ()
    if receipt and settings.items_from_data:
        items, payments = customer_receipt.lines(receipt, amount, warnings)
    if known["type"] is EventType.REFUND_SUCCEEDED and sum(item.amount for item in items) != amount:
        # The notice of a partial refund repeats the data of its payment: those lines are not what was returned.
        items, payments = (), ()
    if receipt and not settings.acquirer_fiscalizes:
        warnings.append("the shop sends CustomerReceipt to CloudPayments: make sure that CloudKassir is switched off")
    event = PaymentEvent(
        external_id=_id(fields, "TransactionId"),
        amount=amount,
        occurred_at=_moment(fields.get("datetime"), warnings),
        customer=customer_receipt.customer(receipt, text(fields.get("email")), warnings),
        items=items,
        items_origin="event" if items else None,
        payments=payments,
        taxation=customer_receipt.taxation(receipt, warnings) if items else None,
        description=text(fields.get("description")) or None,
        metadata=_metadata(fields),
        **known,
    )
    return Parsed(events=(event,), warnings=tuple(warnings))


def _amount(fields: dict[str, Any]) -> int:
    """Amount in kopecks. Receipts are in roubles (54-FZ): another currency is for a person. Refund names none."""
    currency = word(fields.get("currency")).upper() or "RUB"
    if currency != "RUB":
        raise _Unreadable(f"the sum is in {currency}; receipts are made in roubles")
    try:
        amount = money(fields.get("amount"))
    except ValueError as error:
        raise _Unreadable(f"Amount: {error}") from None
    if amount <= 0:
        raise _Unreadable("Amount is not above zero")
    return amount


def _id(fields: dict[str, Any], name: str) -> str:
    value = text(fields.get(name.lower()))
    if not (value.isascii() and value.isdigit() and len(value) <= 20):
        raise _Unreadable(f"{name} is not a number")
    return value


def _moment(value: Any, warnings: list[str]) -> datetime:
    try:
        moment = datetime.fromisoformat(text(value))
    except ValueError:
        warnings.append("DateTime cannot be read; the time of processing stands in its place")
        return datetime.now(UTC)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _metadata(fields: dict[str, Any]) -> dict[str, object]:
    """What helps to recognise the payer and the way of paying; card data stays where it came from."""
    told = {
        name: text(fields.get(name.replace("_", ""))) for name in ("account_id", "subscription_id", "payment_method")
    }
    # Shops use e-mails and phones as account ids; metadata is kept in the open, so contacts stay out of it.
    return {name: value for name, value in told.items() if value and mask_contacts(value) == value}
