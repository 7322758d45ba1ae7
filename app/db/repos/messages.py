"""The pull feed of messages: in commit order, so that a reader who moves on never misses a late commit."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from app.db.unit_of_work import Tx


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One message; (`epoch`, `txid`, `id`) is its place in the feed, `body` the bytes that the webhooks carry."""

    id: UUID
    type: str
    body: bytes
    epoch: int
    txid: int
    created_at: datetime


# Ids and times are given before the commit, so a row may appear behind a reader. Transactions below the snapshot's
# xmin have all ended: nothing can appear among their rows any more. A restored database counts its transactions anew,
# so the epoch is compared first: what an earlier one left is complete, and what this one tells lies behind it.
_FEED = text("""
SELECT id, type, body, epoch, txid, created_at FROM messages
WHERE merchant_id = :m AND (epoch, txid, id) > (:epoch, :txid, :id)
  AND (epoch < kassa_epoch() OR txid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint)
ORDER BY epoch, txid, id LIMIT :n
""")

Place = tuple[int, int, UUID]
"""Epoch, transaction and id of a message."""

_FIRST = (0, 0, UUID(int=0))


async def feed(tx: Tx, merchant_id: UUID, after: Place | None, limit: int) -> list[MessageRow]:
    """The oldest messages behind a place in the feed; from its beginning without one."""
    epoch, txid, message_id = after or _FIRST
    values = {"m": merchant_id, "epoch": epoch, "txid": txid, "id": message_id, "n": limit}
    found = await tx.execute(_FEED, values)
    return [MessageRow(**row._mapping) for row in found]
