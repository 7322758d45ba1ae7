"""The PostgreSQL of a run: one of its own that is thrown away, or a given one; durable, the same for every peer."""

import contextlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from app.infra.dsn import Dsn
from app.infra.postgres import EmbeddedPostgres

SHARED_BUFFERS = "512MB"
MAX_WAL_SIZE = "4GB"
_SHOWN = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size")
_SYNCS = 200
_PREFIX = "kassa_bench_"


class NotDurable(Exception):
    """The database would lose commits: its figures mean nothing."""


@dataclass(slots=True)
class Cluster:
    """A server that answers. `pid` is None when it is not ours, and then its CPU time is not known."""

    dsn: Dsn
    pid: int | None
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)

    async def create(self, name: str) -> str:
        """A new, empty database; returns its URL. It is dropped when the run ends."""
        database = _PREFIX + name
        connection = await connect(self.dsn.asyncpg_dsn)
        try:
            await connection.execute(f'CREATE DATABASE "{database}"')
        finally:
            await connection.close()
        self.made.append(database)
        return self.dsn.with_database(database).asyncpg_dsn

    async def drop_all(self) -> None:
        connection = await connect(self.dsn.asyncpg_dsn)
        try:
            for database in self.made:
                await connection.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
        finally:
            await connection.close()

    async def must_be_durable(self) -> None:
        """NotDurable unless a commit is on the disk before it is answered."""
        connection = await connect(self.dsn.asyncpg_dsn)
        try:
            self.settings = {name: await connection.fetchval(f"SHOW {name}") for name in _SHOWN}
        finally:
            await connection.close()
        for name in ("fsync", "synchronous_commit"):
            if self.settings[name] != "on":
                raise NotDurable(f"{name} is {self.settings[name]}: a benchmark of commits needs it on.")


async def connect(url: str) -> Any:
    """A plain connection of the measuring side."""
    dsn = Dsn.parse(url)
    return await asyncpg.connect(dsn.asyncpg_dsn, timeout=10, **dsn.connect_kwargs)


@contextlib.asynccontextmanager
async def open_cluster(given: str | None) -> AsyncIterator[Cluster]:
    """The given server, or one of our own in a folder that is on a disk and is removed at the end."""
    # Not /tmp: where that is memory, fsync costs nothing and every figure of a commit is wrong.
    root = Path("/var/tmp") if os.access("/var/tmp", os.W_OK) else Path.cwd()  # noqa: S108
    folder = Path(tempfile.mkdtemp(prefix="kassa-bench-", dir=root))
    try:
        async with contextlib.AsyncExitStack() as stack:
            if given is not None:
                cluster = Cluster(Dsn.parse(given), None, folder)
                stack.push_async_callback(cluster.drop_all)
            else:
                server = EmbeddedPostgres(
                    folder / "data", shared_buffers=SHARED_BUFFERS, settings={"max_wal_size": MAX_WAL_SIZE}
                )
                await stack.enter_async_context(server)
                cluster = Cluster(server.dsn, server.pid, folder)
            await cluster.must_be_durable()
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sync_ms(folder: Path) -> float:
    """What one `fdatasync` of a page of 8 kB costs where the database lies, ms: the median of many."""
    costs = []
    with (folder / "sync-probe").open("wb") as file:
        for _ in range(_SYNCS):
            file.write(b"\0" * 8192)
            file.flush()
            began = time.perf_counter()
            (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(file.fileno())
            costs.append(time.perf_counter() - began)
    return statistics.median(costs) * 1000
