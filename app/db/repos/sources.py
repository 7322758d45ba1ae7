"""Sources as rows: created, listed, changed."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update

from app.db.repos.listing import newest
from app.db.repos.paging import Position
from app.db.repos.settings import SourceRow
from app.db.tables import sources
from app.db.unit_of_work import Tx


async def create(tx: Tx, merchant_id: UUID, source_id: UUID, values: dict[str, Any]) -> SourceRow:
    row = await tx.execute(insert(sources).values(id=source_id, merchant_id=merchant_id, **values).returning(sources))
    return SourceRow(**row.one()._mapping)


async def by_id(tx: Tx, merchant_id: UUID, source_id: UUID, *, lock: bool = False) -> SourceRow | None:
    query = select(sources).where(sources.c.merchant_id == merchant_id, sources.c.id == source_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else SourceRow(**row._mapping)


async def page(tx: Tx, merchant_id: UUID, before: Position | None, limit: int) -> list[SourceRow]:
    query = select(sources).where(sources.c.merchant_id == merchant_id)
    return [SourceRow(**row._mapping) for row in await tx.execute(newest(query, sources, before, limit))]


async def change(tx: Tx, merchant_id: UUID, source_id: UUID, values: dict[str, Any]) -> SourceRow:
    """The caller has read the source before; its row after the change."""
    row = await tx.execute(
        update(sources)
        .where(sources.c.merchant_id == merchant_id, sources.c.id == source_id)
        .values(**values, updated_at=func.kassa_now())
        .returning(sources)
    )
    return SourceRow(**row.one()._mapping)
