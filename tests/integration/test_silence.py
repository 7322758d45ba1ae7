"""A source that falls silent, or cannot be listed, is told once; so is its return."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.services.silence import Silence
from tests.support import rows
from tests.support.sources import Town, open_town

HOUR = 3600.0
TOLD = "SELECT string_agg(type, ' ' ORDER BY created_at) FROM messages WHERE type LIKE 'source.%'"
BODY = "SELECT convert_from(body, 'UTF8')::jsonb->'data' FROM messages WHERE type = :t ORDER BY created_at DESC LIMIT 1"


@pytest.fixture
async def town(database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(database_url, tmp_path) as found:
        yield found


async def look(town: Town, hours: float) -> str | None:
    await rows.move_time(town.world.runtime.database, hours * HOUR)
    await Silence(town.world.runtime.database).run()
    told: str | None = await town.scalar(TOLD)
    return told


async def test_a_silence_and_its_end_are_told_once_each(town: Town) -> None:
    await town.change(silent_after_hours=6)
    assert await look(town, 5) is None
    assert await look(town, 7) == "source.silent"
    assert await look(town, 9) == "source.silent"
    row = await town.row()
    assert row.silent_since is not None
    assert row.last_heard_at is None
    data = await town.scalar(BODY, t="source.silent")
    assert (data["source"]["id"], data["cause"]["code"]) == (f"src_{town.source_id.hex}", "silent")
    metrics, _ = await town.world.runtime.services.health.exposition()
    assert b'kassa_sources_silent{source="memory_crm"} 1.0' in metrics
    await town.call("notice")
    assert await look(town, 9.1) == "source.silent source.heard"
    assert (await town.row()).silent_since is None
    assert await look(town, 9.2) == "source.silent source.heard"
    assert await look(town, 16) == "source.silent source.heard source.silent"


async def test_nobody_is_told_unless_somebody_asked(town: Town) -> None:
    assert await look(town, 10_000) is None


async def test_what_comes_by_the_api_is_heard_too(town: Town) -> None:
    await town.change(town.world.source_id, silent_after_hours=2)
    await rows.move_time(town.world.runtime.database, 3 * HOUR)
    # Stored with the program's own clock, which follows the database's.
    await town.world.pay()
    await town.query("UPDATE events SET received_at = kassa_now() RETURNING 1")
    assert await look(town, 4) is None
    assert await look(town, 6) == "source.silent"


async def test_polls_that_fail_for_an_hour_are_a_silence(town: Town) -> None:
    await town.query(
        "UPDATE sources SET poll_failing_since = kassa_now(), poll_failure = 'no answer' WHERE id = :s RETURNING 1",
        s=town.source_id,
    )
    assert await look(town, 0.5) is None
    assert await look(town, 1.5) == "source.silent"
    data = await town.scalar(BODY, t="source.silent")
    assert (data["cause"]["code"], data["cause"]["detail"]) == ("poll_failing", "no answer")
    assert await look(town, 2) == "source.silent"
    await town.query(
        "UPDATE sources SET poll_failing_since = NULL, last_heard_at = kassa_now() WHERE id = :s RETURNING 1",
        s=town.source_id,
    )
    assert await look(town, 2.1) == "source.silent source.heard"


async def test_one_that_is_switched_off_or_not_watched_any_more_ends_without_a_word(town: Town) -> None:
    await town.change(silent_after_hours=6)
    assert await look(town, 7) == "source.silent"
    await town.change(silent_after_hours=None)
    assert await look(town, 7.1) == "source.silent"
    assert (await town.row()).silent_since is None
    await town.change(silent_after_hours=6)
    assert await look(town, 7.2) == "source.silent source.silent"
    await town.change(status="off")
    assert await look(town, 7.3) == "source.silent source.silent"
    assert (await town.row()).silent_since is None
