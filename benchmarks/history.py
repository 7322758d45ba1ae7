"""Years of finished receipts in a minute: rows made by `generate_series` after one real receipt, indexes built last.

Each row looks like the real one it was made after, except for its ids, numbers, order, contacts and moment.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from benchmarks.cluster import connect
from benchmarks.product import Product

TAILS = 10_000
KNOWN = 2_000
"""So many buyers, spread over the whole history, can be searched for by e-mail and phone."""

_CORE = ("events", "receipts", "event_identities", "chains")
_REST = ("timeline", "attempts", "messages", "message_endpoints", "deliveries")

# The time of row i, a second apart, the greater the older; ids are UUIDv7 of that moment.
_AT = "(p.newest - i * interval '1 second')"
_ID = (
    "(lpad(to_hex((extract(epoch FROM {at}) * 1000)::bigint), 12, '0') || '7' || substr(md5('{salt}' || i), 1, 3) "
    "|| '8' || substr(md5('{salt}' || i), 4, 15))::uuid"
)

# The moment is that of the first receipt made here, so that a second part joins the first.
_POOL = "INSERT INTO pool SELECT min(created_at) - interval '1 day' FROM receipts WHERE fpd IS NOT NULL"
_OF_MESSAGE = "JOIN messages m ON m.id = a.message_id WHERE m.receipt_id"

_OVERRIDES: dict[str, dict[str, str]] = {
    "events": {
        "id": "@event",
        "chain_id": "@chain",
        "external_id": "'old-' || i",
        "order_id": "'old-order-' || i",
        "occurred_at": _AT,
        "received_at": _AT,
    },
    "receipts": {
        "id": "@receipt",
        "event_id": "@event",
        "chain_id": "@chain",
        "provider_id": "md5('p' || i)",
        "external_id": "'old-' || i",
        "order_id": "'old-order-' || i",
        "customer": "NULL",
        "email_hash": "coalesce(k.email, sha256(('e' || i / 20)::bytea))",
        "phone_hash": "coalesce(k.phone, sha256(('p' || i / 20)::bytea))",
        "phone_tail_hash": "tails.hash",
        "fd": "100000000 + i",
        "fpd": "(1000000000 + (i::bigint * 2654435761) % 1000000000)::text",
        "first_marked_at": _AT,
        "created_at": _AT,
        "updated_at": _AT,
    },
    "event_identities": {"event_id": "@event", "external_id": "'old-' || i"},
    "chains": {"id": "@chain", "payment_id": "'old-' || i"},
    "timeline": {"id": "@timeline", "receipt_id": "@receipt", "event_id": "NULL", "at": _AT},
    "attempts": {
        "id": "@attempt",
        "receipt_id": "@receipt",
        "provider_id": "md5('p' || i)",
        "marked_at": _AT,
        "finished_at": _AT,
    },
    "messages": {"id": "@message", "receipt_id": "@receipt", "created_at": _AT},
    "message_endpoints": {
        "id": "@address",
        "message_id": "@message",
        "created_at": _AT,
        "delivered_at": _AT,
    },
    "deliveries": {"id": "@delivery", "message_endpoint_id": "@address", "message_id": "@message", "at": _AT},
}


async def generate(product: Product, first: int, total: int, *, whole: bool) -> None:
    """Finished receipts number `first` + 1 to `total` with their events.

    `whole`: also what was tried, told and written down of each.
    """
    tables = _CORE + (_REST if whole else ())
    connection = await connect(product.url)
    try:
        await connection.execute("SET maintenance_work_mem = '512MB'")
        # Documents made after one are all the same: to compare them, as statistics do, takes a minute of CPU.
        await connection.execute("ALTER TABLE receipts ALTER document SET STATISTICS 0, ALTER fiscal SET STATISTICS 0")
        receipt = await connection.fetchval("SELECT id FROM receipts WHERE status = 'fiscalized' ORDER BY id LIMIT 1")
        await _known(connection, product, total)
        async with _without_indexes(connection, tables):
            for table in tables:
                await connection.execute(await _insert(connection, table, receipt, first, total), timeout=7200)
        for table in tables:
            await connection.execute(f"VACUUM ANALYZE {table}", timeout=7200)
    finally:
        await connection.close()


def known_buyers(total: int) -> list[tuple[int, str, str]]:
    """Number of the row, e-mail and phone of buyers who are in the history."""
    step = max(total // KNOWN, 1)
    return [(i, f"buyer{i}@example.org", f"+7999{i % 10_000_000:07d}") for i in range(1, total + 1, step)]


async def _known(connection: Any, product: Product, total: int) -> None:
    await connection.execute("CREATE TEMP TABLE known (i int PRIMARY KEY, email bytea, phone bytea)")
    await connection.execute("CREATE TEMP TABLE pool (newest timestamptz)")
    merchant, hasher = product.merchant_id, product.hasher
    rows = [
        (i, hasher.email(merchant, email), hasher.phone(merchant, phone)) for i, email, phone in known_buyers(total)
    ]
    await connection.copy_records_to_table("known", records=rows)
    await connection.execute("CREATE TEMP TABLE tails (n int PRIMARY KEY, hash bytea)")
    hashes = [(tail, hasher.phone_tail(merchant, f"{tail:04d}")) for tail in range(TAILS)]
    await connection.copy_records_to_table("tails", records=hashes)
    await connection.execute(_POOL)
    await connection.execute("ANALYZE known, tails")


async def _insert(connection: Any, table: str, receipt: Any, first: int, total: int) -> str:
    """The statement that copies the receipt's row of this table, or each of its rows, so many times."""
    columns = [
        row["column_name"]
        for row in await connection.fetch(
            "SELECT column_name FROM information_schema.columns "
            "WHERE table_schema = 'public' AND table_name = $1 AND is_generated = 'NEVER'",
            table,
        )
    ]
    values = ", ".join(_value(_OVERRIDES[table].get(column, f"t.{column}"), table) for column in columns)
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} "
        f"FROM ({_template(table, receipt)}) t CROSS JOIN pool p CROSS JOIN generate_series({first + 1}, {total}) i "
        f"LEFT JOIN known k USING (i) JOIN tails ON tails.n = (i::bigint * 7919) % {TAILS}"
    )


def _value(expression: str, table: str) -> str:
    if not expression.startswith("@"):
        return expression
    name = expression[1:]
    # A receipt has several lines of history: each needs an id of its own.
    salt = f"{name}' || t.id || '" if name == table == "timeline" else name
    return _ID.format(at=_AT, salt=salt)


def _template(table: str, receipt: Any) -> str:
    own = f"(SELECT * FROM receipts WHERE id = '{receipt}')"
    match table:
        case "receipts":
            return f"SELECT * FROM {own} r"
        case "events":
            return f"SELECT e.* FROM events e JOIN {own} r ON r.event_id = e.id"
        case "event_identities":
            return f"SELECT e.* FROM event_identities e JOIN {own} r ON r.event_id = e.event_id"
        case "chains":
            return f"SELECT c.* FROM chains c JOIN {own} r ON r.chain_id = c.id"
        case "message_endpoints":
            return f"SELECT a.* FROM message_endpoints a {_OF_MESSAGE} = '{receipt}'"
        case "deliveries":
            return f"SELECT d.* FROM deliveries d {_OF_MESSAGE.replace('a.', 'd.')} = '{receipt}'"
        case _:
            return f"SELECT * FROM {table} WHERE receipt_id = '{receipt}'"


_CONSTRAINTS = """
SELECT conrelid::regclass::text AS table, conname AS name, pg_get_constraintdef(oid) AS definition
FROM pg_constraint
WHERE conrelid = ANY($1::regclass[]) AND contype IN ('p', 'u', 'f') OR confrelid = ANY($1::regclass[])
ORDER BY contype <> 'f'
"""
_INDEXES = """
SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition
FROM pg_index WHERE indrelid = ANY($1::regclass[])
  AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = indexrelid)
"""


@contextlib.asynccontextmanager
async def _without_indexes(connection: Any, tables: Sequence[str]) -> AsyncIterator[None]:
    """Keys and indexes are taken away and built again afterwards, as a bulk load is done."""
    constraints = await connection.fetch(_CONSTRAINTS, tables)
    indexes = await connection.fetch(_INDEXES, tables)
    for one in constraints:
        await connection.execute(f'ALTER TABLE {one["table"]} DROP CONSTRAINT "{one["name"]}"')
    for one in indexes:
        await connection.execute(f"DROP INDEX {one['name']}")
    yield
    for one in indexes:
        await connection.execute(one["definition"], timeout=7200)
    for one in reversed(constraints):
        statement = f'ALTER TABLE {one["table"]} ADD CONSTRAINT "{one["name"]}" {one["definition"]}'
        await connection.execute(statement, timeout=7200)
