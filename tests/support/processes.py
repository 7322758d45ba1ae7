"""The program's own processes, started and ended by tests: only what was started here is ever signalled."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.world import World


class Process:
    """A child of this test."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child
        self.pid = child.pid

    def kill(self) -> None:
        """As a power cut would."""
        if self._child.returncode is None:
            self._child.kill()

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def wait(self) -> int:
        return await self._child.wait()

    @property
    def ended(self) -> bool:
        return self._child.returncode is not None

    @property
    def stopped(self) -> bool:
        """Whether the kernel holds it (SIGSTOP)."""
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"


@asynccontextmanager
async def worker(world: World, **settings: Any) -> AsyncIterator[Process]:
    """`crm-kassa worker` against the world's database, with its keys; killed at the end if it still runs."""
    own = world.runtime.settings
    values: dict[str, Any] = {
        "database_url": world.runtime.database.dsn.asyncpg_dsn,
        "secret_keys": own.secret_keys.get_secret_value() if own.secret_keys else "",
        "search_key": own.search_key.get_secret_value() if own.search_key else "",
        "key_pepper": own.key_pepper.get_secret_value() if own.key_pepper else "",
        "egress_allow": own.egress_allow,
        "worker_poll_seconds": 0.05,
        "rescue_every_seconds": 0.2,
        "sweep_every_seconds": 0.5,
        "retry_base_seconds": 0.05,
        "retry_cap_seconds": 0.3,
        "probe_base_seconds": 0.1,
        "probe_cap_seconds": 0.3,
        "visibility_seconds": 0.2,
        "freshness_seconds": 0.5,
        "testing": True,
        **settings,
    }
    env = {f"KASSA_{name.upper()}": str(value) for name, value in values.items()}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", "worker", env={"PATH": os.environ["PATH"], **env}, start_new_session=True
    )
    process = Process(child)
    try:
        yield process
    finally:
        if not process.ended:
            process.kill()
        await process.wait()
