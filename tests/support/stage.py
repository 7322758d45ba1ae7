"""A merchant with all that surrounds it, for real processes of the program that are to die: database, register, sink.

The database is a copy of one that was settled once; a tap on the wire to the register tells how far a process came.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx

from app.db.unit_of_work import Database
from app.infra.dsn import Dsn
from app.infra.ids import new_id
from app.infra.postgres import EmbeddedPostgres
from app.keys import Keys, generate
from app.runtime import open_runtime
from app.services.principal import Principal
from app.services.sources import NewSource
from app.settings import Settings
from app.simulator.server import UVICORN_OPTIONS, SimulatorConfig, create_simulator
from app.simulator.simulator import Simulator
from tests.chaos.children import Nursery, answering, free_port
from tests.support import rows
from tests.support.server import serve
from tests.support.sink import Sink, open_sink
from tests.support.world import FAST, new_kassa

SETTINGS: dict[str, Any] = {
    **{name: value for name, value in FAST.items() if not name.startswith("_")},
    "lease_seconds": 10.0,
    "freshness_seconds": 2.0,
    "wire_margin_seconds": 1.0,
    "pause_after_failures": 1_000,
    "log_format": "json",
}
LEASES_OVER_SECONDS = 120.0
"""Past every lease above, and short of the five minutes after which a webhook's signature is too new."""

ADAPTERS = "tests.support.adapters"
ACQUIRER_SECRET = "acquirer-secret"
_NOWHERE = "http://127.0.0.1:1"


@dataclass(frozen=True, slots=True)
class Settled:
    """A database with a merchant, its kassa, endpoint, key and acquirer; `env` makes a process read it."""

    template: str
    env: dict[str, str]
    api_key: str
    webhook_secret: str
    source_id: UUID


async def settle_in(database_url: str, folder: Path) -> Settled:
    """Make a merchant and its connections in a migrated database. Their addresses are filled in by `open_stage`."""
    made = generate()
    settings = Settings(
        data_dir=folder,
        secret_keys=made["KASSA_SECRET_KEYS"],
        search_key=made["KASSA_SEARCH_KEY"],
        key_pepper=made["KASSA_KEY_PEPPER"],
        _env_file=None,
        **SETTINGS,
    )
    keys = Keys.load(settings, generate_in=None)
    async with open_runtime(settings, database_url=database_url, keys=keys) as runtime:
        services = runtime.services
        merchant = (await services.merchants.create("test", name="Школа", inn="7707083893")).id
        await services.kassas.create("test", merchant, new_kassa(_NOWHERE))
        endpoint = await services.endpoints.create("test", merchant, url=f"{_NOWHERE}/hook", types=["*"])
        source = await services.sources.create(
            "test",
            merchant,
            NewSource(
                kind="cloudpayments",
                name="Эквайринг",
                credentials={"public_id": "pk_1", "api_secret": ACQUIRER_SECRET},
                settings={},
                defaults={},
                acquirer_fiscalizes=False,
            ),
        )
        root = Principal(new_id(), None, None, frozenset({"admin"}))
        key = await services.access.create(root, merchant_id=merchant, name="test", scopes=["*"])
    assert endpoint.secret is not None
    env = {f"KASSA_{name.upper()}": str(value) for name, value in SETTINGS.items()} | made
    return Settled(Dsn.parse(database_url).database, env, key.text, endpoint.secret, source.source.id)


@dataclass
class Tap:
    """A way to the register that counts what comes along it; while `muted` no answer comes back."""

    connections: int = 0
    asked: int = 0
    muted: bool = False
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @asynccontextmanager
    async def to(self, port: int) -> AsyncIterator[str]:
        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            there, back = await asyncio.open_connection("127.0.0.1", port)
            self._open |= {writer, back}
            with contextlib.suppress(OSError):
                await asyncio.gather(self._carry(reader, back, True), self._carry(there, writer, False))

        server = await asyncio.start_server(forward, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for one in self._open:
                one.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asking: bool) -> None:
        try:
            while data := await reader.read(65_536):
                if asking:
                    self.asked += len(data)
                elif self.muted:
                    continue
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


@dataclass
class Life:
    """One process of the program, from its birth to its death."""

    pid: int
    death: asyncio.Future[int]
    log: Path

    async def died(self, seconds: float = 40.0) -> int:
        """Its exit code; AssertionError with what it said last when it lives on."""
        done, _ = await asyncio.wait({self.death}, timeout=seconds)
        assert done, f"it lived on, so nothing was reached:\n{self.log.read_text()[-2000:]}"
        return self.death.result()


@dataclass
class Stage:
    """Starts processes, reports payments until they are taken, and knows the truth from all sides."""

    settled: Settled
    nursery: Nursery
    database: Database
    sink: Sink
    tap: Tap
    register: Simulator
    register_url: str
    tapped_url: str
    folder: Path
    http: httpx.AsyncClient
    port: int
    catalog: int = 0
    acknowledged: dict[str, str | None] = field(default_factory=dict)
    lives: list[Life] = field(default_factory=list)

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def settle(self) -> None:
        """The same merchant anew, in a database that had no schema until now."""
        self.settled = await settle_in(self.database.dsn.asyncpg_dsn, self.folder)
        await self.connect()

    async def connect(self) -> None:
        """Fill in where register and sink answer this time."""
        async with self.database.raw() as connection:
            await connection.execute("UPDATE kassas SET base_url = $1", f"{self.tapped_url}/v2.1/")
            await connection.execute("UPDATE webhook_endpoints SET url = $1", self.sink.url)

    @property
    def env(self) -> dict[str, str]:
        """The environment of a normal start."""
        return self.settled.env | {
            "KASSA_DATABASE_URL": self.database.dsn.asyncpg_dsn,
            "KASSA_PUBLIC_URL": self.api_url,
            "KASSA_SOURCE_PACKAGES": ADAPTERS,
        }

    async def connect_crm(self, url: str) -> None:
        """A CRM at this address, that is listed and told of results."""
        given = {name.removeprefix("KASSA_").lower(): value for name, value in self.settled.env.items()}
        packages = {"testing": True, "source_packages": (ADAPTERS,)}
        settings = Settings(**{**given, **packages, "data_dir": self.folder, "_env_file": None})  # type: ignore[arg-type]
        keys = Keys.load(settings, generate_in=None)
        async with open_runtime(settings, database_url=self.database.dsn.asyncpg_dsn, keys=keys) as runtime:
            crm = NewSource(
                kind="listed_crm",
                name="CRM",
                credentials={"token": "t"},
                settings={},
                defaults={},
                base_url=url,
            )
            await runtime.services.sources.create("test", await self.count("id FROM merchants"), crm)

    async def start(self, *command: str, failpoints: str = "") -> Life:
        """`crm-kassa` with this command over this database."""
        env = self.env | {"KASSA_TESTING": "1", "KASSA_FAILPOINTS": failpoints}
        log = self.folder / f"{len(self.lives)}-{command[0]}.log"
        pid, death = await self.nursery.bear(command, env, log)
        self.lives.append(Life(pid, death, log))
        return self.lives[-1]

    async def api(self, failpoints: str = "") -> Life:
        life = await self.start("api", "--port", str(self.port), failpoints=failpoints)
        await answering(f"{self.api_url}/readyz")
        return life

    async def report(self, external_id: str) -> None:
        """As a CRM does it: again and again until it hears that the payment was taken."""
        body = {
            "type": "payment.succeeded",
            "external_id": external_id,
            "amount": 199_000,
            "currency": "RUB",
            "customer": {"email": "anna@example.org"},
            "items": [{"name": "Абонемент", "quantity": "1", "price": 199_000, "amount": 199_000, "vat": "none"}],
        }
        headers = {"Authorization": f"Bearer {self.settled.api_key}"}
        while True:
            try:
                answer = await self.http.post(f"{self.api_url}/v1/events", json=body, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(0.02)
                continue
            if answer.status_code in (200, 202):
                self.acknowledged[external_id] = answer.json()["id"]
                return
            assert answer.status_code == 503, answer.text

    async def notify(self) -> None:
        """As an acquirer does it: a signed notice, repeated until it is accepted."""
        order = {
            "target_base_url": f"{self.api_url}/in/src_{self.settled.source_id.hex}",
            "api_secret": ACQUIRER_SECRET,
            "attempts": 100,
            "retry_seconds": 0.05,
        }
        answer = (await self.http.post(f"{self.register_url}/cloudpayments/send", json=order)).json()
        assert answer["answers"][-1]["accepted"], answer
        self.acknowledged[answer["transaction_id"]] = None

    async def bytes_of_catalog(self) -> Any:
        """Grows with every table that is made, and stays grown when that is rolled back."""
        return await self.count("pg_relation_size('pg_attribute')")

    async def count(self, sql: str) -> Any:
        return await rows.scalar(self.database, f"SELECT {sql}")

    async def until(self, condition: Callable[[], Awaitable[Any]], seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            while not await condition():
                await asyncio.sleep(0.03)

    def tape(self) -> list[str]:
        """The provider id of every document, in order."""
        return [document.provider_id for document in self.register.tape.receipts]


@asynccontextmanager
async def open_stage(
    postgres: EmbeddedPostgres, settled: Settled, nursery: Nursery, folder: Path, *, empty: bool = False
) -> AsyncIterator[Stage]:
    """A stage over a copy of the settled database, or, with `empty`, over a database without any schema."""
    name = f"s_{uuid4().hex}"
    admin = await asyncpg.connect(postgres.url)
    await admin.execute(f"CREATE DATABASE {name}" + ("" if empty else f" TEMPLATE {settled.template}"))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(admin.close)
        stack.push_async_callback(admin.execute, f"DROP DATABASE {name} WITH (FORCE)")
        database = Database(Dsn.parse(postgres.url).with_database(name), pool_size=2)
        stack.push_async_callback(database.close)
        # A provider that prints again what it is given again: our own mistakes would show.
        app = create_simulator(SimulatorConfig(tape_path=None, settings={"digitalkassa": {"dedup": False}}))
        register_url = await stack.enter_async_context(serve(app, **UVICORN_OPTIONS))
        tap = Tap()
        tapped = await stack.enter_async_context(tap.to(int(register_url.rpartition(":")[2])))
        sink = await stack.enter_async_context(open_sink())
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=20, trust_env=False))
        stage = Stage(
            settled, nursery, database, sink, tap, app.state.simulator, register_url, tapped, folder, http, free_port()
        )
        stack.push_async_callback(_end, stage)
        if empty:
            stage.catalog = await stage.bytes_of_catalog()
        else:
            await stage.connect()
        yield stage


async def _end(stage: Stage) -> None:
    for life in stage.lives:
        if not life.death.done():
            os.kill(life.pid, signal.SIGKILL)
    await asyncio.gather(*(life.death for life in stage.lives))
