"""One forgotten open transaction: the same jobs with and without a snapshot that holds every dead row back."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from uuid import UUID

from benchmarks.cluster import connect
from benchmarks.figures import Figures
from benchmarks.legs.jobs import NoOps, done
from benchmarks.processes import Child
from benchmarks.product import Product

_READ = "SELECT count(*) FROM jobs"


@contextlib.asynccontextmanager
async def pinned(product: Product) -> AsyncIterator[None]:
    """An idle transaction that has read something and was left open."""
    connection = await connect(product.url)
    try:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await connection.fetchval(_READ)
        yield
        await connection.execute("ROLLBACK")
    finally:
        await connection.close()


async def play(
    number: int, jobs: int, noops: NoOps, product: Product, lanes: list[UUID], workers: list[Child], figures: Figures
) -> None:
    """One pass: without and with the snapshot, every second pass the other way round. One deep lane."""
    for is_pinned in (False, True) if number % 2 == 0 else (True, False):
        figure = "pinned_jobs" if is_pinned else "unpinned_jobs"
        async with contextlib.AsyncExitStack() as stack:
            await product.run("VACUUM jobs")
            if is_pinned:
                await stack.enter_async_context(pinned(product))
            watch = asyncio.create_task(_course(workers, await done(workers), jobs))
            try:
                figures.add(figure, jobs / await noops.run(figure, workers, jobs))
                first, last = await watch
            finally:
                watch.cancel()
            if is_pinned:
                figures.add("pinned_first", first)
                figures.add("pinned_last", last)


async def _course(workers: list[Child], before: int, jobs: int) -> tuple[float, float]:
    """Jobs per second in the first and in the last quarter. The workers are asked: counting the table under the
    snapshot reads every dead row, and took one of two cores."""
    seen = [(time.perf_counter(), jobs)]
    while seen[-1][1] > 0:
        await asyncio.sleep(0.02)
        left = jobs - (await done(workers) - before)
        if left < jobs:
            seen.append((time.perf_counter(), left))
        else:
            seen[0] = (time.perf_counter(), jobs)
    return _rate(seen, jobs, jobs * 3 // 4), _rate(seen, jobs // 4, 0)


def _rate(seen: list[tuple[float, int]], most: int, least: int) -> float:
    """Between the moments at which about so many were left."""
    began = max((one for one in seen if one[1] >= most), key=lambda one: one[0])
    ended = min((one for one in seen if one[1] <= least), key=lambda one: one[0])
    seconds = ended[0] - began[0]
    return (began[1] - ended[1]) / seconds if seconds > 0 else 0.0
