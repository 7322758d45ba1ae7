"""The engine and its transactions: one of the two places that commit (the other is `group_commit.py`)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.domain.errors import Busy, Contended
from app.infra.dsn import Dsn

Tx = AsyncConnection
"""A transaction somebody else opened and will commit."""

_RETRYABLE = {"40001", "40P01", "55P03"}
_LOST_CLASSES = ("08", "53", "57")
_DEMOTED = "25006"


def sqlstate(error: BaseException) -> str | None:
    """SQLSTATE behind an error of asyncpg or SQLAlchemy; None when the connection itself broke."""
    seen: BaseException | None = error
    while seen is not None:
        state = getattr(seen, "sqlstate", None)
        if isinstance(state, str):
            return state
        seen = getattr(seen, "orig", None) or seen.__cause__
    return None


_AWAY = (OSError, asyncpg.InterfaceError, InterfaceError, DBAPIError, asyncpg.InternalClientError, PoolExhausted)
"""Without an SQLSTATE: the connection broke, or none became free in time."""
TROUBLE = (*_AWAY, TimeoutError, asyncpg.PostgresError)
"""All that talking to the database may raise, InternalClientError for one that is just being started included."""


def is_lost(error: BaseException) -> bool:
    """The connection or the server went away: whether the transaction committed is not known."""
    state = sqlstate(error)
    if state is None:
        return isinstance(error, _AWAY)
    return state.startswith(_LOST_CLASSES) or state == _DEMOTED


def is_retryable(error: BaseException) -> bool:
    """A deadlock or lock timeout: nothing was committed and the same work may be tried again."""
    return sqlstate(error) in _RETRYABLE


_TENANT = text("""
SELECT set_config('role', 'kassa_api', true), set_config('kassa.merchant', :m, true),
  set_config('plan_cache_mode', 'force_custom_plan', true)
""")


class Database:
    """One engine that owns every connection of the process.

    `tenant` reads as role kassa_api under row-level security; `pipeline` may cross merchants. Both commit on a clean
    exit and roll back otherwise. A database that is away raises `Busy`, which the edge answers with 503.

    With `direct` the other address leads through PgBouncer in transaction mode: nothing outlives a transaction there,
    no prepared statement and no setting, and what must outlive it (LISTEN) goes by `direct`.
    """

    def __init__(
        self,
        dsn: Dsn,
        *,
        direct: Dsn | None = None,
        pool_size: int = 10,
        max_overflow: int = 5,
        pool_timeout: float = 5.0,
        command_timeout: float = 15.0,
    ) -> None:
        self.dsn = dsn
        self._direct = direct or dsn
        self._command_timeout = command_timeout
        self.engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            connect_args={"async_creator_fn": self.connect} if direct is None else self._through_a_pooler(),
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_timeout=pool_timeout,
            pool_pre_ping=True,
        )

    async def connect(self) -> Any:
        """A raw connection as the pipeline's role; used by the engine's pool and by LISTEN."""
        return await asyncpg.connect(
            self._direct.asyncpg_dsn,
            timeout=3,
            command_timeout=self._command_timeout,
            server_settings={
                "role": "kassa_pipeline",
                "timezone": "UTC",
                "application_name": "crm-kassa",
                "idle_in_transaction_session_timeout": "30s",
                "jit": "off",
            },
            **self._direct.connect_kwargs,
        )

    def _through_a_pooler(self) -> dict[str, Any]:
        """Unnamed statements only: parsed, bound and run in one go, which a pooler gives to one server."""
        return {
            "async_creator_fn": self._connect_to_pooler,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: "",
        }

    async def _connect_to_pooler(self) -> Any:
        """The pooler's servers are shared: the role and its other settings are those of the login role there."""
        return await asyncpg.connect(
            self.dsn.asyncpg_dsn,
            timeout=3,
            command_timeout=self._command_timeout,
            statement_cache_size=0,
            server_settings={"timezone": "UTC", "application_name": "crm-kassa"},
            **self.dsn.connect_kwargs,
        )

    @asynccontextmanager
    async def pipeline(self) -> AsyncIterator[Tx]:
        """A transaction of the pipeline: every merchant is visible, so each statement names its own."""
        async with _away(), self.engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def tenant(self, merchant_id: UUID) -> AsyncIterator[Tx]:
        """A reading transaction that sees one merchant only, whatever the statement forgets.

        Each statement is planned for its own values: a plan for any value walks a whole history where a rare one is
        asked for.
        """
        async with _away(), self.engine.begin() as connection:
            await connection.execute(_TENANT, {"m": str(merchant_id)})
            yield connection

    async def now(self) -> datetime:
        """The database's time: the only clock of leases and delays."""
        async with self.pipeline() as tx:
            return await database_now(tx)

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the pool as asyncpg knows it, in autocommit; for single statements of the queue."""
        async with _away(), self.engine.connect() as connection:
            raw = await connection.get_raw_connection()
            yield raw.driver_connection

    @asynccontextmanager
    async def raw_transaction(self, opening: str = "") -> AsyncIterator[asyncpg.Connection]:
        """The same within one transaction, committed on a clean exit: the claim counts under the locks it took."""
        async with self.raw() as connection, opened(connection, opening):
            yield connection

    async def wait_until_reachable(self) -> None:
        """Return when the database answers again; asks at growing intervals up to a second, for ever."""
        seconds = 0.05
        while True:
            try:
                await self.now()
            except Busy:
                await asyncio.sleep(seconds)
                seconds = min(seconds * 2, 1.0)
            else:
                return

    async def close(self) -> None:
        await self.engine.dispose()


class Kept:
    """One connection of the pool for a loop that needs it all the time: no check-out and no ping per transaction.

    For one user at a time. After an error it is thrown away, and the next transaction takes another.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: AsyncConnection | None = None

    @asynccontextmanager
    async def pipeline(self) -> AsyncIterator[Tx]:
        """As `Database.pipeline`."""
        async with _away(), self._borrowed() as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[asyncpg.Connection]:
        """As `Database.raw`."""
        async with _away(), self._borrowed() as connection:
            driver: asyncpg.Connection = (await connection.get_raw_connection()).driver_connection
            yield driver

    @asynccontextmanager
    async def raw_transaction(self, opening: str = "") -> AsyncIterator[asyncpg.Connection]:
        """As `Database.raw_transaction`."""
        async with self.raw() as connection, opened(connection, opening):
            yield connection

    async def give_back(self, *, broken: bool = False) -> None:
        held, self._held = self._held, None
        if held is None:
            return
        if broken:
            await held.invalidate()
        await held.close()

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[AsyncConnection]:
        if self._held is None:
            self._held = await self._database.engine.connect()
        try:
            yield self._held
        except BaseException:
            await self.give_back(broken=True)
            raise


@asynccontextmanager
async def opened(connection: asyncpg.Connection, opening: str = "") -> AsyncIterator[None]:
    """A transaction of a raw connection; `opening`, statements without parameters, goes with its BEGIN."""
    await connection.execute(f"BEGIN; {opening}")
    try:
        yield
    except BaseException:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
        raise
    await connection.execute("COMMIT")


async def database_now(tx: Tx) -> datetime:
    """The database's time within a transaction."""
    now: datetime = (await tx.execute(text("SELECT kassa_now()"))).scalar_one()
    return now


@asynccontextmanager
async def _away() -> AsyncIterator[None]:
    try:
        yield
    except TROUBLE as error:
        if is_lost(error) or isinstance(error, TimeoutError):
            raise Busy("the database is not reachable at the moment; repeat the same request") from error
        if is_retryable(error):
            raise Contended("somebody else is changing the same thing; repeat the same request") from error
        raise
