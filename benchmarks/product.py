"""The program under test, as an operator installs it: migrated, one merchant with a kassa and an endpoint, an API key.

Everything is made through the services and run by `crm-kassa api` and `crm-kassa worker`.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from app.cli.actor import ACTOR, CLI
from app.db import migrate
from app.db.unit_of_work import Database
from app.infra.crypto import SearchHasher
from app.infra.dsn import Dsn
from app.keys import Keys, generate
from app.queue import lanes
from app.runtime import open_runtime
from app.services.kassas import NewKassa
from app.settings import Settings
from benchmarks.cluster import Cluster, connect
from benchmarks.processes import Child, free_port, helper, server

IN_FLIGHT = 100
"""Receipts at the provider, and messages at the shop, at once: as many as the peers are given."""

# From the newest end: under a pinned snapshot the jobs that are gone stay in the index, all of them at its old end.
# Within EXISTS the order would be dropped.
_LEFT = "SELECT id FROM jobs ORDER BY id DESC LIMIT 1"


@dataclass(slots=True)
class Product:
    """One installation over its own database."""

    url: str
    env: dict[str, str]
    folder: Path
    merchant_id: UUID
    kassa_id: UUID
    api_key: str
    database: Database
    hasher: SearchHasher

    @contextlib.asynccontextmanager
    async def api(self) -> AsyncIterator[tuple[Child, int]]:
        """`crm-kassa api`, with the port at which it answers."""
        port = free_port()
        async with server(self.folder, "api", ["-m", "app", "api", "--port", str(port)], port, self.env) as child:
            yield child, port

    @contextlib.asynccontextmanager
    async def workers(self, number: int = 1) -> AsyncIterator[list[Child]]:
        """So many processes of `crm-kassa worker`, each of which has shown its heartbeat."""
        async with contextlib.AsyncExitStack() as stack:
            before = await self.count("SELECT count(*) FROM workers")
            arguments = ["-m", "app", "worker"]
            found = [
                await stack.enter_async_context(server(self.folder, "worker", arguments, None, self.env))
                for _ in range(number)
            ]
            async with asyncio.timeout(60):
                while await self.count("SELECT count(*) FROM workers") < before + number:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            yield found

    @contextlib.asynccontextmanager
    async def counting_workers(self, number: int = 1) -> AsyncIterator[list[Child]]:
        """The same worker, run by a helper that also tells how many jobs it has run."""
        async with contextlib.AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(helper(self.folder, "benchmarks.worker", env=self.env))
                for _ in range(number)
            ]

    async def count(self, query: str, *values: Any) -> int:
        connection = await connect(self.url)
        try:
            found: int = await connection.fetchval(query, *values)
            return found
        finally:
            await connection.close()

    async def run(self, statement: str, *values: Any) -> None:
        connection = await connect(self.url)
        try:
            await connection.execute(statement, *values, timeout=3600)
        finally:
            await connection.close()

    async def pause(self, *lane_ids: UUID) -> None:
        async with self.database.pipeline() as tx:
            for lane_id in lane_ids:
                await lanes.pause(tx, lane_id, "benchmark", None)

    async def drain(self, *lane_ids: UUID, limit_seconds: float = 300.0) -> float:
        """Let these lanes run; seconds until no job is left."""
        connection = await connect(self.url)
        try:
            # Asked a hundred times a second: a table read with all its dead rows would cost more than the work.
            await connection.execute("SET enable_seqscan = off")
            async with self.database.pipeline() as tx:
                for lane_id in lane_ids:
                    await lanes.resume(tx, lane_id)
            began = time.perf_counter()
            async with asyncio.timeout(limit_seconds):
                while await connection.fetchval(_LEFT):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            return time.perf_counter() - began
        finally:
            await connection.close()


@contextlib.asynccontextmanager
async def open_product(cluster: Cluster, name: str, sink_port: int) -> AsyncIterator[Product]:
    """A fresh installation whose kassa and endpoint are both at the sink."""
    url = await cluster.create(name)
    await migrate.upgrade(url)
    made = generate()
    folder = cluster.folder / name
    folder.mkdir()
    env = {
        **made,
        "KASSA_DATABASE_URL": url,
        "KASSA_EGRESS_ALLOW": "127.0.0.0/8",
        "KASSA_ENDPOINT_MAX_IN_FLIGHT": str(IN_FLIGHT),
        "KASSA_LOG_LEVEL": "warning",
    }
    settings = _settings(env, folder)
    keys = Keys.load(settings, generate_in=None)
    async with open_runtime(settings, database_url=url, keys=keys) as runtime:
        services = runtime.services
        merchant = await services.merchants.create(ACTOR, name="Школа «Лингва»", inn="7700000009")
        kassa = await services.kassas.create(ACTOR, merchant.id, _kassa(f"http://127.0.0.1:{sink_port}/v2.1/"))
        await services.endpoints.create(
            ACTOR,
            merchant.id,
            url=f"http://127.0.0.1:{sink_port}/hook",
            types=["receipt.fiscalized"],
            description="The school's CRM",
        )
        key = await services.access.create(CLI, merchant_id=merchant.id, name="The school's CRM", scopes=["*"])
    database = Database(Dsn.parse(url), pool_size=4, command_timeout=600.0)
    try:
        yield Product(url, env, folder, merchant.id, kassa.kassa.id, key.text, database, keys.hasher)
    finally:
        await database.close()


def _settings(env: dict[str, str], folder: Path) -> Settings:
    values: dict[str, Any] = {name.removeprefix("KASSA_").lower(): value for name, value in env.items()}
    return Settings(**values, data_dir=folder, _env_file=None)


def _kassa(base_url: str) -> NewKassa:
    return NewKassa(
        name="Касса сайта",
        provider="digitalkassa",
        ffd="1.2",
        taxation=["usn_income"],
        place="https://shop.example/",
        timezone="Europe/Moscow",
        internet=True,
        credentials={"actor_id": "1", "actor_token": "t", "c_group_id": 4321},
        defaults={
            "vat": "none",
            "payment_method": "full_prepayment",
            "payment_object": "service",
            "measure": "piece",
        },
        base_url=base_url,
        max_in_flight=IN_FLIGHT,
    )
