"""Brings the schema to the newest revision, and says which revision a database has."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
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
from app.db.trouble import is_retryable
from app.domain.errors import Busy
from app.infra.dsn import Dsn

ROOT = Path(__file__).resolve().parents[2]

Pause = Callable[[], Awaitable[None]]
"""Awaited between two steps."""
Say = Callable[[str], None]
"""Told in words for people what is done now, and what is waited for."""

_ONE_AT_A_TIME = 5_417_026_341
_POLL_SECONDS = 0.2
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 5.0
_PATIENCE_SECONDS = 300.0
_WATCH_SECONDS = 10.0
_TOLD = 80
_CHANGE = re.compile(r"\b(ALTER|CREATE|DROP) ")

_TRANSACTION = """
SELECT pid, coalesce(nullif(application_name, ''), backend_type) AS name,
  extract(epoch FROM clock_timestamp() - xact_start)::int AS seconds
FROM pg_stat_activity WHERE xact_start IS NOT NULL
"""
_OLDEST = text(
    f"{_TRANSACTION} AND datname = current_database() AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 1"
)
_IN_THE_WAY = text(f"{_TRANSACTION} AND pid = ANY (pg_blocking_pids(:pid)) ORDER BY xact_start")


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


async def upgrade(url: str, revision: str = "head", between_steps: Pause | None = None, say: Say | None = None) -> None:
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
    say: Say | None = None,
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
            async with _watched(engine, await _pid(connection), say):
                await _until_done(connection, go, say)
            # Where it fails, the end of the session gives the lock back.
            await connection.execute(text("SELECT pg_advisory_unlock(:k)"), {"k": _ONE_AT_A_TIME})
            await connection.commit()
    finally:
        await engine.dispose()


async def _alone(connection: AsyncConnection, say: Say | None) -> None:
    """Asked again and again: whoever waits inside `pg_advisory_lock` is a transaction that index builds wait for."""
    while not (await connection.execute(text("SELECT pg_try_advisory_lock(:k)"), {"k": _ONE_AT_A_TIME})).scalar_one():
        await connection.commit()
        if say is not None:
            say("Another migration runs on this database: waiting for its end.")
            say = None
        await asyncio.sleep(_POLL_SECONDS)
    await connection.commit()


async def _until_done(connection: AsyncConnection, go: Callable[[Connection], None], say: Say | None) -> None:
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


async def _pid(connection: AsyncConnection) -> int:
    found = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
    await connection.commit()
    return int(found)


@asynccontextmanager
async def _watched(engine: AsyncEngine, pid: int, say: Say | None) -> AsyncIterator[None]:
    """Tells whose transactions keep the migration waiting: what builds or drops an index waits as long as it takes."""

    async def watch(say: Say) -> None:
        async with engine.connect() as connection:
            while True:
                await asyncio.sleep(_WATCH_SECONDS)
                for row in (await connection.execute(_IN_THE_WAY, {"pid": pid})).all():
                    who = f"{row.name}, pid {row.pid}, open for {row.seconds} s"
                    say(f"Waiting for the end of a transaction ({who}). Nobody waits behind.")
                await connection.commit()

    task = None if say is None else asyncio.create_task(watch(say), name="migration-watch")
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _told(error: DBAPIError) -> str:
    """What was to be done, without the settings around it."""
    words = " ".join((error.statement or "").split()).removesuffix("; END $online$")
    words = words[found.start() :] if (found := _CHANGE.search(words)) else words
    return words if len(words) <= _TOLD else f"{words[:_TOLD]}…"


async def _oldest(connection: AsyncConnection) -> str:
    """Who may be in the way, as far as this role may see it; ends with a space."""
    found = (await connection.execute(_OLDEST)).one_or_none()
    await connection.commit()
    return (
        "" if found is None else f"The oldest transaction: {found.name}, pid {found.pid}, open for {found.seconds} s. "
    )
