"""Brings the schema to the newest revision, and says which revision a database has."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_only

from app.db.online import BETWEEN_STEPS, SAY
from app.db.unit_of_work import is_retryable
from app.domain.errors import Busy
from app.infra.dsn import Dsn

ROOT = Path(__file__).resolve().parents[2]

Pause = Callable[[], Awaitable[None]]
"""Awaited between two steps."""

_ONE_AT_A_TIME = 5_417_026_341
_POLL_SECONDS = 0.2
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 5.0
_PATIENCE_SECONDS = 300.0
_TOLD = 80

_OLDEST = text("""
SELECT pid, coalesce(nullif(application_name, ''), backend_type) AS name,
  extract(epoch FROM clock_timestamp() - xact_start)::int AS seconds
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
ORDER BY xact_start LIMIT 1
""")


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


async def upgrade(
    url: str, revision: str = "head", between_steps: Pause | None = None, say: Callable[[str], None] | None = None
) -> None:
    """Upgrade while programs of the older schema run; of several processes that start together one does it.

    `say` hears of every step, and why nothing goes on. Tests stop it at `between_steps`: after each step that was
    committed, and after each revision's last statements, right before their commit. It may be killed anywhere: run
    again, it goes on. Busy when tables were in use for all of `_PATIENCE_SECONDS`.
    """
    await _run(url, lambda cfg: command.upgrade(cfg, revision), between_steps, say)


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
    url: str,
    action: Callable[[Config], object],
    between_steps: Pause | None = None,
    say: Callable[[str], None] | None = None,
) -> None:
    cfg = config()
    cfg.attributes[SAY] = say
    if between_steps is not None:

        def step(**_: Any) -> None:
            await_only(between_steps())

        cfg.attributes["on_version_apply"] = step
        cfg.attributes[BETWEEN_STEPS] = between_steps
    engine = owner_engine(url)

    def go(connection: Connection) -> None:
        cfg.attributes["connection"] = connection

        action(cfg)

    try:
        async with engine.connect() as connection:
            await _alone(connection, say)
            try:
                await _until_done(connection, go, say)
            finally:
                await connection.rollback()
                await connection.execute(text("SELECT pg_advisory_unlock(:k)"), {"k": _ONE_AT_A_TIME})
                await connection.commit()
    finally:
        await engine.dispose()


async def _alone(connection: AsyncConnection, say: Callable[[str], None] | None) -> None:
    """Asked again and again: whoever waits inside `pg_advisory_lock` is a transaction that index builds wait for."""
    while not (await connection.execute(text("SELECT pg_try_advisory_lock(:k)"), {"k": _ONE_AT_A_TIME})).scalar_one():
        await connection.commit()
        if say is not None:
            say("Another migration runs on this database: waiting for its end.")
            say = None
        await asyncio.sleep(_POLL_SECONDS)
    await connection.commit()


async def _until_done(
    connection: AsyncConnection, go: Callable[[Connection], None], say: Callable[[str], None] | None
) -> None:
    """Again from the last finished revision each time that a table was in use, less and less often."""
    began, pause = time.monotonic(), _PAUSE_SECONDS
    while True:
        try:
            await connection.run_sync(go)
            await connection.commit()
        except DBAPIError as error:
            if not is_retryable(error):
                raise
            await connection.rollback()
            why = f"In use: {_told(error)}. {await _oldest(connection)}"
        else:
            return
        if time.monotonic() - began > _PATIENCE_SECONDS:
            raise Busy(f"{why}Nothing is broken: run crm-kassa migrate again, it goes on where it stopped.")
        if say is not None:
            say(f"{why}Nobody is made to wait for it; trying again in {pause:.1f} s.")
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)


def _told(error: DBAPIError) -> str:
    words = " ".join((error.statement or "").split())
    return words if len(words) <= _TOLD else f"{words[:_TOLD]}…"


async def _oldest(connection: AsyncConnection) -> str:
    """Who may be in the way, as far as this role may see it; ends with a space."""
    found = (await connection.execute(_OLDEST)).one_or_none()
    await connection.commit()
    return (
        ""
        if found is None
        else f"The oldest transaction is open for {found.seconds} s (pid {found.pid}, {found.name}). "
    )
