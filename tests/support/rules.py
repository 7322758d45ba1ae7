"""What the tests of the protocol share: a provider of any class, an answer that is held back, one step at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text

from app.kassas.digitalkassa import CAPABILITIES, DigitalkassaDriver
from tests.support import rows
from tests.support.world import World

TWICE = {"digitalkassa": {"dedup": False}}
"""A register that prints whatever comes: it hides none of our mistakes."""

DAY = 86_400.0


def provider(monkeypatch: pytest.MonkeyPatch, dedup: float | None, lookup: float | None, **other: Any) -> None:
    """digitalkassa with other promises: seconds of its windows, 0 = not at all, None = without limit."""
    can = replace(CAPABILITIES, dedup_seconds=dedup, lookup_seconds=lookup, **other)
    monkeypatch.setattr(DigitalkassaDriver, "capabilities", can)


@dataclass
class Gate:
    """Answers of the provider that have come and are not given to the worker yet."""

    opened: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)


def hold(monkeypatch: pytest.MonkeyPatch, call: str, change: Callable[[Any], Any] = lambda outcome: outcome) -> Gate:
    """Hold back the first answer to `submit`, `lookup` or `poll`, and change it on its way if wanted."""
    gate, real = Gate(), getattr(DigitalkassaDriver, call)

    @wraps(real)
    async def held(self: Any, *arguments: Any) -> Any:
        outcome = await real(self, *arguments)
        if gate.reached.is_set():
            return outcome
        gate.reached.set()
        await gate.opened.wait()
        return change(outcome)

    monkeypatch.setattr(DigitalkassaDriver, call, held)
    return gate


def answers(monkeypatch: pytest.MonkeyPatch, call: str, change: Callable[[Any], Any]) -> None:
    """Change every answer to `submit`, `lookup` or `poll`."""
    real = getattr(DigitalkassaDriver, call)

    @wraps(real)
    async def changed(self: Any, *arguments: Any) -> Any:
        return change(await real(self, *arguments))

    monkeypatch.setattr(DigitalkassaDriver, call, changed)


async def quiet(world: World) -> None:
    """Until nothing is being done and nothing is due."""
    due = "SELECT count(*) FROM jobs WHERE lease_token IS NOT NULL OR run_at <= kassa_now()"

    async def nothing() -> bool:
        return await rows.scalar(world.runtime.database, due) == 0

    await world.until(nothing)


async def step(world: World, clock: float | None = None) -> None:
    """What waits is tried once now; `clock` moves the database's time first."""
    if clock is not None:
        await rows.move_time(world.runtime.database, clock)
    await rows.due_now(world.runtime.database)
    await quiet(world)


async def outcomes(world: World, receipt_id: UUID) -> list[str]:
    """Kind and outcome of every exchange about a receipt, oldest first."""
    async with world.runtime.database.pipeline() as tx:
        found = await tx.execute(
            text("SELECT kind || ' ' || coalesce(outcome, '-') FROM attempts WHERE receipt_id = :r ORDER BY marked_at"),
            {"r": receipt_id},
        )
        return list(found.scalars())


async def waits_for_a_lock(world: World, sessions: int = 1) -> None:
    """Until so many sessions of this database wait for somebody's lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    # As the login role: the pipeline's does not see what other sessions wait for.
    connection = await asyncpg.connect(world.runtime.database.dsn.asyncpg_dsn)
    try:

        async def there() -> bool:
            return bool(await connection.fetchval(waiting) >= sessions)

        await world.until(there)
    finally:
        await connection.close()


@asynccontextmanager
async def lease_lost(world: World, gate: Gate, event: UUID, seconds: float = 600.0) -> AsyncIterator[None]:
    """Within a working world: a submit whose answer is held for longer than its lease; afterwards it is let go."""
    await gate.reached.wait()
    await rows.move_time(world.runtime.database, seconds)
    await world.status(event, "unknown", "needs_attention", "queued", "accepted", "fiscalized")
    yield
    gate.opened.set()
