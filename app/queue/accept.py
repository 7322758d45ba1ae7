"""T1: identity, event, planned receipts, their jobs and messages, in one statement for a whole batch."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import asyncpg

from app.db.records import (
    Acceptance,
    Accepted,
    NewEvent,
    NewMessage,
    NewReceipt,
    columns,
    json_members,
    names,
    reader,
    unnest,
)
from app.db.repos.events import EventRow
from app.db.repos.receipts import ReceiptRow
from app.queue.jobs import CHANNEL, JobKind
from app.queue.reports import INTO, JOBS, TOLD_OF

CLASH = "settlement_conflict"
"""Why an event waits whose settlement key another one has, with another amount or from the same source."""

_E = len(NewEvent._fields)
_R = len(NewReceipt._fields)
_RECEIPT_COLUMNS = names(NewReceipt)
_FROM_R = ", ".join(f"r.{name}" for name in NewReceipt._fields if name != "chain_id")
_INTO_R = ", ".join(name for name in NewReceipt._fields if name != "chain_id")

# Two sources, one amount. A source's own second report under one key is a second payment, unless it speaks for others.
_SAME_MONEY = """
k.amount = excluded.amount AND (excluded.source_id <> ALL(k.sources)
  OR EXISTS (SELECT 1 FROM e own WHERE own.id = excluded.event_id AND own.links_own))
"""

_ACCEPT = f"""
WITH e AS (
  SELECT * FROM {unnest(NewEvent, 1)} AS e({names(NewEvent)})
), r AS (
  SELECT * FROM {unnest(NewReceipt, _E + 1)} AS r({_RECEIPT_COLUMNS})
), m AS (
  SELECT * FROM {unnest(NewMessage, _E + _R + 1)} AS m({names(NewMessage)})
), ident AS (
  INSERT INTO event_identities (merchant_id, source_id, type, external_id, event_id, content_hash)
  SELECT merchant_id, source_id, type, external_id, id, content_hash FROM e
  ORDER BY merchant_id, source_id, type, external_id
  ON CONFLICT DO NOTHING RETURNING event_id
), keyed AS (
  -- The row as it is now comes back even if it was committed after this statement began: who owns it, whose report was
  -- linked last. A report that contradicts changes nothing.
  INSERT INTO settlement_keys AS k (merchant_id, type, settlement_key, event_id, source_id, amount, sources)
  SELECT e.merchant_id, e.type, e.settlement_key, e.id, e.source_id, e.amount, ARRAY[e.source_id]
  FROM e JOIN ident ON ident.event_id = e.id
  WHERE e.settlement_key IS NOT NULL AND e.claims_key
  ORDER BY 1, 2, 3
  ON CONFLICT (merchant_id, type, settlement_key) DO UPDATE SET
    linked_event_id = CASE WHEN {_SAME_MONEY} THEN excluded.event_id ELSE k.linked_event_id END,
    sources = CASE WHEN {_SAME_MONEY} THEN k.sources || excluded.sources ELSE k.sources END
  RETURNING merchant_id, type, settlement_key, event_id, source_id, amount, linked_event_id
), fresh AS (
  SELECT e.*, CASE WHEN e.status = 'ignored' THEN e.status WHEN k.linked THEN 'linked' WHEN k.clashes THEN 'received'
      ELSE e.status END AS stands,
    coalesce(k.linked, false) AS linked, coalesce(k.clashes, false) AS clashes,
    k.first_event, k.first_source, k.first_amount
  FROM e JOIN ident ON ident.event_id = e.id
  LEFT JOIN LATERAL (
    SELECT k.linked_event_id IS NOT DISTINCT FROM e.id AS linked,
      k.linked_event_id IS DISTINCT FROM e.id AS clashes,
      k.event_id AS first_event, k.source_id AS first_source, k.amount AS first_amount
    FROM keyed k
    WHERE e.claims_key AND k.merchant_id = e.merchant_id AND k.type = e.type
      AND k.settlement_key = e.settlement_key AND k.event_id <> e.id
  ) k ON true
), chained AS (
  INSERT INTO chains (id, merchant_id, source_id, payment_id, sold)
  SELECT (array_agg(chain_id))[1], merchant_id, source_id, chain_payment_id, sum(sold)
  FROM fresh WHERE chain_payment_id IS NOT NULL AND NOT linked
  GROUP BY merchant_id, source_id, chain_payment_id
  ORDER BY merchant_id, source_id, chain_payment_id
  ON CONFLICT (merchant_id, source_id, payment_id) DO UPDATE SET sold = chains.sold + excluded.sold
  RETURNING id, merchant_id, source_id, payment_id, (xmax = 0) AS created
), placed AS (
  SELECT f.*, c.id AS chain, c.created,
    CASE WHEN f.linked OR f.clashes THEN coalesce(f.reason::jsonb, '{{}}'::jsonb) || jsonb_build_object(
      'first_event', 'evt_' || replace(f.first_event::text, '-', ''),
      'first_source', 'src_' || replace(f.first_source::text, '-', ''), 'first_amount', f.first_amount)
      || CASE WHEN f.clashes AND f.stands = 'received' THEN '{{"code": "{CLASH}"}}'::jsonb ELSE '{{}}'::jsonb END
    ELSE f.reason::jsonb END AS told
  FROM fresh f LEFT JOIN chained c
    ON c.merchant_id = f.merchant_id AND c.source_id = f.source_id AND c.payment_id = f.chain_payment_id
    AND NOT f.linked
), stored_events AS (
  INSERT INTO events (id, merchant_id, source_id, type, external_id, payment_id, order_id, settlement_key, chain_id,
    status, reason, amount, currency, occurred_at, payload, metadata, test, received_at, linked_to)
  SELECT p.id, p.merchant_id, p.source_id, p.type, p.external_id, p.payment_id, p.order_id, p.settlement_key, p.chain,
    p.stands, CASE WHEN p.stands = 'linked' THEN NULL ELSE p.told END, p.amount, p.currency, p.occurred_at,
    p.payload, p.metadata::jsonb, p.test, p.received_at, CASE WHEN p.linked THEN p.first_event END
  FROM placed p
), stored_receipts AS (
  INSERT INTO receipts ({_INTO_R}, chain_id, updated_at)
  SELECT {
    _FROM_R.replace("r.document", "r.document::jsonb")
    .replace("r.failure", "r.failure::jsonb")
    .replace("r.metadata", "r.metadata::jsonb")
    .replace("r.remarks", "r.remarks::jsonb")
    .replace("r.nomenclature", "r.nomenclature::jsonb")
}, p.chain, r.created_at
  FROM r JOIN placed p ON p.id = r.event_id AND p.stands = p.status
  RETURNING id, merchant_id, source_id, event_id, kassa_id, chain_id, version, status, failure, remarks, created_at
), stored_messages AS (
  INSERT INTO messages (id, merchant_id, receipt_id, type, sequence, body, created_at)
  SELECT m.id, m.merchant_id, m.receipt_id, m.type, m.sequence, m.body, m.created_at
  FROM m JOIN stored_receipts s ON s.id = m.receipt_id
  RETURNING id, merchant_id, type
), fanned AS (
  INSERT INTO message_endpoints (id, merchant_id, message_id, endpoint_id)
  SELECT kassa_uuid7(), s.merchant_id, s.id, w.id FROM stored_messages s JOIN webhook_endpoints w
    ON w.merchant_id = s.merchant_id AND w.status = 'active'
    AND w.types && ARRAY['*', s.type, split_part(s.type, '.', 1) || '.*']
  RETURNING id, endpoint_id
), reported AS (
  {INTO}
  SELECT kassa_uuid7(), s.merchant_id, o.id, s.id, s.event_id, s.version, s.status
  FROM stored_receipts s JOIN sources o ON o.id = s.source_id AND o.report_lane IS NOT NULL
  WHERE s.status = 'held'
  UNION ALL
  SELECT kassa_uuid7(), p.merchant_id, o.id, m.id, p.id, m.version, m.status
  FROM placed p JOIN receipts m ON m.event_id = p.first_event AND m.merchant_id = p.merchant_id
  JOIN sources o ON o.id = p.source_id AND o.report_lane IS NOT NULL
  WHERE p.linked AND m.status IN {TOLD_OF}
  ON CONFLICT DO NOTHING RETURNING id, source_id
), work AS (
  INSERT INTO jobs (id, kind, lane, chain, ref, run_at)
  SELECT kassa_uuid7(), {JobKind.FISCALIZE}, s.kassa_id, s.chain_id, s.id, kassa_now()
    FROM stored_receipts s WHERE s.status = 'queued'
  UNION ALL
  SELECT kassa_uuid7(), {JobKind.PLAN}, p.source_id, p.chain, p.id, kassa_now()
    FROM placed p WHERE p.stands = 'received' OR (p.stands = 'ignored' AND (p.linked OR p.clashes))
  UNION ALL
  SELECT DISTINCT ON (p.chain) kassa_uuid7(), {JobKind.RELEASE}, p.source_id, p.chain, p.chain, kassa_now()
    FROM placed p WHERE p.created = false AND p.sold > 0
  UNION ALL
  SELECT kassa_uuid7(), {JobKind.DELIVER}, f.endpoint_id, NULL, f.id, kassa_now() FROM fanned f
  UNION ALL
  {JOBS}
  ON CONFLICT (ref) DO NOTHING
), history AS (
  INSERT INTO timeline (id, merchant_id, event_id, receipt_id, at, what, status, actor, data)
  SELECT kassa_uuid7(), p.merchant_id, p.id, NULL::uuid, p.received_at,
    p.stands, NULL, p.actor, coalesce(p.told, '{{}}'::jsonb)
  FROM placed p
  UNION ALL
  SELECT kassa_uuid7(), p.merchant_id, p.first_event, NULL::uuid, p.received_at, 'reported_again', NULL, p.actor,
    jsonb_build_object('event', 'evt_' || replace(p.id::text, '-', ''), 'same_money', p.linked, 'amount', p.amount,
      'source', 'src_' || replace(p.source_id::text, '-', ''))
  FROM placed p WHERE p.linked OR p.clashes
  UNION ALL
  SELECT kassa_uuid7(), s.merchant_id, s.event_id, s.id, s.created_at,
    CASE WHEN s.status = 'held' THEN 'held' ELSE 'planned' END, s.status, 'intake',
    CASE WHEN s.failure IS NULL THEN coalesce(s.remarks, '{{}}'::jsonb)
      ELSE jsonb_build_object('failure', s.failure) END
  FROM stored_receipts s
)
SELECT p.id, p.stands = 'linked' AS linked, p.clashes, (SELECT pg_notify('{CHANNEL}', '')) FROM placed p
"""


def _read(alias: str, kind: type[EventRow | ReceiptRow]) -> str:
    members = zip(kind._fields, json_members(kind), strict=True)
    return ", ".join(f"{alias}.{name}{'::text' if is_json else ''}" for name, is_json in members)


_KNOWN = f"""
SELECT i.merchant_id, i.source_id, i.type, i.external_id, i.event_id, i.content_hash, {_read("e", EventRow)}
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS q(merchant_id, source_id, type, external_id)
JOIN event_identities i USING (merchant_id, source_id, type, external_id)
LEFT JOIN events e ON e.merchant_id = i.merchant_id AND e.id = i.event_id
"""
_MADE = f"""
SELECT {_read("r", ReceiptRow)}
FROM unnest($1::uuid[], $2::uuid[]) AS q(merchant_id, event_id)
JOIN receipts r ON r.event_id = q.event_id AND r.merchant_id = q.merchant_id
ORDER BY r.event_id, r.number
"""

_event, _receipt = reader(EventRow), reader(ReceiptRow)


@dataclass(frozen=True, slots=True)
class Repeat(Accepted):
    """What came first under this identity, with its receipts, as it is now; `event` is None when it was pruned."""

    event: EventRow | None = None
    receipts: tuple[ReceiptRow, ...] = ()


async def accept(connection: asyncpg.Connection, batch: Sequence[Acceptance]) -> list[Accepted]:
    """Store a batch of events; a repeat is answered with the event that came first under its identity.

    Within a batch the first of a key is stored and the others become repeats of it. Repeats are looked up in a later
    statement, because the storing one cannot see what another process committed while it waited for the key, and all
    of them at once: whoever reports everything twice must not cost more than who reports once.
    """
    first: dict[tuple[object, ...], Acceptance] = {}
    for one in batch:
        first.setdefault(_identity(one.event), one)
    stored: dict[UUID, Accepted] = {}
    for chosen in _rounds(sorted(first.values(), key=lambda one: one.event.id)):
        rows = await connection.fetch(
            _ACCEPT,
            *columns(NewEvent, [one.event for one in chosen]),
            *columns(NewReceipt, [r for one in chosen for r in one.receipts]),
            *columns(NewMessage, [m for one in chosen for m in one.messages]),
        )
        for row in rows:
            stored[row["id"]] = Accepted(row["id"], fresh=True, linked=row["linked"], clashes=row["clashes"])
    repeats = [one.event for one in batch if one.event.id not in stored]
    known = await _known(connection, {_identity(event): event for event in repeats}.values()) if repeats else {}
    return [_verdict(one.event, stored, known) for one in batch]


def _rounds(chosen: list[Acceptance]) -> Iterable[list[Acceptance]]:
    """One statement settles one report of a settlement key; a second one of the same moment comes in the next."""
    while chosen:
        seen: set[tuple[object, ...]] = set()
        now: list[Acceptance] = []
        later: list[Acceptance] = []
        for one in chosen:
            event = one.event
            key = (event.merchant_id, event.type, event.settlement_key)
            (later if event.settlement_key is not None and key in seen else now).append(one)
            seen.add(key)
        yield now
        chosen = later


async def _known(
    connection: asyncpg.Connection, events: Iterable[NewEvent]
) -> dict[tuple[object, ...], tuple[bytes, Repeat]]:
    """By identity: the content that came first, and what became of it."""
    found = await connection.fetch(_KNOWN, *zip(*map(_identity, events), strict=True))
    made: dict[UUID, list[ReceiptRow]] = defaultdict(list)
    for row in await connection.fetch(_MADE, [r["merchant_id"] for r in found], [r["event_id"] for r in found]):
        receipt = _receipt(row)
        if receipt.event_id is not None:
            made[receipt.event_id].append(receipt)
    return {
        tuple(r[:4]): (
            r["content_hash"],
            Repeat(
                r["event_id"],
                fresh=False,
                event=None if r[6] is None else _event(r[6:]),
                receipts=tuple(made[r["event_id"]]),
            ),
        )
        for r in found
    }


def _identity(event: NewEvent) -> tuple[object, ...]:
    return (event.merchant_id, event.source_id, event.type, event.external_id)


def _verdict(
    event: NewEvent, stored: dict[UUID, Accepted], known: dict[tuple[object, ...], tuple[bytes, Repeat]]
) -> Accepted:
    if event.id in stored:
        return stored[event.id]
    content, before = known[_identity(event)]
    return before if content == event.content_hash else replace(before, same_content=False)
