"""What a protocol front is given of the world outside: the tape, the faults, a client, the clock."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol

import httpx
from fastapi import APIRouter

from app.infra.egress import EgressPolicy
from app.infra.http import open_http
from app.simulator.faults import Faults
from app.simulator.tape import Tape


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """`settings` is read by the protocols, each under its own code. Without `tape_path` the tape lives in memory."""

    tape_path: Path | None = None
    fsync: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


class Simulator:
    """What a protocol front is given: the tape, the faults, settings, a client for outgoing calls, the clock."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.tape = Tape(config.tape_path, fsync=config.fsync, now=config.now)
        self.faults = Faults()
        self.settings: dict[str, Any] = dict(config.settings)
        self.now = config.now
        self._http: httpx.AsyncClient | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def http(self) -> httpx.AsyncClient:
        """Client for calls to the gateway (callbacks, notifications); open while the server runs."""
        if self._http is None:
            raise RuntimeError("the simulator's HTTP client is open only while its server runs")
        return self._http

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run beside the answer (a callback, a delayed print); cancelled when the server stops."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the client; at the end stop what was spawned, then close the tape."""
        async with open_http(_ANYWHERE) as clients, clients.client(deadline=5) as client:
            self._http = client
            try:
                yield
            finally:
                self._http = None
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)
                self.tape.close()


_ANYWHERE = EgressPolicy.parse("0.0.0.0/0,::/0")
"""The simulator calls whoever its user names: it stands on a developer's machine."""


class ProtocolFront(Protocol):
    """One provider's or counterpart's API; a module of `protocols/` exports its class as `PROTOCOL`."""

    code: ClassVar[str]

    def router(self, simulator: Simulator) -> APIRouter:
        """Routes with their full paths, as the counterpart has them."""
        ...
