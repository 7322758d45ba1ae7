"""API keys as rows: their hashes, scopes and times. The key's text is never here."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, insert, null, or_, select, text, update

from app.db.repos.listing import newest
from app.db.repos.paging import Position
from app.db.tables import api_keys, merchants
from app.db.unit_of_work import Tx


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key without its hash; `merchant_id` is None for an installation's admin key."""

    id: UUID
    merchant_id: UUID | None
    source_id: UUID | None
    name: str
    display: str
    scopes: list[str]
    live: bool
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What a request's key is checked against."""

    key: KeyRow
    merchant_status: str | None


_COLUMNS = tuple(api_keys.c[f.name] for f in fields(KeyRow))


async def by_hash(tx: Tx, key_hash: bytes) -> KnownKey | None:
    """The one look-up that crosses merchants: the hash itself says whose key it is."""
    found = await tx.execute(
        select(*_COLUMNS, merchants.c.status.label("merchant_status"))
        .select_from(api_keys.outerjoin(merchants, merchants.c.id == api_keys.c.merchant_id))
        .where(api_keys.c.key_hash == key_hash)
    )
    row = found.one_or_none()
    if row is None:
        return None
    told = dict(row._mapping)
    status = told.pop("merchant_status")
    return KnownKey(KeyRow(**told), status)


async def create(tx: Tx, key_id: UUID, key_hash: bytes, values: dict[str, Any]) -> KeyRow:
    row = await tx.execute(insert(api_keys).values(id=key_id, key_hash=key_hash, **values).returning(*_COLUMNS))
    return KeyRow(**row.one()._mapping)


async def by_id(tx: Tx, merchant_id: UUID | None, key_id: UUID, *, lock: bool = False) -> KeyRow | None:
    """A merchant's key; with None one of the installation's own."""
    query = select(*_COLUMNS).where(_of(merchant_id), api_keys.c.id == key_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else KeyRow(**row._mapping)


async def any_by_id(tx: Tx, key_id: UUID, *, lock: bool = False) -> KeyRow | None:
    """For an admin, who may name any key of the installation."""
    query = select(*_COLUMNS).where(api_keys.c.id == key_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else KeyRow(**row._mapping)


async def page(tx: Tx, merchant_id: UUID | None, before: Position | None, limit: int) -> list[KeyRow]:
    query = select(*_COLUMNS).where(_of(merchant_id))
    return [KeyRow(**row._mapping) for row in await tx.execute(newest(query, api_keys, before, limit))]


async def expire(tx: Tx, key_id: UUID, seconds: float) -> None:
    """Let a key end after a grace period, unless it ends sooner."""
    until = func.kassa_now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    await tx.execute(
        update(api_keys)
        .where(api_keys.c.id == key_id)
        .values(expires_at=func.least(func.coalesce(api_keys.c.expires_at, until), until))
    )


async def revoke(tx: Tx, key_id: UUID) -> None:
    await tx.execute(
        update(api_keys)
        .where(api_keys.c.id == key_id)
        .values(revoked_at=func.coalesce(api_keys.c.revoked_at, func.kassa_now()))
    )


async def used(tx: Tx, key_id: UUID) -> None:
    """Note that a key was used, at most once a minute."""
    await tx.execute(
        update(api_keys)
        .where(
            api_keys.c.id == key_id,
            or_(
                api_keys.c.last_used_at.is_(None),
                api_keys.c.last_used_at < func.kassa_now() - text("interval '1 minute'"),
            ),
        )
        .values(last_used_at=func.kassa_now())
    )


_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(5417026342)")


async def admin_exists(tx: Tx) -> bool:
    """Whether a usable admin key exists; asked under a lock, so that two processes do not both make the first one."""
    await tx.execute(_ONE_AT_A_TIME)
    found = await tx.execute(
        select(api_keys.c.id)
        .where(
            api_keys.c.merchant_id.is_(null()),
            api_keys.c.revoked_at.is_(None),
            or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > func.kassa_now()),
        )
        .limit(1)
    )
    return found.one_or_none() is not None


def _of(merchant_id: UUID | None) -> ColumnElement[bool]:
    return api_keys.c.merchant_id.is_(None) if merchant_id is None else api_keys.c.merchant_id == merchant_id
