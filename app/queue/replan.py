"""After a change of settings: whatever this merchant's payments were waiting for may be there now."""

from uuid import UUID

from sqlalchemy import text

from app.db.unit_of_work import Tx
from app.queue.jobs import CHANNEL, JobKind

_REPLAN = text(f"""
WITH again AS (
  INSERT INTO jobs (id, kind, lane, chain, ref, run_at)
  SELECT kassa_uuid7(), {int(JobKind.PLAN)}, e.source_id, e.chain_id, e.id, kassa_now()
  FROM receipts r JOIN events e ON e.id = r.event_id
  WHERE r.merchant_id = :merchant AND r.status = 'held' AND e.type = 'payment.succeeded'
  ON CONFLICT (ref) DO NOTHING RETURNING id
)
SELECT pg_notify('{CHANNEL}', '') WHERE EXISTS (SELECT 1 FROM again)
""")


async def replan_held(tx: Tx, merchant_id: UUID) -> None:
    """A plan job for each held payment of a merchant; they go on by themselves."""
    await tx.execute(_REPLAN, {"merchant": merchant_id})
