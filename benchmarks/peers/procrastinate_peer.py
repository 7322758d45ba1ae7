"""Procrastinate as its documentation shows it: one process, tasks that are coroutines, jobs deferred in batches."""

import sys

import procrastinate
import uvloop
from procrastinate.types import JSONValue

from benchmarks.peers.posts import CONCURRENCY, new_ids, open_posts
from benchmarks.peers.queue import seconds_to_empty
from benchmarks.processes import Answer, Command, serving

NOOP_CONCURRENCY = 10
"""Measured: 1, 10 and 50 give 388, 581 and 577 jobs a second; more than ten is of no use without waiting."""
POOL = 20


async def main(url: str, sink: str) -> None:
    """`noop` and `receipts` by command: so many jobs are queued, then a worker runs until the queue is empty."""
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, min_size=POOL, max_size=POOL))
    ran = 0
    async with app.open_async(), open_posts(url, sink) as posts:
        await app.schema_manager.apply_schema_async()

        async def noop(number: int) -> None:
            nonlocal ran
            ran += 1

        async def receipt(receipt_id: str) -> None:
            nonlocal ran
            ran += 1
            await posts.make(receipt_id)

        # Called, not written as decorators: where the peer is not installed its types are not known.
        noop_task, receipt_task = app.task(name="noop")(noop), app.task(name="receipt")(receipt)

        async def handle(command: Command) -> Answer:
            nonlocal ran
            ran, jobs = 0, command["jobs"]
            if command["do"] == "noop":
                arguments: list[dict[str, JSONValue]] = [{"number": number} for number in range(jobs)]
                await noop_task.batch_defer_async(*arguments)
                concurrency = NOOP_CONCURRENCY
            else:
                ids = new_ids(jobs)
                await posts.prepare(ids)
                arguments = [{"receipt_id": one} for one in ids]
                await receipt_task.batch_defer_async(*arguments)
                concurrency = CONCURRENCY
            worker = app.run_worker_async(
                concurrency=concurrency, wait=False, install_signal_handlers=False, delete_jobs="successful"
            )
            seconds = await seconds_to_empty(url, "procrastinate_jobs", worker)
            left = await app.connector.execute_query_one_async("SELECT count(*) AS n FROM procrastinate_jobs")
            finished = ran if command["do"] == "noop" else await posts.finished()
            return {"seconds": seconds, "ran": ran, "finished": finished, "left": left["n"]}

        await serving(handle)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:3]))
