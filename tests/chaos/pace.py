"""The run's own clock: load and strikes follow it, and it stands still while more waits than the machine can carry.

Without it a long run measures the machine it shares: a backlog that only grows is a red run that says nothing.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

MOST_WAITING = 1500
"""Receipts under way beyond which the clock stands still: far more than kills and faults leave behind, so that only a
machine that is too slow meets it."""

_LOOK_SECONDS = 1.0


class Pace:
    """`waiting` tells how many receipts are under way; what it raises while the database is down is no backlog."""

    def __init__(self, waiting: Callable[[], Awaitable[int]], most: int = MOST_WAITING) -> None:
        self._waiting = waiting
        self._most = most
        self._began = time.monotonic()
        self._free = asyncio.Event()
        self._free.set()
        self.held_seconds = 0.0

    def start(self) -> None:
        """The moment 0 is now."""
        self._began = time.monotonic()

    async def until(self, at: float) -> None:
        """Until the run is `at` seconds old."""
        while True:
            await self._free.wait()
            wait = self._began + self.held_seconds + at - time.monotonic()
            if wait <= 0:
                return
            await asyncio.sleep(min(wait, _LOOK_SECONDS))

    async def watch(self) -> None:
        """Stop and go, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Stop the clock when more than the most is waiting; let it go when half of that is left."""
        with contextlib.suppress(Exception):
            waiting = await self._waiting()
            if waiting <= self._most:
                return
            stopped = time.monotonic()
            self._free.clear()
            try:
                while waiting > self._most // 2:
                    await asyncio.sleep(_LOOK_SECONDS)
                    with contextlib.suppress(Exception):
                        waiting = await self._waiting()
            finally:
                self.held_seconds += time.monotonic() - stopped
                self._free.set()
