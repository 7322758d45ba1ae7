"""What T-Bank puts on the wire: the document's own vector of the token, worked ones, and notices of every kind."""

import hashlib
import json
from typing import Any

from app.domain.event import EventType
from app.ports.inbound import InboundReply, InboundRequest
from tests.contract.source_scenarios import Shown

TERMINAL = "1700000000001DEMO"
LIVE_TERMINAL = "1700000000001"
PASSWORD = "made_up_password_1"
BASE = "https://securepay.tinkoff.test/v2"

PUBLISHED = (
    b'{"TerminalKey":"1321054611234DEMO","OrderId":"201709","Success":true,"Status":"AUTHORIZED","PaymentId":8742591,'
    b'"ErrorCode":"0","Amount":9855,"CardId":322264,"Pan":"430000******0777","ExpDate":"1122","RebillId":101709,'
    b'"Token":"b906d28e76c6428e37b25fcf86c0adc52c63d503013fdd632e300593d165766b"}'
)
PUBLISHED_PASSWORD = "Dfsfh56dgKl"

NOTICE: dict[str, Any] = {
    "TerminalKey": TERMINAL,
    "OrderId": "inv-42",
    "Success": True,
    "Status": "CONFIRMED",
    "PaymentId": 5551234567,
    "ErrorCode": "0",
    "Amount": 199000,
    "CardId": 10452089,
    "Pan": "430000******0777",
    "ExpDate": "1229",
    "Data": {"Source": "cards", "phone": "8 999 000-00-00", "email": "anna@example.org", "name": "Анна Примерова"},
}
WORKED = {
    "CONFIRMED": (199000, "d9ab7e25f8a29a8d7d8e3ec1aa7c1e3d0dfa84254322fc1a601d00c87f4a4c00"),
    "PARTIAL_REFUNDED": (50000, "70bcc0213a6fdf8aab4eef2247a8a9763a565b1d2847acdb7cd988c8e6ddbe66"),
}

RECEIPT: dict[str, Any] = {
    "TerminalKey": TERMINAL,
    "OrderId": "inv-42",
    "Success": True,
    "Status": "RECEIPT",
    "PaymentId": 5551234567,
    "ErrorCode": "0",
    "Amount": 199000,
    "FiscalNumber": 12,
    "ShiftNumber": 3,
    "ReceiptDatetime": "2026-11-23T11:16:00+03:00",
    "FnNumber": "9999078902000001",
    "EcrRegNumber": "0000000001012345",
    "FiscalDocumentNumber": 77,
    "FiscalDocumentAttribute": 3456789012,
    "Receipt": {"Email": "anna@example.org", "Taxation": "osn", "Items": []},
    "Type": "Income",
}
CARD = {"TerminalKey": TERMINAL, "CustomerKey": "c-1", "RequestKey": "r-1", "Success": True, "Status": "COMPLETED"}
ACCOUNT = {
    "TerminalKey": TERMINAL,
    "RequestKey": "r-2",
    "NotificationType": "LINKACCOUNT",
    "Success": True,
    "ErrorCode": "0",
    "Status": "ACTIVE",
}


def signed(fields: dict[str, Any], password: str = PASSWORD) -> bytes:
    """As the bank sends it."""
    return json.dumps(fields | {"Token": token(fields, password)}, ensure_ascii=False).encode()


def token(fields: dict[str, Any], password: str = PASSWORD) -> str:
    flat = {name: value for name, value in fields.items() if not isinstance(value, dict | list) and value is not None}
    flat["Password"] = password
    text = "".join(str(flat[n]).lower() if isinstance(flat[n], bool) else str(flat[n]) for n in sorted(flat))
    return hashlib.sha256(text.encode()).hexdigest()


def state(status: str, amount: int | None = None, **changes: Any) -> dict[str, Any]:
    """GetState's answer."""
    told = {
        "Success": True,
        "ErrorCode": "0",
        "TerminalKey": TERMINAL,
        "Status": status,
        "PaymentId": str(NOTICE["PaymentId"]),
        "OrderId": "inv-42",
    }
    return told | ({} if amount is None else {"Amount": amount}) | changes


def _post(body: bytes) -> InboundRequest:
    return InboundRequest("POST", "notify", "", {"content-type": "application/json"}, body)


def _state(status: str, **changes: Any) -> dict[str, Any]:
    id = str(NOTICE["PaymentId"])
    return {"Success": True, "ErrorCode": "0", "TerminalKey": TERMINAL, "PaymentId": id, "Status": status} | changes


_REFUNDED = NOTICE | {"Status": "REFUNDED", "Amount": 0}

SHOWN = Shown(
    credentials={"terminal_key": TERMINAL, "password": PASSWORD},
    secrets=("password",),
    settings={"acquirer_fiscalizes": False},
    good=_post(signed(NOTICE)),
    event=(EventType.PAYMENT_SUCCEEDED, str(NOTICE["PaymentId"]), 199_000),
    unknown=_post(signed(NOTICE | {"Status": "UNHEARD_OF"})),
    reply=InboundReply(200, b"OK"),
    forged=(
        _post(signed(NOTICE).replace(b"199000", b"199001")),
        _post(json.dumps(NOTICE).encode()),
        _post(signed(NOTICE | {"TerminalKey": LIVE_TERMINAL})),
    ),
    refused={"/GetState": (200, _state("", Success=False, ErrorCode="204"))},
    differs={"/GetState": (200, _state("CONFIRMED", Amount=199_000))},
    read_back=_post(signed(_REFUNDED)),
    base_url=BASE,
)
