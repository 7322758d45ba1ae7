"""Children of a run: servers that are ready when their port answers, and helpers that speak JSON lines.

A helper reads one command per line from its input, answers one line, and ends when its input ends. Only what was
started here is ever signalled.
"""

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

ROOT = Path(__file__).resolve().parents[1]

Command = dict[str, Any]
Answer = dict[str, Any]
Handler = Callable[[Command], Awaitable[Answer]]

_READY_SECONDS = 60.0
_STOP_SECONDS = 20.0
_LINE = 1 << 22


class Child:
    """A process of this run; `log` is where it says what went wrong."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._log = log
        self._one_at_a_time = asyncio.Lock()

    async def ask(self, command: Command, seconds: float = 600.0) -> Answer:
        """One command of a helper. RuntimeError with its last words when it ends instead of answering."""
        writer, reader = self._process.stdin, self._process.stdout
        if writer is None or reader is None:
            raise RuntimeError(f"{self.name} takes no commands")
        async with self._one_at_a_time, asyncio.timeout(seconds):
            writer.write(json.dumps(command).encode() + b"\n")
            line = await reader.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended:\n{self.last_words()}")
        answer: Answer = json.loads(line)
        return answer

    async def listens(self, port: int) -> None:
        """Until somebody answers at this port of this machine."""
        async with asyncio.timeout(_READY_SECONDS):
            while True:
                if self._process.returncode is not None:
                    raise RuntimeError(f"{self.name} ended:\n{self.last_words()}")
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return

    async def stop(self) -> None:
        """Ask it to end; kill it when it does not."""
        if self._process.returncode is None:
            if self._process.stdin is not None:
                self._process.stdin.close()
            else:
                self._process.terminate()
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    def last_words(self, lines: int = 15) -> str:
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-lines:])


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has at this moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def server(
    folder: Path, name: str, arguments: list[str], port: int | None, env: dict[str, str]
) -> AsyncIterator[Child]:
    """`python …arguments` until the block ends; it has answered at `port`, if one is given."""
    async with _child(folder, name, arguments, env, commands=False) as child:
        if port is not None:
            await child.listens(port)
        yield child


@contextlib.asynccontextmanager
async def helper(folder: Path, module: str, *arguments: str, env: dict[str, str] | None = None) -> AsyncIterator[Child]:
    """`python -m module …arguments`, which takes commands; it is ready."""
    async with _child(folder, module, ["-m", module, *arguments], env or {}, commands=True) as child:
        await child.ask({"do": "hello"}, _READY_SECONDS)
        yield child


@contextlib.asynccontextmanager
async def _child(
    folder: Path, name: str, arguments: list[str], env: dict[str, str], *, commands: bool
) -> AsyncIterator[Child]:
    pipe = asyncio.subprocess.PIPE if commands else asyncio.subprocess.DEVNULL
    log = folder / f"{name.rpartition('.')[2]}-{free_port()}.log"
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("KASSA_", "PG"))}
    with log.open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            cwd=folder,
            env={**kept, "PYTHONPATH": str(ROOT), **env},
            stdin=pipe,
            stdout=pipe,
            stderr=said,
            limit=_LINE,
            start_new_session=True,
        )
    child = Child(name, process, log)
    try:
        yield child
    finally:
        await child.stop()


def serve(handler: Handler) -> None:
    """A helper's whole life: commands from its input, answers to its output, until the input ends."""
    uvloop.run(serving(handler))


async def serving(handler: Handler) -> None:
    """The same inside a running loop."""
    reader = asyncio.StreamReader(limit=_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        command: Command = json.loads(line)
        answer = {} if command["do"] == "hello" else await handler(command)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
