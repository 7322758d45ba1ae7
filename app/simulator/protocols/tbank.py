"""T-Bank («Т‑Касса») as the gateway meets it: Init, Confirm, Cancel, GetState and CheckOrder, and its signed notices.

A shop works with `/tbank/v2` as with the real one; `POST /tbank/payments/{id}/pay` is the buyer. Notices go to the URL
of Init, and to whoever `POST /tbank/send` names; the token is worked out here anew, nothing is shared with the adapter.
"""

import hashlib
import json
from itertools import count
from typing import Any, ClassVar, Literal

import httpx
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from app.simulator.faults import Action, Call, play
from app.simulator.protocols._acquirer import Repeats, deliver, json_to
from app.simulator.simulator import Simulator

CODE = "tbank"
TERMINAL = "1700000000001"


class Settings(BaseModel):
    """`settings["tbank"]`. `refund_amount`: what a notice of a refund tells as Amount; the bank's document does not
    say. GetState tells what is left."""

    model_config = ConfigDict(extra="forbid")

    terminal_key: str = TERMINAL
    password: str = "simulated_password"  # noqa: S105 - of a bank that does not exist
    refund_amount: Literal["left", "returned"] = "left"


class SendRequest(Repeats):
    """A notice to measure. `fields` go over plausible ones; null takes a field away. `state` goes over what GetState
    tells of this payment then; null: it is not known."""

    target_url: str
    fields: dict[str, Any] = Field(default_factory=dict)
    state: dict[str, Any] | None = Field(default_factory=dict)
    forge: Literal["none", "no_token", "bad_token", "body_changed"] = "none"


class TBank:
    """The protocol front."""

    code: ClassVar[str] = CODE

    def router(self, simulator: Simulator) -> APIRouter:
        front = _Front(simulator, Settings.model_validate(simulator.settings.get(CODE, {})))
        api = APIRouter(prefix="/tbank")

        @api.post("/send")
        async def send(order: SendRequest) -> dict[str, Any]:
            return await front.send(order)

        @api.post("/payments/{payment_id}/pay")
        async def pay(payment_id: str) -> Response:
            return front.pay(payment_id)

        @api.post("/v2/{method}")
        async def call(method: str, request: Request) -> Response:
            return await front.call(method, request)

        return api


PROTOCOL = TBank


class _Front:
    """The terminal's books, and the answers behind the routes."""

    def __init__(self, simulator: Simulator, settings: Settings) -> None:
        self.simulator, self.settings = simulator, settings
        self.payments: dict[str, dict[str, Any]] = {}
        # Greater than any number of an earlier run: the gateway remembers ids for ever.
        self.numbers = count(int(simulator.now().timestamp() * 1000))

    async def send(self, order: SendRequest) -> dict[str, Any]:
        fields = {
            "TerminalKey": self.settings.terminal_key,
            "OrderId": "inv-42",
            "Success": True,
            "Status": "CONFIRMED",
            "PaymentId": next(self.numbers),
            "ErrorCode": "0",
            "Amount": 199_000,
            "CardId": 10_452_089,
            "Pan": "430000******0777",
            "ExpDate": "1229",
        } | order.fields
        fields = {name: value for name, value in fields.items() if value is not None}
        if order.state is not None:
            told = {name: fields.get(name) for name in ("OrderId", "Status", "Amount")}
            self.payments[str(fields.get("PaymentId"))] = told | order.state
        notice = json_to(self.simulator, order.target_url, self._signed(fields, order.forge))
        answers = await deliver(notice, order, _accepted)
        return {"payment_id": fields.get("PaymentId"), "answers": answers}

    def pay(self, payment_id: str) -> Response:
        payment = self.payments.get(payment_id)
        if payment is None or payment["Status"] != "NEW":
            return Response(status_code=404)
        self._step(payment_id, "AUTHORIZED" if payment["PayType"] == "T" else "CONFIRMED", payment["Amount"])
        return JSONResponse({"Status": payment["Status"]})

    async def call(self, method: str, request: Request) -> Response:
        asked = json.loads(await request.body())

        async def act() -> Response:
            token = asked.get("Token")
            if asked.get("TerminalKey") != self.settings.terminal_key:
                return self._refused(asked, "205")
            if token != self._token({name: value for name, value in asked.items() if name != "Token"}):
                return self._refused(asked, "204")
            return self._answer(method, asked)

        action: Action = "lookup" if method in ("GetState", "CheckOrder") else "submit"
        call = Call(CODE, action, request.url.path, str(asked.get("PaymentId", "")) or None)
        return await play(self.simulator.faults.take(call), request, act)

    def _answer(self, method: str, asked: dict[str, Any]) -> Response:
        if method == "Init":
            id = str(next(self.numbers))
            self.payments[id] = {
                "OrderId": str(asked["OrderId"]),
                "Status": "NEW",
                "Amount": asked["Amount"],
                "PayType": asked.get("PayType", "O"),
                "NotificationURL": asked.get("NotificationURL"),
            }
            return self._told(id, Amount=asked["Amount"])
        if method == "CheckOrder":
            return self._order(asked)
        id = str(asked.get("PaymentId"))
        payment = self.payments.get(id)
        if payment is None:
            return self._refused(asked, "255")
        match method, payment["Status"]:
            case "GetState", _:
                return self._told(id, Amount=payment["Amount"])
            case "Confirm", "AUTHORIZED":
                self._step(id, "CONFIRMED", asked.get("Amount", payment["Amount"]))
                return self._told(id)
            case "Cancel", ("AUTHORIZED" | "CONFIRMED" | "PARTIAL_REFUNDED") as status:
                return self._canceled(id, payment, status, asked)
            case _:
                return self._refused(asked, "4")

    def _canceled(self, id: str, payment: dict[str, Any], status: str, asked: dict[str, Any]) -> Response:
        before = payment["Amount"]
        back = asked.get("Amount", before)
        if not 0 < back <= before:
            return self._refused(asked, "8")
        word = "REVERSED" if status == "AUTHORIZED" else "REFUNDED"
        left = before - back
        told = left if self.settings.refund_amount == "left" else back
        self._step(id, f"PARTIAL_{word}" if left else word, left, told)
        return self._told(id, OriginalAmount=before, NewAmount=left)

    def _order(self, asked: dict[str, Any]) -> Response:
        payments = [
            {"PaymentId": id, "Amount": one["Amount"], "Status": one["Status"], "Success": "true", "ErrorCode": 0}
            for id, one in self.payments.items()
            if one["OrderId"] == asked.get("OrderId")
        ]
        told = {"TerminalKey": self.settings.terminal_key, "OrderId": asked.get("OrderId"), "Payments": payments}
        return JSONResponse({"Success": True, "ErrorCode": "0", "Message": "OK"} | told)

    def _step(self, id: str, status: str, amount: int, told: int | None = None) -> None:
        """A payment comes to a new status, and its shop hears of it."""
        payment = self.payments[id]
        payment |= {"Status": status, "Amount": amount}
        if (url := payment.get("NotificationURL")) is not None:
            fields = {
                "TerminalKey": self.settings.terminal_key,
                "OrderId": payment["OrderId"],
                "Success": True,
                "Status": status,
                "PaymentId": int(id),
                "ErrorCode": "0",
                "Amount": amount if told is None else told,
            }
            self.simulator.spawn(self._deliver(url, self._signed(fields, "none")))

    async def _deliver(self, url: str, body: bytes) -> None:
        await deliver(json_to(self.simulator, url, body), Repeats(attempts=20), _accepted)

    def _told(self, id: str, **more: Any) -> Response:
        payment = self.payments[id]
        told = {"TerminalKey": self.settings.terminal_key, "OrderId": payment["OrderId"], "PaymentId": id}
        return JSONResponse(told | {"Success": True, "ErrorCode": "0", "Status": payment["Status"]} | more)

    def _refused(self, asked: dict[str, Any], code: str) -> Response:
        told = {name: asked.get(name) for name in ("TerminalKey", "PaymentId")}
        return JSONResponse(told | {"Success": False, "ErrorCode": code, "Message": "simulated", "Status": ""})

    def _signed(self, fields: dict[str, Any], forge: str) -> bytes:
        token = self._token(fields)
        if forge == "body_changed":
            fields = fields | {"Amount": 1}
        if forge == "bad_token":
            token = token[::-1]
        return json.dumps(fields if forge == "no_token" else fields | {"Token": token}, ensure_ascii=False).encode()

    def _token(self, fields: dict[str, Any]) -> str:
        """Values in the order of their names, the password among them, nested ones left out."""
        pairs = sorted((fields | {"Password": self.settings.password}).items())
        values = [str(value).lower() if isinstance(value, bool) else str(value) for _, value in pairs if _flat(value)]
        return hashlib.sha256("".join(values).encode()).hexdigest()


def _flat(value: Any) -> bool:
    return value is not None and not isinstance(value, dict | list)


def _accepted(answer: httpx.Response) -> bool:
    """Two letters and nothing else end the repetitions."""
    return answer.status_code == 200 and answer.content == b"OK"
