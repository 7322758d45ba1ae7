"""Two clusters, the second a synchronous copy of the first: the first is killed under load, the second promoted, and
the program goes on by itself through a URL that names both. What was acknowledged is there."""

import asyncio
import itertools
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from app.db import installation, migrate
from app.infra.postgres import EmbeddedPostgres
from tests.support import rows
from tests.support.replication import configure, follow, place, promote
from tests.support.world import World, open_world

ROUNDS = int(os.environ.get("KASSA_TEST_FAILOVERS", "2"))
"""How often the primary dies; ten in a long run."""

_SETTINGS = {"synchronous_commit": "remote_apply"}
_ALL = "SELECT id FROM events"


@dataclass
class Till:
    """Sources that report payments without a pause, and what they were told."""

    world: World
    acknowledged: dict[int, UUID] = field(default_factory=dict)
    at: list[float] = field(default_factory=list)
    amounts: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1_000))

    @asynccontextmanager
    async def pressing(self, sources: int = 6) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._press()) for _ in range(sources)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _press(self) -> None:
        while True:
            await self.press()
            await asyncio.sleep(0.01)

    async def press(self) -> None:
        """One payment, known at the register by its amount."""
        amount = next(self.amounts)
        self.acknowledged[amount] = await self.world.press(f"p-{amount}", amount)
        self.at.append(time.monotonic())

    async def more(self, number: int) -> None:
        """Until so many more were acknowledged."""
        wanted = len(self.at) + number

        async def enough() -> bool:
            return len(self.at) >= wanted

        await self.world.until(enough, seconds=30)

    @property
    def longest_gap(self) -> float:
        return max(after - before for before, after in itertools.pairwise(self.at))


async def test_nothing_acknowledged_is_lost_when_the_primary_dies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    primary, standby = (EmbeddedPostgres(tmp_path / name, settings=_SETTINGS) for name in ("a", "b"))
    try:
        await primary.start()
        await migrate.upgrade(primary.url)
        await follow(primary, standby)
        url = f"postgresql://kassa@/crm_kassa?host={place(primary)},{place(standby)}"
        async with open_world(url, tmp_path / "world", lease_seconds=2.0, freshness_seconds=2.0) as world:
            till = Till(world)
            gaps: list[float] = []
            await installation.recognise(world.runtime.database)
            async with world.working(2):
                for number in range(ROUNDS):
                    if number:
                        await follow(primary, standby)
                    async with till.pressing():
                        await till.more(50)
                        await primary.kill()
                        await promote(standby)
                        await till.more(50)
                        gaps.append(till.longest_gap)
                    till.at.clear()
                    primary, standby = standby, primary
                    await _nothing_lost(till, primary)
                # A worker that starts now looks first sends up: another standby might not have had everything.
                assert (await installation.recognise(world.runtime.database)).opened_at is not None
                await _a_missing_standby_stops_every_commit(till, primary)
                # The leases of what was under way when the server died end now.
                await rows.move_time(world.runtime.database, 600)
                for event in till.acknowledged.values():
                    await world.status(event, "fiscalized", seconds=60)
                await world.idle()
            printed = Counter(document["total"] for document in await world.tape())
    finally:
        for server in (primary, standby):
            await server.stop()
    assert len(till.acknowledged) >= 100 * ROUNDS
    # A payment that was stored when its source heard 503 has its receipt, too.
    assert set(till.acknowledged) <= set(printed)
    assert set(printed.values()) == {1}, "nothing was printed twice"
    with capsys.disabled():
        print(f"\n  {ROUNDS} failovers, {len(till.acknowledged)} acknowledged, 0 lost, longest gap {max(gaps):.2f} s")
    assert max(gaps) < 10


async def _nothing_lost(till: Till, primary: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(primary.url)
    try:
        there = {row["id"] for row in await connection.fetch(_ALL)}
        assert set(till.acknowledged.values()) <= there
        # Set after the copy was made, so that the copy does not wait for a standby which it does not have.
        assert await connection.fetchval("SHOW synchronous_standby_names") == ""
        assert not await connection.fetchval("SELECT pg_is_in_recovery()")
    finally:
        await connection.close()


async def _a_missing_standby_stops_every_commit(till: Till, primary: EmbeddedPostgres) -> None:
    """The other half of the runbook: what looks like a dead intake, and how it is let go on."""
    await configure(primary.url, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    waiting = asyncio.create_task(till.press())
    connection = await asyncpg.connect(primary.url)
    try:
        stuck = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')"

        async def hangs() -> bool:
            # The server takes the setting a moment after it is told: a payment pressed before that still goes through.
            nonlocal waiting
            if waiting.done():
                waiting = asyncio.create_task(till.press())
                return False
            return bool(await connection.fetchval(stuck))

        await till.world.until(hangs)
        assert not waiting.done()
    finally:
        await connection.close()
    await configure(primary.url, "ALTER SYSTEM RESET synchronous_standby_names")
    await asyncio.wait_for(waiting, 10)
