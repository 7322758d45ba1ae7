"""Alarms as rows: each is told once, whatever repeats it."""

from uuid import UUID

from sqlalchemy.dialects.postgresql import insert

from app.db.tables import alarms
from app.db.unit_of_work import Tx
from app.infra.ids import new_id


async def add(
    tx: Tx,
    merchant_id: UUID,
    source_id: UUID,
    type: str,
    external_id: str,
    code: str,
    *,
    event_id: UUID | None,
    reason: str,
    reason_ru: str,
) -> bool:
    """Whether it is told for the first time."""
    found = await tx.execute(
        insert(alarms)
        .values(
            id=new_id(),
            merchant_id=merchant_id,
            source_id=source_id,
            type=type,
            external_id=external_id,
            code=code,
            event_id=event_id,
            reason=reason,
            reason_ru=reason_ru,
        )
        .on_conflict_do_nothing()
        .returning(alarms.c.id)
    )
    return found.one_or_none() is not None
