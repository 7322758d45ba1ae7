"""Prepayments: what closings of whole orders drew from each payment, and the prepaid sales that are still open."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, insert, select, text, tuple_, update

from app.db.repos.paging import Position
from app.db.repos.receipts import RECEIPT_COLUMNS, ReceiptRow
from app.db.tables import PREPAID_SALE, receipts, settlement_parts
from app.db.unit_of_work import Tx


@dataclass(frozen=True, slots=True)
class Part:
    """What one receipt took from one prepayment. `status` is that receipt's own; None: it was final, and is too old to
    be kept. `moved`: it is a payment of its own that offset this one, else the closing of an order; a negative amount
    is what such a payment's return by offset gave back."""

    receipt_id: UUID
    chain_id: UUID
    amount: int
    items: list[dict[str, Any]]
    event_id: UUID | None
    status: str | None
    document: dict[str, Any] | None
    moved: bool = False


async def parts_on(tx: Tx, merchant_id: UUID, chain_ids: Sequence[UUID]) -> list[Part]:
    """What was drawn from these payments, oldest closing first."""
    if not chain_ids:
        return []
    found = await tx.execute(
        select(
            settlement_parts.c.receipt_id,
            settlement_parts.c.chain_id,
            settlement_parts.c.amount,
            settlement_parts.c["items"],
            receipts.c.event_id,
            receipts.c.status,
            receipts.c.document,
            settlement_parts.c.moved,
        )
        .outerjoin(receipts, receipts.c.id == settlement_parts.c.receipt_id)
        .where(settlement_parts.c.merchant_id == merchant_id, settlement_parts.c.chain_id.in_(chain_ids))
        .order_by(settlement_parts.c.created_at, settlement_parts.c.receipt_id)
    )
    return [Part(*row) for row in found]


async def drawn_by(tx: Tx, merchant_id: UUID, receipt_ids: Sequence[UUID]) -> list[UUID]:
    """The payments that these closings drew on, in order of id."""
    found = await tx.execute(
        select(settlement_parts.c.chain_id)
        .distinct()
        .where(settlement_parts.c.merchant_id == merchant_id, settlement_parts.c.receipt_id.in_(receipt_ids))
        .order_by(settlement_parts.c.chain_id)
    )
    return list(found.scalars())


async def drawn_in(tx: Tx, merchant_id: UUID, chain_id: UUID) -> list[UUID]:
    """The payments that receipts of this chain drew on, in order of id."""
    found = await tx.execute(
        select(settlement_parts.c.chain_id)
        .distinct()
        .join(receipts, receipts.c.id == settlement_parts.c.receipt_id)
        .where(settlement_parts.c.merchant_id == merchant_id, receipts.c.chain_id == chain_id)
        .order_by(settlement_parts.c.chain_id)
    )
    return list(found.scalars())


async def parts_of(tx: Tx, merchant_id: UUID, receipt_ids: Sequence[UUID]) -> list[Part]:
    """What these receipts drew from other payments, oldest payment first."""
    found = await tx.execute(
        select(
            settlement_parts.c.receipt_id,
            settlement_parts.c.chain_id,
            settlement_parts.c.amount,
            settlement_parts.c["items"],
            receipts.c.event_id,
            receipts.c.status,
            receipts.c.document,
        )
        .join(receipts, receipts.c.id == settlement_parts.c.receipt_id)
        .where(settlement_parts.c.merchant_id == merchant_id, settlement_parts.c.receipt_id.in_(receipt_ids))
        .order_by(settlement_parts.c.chain_id, settlement_parts.c.created_at)
    )
    return [Part(*row) for row in found]


async def set_parts(
    tx: Tx,
    merchant_id: UUID,
    receipt_id: UUID,
    parts: Mapping[UUID, tuple[int, list[dict[str, Any]]]],
    *,
    moved: bool,
) -> None:
    """What a receipt takes from each payment, in place of what it took when it was planned before; `moved` as in
    `Part`."""
    await tx.execute(
        delete(settlement_parts).where(
            settlement_parts.c.merchant_id == merchant_id, settlement_parts.c.receipt_id == receipt_id
        )
    )
    if parts:
        await tx.execute(
            insert(settlement_parts),
            [
                {
                    "receipt_id": receipt_id,
                    "chain_id": chain_id,
                    "merchant_id": merchant_id,
                    "amount": amount,
                    "items": items,
                    "moved": moved,
                }
                for chain_id, (amount, items) in parts.items()
            ],
        )


async def set_closed(tx: Tx, merchant_id: UUID, receipt_id: UUID, *, closed: bool) -> None:
    """Whether nothing of a prepaid sale is open any more: closed ones leave the list of what waits."""
    await tx.execute(
        update(receipts)
        .where(
            receipts.c.merchant_id == merchant_id,
            receipts.c.id == receipt_id,
            receipts.c.prepayment_closed.is_not(closed),
        )
        .values(prepayment_closed=closed)
    )


@dataclass(frozen=True, slots=True)
class PrepaymentFilter:
    """Which prepayments: each member narrows, an empty one does not. Contacts are given as their keyed hashes."""

    open: bool | None = None
    order_id: str | None = None
    created_to: datetime | None = None
    email_hash: bytes | None = None
    phone_hash: bytes | None = None


async def page(
    tx: Tx, merchant_id: UUID, wanted: PrepaymentFilter, before: Position | None, limit: int
) -> list[ReceiptRow]:
    """The newest prepaid sales behind a position, newest first; refused, cancelled and held ones received nothing."""
    # Open and closed ones lie in two ranges of one index: two short walks instead of a long one.
    states = (False, True) if wanted.open is None else (not wanted.open,)
    rows = [row for closed in states for row in await _page(tx, merchant_id, wanted, closed, before, limit)]
    return sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)[:limit]


async def _page(
    tx: Tx, merchant_id: UUID, wanted: PrepaymentFilter, closed: bool, before: Position | None, limit: int
) -> list[ReceiptRow]:
    query = select(*RECEIPT_COLUMNS).where(
        receipts.c.merchant_id == merchant_id,
        receipts.c.prepayment_closed.is_(closed),
        text(PREPAID_SALE),
        receipts.c.status.not_in(("held", "rejected", "cancelled")),
        receipts.c.correction.is_(False),
    )
    for name in ("order_id", "email_hash", "phone_hash"):
        if (value := getattr(wanted, name)) is not None:
            query = query.where(receipts.c[name] == value)
    if wanted.created_to is not None:
        query = query.where(receipts.c.created_at < wanted.created_to)
    if before is not None:
        query = query.where(tuple_(receipts.c.created_at, receipts.c.id) < tuple_(*before))
    found = await tx.execute(query.order_by(receipts.c.created_at.desc(), receipts.c.id.desc()).limit(limit))
    return [ReceiptRow(**row._mapping) for row in found]


async def of_chains(tx: Tx, merchant_id: UUID, chain_ids: Sequence[UUID]) -> list[ReceiptRow]:
    """All receipts of these payments, oldest first."""
    found = await tx.execute(
        select(*RECEIPT_COLUMNS)
        .where(receipts.c.merchant_id == merchant_id, receipts.c.chain_id.in_(chain_ids))
        .order_by(receipts.c.created_at, receipts.c.id)
    )
    return [ReceiptRow(**row._mapping) for row in found]
