"""Append to the timeline of an event or receipt."""

import json
from uuid import UUID

from sqlalchemy import func, insert

from app.db.records import TimelineEntry
from app.db.tables import timeline
from app.db.unit_of_work import Tx
from app.infra.ids import new_id


async def add(
    tx: Tx,
    merchant_id: UUID,
    entry: TimelineEntry,
    *,
    receipt_id: UUID | None = None,
    event_id: UUID | None = None,
) -> None:
    """One line; history is only ever added to."""
    await tx.execute(
        insert(timeline).values(
            id=new_id(),
            merchant_id=merchant_id,
            event_id=event_id,
            receipt_id=receipt_id,
            at=func.kassa_now(),
            what=entry.what,
            status=entry.status,
            actor=entry.actor,
            data=json.loads(json.dumps(entry.data, default=str)),
        )
    )
