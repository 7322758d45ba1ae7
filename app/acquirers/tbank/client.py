"""The state of a payment at T-Bank: `POST /v2/GetState` (T-Bank API v1.80)."""

from dataclasses import dataclass
from typing import Any

import httpx

from app.acquirers.tbank.token import token
from app.infra.compact_json import json_bytes
from app.infra.foreign_json import one_line, read_object
from app.ports.source import SourceContext


class NotRead(Exception):
    """The bank did not answer or refused; the sentence holds no secret."""


@dataclass(frozen=True, slots=True)
class State:
    """A payment as the bank sees it now. `amount` in kopecks; what it means after a refund is not documented."""

    status: str
    amount: int | None


async def state(context: SourceContext, payment_id: str) -> State:
    """Ask for one payment of the context's terminal. Raises NotRead."""
    credentials = context.credentials
    body = {"TerminalKey": credentials.terminal_key, "PaymentId": payment_id}
    body["Token"] = token(body, credentials.password.get_secret_value())
    await context.pace.turn()
    try:
        answer = await context.http.post(
            f"{(context.base_url or '').rstrip('/')}/GetState",
            content=json_bytes(body),
            headers={"Content-Type": "application/json"},
            timeout=context.deadline_seconds,
        )
    except httpx.HTTPError as error:
        raise NotRead(f"T-Bank did not answer ({getattr(error, 'reason', type(error).__name__)})") from None
    if answer.status_code != 200:
        raise NotRead(f"T-Bank refused GetState with HTTP {answer.status_code}")
    try:
        found = read_object(answer.content)
    except ValueError:
        raise NotRead("T-Bank's answer to GetState is no JSON object") from None
    if found.get("Success") is not True or one_line(found.get("ErrorCode")) not in ("0", ""):
        raise NotRead(f"T-Bank refused GetState with code {one_line(found.get('ErrorCode'))[:20] or 'none'}")
    if (one_line(found.get("TerminalKey")), one_line(found.get("PaymentId"))) != (credentials.terminal_key, payment_id):
        raise NotRead("T-Bank answered GetState for another payment")
    return State(one_line(found.get("Status"))[:40].upper(), _kopecks(found.get("Amount")))


def _kopecks(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
