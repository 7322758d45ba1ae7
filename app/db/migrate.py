"""Brings the schema to the newest revision, and says which revision a database has."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_only

from app.infra.dsn import Dsn

ROOT = Path(__file__).resolve().parents[2]

_ONE_AT_A_TIME = 5_417_026_341


def owner_engine(url: str) -> AsyncEngine:
    """An engine as the login role itself: migrations make the roles that everything else runs as."""
    dsn = Dsn.parse(url)

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(dsn.asyncpg_dsn, timeout=5, **dsn.connect_kwargs)

    return create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)


def config() -> Config:
    """Alembic's configuration of this checkout or image."""
    return Config(str(ROOT / "alembic.ini"))


def head() -> str:
    """The revision that this code needs."""
    revision = ScriptDirectory.from_config(config()).get_current_head()
    if revision is None:
        raise RuntimeError(f"no migrations under {ROOT / 'migrations'}")
    return revision


async def upgrade(url: str, revision: str = "head", between_steps: Callable[[], Awaitable[None]] | None = None) -> None:
    """Upgrade under an advisory lock, so that several processes that start together do it once.

    Tests stop it at `between_steps`: after each revision's statements, right before their commit.
    """
    await _run(url, lambda cfg: command.upgrade(cfg, revision), between_steps)


async def downgrade(url: str, revision: str) -> None:
    await _run(url, lambda cfg: command.downgrade(cfg, revision))


async def check(url: str) -> None:
    """Raises alembic's CommandError when tables and migrations differ."""
    await _run(url, command.check)


async def current(url: str) -> str | None:
    """The database's revision; None when it was never migrated."""
    engine = owner_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    finally:
        await engine.dispose()


async def _run(
    url: str, action: Callable[[Config], object], between_steps: Callable[[], Awaitable[None]] | None = None
) -> None:
    cfg = config()
    if between_steps is not None:

        def step(**_: Any) -> None:
            await_only(between_steps())

        cfg.attributes["on_version_apply"] = step
    engine = owner_engine(url)

    def go(connection: Connection) -> None:
        cfg.attributes["connection"] = connection

        action(cfg)

    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_advisory_lock(:k)"), {"k": _ONE_AT_A_TIME})
            await connection.commit()
            try:
                await connection.run_sync(go)
                await connection.commit()
            finally:
                await connection.rollback()
                await connection.execute(text("SELECT pg_advisory_unlock(:k)"), {"k": _ONE_AT_A_TIME})
                await connection.commit()
    finally:
        await engine.dispose()
