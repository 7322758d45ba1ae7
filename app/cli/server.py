"""An ASGI application on a port of this machine, inside this process: says when it listens, ends when told."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI

from app.cli.errors import Stop
from app.cli.request_heads import BoundedHeads

IDLE_SECONDS = 75
"""How long a connection waits for its next request: longer than pools of clients and load balancers keep an idle one
(usually 60), so that they end it and no request is written into one that we are just closing."""


def bind(host: str, port: int, *, option: str = "--port", variable: str | None = "KASSA_PORT") -> socket.socket:
    """A bound socket; port 0 takes a free one. Stop names what to change when it cannot be had."""
    how = f"another {option}" + (f" or {variable}" if variable else "")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise Stop(f"KASSA_HOST: {host!r} is no address of this machine ({error.strerror}).", 2) from None
    # The protocol is named because asyncio switches Nagle's algorithm off (40 ms an answer) only where it is.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        # At once, or a second program could bind the same port until the server really listens.
        found.listen(2048)
    except OSError as error:
        found.close()
        raise Stop(f"Port {port} of {host} cannot be had ({error.strerror}): choose {how}.", 2) from None
    return found


def url_of(found: socket.socket, host: str) -> str:
    """The address to call it at from this machine."""
    port = found.getsockname()[1]
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1" if found.family == socket.AF_INET else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn that leaves the signals to the program."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def stop(self) -> None:
        """Accept nothing more, finish what is being answered, end; harmless when it has ended."""
        self.should_exit = True
        if self.task is not None:
            await asyncio.wait({self.task})


@contextlib.asynccontextmanager
async def serving(app: FastAPI, found: socket.socket, *, patience: float, **options: Any) -> AsyncIterator[Server]:
    """A server that listens; at the end it gives open requests `patience` seconds."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        server_header=False,
        http=BoundedHeads,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=max(1, round(patience)),
        **options,
    )
    server = Server(config)
    server.task = task = asyncio.create_task(server.serve(sockets=[found]), name="http-server")
    listening = asyncio.create_task(server.listening.wait())
    try:
        await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
            raise Stop("The HTTP server ended before it listened; its log says why.")
        yield server
    finally:
        listening.cancel()
        await server.stop()
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
