"""What CloudPayments puts on the wire: published signature recipe worked out by hand, and one notice of every kind."""

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import unquote_plus, urlencode

from app.domain.event import EventType
from app.ports.inbound import InboundReply, InboundRequest
from tests.contract.source_scenarios import Shown

SECRET = "test_api_secret_0001"
FORM = "application/x-www-form-urlencoded; charset=utf-8"
JSON = "application/json"

VECTOR_FORM = (
    b"TransactionId=455&Amount=1990.00&Currency=RUB&DateTime=2026-11-23+08%3A15%3A00&Status=Completed"
    b"&InvoiceId=inv+42&Email=anna%40example.com&Data=%7B%22crm%22%3A%22a%2Bb%22%7D"
)
VECTOR_FORM_HMAC = "tpBTS1d/Pvvmtv8coijTu0MyB7gKGkyZDaa86lH5weI="
VECTOR_FORM_X_HMAC = "N/5l2a4PelkG+RnWNJnhyFoQ3u0ru3i6H9A+vyNF4y8="
VECTOR_JSON = b'{"TransactionId":455,"Amount":1990.00,"Currency":"RUB","InvoiceId":"inv 42"}'
VECTOR_JSON_HMAC = "M2qhV2hoTyoEqRo44dgg32HgHYAqn/f3+9KG12+xZX4="

CUSTOMER_RECEIPT: dict[str, Any] = {
    "Items": [
        {
            "label": "Абонемент «8 занятий»",
            "price": 1990.00,
            "quantity": 1.00,
            "amount": 1990.00,
            "vat": None,
            "method": 1,
            "object": 4,
            "measurementUnit": "шт",
        }
    ],
    "taxationSystem": 1,
    "email": "anna@example.org",
    "phone": "8 (999) 000-00-00",
    "customerInfo": "Анна Примерова",
    "amounts": {"electronic": 1990.00, "advancePayment": 0, "credit": 0, "provision": 0},
}

PAY: dict[str, Any] = {
    "TransactionId": "455",
    "Amount": "1990.00",
    "Currency": "RUB",
    "PaymentAmount": "1990.00",
    "PaymentCurrency": "RUB",
    "DateTime": "2026-11-23 08:15:00",
    "CardId": "card_made_up",
    "CardFirstSix": "400000",
    "CardLastFour": "0002",
    "CardType": "Visa",
    "CardExpDate": "12/29",
    "TestMode": "0",
    "Status": "Completed",
    "OperationType": "Payment",
    "GatewayName": "Test",
    "InvoiceId": "inv 42",
    "AccountId": "user-7",
    "SubscriptionId": "sc_1",
    "Name": "ANNA EXAMPLE",
    "Email": "anna@example.org",
    "IpAddress": "192.0.2.7",
    "Description": "Абонемент",
    "AuthCode": "A1B2C3",
    "Token": "tk_made_up",
    "TotalFee": "39.80",
    "Data": {"CloudPayments": {"CustomerReceipt": CUSTOMER_RECEIPT}},
}
"""Of one stage: money taken at once."""

HOLD = PAY | {"Status": "Authorized"}
CONFIRM = {name: value for name, value in PAY.items() if name not in ("OperationType", "GatewayName", "TotalFee")}

REFUND: dict[str, Any] = {
    "TransactionId": "501",
    "PaymentTransactionId": "455",
    "Amount": "500.50",
    "DateTime": "2026-11-24 10:00:00",
    "OperationType": "Refund",
    "InvoiceId": "inv 42",
    "AccountId": "user-7",
    "Email": "anna@example.org",
    "Rrn": "123456789012",
}
CANCEL = {name: PAY[name] for name in ("TransactionId", "Amount", "DateTime", "InvoiceId", "AccountId", "Email")}
FAIL = PAY | {"Status": "Declined", "Reason": "InsufficientFunds", "ReasonCode": "5051", "RetryAfter": "60"}
RECURRENT = {"Id": "sc_1", "AccountId": "user-7", "Status": "Active", "Amount": "1990.00", "Currency": "RUB"}
RECEIPT = {"Id": "aB3dE9f", "DocumentNumber": "12", "FiscalSign": "3456789012", "TransactionId": "455"}


def form(fields: dict[str, Any]) -> bytes:
    """As the cabinet's default sends it: flat, with Data as JSON text."""
    flat = {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
        for name, value in fields.items()
    }
    return urlencode(flat).encode()


def as_json(fields: dict[str, Any]) -> bytes:
    """As the cabinet's JSON format sends it: numbers are numbers, Data is an object."""
    numbers = {"Amount", "PaymentAmount", "TotalFee"}
    text = json.dumps(
        {n: int(v) if n.endswith("TransactionId") or n == "TestMode" else v for n, v in fields.items()},
        ensure_ascii=False,
    )
    for name in numbers & fields.keys():
        text = text.replace(f'"{name}": "{fields[name]}"', f'"{name}": {fields[name]}')
    return text.encode()


def signed(message: bytes, *, decoded: bool = True) -> dict[str, str]:
    """Both headers over a body or a query string."""
    plain = unquote_plus(message.decode()).encode() if decoded else message
    return {"content-hmac": digest(message), "x-content-hmac": digest(plain)}


def digest(message: bytes, secret: str = SECRET) -> str:
    return base64.b64encode(hmac.new(secret.encode(), message, hashlib.sha256).digest()).decode()


def _post(part: str, fields: dict[str, Any], headers: dict[str, str] | None = None) -> InboundRequest:
    body = form(fields)
    return InboundRequest(
        "POST", part, "", {"content-type": FORM} | (signed(body) if headers is None else headers), body
    )


SHOWN = Shown(
    credentials={"public_id": "pk_made_up", "api_secret": SECRET},
    secrets=("api_secret",),
    settings={"acquirer_fiscalizes": False},
    good=_post("pay", PAY),
    event=(EventType.PAYMENT_SUCCEEDED, PAY["TransactionId"], 199_000),
    unknown=_post("unheard_of", PAY),
    reply=InboundReply(200, b'{"code":0}', "application/json"),
    forged=(
        _post("pay", PAY, {}),
        _post("pay", PAY, signed(form(PAY | {"Amount": "1.00"}))),
        _post("pay", PAY, {"content-hmac": digest(form(PAY), "another secret")}),
    ),
    lacks={
        "read-back-refused": "A notice carries all that is needed, so nothing is read back.",
        "read-back-differs": "A notice carries all that is needed, so nothing is read back.",
    },
)
