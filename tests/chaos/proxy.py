"""A TCP proxy that spoils exchanges by a seeded choice: the network between two parts of the system."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Mapping

MODES = ("reset_before", "drop_response", "reset_mid_response", "delay", "blackhole")
"""reset_before: cut before the request is passed on. drop_response: passed on, cut at the first byte of the answer.
reset_mid_response: half of the answer's first part, then cut. delay: passed on late. blackhole: swallowed."""


class FaultProxy:
    """Listens on a free port and passes exchanges on to `target`; each exchange draws its own fault.

    An exchange begins with the first bytes of a client after an answer. The chances are per exchange; while `on` is
    False everything passes.
    """

    def __init__(self, name: str, target: tuple[str, int], chances: Mapping[str, float], seed: str) -> None:
        self.name = name
        self.target = target
        self.chances = {mode: chances[mode] for mode in MODES if mode in chances}
        self.on = True
        self.played: Counter[str] = Counter()
        self._random = random.Random(f"{seed}/{name}")
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    def draw(self) -> str:
        """The fault of the next exchange."""
        point = self._random.random() if self.on else 1.0
        for mode, chance in self.chances.items():
            point -= chance
            if point < 0:
                self.played[mode] += 1
                return mode
        self.played["pass"] += 1
        return "pass"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._converse(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _converse(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        server_in, server_out = await asyncio.open_connection(*self.target)
        exchange = _Exchange()
        both = [
            asyncio.create_task(self._forth(client_in, server_out, exchange)),
            asyncio.create_task(self._back(server_in, client_out, exchange)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            # What was passed on has arrived: an abort would take it back out of the kernel's buffers.
            with contextlib.suppress(OSError):
                server_out.close()
            client_out.transport.abort() if exchange.cut else client_out.close()

    async def _forth(self, client: asyncio.StreamReader, server: asyncio.StreamWriter, exchange: "_Exchange") -> None:
        while data := await client.read(65_536):
            if exchange.answered:
                exchange.mode, exchange.answered = self.draw(), False
                if exchange.mode == "delay":
                    await asyncio.sleep(self._random.uniform(0.05, 0.5))
            if exchange.mode == "reset_before":
                exchange.cut = True
                return
            if exchange.mode != "blackhole":
                server.write(data)
                await server.drain()

    async def _back(self, server: asyncio.StreamReader, client: asyncio.StreamWriter, exchange: "_Exchange") -> None:
        while data := await server.read(65_536):
            if exchange.mode == "drop_response":
                exchange.cut = True
                return
            if exchange.mode == "reset_mid_response":
                client.write(data[: len(data) // 2])
                await client.drain()
                await asyncio.sleep(0.01)
                exchange.cut = True
                return
            client.write(data)
            await client.drain()
            exchange.answered = True


class _Exchange:
    """What one connection is doing; the next request draws anew once an answer has begun."""

    def __init__(self) -> None:
        self.mode = "pass"
        self.answered = True
        self.cut = False
