"""Messages for one endpoint alone: a test, or what was lost sent once more with the same ids and bytes."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from app.db.unit_of_work import Tx
from app.infra.ids import new_id
from app.queue.jobs import CHANNEL, JobKind

_TELL_ONE = text(f"""
WITH told AS (
  INSERT INTO messages (id, merchant_id, type, body, created_at)
  VALUES (:id, :merchant, :type, :body, :at) RETURNING id, merchant_id
), addressed AS (
  INSERT INTO message_endpoints (id, merchant_id, message_id, endpoint_id)
  SELECT kassa_uuid7(), merchant_id, id, :endpoint FROM told RETURNING id, endpoint_id
), work AS (
  INSERT INTO jobs (id, kind, lane, ref, run_at)
  SELECT kassa_uuid7(), {int(JobKind.DELIVER)}, endpoint_id, id, kassa_now() FROM addressed
)
SELECT pg_notify('{CHANNEL}', '')
""")

# Messages that came while the endpoint was switched off have no row here yet; theirs is made now. A job that waits
# for its next try is made due, one that is being posted at this moment is left alone.
_REPLAY = text(f"""
WITH wanted AS (
  SELECT m.id AS message_id
  FROM messages m LEFT JOIN message_endpoints me ON me.message_id = m.id AND me.endpoint_id = :endpoint
  WHERE m.merchant_id = :merchant
    AND (CAST(:message AS uuid) IS NULL OR m.id = CAST(:message AS uuid))
    AND (CAST(:message AS uuid) IS NOT NULL OR (
      m.created_at >= :since AND m.created_at < :until
      AND (me.id IS NOT NULL OR CAST(:types AS text[]) && ARRAY['*', m.type, split_part(m.type, '.', 1) || '.*'])
      AND (NOT CAST(:failed AS boolean) OR coalesce(me.status, 'skipped') NOT IN ('delivered', 'pending'))))
  ORDER BY m.created_at, m.id LIMIT :n
), addressed AS (
  INSERT INTO message_endpoints AS me (id, merchant_id, message_id, endpoint_id)
  SELECT kassa_uuid7(), :merchant, message_id, :endpoint FROM wanted
  ON CONFLICT (message_id, endpoint_id) DO UPDATE SET status = 'pending', attempts = 0, delivered_at = NULL
  RETURNING me.id
), work AS (
  INSERT INTO jobs AS j (id, kind, lane, ref, run_at)
  SELECT kassa_uuid7(), {int(JobKind.DELIVER)}, :endpoint, id, kassa_now() FROM addressed
  ON CONFLICT (ref) DO UPDATE SET run_at = least(j.run_at, excluded.run_at), attempt = 0 WHERE j.lease_token IS NULL
)
SELECT count(*) AS sent, (SELECT pg_notify('{CHANNEL}', '') WHERE EXISTS (SELECT 1 FROM addressed)) FROM addressed
""")


async def tell_one(tx: Tx, merchant_id: UUID, endpoint_id: UUID, type: str, body: bytes, at: datetime) -> UUID:
    """A message that only this endpoint gets, whatever types it wants; returns the message's id."""
    message_id = new_id()
    await tx.execute(
        _TELL_ONE,
        {"id": message_id, "merchant": merchant_id, "endpoint": endpoint_id, "type": type, "body": body, "at": at},
    )
    return message_id


async def replay(
    tx: Tx,
    merchant_id: UUID,
    endpoint_id: UUID,
    *,
    message_id: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    only_failed: bool = False,
    types: list[str] | None = None,
    limit: int = 1,
) -> int:
    """Send one message, or those of a range that the endpoint wants, once more; returns how many, oldest first."""
    found = await tx.execute(
        _REPLAY,
        {
            "merchant": merchant_id,
            "endpoint": endpoint_id,
            "message": message_id,
            "since": since,
            "until": until,
            "failed": only_failed,
            "types": types or [],
            "n": limit,
        },
    )
    sent: int = found.one().sent
    return sent
