"""What an outage happens to: database, register, API, worker and the merchant's sink, with the settings of production.

Only the clock is a test's: `Clock` moves the database's one time function, which leases, delays and probes go by.
"""

import json
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg

from app.db import migrate
from app.infra.ids import new_id
from app.infra.postgres import EmbeddedPostgres
from app.keys import Keys, generate
from app.queue import lanes
from app.queue.jobs import CHANNEL
from app.runtime import Runtime, open_runtime
from app.services.kassas import NewKassa
from app.services.principal import Principal
from app.settings import Settings
from tests.chaos import personalities
from tests.chaos.children import Beside, Child, Nursery, answering, free_port
from tests.chaos.sink import Sink

TOKEN = "canary-provider-token-7f3a91"
MAX_IN_FLIGHT = 12
PROBE_BASE, PROBE_CAP, PAUSE_AFTER = 10.0, 300.0, 3

SETTINGS: dict[str, Any] = {
    "testing": True,
    "plugin_packages": personalities.PACKAGE,
    "egress_allow": "127.0.0.0/8",
    "log_format": "json",
    "log_level": "info",
    "worker_poll_seconds": 0.2,
    "freshness_seconds": 5.0,
    "visibility_seconds": personalities.VISIBILITY_SECONDS,
    "rescue_every_seconds": 1.0,
    "probe_base_seconds": PROBE_BASE,
    "probe_cap_seconds": PROBE_CAP,
    "pause_after_failures": PAUSE_AFTER,
    "shutdown_seconds": 5.0,
}

_CLOCK = (
    "CREATE OR REPLACE FUNCTION kassa_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS "
    "$$ SELECT clock_timestamp() + interval '{} seconds' $$"
)


class Clock:
    """The database's time, only ever moved forward."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._ahead = 0.0

    async def now(self) -> float:
        """Seconds since the epoch by `kassa_now()`."""
        return float(await self._connection.fetchval("SELECT extract(epoch FROM kassa_now())"))

    async def move_to(self, moment: float) -> None:
        """Not before this moment, and everybody who sleeps is woken."""
        missing = moment - await self.now()
        if missing > 0:
            self._ahead += missing
            await self._connection.execute(_CLOCK.format(f"{self._ahead:.6f}"))
        await self._connection.execute("SELECT pg_notify($1, '')", CHANNEL)


class Parts:
    """Use once, as a context; the database lives until its end."""

    def __init__(self, folder: Path, *, lane_rate: int) -> None:
        self.folder = folder
        self._lane_rate = lane_rate
        self._stack = AsyncExitStack()
        self.database_url = ""
        self.secrets: list[str] = []
        self.key = ""

    async def __aenter__(self) -> "Parts":
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        self._simulator_config = self._configure_simulator()
        self._nursery = Nursery(self.folder)
        await self._nursery.start()
        self._stack.push_async_callback(self._nursery.stop)
        await self.provider_up()
        self._stack.push_async_callback(self.provider_down)
        postgres = EmbeddedPostgres(self.folder / "postgres", durable=True)
        self._stack.push_async_callback(postgres.stop)
        await postgres.start()
        self.database_url = postgres.url
        await migrate.upgrade(postgres.url)
        self.database: asyncpg.Connection = await asyncpg.connect(postgres.url)
        self._stack.push_async_callback(self.database.close)
        self.clock = Clock(self.database)
        api_port = free_port()
        self.api_url = f"http://127.0.0.1:{api_port}"
        self.sink = Sink(self.api_url, postgres.url, self.folder / "sink.jsonl", "outage")
        self.sink.on = False
        await self.sink.start()
        self._stack.push_async_callback(self.sink.stop)
        await self._settle_in()
        self.api = await self._child("api", "api", "--port", str(api_port))
        self.worker = await self._child("worker", "worker")
        await answering(f"{self.api_url}/readyz")

    def _configure_simulator(self) -> Path:
        self._simulator_port = free_port()
        self.simulator_url = f"http://127.0.0.1:{self._simulator_port}"
        dedup, lookup = personalities.CLASSES["B"]
        config = {
            "port": self._simulator_port,
            "ledger": str(self.folder / "ledger.jsonl"),
            "calls": str(self.folder / "calls.jsonl"),
            "dedup": dedup,
            "lookup": lookup,
            "seed": "outage",
            "hide_seconds": 0,
            "lying_callbacks": 0,
            "late_answers": 0,
            "mix": {},
            "mix_seed": 1,
            "params": {},
            "groups": [{"c_group_id": 4321, "actor_token": TOKEN}],
        }
        path = self.folder / "simulator.json"
        path.write_text(json.dumps(config))
        return path

    async def provider_up(self) -> None:
        """The register's process listens; what it printed before stands in its ledger."""
        self._simulator = Beside("tests.chaos.simulator", str(self._simulator_config), self.folder / "simulator.log")
        await self._simulator.start()
        self.provider_listens = True
        await answering(f"{self.simulator_url}/livez")

    async def provider_down(self) -> None:
        """Nobody listens there: connections are refused."""
        await self._simulator.end()
        self.provider_listens = False

    async def provider_does(self, fault: dict[str, Any] | None) -> None:
        """This to every call from now on; None: what is right."""
        async with aiohttp.ClientSession() as session:
            async with session.delete(f"{self.simulator_url}/faults") as answer:
                answer.raise_for_status()
            if fault is not None:
                script = {"times": None, "match": {"action": "any"}, **fault}
                async with session.post(f"{self.simulator_url}/faults", json=script) as answer:
                    answer.raise_for_status()

    async def _settle_in(self) -> None:
        made = generate()
        settings = Settings(
            data_dir=self.folder,
            secret_keys=made["KASSA_SECRET_KEYS"],
            search_key=made["KASSA_SEARCH_KEY"],
            key_pepper=made["KASSA_KEY_PEPPER"],
            _env_file=None,
            **{**SETTINGS, "plugin_packages": (personalities.PACKAGE,)},
        )
        self._env = {f"KASSA_{name.upper()}": str(value) for name, value in SETTINGS.items()}
        self._env |= made | {"KASSA_DATABASE_URL": self.database_url, "KASSA_DATA_DIR": str(self.folder / "data")}
        keys = Keys.load(settings, generate_in=None)
        async with open_runtime(settings, database_url=self.database_url, keys=keys) as runtime:
            await self._merchant(runtime)
        self.secrets = [*made.values(), self.key, *self.sink.secrets, TOKEN]

    async def _merchant(self, runtime: Runtime) -> None:
        services = runtime.services
        merchant = await services.merchants.create("chaos", name="Школа", inn="7707083893")
        kassa = await services.kassas.create("chaos", merchant.id, self._kassa())
        self.lane: UUID = kassa.kassa.id
        async with runtime.database.pipeline() as tx:
            await lanes.set_limits(tx, self.lane, rate_per_second=self._lane_rate)
        root = Principal(new_id(), None, None, frozenset({"admin"}))
        self.key = (await services.access.create(root, merchant_id=merchant.id, name="chaos", scopes=["*"])).text
        endpoint = await services.endpoints.create(
            "chaos", merchant.id, url=f"http://127.0.0.1:{self.sink.port}/hook/0", types=["kassa.*"]
        )
        assert endpoint.secret is not None
        self.sink.secrets.append(endpoint.secret)
        self.sink.readers.append(self.key)
        (self.folder / "endpoint-0").write_text(str(endpoint.endpoint.id))

    def _kassa(self) -> NewKassa:
        return NewKassa(
            name="Main",
            provider=personalities.code("B"),
            ffd="1.2",
            taxation=["usn_income"],
            place="https://shop.example/",
            timezone="Europe/Moscow",
            internet=True,
            credentials={"actor_id": "1", "actor_token": TOKEN, "c_group_id": 4321},
            base_url=f"{self.simulator_url}/v2.1/",
            defaults={
                "vat": "none",
                "payment_method": "full_prepayment",
                "payment_object": "service",
                "measure": "piece",
            },
            max_in_flight=MAX_IN_FLIGHT,
        )

    async def _child(self, name: str, *arguments: str) -> Child:
        child = Child(self._nursery, name, arguments, self._env, self.folder)
        self._stack.push_async_callback(child.end)
        await child.start()
        return child


def resident_mib(child: Child) -> float:
    """Memory that a process holds now."""
    pages = int(Path(f"/proc/{child.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
