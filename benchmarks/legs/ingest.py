"""Durable ingest: the real `POST /v1/events` beside an echo, the usual ORM service and a one-statement service."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks import usage
from benchmarks.cluster import Cluster, connect
from benchmarks.figures import Figures
from benchmarks.peers import model
from benchmarks.processes import Child, free_port, server
from benchmarks.product import Product

CONNECTIONS = 64
SWEEP = (1, 8, 64, 256)
_UVICORN = ["--no-access-log", "--log-level", "warning"]


@dataclass(frozen=True, slots=True)
class Service:
    """One HTTP service; `rows` counts what it keeps under a prefix, None when it keeps nothing."""

    name: str
    pid: int
    port: int
    path: str
    key: str
    url: str
    rows: str | None


_PEER_ROWS = """
SELECT least(count(DISTINCT e.id), count(DISTINCT r.id), count(DISTINCT j.id))
FROM peer_events e JOIN peer_receipts r ON r.event_id = e.id JOIN peer_jobs j ON j.receipt_id = r.id
WHERE e.external_id LIKE $1
"""
_PRODUCT_ROWS = """
SELECT least(count(DISTINCT e.id), count(DISTINCT r.id), count(DISTINCT j.id))
FROM events e JOIN receipts r ON r.event_id = e.id JOIN jobs j ON j.ref = r.id WHERE e.external_id LIKE $1
"""
_PEER_EVENTS = "SELECT count(*) FROM peer_events WHERE external_id LIKE $1"
_PRODUCT_EVENTS = "SELECT count(*) FROM events WHERE external_id LIKE $1"


class Ingest:
    """Starts all services once; `play` measures each in turn."""

    def __init__(self, cluster: Cluster, product: Product, load: Child, figures: Figures) -> None:
        self._cluster, self._product, self._load, self._figures = cluster, product, load, figures
        self._services: dict[str, Service] = {}
        self._runs = 0

    async def start(self, stack: AsyncExitStack) -> None:
        api, port = await stack.enter_async_context(self._product.api())
        self._services["ingest"] = Service(
            "ingest", api.pid, port, "/v1/events", self._product.api_key, self._product.url, _PRODUCT_ROWS
        )
        for name, module in (("echo", "echo"), ("orm", "orm_ingest"), ("cte", "cte_ingest")):
            url = await self._database(name)
            port = free_port()
            arguments = ["-m", "uvicorn", f"benchmarks.peers.{module}:app", "--port", str(port), *_UVICORN]
            child = await stack.enter_async_context(
                server(self._cluster.folder, module, arguments, port, {"BENCH_URL": url} if url else {})
            )
            rows = _PEER_ROWS if url else None
            self._services[name] = Service(name, child.pid, port, "/events", "", url, rows)

    async def play(self, number: int, seconds: float) -> None:
        """One pass: the three under load, then the two lone callers; every second pass the other way round."""
        legs: list[tuple[str, int, str]] = [
            *((name, CONNECTIONS, name) for name in ("echo", "orm", "ingest")),
            *((name, 1, f"{name}_lone_ms") for name in ("cte", "ingest")),
        ]
        for name, connections, figure in legs if number % 2 == 0 else reversed(legs):
            told = await self._measure(name, connections, number, seconds if connections > 1 else seconds * 0.5)
            self._figures.add(figure, told["per_second"] if connections > 1 else told["p50_ms"])
            if connections > 1:
                self._figures.add(f"{name}_p50_ms", told["p50_ms"])
                self._figures.add(f"{name}_p99_ms", told["p99_ms"])

    async def sweep(self, number: int, seconds: float) -> None:
        """The long run's other numbers of connections, echo and program side by side."""
        for connections in SWEEP if number % 2 == 0 else reversed(SWEEP):
            for name in ("echo", "ingest"):
                told = await self._measure(name, connections, number, seconds)
                self._figures.add(f"{name}_{connections}", told["per_second"])
                self._figures.add(f"{name}_p99_{connections}", told["p99_ms"])

    async def _measure(self, name: str, connections: int, number: int, seconds: float) -> dict[str, Any]:
        service = self._services[name]
        self._runs += 1
        prefix = f"{name}-{self._runs}-"
        cpu = usage.cpu_seconds([service.pid])
        told = await self._load.ask(
            {
                "do": "post",
                "port": service.port,
                "path": service.path,
                "key": service.key,
                "prefix": prefix,
                "connections": connections,
                "warm_up": 0.5,
                "seconds": seconds,
            }
        )
        figure = name if connections > 1 else f"{name}_lone_ms"
        if usage.KNOWN and connections == CONNECTIONS and told["acknowledged"]:
            # Says how the service does also on a machine that is busy with something else.
            spent = usage.cpu_seconds([service.pid]) - cpu
            self._figures.add(f"{name}_server_cpu_ms", spent / told["acknowledged"] * 1000)
        self._figures.check(figure, 0, told["refused"], f"refused requests {told['refusal']}".strip())
        if service.rows is not None:
            connection = await connect(service.url)
            try:
                events = _PRODUCT_EVENTS if name == "ingest" else _PEER_EVENTS
                what = f"rows of {connections} connections"
                kept = await connection.fetchval(service.rows, prefix + "%")
                self._figures.check(figure, told["acknowledged"], kept, what)
                kept = await connection.fetchval(events, prefix + "%")
                self._figures.check(figure, told["acknowledged"], kept, f"events of {connections} connections")
            finally:
                await connection.close()
        return told

    async def _database(self, name: str) -> str:
        if name == "echo":
            return ""
        url = await self._cluster.create(name)
        connection = await connect(url)
        try:
            await connection.execute(model.TABLES)
        finally:
            await connection.close()
        return url
