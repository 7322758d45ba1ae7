"""The engine and its transactions: one of the two places that commit (the other is `group_commit.py`)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from pydantic_core import from_json
from sqlalchemy import event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.db.planner import always_by_index
from app.db.trouble import READ_ONLY, TROUBLE, Refusals, busy, is_lost, is_retryable, sqlstate
from app.domain.errors import Busy, Contended
from app.infra.dsn import Dsn

Tx = AsyncConnection
"""A transaction somebody else opened and will commit."""

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
        count_refusal: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.dsn = dsn
        self.refusals = Refusals(count_refusal)
        self.pooled = direct is not None
        self._direct = direct or dsn
        self._command_timeout = command_timeout
        self.engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            connect_args={"async_creator_fn": self.connect} if direct is None else self._through_a_pooler(),
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_timeout=pool_timeout,
            pool_pre_ping=True,
            json_deserializer=from_json,
        )
        event.listen(self.engine.sync_engine, "handle_error", _drop_a_demoted_server)

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
        async with self._away(), self.engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def tenant(self, merchant_id: UUID) -> AsyncIterator[Tx]:
        """A reading transaction that sees one merchant only, whatever the statement forgets.

        Each statement is planned for its own values: a plan for any value walks a whole history where a rare one is
        asked for.
        """
        async with self._away(), self.engine.begin() as connection:
            await connection.execute(_TENANT, {"m": str(merchant_id)})
            yield connection

    async def now(self) -> datetime:
        """The database's time: the only clock of leases and delays."""
        async with self.pipeline() as tx:
            return await database_now(tx)

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the pool as asyncpg knows it, in autocommit; for single statements of the queue."""
        async with self._away(), self.engine.connect() as connection:
            raw = await connection.get_raw_connection()
            try:
                yield raw.driver_connection
            except asyncpg.ReadOnlySQLTransactionError:
                await connection.invalidate()
                raise

    @asynccontextmanager
    async def raw_transaction(self) -> AsyncIterator[asyncpg.Connection]:
        """The same within one transaction, committed on a clean exit: the claim counts under the locks it took."""
        async with self.raw() as connection, connection.transaction():
            yield connection

    async def before_again(self, tried: int) -> None:
        """Wait before what could not be stored is given once more, the first time with `tried` 0: growing intervals up
        to a second, and until the database answers. One whose disk is full answers, and stores nothing."""
        await asyncio.sleep(min(0.05 * 2 ** min(tried, 5), 1.0))
        await self.wait_until_reachable()

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

    @asynccontextmanager
    async def _away(self) -> AsyncIterator[None]:
        try:
            yield
        except TROUBLE as error:
            if is_lost(error):
                raise busy(self.refusals.note(error)) from error
            if is_retryable(error):
                raise Contended("somebody else is changing the same thing; repeat the same request") from error
            raise


class Kept:
    """One connection of the pool for a loop that needs it all the time: no check-out and no ping per transaction.

    For one user at a time. After an error it is thrown away, and the next transaction takes another. `by_index`: it is
    for statements of the queue, which are planned by index (`planner.py`); where the connection can be told so once, it
    is, and then it never goes back to the pool.
    """

    def __init__(self, database: Database, *, by_index: bool = False) -> None:
        self._database = database
        self._by_index = by_index and not database.pooled
        self._held: tuple[AsyncConnection, asyncpg.Connection] | None = None

    @asynccontextmanager
    async def pipeline(self) -> AsyncIterator[Tx]:
        """As `Database.pipeline`."""
        async with self._database._away(), self._borrowed() as (connection, _), connection.begin():
            yield connection

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[asyncpg.Connection]:
        """As `Database.raw`."""
        async with self._database._away(), self._borrowed() as (_, driver):
            yield driver

    @asynccontextmanager
    async def raw_transaction(self) -> AsyncIterator[asyncpg.Connection]:
        """As `Database.raw_transaction`."""
        async with self.raw() as driver, driver.transaction():
            yield driver

    async def driver(self) -> asyncpg.Connection:
        """The connection as asyncpg knows it, for whoever judges errors himself (`give_back`)."""
        return (await self._connected())[1]

    async def give_back(self, *, broken: bool = False) -> None:
        held, self._held = self._held, None
        if held is None:
            return
        if broken or self._by_index:
            await held[0].invalidate()
        await held[0].close()

    async def _connected(self) -> tuple[AsyncConnection, asyncpg.Connection]:
        """As the engine and as asyncpg know it. One whose server ended since it was last used is replaced."""
        if self._held is not None:
            if not self._held[1].is_closed():
                return self._held
            await self.give_back(broken=True)
        held = await self._database.engine.connect()
        driver: asyncpg.Connection = (await held.get_raw_connection()).driver_connection
        self._held = held, driver
        try:
            if self._by_index:
                await always_by_index(driver)
        except BaseException:
            await self.give_back(broken=True)
            raise
        return self._held

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[tuple[AsyncConnection, asyncpg.Connection]]:
        try:
            yield await self._connected()
        except BaseException:
            await self.give_back(broken=True)
            raise


async def database_now(tx: Tx) -> datetime:
    """The database's time within a transaction."""
    now: datetime = (await tx.execute(text("SELECT kassa_now()"))).scalar_one()
    return now


def _drop_a_demoted_server(context: ExceptionContext) -> None:
    """It answers every ping: kept in the pool, its connection would refuse one transaction after another. So would a
    session that began while a managed database had made itself read-only, its disk being nearly full."""
    if sqlstate(context.original_exception) == READ_ONLY:
        context.is_disconnect, context.invalidate_pool_on_disconnect = True, False
