"""The event loop of a command: uvloop where there is one, and signals that end it in order."""

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from app.cli.errors import Stop

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; a cancelled command ends with Stop."""
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(work)
    except asyncio.CancelledError:
        raise Stop("Stopped before it was done.", 130) from None


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:  # Windows has none
        return None
    return uvloop.new_event_loop


class Stopping:
    """Asked to stop: by the first signal once somebody waits for it; any other signal cancels what runs."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._awaited = False
        self._task = asyncio.current_task()

    async def wait(self) -> None:
        """Until a signal asks to stop. From the first call on a signal does no more than that."""
        self._awaited = True
        await self._asked.wait()

    def ask(self) -> None:
        if self._awaited and not self._asked.is_set():
            self._asked.set()
        elif self._task is not None:
            self._task.cancel()


@contextlib.contextmanager
def signals() -> Iterator[Stopping]:
    """SIGINT and SIGTERM of this process, for the task that enters."""
    stopping, loop = Stopping(), asyncio.get_running_loop()
    for one in _SIGNALS:
        loop.add_signal_handler(one, stopping.ask)
    try:
        yield stopping
    finally:
        for one in _SIGNALS:
            loop.remove_signal_handler(one)
