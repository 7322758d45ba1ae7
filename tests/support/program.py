"""The program as its users start it: a process of its own, its output read line by line."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]


def clean_environment(**more: str) -> dict[str, str]:
    """Ours without anything that would set up the program."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KASSA_", "COLUMNS"))}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


@dataclass
class Program:
    """A running command; `lines` is what it said so far, on both outputs."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)

    async def says(self, words: str, seconds: float = 60.0) -> str:
        """The first line with these words; AssertionError with everything it said when it ends without."""
        assert self.process.stdout is not None
        async with asyncio.timeout(seconds):
            while line := (await self.process.stdout.readline()).decode():
                self.lines.append(line.rstrip("\n"))
                if words in line:
                    return line
        raise AssertionError(f"it never said {words!r} but:\n" + "\n".join(self.lines))

    async def end(self, sign: signal.Signals | None = None, seconds: float = 60.0) -> int:
        """Its exit code, after a signal where one is given."""
        if sign is not None:
            self.process.send_signal(sign)
        assert self.process.stdout is not None
        async with asyncio.timeout(seconds):
            rest = (await self.process.stdout.read()).decode()
            self.lines += rest.splitlines()
            return await self.process.wait()

    @property
    def said(self) -> str:
        return "\n".join(self.lines)


@asynccontextmanager
async def program(*arguments: str, cwd: Path, **environment: str) -> AsyncIterator[Program]:
    """`crm-kassa` with these arguments; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app",
        *arguments,
        cwd=cwd,
        env=clean_environment(**environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
