"""A provider that says what a test wrote down: one conversation over a real socket, every request kept."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.contract.scenarios import Answer, Cut, Step, Steps

UNFORESEEN = Answer(599, "this conversation has no such step")


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: str


@dataclass
class Provider:
    """Answers the steps in order, whatever is asked; the test compares what was asked afterwards."""

    steps: Steps
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    _listening: asyncio.Server | None = None
    _talks: set[asyncio.Task[None]] = field(default_factory=set)

    def _next(self) -> Answer | Cut:
        number = len(self.seen) - 1
        return self.steps[number].back if number < len(self.steps) else UNFORESEEN

    def _hides_after_this(self) -> bool:
        number = len(self.seen)
        return number < len(self.steps) and self.steps[number].back is Cut.REFUSED

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until a cut or the end of the client."""
        if (task := asyncio.current_task()) is not None:
            self._talks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._exchange(reader, writer):
                pass
        writer.close()

    async def over(self) -> None:
        """Return when every connection has ended; the client is gone by then."""
        if self._talks:
            await asyncio.wait(self._talks, timeout=5)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *fields = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in fields)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        method, path, _ = line.split(" ")
        self.seen.append(Seen(method, path, headers, body.decode()))
        match self._next():
            case Cut.SILENT:
                await reader.read()  # until the client gives up
                return False
            case Cut.HALF:
                writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"half": ')
                await writer.drain()
                return False
            case Answer() as answer:
                hides = self._hides_after_this()
                if hides:
                    self.hide()
                writer.write(_rendered(answer, close=hides))
                await writer.drain()
                return not hides
            case _:
                return False

    def hide(self) -> None:
        """Stops listening: the next connection is refused."""
        assert self._listening is not None
        self._listening.close()


def _rendered(answer: Answer, *, close: bool) -> bytes:
    content = answer.content
    headers = {"Content-Type": "application/json"} | dict(answer.headers)
    if answer.status != 204:
        headers["Content-Length"] = str(len(content))
    if close:
        headers["Connection"] = "close"
    told = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {answer.status} X\r\n{told}\r\n".encode() + content


@asynccontextmanager
async def provider(steps: Steps) -> AsyncIterator[Provider]:
    """A listening provider; a conversation that begins with `Cut.REFUSED` finds its port closed."""
    found = Provider(steps)
    listener = socket.create_server(("127.0.0.1", 0))
    found.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = await asyncio.start_server(found.talk, sock=listener)
    found._listening = server
    if steps and steps[0].back is Cut.REFUSED:
        found.hide()
    try:
        yield found
    finally:
        server.close()
        await found.over()
        await server.wait_closed()


def expected(steps: Steps) -> list[Step]:
    """The steps whose request arrives: not those that are refused or held back."""
    return [step for step in steps if step.back not in (Cut.REFUSED, Cut.STALE)]
