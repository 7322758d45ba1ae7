"""Append-only: who changed which setting. Holds no secret and no buyer contact."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, insert

from app.db.tables import audit
from app.db.unit_of_work import Tx
from app.infra.ids import new_id


async def record(
    tx: Tx, actor: str, action: str, *, merchant_id: UUID | None, object_id: str, data: dict[str, Any] | None = None
) -> None:
    """One line, in the transaction of the change itself; `data` is what was asked for, secrets left out."""
    await tx.execute(
        insert(audit).values(
            id=new_id(),
            merchant_id=merchant_id,
            at=func.kassa_now(),
            actor=actor,
            action=action,
            object_id=object_id,
            data=data or {},
        )
    )
