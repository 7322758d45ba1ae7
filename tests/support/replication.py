"""A second cluster as a synchronous copy of a first, and the change from one to the other."""

import asyncio
import os
import shutil
from typing import Any

import asyncpg

from app.infra.dsn import Dsn
from app.infra.postgres import EmbeddedPostgres
from app.infra.postgres_home import claim_data_dir


async def follow(primary: EmbeddedPostgres, standby: EmbeddedPostgres, *, seconds: float = 10.0) -> None:
    """`standby` from scratch as a synchronous copy of `primary`; what a dead primary left there is thrown away.

    TimeoutError when it has not caught up within `seconds` of its start.
    """
    await standby.stop()
    home = claim_data_dir(standby._wanted_dir)
    await asyncio.to_thread(shutil.rmtree, home / "pg", ignore_errors=True)
    child = await asyncio.create_subprocess_exec(
        str(primary.bin_dir / "pg_basebackup"),
        f"--dbname=postgresql://kassa@/?host={Dsn.parse(primary.url).hosts[0].name}",
        f"--pgdata={home / 'pg'}",
        "--write-recovery-conf",
        "--checkpoint=fast",
        "--no-sync",
    )
    if await child.wait() != 0:
        raise RuntimeError("pg_basebackup did not copy the primary; its message stands above")
    owner = (primary.data_dir / "pg").stat()
    for path in (home / "pg", *(home / "pg").rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    await standby.start()
    await configure(primary.url, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    async with asyncio.timeout(seconds):
        while not await ask(primary.url, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"):
            await asyncio.sleep(0.02)


async def promote(standby: EmbeddedPostgres) -> None:
    """The copy becomes the primary. RuntimeError when the server did not manage it within 30 seconds."""
    if not await ask(standby.url, "SELECT pg_promote(true, 30)"):
        raise RuntimeError("the standby was not promoted within 30 seconds")


async def configure(url: str, statement: str) -> None:
    """An ALTER SYSTEM that the server is told to read at once; it takes a moment until it has."""
    await ask(url, statement)
    await ask(url, "SELECT pg_reload_conf()")


async def ask(url: str, sql: str) -> Any:
    """The answer of one statement over a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def place(server: EmbeddedPostgres) -> str:
    """Host and port as a URL of several hosts names them."""
    host = Dsn.parse(server.url).hosts[0]
    return f"{host.name}:{host.port}"
