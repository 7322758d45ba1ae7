"""Outside the batches: store one message and a delivery job for each endpoint that wants it, in the caller's tx."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from app.db.unit_of_work import Tx
from app.infra.ids import new_id
from app.queue.jobs import CHANNEL, JobKind
from app.queue.reports import report

_TELL = text(f"""
WITH told AS (
  INSERT INTO messages (id, merchant_id, receipt_id, type, sequence, body, created_at)
  VALUES (:id, :merchant, :receipt, :type, :sequence, :body, :at) RETURNING id, merchant_id, type
), fanned AS (
  INSERT INTO message_endpoints (id, merchant_id, message_id, endpoint_id)
  SELECT kassa_uuid7(), told.merchant_id, told.id, w.id FROM told JOIN webhook_endpoints w
    ON w.merchant_id = told.merchant_id AND w.status = 'active'
    AND w.types && ARRAY['*', told.type, split_part(told.type, '.', 1) || '.*']
  RETURNING id, endpoint_id
), work AS (
  INSERT INTO jobs (id, kind, lane, ref, run_at)
  SELECT kassa_uuid7(), {int(JobKind.DELIVER)}, endpoint_id, id, kassa_now() FROM fanned
)
SELECT pg_notify('{CHANNEL}', '') WHERE EXISTS (SELECT 1 FROM fanned)
""")


async def tell(
    tx: Tx,
    merchant_id: UUID,
    type: str,
    body: bytes,
    at: datetime,
    *,
    receipt_id: UUID | None = None,
    sequence: int | None = None,
) -> UUID:
    """One message with its frozen body; returns its id. What tells of a receipt's new state is reported to its sources
    as well."""
    message_id = new_id()
    await tx.execute(
        _TELL,
        {
            "id": message_id,
            "merchant": merchant_id,
            "receipt": receipt_id,
            "type": type,
            "sequence": sequence,
            "body": body,
            "at": at,
        },
    )
    if receipt_id is not None:
        await report(tx, receipt_id, type)
    return message_id
