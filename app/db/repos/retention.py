"""What is old enough to go, a batch at a time: walked by id, which begins with the time it was made.

Every batch is one transaction of the caller; rows that somebody works on are passed over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from app.db.unit_of_work import Tx

FIRST = UUID(int=0)

# A batch names its rows; without statistics, or with those of another time, it would still read whole tables for them.
_PATIENCE = text("""
SELECT set_config('lock_timeout', '300ms', true), set_config('statement_timeout', '10s', true),
  set_config('enable_seqscan', 'off', true), set_config('plan_cache_mode', 'force_custom_plan', true)
""")

FINAL = "('fiscalized', 'rejected', 'cancelled')"
PREPAID = ("full_prepayment", "prepayment", "advance")


@dataclass(frozen=True, slots=True)
class Batch:
    """`last`: behind it the next batch begins, None at the end. `counts`: what went, by its name in the report."""

    last: UUID | None
    counts: Mapping[str, int] = field(default_factory=dict)
    walked: int = 0


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of old rows.

    `moment` decides the age of a row of `table`; `due` selects what may go among `:ids`, and `lock` keeps others off
    it; then `steps` take it away, by name in the report (nameless ones are not told of).
    """

    name: str
    table: str
    moment: str
    due: str
    lock: str
    steps: tuple[tuple[str, str], ...]


_PARCELS = "ARRAY(SELECT id FROM message_endpoints WHERE message_id = ANY(:ids))"
_MESSAGES_GO = (
    ("deliveries", f"DELETE FROM deliveries WHERE message_endpoint_id = ANY({_PARCELS})"),
    ("", "DELETE FROM message_endpoints WHERE message_id = ANY(:ids)"),
    ("messages", "DELETE FROM messages WHERE id = ANY(:ids)"),
)

EXCHANGES = Kind(
    "exchanges",
    "attempts",
    "marked_at",
    f"""
SELECT a.id FROM attempts a JOIN receipts r ON r.id = a.receipt_id
WHERE a.id = ANY(:ids) AND a.exchange IS NOT NULL AND a.finished_at < :before AND r.status IN {FINAL} ORDER BY a.id
""",
    "FOR UPDATE OF a SKIP LOCKED",
    (("exchanges", "UPDATE attempts SET exchange = NULL WHERE id = ANY(:ids)"),),
)
MESSAGES = Kind(
    "messages",
    "messages",
    "created_at",
    f"""
SELECT m.id FROM messages m
WHERE m.id = ANY(:ids)
  AND NOT EXISTS (SELECT 1 FROM message_endpoints e WHERE e.message_id = m.id
    AND (e.status = 'pending' OR EXISTS (SELECT 1 FROM jobs j WHERE j.ref = e.id)))
  AND (m.receipt_id IS NULL
    OR NOT EXISTS (SELECT 1 FROM receipts r WHERE r.id = m.receipt_id AND r.status NOT IN {FINAL}))
ORDER BY m.id
""",
    "FOR UPDATE OF m SKIP LOCKED",
    _MESSAGES_GO,
)
INBOUND = Kind(
    "notifications",
    "notifications",
    "received_at",
    """
SELECT n.id FROM notifications n
WHERE n.id = ANY(:ids) AND n.status <> 'received' AND n.finished_at < :before
  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.ref = n.id)
ORDER BY n.id
""",
    "FOR UPDATE OF n SKIP LOCKED",
    (("notifications", "DELETE FROM notifications WHERE id = ANY(:ids)"),),
)


async def batch(tx: Tx, kind: Kind, before: datetime, after: UUID, limit: int, *, dry: bool) -> Batch:
    """Take the next `limit` rows behind `after` that are older than `before`, of any merchant, and let go what may.

    With `dry` nothing is locked or changed.
    """
    seen = await _walk(tx, kind.table, kind.moment, before, after, limit)
    if not seen:
        return Batch(None)
    due = await _ids(tx, kind.due if dry else f"{kind.due} {kind.lock}", ids=_old(seen), before=before)
    counts = {kind.name: len(due)} if dry else await _do(tx, kind.steps, due)
    return Batch(seen[-1][0], counts, len(seen))


# A payment goes as a whole or stays as a whole: what was sold, returned and closed under it explains itself only
# together. The chain's row is locked first, as everybody does who adds to it.
_LOCKED = """
SELECT id FROM chains WHERE id = ANY(ARRAY(
  SELECT chain_id FROM events WHERE id = ANY(:ids) AND chain_id IS NOT NULL))
ORDER BY id FOR UPDATE SKIP LOCKED
"""
# For counting: a payment is counted with its first event, because nothing goes in between.
_BEGUN = """
SELECT e.chain_id FROM events e WHERE e.id = ANY(:ids) AND e.chain_id IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM events b WHERE b.chain_id = e.chain_id AND b.id < e.id)
"""
_PREPAID = " OR ".join(f"""s.document->'items' @> '[{{"payment_method": "{one}"}}]'""" for one in PREPAID)
_WHOLE = f"""
SELECT c.id FROM chains c
WHERE c.id = ANY(:ids)
  AND NOT EXISTS (SELECT 1 FROM events e WHERE e.chain_id = c.id
    AND (e.received_at >= :before OR e.status IN ('received', 'held')
      OR EXISTS (SELECT 1 FROM jobs j WHERE j.ref = e.id)))
  AND NOT EXISTS (SELECT 1 FROM receipts r WHERE r.chain_id = c.id
    AND (r.updated_at >= :before OR r.status NOT IN {FINAL} OR EXISTS (SELECT 1 FROM jobs j WHERE j.ref = r.id)))
  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.ref = c.id)
  AND NOT (c.refunded + c.settled < c.sold AND EXISTS (
    SELECT 1 FROM receipts s WHERE s.chain_id = c.id AND s.status = 'fiscalized' AND s.operation IN ('sell', 'buy')
      AND ({_PREPAID})))
"""
# Events that never had a chain: ignored, refused, or the second report of money that another one stands for.
_LONE = f"""
SELECT e.id FROM events e
WHERE e.id = ANY(:ids) AND e.chain_id IS NULL AND e.status NOT IN ('received', 'held')
  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.ref = e.id)
  AND NOT EXISTS (SELECT 1 FROM receipts r WHERE r.event_id = e.id
    AND (r.chain_id IS NOT NULL OR r.updated_at >= :before OR r.status NOT IN {FINAL}
      OR EXISTS (SELECT 1 FROM jobs j WHERE j.ref = r.id)))
"""
_TOLD = "SELECT id FROM events WHERE chain_id = ANY(:ids)"
_MADE = """
SELECT id FROM receipts WHERE chain_id = ANY(:chains) UNION SELECT id FROM receipts WHERE event_id = ANY(:ids)
"""
_POSTS = "SELECT id FROM messages WHERE receipt_id = ANY(:ids)"
_OF_RECEIPTS = (
    ("attempts", "DELETE FROM attempts WHERE receipt_id = ANY(:ids)"),
    ("timeline", "DELETE FROM timeline WHERE receipt_id = ANY(:ids)"),
    ("", "DELETE FROM crm_reports WHERE receipt_id = ANY(:ids)"),
    ("receipts", "DELETE FROM receipts WHERE id = ANY(:ids)"),
)
_OF_EVENTS = (
    ("", "DELETE FROM timeline WHERE event_id = ANY(:ids)"),
    ("", "DELETE FROM alarms WHERE event_id = ANY(:ids)"),
    ("events", "DELETE FROM events WHERE id = ANY(:ids)"),
)
_OF_CHAINS = (
    ("", "DELETE FROM corrections WHERE chain_id = ANY(:ids)"),
    ("payments", "DELETE FROM chains WHERE id = ANY(:ids)"),
)


async def receipts(tx: Tx, before: datetime, after: UUID, limit: int, *, dry: bool) -> Batch:
    """The same for payments: the next `limit` events, and of those that are old in every part all that belongs to them.

    Identities of events and settlement keys stay.
    """
    seen = await _walk(tx, "events", "received_at", before, after, limit)
    if not seen:
        return Batch(None)
    old = _old(seen)
    begun = await _ids(tx, _BEGUN if dry else _LOCKED, ids=old)
    whole = await _ids(tx, _WHOLE, ids=begun, before=before)
    told = [*await _ids(tx, _TOLD, ids=whole), *await _ids(tx, _LONE, ids=old, before=before)]
    made = await _ids(tx, _MADE, ids=told, chains=whole)
    if dry:
        counts = {"receipts": len(made), "events": len(told), "payments": len(whole)}
    else:
        posts = await _ids(tx, _POSTS, ids=made)
        counts = {
            **await _do(tx, _MESSAGES_GO, posts),
            **await _do(tx, _OF_RECEIPTS, made),
            **await _do(tx, _OF_EVENTS, told),
            **await _do(tx, _OF_CHAINS, whole),
        }
    return Batch(seen[-1][0], counts, len(seen))


async def expired_keys(tx: Tx) -> int:
    """Idempotency keys whose time is over."""
    counted = await tx.execute(text("SELECT count(*) FROM idempotency_keys WHERE expires_at <= kassa_now()"))
    found: int = counted.scalar_one()
    return found


_TURN = text("""
UPDATE installation SET pruned_at = kassa_now()
WHERE id = 1 AND (pruned_at IS NULL OR pruned_at < kassa_now() - :every * interval '1 second') RETURNING 1
""")


async def take_turn(tx: Tx, every_seconds: float) -> bool:
    """Whether the caller is the one of all workers that prunes now; the next turn comes after `every_seconds`."""
    return (await tx.execute(_TURN, {"every": every_seconds})).one_or_none() is not None


async def place(tx: Tx) -> UUID:
    """Up to where exchanges were let go: their rows stay, so the walk would otherwise begin with all history."""
    found = (await tx.execute(text("SELECT exchanges_pruned_to FROM installation WHERE id = 1"))).scalar_one_or_none()
    return found or FIRST


async def remember(tx: Tx, reached: UUID) -> None:
    """The next daily run goes on from here."""
    await tx.execute(text("UPDATE installation SET exchanges_pruned_to = :r WHERE id = 1"), {"r": reached})


async def _walk(tx: Tx, table: str, moment: str, before: datetime, after: UUID, limit: int) -> list[tuple[UUID, bool]]:
    """The next rows by id, with whether they are old: the bound keeps to the old end, the row's own time decides."""
    await tx.execute(_PATIENCE)
    found = await tx.execute(
        text(f"SELECT id, {moment} < :before FROM {table} WHERE id > :after AND id < :bound ORDER BY id LIMIT :n"),
        {"after": after, "bound": _floor(before), "before": before, "n": limit},
    )
    return [(row[0], row[1]) for row in found]


def _old(seen: Sequence[tuple[UUID, bool]]) -> list[UUID]:
    return [row_id for row_id, old in seen if old]


async def _ids(tx: Tx, query: str, **values: object) -> list[UUID]:
    return list((await tx.execute(text(query), values)).scalars())


async def _do(tx: Tx, steps: Sequence[tuple[str, str]], ids: list[UUID]) -> dict[str, int]:
    if not ids:
        return {}
    gone = [(name, (await tx.execute(text(statement), {"ids": ids})).rowcount) for name, statement in steps]
    return {name: count for name, count in gone if name}


def _floor(moment: datetime) -> UUID:
    """No UUIDv7 made at or after this moment is below it."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)
