"""YooKassa as the gateway meets it: API v3 with payments, captures and refunds, and the notifications they cause.

A shop works with `/yookassa/v3` as with the real one; `POST /yookassa/payments/{id}/pay` is the buyer. Notifications go
to the URL of `PUT /yookassa/webhook`, or are made to measure by `POST /yookassa/send`; none is signed, as in life.
"""

import base64
import hmac
import json
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import uuid4

import httpx
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from app.simulator.faults import Action, Call, play
from app.simulator.protocols._acquirer import Repeats, deliver, json_to
from app.simulator.simulator import Simulator

CODE = "yookassa"
SHOP_ID = "100500"


class Settings(BaseModel):
    """`settings["yookassa"]`: the shop, and the key that its API asks for; without one any key is let in."""

    model_config = ConfigDict(extra="forbid")

    shop_id: str = SHOP_ID
    secret_key: str | None = None
    test: bool = False


class Webhook(BaseModel):
    """Where notifications of the shop go; null sends none."""

    model_config = ConfigDict(extra="forbid")

    url: str | None


class SendRequest(Repeats):
    """A notification to measure. `object` goes over a plausible payment or refund and is what the API tells then;
    `claims` go over it in the notification alone. With `known` false the API knows nothing of it."""

    target_url: str
    event: str = "payment.succeeded"
    object: dict[str, Any] = Field(default_factory=dict)
    claims: dict[str, Any] = Field(default_factory=dict)
    known: bool = True


class YooKassa:
    """The protocol front."""

    code: ClassVar[str] = CODE

    def router(self, simulator: Simulator) -> APIRouter:
        front = _Front(simulator, Settings.model_validate(simulator.settings.get(CODE, {})))
        api = APIRouter(prefix="/yookassa")

        @api.put("/webhook", status_code=204)
        async def webhook(given: Webhook) -> None:
            front.webhook = given.url

        @api.post("/send")
        async def send(order: SendRequest) -> dict[str, Any]:
            return await front.send(order)

        @api.post("/payments/{payment_id}/pay")
        async def pay(payment_id: str) -> Response:
            return front.pay(payment_id)

        @api.api_route("/v3/{path:path}", methods=["GET", "POST"])
        async def call(path: str, request: Request) -> Response:
            return await front.call(path, request)

        return api


PROTOCOL = YooKassa


class _Front:
    """The shop's books, and the answers behind the routes."""

    def __init__(self, simulator: Simulator, settings: Settings) -> None:
        self.simulator, self.settings = simulator, settings
        self.books: dict[str, dict[str, dict[str, Any]]] = {"payments": {}, "refunds": {}}
        self.answered: dict[str, Response] = {}
        self.webhook: str | None = None

    async def send(self, order: SendRequest) -> dict[str, Any]:
        kind = "refunds" if order.event.startswith("refund.") else "payments"
        if kind == "payments":
            made = self._payment(order.event.rpartition(".")[2]) | order.object
        else:
            made = self._refund(str(order.object.get("payment_id", uuid4()))) | order.object
        if order.known:
            self.books[kind][made["id"]] = made
        body = _notification(order.event, made | order.claims)
        answers = await deliver(json_to(self.simulator, order.target_url, body), order, _accepted)
        return {"id": made["id"], "answers": answers}

    def pay(self, payment_id: str) -> Response:
        payment = self.books["payments"].get(payment_id)
        if payment is None:
            return _error(404, "not_found")
        if payment["status"] != "pending":
            return _error(400, "invalid_request")
        payment["paid"] = True
        if payment.pop("_capture"):
            self._capture(payment)
        else:
            payment["status"] = "waiting_for_capture"
            self._notify("payment.waiting_for_capture", payment)
        return JSONResponse(_shown(payment))

    async def call(self, path: str, request: Request) -> Response:
        body = await request.body()

        async def act() -> Response:
            if not self._authorized(request):
                return _error(401, "invalid_credentials")
            key = request.headers.get("idempotence-key", "")
            if request.method == "POST" and not key:
                return _error(400, "invalid_request")
            if request.method == "POST" and key in self.answered:
                return self.answered[key]
            answer = self._answer(request.method, path.split("/"), request, body)
            if request.method == "POST" and answer.status_code == 200:
                self.answered[key] = answer
            return answer

        _, _, rest = path.partition("/")
        action: Action = "lookup" if request.method == "GET" else "submit"
        call = Call(CODE, action, request.url.path, rest.partition("/")[0] or None)
        return await play(self.simulator.faults.take(call), request, act)

    def _answer(self, method: str, path: list[str], request: Request, body: bytes) -> Response:
        match method, path:
            case "GET", [("payments" | "refunds") as kind]:
                return self._list(kind, dict(request.query_params))
            case "GET", [("payments" | "refunds") as kind, id]:
                found = self.books[kind].get(id)
                return _error(404, "not_found") if found is None else JSONResponse(_shown(found))
            case "POST", ["payments"]:
                return self._created(json.loads(body))
            case "POST", ["payments", id, ("capture" | "cancel") as end]:
                return self._ended(id, end, json.loads(body or b"{}"))
            case "POST", ["refunds"]:
                return self._returned(json.loads(body))
            case _:
                return _error(404, "not_found")

    def _list(self, kind: str, asked: dict[str, str]) -> Response:
        """Newest first, from the object that the cursor names."""
        found = sorted(self.books[kind].values(), key=lambda one: (one["created_at"], one["id"]), reverse=True)
        found = [one for one in found if all(_fits(one, name, value) for name, value in asked.items())]
        start = next((place for place, one in enumerate(found) if one["id"] == asked.get("cursor")), 0)
        limit = int(asked.get("limit", "10"))
        page: dict[str, Any] = {"type": "list", "items": [_shown(one) for one in found[start : start + limit]]}
        if start + limit < len(found):
            page["next_cursor"] = found[start + limit]["id"]
        return JSONResponse(page)

    def _created(self, asked: dict[str, Any]) -> Response:
        payment = self._payment("pending") | {
            name: asked[name] for name in ("amount", "description", "metadata", "merchant_customer_id") if name in asked
        }
        payment["_capture"] = asked.get("capture", False)
        if "receipt" in asked:
            payment["receipt_registration"] = "pending"
        self.books["payments"][payment["id"]] = payment
        return JSONResponse(_shown(payment))

    def _ended(self, id: str, end: str, asked: dict[str, Any]) -> Response:
        payment = self.books["payments"].get(id)
        if payment is None:
            return _error(404, "not_found")
        if payment["status"] != "waiting_for_capture":
            return _error(400, "invalid_request")
        if end == "capture":
            payment["amount"] = asked.get("amount", payment["amount"])
            self._capture(payment)
        else:
            payment |= {"status": "canceled", "paid": False}
            self._notify("payment.canceled", payment)
        return JSONResponse(_shown(payment))

    def _returned(self, asked: dict[str, Any]) -> Response:
        payment = self.books["payments"].get(asked["payment_id"])
        if payment is None:
            return _error(404, "not_found")
        back = Decimal(payment["refunded_amount"]["value"]) + Decimal(asked["amount"]["value"])
        if payment["status"] != "succeeded" or back > Decimal(payment["amount"]["value"]):
            return _error(400, "invalid_request")
        payment["refunded_amount"] = {"value": f"{back:.2f}", "currency": "RUB"}
        refund = self._refund(payment["id"]) | {
            name: asked[name] for name in ("amount", "description", "metadata") if name in asked
        }
        self.books["refunds"][refund["id"]] = refund
        self._notify("refund.succeeded", refund)
        return JSONResponse(_shown(refund))

    def _capture(self, payment: dict[str, Any]) -> None:
        payment |= {"status": "succeeded", "captured_at": self._now(), "refundable": True}
        if payment.get("receipt_registration") == "pending":
            payment["receipt_registration"] = "succeeded"
        self._notify("payment.succeeded", payment)

    def _notify(self, event: str, about: dict[str, Any]) -> None:
        if self.webhook is not None:
            self.simulator.spawn(self._deliver(self.webhook, _notification(event, about)))

    async def _deliver(self, url: str, body: bytes) -> None:
        await deliver(json_to(self.simulator, url, body), Repeats(attempts=20), _accepted)

    def _payment(self, status: str) -> dict[str, Any]:
        paid = status in ("succeeded", "waiting_for_capture")
        payment: dict[str, Any] = {
            "id": str(uuid4()),
            "status": status,
            "paid": paid,
            "amount": {"value": "1990.00", "currency": "RUB"},
            "refunded_amount": {"value": "0.00", "currency": "RUB"},
            "created_at": self._now(),
            "description": "Абонемент",
            "metadata": {},
            "recipient": {"account_id": self.settings.shop_id, "gateway_id": "2000001"},
            "payment_method": {"type": "sbp", "id": str(uuid4()), "saved": False, "title": "SBP"},
            "refundable": status == "succeeded",
            "test": self.settings.test,
        }
        return payment | ({"captured_at": self._now()} if status == "succeeded" else {})

    def _refund(self, payment_id: str) -> dict[str, Any]:
        return {
            "id": str(uuid4()),
            "payment_id": payment_id,
            "status": "succeeded",
            "created_at": self._now(),
            "amount": {"value": "1990.00", "currency": "RUB"},
        }

    def _now(self) -> str:
        return self.simulator.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _authorized(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic" or not given:
            return False
        if self.settings.secret_key is None:
            return True
        pair = f"{self.settings.shop_id}:{self.settings.secret_key}".encode()
        return hmac.compare_digest(given.encode(), base64.b64encode(pair))


def _fits(one: dict[str, Any], name: str, value: str) -> bool:
    """Filters of a list: equal members, and `gte`, `gt`, `lte`, `lt` of moments."""
    member, _, by = name.partition(".")
    if name in ("limit", "cursor"):
        return True
    if not by:
        return bool(str(one.get(member)) == value)
    if one.get(member) is None:
        return False
    mine, bound = datetime.fromisoformat(one[member]), datetime.fromisoformat(value)
    return {"gte": mine >= bound, "gt": mine > bound, "lte": mine <= bound, "lt": mine < bound}[by]


def _shown(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if not name.startswith("_")}


def _notification(event: str, about: dict[str, Any]) -> bytes:
    return json.dumps({"type": "notification", "event": event, "object": _shown(about)}, ensure_ascii=False).encode()


def _error(status: int, code: str) -> Response:
    return JSONResponse({"type": "error", "id": str(uuid4()), "code": code, "description": "simulated"}, status)


def _accepted(answer: httpx.Response) -> bool:
    return answer.status_code == 200
