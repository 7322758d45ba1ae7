"""Kassas as rows: created, listed, changed, locked while they are judged."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update

from app.db.repos.listing import newest
from app.db.repos.paging import Position
from app.db.repos.settings import KassaRow
from app.db.tables import kassas
from app.db.unit_of_work import Tx


async def create(tx: Tx, merchant_id: UUID, kassa_id: UUID, values: dict[str, Any]) -> KassaRow:
    row = await tx.execute(insert(kassas).values(id=kassa_id, merchant_id=merchant_id, **values).returning(kassas))
    return KassaRow(**row.one()._mapping)


async def by_id(tx: Tx, merchant_id: UUID, kassa_id: UUID, *, lock: bool = False) -> KassaRow | None:
    query = select(kassas).where(kassas.c.merchant_id == merchant_id, kassas.c.id == kassa_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else KassaRow(**row._mapping)


async def page(tx: Tx, merchant_id: UUID, before: Position | None, limit: int) -> list[KassaRow]:
    query = select(kassas).where(kassas.c.merchant_id == merchant_id)
    return [KassaRow(**row._mapping) for row in await tx.execute(newest(query, kassas, before, limit))]


async def change(tx: Tx, merchant_id: UUID, kassa_id: UUID, values: dict[str, Any]) -> KassaRow:
    """The caller has read the kassa before; its row after the change."""
    row = await tx.execute(
        update(kassas)
        .where(kassas.c.merchant_id == merchant_id, kassas.c.id == kassa_id)
        .values(**values, updated_at=func.kassa_now())
        .returning(kassas)
    )
    return KassaRow(**row.one()._mapping)


async def checked(tx: Tx, merchant_id: UUID, kassa_id: UUID, report: dict[str, Any]) -> KassaRow:
    """Keep what a check found and when; the settings themselves do not change by it."""
    row = await tx.execute(
        update(kassas)
        .where(kassas.c.merchant_id == merchant_id, kassas.c.id == kassa_id)
        .values(checked_at=func.kassa_now(), check_report=report)
        .returning(kassas)
    )
    return KassaRow(**row.one()._mapping)
