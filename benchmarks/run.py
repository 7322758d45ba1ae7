"""`make bench` and `make bench-long`: all legs in passes, one line per ratio, exit 1 only below a floor."""

import argparse
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import uvloop

from app.infra import logging
from benchmarks import chart, machine, report, table, usage
from benchmarks.cluster import Cluster, NotDurable, open_cluster
from benchmarks.figures import Figures, middle
from benchmarks.legs import jobs, pinned, receipts
from benchmarks.legs.growth import Growth, Place
from benchmarks.legs.ingest import Ingest
from benchmarks.processes import ROOT, Child, free_port, helper
from benchmarks.product import Product, open_product

LEGS = ("ingest", "jobs", "receipts", "pinned", "growth")
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
PICTURE = ROOT / "docs" / "assets" / "bench.svg"


@dataclass(frozen=True, slots=True)
class Extent:
    """How long a run is. Seconds are of one measured leg."""

    passes: int
    ingest_seconds: float
    jobs_seconds: float
    receipts_seconds: float
    pinned_jobs: int
    grown: tuple[int, ...]
    workers: tuple[int, ...]
    memory_receipts: int
    long: bool


SHORT = Extent(2, 1.6, 1.0, 1.5, 20_000, (200_000,), (1,), 0, False)
LONG = Extent(3, 5.0, 3.0, 8.0, 300_000, (1_000_000, 5_000_000), (1, 2, 4), 100_000, True)


@dataclass(slots=True)
class Bench:
    """What every leg needs."""

    cluster: Cluster
    load: Child
    sink: Child
    sink_port: int
    extent: Extent
    figures: Figures
    legs: tuple[str, ...]
    whole: bool

    @asynccontextmanager
    async def peers(self, name: str) -> AsyncIterator[dict[str, Child]]:
        """Both queues, each in a process and a database of its own."""
        sink = f"http://127.0.0.1:{self.sink_port}"
        async with AsyncExitStack() as stack:
            found = {}
            for peer in ("procrastinate", "pgqueuer"):
                url = await self.cluster.create(f"{name}_{peer}")
                found[peer] = await stack.enter_async_context(
                    helper(self.cluster.folder, f"benchmarks.peers.{peer}_peer", url, sink)
                )
            yield found


async def ingest_leg(bench: Bench) -> None:
    extent = bench.extent
    async with AsyncExitStack() as stack:
        product = await stack.enter_async_context(open_product(bench.cluster, "ingest", bench.sink_port))
        leg = Ingest(bench.cluster, product, bench.load, bench.figures)
        await leg.start(stack)
        for number in range(extent.passes):
            await leg.play(number, extent.ingest_seconds)
            if extent.long:
                await leg.sweep(number, extent.ingest_seconds)


async def jobs_leg(bench: Bench) -> None:
    extent, figures = bench.extent, bench.figures
    async with open_product(bench.cluster, "jobs", bench.sink_port) as product, bench.peers("jobs") as peers:
        noops = jobs.NoOps(product, figures, await jobs.make_lanes(product))
        async with product.counting_workers() as workers:
            for number in range(extent.passes):
                await jobs.play(number, extent.jobs_seconds, noops, workers, peers, figures)
        for several in extent.workers[1:]:
            async with product.counting_workers(several) as workers:
                name = f"jobs_{several}_workers"
                for _ in range(extent.passes):
                    number = await noops.calibrated(name, workers, extent.jobs_seconds)
                    figures.add(name, number / await noops.run(name, workers, number))


async def pinned_leg(bench: Bench) -> None:
    extent, figures = bench.extent, bench.figures
    async with open_product(bench.cluster, "pinned", bench.sink_port) as product:
        lanes = (await jobs.make_lanes(product))[:1]
        noops = jobs.NoOps(product, figures, lanes)
        async with product.counting_workers() as workers:
            # On a slow day as many as two seconds take: the count shows the decay, not the patience of who waits.
            number = await noops.calibrated("unpinned_jobs", workers, 60.0 if extent.long else 2.0, extent.pinned_jobs)
            wanted = max(number, jobs.PROBE * 2)
            for turn in range(extent.passes):
                await pinned.play(turn, wanted, noops, product, lanes, workers, figures)
            figures.told["jobs under the pinned snapshot"] = f"{wanted:,} a pass, one lane"


async def receipts_leg(bench: Bench) -> None:
    """End to end, then, on the same installation, memory, more workers and growth."""
    async with open_product(bench.cluster, "receipts", bench.sink_port) as product, product.api() as api:
        mine = receipts.Receipts(bench.cluster, product, api, bench.load, bench.sink, bench.figures)
        if "receipts" in bench.legs:
            await _end_to_end(bench, mine, product, api[0])
        if "growth" in bench.legs:
            async with product.workers() as workers:
                # History is made after a real receipt, and there may be none yet.
                await mine.run("receipts", workers, receipts.PROBE)
            await _growth(bench, Place("grown", product, await jobs.make_lanes(product), api[1]))


async def _growth(bench: Bench, grown: Place) -> None:
    """Beside an installation that stays empty, so that both are measured at the same time."""
    extent = bench.extent
    async with open_product(bench.cluster, "small", bench.sink_port) as product, product.api() as (_, port):
        small = Place("empty", product, await jobs.make_lanes(product), port)
        growth = Growth(small, grown, bench.load, bench.figures)
        for first, total in pairwise((0, *extent.grown)):
            await growth.grow(first, total, whole=bench.whole)
            suffix = "" if total == extent.grown[-1] else f"_at_{total}"
            for number in range(extent.passes):
                await growth.play(number, extent.ingest_seconds / 2, suffix)
        await growth.searches(extent.grown[-1])


async def _end_to_end(bench: Bench, mine: receipts.Receipts, product: Product, api: Child) -> None:
    extent, figures = bench.extent, bench.figures
    async with bench.peers("receipts") as peers, product.workers() as workers:
        for number in range(extent.passes):
            await receipts.play(number, extent.receipts_seconds, mine, workers, peers, bench.sink, figures)
        if extent.memory_receipts:
            await _memory(mine, api, workers[0], extent.memory_receipts, figures)
        elif usage.KNOWN:
            here = f"API {usage.resident_mb(api.pid):.0f}, worker {usage.resident_mb(workers[0].pid):.0f}"
            figures.told["memory, MB"] = f"{here} after {mine.footprint.receipts:,} receipts"
    mine.footprint.tell(figures)
    for several in extent.workers[1:]:
        async with product.workers(several) as workers:
            name = f"receipts_{several}_workers"
            for _ in range(extent.passes):
                number = await mine.calibrated(workers, extent.receipts_seconds)
                figures.add(name, number / await mine.run(name, workers, number))


async def _memory(mine: receipts.Receipts, api: Child, worker: Child, total: int, figures: Figures) -> None:
    """API and worker after a tenth and after all of so many receipts: memory must not grow with them."""
    said = []
    for part in range(10):
        await mine.run("receipts", [worker], total // 10)
        if part in (0, 9):
            here = usage.resident_mb(api.pid), usage.resident_mb(worker.pid)
            said.append(f"after {total // 10 * (part + 1):,}: API {here[0]:.0f}, worker {here[1]:.0f}")
    figures.told["memory, MB"] = "; ".join(said)


async def play(chosen: argparse.Namespace) -> int:
    """A whole run; the exit code."""
    extent = LONG if chosen.long else SHORT
    figures = Figures()
    began = time.perf_counter()
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(open_cluster(chosen.dsn))
        about = machine.describe(cluster)
        for name, value in about.items():
            print(f"{name}: {value}")
        port = free_port()
        sink = await stack.enter_async_context(helper(cluster.folder, "benchmarks.sink", str(port)))
        load = await stack.enter_async_context(helper(cluster.folder, "benchmarks.load"))
        bench = Bench(cluster, load, sink, port, extent, figures, tuple(chosen.legs), chosen.whole)
        legs = {"ingest": ingest_leg, "jobs": jobs_leg, "pinned": pinned_leg, "receipts": receipts_leg}
        for name, leg in legs.items():
            if name in chosen.legs or (name == "receipts" and "growth" in chosen.legs):
                started = time.perf_counter()
                await leg(bench)
                print(f"… {name} {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    about["Load after"] = f"{os.getloadavg()[0]:.2f}"
    about["Took"] = f"{time.perf_counter() - began:.0f} s"
    lines = table.judge(figures, long=extent.long)
    _print(about, lines, figures)
    if chosen.write:
        RESULTS.write_text(report.markdown(about, lines, figures, long=extent.long), "utf-8")
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        PICTURE.write_text(chart.draw(lines, f"{about['Date']}, {about['Machine']}"), "utf-8")
        print(f"Written: {_short(RESULTS)}, {_short(PICTURE)}")
    return int(table.failed(lines))


def _print(about: dict[str, str], lines: list[table.Judged], figures: Figures) -> None:
    print()
    for line in lines:
        print(line.line())
    print()
    for name, values in sorted(figures.values.items()):
        print(f"  {name} {table.number(middle(values))} [{' '.join(map(table.number, values))}]")
    for name, said in figures.told.items():
        print(f"  {name}: {said}")
    if float(about["Load before"]) > (os.cpu_count() or 1) / 2:
        print(f"  warning: the machine was busy before the run (load {about['Load before']})")
    for said in report.warnings(figures):
        print(f"  warning: {said}")
    for said in figures.broken.values():
        print(f"  WRONG COUNT: {said}")
    print(f"  {len(figures.checks)} counts right, {len(figures.broken)} wrong")
    print(f"  load {about['Load before']} -> {about['Load after']}, {about['Took']}")


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--long", action="store_true", help="three passes, longer legs, growth to 5 M, more workers")
    options.add_argument("--dsn", help="a PostgreSQL to use instead of one of its own; its role may create databases")
    options.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md and docs/assets/bench.svg")
    options.add_argument(
        "--whole", action="store_true", help="grow also attempts, timeline and messages (about 10 kB a receipt)"
    )
    options.add_argument("--legs", nargs="+", choices=LEGS, default=list(LEGS), help="only these")
    chosen = options.parse_args()
    logging.set_up(scrub=lambda text: text, level="ERROR", render="console")
    try:
        code = uvloop.run(play(chosen))
    except NotDurable as refused:
        raise SystemExit(str(refused)) from None
    sys.exit(code)


if __name__ == "__main__":
    main()
