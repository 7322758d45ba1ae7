"""The database of a run: one cluster that is killed and started again, or two that take over from each other."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg

from app.infra.dsn import Dsn
from app.infra.postgres import EmbeddedPostgres
from app.infra.postgres_home import claim_data_dir

_REPLICATED = {"synchronous_commit": "remote_apply", "wal_retrieve_retry_interval": "200ms"}


class Databases:
    """`url` for the program names every cluster; `primary.url` is for those who want to know which one it is.

    The second cluster exists only around a takeover: it is copied from the first under load, follows it synchronously
    (remote_apply), is promoted when the first was killed, and the first is never started again as it was.
    """

    def __init__(self, folder: Path, *, pair: bool) -> None:
        self.primary = EmbeddedPostgres(folder / "postgres", settings=_REPLICATED if pair else None)
        self._standby = EmbeddedPostgres(folder / "postgres-2", settings=_REPLICATED) if pair else None
        self.url = ""
        self.busy = False

    async def start(self, prepare: Callable[[str], Any]) -> None:
        """`prepare(url)` makes the schema; afterwards `url` is known."""
        await self.primary.start()
        await prepare(self.primary.url)
        self.url = self.primary.url
        if self._standby is not None:
            await self._follow(self._standby)
            self.url = f"postgresql://kassa@/crm_kassa?host={_place(self.primary)},{_place(self._standby)}"
            await self._alone(self._standby)

    async def stop(self) -> None:
        for server in (self.primary, self._standby):
            if server is not None:
                await server.stop()

    async def restart(self) -> None:
        """As a crash of the server, which its service manager starts again."""
        self.busy = True
        await self.primary.kill()
        await self.primary.start()
        self.busy = False

    async def fail_over(self, before: Callable[[], Any], seconds: float = 3.0) -> None:
        """Copy, follow for some seconds, kill the primary, promote. `before()` is called when the primary dies."""
        assert self._standby is not None
        self.busy = True
        standby = self._standby
        await self._follow(standby)
        await asyncio.sleep(seconds)
        before()
        await self.primary.kill()
        await _ask(standby.url, "SELECT pg_promote(true, 30)")
        self.primary, self._standby = standby, self.primary
        self.busy = False

    async def _alone(self, standby: EmbeddedPostgres) -> None:
        """Without a standby that it waits for the primary would stop at its next commit."""
        await _configure(self.primary.url, "ALTER SYSTEM RESET synchronous_standby_names")
        await standby.stop()

    async def _follow(self, standby: EmbeddedPostgres) -> None:
        primary = self.primary
        await standby.stop()
        home = claim_data_dir(standby._wanted_dir)
        await asyncio.to_thread(shutil.rmtree, home / "pg", ignore_errors=True)
        directory = Dsn.parse(primary.url).hosts[0].name
        child = await asyncio.create_subprocess_exec(
            str(primary.bin_dir / "pg_basebackup"),
            f"--dbname=postgresql://kassa@/?host={directory}",
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
        await _configure(primary.url, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        async with asyncio.timeout(60):
            while not await _ask(primary.url, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"):
                await asyncio.sleep(0.05)


async def _configure(url: str, statement: str) -> None:
    await _ask(url, statement)
    await _ask(url, "SELECT pg_reload_conf()")


async def _ask(url: str, sql: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def _place(server: EmbeddedPostgres) -> str:
    host = Dsn.parse(server.url).hosts[0]
    return f"{host.name}:{host.port}"
