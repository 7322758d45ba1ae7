"""The restore drill: the database goes back to the middle of the day, every source presses its events again, and the
register's tape shows one document for each."""

import asyncio
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from app.db import installation, migrate
from app.infra.dsn import Dsn
from app.infra.postgres import EmbeddedPostgres
from app.runtime import Runtime, open_runtime
from tests.support import rows
from tests.support.world import World, open_world

DAY = [f"p-{number}" for number in range(60)]
TWICE = {"digitalkassa": {"dedup": False}}
"""A provider that prints whatever comes: it hides none of our mistakes."""


@pytest.mark.parametrize(
    ("simulator", "new_cluster"), [({}, False), (TWICE, True)], ids=["same cluster", "new cluster, prints again"]
)
async def test_a_dump_of_the_middle_restored_and_everything_pressed_again(
    postgres: EmbeddedPostgres, database_url: str, tmp_path: Path, simulator: dict[str, Any], new_cluster: bool
) -> None:
    async with open_world(database_url, tmp_path, simulator=simulator, freshness_seconds=0.5) as world:
        dump = tmp_path / "middle.dump"
        async with world.working():
            await asyncio.gather(*(world.press(name, _amount(name)) for name in DAY[:40]))
            await world.until(lambda: _printed(world, 10))
            await _run(postgres, "pg_dump", "--format=custom", f"--file={dump}", _plain(database_url))
            await asyncio.gather(*(world.press(name, _amount(name)) for name in DAY[40:]))
            await world.until(lambda: _printed(world, len(DAY)))
            await world.idle()
        feed = await world.runtime.services.reads.messages_feed(world.merchant_id, after=None, limit=1000)
        assert len(feed.data) == len(DAY)

        async with (
            _cluster(tmp_path, postgres if new_cluster else None) as fresh,
            _restored_from(dump, fresh or postgres) as url,
        ):
            assert await _known(url) < len(DAY), "the dump was taken too late to prove anything"
            if not new_cluster:
                await _number_transactions_low(url)
            async with _same_world_on(world, url) as again:
                state = await installation.recognise(again.runtime.database)
                assert (state.epoch, state.opened_at is not None) == (2, True), "noticed without being told"
                await _day_again(again)
                documents = Counter(one["total"] for one in await again.tape())
                told = await again.runtime.services.reads.messages_feed(again.merchant_id, feed.after, 1000)
    assert documents == Counter(_amount(name) for name in DAY), "one document for each payment"
    assert len(told.data) >= 20, "whoever had read the feed before goes on with it, whatever the transactions' numbers"


async def test_a_copy_of_the_cluster_put_back_is_said_by_a_person(tmp_path: Path) -> None:
    """A snapshot of the volume has the identity of the original: nothing but `crm-kassa restored` can tell."""
    server = EmbeddedPostgres(tmp_path / "database", durable=False)
    await server.start()
    try:
        await _migrated(server.url)
        async with open_world(server.url, tmp_path, simulator=TWICE, freshness_seconds=0.5) as world:
            async with world.working():
                await asyncio.gather(*(world.press(name, _amount(name)) for name in DAY[:10]))
                await world.until(lambda: _printed(world, 5))
            await world.runtime.database.close()
            copy = await _copied(server, tmp_path)
            async with world.working():
                await asyncio.gather(*(world.press(name, _amount(name)) for name in DAY[10:20]))
                await world.until(lambda: _printed(world, 20))
            await world.runtime.database.close()
            await _put_back(server, copy)
            assert (await installation.recognise(world.runtime.database)).opened_at is None
            said = await installation.restored(world.runtime.database, "the volume of this morning")
            assert said.opened_at is not None
            await _day_again(world, DAY[:20])
            assert Counter(one["total"] for one in await world.tape()) == Counter(_amount(name) for name in DAY[:20])

            await installation.close_epoch(world.runtime.database)
            async with world.working():
                late = await world.pay("p-after")
                row = await world.status(late, "fiscalized")
            asked = "SELECT count(*) FROM attempts WHERE receipt_id = :r AND kind = 'lookup'"
            assert await rows.scalar(world.runtime.database, asked, r=row.id) == 0, "first sends go straight again"
    finally:
        await server.stop()


async def test_what_may_not_be_visible_yet_is_not_sent_again_right_after_the_restore(
    database_url: str, tmp_path: Path
) -> None:
    """The last receipt of the old life is hidden by its provider for a moment; its absence counts only later."""
    async with open_world(
        database_url, tmp_path, simulator=TWICE, freshness_seconds=1.0, visibility_seconds=0.5
    ) as world:
        await installation.restored(world.runtime.database, "a test")
        event = await world.pay("p-1")
        async with world.working():
            await world.until(lambda: _asked(world))
            row = await world.receipt(event)
            assert (row.status, row.marks) == ("queued", 0)
            await rows.move_time(world.runtime.database, 60)
            await world.status(event, "fiscalized")
    assert row.marks == 0


async def _day_again(world: World, names: list[str] = DAY) -> None:
    events = await asyncio.gather(*(world.press(name, _amount(name)) for name in names))
    # Past the moment from which an absence counts: what was sent just before the restore is visible by then.
    await rows.move_time(world.runtime.database, 120)
    async with world.working(2):
        for event in events:
            await world.status(event, "fiscalized", seconds=60)
        await world.idle()


def _amount(name: str) -> int:
    return 1_000 + DAY.index(name)


async def _printed(world: World, number: int) -> bool:
    return len(await world.tape()) >= number


async def _asked(world: World) -> bool:
    snoozed = (
        "SELECT count(*) FROM jobs WHERE kind = 1 AND lease_token IS NULL AND attempt > 0 AND run_at > kassa_now()"
    )
    return await rows.scalar(world.runtime.database, snoozed) == 1


async def _known(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM receipts WHERE status = 'fiscalized'"))
    finally:
        await connection.close()


async def _number_transactions_low(url: str) -> None:
    """As in a new cluster: what was told before carries higher numbers than any transaction from now on."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("UPDATE messages SET txid = txid + 1000000000")
    finally:
        await connection.close()


@asynccontextmanager
async def _cluster(tmp_path: Path, old: EmbeddedPostgres | None) -> AsyncIterator[EmbeddedPostgres | None]:
    """A cluster of its own with the roles of the old one, which a dump of a database does not hold."""
    if old is None:
        yield None
        return
    async with EmbeddedPostgres(tmp_path / "new", durable=False) as fresh:
        roles = tmp_path / "roles.sql"
        await _run(old, "pg_dumpall", "--roles-only", f"--file={roles}", f"--dbname={_plain(old.url)}")
        await _run(fresh, "psql", "--quiet", f"--file={roles}", _plain(fresh.url))
        yield fresh


@asynccontextmanager
async def _restored_from(dump: Path, postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    name = f"r_{uuid4().hex}"
    admin = await asyncpg.connect(postgres.url)
    await admin.execute(f"CREATE DATABASE {name}")
    url = Dsn.parse(postgres.url).with_database(name).asyncpg_dsn
    try:
        await _run(postgres, "pg_restore", "--exit-on-error", f"--dbname={_plain(url)}", str(dump))
        yield url
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


@asynccontextmanager
async def _same_world_on(world: World, url: str) -> AsyncIterator[World]:
    """The program with the same keys and the same provider over the restored database."""
    runtime: Runtime
    async with open_runtime(world.runtime.settings, database_url=url, keys=world.runtime.keys) as runtime:
        yield World(
            runtime,
            world.simulator_url,
            world.merchant_id,
            world.source_id,
            world.kassa_id,
            world.http,
            world.principal,
        )


async def _run(postgres: EmbeddedPostgres, program: str, *arguments: str) -> None:
    child = await asyncio.create_subprocess_exec(
        str(postgres.bin_dir / program), *arguments, stderr=asyncio.subprocess.PIPE
    )
    _, said = await child.communicate()
    assert child.returncode == 0, said.decode()


def _plain(url: str) -> str:
    """The form that libpq programs take."""
    dsn = Dsn.parse(url)
    return f"postgresql://{dsn.user}@/{dsn.database}?host={dsn.hosts[0].name}"


async def _migrated(url: str) -> None:
    await migrate.upgrade(url)


async def _copied(server: EmbeddedPostgres, tmp_path: Path) -> Path:
    await server.stop()
    copy = tmp_path / "copy"
    await asyncio.to_thread(_copy, server.data_dir / "pg", copy)
    await server.start()
    return copy


async def _put_back(server: EmbeddedPostgres, copy: Path) -> None:
    await server.stop()
    await asyncio.to_thread(shutil.rmtree, server.data_dir / "pg")
    await asyncio.to_thread(_copy, copy, server.data_dir / "pg")
    await server.start()


def _copy(source: Path, target: Path) -> None:
    """With its owners: run by root, the server has an account of its own."""
    shutil.copytree(source, target)
    for original in (source, *source.rglob("*")):
        status = original.stat()
        os.chown(target / original.relative_to(source), status.st_uid, status.st_gid)
