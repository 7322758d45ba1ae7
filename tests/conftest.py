"""One embedded PostgreSQL per test process, one database per test, copied from a migrated template."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from app.db import migrate
from app.db.unit_of_work import Database
from app.infra.dsn import Dsn
from app.infra.postgres import EmbeddedPostgres

TEMPLATE = "kassa_template"


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A throw-away cluster without fsync; crash and failover tests start their own durable ones."""
    with tempfile.TemporaryDirectory(prefix="kassa-test-", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Path(folder), durable=False)
        asyncio.run(server.start())
        try:
            asyncio.run(_make_template(server))
            yield server
        finally:
            asyncio.run(server.stop())


async def _make_template(server: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(server.url)
    await connection.execute(f"CREATE DATABASE {TEMPLATE}")
    await connection.close()
    await migrate.upgrade(Dsn.parse(server.url).with_database(TEMPLATE).asyncpg_dsn)


@pytest.fixture
async def database_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """URL of a fresh, migrated database that is dropped after the test."""
    async with _database_like(postgres, TEMPLATE) as url:
        yield url


@pytest.fixture
async def empty_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The same without a schema, for migrations."""
    async with _database_like(postgres, "template1") as url:
        yield url


@asynccontextmanager
async def _database_like(postgres: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    name = f"t_{uuid4().hex}"
    admin = await asyncpg.connect(postgres.url)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield Dsn.parse(postgres.url).with_database(name).asyncpg_dsn
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A `Database` over a fresh schema."""
    found = Database(Dsn.parse(database_url), pool_size=8)
    try:
        yield found
    finally:
        await found.close()
