"""No-op jobs: leased, run and ended; the program's real worker beside Procrastinate and PgQueuer.

The program's no-op is a job whose receipt is gone: lanes, caps, lease, batch read, and its end in the lease's name are
the real ones, there is only nothing to send.
"""

from uuid import UUID

from app.infra.ids import new_id
from app.queue import lanes
from app.queue.jobs import JobKind
from benchmarks.figures import Figures
from benchmarks.processes import Child
from benchmarks.product import Product

LANES = 4
IN_LANE = 200
PROBE = 400
MOST = 40_000

ENQUEUE = """
INSERT INTO jobs (id, kind, lane, ref, run_at)
SELECT kassa_uuid7(), $1, ($2::uuid[])[1 + i % cardinality($2::uuid[])], gen_random_uuid(), kassa_now()
FROM generate_series(1, $3::int) i
"""


async def make_lanes(product: Product) -> list[UUID]:
    """Lanes of their own, so that no limit of one kassa is what is measured."""
    made = [new_id() for _ in range(LANES)]
    async with product.database.pipeline() as tx:
        for lane_id in made:
            await lanes.create(
                tx, lane_id, kind="kassa", merchant_id=product.merchant_id, max_in_flight=IN_LANE, provider=None
            )
    return made


class NoOps:
    """The program's side: jobs are queued in paused lanes, which then are let go."""

    def __init__(self, product: Product, figures: Figures, lane_ids: list[UUID]) -> None:
        self._product, self._figures, self._lanes = product, figures, lane_ids

    async def run(self, figure: str, workers: list[Child], jobs: int) -> float:
        """Seconds until so many jobs were run by these workers, each exactly once."""
        before = await done(workers)
        await self._product.pause(*self._lanes)
        await self._product.run(ENQUEUE, int(JobKind.FISCALIZE), self._lanes, jobs)
        seconds = await self._product.drain(*self._lanes)
        ran = await self._settled(workers, before + jobs) - before
        self._figures.check(figure, jobs, ran, "jobs run once")
        return seconds

    async def calibrated(self, figure: str, workers: list[Child], seconds: float, most: int = MOST) -> int:
        """How many jobs take about so long: enough to measure, few enough to wait for."""
        took = await self.run(figure, workers, PROBE)
        return max(PROBE, min(round(PROBE / took * seconds), most))

    async def _settled(self, workers: list[Child], wanted: int) -> int:
        """The last tasks count themselves a moment after their row is gone."""
        for _ in range(100):
            if (ran := await done(workers)) >= wanted:
                break
        return ran


async def done(workers: list[Child]) -> int:
    """How many jobs these workers have run so far."""
    return sum([(await worker.ask({"do": "done"}))["done"] for worker in workers])


async def play(
    number: int, seconds: float, noops: NoOps, workers: list[Child], peers: dict[str, Child], figures: Figures
) -> None:
    """One pass: both peers and the program, every second pass the other way round."""
    order = ["procrastinate", "pgqueuer", "product"]
    for name in order if number % 2 == 0 else reversed(order):
        if name == "product":
            jobs = await noops.calibrated("jobs", workers, seconds)
            figures.add("jobs", jobs / await noops.run("jobs", workers, jobs))
            continue
        jobs = round({"procrastinate": 400, "pgqueuer": 6000}[name] * seconds)
        figure = f"jobs_{name}"
        told = await peers[name].ask({"do": "noop", "jobs": jobs})
        figures.check(figure, (jobs, jobs, 0), (told["ran"], told["finished"], told["left"]), "ran, finished, left")
        figures.add(figure, jobs / told["seconds"])
