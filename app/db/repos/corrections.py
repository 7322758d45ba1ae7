"""Corrections as rows: which documents put which receipt right, under which chain."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from app.db.tables import corrections, event_identities, events
from app.db.unit_of_work import Tx


@dataclass(frozen=True, slots=True)
class CorrectionRow:
    """`receipt_id` is what was wrong, `event_id` the event whose receipts put it right.

    `other_document`: the fiscal data of a second print that is reversed; the receipt itself still stands.
    """

    id: UUID
    merchant_id: UUID
    receipt_id: UUID
    event_id: UUID
    chain_id: UUID
    case: str
    basis: dict[str, Any]
    other_document: dict[str, Any] | None
    reason: str | None
    differences: list[str]
    notes: list[str]
    actor: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewCorrectionEvent:
    """The event that stands for a correction; its payload is sealed."""

    id: UUID
    merchant_id: UUID
    source_id: UUID
    chain_id: UUID
    type: str
    external_id: str
    content_hash: bytes
    order_id: str | None
    amount: int
    currency: str
    occurred_at: datetime
    payload: bytes
    metadata: dict[str, Any]
    received_at: datetime


_COLUMNS = tuple(corrections.c[f.name] for f in fields(CorrectionRow))


async def add(tx: Tx, row: CorrectionRow) -> None:
    """A correction whose event and documents are stored in the same transaction."""
    await tx.execute(insert(corrections).values({f.name: getattr(row, f.name) for f in fields(CorrectionRow)}))


async def by_id(tx: Tx, merchant_id: UUID, correction_id: UUID) -> CorrectionRow | None:
    """One correction of one merchant."""
    return await _one(tx, merchant_id, {"id": correction_id})


async def of_event(tx: Tx, merchant_id: UUID, event_id: UUID) -> CorrectionRow | None:
    """The correction that this event stands for."""
    return await _one(tx, merchant_id, {"event_id": event_id})


async def of_chain(tx: Tx, merchant_id: UUID, chain_id: UUID) -> list[CorrectionRow]:
    """All corrections under a payment, in their order; the caller holds the chain's lock."""
    found = await tx.execute(
        select(*_COLUMNS)
        .where(corrections.c.merchant_id == merchant_id, corrections.c.chain_id == chain_id)
        .order_by(corrections.c.created_at, corrections.c.id)
    )
    return [CorrectionRow(*row) for row in found]


async def add_event(tx: Tx, new: NewCorrectionEvent) -> bool:
    """Store the event once for ever under its identity; False when the identity is taken, and nothing is stored."""
    taken = await tx.execute(
        upsert(event_identities)
        .values(
            merchant_id=new.merchant_id,
            source_id=new.source_id,
            type=new.type,
            external_id=new.external_id,
            event_id=new.id,
            content_hash=new.content_hash,
        )
        .on_conflict_do_nothing()
        .returning(event_identities.c.event_id)
    )
    if taken.one_or_none() is None:
        return False
    stored: dict[str, Any] = {f.name: getattr(new, f.name) for f in fields(NewCorrectionEvent)}
    del stored["content_hash"]
    await tx.execute(insert(events).values(**stored, status="planned"))
    return True


async def _one(tx: Tx, merchant_id: UUID, wanted: Mapping[str, UUID]) -> CorrectionRow | None:
    query = select(*_COLUMNS).where(corrections.c.merchant_id == merchant_id)
    for name, value in wanted.items():
        query = query.where(corrections.c[name] == value)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else CorrectionRow(*row)
