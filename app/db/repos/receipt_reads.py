"""Receipts as the API asks for them: by many filters, in pages, and those of several events at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, bindparam, func, select, tuple_

from app.db.repos.paging import Position
from app.db.repos.receipts import RECEIPT_COLUMNS, ReceiptRow
from app.db.tables import receipts
from app.db.unit_of_work import Tx


@dataclass(frozen=True, slots=True)
class ReceiptFilter:
    """Which receipts: each member narrows, an empty one does not. Contacts are given as their keyed hashes."""

    status: tuple[str, ...] = ()
    operation: tuple[str, ...] = ()
    order_id: str | None = None
    external_id: str | None = None
    kassa_id: UUID | None = None
    branch_id: UUID | None = None
    event_id: UUID | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    fd: int | None = None
    fpd: str | None = None
    email_hash: bytes | None = None
    phone_hash: bytes | None = None
    phone_tail_hash: bytes | None = None
    cause: str | None = None


_EQUAL = (
    "order_id",
    "external_id",
    "kassa_id",
    "branch_id",
    "event_id",
    "fd",
    "fpd",
    "email_hash",
    "phone_hash",
    "phone_tail_hash",
)


async def page(
    tx: Tx, merchant_id: UUID, wanted: ReceiptFilter, before: Position | None, limit: int
) -> list[ReceiptRow]:
    """The newest receipts behind a position, newest first."""
    query = _narrowed(select(*RECEIPT_COLUMNS), merchant_id, wanted)
    if before is not None:
        query = query.where(tuple_(receipts.c.created_at, receipts.c.id) < tuple_(*before))
    found = await tx.execute(query.order_by(receipts.c.created_at.desc(), receipts.c.id.desc()).limit(limit))
    return [ReceiptRow(**row._mapping) for row in found]


async def ids(tx: Tx, merchant_id: UUID, wanted: ReceiptFilter, after: UUID | None, limit: int) -> list[UUID]:
    """Ids of the receipts that match behind one of them, oldest first: a backlog is worked off in its order."""
    query = _narrowed(select(receipts.c.id), merchant_id, wanted)
    if after is not None:
        since = await tx.execute(
            select(receipts.c.created_at).where(receipts.c.merchant_id == merchant_id, receipts.c.id == after)
        )
        position = since.scalar_one_or_none()
        # By time and id like every list: by id alone the whole table's key would be walked, of all merchants.
        query = query.where(
            receipts.c.id > after
            if position is None
            else tuple_(receipts.c.created_at, receipts.c.id) > tuple_(position, after)
        )
    found = await tx.execute(query.order_by(receipts.c.created_at, receipts.c.id).limit(limit))
    return list(found.scalars())


async def count(tx: Tx, merchant_id: UUID, wanted: ReceiptFilter) -> int:
    """How many receipts match."""
    found: int = (
        await tx.execute(_narrowed(select(func.count()).select_from(receipts), merchant_id, wanted))
    ).scalar_one()
    return found


async def of_events(tx: Tx, merchant_id: UUID, event_ids: Sequence[UUID]) -> dict[UUID, list[ReceiptRow]]:
    """Receipts of several events, each event's in their order."""
    found = await tx.execute(
        select(*RECEIPT_COLUMNS)
        .where(receipts.c.merchant_id == merchant_id, receipts.c.event_id.in_(event_ids))
        .order_by(receipts.c.event_id, receipts.c.number)
    )
    by_event: dict[UUID, list[ReceiptRow]] = {event_id: [] for event_id in event_ids}
    for row in found:
        by_event[row.event_id].append(ReceiptRow(**row._mapping))
    return by_event


async def statuses_of_event(tx: Tx, merchant_id: UUID, event_id: UUID) -> list[str]:
    """States of an event's receipts, nothing else: asked again and again while somebody waits."""
    found = await tx.execute(
        select(receipts.c.status).where(receipts.c.merchant_id == merchant_id, receipts.c.event_id == event_id)
    )
    return list(found.scalars())


def _narrowed(query: Select[Any], merchant_id: UUID, wanted: ReceiptFilter) -> Select[Any]:
    query = query.where(receipts.c.merchant_id == merchant_id)
    if wanted.status:
        query = query.where(_one_of("status", wanted.status))
    if wanted.operation:
        query = query.where(_one_of("operation", wanted.operation))
    for name in _EQUAL:
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(receipts.c[name] == value)
    if wanted.cause is not None:
        query = query.where(receipts.c.failure["code"].astext == wanted.cause)
    if wanted.created_from is not None:
        query = query.where(receipts.c.created_at >= wanted.created_from)
    if wanted.created_to is not None:
        query = query.where(receipts.c.created_at < wanted.created_to)
    return query


def _one_of(name: str, values: Sequence[str]) -> ColumnElement[bool]:
    """Words of our own, written into the statement: a partial index is used only where the planner sees its words."""
    column = receipts.c[name]
    if len(values) == 1:
        return column == bindparam(f"the_{name}", values[0], literal_execute=True)
    return column.in_(bindparam(f"the_{name}", list(values), expanding=True, literal_execute=True))
