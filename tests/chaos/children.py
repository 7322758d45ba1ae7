"""The processes of a run: started, killed, frozen and started again by the harness, and by nobody else."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp

from app.db.trouble import Refusal, busy

ROOT = Path(__file__).parents[2]

AWAY = (Refusal.AWAY, Refusal.STARTING)
"""What a process may be refused while the harness keeps the database down."""
_FOUND_NO_DATABASE = re.compile(
    rf"^Error: .*(?:does not answer|No such file|{'|'.join(re.escape(busy(one).detail) for one in AWAY)})",
    re.MULTILINE,
)
_LAST_LINES = 12


def free_port() -> int:
    """A port that is free now; a child that is restarted keeps it."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Nursery:
    """The process that forks all others; see `tests.chaos.nursery`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._births: deque[asyncio.Future[tuple[int, asyncio.Future[int]]]] = deque()
        self._deaths: dict[int, asyncio.Future[int]] = {}
        self._listener: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self.cpu: dict[int, float] = {}

    async def start(self) -> None:
        with (self._folder / "nursery.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.chaos.nursery",
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "KASSA_TESTING": "1"},
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._listener = asyncio.create_task(self._listen())
        async with asyncio.timeout(60):
            await self._ready.wait()

    async def bear(
        self, arguments: Sequence[str], env: Mapping[str, str], log: Path
    ) -> tuple[int, asyncio.Future[int]]:
        """A child's process id, and its exit code when it has one."""
        assert self._process is not None
        assert self._process.stdin is not None
        birth: asyncio.Future[tuple[int, asyncio.Future[int]]] = asyncio.get_running_loop().create_future()
        self._births.append(birth)
        order = {"arguments": list(arguments), "env": dict(env), "log": str(log)}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        await self._process.stdin.drain()
        return await birth

    async def stop(self) -> None:
        """Ends the children that are left, by force."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        if self._listener is not None:
            await self._listener

    async def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            told = json.loads(line)
            if "ready" in told:
                self._ready.set()
            elif "born" in told:
                # Both at once: a child may be dead before whoever ordered it hears of its birth.
                death = self._deaths[told["born"]] = asyncio.get_running_loop().create_future()
                self._births.popleft().set_result((told["born"], death))
            else:
                self.cpu[told["dead"]] = told["cpu"]
                self._deaths.pop(told["dead"]).set_result(told["code"])


class Child:
    """One process of the program under its name, whichever incarnation; its output goes to one file."""

    def __init__(
        self, nursery: Nursery, name: str, arguments: Sequence[str], env: Mapping[str, str], folder: Path
    ) -> None:
        self.name = name
        self.kills = 0
        self.ended_by_itself = 0
        self.pid = 0
        self._pids: list[int] = []
        self._nursery = nursery
        self._arguments = list(arguments)
        self._env = dict(env)
        self.log = folder / f"{name}.log"
        self._death: asyncio.Future[int] | None = None

    @property
    def running(self) -> bool:
        return self._death is not None and not self._death.done()

    async def start(self, **more: str) -> None:
        if self.pid:
            self._pids.append(self.pid)
        self.pid, self._death = await self._nursery.bear(self._arguments, {**self._env, **more}, self.log)

    @property
    def cpu(self) -> float:
        """Seconds of all incarnations that have ended."""
        return sum(self._nursery.cpu.get(pid, 0.0) for pid in (*self._pids, self.pid))

    async def kill(self) -> None:
        """As a power cut would."""
        assert self._death is not None
        try:
            if not self.running:
                raise ProcessLookupError
            os.kill(self.pid, signal.SIGKILL)
            self.kills += 1
        except ProcessLookupError:
            self.ended_by_itself += 1
        await self._death

    async def ended(self) -> int:
        """Wait for its own end; its exit code."""
        assert self._death is not None
        return await self._death

    async def end(self, patience: float = 10.0) -> None:
        """SIGTERM, then by force."""
        if self._death is None or not self.running:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        done, _ = await asyncio.wait({self._death}, timeout=patience)
        if not done:
            os.kill(self.pid, signal.SIGKILL)
            await self._death

    def found_no_database(self) -> int:
        """How often it was started while the database was away: it says so and ends, and is started again."""
        return len(_FOUND_NO_DATABASE.findall(self._told()))

    def last_words(self) -> str:
        return "\n".join(self._told().splitlines()[-_LAST_LINES:])

    def _told(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def freeze(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    @property
    def frozen(self) -> bool:
        """Whether the kernel holds it (SIGSTOP)."""
        if not self.running:
            return False
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        except (FileNotFoundError, ProcessLookupError):  # dead, and its nursery has not told us yet
            return False


class Beside:
    """A Python module as a process that nothing kills: the register."""

    def __init__(self, module: str, argument: str, log: Path) -> None:
        self._command = (sys.executable, "-m", module, argument)
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,  # ends with us
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()


async def answering(url: str, seconds: float = 60.0) -> float:
    """Wait until this address answers 200; returns how long that took."""
    began = time.monotonic()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        while time.monotonic() - began < seconds:
            try:
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return time.monotonic() - began
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            await asyncio.sleep(0.05)
    raise RuntimeError(f"{url} did not answer within {seconds:g} s; its log says why")
