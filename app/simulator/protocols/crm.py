"""A CRM that hears our webhooks: verifies them as Standard Webhooks says, keeps them, and answers as it is told.

`PUT /crm/hook/{inbox}/secret` gives it the endpoint's secret, `GET /crm/hook/{inbox}` shows what came; scripted faults
match `{"provider": "crm", "action": "any"}`; `answer` with a status is the CRM's refusal. The check is written anew
here, so that a fault of our signing cannot hide in it.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any, ClassVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.simulator.faults import Call, play
from app.simulator.simulator import Simulator

CODE = "crm"
TOLERANCE_SECONDS = 300
MAX_MESSAGES = 10_000


class Secret(BaseModel):
    """The endpoint's signing secret as the gateway showed it; null takes nothing more for verified."""

    model_config = ConfigDict(extra="forbid")

    secret: str | None = Field(default=None, pattern=r"^whsec_")


@dataclass(slots=True)
class Message:
    """One message as it came first; `deliveries` counts repeats, `changed` says that one had another body."""

    id: str
    body: bytes
    verified: bool
    reason: str | None
    headers: dict[str, str]
    deliveries: int = 1
    changed: bool = False

    def as_json(self) -> dict[str, Any]:
        content = _object(self.body)
        receipt = content.get("data", {}).get("receipt") if isinstance(content.get("data"), dict) else None
        receipt = receipt if isinstance(receipt, dict) else {}
        return {
            "id": self.id,
            "type": content.get("type"),
            "timestamp": content.get("timestamp"),
            "verified": self.verified,
            "reason": self.reason,
            "deliveries": self.deliveries,
            "changed": self.changed,
            "receipt_id": receipt.get("id"),
            "status": receipt.get("status"),
            "sequence": receipt.get("sequence"),
            "external_id": receipt.get("external_id"),
            "data": content.get("data"),
        }


class Inbox:
    """What one webhook endpoint of the CRM received, in order of arrival."""

    def __init__(self) -> None:
        self.secret: str | None = None
        self.messages: dict[tuple[str, bool], Message] = {}
        self.changed = asyncio.Condition()

    async def take(self, message: Message) -> None:
        async with self.changed:
            key = (message.id, message.verified)
            if known := self.messages.get(key):
                known.deliveries += 1
                known.changed = known.changed or known.body != message.body
            elif len(self.messages) < MAX_MESSAGES:
                self.messages[key] = message
            self.changed.notify_all()

    async def wait(self, at_least: int, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds), self.changed:
                await self.changed.wait_for(lambda: len(self.messages) >= at_least)
        except TimeoutError:
            return


class Crm:
    """The protocol front."""

    code: ClassVar[str] = CODE

    def router(self, simulator: Simulator) -> APIRouter:
        inboxes: dict[str, Inbox] = {}
        api = APIRouter()

        def of(name: str) -> Inbox:
            return inboxes.setdefault(name, Inbox())

        @api.put("/crm/hook/{inbox}/secret", status_code=204)
        async def set_secret(inbox: str, given: Secret) -> None:
            of(inbox).secret = given.secret

        @api.post("/crm/hook/{inbox}")
        async def hook(inbox: str, request: Request) -> Response:
            body, box = await request.body(), of(inbox)
            reason = refusal(box.secret, dict(request.headers), body, simulator.now().timestamp())

            async def act() -> Response:
                headers = {name: value for name, value in request.headers.items() if name.startswith("webhook-")}
                await box.take(Message(headers.get("webhook-id", ""), body, reason is None, reason, headers))
                return Response(status_code=204 if reason is None or box.secret is None else 401)

            return await play(simulator.faults.take(Call(CODE, "other", request.url.path)), request, act)

        @api.get("/crm/hook/{inbox}")
        async def listed(
            inbox: str, at_least: int = Query(default=0, ge=0), wait: float = Query(default=0, ge=0, le=60)
        ) -> dict[str, Any]:
            """What came; with `at_least` and `wait` not before so many are there, or the seconds are over."""
            box = of(inbox)
            if at_least:
                await box.wait(at_least, wait)
            return {"inbox": inbox, "messages": [message.as_json() for message in box.messages.values()]}

        @api.delete("/crm/hook/{inbox}", status_code=204)
        async def forget(inbox: str) -> None:
            of(inbox).messages.clear()

        return api


PROTOCOL = Crm


def refusal(secret: str | None, headers: dict[str, str], body: bytes, now: float) -> str | None:
    """Why this message is not believed; None when it is. Header names in lower case, as ASGI gives them."""
    if secret is None:
        return "no secret was set for this inbox"
    message_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message_id or not stamp.isdigit():
        return "webhook-id or webhook-timestamp is missing"
    if abs(now - int(stamp)) > TOLERANCE_SECONDS:
        return "the timestamp is more than five minutes off"
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        return "the inbox's secret is not base64"
    signed = f"{message_id}.{stamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = headers.get("webhook-signature", "").split()
    if not any(hmac.compare_digest(expected.encode(), one.encode()) for one in given):
        return "no signature matches"
    return None


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
