"""What waited too long."""

from sqlalchemy import func, select, update

from app.db.repos.receipts import RECEIPT_COLUMNS, ReceiptRow
from app.db.tables import receipts
from app.db.unit_of_work import Tx


async def refunds_without_payment(tx: Tx, seconds: float, *, limit: int = 100) -> list[ReceiptRow]:
    """Held refunds whose payment nobody has reported for this long, not yet told; rows others work on are skipped."""
    found = await tx.execute(
        select(*RECEIPT_COLUMNS)
        .where(
            receipts.c.status == "held",
            receipts.c.failure["code"].astext == "payment_unknown",
            receipts.c.failure["overdue"].astext.is_(None),
            receipts.c.created_at < func.kassa_now() - func.make_interval(0, 0, 0, 0, 0, 0, seconds),
        )
        .order_by(receipts.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [ReceiptRow(**row._mapping) for row in found]


async def mark_told(tx: Tx, before: ReceiptRow, after: ReceiptRow) -> bool:
    """The reminder's sequence and words; False when the receipt moved meanwhile."""
    found = await tx.execute(
        update(receipts)
        .where(
            receipts.c.merchant_id == before.merchant_id,
            receipts.c.id == before.id,
            receipts.c.status == before.status,
            receipts.c.sequence == before.sequence,
        )
        .values(sequence=after.sequence, failure=after.failure, updated_at=after.updated_at)
        .returning(receipts.c.id)
    )
    return found.one_or_none() is not None
