"""CloudPayments as the gateway meets it: the acquirer that sends signed notices, and its API to read a payment back.

`POST /cloudpayments/send` makes it send; a notice is repeated until the answer is `{"code":0}`, as in real life. The
notice is built, signed and encoded here on its own: nothing is shared with the adapter that will read it.
"""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any, ClassVar, Literal
from urllib.parse import unquote_plus, urlencode

import httpx
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from app.simulator.faults import Call, play
from app.simulator.protocols._acquirer import Repeats, deliver
from app.simulator.simulator import Simulator

CODE = "cloudpayments"

_NUMBERS = ("TransactionId", "PaymentTransactionId", "TestMode")
_SUMS = ("Amount", "PaymentAmount", "TotalFee")

Kind = Literal["check", "pay", "confirm", "refund", "cancel", "fail", "recurrent", "receipt"]


class Settings(BaseModel):
    """`settings["cloudpayments"]`: the pair that its API asks for; without one any pair is let in."""

    model_config = ConfigDict(extra="forbid")

    public_id: str | None = None
    api_secret: str | None = None


class SendRequest(Repeats):
    """What to send where. `fields` go over plausible ones of the kind; null takes a field away.

    `forge` spoils the signature: `body_changed` signs first and changes the body afterwards.
    """

    target_base_url: str
    api_secret: str
    kind: Kind = "pay"
    fields: dict[str, Any] = Field(default_factory=dict)
    format: Literal["form", "json", "get"] = "form"
    forge: Literal["none", "no_signature", "bad_signature", "body_changed"] = "none"
    delay_seconds: float = Field(default=0, ge=0, le=60)


class Query(BaseModel):
    """Body of `payments/get`."""

    model_config = ConfigDict(extra="ignore")

    TransactionId: int


class CloudPayments:
    """The protocol front."""

    code: ClassVar[str] = CODE

    def router(self, simulator: Simulator) -> APIRouter:
        front = _Front(simulator, Settings.model_validate(simulator.settings.get(CODE, {})))
        api = APIRouter()

        @api.post("/cloudpayments/send")
        async def send(order: SendRequest) -> dict[str, Any]:
            return await front.send(order)

        @api.post("/cloudpayments/api/payments/get")
        async def get(query: Query, request: Request) -> Response:
            return await front.look_up(query.TransactionId, request)

        return api


PROTOCOL = CloudPayments


class _Front:
    """State and answers behind the routes."""

    def __init__(self, simulator: Simulator, settings: Settings) -> None:
        self.simulator, self.settings = simulator, settings
        self.payments: dict[str, dict[str, Any]] = {}
        # Greater than any number of an earlier run: the gateway remembers ids for ever.
        self.numbers = count(int(simulator.now().timestamp() * 1000))

    async def send(self, order: SendRequest) -> dict[str, Any]:
        fields = _defaults(order.kind, self.numbers, self.simulator.now()) | order.fields
        fields = {name: value for name, value in fields.items() if value is not None}
        if order.kind in ("pay", "confirm"):
            self.payments[str(fields.get("TransactionId"))] = fields
        notice = _notice(order, fields)
        await asyncio.sleep(order.delay_seconds)
        answers = await deliver(lambda: self.simulator.http.request(**notice), order, _accepted)
        return {"transaction_id": fields.get("TransactionId"), "answers": answers}

    async def look_up(self, number: int, request: Request) -> Response:
        async def act() -> Response:
            if not self._authorized(request):
                return Response("<html>401</html>", 401, media_type="text/html")
            found = self.payments.get(str(number))
            if found is None:
                return JSONResponse({"Model": None, "Success": False, "Message": "Not found"})
            data = found.get("Data")
            model = {name: value for name, value in found.items() if name != "Data"}
            model |= {"JsonData": data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)}
            return JSONResponse({"Model": model, "Success": True, "Message": None})

        return await play(self.simulator.faults.take(Call(CODE, "lookup", request.url.path)), request, act)

    def _authorized(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic" or not given:
            return False
        if self.settings.public_id is None:
            return True
        pair = f"{self.settings.public_id}:{self.settings.api_secret or ''}".encode()
        return hmac.compare_digest(given.encode(), base64.b64encode(pair))


def _accepted(answer: httpx.Response) -> bool:
    """Only HTTP 200 with a JSON code of 0 ends the repetitions."""
    try:
        return answer.status_code == 200 and answer.json()["code"] == 0
    except (ValueError, KeyError, TypeError):
        return False


def _notice(order: SendRequest, fields: dict[str, Any]) -> dict[str, Any]:
    """The request as httpx takes it."""
    url = f"{order.target_base_url.rstrip('/')}/{order.kind}"
    message = _json(fields) if order.format == "json" else urlencode(_flat(fields)).encode()
    plain = message if order.format == "json" else unquote_plus(message.decode()).encode()
    headers = _signatures(order, message, plain)
    if order.forge == "body_changed":
        message += b" " if order.format == "json" else b"&Extra=1"
    if order.format == "get":
        return {"method": "GET", "url": f"{url}?{message.decode()}", "headers": headers}
    media = "application/json" if order.format == "json" else "application/x-www-form-urlencoded; charset=utf-8"
    return {"method": "POST", "url": url, "headers": headers | {"Content-Type": media}, "content": message}


def _signatures(order: SendRequest, message: bytes, plain: bytes) -> dict[str, str]:
    if order.forge == "no_signature":
        return {}
    secret = order.api_secret.encode() + (b"?" if order.forge == "bad_signature" else b"")
    return {"Content-HMAC": _hmac(secret, message), "X-Content-HMAC": _hmac(secret, plain)}


def _hmac(secret: bytes, message: bytes) -> str:
    return base64.b64encode(hmac.new(secret, message, hashlib.sha256).digest()).decode()


def _flat(fields: dict[str, Any]) -> dict[str, str]:
    """A form knows text only; Data and CustomFields travel as JSON text."""
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)
        for name, value in fields.items()
    }


def _json(fields: dict[str, Any]) -> bytes:
    """JSON mode: ids are numbers, and sums are numbers with their two decimals."""
    numbers = {name: int(fields[name]) for name in _NUMBERS if name in fields}
    text = json.dumps(fields | numbers, ensure_ascii=False)
    for name in _SUMS:
        text = text.replace(f'"{name}": "{fields.get(name)}"', f'"{name}": {fields.get(name)}')
    return text.encode()


def _defaults(kind: Kind, numbers: Iterator[int], now: datetime) -> dict[str, Any]:
    at = now.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    common = {"TransactionId": str(next(numbers)), "Amount": "1990.00", "DateTime": at, "AccountId": "user-7"}
    match kind:
        case "refund":
            return common | {"OperationType": "Refund"}
        case "cancel":
            return common
        case "recurrent":
            return {"Id": "sc_simulated", "AccountId": "user-7", "Amount": "1990.00", "Currency": "RUB"}
        case "receipt":
            return {"Id": "simulated", "DocumentNumber": "1", "FiscalSign": "1000000001", "Amount": "1990.00"}
        case _:
            payment = common | {
                "Currency": "RUB",
                "PaymentAmount": "1990.00",
                "PaymentCurrency": "RUB",
                "CardFirstSix": "400000",
                "CardLastFour": "0002",
                "CardType": "Visa",
                "CardExpDate": "12/29",
                "TestMode": "0",
                "Status": "Declined" if kind == "fail" else "Completed",
                "Email": "anna@example.org",
                "Description": "Абонемент",
            }
            return payment if kind == "confirm" else payment | {"OperationType": "Payment", "GatewayName": "Simulator"}
