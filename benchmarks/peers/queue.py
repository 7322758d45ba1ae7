"""When a queue is empty: asked of the database, in the same way for every peer and for the program."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any

from benchmarks.cluster import connect

POLL_SECONDS = 0.01


async def seconds_to_empty(url: str, table: str, worker: Coroutine[Any, Any, None]) -> float:
    """Run the worker until its table has no row; how long that took. It is then cancelled if it does not end."""
    connection = await connect(url)
    try:
        began = time.perf_counter()
        running = asyncio.create_task(worker)
        while not running.done() and await connection.fetchval(f"SELECT EXISTS (SELECT FROM {table})"):  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - began
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(running, 10)
        return seconds
    finally:
        await connection.close()
