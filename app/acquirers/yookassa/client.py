"""YooKassa's API v3, as far as it is read: one payment, one refund, and lists of both (yookassa.ru/developers/api)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from app.infra.foreign_json import member, one_line, read_object
from app.ports.source import SourceContext

PAGE: Final = 100
"""The most that a list gives at once."""


class NotRead(Exception):
    """The API did not answer or refused; the sentence holds no secret. `absent`: it knows no such thing."""

    def __init__(self, reason: str, *, absent: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.absent = reason, absent


class Client:
    """Reads with the shop's pair, within the pace of its source."""

    def __init__(self, context: SourceContext) -> None:
        self._context = context
        self._base = (context.base_url or "").rstrip("/")
        credentials = context.credentials
        self._auth = httpx.BasicAuth(credentials.shop_id, credentials.secret_key.get_secret_value())
        self._payments: dict[str, dict[str, Any]] = {}

    async def payment(self, payment_id: str) -> dict[str, Any]:
        """One payment, asked for once by each client."""
        if payment_id not in self._payments:
            self._payments[payment_id] = await self._one("payments", payment_id)
        return self._payments[payment_id]

    async def refund(self, refund_id: str) -> dict[str, Any]:
        return await self._one("refunds", refund_id)

    async def payments_since(self, since: datetime) -> AsyncIterator[dict[str, Any]]:
        """Taken payments by the moment of taking, which of a held one is days after it was made; newest first."""
        async for payment in self._list("payments", {"captured_at.gte": _moment(since), "status": "succeeded"}):
            self._payments[one_line(payment.get("id"))] = payment
            yield payment

    async def refunds_since(self, since: datetime) -> AsyncIterator[dict[str, Any]]:
        """Finished refunds, newest first."""
        async for refund in self._list("refunds", {"created_at.gte": _moment(since), "status": "succeeded"}):
            yield refund

    async def _one(self, kind: str, id: str) -> dict[str, Any]:
        found = await self._get(f"{kind}/{id}", {})
        if found.get("id") != id:
            raise NotRead(f"YooKassa answered with another object when asked for one of its {kind}")
        return found

    async def _list(self, kind: str, asked: dict[str, str]) -> AsyncIterator[dict[str, Any]]:
        cursors: set[str] = set()
        params = {**asked, "limit": str(PAGE)}
        while True:
            page = await self._get(kind, params)
            items = page.get("items")
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise NotRead(f"YooKassa's list of {kind} cannot be read")
            for item in items:
                yield item
            cursor = one_line(page.get("next_cursor"))
            if not cursor:
                return
            if cursor in cursors:
                raise NotRead(f"YooKassa's list of {kind} goes round in a circle")
            cursors.add(cursor)
            params["cursor"] = cursor

    async def _get(self, path: str, params: dict[str, str]) -> dict[str, Any]:
        await self._context.pace.turn()
        try:
            answer = await self._context.http.get(
                f"{self._base}/{path}", params=params, auth=self._auth, timeout=self._context.deadline_seconds
            )
        except httpx.HTTPError as error:
            raise NotRead(f"YooKassa did not answer ({getattr(error, 'reason', type(error).__name__)})") from None
        if answer.status_code in (404, 410):
            raise NotRead("YooKassa knows no such object in this shop: it is another shop's, or made up", absent=True)
        if answer.status_code != 200:
            raise NotRead(_refusal(answer))
        try:
            return read_object(answer.content)
        except ValueError:
            raise NotRead("YooKassa's answer is no JSON object") from None


def _refusal(answer: httpx.Response) -> str:
    """The code alone: descriptions may repeat what was asked."""
    try:
        code = one_line(member(read_object(answer.content), "code"))[:40]
    except ValueError:
        code = ""
    cure = "; check shopId and the secret key" if answer.status_code in (401, 403) else ""
    return f"YooKassa refused with HTTP {answer.status_code}{f' ({code})' if code else ''}{cure}"


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
