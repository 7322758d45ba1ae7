"""`crm-kassa worker`: one process that makes receipts and delivers messages."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Annotated

import typer

from app.cli.configure import load_settings, set_up_logs
from app.cli.crew import run_worker
from app.cli.launch import watched
from app.cli.loop import Stopping, run, signals
from app.cli.place import Place, direct_url, required_schema, required_url
from app.cli.say import OK, err, examples
from app.infra import heap
from app.keys import Keys
from app.runtime import Worker, open_runtime, open_worker
from app.settings import Settings

EXAMPLES = examples("crm-kassa worker", "KASSA_WORKER_SLOTS=50 crm-kassa worker")


def worker(
    number: Annotated[int, typer.Option(min=1, help="Its number on this machine, for its name.")] = 1,
    child_of: Annotated[int | None, typer.Option(hidden=True)] = None,
    keys_in: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run one worker over the database of KASSA_DATABASE_URL.

    Start as many as needed, anywhere. On SIGTERM it finishes what it has, at most KASSA_SHUTDOWN_SECONDS, and gives
    back what was not begun; nothing is lost when it is killed. With KASSA_WORKER_PORT it answers /livez, /readyz and
    /metrics there.
    """
    settings = load_settings()
    url = required_url(settings)
    set_up_logs(settings)
    place = Place(url, Keys.load(settings, generate_in=keys_in), direct_url=direct_url(settings))
    run(_worker(settings, place, number, child_of))


async def _worker(settings: Settings, place: Place, number: int, parent: int | None) -> None:
    with signals() as stopping:
        await required_schema(place)
        async with (
            open_runtime(settings, database_url=place.url, keys=place.keys) as runtime,
            open_worker(runtime, number=number) as worker,
            # A child shares the settings of its program, and one port has one owner.
            contextlib.nullcontext() if parent else watched(runtime),
        ):
            stop = asyncio.create_task(_stop(stopping, worker))
            orphan = asyncio.create_task(_orphaned(stopping, parent))
            heap.settle()
            err.print(f"{OK} Worker {os.getpid()}")
            try:
                await run_worker(worker)
            finally:
                stop.cancel()
                orphan.cancel()


async def _stop(stopping: Stopping, worker: Worker) -> None:
    await stopping.wait()
    worker.runner.stop()


async def _orphaned(stopping: Stopping, parent: int | None) -> None:
    """A child whose program was killed must not go on alone on an embedded database that ends with that program."""
    if parent is None:
        return
    while os.getppid() == parent:  # noqa: ASYNC110 - a parent's death sends nothing everywhere
        await asyncio.sleep(1.0)
    stopping.ask()
