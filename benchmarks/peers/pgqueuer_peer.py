"""PgQueuer as its documentation shows it: one process, batches of jobs, completions buffered by itself."""

import asyncio
import sys

import asyncpg
import uvloop
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

from app.infra.dsn import Dsn
from benchmarks.peers.posts import CONCURRENCY, new_ids, open_posts
from benchmarks.peers.queue import seconds_to_empty
from benchmarks.processes import Answer, Command, serving

NOOP_BATCH = 500
"""Measured: 10, 50, 200 and 500 give 4,388, 8,110, 13,622 and 14,364 jobs a second."""
RECEIPT_BATCH = CONCURRENCY
"""With a semaphore in the job: its own `max_concurrent_tasks` makes it wait for a tenth of a second when it is full."""
_ENQUEUE = 1000


async def main(url: str, sink: str) -> None:
    """`noop` and `receipts` by command: so many jobs are queued, then a worker runs until the queue is empty."""
    dsn = Dsn.parse(url)
    async with (
        asyncpg.create_pool(dsn.asyncpg_dsn, min_size=10, max_size=10, **dsn.connect_kwargs) as pool,
        open_posts(url, sink) as posts,
    ):
        queries = Queries(AsyncpgPoolDriver(pool))
        await queries.install()

        async def handle(command: Command) -> Answer:
            jobs, ran, receipts = command["jobs"], 0, command["do"] == "receipts"
            slots = asyncio.Semaphore(CONCURRENCY)
            manager = QueueManager(Queries(AsyncpgPoolDriver(pool)))

            async def noop(job: Job) -> None:
                nonlocal ran
                ran += 1

            async def receipt(job: Job) -> None:
                nonlocal ran
                ran += 1
                assert job.payload is not None
                async with slots:
                    await posts.make(job.payload.decode())

            # Called, not written as decorators: where the peer is not installed its types are not known.
            manager.entrypoint("noop")(noop)
            manager.entrypoint("receipt")(receipt)
            payloads: list[bytes | None] = [None] * jobs
            if receipts:
                ids = new_ids(jobs)
                await posts.prepare(ids)
                payloads = [one.encode() for one in ids]
            name = "receipt" if receipts else "noop"
            for at in range(0, jobs, _ENQUEUE):
                part = payloads[at : at + _ENQUEUE]
                await queries.enqueue([name] * len(part), part, [0] * len(part))
            worker = manager.run(batch_size=RECEIPT_BATCH if receipts else NOOP_BATCH, mode=QueueExecutionMode.drain)
            seconds = await seconds_to_empty(url, "pgqueuer", worker)
            left = await pool.fetchval("SELECT count(*) FROM pgqueuer")
            finished = await posts.finished() if receipts else ran
            return {"seconds": seconds, "ran": ran, "finished": finished, "left": left}

        await serving(handle)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:3]))
