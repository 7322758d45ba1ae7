"""Idempotency keys as rows: the first request inserts and holds its row, repeats read the stored answer."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError

from app.db.tables import idempotency_keys
from app.db.trouble import sqlstate
from app.db.unit_of_work import Tx
from app.domain.errors import RequestInProgress

_LOCK_TIMEOUT = "55P03"

_PATIENCE = text("SET LOCAL lock_timeout = '300ms'")

# A key whose time is over is taken again as if it had never been used.
_CLAIM = text("""
INSERT INTO idempotency_keys AS k (merchant_id, key, fingerprint, expires_at)
VALUES (:m, :k, :f, kassa_now() + :s * interval '1 second')
ON CONFLICT (merchant_id, key) DO UPDATE SET fingerprint = excluded.fingerprint, status_code = NULL, headers = NULL,
  body = NULL, created_at = kassa_now(), expires_at = excluded.expires_at
WHERE k.expires_at <= kassa_now()
RETURNING 1
""")

_PRUNE = text("""
DELETE FROM idempotency_keys WHERE (merchant_id, key) IN (
  SELECT merchant_id, key FROM idempotency_keys WHERE expires_at <= kassa_now() LIMIT :n FOR UPDATE SKIP LOCKED)
""")


@dataclass(frozen=True, slots=True)
class KeyRow:
    """What is stored under a key; `status_code` is None while there is no answer yet."""

    fingerprint: bytes
    status_code: int | None
    headers: dict[str, Any] | None
    body: bytes | None


async def claim(tx: Tx, merchant_id: UUID, key: str, fingerprint: bytes, seconds: float) -> bool:
    """Whether this transaction is the key's first. RequestInProgress while another one holds it."""
    await tx.execute(_PATIENCE)
    try:
        mine = await tx.execute(_CLAIM, {"m": merchant_id, "k": key, "f": fingerprint, "s": seconds})
    except DBAPIError as error:
        if sqlstate(error) == _LOCK_TIMEOUT:
            raise RequestInProgress("the first request with this Idempotency-Key is still running") from error
        raise
    return mine.one_or_none() is not None


async def read(tx: Tx, merchant_id: UUID, key: str) -> KeyRow | None:
    """The committed row of a key."""
    row = (
        await tx.execute(
            select(
                idempotency_keys.c.fingerprint,
                idempotency_keys.c.status_code,
                idempotency_keys.c.headers,
                idempotency_keys.c.body,
            ).where(idempotency_keys.c.merchant_id == merchant_id, idempotency_keys.c.key == key)
        )
    ).one_or_none()
    return None if row is None else KeyRow(**row._mapping)


async def store(tx: Tx, merchant_id: UUID, key: str, status_code: int, headers: dict[str, str], body: bytes) -> None:
    """Keep the answer beside the key that this transaction claimed."""
    await tx.execute(
        update(idempotency_keys)
        .where(idempotency_keys.c.merchant_id == merchant_id, idempotency_keys.c.key == key)
        .values(status_code=status_code, headers=headers, body=body)
    )


async def prune(tx: Tx, limit: int) -> int:
    """Delete keys whose time is over, at most `limit`; returns how many went."""
    return (await tx.execute(_PRUNE, {"n": limit})).rowcount
