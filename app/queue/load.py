"""What claimed jobs are about, read for a batch at once: receipts and parcels of any merchant, the jobs name them."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from app.db.records import names, reader
from app.db.repos.outbox import Parcel
from app.db.repos.receipts import ReceiptRow

_receipt = reader(ReceiptRow)
_RECEIPTS = f"SELECT {names(ReceiptRow)} FROM receipts WHERE id = ANY($1::uuid[])"

_PARCELS = """
SELECT me.id, me.merchant_id, me.message_id, me.endpoint_id, me.status, me.attempts, me.created_at, m.type, m.body,
  w.url, w.secret, w.previous_secret, w.previous_secret_until, w.status, w.failing_since
FROM message_endpoints me JOIN messages m ON m.id = me.message_id JOIN webhook_endpoints w ON w.id = me.endpoint_id
WHERE me.id = ANY($1::uuid[])
"""


async def receipts(connection: asyncpg.Connection, ids: Sequence[UUID]) -> dict[UUID, ReceiptRow]:
    """Receipts by id; one that is gone is left out."""
    rows = map(_receipt, await connection.fetch(_RECEIPTS, ids))
    return {row.id: row for row in rows}


async def parcels(connection: asyncpg.Connection, ids: Sequence[UUID]) -> dict[UUID, Parcel]:
    """What is to be delivered, in the order of `Parcel`'s members; one that is gone is left out."""
    return {record[0]: Parcel(*record) for record in await connection.fetch(_PARCELS, ids)}
