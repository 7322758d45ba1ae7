"""«Мой Класс»: payments and lessons are polled, webhooks are only a hint to look at once; nothing is signed.

OpenAPI 1.1.8. The names of the payment events, the shape of their `object` and their repetition are not published, so
nothing depends on them: a hint names a payment, and the payment is read.
"""

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar, Final

from pydantic import BaseModel

from app.crms.moyklass import closings, wire
from app.crms.moyklass.client import Client, CrmError, Unfit
from app.crms.moyklass.closings import Group
from app.crms.moyklass.payments import TYPES, event_of, not_wanted, routed, zone_of
from app.crms.moyklass.readback import ReadBack
from app.crms.moyklass.report import tell
from app.crms.moyklass.settings import Credentials, Settings
from app.crms.moyklass.wire import Charge, Payment, Unreadable
from app.domain.event import EventType, PaymentEvent
from app.domain.money import roubles
from app.ports.inbound import InboundReply, InboundRequest
from app.ports.source import (
    Alarm,
    Estimate,
    Parsed,
    Passive,
    PollFailed,
    ReadBackFailed,
    Report,
    Reported,
    ReportFailed,
    SourceCapabilities,
    SourceContext,
    Verdict,
    VerifyResult,
)

PARTS: Final = {"webhook": "anything changed in the CRM: a hint to look at a payment at once; may be left out"}
_AHEAD = timedelta(hours=1)
_CLOSINGS_LOOKED_AT = "closings looked at"
_CLOSINGS_EVERY_SECONDS = 3_600.0
_SOLD_AT_MOST_DAYS = 400


class MoyKlassAdapter(Passive):
    """Polls by `createdAt`, reads back what a payment does not say, and writes the receipt's link to the pupil."""

    code: ClassVar[str] = "moyklass"
    title: ClassVar[str] = "Мой Класс"
    docs_url: ClassVar[str] = "https://api.moyklass.com/"
    default_base_url: ClassVar[str | None] = "https://api.moyklass.com"
    Credentials: ClassVar[type[BaseModel]] = Credentials
    Settings: ClassVar[type[BaseModel]] = Settings
    capabilities: ClassVar[SourceCapabilities] = SourceCapabilities(
        parts=PARTS, signs=False, reads_back=True, polls=True, reports=True, requests_per_second=7.0
    )

    def verify(self, request: InboundRequest, credentials: Any, settings: Any) -> VerifyResult:
        """Nothing is signed: the secret of the address was checked, and only what is read back is believed."""
        return Verdict.NeedsReadBack()

    def reply(self, request: InboundRequest, *, stored: bool) -> InboundReply:
        """Whether the CRM repeats a hint is not known; what it drops the poll finds."""
        return InboundReply(200, b"OK", "text/plain") if stored else InboundReply(503, b"", "text/plain")

    async def parse(self, request: InboundRequest, context: SourceContext) -> Parsed | ReadBackFailed:
        """The payment that a hint names, as it is now. Unknown kinds and unreadable bodies are left to the poll."""
        hint = _hint(request.body, context.settings)
        if isinstance(hint, str):
            return Parsed(note=hint)
        name, payment_id = hint
        read = ReadBack(Client(context), context.settings)
        try:
            payment = await read.payment(payment_id)
            if payment is None:
                return await _gone(payment_id, context)
            unfit: list[Unfit] = []
            found = [one async for one in _events([payment], read, context, unfit)]
        except CrmError as error:
            return ReadBackFailed(str(error))
        if unfit:
            return ReadBackFailed(str(unfit[0]))
        if not found:
            reason = not_wanted(payment, context.settings) or "known already, and unchanged"
            return Parsed(note=f"{name} {payment_id}: {reason}")
        return Parsed(
            events=tuple(one for one in found if isinstance(one, PaymentEvent)),
            alarms=tuple(one for one in found if isinstance(one, Alarm)),
        )

    async def poll(self, since: datetime, context: SourceContext) -> AsyncIterator[PaymentEvent | Alarm]:
        """Incomes and refunds created since a moment, then the closings that are due; those once an hour."""
        read = ReadBack(client := Client(context), context.settings)
        unfit: list[Unfit] = []
        try:
            for page in _batches(await _created(client, since, unfit)):
                async for one in _events(page, read, context, unfit):
                    yield one
            if context.settings.settle != closings.OFF and context.tokens.get(_CLOSINGS_LOOKED_AT) is None:
                async for closing in _closings(read, since, context):
                    yield closing
                context.tokens.put(_CLOSINGS_LOOKED_AT, "yes", _CLOSINGS_EVERY_SECONDS)
        except CrmError as error:
            raise PollFailed(str(error)) from None
        if unfit:
            # The others were told; these stay visible for as long as they cannot be read.
            raise PollFailed(f"{len(unfit)} payments cannot be read back; the first: {unfit[0]}")

    async def report(self, report: Report, context: SourceContext) -> Reported | ReportFailed:
        """A comment with the link, a task when it failed, as the settings want."""
        return await tell(report, Client(context), context.settings)

    async def estimate(self, days: int, context: SourceContext) -> Estimate | None:
        """What the lessons of the last `days` would have made, under every choice of `settle`."""
        settings: Settings = context.settings
        today = datetime.now(UTC).astimezone(zone_of(settings, context.timezone)).date()
        first, last = today - timedelta(days=days), today - timedelta(days=1)
        read = ReadBack(Client(context), settings)
        found = closings.counted([one async for one in read.charges(first, last)], settings)
        accounts = {one.account for one in found}
        return Estimate(first, last, len(accounts), len(found), closings.estimate(found), settings.settle)

    def reconsider(self, event: PaymentEvent, settings: Any) -> PaymentEvent | None:
        """The payment type or filial of a held event may be in the settings by now."""
        return routed(event, settings)


def _hint(body: bytes, settings: Settings) -> tuple[str, int] | str:
    """The event's name and the payment that it is about, or why it is no hint."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return "the body is no JSON; the poll sees what happened"
    told = told if isinstance(told, dict) else {}
    name = wire.text(told.get("event")) or ""
    name = name[:60]
    if not re.search(settings.hint_events, name):
        return f"{name or 'a webhook without a name'} is not about payments"
    thing = told.get("object")
    thing = thing if isinstance(thing, dict) else {}
    for member in ("paymentId", "id"):
        found = thing.get(member)
        if isinstance(found, int) and not isinstance(found, bool) and 0 < found < 10**18:
            return name, found
    return f"{name} names no payment; the poll sees what happened"


async def _created(client: Client, since: datetime, unfit: list[Unfit]) -> list[Payment]:
    """Each income and refund created since then, by id: the CRM gives ids in the order of creation."""
    until = datetime.now(UTC) + _AHEAD
    params = {"createdAt": f"{_moment(since)},{_moment(until)}", "optype": f"{wire.INCOME},{wire.REFUND}"}
    found: dict[int, Payment] = {}
    async for row in client.pages("/v1/company/payments", "payments", params):
        try:
            payment = wire.payment(row)
        except Unreadable as error:
            unfit.append(Unfit(f"payment {wire.text(row.get('id'))} of the list: {error}"))
        else:
            found[payment.id] = payment
    return [found[number] for number in sorted(found)]


def _batches(payments: Sequence[Payment], size: int = 200) -> list[Sequence[Payment]]:
    return [payments[start : start + size] for start in range(0, len(payments), size)]


async def _events(
    payments: Sequence[Payment], read: ReadBack, context: SourceContext, unfit: list[Unfit]
) -> AsyncIterator[PaymentEvent | Alarm]:
    """What is new of these payments, and an alarm for each whose sum is another than was reported."""
    settings: Settings = context.settings
    known: dict[EventType, Mapping[str, int | None]] = {}
    for optype, kind in TYPES.items():
        ids = [str(one.id) for one in payments if one.optype == optype]
        known[kind] = await context.known.amounts(kind, ids) if ids else {}
    for payment in payments:
        kind = TYPES.get(payment.optype, EventType.PAYMENT_SUCCEEDED)
        told = known[kind]
        if payment.optype in TYPES and str(payment.id) in told:
            before = told[str(payment.id)]
            if before is not None and before != payment.amount:
                yield _changed(payment, kind, before)
            continue
        if not_wanted(payment, settings) is not None:
            continue
        try:
            event = await _event(payment, read, context)
        except Unfit as error:
            unfit.append(error)
            continue
        if event is not None:
            yield event


async def _event(payment: Payment, read: ReadBack, context: SourceContext) -> PaymentEvent | None:
    settings: Settings = context.settings
    unlisted = str(payment.payment_type_id) not in settings.payment_types
    return event_of(
        payment,
        await read.pupil(payment.user_id),
        await read.purchase(payment) if payment.optype == wire.INCOME else None,
        await read.payment_type(payment.payment_type_id) if unlisted else None,
        settings,
        zone_of(settings, context.timezone),
        datetime.now(UTC),
    )


async def _closings(read: ReadBack, since: datetime, context: SourceContext) -> AsyncIterator[PaymentEvent | Alarm]:
    """What the groups whose day has come have not closed yet."""
    settings: Settings = context.settings
    zone, now = zone_of(settings, context.timezone), datetime.now(UTC)
    last = closings.closed_until(now, zone, settings)
    start = min(since.astimezone(zone).date(), last - timedelta(days=settings.settle_days_back))
    first = closings.first_day(settings.settle, start, 0)
    charges = closings.counted([one async for one in read.charges(first, last)], settings)
    due = [one for one in closings.groups(charges, settings.settle) if one.due <= last]
    due += [one async for one in _ended(read, start, last, settings)]
    told = await _told([one.key for one in due], context)
    names = await _names(due, read)
    for group in due:
        found = closings.owed(group, told, names, settings, zone, now)
        if found is not None:
            yield found


async def _ended(read: ReadBack, first: date, last: date, settings: Settings) -> AsyncIterator[Group]:
    """Subscriptions that ended between two days, with the lessons that they paid for."""
    whole = settings.settle == closings.SUBSCRIPTION_END
    async for owned in read.ended(last - timedelta(days=_SOLD_AT_MOST_DAYS), last):
        late = settings.settle_from is not None and (owned.sold is None or owned.sold < settings.settle_from)
        if owned.over is None or owned.user_id is None or not first <= owned.over <= last or late:
            continue
        if owned.kind in settings.delivered_subscriptions or not (whole or owned.burned):
            continue
        begins = min(one for one in (owned.sold, owned.begins, owned.over) if one is not None)
        mine: list[Charge] = [one async for one in read.charges(begins, last, owned.user_id)]
        group = closings.ended(owned, mine, settings.settle)
        if group is not None:
            yield group


async def _told(keys: Sequence[str], context: SourceContext) -> dict[str, int | None]:
    """What was reported of these groups before, with the receipts that followed the first."""
    told: dict[str, int | None] = {}
    number, asked = 1, list(keys)
    while asked:
        found = await context.known.amounts(EventType.ORDER_SETTLED, [closings.next_key(key, number) for key in asked])
        told |= found
        asked = [key for key in asked if closings.next_key(key, number) in found]
        number += 1
    return told


async def _names(due: Sequence[Group], read: ReadBack) -> dict[int, str]:
    kinds = {one.kind for group in due for one in group.charges} | {group.kind for group in due}
    named = [(kind, await read.subscription_name(kind)) for kind in kinds if kind is not None]
    return {kind: name for kind, name in named if name}


async def _gone(payment_id: int, context: SourceContext) -> Parsed:
    """A payment that the CRM no longer has: an alarm where it was reported, by whatever it was."""
    key = str(payment_id)
    kinds = [kind for kind in TYPES.values() if key in await context.known.amounts(kind, [key])]
    alarms = (Alarm(kind, key, "payment_deleted", _DELETED, _DELETED_RU) for kind in kinds)
    return Parsed(alarms=tuple(alarms), note=f"payment {payment_id} is not in the CRM")


_DELETED = "The payment was deleted in the CRM after it was reported: decide whether its receipt is returned."
_DELETED_RU = "Платёж удалён в CRM после того, как о нём сообщили: решите, нужен ли чек возврата."


def _changed(payment: Payment, kind: EventType, before: int) -> Alarm:
    return Alarm(
        kind,
        str(payment.id),
        "amount_changed",
        f"{roubles(before)} was reported, the CRM says {roubles(payment.amount)} now: decide whether the receipt is "
        "to be corrected.",
        f"Сообщено {roubles(before)} руб., а в CRM теперь {roubles(payment.amount)} руб.: решите, нужно ли исправить "
        "чек.",
    )


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
