"""Calls of the CRM's API (OpenAPI 1.1.8): token with renewal, pace, pages; every failure is one sentence.

The token lives for seven days and goes into `x-access-token`; at most 7 requests a second are allowed.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import httpx

from app.crms.moyklass.wire import Unreadable, number
from app.ports.source import SourceContext, SourceUnreachable

PAGE: Final = 500
_MOST_PAGES = 2_000
_EARLY_SECONDS = 3_600.0
_TOKEN_SECONDS = 86_400.0
_OF_THIS_CALL = (400, 403, 404)

Params = Mapping[str, str | int]


class CrmError(SourceUnreachable):
    """The CRM did not give what was asked; `status` is its HTTP answer, None when there was none."""

    def __init__(self, sentence: str, status: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status


class Unfit(CrmError):
    """One thing of the CRM cannot be used; the others can, and asking for this one again gives the same."""


class Client:
    """One conversation with one company's CRM."""

    def __init__(self, context: SourceContext) -> None:
        self._context = context
        self._base = (context.base_url or "").rstrip("/")
        self._key = context.credentials.api_key.get_secret_value()
        self._slot = f"access {hashlib.sha256(self._key.encode()).hexdigest()[:16]}"

    async def get(self, path: str, params: Params | None = None) -> Any:
        """One object or list, its numbers exact."""
        return await self._call("GET", path, params=params)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Write something."""
        return await self._call("POST", path, body=body)

    async def pages(self, path: str, member: str, params: Params) -> AsyncIterator[dict[str, Any]]:
        """Every row of a list, page after page. A list that grows meanwhile may repeat a row."""
        offset = 0
        for _ in range(_MOST_PAGES):
            page = await self.get(path, {**params, "offset": offset, "limit": PAGE})
            rows = page.get(member) if isinstance(page, dict) else None
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise CrmError(f"the list {path} has no rows {member}")
            for row in rows:
                yield row
            offset += len(rows)
            stats = page.get("stats")
            total = stats.get("totalItems") if isinstance(stats, dict) else None
            if not rows or (offset >= total if isinstance(total, int) else len(rows) < PAGE):
                return
        raise CrmError(f"the list {path} has no end")

    async def _call(
        self, method: str, path: str, *, params: Params | None = None, body: Mapping[str, Any] | None = None
    ) -> Any:
        answer = await self._send(method, path, await self._token(), params, body)
        if answer.status_code == 401:
            # Revoked, or over before its time: whatever it was asked for was not done.
            self._context.tokens.drop(self._slot)
            answer = await self._send(method, path, await self._token(), params, body)
        return _read(answer, path)

    async def _token(self) -> str:
        kept = self._context.tokens.get(self._slot)
        if kept is not None:
            return kept
        path = "/v1/company/auth/getToken"
        given = _read(await self._send("POST", path, None, None, {"apiKey": self._key}), path)
        token = given.get("accessToken") if isinstance(given, dict) else None
        if not isinstance(token, str) or not token:
            raise CrmError("the CRM gave no token for the API key")
        self._context.tokens.put(self._slot, token, _seconds_left(given.get("expiresAt")))
        return token

    async def _send(
        self, method: str, path: str, token: str | None, params: Params | None, body: Mapping[str, Any] | None
    ) -> httpx.Response:
        await self._context.pace.turn()
        try:
            return await self._context.http.request(
                method,
                f"{self._base}{path}",
                headers={} if token is None else {"x-access-token": token},
                params=params,
                json=body,
                timeout=self._context.deadline_seconds,
            )
        except httpx.HTTPError as error:
            raise CrmError(f"{path}: the CRM did not answer ({type(error).__name__})") from None


def _read(answer: httpx.Response, path: str) -> Any:
    status = answer.status_code
    if status == 401:
        raise CrmError("the CRM refuses the API key; make a new one in «Настройки – API и webhooks»", status)
    if status == 429:
        raise CrmError("the CRM asks for fewer requests", status)
    if not 200 <= status < 300:
        failed = Unfit if status in _OF_THIS_CALL else CrmError
        raise failed(f"{path}: the CRM answered {status}", status)
    if status == 204 or not answer.content:
        return None
    try:
        return json.loads(answer.content, parse_float=number, parse_int=_whole, parse_constant=number)
    except (ValueError, RecursionError, Unreadable):
        raise CrmError(f"{path}: the CRM's answer cannot be read", status) from None


def _whole(text: str) -> int | Decimal:
    found = number(text)
    return int(found) if found == found.to_integral_value() else found


def _seconds_left(expires_at: object) -> float:
    """Until an hour before the token ends; a day where its end cannot be read."""
    try:
        end = datetime.fromisoformat(str(expires_at))
    except ValueError:
        return _TOKEN_SECONDS
    left = ((end if end.tzinfo else end.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return max(left - _EARLY_SECONDS, 60.0)
