"""Alarms about reported money: it changed at its source, or two reports contradict; a person decides.

An alarm is a line of the event's history and a message, told once for each event and code. It never makes, changes or
cancels a receipt, so it may meet any exchange in flight.
"""

from typing import Any
from uuid import UUID

import structlog

from app.db.records import TimelineEntry
from app.db.repos import alarms, events, history, receipts
from app.db.repos.events import EventRow
from app.db.unit_of_work import Tx, database_now
from app.domain.contact import mask_contacts
from app.domain.event import PaymentEvent
from app.domain.money import roubles
from app.domain.register import IMPORTED
from app.infra.ids import public
from app.outbound.messages import message_body
from app.ports.source import Alarm
from app.queue.tell import tell

log = structlog.get_logger(__name__)

MESSAGE = "event.alarm"


async def raise_alarm(tx: Tx, merchant_id: UUID, source_id: UUID, alarm: Alarm, *, actor: str = "source") -> bool:
    """Tell it unless it was told before; `tx` is the pipeline's. Words that quote a contact are masked."""
    known = await events.identity(tx, merchant_id, source_id, alarm.type.value, alarm.external_id)
    event_id = None if known is None else known.event_id
    told = {"message": mask_contacts(alarm.reason), "message_ru": mask_contacts(alarm.reason_ru)}
    if not await alarms.add(
        tx,
        merchant_id,
        source_id,
        alarm.type.value,
        alarm.external_id,
        alarm.code,
        event_id=event_id,
        reason=told["message"],
        reason_ru=told["message_ru"],
    ):
        return False
    row = None if event_id is None else await events.by_id(tx, merchant_id, event_id)
    if row is not None:
        entry = TimelineEntry("alarm", actor, None, {"code": alarm.code, **told})
        await history.add(tx, merchant_id, entry, event_id=row.id)
    at = await database_now(tx)
    data = {"alarm": {"code": alarm.code, **told}, **await _about(tx, merchant_id, source_id, alarm, event_id, row)}
    await tell(tx, merchant_id, MESSAGE, message_body(MESSAGE, at, data), at)
    log.warning("event.alarm", source_id=str(source_id), event_id=str(event_id), code=alarm.code)
    return True


async def contradicted(tx: Tx, merchant_id: UUID, source_id: UUID, event: PaymentEvent) -> bool:
    """The same identity came with other content: what was reported first stands, and people hear of the difference.

    A payment that a register told first, in fewer words, differs by its sum only.
    """
    known = await events.identity(tx, merchant_id, source_id, event.type.value, event.external_id)
    row = None if known is None else await events.by_id(tx, merchant_id, known.event_id)
    before = None if row is None else row.amount
    if before is not None and before != event.amount:
        was, now = f"{roubles(before):.2f}", f"{roubles(event.amount):.2f}"
        alarm = Alarm(
            event.type,
            event.external_id,
            "amount_changed",
            f"The source now says {now} where it said {was}. The receipt stands as it was first reported.",
            f"Источник теперь сообщает сумму {now}, а раньше сообщал {was}. Чек остаётся по первому сообщению.",
        )
    elif row is not None and row.metadata.get(IMPORTED) is True:
        return False
    else:
        alarm = Alarm(
            event.type,
            event.external_id,
            "content_changed",
            "The source now reports the same payment with other content. What it said first stands.",
            "Источник сообщает о том же платеже другое содержание. В силе остаётся первое сообщение.",
        )
    return await raise_alarm(tx, merchant_id, source_id, alarm)


async def _about(
    tx: Tx, merchant_id: UUID, source_id: UUID, alarm: Alarm, event_id: UUID | None, row: EventRow | None
) -> dict[str, Any]:
    """Which event, and what stands for it; one that was never reported here has neither id nor receipts."""
    stands_for = None if row is None else row.linked_to or row.id
    made = [] if stands_for is None else await receipts.of_event(tx, merchant_id, stands_for)
    return {
        "event": {
            "id": None if event_id is None else public("evt", event_id),
            "source_id": public("src", source_id),
            "type": alarm.type.value,
            "external_id": alarm.external_id,
            "order_id": None if row is None else row.order_id,
            "status": None if row is None else row.status,
            "amount": None if row is None else row.amount,
        },
        "receipts": [{"id": public("rcpt", one.id), "status": one.status, "total": one.total} for one in made],
    }
