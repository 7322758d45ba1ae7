"""What a migration may do to a table that a running program uses: each step short, alone, and safe to be done again.

A strong lock lasts until its transaction ends, and everybody waits behind one that is waited for: a step that takes one
is a single message to the server, its commit included, and gives up after `LOCK_WAIT`. A migration that gave up or was
killed is run again from its beginning and passes over what was done.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from alembic import op
from sqlalchemy import Connection, text
from sqlalchemy.util import await_only

LOCK_WAIT = "200ms"
"""Behind a lock that is waited for, everybody waits: three foreign keys of a new table still stay below a second."""
_MILD_LOCK_WAIT = "10s"
"""For locks that let a program read and write. Longer than the second after which a vacuum makes way for others."""
_TENANT = "nullif(current_setting('kassa.merchant', true), '')::uuid"
"""The tenant of a transaction; an unset setting is NULL and therefore matches no row."""
_ROWS = 1_000
_FIRST = UUID(int=0)

BETWEEN_STEPS, SAY = "between_steps", "say"
"""What `app.db.migrate` hands to the steps, by these names, among the attributes of alembic's configuration."""


def prepare(connection: Connection) -> None:
    """Settings of a session that migrates. Each part of a table is its own: no plan of another is used for it."""
    for setting in (f"lock_timeout = '{LOCK_WAIT}'", "statement_timeout = 0", "plan_cache_mode = force_custom_plan"):
        connection.execute(text(f"SET {setting}"))


def add_columns(table: str, *columns: tuple[str, str]) -> None:
    """Columns (name, type) that are not there yet. Without a default, or with a constant one: no row is written."""
    there = _columns(table)
    missing = [f"ADD COLUMN {name} {kind}" for name, kind in columns if name not in there]
    _alter(table, missing)


def drop_columns(table: str, *columns: tuple[str, str]) -> None:
    """Columns, as `add_columns` was told them, that are still there."""
    there = _columns(table)
    _alter(table, [f"DROP COLUMN {name}" for name, _ in reversed(columns) if name in there])


def create_tables(names: Sequence[str], *statements: str) -> None:
    """New tables with all that belongs to them, or nothing. Their foreign keys stop the writers of older tables."""
    if _one("SELECT to_regclass(:name)::text", name=names[0]) is None:
        _at_once(f"Making {', '.join(names)}", *statements)


def of_tenants(table: str) -> list[str]:
    """What a table with a `merchant_id` needs: the pipeline writes all of it, the API reads its tenant's rows."""
    return [
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO kassa_pipeline",
        f"GRANT SELECT ON {table} TO kassa_api",
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY tenant ON {table} TO kassa_api USING (merchant_id = {_TENANT})",
        f"CREATE POLICY pipeline ON {table} TO kassa_pipeline USING (true) WITH CHECK (true)",
    ]


def drop_tables(*names: str) -> None:
    """Tables that may be gone already, one by one: each drop locks the tables that its foreign keys name."""
    for name in names:
        _at_once(f"Dropping {name}", f"DROP TABLE IF EXISTS {name}")


def create_index(name: str, definition: str) -> None:
    """An index `ON definition`, built beside readers and writers. What an interrupted build left is dropped first."""
    if not _one("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)", name=name):
        _alone(
            f"Building {name}",
            f"DROP INDEX CONCURRENTLY IF EXISTS {name}",
            f"CREATE INDEX CONCURRENTLY {name} ON {definition}",
        )


def replace_index(name: str, definition: str) -> None:
    """Another index under the same name; until it is built, the old one serves."""
    columns = definition.partition(" ")[2].partition(" WHERE ")[0]
    there = _one("SELECT pg_get_indexdef(to_regclass(:name))", name=name)
    built = f"{name}_new"
    if there is None or columns not in there:
        create_index(built, definition)
        drop_index(name)
        mildly(f"Naming {name}", f"ALTER INDEX {built} RENAME TO {name}")


def drop_index(name: str) -> None:
    """An index that may be gone already."""
    _alone(f"Dropping {name}", f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def mildly(what: str, *statements: str) -> None:
    """Statements whose locks let a program read and write (SHARE UPDATE EXCLUSIVE)."""
    _at_once(what, f"SET LOCAL lock_timeout = '{_MILD_LOCK_WAIT}'", *statements)


def fill(table: str, change: str) -> None:
    """Write old rows, a thousand at a time: `change` is an UPDATE of those with `id > :after AND id <= :upto`.

    It must pass over what is written already. Rows that come while it runs are not met.
    """
    _begins(f"Filling {table}")
    with op.get_context().autocommit_block():
        after, last = _FIRST, _one(f"SELECT id FROM {table} ORDER BY id DESC LIMIT 1")
        page = f"SELECT id FROM {table} WHERE id > :after AND id <= :last ORDER BY id LIMIT {_ROWS}"
        while upto := _one(f"SELECT id FROM ({page}) page ORDER BY id DESC LIMIT 1", after=after, last=last):
            op.get_bind().execute(text(change), {"after": after, "upto": upto})
            after = upto
    _done()


def _columns(table: str) -> set[str]:
    there = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped"
    return set(op.get_bind().execute(text(there), {"table": table}).scalars())


def _one(question: str, **given: object) -> Any:
    return op.get_bind().execute(text(question), given).scalar_one_or_none()


def _alter(table: str, actions: list[str]) -> None:
    """All changes of one table under one lock. A vacuum is waited for first, in a way that keeps nobody waiting."""
    if actions:
        _at_once(
            f"Changing {table}",
            f"SET LOCAL lock_timeout = '{_MILD_LOCK_WAIT}'",
            f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE",
            f"SET LOCAL lock_timeout = '{LOCK_WAIT}'",
            f"ALTER TABLE {table} {', '.join(actions)}",
        )


def _at_once(what: str, *statements: str) -> None:
    """All of them or none, in one message that ends with their commit."""
    _begins(what)
    with op.get_context().autocommit_block():
        op.execute(f"DO $online$ BEGIN {'; '.join(statements)}; END $online$")
    _done()


def _alone(what: str, *statements: str) -> None:
    """Outside any transaction, and as long as it takes: what builds or drops an index waits for transactions, but
    nobody waits for it."""
    _begins(what)
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        for statement in statements:
            op.execute(statement)
        op.execute(f"SET lock_timeout = '{LOCK_WAIT}'")
    _done()


def _begins(what: str) -> None:
    say: Callable[[str], None] | None = _given(SAY)
    if say is not None:
        say(f"{what} …")


def _done() -> None:
    """A step is committed: a test may stop here."""
    between_steps: Callable[[], Awaitable[None]] | None = _given(BETWEEN_STEPS)
    if between_steps is not None:
        await_only(between_steps())


def _given(name: str) -> Any:
    config = op.get_context().config
    return None if config is None else config.attributes.get(name)
