"""Migrations on a database with 100,000 rows of everything, while the program of an older schema is at work."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from app.db import migrate
from app.infra.dsn import Dsn
from app.infra.postgres import EmbeddedPostgres
from tests.support import old_code

ROWS = 100_000


@pytest.fixture
async def url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """An empty database."""
    name = f"live_{uuid4().hex}"
    admin = await asyncpg.connect(postgres.url)
    await admin.execute(f"CREATE DATABASE {name}")
    try:
        yield Dsn.parse(postgres.url).with_database(name).asyncpg_dsn
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


async def test_no_statement_of_the_old_code_waits_long_for_a_lock(url: str) -> None:
    import time
    await migrate.upgrade(url, old_code.SCHEMA)
    connection = await asyncpg.connect(url)
    t=time.monotonic()
    await old_code.fill(connection, ROWS)
    print("filled", time.monotonic()-t)
    async with old_code.at_work(url, ROWS) as old:
      for rev in ("0004","0005","0006","0007","0008","0009","0010","0011","0012"):
        t=time.monotonic()
        old.longest = 0.0
        for _ in range(20):
            try:
                await migrate.upgrade(url, rev)
                break
            except Exception as e:
                print(str(e)[:200])
        print(rev, time.monotonic()-t, old.longest, old.longest_at, len(old.ended), dict(old.done))
    assert not old.ended, old
