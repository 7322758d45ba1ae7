"""Calls of the portal's REST API over an incoming webhook, whose address is the secret: no text here repeats it."""

from dataclasses import dataclass
from typing import Any, Final

import httpx
from pydantic import SecretStr

from app.ports.source import SourceContext

_LATER: Final = frozenset({"QUERY_LIMIT_EXCEEDED", "OPERATION_TIME_LIMIT", "OVERLOAD_LIMIT", "INTERNAL_SERVER_ERROR"})


@dataclass(frozen=True, slots=True)
class Answered:
    """`result` of the portal's answer."""

    result: Any


@dataclass(frozen=True, slots=True)
class Denied:
    """The portal's error: its code, and its text for people."""

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}" if self.text else self.code


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nobody knows whether the portal acted."""

    reason: str

    def __str__(self) -> str:
        return self.reason


Reply = Answered | Denied | NoAnswer


async def call(context: SourceContext, address: SecretStr, method: str, params: dict[str, Any]) -> Reply:
    """One method, within the portal's two requests a second."""
    await context.pace.turn()
    try:
        answer = await context.http.post(
            f"{address.get_secret_value().rstrip('/')}/{method}", json=params, timeout=context.deadline_seconds
        )
        found = answer.json()
    except httpx.HTTPError as error:
        return NoAnswer(f"the portal cannot be reached ({type(error).__name__})")
    except ValueError:
        return NoAnswer("the portal's answer is no JSON")
    if not isinstance(found, dict):
        return NoAnswer("the portal's answer is no JSON object")
    if code := found.get("error"):
        told = Denied(_short(code), _short(found.get("error_description")))
        return NoAnswer(f"the portal is busy ({told.code})") if told.code in _LATER else told
    if answer.is_success and "result" in found:
        return Answered(found["result"])
    return NoAnswer(f"the portal answered with status {answer.status_code}")


def _short(value: Any) -> str:
    return " ".join(str(value or "").split())[:200]
