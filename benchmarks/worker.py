"""The program's own worker, composed as `crm-kassa worker` does it, in a process that also tells what it has run."""

import asyncio

import uvloop

from app.cli.configure import load_settings, set_up_logs
from app.cli.crew import run_worker
from app.cli.place import required_url
from app.infra import heap
from app.keys import Keys
from app.runtime import open_runtime, open_worker
from benchmarks.processes import Answer, Command, serving


async def main() -> None:
    """Until its input ends; then it stops as on SIGTERM."""
    settings = load_settings()
    set_up_logs(settings)
    keys = Keys.load(settings, generate_in=None)
    async with (
        open_runtime(settings, database_url=required_url(settings), keys=keys) as runtime,
        open_worker(runtime) as worker,
    ):

        async def handle(_: Command) -> Answer:
            return {"done": worker.runner.done.total()}

        heap.settle()
        running = asyncio.create_task(run_worker(worker))
        await serving(handle)
        worker.runner.stop()
        await running


if __name__ == "__main__":
    uvloop.run(main())
