"""Polls of sources: one job each, a cursor that moves only with a whole listing, and whatever dies in between."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import Conflict, NotFound
from app.domain.event import EventType
from app.infra.failpoints import FailpointHit, Failpoints
from app.ports.source import Alarm, PollFailed
from app.queue.jobs import Job, JobKind
from app.services.source_polls import SourcePolls, listed_from
from tests.support import rows
from tests.support.adapters.memory_crm import Listing
from tests.support.sources import Town, open_town
from tests.support.world import payment

JOBS = "SELECT count(*) FROM jobs WHERE kind = 9 AND ref = :source"
TOKEN = "SELECT lease_token FROM jobs WHERE ref = :source"


@pytest.fixture
async def town(database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(database_url, tmp_path) as found:
        yield found


async def claimed(town: Town, attempt: int = 1) -> Job:
    """The source's job as a worker leases it."""
    (row,) = await town.query(
        "UPDATE jobs SET lease_token = kassa_uuid7(), lease_until = kassa_now() + interval '30 seconds', "
        "attempt = :attempt WHERE ref = :source RETURNING id, lease_token, lease_until, lane",
        source=town.source_id,
        attempt=attempt,
    )
    return Job(row[0], JobKind.POLL_SOURCE, row[3], None, town.source_id, attempt, row[1], row[2])


async def poll(town: Town, attempt: int = 1) -> None:
    await town.world.runtime.services.source_polls.run(await claimed(town, attempt))


async def waits_seconds(town: Town) -> float:
    return float(
        await town.scalar("SELECT extract(epoch FROM run_at - kassa_now()) FROM jobs WHERE ref = :s", s=town.source_id)
    )


def sale(name: str, amount: int = 100_00, **changes: Any) -> Any:
    return payment(name, amount, **changes)


async def test_a_worker_polls_by_itself_and_receipts_come_of_it(town: Town) -> None:
    town.crm.listing = Listing([sale("p-1"), sale("p-2")])
    async with town.world.working():
        await town.until("SELECT count(*) FROM receipts WHERE status = 'fiscalized'", 2)
    row = await town.row()
    assert (row.polled_to, row.poll_failure) == (row.polled_to, None)
    assert row.polled_to is not None
    assert row.last_heard_at is not None
    assert await town.scalar("SELECT DISTINCT actor FROM timeline WHERE what = 'planned' AND receipt_id IS NULL") == (
        "poll"
    )
    assert await town.scalar(JOBS, source=town.source_id) == 1
    assert 3500 < await waits_seconds(town) <= 3600


async def test_it_is_asked_with_overlap_and_never_from_before_it_was_connected(town: Town) -> None:
    made = (await town.row()).created_at
    await poll(town)
    await poll(town)
    assert town.crm.asked_since == [made, made]
    await rows.move_time(town.world.runtime.database, 7200)
    await poll(town)
    row = await town.row()
    await rows.move_time(town.world.runtime.database, 14_400)
    await poll(town)
    assert row.polled_to is not None
    assert town.crm.asked_since[-1] == row.polled_to - timedelta(seconds=600)
    start = datetime.now(UTC) + timedelta(days=1)
    await town.change(starts_at=start)
    assert listed_from(await town.row(), 600) == start


async def test_what_the_overlap_repeats_is_one_event(town: Town) -> None:
    town.crm.listing = Listing([sale("p-1")])
    for _ in range(3):
        await poll(town)
    assert await town.scalar("SELECT count(*) FROM events") == 1
    assert await town.scalar("SELECT count(*) FROM alarms") == 0


async def test_a_listing_that_breaks_off_keeps_what_came_and_moves_no_cursor(town: Town) -> None:
    town.crm.listing = Listing([sale("p-1")], PollFailed("502 from the CRM for anna@example.org"))
    await poll(town, attempt=3)
    row = await town.row()
    assert (row.polled_to, row.polled_at) == (None, None)
    assert row.poll_failing_since is not None
    assert row.poll_failure is not None
    assert "502 from the CRM" in row.poll_failure
    assert "anna@" not in row.poll_failure
    assert await town.scalar("SELECT count(*) FROM events") == 1
    assert await waits_seconds(town) < 1
    assert await town.scalar("SELECT attempt FROM jobs WHERE ref = :s", s=town.source_id) == 3
    town.crm.listing = Listing([sale("p-1"), sale("p-2")])
    await poll(town)
    row = await town.row()
    assert row.polled_to is not None
    assert (row.poll_failing_since, row.poll_failure) == (None, None)
    assert await town.scalar("SELECT count(*) FROM events") == 2


async def test_a_bug_of_the_adapter_is_a_visible_failure(town: Town) -> None:
    town.crm.listing = Listing([], ZeroDivisionError())
    await poll(town)
    assert (await town.row()).poll_failure == "the adapter failed: ZeroDivisionError"


@pytest.mark.parametrize("point", ["poll.after_event", "poll.before_cursor"])
async def test_a_death_in_between_moves_no_cursor_and_loses_nothing(town: Town, point: str) -> None:
    town.crm.listing = Listing([sale("p-1"), sale("p-2")])
    runtime = town.world.runtime
    dies = SourcePolls(
        database=runtime.database,
        contexts=runtime.contexts,
        intake=runtime.services.intake,
        metrics=runtime.metrics,
        failpoints=Failpoints.parse(f"{point}=raise*1"),
        lease_seconds=30,
        retry_base_seconds=0.05,
        retry_cap_seconds=0.3,
    )
    job = await claimed(town)
    if point == "poll.before_cursor":
        with pytest.raises(FailpointHit):
            await dies.run(job)
        assert await town.scalar(TOKEN, source=town.source_id) == job.lease_token
    else:
        await dies.run(job)
    assert (await town.row()).polled_to is None
    # The lease ends, another worker takes it.
    await town.query("UPDATE jobs SET lease_token = NULL, lease_until = NULL WHERE ref = :s RETURNING 1",
                     s=town.source_id)  # fmt: skip
    await poll(town)
    assert (await town.row()).polled_to is not None
    assert await town.scalar("SELECT count(*) FROM events") == 2
    assert await town.scalar("SELECT count(*) FROM receipts") == 2


async def test_a_worker_that_lost_its_lease_moves_nothing(town: Town) -> None:
    job = await claimed(town)
    await claimed(town)
    await town.world.runtime.services.source_polls.run(job)
    assert (await town.row()).polled_to is None


async def test_a_long_listing_keeps_its_lease_and_stops_when_it_is_gone(town: Town) -> None:
    runtime = town.world.runtime
    patient = SourcePolls(
        database=runtime.database,
        contexts=runtime.contexts,
        intake=runtime.services.intake,
        metrics=runtime.metrics,
        failpoints=Failpoints.parse(""),
        lease_seconds=0.000001,
        retry_base_seconds=0.05,
        retry_cap_seconds=0.3,
    )
    town.crm.listing = Listing([sale("p-1"), sale("p-2")])
    job = await claimed(town)
    await claimed(town)
    await patient.run(job)
    assert await town.scalar("SELECT count(*) FROM events") == 0
    assert (await town.row()).polled_to is None


async def test_switched_off_it_is_asked_no_more_and_switched_on_again(town: Town) -> None:
    await town.change(status="off")
    assert await town.scalar(JOBS, source=town.source_id) == 0
    with pytest.raises(Conflict):
        await town.world.runtime.services.source_polls.now(town.world.merchant_id, town.source_id)
    await town.change(status="active")
    assert await town.scalar(JOBS, source=town.source_id) == 1


async def test_a_job_of_a_source_that_is_off_ends_by_itself(town: Town) -> None:
    job = await claimed(town)
    await town.query("UPDATE sources SET status = 'off' WHERE id = :s RETURNING 1", s=town.source_id)
    await town.world.runtime.services.source_polls.run(job)
    assert await town.scalar(JOBS, source=town.source_id) == 0
    assert town.crm.asked_since == []


async def test_a_lost_job_is_made_again_by_the_sweep(town: Town) -> None:
    await town.query("DELETE FROM jobs WHERE ref = :s RETURNING 1", s=town.source_id)
    polls = town.world.runtime.services.source_polls
    await polls.keep()
    await polls.keep()
    assert await town.scalar(JOBS, source=town.source_id) == 1


async def test_now_means_now_also_while_it_is_being_asked(town: Town) -> None:
    now = town.world.runtime.services.source_polls.now
    await poll(town)
    assert await waits_seconds(town) > 3000
    await now(town.world.merchant_id, town.source_id)
    assert await waits_seconds(town) <= 0
    job = await claimed(town)
    await now(town.world.merchant_id, town.source_id)
    await town.world.runtime.services.source_polls.run(job)
    assert await waits_seconds(town) <= 0
    await poll(town)
    assert await waits_seconds(town) > 3000


async def test_only_its_own_merchant_asks_a_source_that_can_be_listed(town: Town) -> None:
    world = town.world
    other = await world.runtime.services.merchants.create("test", name="Чужая", inn="7707083893")
    with pytest.raises(NotFound):
        await world.runtime.services.source_polls.now(other.id, town.source_id)
    with pytest.raises(Conflict):
        await world.runtime.services.source_polls.now(world.merchant_id, world.source_id)


async def test_a_changed_amount_and_an_alarm_of_the_source_are_told_once(town: Town) -> None:
    await town.world.runtime.services.endpoints.create(
        "test", town.world.merchant_id, url="http://127.0.0.1:9/hook", types=["event.*"], description=None
    )
    town.crm.listing = Listing([sale("p-1", 100_00)])
    await poll(town)
    gone = Alarm(EventType.PAYMENT_SUCCEEDED, "p-1", "deleted", "Deleted by b@example.org", "Удалён")
    unheard = Alarm(EventType.REFUND_SUCCEEDED, "r-9", "edited", "Edited", "Изменён")
    town.crm.listing = Listing([sale("p-1", 90_00), gone, unheard])
    for _ in range(2):
        await poll(town)
    told = await town.query("SELECT code, reason, event_id FROM alarms ORDER BY code")
    event_id = await town.event_of("p-1")
    assert [(row.code, row.event_id) for row in told] == [
        ("amount_changed", event_id),
        ("deleted", event_id),
        ("edited", None),
    ]
    assert "100.00" in told[0].reason
    assert "b@example.org" not in told[1].reason
    messages = await town.query(
        "SELECT convert_from(body, 'UTF8')::jsonb AS body FROM messages WHERE type = 'event.alarm'"
    )
    assert len(messages) == 3
    assert {row.body["data"]["alarm"]["code"] for row in messages} == {"amount_changed", "deleted", "edited"}
    first = next(row.body["data"] for row in messages if row.body["data"]["alarm"]["code"] == "amount_changed")
    assert first["event"]["amount"] == 100_00
    assert [one["status"] for one in first["receipts"]] == ["queued"]
    assert await town.scalar("SELECT count(*) FROM jobs WHERE kind = 6") == 3
    assert [what for what, _ in await town.history(event_id)].count("alarm") == 2
    (receipt,) = await town.world.receipts(event_id)
    assert (receipt.total, receipt.sequence) == (100_00, 0)
