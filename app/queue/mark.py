"""T3: the mark that must be committed before the first byte is sent; no returned row means do not send."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from app.db.planner import by_index
from app.db.records import columns, names, unnest
from app.db.repos.receipts import EVIDENCE


class Mark(NamedTuple):
    """One submit about to happen: the job's lease, the receipt as it was read, the attempt that stands for it.

    `first_use`: the kassa had never been used when it was read, so its provider, base URL and group could still change.
    `epoch`, `restored_at`: the epoch for which it was judged whether this may be sent. `asks`: sending again is how
    this provider is asked, so evidence of an earlier send does not stand against it.
    """

    job_id: UUID
    lease_token: UUID
    receipt_id: UUID
    merchant_id: UUID
    kassa_id: UUID
    sequence: int
    provider_id: str
    attempt_id: UUID
    worker: str
    wire_seconds: int
    first_use: bool = False
    provider: str = ""
    base_url: str = ""
    group_key: str = ""
    epoch: int = 0
    restored_at: datetime | None = None
    asks: bool = False


# The receipt's row is locked before the job's (lock order chain, receipt, job). The job row alone decides: rescue
# reads jobs.marked_at, so a rescue that waited for this row sees the mark and never sends again blindly.
# A kassa that was never used is locked before all: what is sent to its old address would be looked up at its new one.
# An epoch that was opened or closed since this send was judged takes back the judgement; so does evidence of an earlier
# send, which is looked for only where there was one.
_MARK = f"""
WITH m AS (
  SELECT * FROM {unnest(Mark, 1)} AS m({names(Mark)})
), pinned AS (
  SELECT k.id FROM kassas k JOIN m ON m.kassa_id = k.id AND m.first_use
  WHERE k.provider = m.provider AND k.base_url = m.base_url AND k.group_key = m.group_key
  ORDER BY k.id FOR NO KEY UPDATE OF k
), present AS (
  SELECT coalesce(max(epoch), 0) AS epoch, max(epoch_opened_at) AS opened_at FROM installation WHERE id = 1
), ready AS (
  SELECT m.* FROM m JOIN receipts r ON r.id = ANY (ARRAY[m.receipt_id]) CROSS JOIN present
  WHERE r.status = 'queued' AND r.sequence = m.sequence AND r.provider_id = m.provider_id AND r.kassa_id = m.kassa_id
    AND present.epoch = m.epoch AND present.opened_at IS NOT DISTINCT FROM m.restored_at
    AND (r.marks = 0 OR m.asks OR NOT EXISTS (
      SELECT 1 FROM attempts a WHERE a.receipt_id = r.id AND a.provider_id = m.provider_id
        AND NOT a.proven_absent AND a.outcome IN {EVIDENCE}))
    AND (NOT m.first_use OR m.kassa_id IN (SELECT id FROM pinned))
  ORDER BY m.receipt_id FOR UPDATE OF r
), marked AS (
  UPDATE jobs j SET marked_at = kassa_now(), lease_until = kassa_now() + m.wire_seconds * interval '1 second'
  FROM ready m
  WHERE j.id = ANY (ARRAY(SELECT job_id FROM ready)) AND j.id = m.job_id
    AND (j.lease_token, j.ref) IS NOT DISTINCT FROM (m.lease_token, m.receipt_id)
    AND j.lease_until > kassa_now() AND j.marked_at IS NULL
  RETURNING j.id AS job_id, j.marked_at, m.receipt_id, m.merchant_id, m.kassa_id, m.provider_id, m.attempt_id, m.worker
), sending AS (
  UPDATE receipts r SET status = 'sending', marks = r.marks + 1, updated_at = marked.marked_at,
    first_marked_at = coalesce(r.first_marked_at, marked.marked_at)
  FROM marked WHERE r.id = ANY (ARRAY[marked.receipt_id])
), tried AS (
  INSERT INTO attempts (id, merchant_id, receipt_id, kassa_id, kind, provider_id, worker, marked_at)
  SELECT attempt_id, merchant_id, receipt_id, kassa_id, 'submit', provider_id, worker, marked_at FROM marked
), used AS (
  UPDATE kassas k SET first_used_at = x.at
  FROM (SELECT kassa_id, min(marked_at) AS at FROM marked GROUP BY kassa_id) x
  WHERE k.id = x.kassa_id AND k.first_used_at IS NULL
), history AS (
  INSERT INTO timeline (id, merchant_id, receipt_id, at, what, status, actor, data)
  SELECT kassa_uuid7(), merchant_id, receipt_id, marked_at, 'marked', 'sending', worker,
    jsonb_build_object('attempt_id', 'att_' || replace(attempt_id::text, '-', ''), 'provider_id', provider_id)
  FROM marked
)
SELECT job_id, marked_at FROM marked
"""

_MINE = "SELECT marked_at FROM jobs WHERE id = $1 AND lease_token = $2 AND marked_at IS NOT NULL"


async def mark(connection: asyncpg.Connection, batch: Sequence[Mark]) -> list[datetime | None]:
    """Moment of each mark, None where the job is no longer ours, already marked, cancelled, or the receipt moved on;
    where evidence of an earlier send has come, or the epoch is another than the one it was judged for."""
    ordered = sorted(batch, key=lambda one: one.receipt_id)
    await by_index(connection)
    rows = await connection.fetch(_MARK, *columns(Mark, ordered))
    at = {row["job_id"]: row["marked_at"] for row in rows}
    return [at.get(one.job_id) for one in batch]


async def marked_by_me(connection: asyncpg.Connection, job_id: UUID, lease_token: UUID) -> datetime | None:
    """After a lost connection: did my mark commit? A worker may send only when it reads its own mark."""
    at: datetime | None = await connection.fetchval(_MINE, job_id, lease_token)
    return at
