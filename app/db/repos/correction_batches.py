"""Lists of payments without receipts: previewed, confirmed once, and what became of each row."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, insert, select, update

from app.db.tables import correction_batches as batches
from app.db.tables import correction_rows as rows
from app.db.tables import receipts
from app.db.unit_of_work import Tx


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One list. `documents` and `total` (kopecks) count what would be made, `refused` the rows that would not."""

    id: UUID
    merchant_id: UUID
    source_id: UUID
    token_hash: bytes
    documents: int
    refused: int
    total: int
    actor: str
    created_at: datetime
    expires_at: datetime
    confirmed_at: datetime | None = None
    confirmed_by: str | None = None


@dataclass(frozen=True, slots=True)
class PaymentRow:
    """One row: `planned`, `refused`, `sent` or `failed`. `payload` is sealed and goes when the row is done.

    `digest` is that of the document which the preview showed.
    """

    id: UUID
    merchant_id: UUID
    batch_id: UUID
    number: int
    external_id: str | None
    amount: int | None
    state: str
    findings: list[dict[str, Any]]
    digest: bytes | None
    payload: bytes | None
    event_id: UUID | None


_BATCH = tuple(batches.c[f.name] for f in fields(BatchRow))
_ROW = tuple(rows.c[f.name] for f in fields(PaymentRow))


async def add(tx: Tx, merchant_id: UUID, batch: BatchRow, payments: Sequence[PaymentRow]) -> None:
    """Keep a list; earlier ones of this merchant that nobody confirmed in time go."""
    await tx.execute(
        delete(batches).where(
            batches.c.merchant_id == merchant_id,
            batches.c.confirmed_at.is_(None),
            batches.c.expires_at < func.kassa_now(),
        )
    )
    await tx.execute(insert(batches).values({f.name: getattr(batch, f.name) for f in fields(BatchRow)}))
    await tx.execute(insert(rows), [{f.name: getattr(one, f.name) for f in fields(PaymentRow)} for one in payments])


async def by_id(tx: Tx, merchant_id: UUID, batch_id: UUID, *, lock: bool = False) -> BatchRow | None:
    """One list of one merchant, locked until the transaction ends if asked for."""
    query = select(*_BATCH).where(batches.c.merchant_id == merchant_id, batches.c.id == batch_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else BatchRow(*row)


async def of_batch(tx: Tx, merchant_id: UUID, batch_id: UUID) -> list[PaymentRow]:
    """Its rows, in the order of the list."""
    found = await tx.execute(
        select(*_ROW).where(rows.c.merchant_id == merchant_id, rows.c.batch_id == batch_id).order_by(rows.c.number)
    )
    return [PaymentRow(*row) for row in found]


async def made(tx: Tx, merchant_id: UUID, batch_id: UUID) -> dict[UUID, tuple[UUID, str]]:
    """The receipts that the rows became: event → (receipt, status)."""
    found = await tx.execute(
        select(receipts.c.event_id, receipts.c.id, receipts.c.status)
        .join(rows, rows.c.event_id == receipts.c.event_id)
        .where(rows.c.merchant_id == merchant_id, receipts.c.merchant_id == merchant_id, rows.c.batch_id == batch_id)
    )
    return {event: (receipt, status) for event, receipt, status in found}


async def confirm(tx: Tx, merchant_id: UUID, batch_id: UUID, actor: str) -> None:
    """A person said yes."""
    await tx.execute(
        update(batches)
        .where(batches.c.merchant_id == merchant_id, batches.c.id == batch_id)
        .values(confirmed_at=func.kassa_now(), confirmed_by=actor)
    )


async def finish_row(
    tx: Tx, merchant_id: UUID, row_id: UUID, state: str, findings: list[dict[str, Any]], event_id: UUID | None
) -> None:
    """What became of a row; what was told of it is no longer kept here."""
    await tx.execute(
        update(rows)
        .where(rows.c.merchant_id == merchant_id, rows.c.id == row_id)
        .values(state=state, findings=findings, event_id=event_id, payload=None)
    )
