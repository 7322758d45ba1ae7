"""All settings of one merchant, read at once on a raw connection."""

from dataclasses import dataclass
from uuid import UUID

import asyncpg

from app.db.records import names, reader
from app.db.repos.settings import BranchRow, KassaRow, MerchantRow, SourceRow


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


_merchant = reader(MerchantRow)
_kassa = reader(KassaRow)
_branch = reader(BranchRow)
_source = reader(SourceRow)
_MERCHANT = f"SELECT {names(MerchantRow)} FROM merchants WHERE id = $1"
_KASSAS = f"SELECT {names(KassaRow)} FROM kassas WHERE merchant_id = $1 ORDER BY id"
_BRANCHES = f"SELECT {names(BranchRow)} FROM branches WHERE merchant_id = $1 ORDER BY id"
_SOURCES = f"SELECT {names(SourceRow)} FROM sources WHERE merchant_id = $1 ORDER BY id"
