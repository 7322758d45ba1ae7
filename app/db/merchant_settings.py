"""All settings of one merchant, read at once on a raw connection."""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeVar, get_args
from uuid import UUID

import asyncpg

from app.db.records import names
from app.db.repos.settings import BranchRow, KassaRow, MerchantRow, SourceRow

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a merchant has configured, switched off ones included; by id."""

    merchant: MerchantRow
    kassas: list[KassaRow]
    branches: list[BranchRow]
    sources: list[SourceRow]


async def of_merchant(connection: asyncpg.Connection, merchant_id: UUID) -> Settings | None:
    """Four plain statements: a worker with many merchants does little else as often as this."""
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
