"""The pull feed of messages: in commit order, so that a reader who moves on never misses a late commit."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from app.db.unit_of_work import Tx


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One message; (`txid`, `id`) is its place in the feed, `body` the bytes that the webhooks carry."""

    id: UUID
    type: str
    body: bytes
    txid: int
    created_at: datetime


# Ids and times are given before the commit, so a row may appear behind a reader. Transactions below the snapshot's
# xmin have all ended: nothing can appear among their rows any more.
_FEED = text("""
SELECT id, type, body, txid, created_at FROM messages
WHERE merchant_id = :m AND txid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
  AND (txid, id) > (:txid, :id)
ORDER BY txid, id LIMIT :n
""")

_FIRST = (0, UUID(int=0))


async def feed(tx: Tx, merchant_id: UUID, after: tuple[int, UUID] | None, limit: int) -> list[MessageRow]:
    """The oldest messages behind a place in the feed; from its beginning without one."""
    txid, message_id = after or _FIRST
    found = await tx.execute(_FEED, {"m": merchant_id, "txid": txid, "id": message_id, "n": limit})
    return [MessageRow(**row._mapping) for row in found]
