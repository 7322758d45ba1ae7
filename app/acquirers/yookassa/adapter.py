"""Notifications of YooKassa, which sign nothing: each is a hint to read the payment or refund from the API.

Protocol: API v3 (yookassa.ru/developers/api) and the official SDK 3.13.0. Any answer but HTTP 200 brings a notification
again, for a day as is widely stated (U); the poll finds what never came.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from pydantic import BaseModel

from app.acquirers.yookassa import objects
from app.acquirers.yookassa.client import Client, NotRead
from app.acquirers.yookassa.config import Credentials, Settings
from app.domain.event import EventType, PaymentEvent
from app.infra.foreign_json import member, one_line, read_object
from app.ports.inbound import InboundReply, InboundRequest
from app.ports.source import (
    Alarm,
    Parsed,
    Passive,
    PollFailed,
    ReadBackFailed,
    SourceCapabilities,
    SourceContext,
    Verdict,
    VerifyResult,
)

NO_MONEY: Final = {
    "payment.waiting_for_capture": "money is held, not taken",
    "payment.canceled": "nothing was taken",
    "payment_method.active": "a way of paying was kept",
    "deal.closed": "a deal ended",
    "payout.succeeded": "money went to a third person, not back to a buyer",
    "payout.canceled": "a payout failed",
}


class YooKassaAdapter(Passive):
    """Stores the hint, believes only what it reads with the shop's own pair, and lists what never notified."""

    code: ClassVar[str] = "yookassa"
    title: ClassVar[str] = "ЮKassa"
    docs_url: ClassVar[str] = "https://yookassa.ru/developers"
    default_base_url: ClassVar[str | None] = "https://api.yookassa.ru/v3"
    Credentials: ClassVar[type[BaseModel]] = Credentials
    Settings: ClassVar[type[BaseModel]] = Settings
    capabilities: ClassVar[SourceCapabilities] = SourceCapabilities(
        parts={"notify": "every notification: payments, refunds, and what makes no receipt"},
        signs=False,
        reads_back=True,
        polls=True,
        may_fiscalize=True,
    )

    def verify(self, request: InboundRequest, credentials: Any, settings: Any) -> VerifyResult:
        """Nothing is signed, so the sender's network is all that can be checked at once, where that is asked for.

        A sender whose address did not reach us is then refused too: it is in none of the networks.
        """
        if not credentials.secret_key.get_secret_value().strip():
            return Verdict.Forged("no secret key is configured for this source: nothing could be read back")
        if settings.allowed_networks and not settings.lets_in(request.peer):
            known = "the sender is in none of the allowed networks"
            return Verdict.Forged(known if request.peer else "the address of the sender is not known")
        return Verdict.NeedsReadBack()

    def reply(self, request: InboundRequest, *, stored: bool) -> InboundReply:
        """HTTP 200 is "received", whatever the body."""
        return InboundReply(200) if stored else InboundReply(503)

    async def parse(self, request: InboundRequest, context: SourceContext) -> Parsed | ReadBackFailed:
        """What YooKassa says of the object that a notification names; of its own words only kind and id are used."""
        try:
            notice = read_object(request.body)
        except ValueError as error:
            return Parsed(note=f"this is no notification of YooKassa: {error}")
        kind, id = one_line(notice.get("event"))[:60], one_line(member(notice, "object", "id"))
        if kind in NO_MONEY:
            return Parsed(note=f"{kind}: {NO_MONEY[kind]}")
        if kind not in ("payment.succeeded", "refund.succeeded"):
            return Parsed(note=f"YooKassa has no notification {kind!r} that this program knows")
        if not objects.is_id(id):
            return Parsed(note=f"{kind}: it names no object")
        client = Client(context)
        try:
            read = _payment if kind == "payment.succeeded" else _refund
            parsed, found = await read(client, id, context)
        except NotRead as error:
            return ReadBackFailed(f"{kind}: {error.reason}", final=error.absent)
        except objects.Unreadable as error:
            return ReadBackFailed(f"{kind}: {error}", final=True)
        return _compared(parsed, notice["object"], found)

    async def poll(self, since: datetime, context: SourceContext) -> AsyncIterator[PaymentEvent | Alarm]:
        """Payments taken and refunds made since a moment; the lists come newest first and are turned round."""
        client = Client(context)
        listed: list[_Listed] = []
        try:
            listed += [_payment_listed(paid, context) async for paid in client.payments_since(since)]
            listed += [await _refund_listed(client, back, context) async for back in client.refunds_since(since)]
        except NotRead as error:
            raise PollFailed(error.reason) from None
        for _, told in sorted(listed, key=lambda one: one[0]):
            for one in told:
                yield one


_Listed = tuple[datetime, tuple[PaymentEvent | Alarm, ...]]
"""What one entry of a list tells, and when it happened."""


async def _payment(client: Client, id: str, context: SourceContext) -> tuple[Parsed, dict[str, Any]]:
    found = await client.payment(id)
    return objects.payment(found, context.credentials.shop_id, context.settings), found


async def _refund(client: Client, id: str, context: SourceContext) -> tuple[Parsed, dict[str, Any]]:
    found = await client.refund(id)
    return await _refund_of(client, found, context), found


async def _refund_of(client: Client, found: dict[str, Any], context: SourceContext) -> Parsed:
    paid = await client.payment(objects.payment_id_of(found))
    return objects.refund(found, paid, context.credentials.shop_id, context.settings)


def _compared(parsed: Parsed, notice: Any, found: dict[str, Any]) -> Parsed:
    """Nothing, where the notification names another sum than was read: it is forged, or of another moment. The poll
    tells what there is."""
    silent = member(notice, "amount") is None
    if not parsed.events or silent or objects.amount_of(notice) == objects.amount_of(found):
        return parsed
    return Parsed(
        note="the notification names another sum than YooKassa's API, so it is not believed; the list of payments and "
        "refunds will tell what there is",
        warnings=parsed.warnings,
    )


def _payment_listed(found: dict[str, Any], context: SourceContext) -> _Listed:
    try:
        parsed = objects.payment(found, context.credentials.shop_id, context.settings)
    except objects.Unreadable as error:
        return _for_a_person(EventType.PAYMENT_SUCCEEDED, found, error)
    return _in_time(parsed)


async def _refund_listed(client: Client, found: dict[str, Any], context: SourceContext) -> _Listed:
    try:
        parsed = await _refund_of(client, found, context)
    except objects.Unreadable as error:
        return _for_a_person(EventType.REFUND_SUCCEEDED, found, error)
    except NotRead as error:
        if not error.absent:
            raise
        parsed = Parsed(note=error.reason)
    return _in_time(parsed)


def _in_time(parsed: Parsed) -> _Listed:
    moment = parsed.events[0].occurred_at if parsed.events else datetime.now(UTC)
    return moment, (*parsed.events, *parsed.alarms)


def _for_a_person(type: EventType, found: dict[str, Any], error: objects.Unreadable) -> _Listed:
    """One entry that cannot be read is told to a person, and hinders no other."""
    alarm = Alarm(
        type,
        one_line(found.get("id"))[:64],
        "unreadable",
        f"YooKassa lists this, and it cannot become a receipt: {error.reason}. Make its receipt by hand.",
        f"ЮKassa показывает эту операцию, но чек из неё не получается: {error.reason_ru}. Оформите чек вручную.",
    )
    return datetime.now(UTC), (alarm,)
