"""Income of a calendar year from printed receipts, and which shares of a bound a merchant was told of."""

from uuid import UUID

from sqlalchemy import text

from app.db.unit_of_work import Tx
from app.domain.vat_review import Reached

# УСН counts money when it moves (cash and electronic), so an offset (1215) is no income and neither is a debt (1216).
# Of goods sold for a principal the money is the principal's. A correction belongs to the day that it corrects, every
# other receipt to its own, where the kassa stands. A month before the year is looked at for what was printed late.
_INCOME = text("""
WITH money AS (
  SELECT
    CASE r.operation WHEN 'sell' THEN 1 WHEN 'sell_refund' THEN -1 ELSE 0 END AS sign,
    r.total,
    (SELECT coalesce(sum((p ->> 'amount')::bigint), 0) FROM jsonb_array_elements(r.document -> 'payments') p
      WHERE p ->> 'kind' IN ('cash', 'electronic')) AS paid,
    (SELECT coalesce(sum((i ->> 'amount')::bigint), 0) FROM jsonb_array_elements(r.document -> 'items') i
      WHERE i -> 'agent' IS NULL) AS own,
    coalesce(
      (r.document #>> '{correction,corrected_date}')::date,
      ((r.fiscal ->> 'fiscalized_at')::timestamptz AT TIME ZONE k.timezone)::date
    ) AS day
  FROM receipts r JOIN kassas k ON k.id = r.kassa_id
  WHERE r.merchant_id = :merchant AND r.status = 'fiscalized' AND NOT k.test AND r.document IS NOT NULL
    AND r.created_at >= make_timestamptz(:year - 1, 12, 1, 0, 0, 0, 'UTC')
)
SELECT coalesce(sum(sign * (CASE WHEN own = total THEN paid ELSE paid * own / total END)), 0)::bigint
FROM money WHERE total > 0 AND day >= make_date(:year, 1, 1) AND day < make_date(:year + 1, 1, 1)
""")

_TAKE = text("""
UPDATE merchants SET vat_reviewed_at = kassa_now() WHERE id IN (
  SELECT id FROM merchants
  WHERE status = 'active' AND (vat_reviewed_at IS NULL OR vat_reviewed_at < kassa_now() - interval '24 hours')
  ORDER BY vat_reviewed_at NULLS FIRST, id LIMIT :limit FOR UPDATE SKIP LOCKED
)
RETURNING id
""")

_TELL = text("""
INSERT INTO vat_reviews (merchant_id, year, kind, bound_year, percent, income, bound, told_at)
VALUES (:merchant, :year, :kind, :bound_year, :percent, :income, :bound, kassa_now())
ON CONFLICT DO NOTHING RETURNING percent
""")


async def income(tx: Tx, merchant_id: UUID, year: int) -> int:
    """Kopecks that came in during this calendar year less those that were returned; test kassas do not count."""
    found = await tx.execute(_INCOME, {"merchant": merchant_id, "year": year})
    return int(found.scalar_one())


async def take_due(tx: Tx, limit: int) -> list[UUID]:
    """Merchants that were not reviewed for a day, taken for the caller."""
    return [row.id for row in await tx.execute(_TAKE, {"limit": limit})]


async def first_told(tx: Tx, merchant_id: UUID, one: Reached) -> bool:
    """Note that this share is told; False when it was before."""
    found = await tx.execute(
        _TELL,
        {
            "merchant": merchant_id,
            "year": one.year,
            "kind": one.bound.kind.value,
            "bound_year": one.bound.year,
            "percent": one.percent,
            "income": one.income,
            "bound": one.bound.income,
        },
    )
    return found.one_or_none() is not None
