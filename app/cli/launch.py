"""Everything in one program: database, API, workers and, for a demo, the simulator; opened in order, closed in order.

Closing: /readyz goes red, open requests are answered, workers finish or give back, pools close, PostgreSQL ends last.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import structlog

from app.cli.admin_key import first_admin_key
from app.cli.configure import with_loopback
from app.cli.crew import Crew
from app.cli.demo_shop import Shop, open_shop, simulator_port_of
from app.cli.errors import Stop
from app.cli.files import existing_folder, remove
from app.cli.place import Place, leave_note, open_place, required_schema
from app.cli.server import Server, bind, serving, url_of
from app.configured import failpoints_of
from app.domain.errors import Busy
from app.infra import heap
from app.infra.postgres import EmbeddedPostgres, EmbeddedPostgresError
from app.main import create_app, create_watch
from app.runtime import Runtime, open_runtime
from app.settings import Settings
from app.simulator.server import SimulatorConfig, create_simulator

log = structlog.get_logger(__name__)

Report = Callable[[str], None]
"""Told of each step that is done, in words for people."""

_READY_SECONDS = 60.0
_RESTART_SECONDS = 2.0
_TOLD_LINES = 8  # so many that the reason is among the farewells
TAPE_FILE = "simulator-tape.jsonl"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start beside API and first worker; ports of 0 take a free one."""

    workers: int = 1
    demo: bool = False
    simulator_port: int = 0
    ready_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A program that answers. What exists only with a demo is None without it."""

    settings: Settings
    api_url: str
    admin_key: str | None
    place: Place
    runtime: Runtime
    ended: asyncio.Task[Any]
    simulator_url: str | None = None
    shop: Shop | None = None

    def as_json(self) -> dict[str, str | None]:
        """The ready file."""
        shop = self.shop
        return {
            "api_url": self.api_url,
            "simulator_url": self.simulator_url,
            "admin_key": self.admin_key,
            "api_key": None if shop is None else shop.api_key,
            "merchant_id": None if shop is None else shop.merchant_id,
            "kassa_id": None if shop is None else shop.kassa_id,
        }


@contextlib.asynccontextmanager
async def launch(settings: Settings, plan: Plan, report: Report) -> AsyncIterator[Running]:
    """The whole program while the block runs. `Running.ended` ends by itself only when the HTTP server broke."""
    async with contextlib.AsyncExitStack() as stack:
        # Ports first: one that is taken must show before a database is made.
        door = stack.enter_context(bind(settings.host, settings.port))
        api_url = url_of(door, settings.host)
        if plan.demo:
            settings = with_loopback(settings)
            settings = settings.model_copy(update={"public_url": settings.public_url or api_url})
        place = await stack.enter_async_context(open_place(settings))
        # Not before the place is ours: a second program must not take away the first one's file.
        remove(plan.ready_file)
        leave_note(place)
        between_steps = failpoints_of(settings).hook("migration.between_steps")
        await required_schema(place, upgrade=True, between_steps=between_steps)
        report(f"PostgreSQL {place.told}")
        if place.embedded is not None:
            await stack.enter_async_context(_kept_alive(place.embedded))
        simulator_url = None
        if plan.demo:
            simulator_url = await stack.enter_async_context(_simulator(settings, plan))
            report(f"Simulator  {simulator_url}")
        runtime = await stack.enter_async_context(open_runtime(settings, database_url=place.url, keys=place.keys))
        admin_key = await first_admin_key(runtime, place)
        shop = None if simulator_url is None else await open_shop(runtime, simulator_url)
        crew = Crew(runtime, plan.workers, database_url=place.url, embedded=place.embedded is not None)
        await stack.enter_async_context(crew.working())
        server = await stack.enter_async_context(serving_api(runtime, door))
        await _until_ready(api_url, simulator_url, crew)
        report(f"Worker     {plan.workers} running")
        report(f"API        {api_url}")
        yield Running(
            settings, api_url, admin_key, place, runtime, running_task(server), simulator_url=simulator_url, shop=shop
        )


@contextlib.asynccontextmanager
async def serving_api(runtime: Runtime, door: socket.socket) -> AsyncIterator[Server]:
    """The API on this socket; at the end not ready first, then, `drain_seconds` later, no new connections."""
    settings = runtime.settings
    app = create_app(runtime.services, settings, metrics=runtime.metrics, tracing=runtime.tracing)
    async with serving(
        app,
        door,
        patience=settings.shutdown_seconds,
        access_log=False,
        proxy_headers=True,
        forwarded_allow_ips=settings.forwarded_allow_ips,
    ) as server:
        heap.settle()
        try:
            yield server
        finally:
            runtime.services.health.drain()
            await asyncio.sleep(settings.drain_seconds)


@contextlib.asynccontextmanager
async def watched(runtime: Runtime) -> AsyncIterator[None]:
    """Health and metrics of a worker at KASSA_WORKER_PORT, where one is set; not ready once the block ends."""
    settings = runtime.settings
    if settings.worker_port is None:
        yield
        return
    door = bind(settings.host, settings.worker_port, option="port", variable="KASSA_WORKER_PORT")
    async with serving(create_watch(runtime.services), door, patience=1, access_log=False):
        try:
            yield
        finally:
            runtime.services.health.drain()


def running_task(server: Server) -> asyncio.Task[None]:
    """The task in which a server that listens runs."""
    if server.task is None:
        raise RuntimeError("the server was not started")
    return server.task


async def first_of(stop: Awaitable[None], running: asyncio.Task[Any]) -> None:
    """Until somebody asks to stop; Stop when the server ended by itself."""
    asked = asyncio.ensure_future(stop)
    try:
        await asyncio.wait({asked, running}, return_when=asyncio.FIRST_COMPLETED)
        if running.done() and not asked.done():
            raise Stop("The HTTP server ended by itself; its log says why.")
    finally:
        asked.cancel()


@contextlib.asynccontextmanager
async def _simulator(settings: Settings, plan: Plan) -> AsyncIterator[str]:
    """Its tape lives in the data folder, its port stays the same: the demo's kassa knows it by its address."""
    data_dir = existing_folder(settings.data_dir)
    port = simulator_port_of(data_dir, plan.simulator_port)
    door = bind("127.0.0.1", port, option="--simulator-port", variable=None)
    app = create_simulator(SimulatorConfig(tape_path=data_dir / TAPE_FILE))
    async with serving(app, door, patience=2, access_log=False):
        yield url_of(door, "127.0.0.1")


@contextlib.asynccontextmanager
async def _kept_alive(server: EmbeddedPostgres) -> AsyncIterator[None]:
    """A PostgreSQL that ends by itself is started again; meanwhile callers hear 503 and workers wait."""
    keeper = asyncio.create_task(keep_running(server), name="postgres-keeper")
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


async def keep_running(server: EmbeddedPostgres) -> None:
    """Start the server again whenever it ends, until cancelled; one whose disk is full ends again and again."""
    while True:
        await server.wait()
        log.error("embedded_postgres.ended", said=server.log_tail(_TOLD_LINES))
        try:
            await server.restart()
        except EmbeddedPostgresError as error:
            log.error("embedded_postgres.not_restarted", error=str(error))
            await asyncio.sleep(_RESTART_SECONDS)
        else:
            log.warning("embedded_postgres.restarted")


async def _until_ready(api_url: str, simulator_url: str | None, crew: Crew) -> None:
    """Until everything answers the way its users will ask. Stop with what is missing after a minute."""
    deadline = time.monotonic() + _READY_SECONDS
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
        while True:
            why = await _missing(client, api_url, simulator_url, crew)
            if why is None:
                return
            if time.monotonic() > deadline:
                raise Stop(f"Not ready after {_READY_SECONDS:g} seconds: {why}.")
            await asyncio.sleep(0.05)


async def _missing(client: httpx.AsyncClient, api_url: str, simulator_url: str | None, crew: Crew) -> str | None:
    try:
        answer = await client.get(f"{api_url}/readyz")
        if answer.status_code != 200:
            return f"the API is not: {answer.json().get('output', answer.status_code)}"
        if simulator_url is not None and (await client.get(f"{simulator_url}/livez")).status_code != 200:
            return "the simulator is not"
    except httpx.HTTPError as error:
        return f"no answer ({type(error).__name__})"
    try:
        return None if await crew.alive() else "a worker has not shown itself"
    except Busy as away:
        return away.detail
