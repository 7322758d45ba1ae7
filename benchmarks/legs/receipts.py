"""Receipts end to end: provider, state, signed webhook; `crm-kassa worker` beside the same two POSTs as peers' jobs."""

from dataclasses import dataclass, field

from benchmarks import usage
from benchmarks.cluster import Cluster
from benchmarks.figures import Figures
from benchmarks.processes import Child
from benchmarks.product import Product

CONNECTIONS = 32
PROBE = 300
LEAST = 2_500
MOST = 5_000

_MADE = """
SELECT count(*) FROM receipts r JOIN events e ON e.id = r.event_id
WHERE e.external_id LIKE $1 AND r.status = 'fiscalized' AND r.fpd IS NOT NULL
"""
_TOLD = """
SELECT count(*) FROM message_endpoints me JOIN messages m ON m.id = me.message_id
JOIN receipts r ON r.id = m.receipt_id JOIN events e ON e.id = r.event_id
WHERE e.external_id LIKE $1 AND me.status = 'delivered'
"""
_SIZE = "SELECT pg_database_size(current_database())"


@dataclass(slots=True)
class Footprint:
    """What receipts cost, summed over everything that was made: CPU seconds by process, bytes on disk."""

    receipts: int = 0
    cpu: dict[str, float] = field(default_factory=lambda: {"api": 0.0, "worker": 0.0, "postgres": 0.0})
    bytes: int = 0

    def tell(self, figures: Figures) -> None:
        """Per receipt."""
        if not self.receipts:
            return
        if usage.KNOWN:
            parts = {name: seconds / self.receipts * 1000 for name, seconds in self.cpu.items()}
            said = ", ".join(f"{name} {ms:.2f}" for name, ms in parts.items() if ms)
            figures.told["CPU ms per receipt"] = f"{sum(parts.values()):.2f} ({said})"
        figures.told["bytes on disk per receipt"] = f"{self.bytes / self.receipts:,.0f}"


class Receipts:
    """The program's side: receipts are reported to the real API while the kassa is paused, then made and told."""

    def __init__(
        self,
        cluster: Cluster,
        product: Product,
        api: tuple[Child, int],
        load: Child,
        sink: Child,
        figures: Figures,
    ) -> None:
        self._cluster, self._product, self._load, self._sink, self._figures = cluster, product, load, sink, figures
        self._api, self._port = api
        self._runs = 0
        self.footprint = Footprint()

    async def run(self, figure: str, workers: list[Child], receipts: int) -> float:
        """Seconds until so many receipts were printed and told, each exactly once."""
        self._runs += 1
        prefix = f"{figure}-{self._runs}-"
        size = await self._product.count(_SIZE)
        cpu = self._cpu(workers)
        await self._product.pause(self._product.kassa_id)
        told = await self._load.ask(
            {
                "do": "post",
                "port": self._port,
                "path": "/v1/events",
                "key": self._product.api_key,
                "prefix": prefix,
                "connections": CONNECTIONS,
                "seconds": 600,
                "count": receipts,
            }
        )
        self._figures.check(figure, receipts, told["acknowledged"], f"events acknowledged {told['refusal']}".strip())
        await self._sink.ask({"do": "told"})
        seconds = await self._product.drain(self._product.kassa_id)
        await self._verify(figure, prefix, receipts)
        self._account(cpu, self._cpu(workers), await self._product.count(_SIZE) - size, receipts)
        return seconds

    async def calibrated(self, workers: list[Child], seconds: float) -> int:
        """How many receipts take about so long; never so few that the start and the end of a run would be judged."""
        took = await self.run("receipts", workers, PROBE)
        return max(LEAST, min(round(PROBE / took * seconds), MOST))

    async def _verify(self, figure: str, prefix: str, receipts: int) -> None:
        check, count = self._figures.check, self._product.count
        check(figure, receipts, await count(_MADE, prefix + "%"), "receipts fiscalized")
        check(figure, receipts, await count(_TOLD, prefix + "%"), "messages delivered")
        came = await self._sink.ask({"do": "told"})
        expected = {"receipts": receipts, "distinct_receipts": receipts}
        expected |= {"messages": receipts, "distinct_messages": receipts}
        check(figure, expected, came, "posts at provider and shop")

    def _cpu(self, workers: list[Child]) -> dict[str, float]:
        return {
            "api": usage.cpu_seconds([self._api.pid]),
            "worker": usage.cpu_seconds([worker.pid for worker in workers]),
            "postgres": usage.cpu_seconds(usage.family(self._cluster.pid)) if self._cluster.pid else 0.0,
        }

    def _account(self, before: dict[str, float], after: dict[str, float], grown: int, receipts: int) -> None:
        self.footprint.receipts += receipts
        self.footprint.bytes += grown
        for name, seconds in after.items():
            self.footprint.cpu[name] += seconds - before[name]


async def play(
    number: int,
    seconds: float,
    mine: Receipts,
    workers: list[Child],
    peers: dict[str, Child],
    sink: Child,
    figures: Figures,
) -> None:
    """One pass: both peers and the program, every second pass the other way round."""
    order = ["procrastinate", "pgqueuer", "product"]
    for name in order if number % 2 == 0 else reversed(order):
        if name == "product":
            receipts = await mine.calibrated(workers, seconds)
            figures.add("receipts", receipts / await mine.run("receipts", workers, receipts))
            continue
        jobs = round({"procrastinate": 200, "pgqueuer": 800}[name] * seconds)
        figure = f"receipts_{name}"
        await sink.ask({"do": "told"})
        told = await peers[name].ask({"do": "receipts", "jobs": jobs})
        figures.check(figure, (jobs, jobs, 0), (told["ran"], told["finished"], told["left"]), "ran, finished, left")
        came = await sink.ask({"do": "told"})
        figures.check(figure, [jobs] * 4, list(came.values()), "posts at provider and shop")
        figures.add(figure, jobs / told["seconds"])
