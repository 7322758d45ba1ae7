"""Where the database and its keys are: at KASSA_DATABASE_URL, or embedded in the data folder.

A command beside a running program finds that program's embedded database by a note in the folder.
"""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from app.cli.errors import Stop
from app.cli.files import read_json, write_json
from app.db import migrate
from app.infra.dsn import Dsn
from app.infra.failpoints import Hook
from app.infra.postgres import DataDirInUse, EmbeddedPostgres
from app.keys import Keys, SettingInvalid
from app.runtime import Runtime, open_runtime
from app.settings import Settings

log = structlog.get_logger(__name__)

NOTE = "running.json"
WHERE_ELSE = "Set KASSA_DATABASE_URL, name its folder with --data-dir, or start crm-kassa up, which makes one."


@dataclass(frozen=True, slots=True)
class Place:
    """A database that answers, the keys that belong to it, and the server when it is ours to keep alive."""

    url: str
    keys: Keys
    embedded: EmbeddedPostgres | None = None
    folder: Path | None = None
    direct_url: str | None = None

    @property
    def schema_url(self) -> str:
        """For migrations: they hold a lock of their session, which a pooler would give to somebody else."""
        return self.direct_url or self.url

    @property
    def told(self) -> str:
        """For people, without the password."""
        return f"embedded in {self.folder}" if self.folder is not None else Dsn.parse(self.url).redacted


@contextlib.asynccontextmanager
async def open_place(settings: Settings) -> AsyncIterator[Place]:
    """The database of this installation; an embedded one is started here and stopped at the end.

    DataDirInUse when another program runs on the data folder.
    """
    around = direct_url(settings)
    if settings.database_url is not None:
        url = _checked(settings.database_url.get_secret_value())
        yield Place(url, Keys.load(settings, generate_in=None), direct_url=around)
        return
    async with EmbeddedPostgres(settings.data_dir) as server:
        note = server.data_dir / NOTE
        try:
            yield Place(server.url, Keys.load(settings, generate_in=server.data_dir), server, server.data_dir)
        finally:
            note.unlink(missing_ok=True)


def leave_note(place: Place) -> None:
    """Tell commands of the same folder where the embedded database answers."""
    if place.embedded is not None:
        write_json(place.embedded.data_dir / NOTE, {"database_url": place.url})


@contextlib.asynccontextmanager
async def join_place(settings: Settings) -> AsyncIterator[Place]:
    """The database of this installation for one command, beside the running program or without it.

    Nothing is made: SettingInvalid where there is no installation yet, as in a wrong folder.
    """
    if (missing := no_database(settings)) is not None:
        raise SettingInvalid(f"The database: {missing}. {WHERE_ELSE}")
    async with contextlib.AsyncExitStack() as stack:
        try:
            yield await stack.enter_async_context(open_place(settings))
            return
        except DataDirInUse as used:
            in_use = used
        yield _beside(settings, in_use)


def _beside(settings: Settings, in_use: DataDirInUse) -> Place:
    note = read_json(settings.data_dir / NOTE)
    if note is None:
        raise Stop(f"{in_use} It has not told its database's address yet: if it is just starting, try again.")
    folder = settings.data_dir.resolve()
    return Place(str(note["database_url"]), Keys.load(settings, generate_in=folder), folder=folder)


@contextlib.asynccontextmanager
async def administration(settings: Settings) -> AsyncIterator[Runtime]:
    """The services for one command, on a database that has this program's schema."""
    async with join_place(settings) as place:
        await required_schema(place)
        async with open_runtime(settings, database_url=place.url, keys=place.keys) as runtime:
            yield runtime


async def required_schema(place: Place, *, upgrade: bool = False, between_steps: Hook | None = None) -> None:
    """An embedded database is brought to the newest schema, another one only with `upgrade`; else it must have it."""
    if upgrade or place.embedded is not None:
        await migrate.upgrade(
            place.schema_url, between_steps=between_steps, say=lambda what: log.info("schema.migrating", what=what)
        )
        return
    found, needed = await migrate.current(place.schema_url), migrate.head()
    if found != needed:
        raise Stop(
            f"The database's schema is {found or 'not there yet'}, this program needs {needed}: run crm-kassa migrate."
        )


def required_url(settings: Settings) -> str:
    """KASSA_DATABASE_URL for a command that does nothing without it."""
    if settings.database_url is None:
        raise SettingInvalid(
            "KASSA_DATABASE_URL is not set: this command is one process of several over one PostgreSQL. "
            "To run everything here with an embedded one, use crm-kassa up."
        )
    return _checked(settings.database_url.get_secret_value())


def direct_url(settings: Settings) -> str | None:
    """The way around a pooler, where there is one."""
    url = settings.database_direct_url
    if url is not None and settings.database_url is None:
        raise SettingInvalid("KASSA_DATABASE_DIRECT_URL is the way around a pooler: set KASSA_DATABASE_URL as well.")
    return None if url is None else _checked(url.get_secret_value(), "KASSA_DATABASE_DIRECT_URL")


def no_database(settings: Settings) -> str | None:
    """Where was looked, when no embedded database was ever made there and no other one is named."""
    if settings.database_url is not None or (settings.data_dir / "pg").exists():
        return None
    return f"there is none yet in {settings.data_dir.resolve()}"


def _checked(url: str, name: str = "KASSA_DATABASE_URL") -> str:
    try:
        return Dsn.parse(url).asyncpg_dsn
    except ValueError as wrong:
        raise SettingInvalid(f"{name}: {wrong}") from None
