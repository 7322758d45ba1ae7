"""What a database that cannot work for us says, by each way on which the program talks to it: always `Busy`, which the
edge answers with 503, and for a row whose commit is not known `CommitUnknown`."""

import asyncio
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from app.db.group_commit import CommitUnknown, GroupCommitter
from app.db.trouble import Refusal, Refusals
from app.db.unit_of_work import Database, Kept
from app.domain.errors import Busy, Contended
from app.infra.dsn import Dsn

REFUSALS = {
    "53000": Refusal.AWAY,
    "53100": Refusal.DISK_FULL,
    "53200": Refusal.OUT_OF_MEMORY,
    "53300": Refusal.TOO_MANY_CONNECTIONS,
    "57P01": Refusal.AWAY,
    "57P02": Refusal.AWAY,
    "57P03": Refusal.STARTING,
    "25006": Refusal.READ_ONLY,
    "58030": Refusal.AWAY,
    "08006": Refusal.AWAY,
}
"""Insufficient resources, disk full, out of memory, too many connections, admin shutdown, crash shutdown, cannot
connect now, read-only transaction, input/output error, connection failure: PostgreSQL, appendix A."""


def raising(state: str) -> str:
    """A statement that the server itself ends with this SQLSTATE."""
    return f"DO $$ BEGIN RAISE 'refused' USING ERRCODE = '{state}'; END $$"


async def _pipeline(database: Database, sql: str) -> None:
    async with database.pipeline() as tx:
        await tx.execute(text(sql))


async def _tenant(database: Database, sql: str) -> None:
    async with database.tenant(UUID(int=1)) as tx:
        await tx.execute(text(sql))


async def _raw(database: Database, sql: str) -> None:
    async with database.raw() as connection:
        await connection.execute(sql)


async def _raw_transaction(database: Database, sql: str) -> None:
    async with database.raw_transaction() as connection:
        await connection.execute(sql)


async def _kept(database: Database, sql: str) -> None:
    kept = Kept(database)
    try:
        async with kept.pipeline() as tx:
            await tx.execute(text(sql))
    finally:
        await kept.give_back()


async def _kept_raw(database: Database, sql: str) -> None:
    kept = Kept(database)
    try:
        async with kept.raw_transaction() as connection:
            await connection.execute(sql)
    finally:
        await kept.give_back()


WAYS = (_pipeline, _tenant, _raw, _raw_transaction, _kept, _kept_raw)


@pytest.fixture
async def counted(database_url: str) -> AsyncIterator[tuple[Database, "Counter[str]"]]:
    found: Counter[str] = Counter()
    database = Database(Dsn.parse(database_url), pool_size=2, count_refusal=lambda reason: found.update((reason,)))
    try:
        yield database, found
    finally:
        await database.close()


@pytest.mark.parametrize(("state", "refusal"), REFUSALS.items())
async def test_whatever_is_refused_comes_out_as_busy_and_is_counted(
    counted: tuple[Database, "Counter[str]"], state: str, refusal: Refusal
) -> None:
    database, found = counted
    for way in WAYS:
        with pytest.raises(Busy) as raised:
            await way(database, raising(state))
        assert not isinstance(raised.value, Contended), way.__name__
        assert "repeat the same request" in raised.value.detail
        assert raised.value.retry_after_seconds == (10 if refusal is Refusal.DISK_FULL else 1)
    assert found == {refusal.value: len(WAYS)}
    await _pipeline(database, "SELECT 1")


@pytest.mark.parametrize(("state", "refusal"), REFUSALS.items())
@pytest.mark.parametrize("one_statement", [True, False])
async def test_a_batch_that_is_refused_is_not_known_and_the_next_is_stored(
    counted: tuple[Database, "Counter[str]"], state: str, refusal: Refusal, one_statement: bool
) -> None:
    database, found = counted

    async def write(connection: asyncpg.Connection, batch: Sequence[str]) -> Sequence[str]:
        for one in batch:
            await connection.execute(one)
        return batch

    committer = GroupCommitter("test", database, write, one_statement=one_statement)
    try:
        with pytest.raises(CommitUnknown) as raised:
            await committer.submit(raising(state))
        assert raised.value.refusal is refusal
        assert await committer.submit("SELECT 1") == "SELECT 1"
    finally:
        await committer.close()
    assert found == {refusal.value: 1}


@pytest.mark.parametrize("state", ["53100", "53200", "53300", "57P03"])
async def test_a_server_that_turns_callers_away_is_busy(state: str) -> None:
    found: Counter[str] = Counter()
    async with turning_away(state) as port:
        database = Database(
            Dsn.parse(f"postgresql://kassa@127.0.0.1:{port}/x?sslmode=disable"),
            count_refusal=lambda reason: found.update((reason,)),
        )
        for way in WAYS:
            with pytest.raises(Busy):
                await way(database, "SELECT 1")
        await database.close()
    assert found == {REFUSALS[state].value: len(WAYS)}


@asynccontextmanager
async def turning_away(state: str) -> AsyncIterator[int]:
    """A server that answers every start of a session with FATAL (PostgreSQL, "Message Formats": ErrorResponse)."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (size,) = struct.unpack("!I", await reader.readexactly(4))
        await reader.readexactly(size - 4)
        fields = b"".join(
            kind + value.encode() + b"\0" for kind, value in ((b"S", "FATAL"), (b"C", state), (b"M", "go away"))
        )
        writer.write(b"E" + struct.pack("!I", len(fields) + 5) + fields + b"\0")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("way", [_pipeline, _raw, _raw_transaction])
async def test_a_demoted_server_is_not_kept_in_the_pool(
    counted: tuple[Database, "Counter[str]"], way: Callable[[Database, str], Awaitable[None]]
) -> None:
    """It answers every ping, and would refuse one transaction after another."""
    database, _ = counted
    who = text("SELECT pg_backend_pid()")
    async with database.pipeline() as tx:
        before = (await tx.execute(who)).scalar_one()
    with pytest.raises(Busy):
        await way(database, raising("25006"))
    async with database.pipeline() as tx:
        assert (await tx.execute(who)).scalar_one() != before


async def test_a_batch_after_the_servers_end_meets_the_next_server(database: Database) -> None:
    """A connection that is known to be dead costs nobody an answer."""
    used: list[asyncpg.Connection] = []

    async def write(connection: asyncpg.Connection, batch: Sequence[str]) -> Sequence[int]:
        used.append(connection)
        return [await connection.fetchval(one) for one in batch]

    committer = GroupCommitter("test", database, write, one_statement=True)
    admin = await asyncpg.connect(database.dsn.asyncpg_dsn)
    try:
        first = await committer.submit("SELECT pg_backend_pid()")
        await admin.execute("SELECT pg_terminate_backend($1)", first)
        async with asyncio.timeout(20):
            while not used[0].is_closed():
                await asyncio.sleep(0.01)
        assert await committer.submit("SELECT pg_backend_pid()") != first
    finally:
        await admin.close()
        await committer.close()


async def test_what_could_not_be_stored_is_given_again_after_growing_waits(database: Database) -> None:
    took = []
    for tried in (0, 3, 30):
        began = time.monotonic()
        await database.before_again(tried)
        took.append(time.monotonic() - began)
    assert all(waited >= least for waited, least in zip(took, (0.05, 0.4, 1.0), strict=True))


def test_a_full_disk_is_told_once_a_minute_and_remembered_as_long() -> None:
    now = 100.0
    refusals = Refusals(lambda _: None, lambda: now)
    full, gone = asyncpg.DiskFullError("no room"), ConnectionResetError()
    with capture_logs() as told:
        refusals.note(gone)
        assert not refusals.disk_full
        refusals.note(full)
        assert refusals.note(asyncpg.QueryCanceledError("too slow")) is Refusal.AWAY
        assert refusals.disk_full
        now += 59
        assert refusals.note(gone) is Refusal.DISK_FULL, "its server ended, and stays away"
        now += 59
        assert refusals.disk_full
        refusals.note(full)
        now += 60
        assert not refusals.disk_full
        assert refusals.note(gone) is Refusal.AWAY
    lines = [line["what_to_do"] for line in told if line["event"] == "database.disk_full"]
    assert len(lines) == 2
    assert "docs/operations.md" in lines[0]
