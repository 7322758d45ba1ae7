"""After a change of settings: whatever this merchant's payments were waiting for may be there now."""

from uuid import UUID

from sqlalchemy import text

from app.db.unit_of_work import Tx
from app.queue.jobs import CHANNEL, JobKind

# Returns and closings wait for their sale, which wakes them; where settings are what is missing, nothing else would.
_WAITS = """(e.type = 'payment.succeeded'
    OR r.failure ->> 'code' IN ('kassa_missing', 'data_missing', 'nomenclature_missing'))"""

_REPLAN = text(f"""
WITH again AS (
  INSERT INTO jobs (id, kind, lane, chain, ref, run_at)
  SELECT kassa_uuid7(), {int(JobKind.PLAN)}, e.source_id, e.chain_id, e.id, kassa_now()
  FROM receipts r JOIN events e ON e.id = r.event_id
  WHERE r.merchant_id = :merchant AND r.status = 'held' AND {_WAITS}
  ON CONFLICT (ref) DO NOTHING RETURNING id
)
SELECT pg_notify('{CHANNEL}', '') WHERE EXISTS (SELECT 1 FROM again)
""")

# A process believes settings for some seconds: what another one held under the old rules, just after they changed, was
# not there to be planned again.
_REPLAN_LATE = text(f"""
WITH again AS (
  INSERT INTO jobs (id, kind, lane, chain, ref, run_at)
  SELECT kassa_uuid7(), {int(JobKind.PLAN)}, e.source_id, e.chain_id, e.id, kassa_now()
  FROM merchants m
  JOIN receipts r ON r.merchant_id = m.id AND r.status = 'held'
    AND r.created_at BETWEEN m.nomenclature_at - interval '30 seconds' AND m.nomenclature_at + interval '30 seconds'
  JOIN events e ON e.id = r.event_id
  WHERE m.nomenclature_at > kassa_now() - interval '5 minutes' AND {_WAITS}
  ORDER BY e.id
  ON CONFLICT (ref) DO NOTHING RETURNING id
)
SELECT pg_notify('{CHANNEL}', '') WHERE EXISTS (SELECT 1 FROM again)
""")


async def replan_held(tx: Tx, merchant_id: UUID) -> None:
    """A plan job for each held payment of a merchant, and for returns that wait for a setting; they go on."""
    await tx.execute(_REPLAN, {"merchant": merchant_id})


async def replan_held_late(tx: Tx) -> None:
    """The same for what was held of any merchant around the moment at which its nomenclature changed."""
    await tx.execute(_REPLAN_LATE)
