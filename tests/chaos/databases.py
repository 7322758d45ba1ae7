"""The database of a run: one cluster that is killed and started again, or two that take over from each other."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.infra.postgres import EmbeddedPostgres
from tests.support.replication import configure, follow, place, promote

_REPLICATED = {"synchronous_commit": "remote_apply", "wal_retrieve_retry_interval": "200ms"}


class Databases:
    """`url` for the program names every cluster; `primary.url` is for those who want to know which one it is.

    The second cluster exists only around a takeover: it is copied from the first under load, follows it synchronously
    (remote_apply), is promoted when the first was killed, and the first is never started again as it was.
    """

    def __init__(self, folder: Path, *, pair: bool) -> None:
        self.primary = EmbeddedPostgres(folder / "postgres", settings=_REPLICATED if pair else None)
        self._standby = EmbeddedPostgres(folder / "postgres-2", settings=_REPLICATED) if pair else None
        self.url = ""
        self.busy = False

    async def start(self, prepare: Callable[[str], Any]) -> None:
        """`prepare(url)` makes the schema; afterwards `url` is known."""
        await self.primary.start()
        await prepare(self.primary.url)
        self.url = self.primary.url
        if self._standby is not None:
            await follow(self.primary, self._standby, seconds=60)
            self.url = f"postgresql://kassa@/crm_kassa?host={place(self.primary)},{place(self._standby)}"
            await self._alone(self._standby)

    async def stop(self) -> None:
        for server in (self.primary, self._standby):
            if server is not None:
                await server.stop()

    async def restart(self) -> None:
        """As a crash of the server, which its service manager starts again."""
        self.busy = True
        await self.primary.kill()
        await self.primary.start()
        self.busy = False

    async def fail_over(self, before: Callable[[], Any], seconds: float = 3.0) -> None:
        """Copy, follow for some seconds, kill the primary, promote. `before()` is called when the primary dies."""
        assert self._standby is not None
        self.busy = True
        standby = self._standby
        await follow(self.primary, standby, seconds=60)
        await asyncio.sleep(seconds)
        before()
        await self.primary.kill()
        await promote(standby)
        self.primary, self._standby = standby, self.primary
        self.busy = False

    async def _alone(self, standby: EmbeddedPostgres) -> None:
        """Without a standby that it waits for the primary would stop at its next commit."""
        await configure(self.primary.url, "ALTER SYSTEM RESET synchronous_standby_names")
        await standby.stop()
