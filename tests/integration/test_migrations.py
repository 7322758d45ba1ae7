"""The schema goes up, down and up again, and equals the tables that the code believes in."""

from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.db import migrate
from app.db.unit_of_work import Database


async def test_up_down_up_leaves_nothing_behind(empty_url: str) -> None:
    await migrate.upgrade(empty_url)
    assert await migrate.current(empty_url) == migrate.head()
    await migrate.downgrade(empty_url, "base")
    connection = await asyncpg.connect(empty_url)
    left = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    assert [row["tablename"] for row in left] == ["alembic_version"]
    await migrate.upgrade(empty_url)
    await migrate.check(empty_url)


async def test_ids_made_in_sql_are_uuid7_and_grow(database: Database) -> None:

    async with database.pipeline() as tx:
        made = [(await tx.execute(text("SELECT kassa_uuid7()"))).scalar_one() for _ in range(3)]
    assert {one.version for one in made} == {7}
    assert {one.variant for one in made} == {"specified in RFC 4122"}


async def test_an_unset_tenant_reads_as_nobody(database: Database) -> None:

    mine, other = uuid4(), uuid4()
    async with database.pipeline() as tx:
        for merchant in (mine, other):
            await tx.execute(
                text("INSERT INTO merchants (id, name, inn) VALUES (:i, 'Школа', '7707083893')"), {"i": merchant}
            )
    async with database.tenant(mine) as tx:
        assert (await tx.execute(text("SELECT id FROM merchants"))).scalars().all() == [mine]
    async with database.pipeline() as tx:
        await tx.execute(text("SET LOCAL ROLE kassa_api"))
        assert (await tx.execute(text("SELECT count(*) FROM merchants"))).scalar_one() == 0


async def test_the_api_role_may_not_write(database: Database) -> None:

    async with database.pipeline() as tx:
        await tx.execute(text("INSERT INTO merchants (id, name, inn) VALUES (:i, 'x', 'y')"), {"i": uuid4()})
    with pytest.raises(DBAPIError, match="permission denied"):
        async with database.tenant(uuid4()) as tx:
            await tx.execute(text("UPDATE merchants SET name = 'z'"))
