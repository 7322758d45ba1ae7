"""Growth: the claim, the intake and the searches of people before and after years of finished receipts."""

import contextlib
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote
from uuid import UUID

import asyncpg

from app.infra.ids import new_id
from app.queue.claim import claim
from app.queue.jobs import JobKind
from benchmarks import history
from benchmarks.figures import Figures
from benchmarks.legs.jobs import ENQUEUE
from benchmarks.processes import Child
from benchmarks.product import Product

BATCH = 100
BATCHES = 50
SEARCHES = 60

_DONE = "DELETE FROM jobs WHERE id = ANY($1::uuid[])"


@dataclass(frozen=True, slots=True)
class Place:
    """One installation whose API answers and whose workers are stopped; `label` is how its figures are called."""

    label: str
    product: Product
    lanes: list[UUID]
    port: int


class Growth:
    """Two installations in the same cluster: one stays small, the other is grown; both are measured in turn."""

    def __init__(self, small: Place, grown: Place, load: Child, figures: Figures) -> None:
        self._places, self._grown = (small, grown), grown
        self._load, self._figures = load, figures
        self._runs = 0

    async def grow(self, first: int, total: int, *, whole: bool) -> None:
        """Make the history from one number to another; how long that took is told."""
        began = time.perf_counter()
        product = self._grown.product
        await history.generate(product, first, total, whole=whole)
        with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
            await product.run("CHECKPOINT")
        size = await product.count("SELECT pg_database_size(current_database())")
        seconds = time.perf_counter() - began
        self._figures.told[f"history of {total:,} receipts"] = f"made in {seconds:.0f} s, database {size / 1e9:.2f} GB"

    async def play(self, number: int, seconds: float, suffix: str) -> None:
        """One pass: claim and intake of both, every second pass the other way round."""
        for place in self._places if number % 2 == 0 else reversed(self._places):
            self._figures.add(f"claim_ms_{place.label}{suffix}", await self._claim_ms(place))
            self._figures.add(f"intake_{place.label}{suffix}", await self._intake(place, seconds))

    async def _claim_ms(self, place: Place) -> float:
        """A claim of 100 out of 20,000 that are due, ms: the median of fifty."""
        product, pending = place.product, BATCH * BATCHES * 4
        await product.run("TRUNCATE jobs")
        await product.run(ENQUEUE, int(JobKind.FISCALIZE), place.lanes, pending)
        await product.run("ANALYZE jobs")
        costs: list[float] = []
        seen: set[UUID] = set()
        for _ in range(BATCHES):
            began = time.perf_counter()
            async with product.database.raw_transaction() as connection:
                found = await claim(connection, token=new_id(), limit=BATCH, lease_seconds=60.0)
            costs.append(time.perf_counter() - began)
            ids = [job.id for job in found.jobs]
            seen.update(ids)
            async with product.database.raw() as connection:
                await connection.execute(_DONE, ids)
        left = await product.count("SELECT count(*) FROM jobs")
        await product.run("TRUNCATE jobs")
        taken = BATCH * BATCHES
        self._figures.check(f"claim_ms_{place.label}", (taken, pending - taken), (len(seen), left), "claimed, left")
        return statistics.median(costs) * 1000

    async def _intake(self, place: Place, seconds: float) -> float:
        self._runs += 1
        prefix = f"growth-{self._runs}-"
        told = await self._load.ask(
            {
                "do": "post",
                "port": place.port,
                "path": "/v1/events",
                "key": place.product.api_key,
                "prefix": prefix,
                "connections": 64,
                "warm_up": 0.3,
                "seconds": seconds,
            }
        )
        kept = await place.product.count("SELECT count(*) FROM events WHERE external_id LIKE $1", prefix + "%")
        self._figures.check(f"intake_{place.label}", told["acknowledged"], kept, "events kept")
        await place.product.run("TRUNCATE jobs")
        per_second: float = told["per_second"]
        return per_second

    async def searches(self, total: int) -> None:
        """p95 of each kind of search through the API, one caller."""
        worst = 0.0
        for name, paths in _searches(total).items():
            told = await self._load.ask(
                {
                    "do": "get",
                    "port": self._grown.port,
                    "key": self._grown.product.api_key,
                    "paths": paths,
                    "connections": 1,
                    "seconds": 600,
                }
            )
            self._figures.check("search_p95_ms", len(paths), told["acknowledged"], f"{name} {told['refusal']}".strip())
            self._figures.told[f"search by {name}"] = f"p50 {told['p50_ms']:.1f} ms, p95 {told['p95_ms']:.1f} ms"
            worst = max(worst, told["p95_ms"])
        self._figures.add("search_p95_ms", worst)


def _searches(total: int) -> dict[str, list[str]]:
    rng = random.Random(54)
    buyers = history.known_buyers(total)

    def some(make: Callable[[], str]) -> list[str]:
        return [f"/v1/receipts?{make()}" for _ in range(SEARCHES)]

    def fpd(i: int) -> int:
        return 1_000_000_000 + (i * 2_654_435_761) % 1_000_000_000

    return {
        "nothing (newest page)": some(lambda: "limit=50"),
        "order": some(lambda: f"order_id=old-order-{rng.randint(1, total)}"),
        "external id": some(lambda: f"external_id=old-{rng.randint(1, total)}"),
        "e-mail": some(lambda: f"email={quote(rng.choice(buyers)[1])}"),
        "phone": some(lambda: f"phone={quote(rng.choice(buyers)[2])}"),
        "phone tail": some(lambda: f"phone_tail={rng.randint(0, 9999):04d}"),
        "FD": some(lambda: f"fd={100_000_000 + rng.randint(1, total)}"),
        "FPD": some(lambda: f"fpd={fpd(rng.randint(1, total))}"),
        "a rare status": some(lambda: "status=rejected"),
    }
