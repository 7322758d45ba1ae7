"""Merchants and their branches: created, listed, changed."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.db.repos.listing import newest
from app.db.repos.paging import Position
from app.db.repos.settings import BranchRow, MerchantRow
from app.db.tables import branches, kassas, merchants
from app.db.unit_of_work import Tx
from app.domain.errors import Conflict


async def create(tx: Tx, merchant_id: UUID, name: str, inn: str) -> MerchantRow:
    row = await tx.execute(insert(merchants).values(id=merchant_id, name=name, inn=inn).returning(merchants))
    return MerchantRow(**row.one()._mapping)


async def page(tx: Tx, before: Position | None, limit: int) -> list[MerchantRow]:
    """All merchants of the installation, newest first; only an admin may see this list."""
    found = await tx.execute(newest(select(merchants), merchants, before, limit))
    return [MerchantRow(**row._mapping) for row in found]


async def update_merchant(tx: Tx, merchant_id: UUID, values: dict[str, Any]) -> MerchantRow | None:
    found = await tx.execute(
        update(merchants)
        .where(merchants.c.id == merchant_id)
        .values(**values, updated_at=func.kassa_now())
        .returning(merchants)
    )
    row = found.one_or_none()
    return None if row is None else MerchantRow(**row._mapping)


async def has_used_kassa(tx: Tx, merchant_id: UUID) -> bool:
    """Whether any kassa of the merchant ever sent a receipt."""
    found = await tx.execute(
        select(kassas.c.id).where(kassas.c.merchant_id == merchant_id, kassas.c.first_used_at.is_not(None)).limit(1)
    )
    return found.one_or_none() is not None


async def create_branch(tx: Tx, merchant_id: UUID, branch_id: UUID, values: dict[str, Any]) -> BranchRow:
    """Conflict when another branch of the merchant has this external id."""
    try:
        row = await tx.execute(
            insert(branches).values(id=branch_id, merchant_id=merchant_id, **values).returning(branches)
        )
    except IntegrityError as error:
        raise _taken() from error
    return BranchRow(**row.one()._mapping)


async def branch(tx: Tx, merchant_id: UUID, branch_id: UUID) -> BranchRow | None:
    found = await tx.execute(select(branches).where(branches.c.merchant_id == merchant_id, branches.c.id == branch_id))
    row = found.one_or_none()
    return None if row is None else BranchRow(**row._mapping)


async def branches_page(tx: Tx, merchant_id: UUID, before: Position | None, limit: int) -> list[BranchRow]:
    query = select(branches).where(branches.c.merchant_id == merchant_id)
    return [BranchRow(**row._mapping) for row in await tx.execute(newest(query, branches, before, limit))]


async def update_branch(tx: Tx, merchant_id: UUID, branch_id: UUID, values: dict[str, Any]) -> BranchRow | None:
    """None when the merchant has no such branch; Conflict as for `create_branch`."""
    try:
        found = await tx.execute(
            update(branches)
            .where(branches.c.merchant_id == merchant_id, branches.c.id == branch_id)
            .values(**values, updated_at=func.kassa_now())
            .returning(branches)
        )
    except IntegrityError as error:
        raise _taken() from error
    row = found.one_or_none()
    return None if row is None else BranchRow(**row._mapping)


def _taken() -> Conflict:
    return Conflict("Another branch has this external_id; each branch of a merchant needs its own.")
