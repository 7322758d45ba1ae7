"""Merchants, branches, kassas and sources as rows; what is sealed stays sealed here."""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar, get_args
from uuid import UUID

import asyncpg
from sqlalchemy import select

from app.db.records import names
from app.db.tables import merchants as merchants_table
from app.db.unit_of_work import Tx

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class MerchantRow:
    """A merchant: the tenant."""

    id: UUID
    name: str
    inn: str
    status: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class KassaRow:
    """A kassa; `credentials` are sealed, `defaults` are API names."""

    id: UUID
    merchant_id: UUID
    name: str
    provider: str
    base_url: str
    group_key: str
    ffd: str
    taxation: list[str]
    place: str
    timezone: str
    internet: bool
    credentials: bytes
    defaults: dict[str, Any]
    callback_secret_hash: bytes
    callback_secret: bytes
    test: bool
    status: str
    first_used_at: datetime | None
    checked_at: datetime | None
    check_report: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class BranchRow:
    """A point of sale."""

    id: UUID
    merchant_id: UUID
    name: str
    external_id: str | None
    kassa_id: UUID | None
    timezone: str | None
    defaults: dict[str, Any]
    status: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source; `credentials` and `fallback_contact` are sealed."""

    id: UUID
    merchant_id: UUID
    kind: str
    name: str
    base_url: str | None
    credentials: bytes | None
    settings: dict[str, Any]
    defaults: dict[str, Any]
    branch_id: UUID | None
    kassa_id: UUID | None
    path_secret_hash: bytes | None
    fallback_contact: bytes | None
    acquirer_fiscalizes: bool
    starts_at: datetime | None
    status: str
    last_heard_at: datetime | None
    created_at: datetime
    updated_at: datetime


async def merchant(tx: Tx, merchant_id: UUID) -> MerchantRow | None:
    row = (await tx.execute(select(merchants_table).where(merchants_table.c.id == merchant_id))).one_or_none()
    return None if row is None else MerchantRow(**row._mapping)


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a merchant has configured, switched off ones included; by id."""

    merchant: MerchantRow
    kassas: list[KassaRow]
    branches: list[BranchRow]
    sources: list[SourceRow]


async def of_merchant(connection: asyncpg.Connection, merchant_id: UUID) -> Settings | None:
    """Read on a raw connection: a worker with many merchants does little else as often as this."""
    found = await connection.fetchrow(_MERCHANT, merchant_id)
    if found is None:
        return None
    return Settings(
        _merchant(found),
        [_kassa(row) for row in await connection.fetch(_KASSAS, merchant_id)],
        [_branch(row) for row in await connection.fetch(_BRANCHES, merchant_id)],
        [_source(row) for row in await connection.fetch(_SOURCES, merchant_id)],
    )


def _reader(kind: type[Row]) -> Callable[[asyncpg.Record], Row]:
    """Makes rows of this kind from records in the order of its members; jsonb comes as text."""
    # A dict, or one that may be missing.
    documents = [
        place
        for place, member in enumerate(fields(kind))  # type: ignore[arg-type]
        if any(getattr(part, "__origin__", None) is dict for part in (member.type, *get_args(member.type)))
    ]

    def read(record: asyncpg.Record) -> Row:
        values = list(record)
        for place in documents:
            if isinstance(values[place], str):
                values[place] = json.loads(values[place])
        return kind(*values)

    return read


_merchant = _reader(MerchantRow)
_kassa = _reader(KassaRow)
_branch = _reader(BranchRow)
_source = _reader(SourceRow)
_MERCHANT = f"SELECT {names(MerchantRow)} FROM merchants WHERE id = $1"
_KASSAS = f"SELECT {names(KassaRow)} FROM kassas WHERE merchant_id = $1 ORDER BY id"
_BRANCHES = f"SELECT {names(BranchRow)} FROM branches WHERE merchant_id = $1 ORDER BY id"
_SOURCES = f"SELECT {names(SourceRow)} FROM sources WHERE merchant_id = $1 ORDER BY id"
