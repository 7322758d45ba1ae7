"""T4: what an exchange taught, the receipt's next state, its follow-up job and its message, in one transaction.

What was learned is always stored. State moves only in the name of a lease that is still held: a worker that lost its
job changes nothing and hears `STALE`, and a job to act on its evidence is stored with what it was told.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import NamedTuple
from uuid import UUID

import asyncpg

from app.db.planner import by_index
from app.db.records import columns, names, unnest
from app.db.repos.receipts import EVIDENCE
from app.queue.jobs import CHANNEL, JobKind
from app.queue.reports import INTO, JOBS, REPORTERS, TOLD_OF


class Settlement(NamedTuple):
    """One exchange with its consequence.

    `next_kind` None ends the job; `next_seconds` is the delay of the follow-up by the database's clock; `finishes`
    says that the receipt no longer blocks its chain; `proves_absent` that every earlier submit under this id was
    proven unregistered; `found` is what a provider said to have, whole. JSON members are text.
    """

    job_id: UUID
    lease_token: UUID
    receipt_id: UUID
    merchant_id: UUID
    chain_id: UUID | None
    expected_status: str
    expected_sequence: int
    status: str
    sequence: int
    failure: str | None
    fiscal: str | None
    fn: str | None
    fd: int | None
    fpd: str | None
    provider_reference: str | None
    next_kind: int | None
    next_seconds: float
    next_attempt: int
    finishes: bool
    attempt_id: UUID
    attempt_kind: str
    kassa_id: UUID
    provider_id: str
    worker: str
    outcome: str
    cause: str | None
    provider_code: str | None
    provider_message: str | None
    evidence: str | None
    exchange: bytes | None
    proves_absent: bool
    what: str
    data: str
    message_id: UUID | None
    message_type: str | None
    message_body: bytes | None
    at: datetime
    found: str | None = None


class Verdict(Enum):
    """Whether a settlement moved its receipt; one that came too late is `STALE` however often it is given."""

    SETTLED = "settled"
    ALREADY = "already"
    STALE = "stale"


_CHAINS = "SELECT id FROM chains WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE"

_SETTLE = f"""
WITH s AS (
  SELECT * FROM {unnest(Settlement, 1)} AS s({names(Settlement)})
), locked AS (
  SELECT s.job_id, s.lease_token FROM s JOIN receipts r ON r.id = ANY (ARRAY[s.receipt_id])
    AND r.status = s.expected_status AND r.sequence = s.expected_sequence
  ORDER BY s.receipt_id FOR UPDATE OF r
), held AS (
  SELECT j.id FROM jobs j JOIN locked ON locked.job_id = j.id AND locked.lease_token IS NOT DISTINCT FROM j.lease_token
  WHERE j.id = ANY (ARRAY(SELECT job_id FROM locked))
  ORDER BY j.id FOR UPDATE OF j
), own AS (
  SELECT * FROM s WHERE s.job_id = ANY (ARRAY(SELECT id FROM held))
), known AS (
  SELECT a.id FROM s JOIN attempts a ON a.id = ANY (ARRAY[s.attempt_id]) WHERE a.finished_at IS NOT NULL
), too_late AS (
  SELECT known.id FROM known JOIN s ON s.attempt_id = known.id
  JOIN timeline t ON t.receipt_id = ANY (ARRAY[s.receipt_id]) AND t.what = 'learned_late'
    AND t.data->>'attempt_id' = s.data::jsonb->>'attempt_id'
), learned AS (
  INSERT INTO attempts AS a (id, merchant_id, receipt_id, kassa_id, kind, provider_id, worker, marked_at, finished_at,
    outcome, cause, provider_code, provider_message, evidence, exchange, found)
  SELECT attempt_id, merchant_id, receipt_id, kassa_id, attempt_kind, provider_id, worker, at, at,
    outcome, cause, provider_code, provider_message, evidence::jsonb, exchange, found::jsonb FROM s
  ON CONFLICT (id) DO UPDATE SET finished_at = excluded.finished_at, outcome = excluded.outcome,
    cause = excluded.cause, provider_code = excluded.provider_code, provider_message = excluded.provider_message,
    evidence = excluded.evidence, exchange = excluded.exchange, found = excluded.found,
    proven_absent = a.proven_absent AND excluded.outcome NOT IN {EVIDENCE}
  WHERE a.finished_at IS NULL
), absent AS (
  UPDATE attempts a SET proven_absent = true FROM own
  WHERE own.proves_absent AND a.receipt_id = ANY (ARRAY[own.receipt_id]) AND a.provider_id = own.provider_id
    AND a.kind = 'submit' AND a.id <> own.attempt_id AND coalesce(a.outcome, 'unknown') NOT IN {EVIDENCE}
), moved AS (
  UPDATE receipts r SET status = own.status, sequence = own.sequence, failure = own.failure::jsonb,
    fiscal = coalesce(own.fiscal::jsonb, r.fiscal), fn = coalesce(own.fn, r.fn), fd = coalesce(own.fd, r.fd),
    fpd = coalesce(own.fpd, r.fpd), provider_reference = coalesce(own.provider_reference, r.provider_reference),
    updated_at = own.at
  FROM own WHERE r.id = ANY (ARRAY[own.receipt_id])
  -- With what is asked of it below: joined with `own` once more, a batch would cost its square.
  RETURNING r.id, r.source_id, r.event_id, r.version, own.merchant_id, own.chain_id, own.status, own.finishes,
    own.status IN {TOLD_OF} AND own.message_type = 'receipt.' || own.status AS reported
), followed AS (
  -- A first send that a dead provider cost nothing keeps its place: those who paid later do not overtake it.
  UPDATE jobs j SET kind = own.next_kind, run_at = CASE
      WHEN own.next_kind = j.kind AND own.next_seconds = 0 THEN j.run_at
      WHEN j.hinted AND own.next_kind = {JobKind.POLL} THEN kassa_now()
      ELSE kassa_now() + own.next_seconds * interval '1 second' END,
    attempt = own.next_attempt, lease_token = NULL, lease_until = NULL, marked_at = NULL, hinted = false
  FROM own WHERE j.id = ANY (ARRAY(SELECT id FROM held)) AND j.id = own.job_id AND own.next_kind IS NOT NULL
), ended AS (
  DELETE FROM jobs WHERE id = ANY (ARRAY(SELECT job_id FROM own WHERE next_kind IS NULL))
), late AS (
  SELECT s.attempt_id, (SELECT r.source_id FROM receipts r WHERE r.id = s.receipt_id) AS lane FROM s
  WHERE s.job_id NOT IN (SELECT job_id FROM own) AND s.attempt_id NOT IN (SELECT id FROM known)
    AND (s.outcome = 'fiscalized' OR (s.attempt_kind = 'submit' AND s.outcome IN {EVIDENCE}))
), told AS (
  INSERT INTO messages (id, merchant_id, receipt_id, type, sequence, body, created_at)
  SELECT message_id, merchant_id, receipt_id, message_type, sequence, message_body, at
  FROM own WHERE message_id IS NOT NULL
  RETURNING id, merchant_id, type
), fanned AS (
  INSERT INTO message_endpoints (id, merchant_id, message_id, endpoint_id)
  SELECT kassa_uuid7(), told.merchant_id, told.id, w.id FROM told JOIN webhook_endpoints w
    ON w.merchant_id = told.merchant_id AND w.status = 'active'
    AND w.types && ARRAY['*', told.type, split_part(told.type, '.', 1) || '.*']
  RETURNING id, endpoint_id
), reported AS (
  {INTO}
  SELECT kassa_uuid7(), moved.merchant_id, o.id, moved.id, t.event_id, moved.version, moved.status
  FROM moved CROSS JOIN LATERAL {REPORTERS.format(r="moved")} t
  JOIN sources o ON o.id = t.source_id AND o.report_lane IS NOT NULL
  WHERE moved.reported
  ON CONFLICT DO NOTHING RETURNING id, source_id
), work AS (
  INSERT INTO jobs (id, kind, lane, chain, ref, run_at)
  SELECT kassa_uuid7(), {JobKind.DELIVER}, endpoint_id, NULL::uuid, id, kassa_now() FROM fanned
  UNION ALL
  {JOBS}
  UNION ALL
  SELECT DISTINCT ON (moved.chain_id) kassa_uuid7(), {JobKind.RELEASE}, moved.source_id, moved.chain_id,
    moved.chain_id, kassa_now()
  FROM moved
  WHERE moved.finishes AND (moved.status <> 'fiscalized' OR EXISTS (
    SELECT 1 FROM receipts o WHERE o.chain_id = moved.chain_id AND o.id <> moved.id
      AND o.status IN ('queued', 'held')))
  UNION ALL
  SELECT kassa_uuid7(), {JobKind.EVIDENCE}, lane, NULL::uuid, attempt_id, kassa_now() FROM late
  ON CONFLICT (ref) DO NOTHING
  RETURNING id
), history AS (
  INSERT INTO timeline (id, merchant_id, receipt_id, at, what, status, actor, data)
  SELECT kassa_uuid7(), s.merchant_id, s.receipt_id, s.at,
    CASE WHEN x.ours THEN s.what ELSE 'learned_late' END, CASE WHEN x.ours THEN s.status END, s.worker, s.data::jsonb
  FROM s CROSS JOIN LATERAL (SELECT s.job_id = ANY (ARRAY(SELECT id FROM held)) AS ours) x
  WHERE s.attempt_id NOT IN (SELECT id FROM known)
)
SELECT s.job_id, s.job_id = ANY (ARRAY(SELECT id FROM held)) AS settled,
  s.attempt_id IN (SELECT id FROM known) AND s.attempt_id NOT IN (SELECT id FROM too_late) AS already,
  (SELECT pg_notify('{CHANNEL}', '') WHERE EXISTS (SELECT 1 FROM work)
    OR EXISTS (SELECT 1 FROM own WHERE next_kind IS NOT NULL AND next_seconds <= 0))
FROM s
"""


async def settle(connection: asyncpg.Connection, batch: Sequence[Settlement]) -> list[Verdict]:
    """Store a batch; idempotent by attempt id, so a batch whose commit was lost is simply given again.

    Chains of receipts that end are locked first and read in a later statement: a refund planned meanwhile is then
    seen, and gets its turn.
    """
    ordered = sorted(batch, key=lambda one: one.receipt_id)
    chains = sorted({one.chain_id for one in ordered if one.finishes and one.chain_id is not None})
    if chains:
        await connection.execute(_CHAINS, chains)
    await by_index(connection)
    rows = await connection.fetch(_SETTLE, *columns(Settlement, ordered))
    found = {row["job_id"]: row for row in rows}
    return [_verdict(found[one.job_id]) for one in batch]


def _verdict(row: asyncpg.Record) -> Verdict:
    if row["settled"]:
        return Verdict.SETTLED
    return Verdict.ALREADY if row["already"] else Verdict.STALE
