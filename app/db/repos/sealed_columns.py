"""Every column that holds a sealed value: which keys sealed them, and replacing values when the keys change.

Rotation crosses merchants, as the pipeline does; each replaced row is named with its merchant and its old value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ARRAY, LargeBinary, Uuid, bindparam, text

from app.db.unit_of_work import Tx


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of sealed values; each is bound to its table, column, merchant and row id."""

    table: str
    name: str

    def __str__(self) -> str:
        return f"{self.table}.{self.name}"


@dataclass(frozen=True, slots=True)
class SealedValue:
    """One sealed value and where it lives."""

    id: UUID
    merchant_id: UUID
    blob: bytes


@dataclass(frozen=True, slots=True)
class Resealed:
    """A value and what comes in its place."""

    value: SealedValue
    blob: bytes


COLUMNS = (
    SealedColumn("kassas", "credentials"),
    SealedColumn("kassas", "callback_secret"),
    SealedColumn("sources", "credentials"),
    SealedColumn("sources", "fallback_contact"),
    SealedColumn("webhook_endpoints", "secret"),
    SealedColumn("webhook_endpoints", "previous_secret"),
    SealedColumn("events", "payload"),
    SealedColumn("receipts", "customer"),
    SealedColumn("attempts", "exchange"),
    SealedColumn("notifications", "raw"),
    SealedColumn("correction_rows", "payload"),
)

# The second and third byte of a sealed value are the number of its key.
_KEY = "get_byte({c}, 1) * 256 + get_byte({c}, 2)"
_SEALED = "{c} IS NOT NULL AND octet_length({c}) > 2"


async def key_ids(tx: Tx, column: SealedColumn) -> dict[int, int]:
    """How many values each key has sealed; reads the whole column."""
    key, sealed = _KEY.format(c=column.name), _SEALED.format(c=column.name)
    found = await tx.execute(
        text(f"SELECT {key} AS key_id, count(*) AS n FROM {column.table} WHERE {sealed} GROUP BY 1")
    )
    return {row.key_id: row.n for row in found}


async def sample(tx: Tx, column: SealedColumn, limit: int) -> list[SealedValue]:
    """Some values, the newest rows first."""
    sealed = _SEALED.format(c=column.name)
    found = await tx.execute(
        text(
            f"SELECT id, merchant_id, {column.name} AS blob FROM {column.table} WHERE {sealed} "
            "ORDER BY id DESC LIMIT :n"
        ),
        {"n": limit},
    )
    return [SealedValue(row.id, row.merchant_id, bytes(row.blob)) for row in found]


async def of_other_keys(
    tx: Tx, column: SealedColumn, current: int, after: UUID | None, limit: int
) -> list[SealedValue]:
    """The next values, by row id, that another key than `current` sealed."""
    key, sealed = _KEY.format(c=column.name), _SEALED.format(c=column.name)
    found = await tx.execute(
        text(
            f"SELECT id, merchant_id, {column.name} AS blob FROM {column.table} "
            f"WHERE {sealed} AND {key} <> :current AND (CAST(:after AS uuid) IS NULL OR id > :after) "
            "ORDER BY id LIMIT :n"
        ).bindparams(bindparam("after", type_=Uuid)),
        {"current": current, "after": after, "n": limit},
    )
    return [SealedValue(row.id, row.merchant_id, bytes(row.blob)) for row in found]


async def replace(tx: Tx, column: SealedColumn, resealed: Sequence[Resealed]) -> int:
    """Put the new values where the old ones still stand; how many did. A row changed meanwhile keeps what it has."""
    found = await tx.execute(
        text(
            f"UPDATE {column.table} t SET {column.name} = v.fresh "
            "FROM unnest(:ids, :merchants, :old, :fresh) AS v(id, merchant_id, old, fresh) "
            f"WHERE t.id = v.id AND t.merchant_id = v.merchant_id AND t.{column.name} = v.old"
        ).bindparams(
            bindparam("ids", type_=ARRAY(Uuid)),
            bindparam("merchants", type_=ARRAY(Uuid)),
            bindparam("old", type_=ARRAY(LargeBinary)),
            bindparam("fresh", type_=ARRAY(LargeBinary)),
        ),
        {
            "ids": [one.value.id for one in resealed],
            "merchants": [one.value.merchant_id for one in resealed],
            "old": [one.value.blob for one in resealed],
            "fresh": [one.blob for one in resealed],
        },
    )
    return int(found.rowcount)
