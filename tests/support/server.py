"""An ASGI application on a real port of this machine, for tests that need real sockets."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn


class _Server(uvicorn.Server):
    """uvicorn inside a test: leaves the signals to pytest, says when it listens, stops when told and not at a tick."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening, self.stopping = asyncio.Event(), asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.stopping.wait()


@contextlib.asynccontextmanager
async def serve(app: Any, **options: Any) -> AsyncIterator[str]:
    """`http://127.0.0.1:<port>` of a running server; stopped, with its lifespan, at the end."""
    # The protocol is named because asyncio switches Nagle's algorithm off (40 ms an answer) only where it is.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        defaults = {"log_level": "error", "access_log": False, "timeout_graceful_shutdown": 2}
        server = _Server(uvicorn.Config(app, **(defaults | options)))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        ready = asyncio.create_task(server.listening.wait())
        await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if running.done():
            running.result()
            raise RuntimeError("the server ended before it listened")
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.stopping.set()
            await running
