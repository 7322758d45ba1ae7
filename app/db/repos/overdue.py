"""What waited too long: who is told now, what is held as late, whose contact is not waited for any more."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text, update

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


# Two questions, because each has its index. Whoever takes an alarm takes it away, so that another worker does not find
# it; the next one is set in the same transaction. Neither state nor sequence is touched, so nothing in flight is hurt.
_TAKE = text("""
WITH moving AS (
  SELECT id FROM receipts WHERE status IN ('queued', 'sending', 'accepted', 'unknown') AND alarm_at <= kassa_now()
  LIMIT :limit FOR UPDATE SKIP LOCKED
), waiting AS (
  SELECT id FROM receipts WHERE status IN ('held', 'needs_attention', 'rejected') AND alarm_at <= kassa_now()
  ORDER BY alarm_at LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE receipts SET alarm_at = NULL
WHERE id IN (SELECT id FROM moving UNION ALL SELECT id FROM waiting)
RETURNING id
""")

_NEXT = text("""
UPDATE receipts r SET alarm_at = x.at
FROM unnest(CAST(:ids AS uuid[]), CAST(:moments AS timestamptz[])) AS x(id, at) WHERE r.id = x.id
""")


async def take_alarms(tx: Tx, *, limit: int = 50) -> list[UUID]:
    """Receipts whose next alarm has come, taken by this transaction alone; `set_alarms` must follow in it."""
    return list((await tx.execute(_TAKE, {"limit": limit})).scalars())


async def set_alarms(tx: Tx, moments: Sequence[tuple[UUID, datetime]]) -> None:
    """When these receipts are spoken of next."""
    await tx.execute(_NEXT, {"ids": [one for one, _ in moments], "moments": [at for _, at in moments]})


# A look without locks; the decision is made again under them. Drawn at random, so that what may not be held for other
# reasons hides nothing for ever; in the order of payment, so that a sale comes before its refunds.
_LATE = text("""
SELECT merchant_id, id FROM (SELECT r.merchant_id, r.id, r.created_at FROM receipts r
WHERE r.status = 'queued' AND r.limit_at < kassa_now() AND r.correction_draft IS NULL AND NOT r.correction
  AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.receipt_id = r.id AND NOT a.proven_absent
    AND coalesce(a.outcome, 'unknown') NOT IN ('unavailable', 'rejected') AND a.kind = 'submit')
ORDER BY random() LIMIT :limit) drawn
ORDER BY created_at, id
""")


async def late(tx: Tx, *, limit: int = 200) -> list[tuple[UUID, UUID]]:
    """(merchant, receipt) of what is past its limit and was never sent, as far as a look without locks can tell."""
    return [(row.merchant_id, row.id) for row in await tx.execute(_LATE, {"limit": limit})]


async def set_draft(tx: Tx, merchant_id: UUID, receipt_id: UUID, draft: dict[str, Any]) -> None:
    """What correction this receipt could become; from now on the clock leaves the receipt alone."""
    await tx.execute(
        update(receipts)
        .where(receipts.c.merchant_id == merchant_id, receipts.c.id == receipt_id)
        .values(correction_draft=draft)
    )


_CONTACTS = text("""
SELECT merchant_id, event_id FROM receipts
WHERE status = 'held' AND event_id IS NOT NULL AND failure->>'code' = 'contact_missing'
  AND CAST(failure->>'until' AS timestamptz) <= kassa_now()
ORDER BY created_at, id LIMIT :limit
""")


async def contacts_not_waited_for(tx: Tx, *, limit: int = 200) -> list[tuple[UUID, UUID]]:
    """(merchant, event) of payments whose buyer's contact did not come in time."""
    return [(row.merchant_id, row.event_id) for row in await tx.execute(_CONTACTS, {"limit": limit})]


async def add_contact(tx: Tx, row: ReceiptRow, new: dict[str, Any]) -> None:
    """The buyer's own address, which came after the document: sealed, its hashes for search, the told sequence."""
    await tx.execute(
        update(receipts).where(receipts.c.merchant_id == row.merchant_id, receipts.c.id == row.id).values(new)
    )
