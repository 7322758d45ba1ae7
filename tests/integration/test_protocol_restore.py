"""The rules about a restored database (9) and about time (10), each by its number."""

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.db import installation
from app.domain.errors import Conflict
from app.domain.lifecycle import TRANSITIONS, FollowUp, Happening, Status
from app.queue import work
from app.queue.mark import mark
from tests.integration.test_protocol_people import mark_of
from tests.integration.test_queue import take
from tests.support import rows
from tests.support.rules import DAY, TWICE, answers, outcomes, provider, quiet, step
from tests.support.world import World, new_kassa, open_world

SLOW: dict[str, Any] = {"retry_base_seconds": 1_000.0, "retry_cap_seconds": 2_000.0}


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path, simulator=TWICE, **SLOW) as found:
        yield found


class TestRule9AfterARestore:
    async def test_a_running_worker_asks_first_from_the_moment_it_is_said(self, world: World) -> None:
        database = world.runtime.database
        async with world.working():
            await world.status(await world.pay(), "fiscalized")
            await installation.restored(database, "a test")
            event = await world.pay()
            await world.until(lambda: _first_asked(world, event))
            row = await world.receipt(event)
            assert (row.status, row.marks) == ("queued", 0), "what was sent just before may not be visible yet"
            await step(world, 120)
            row = await world.status(event, "fiscalized")
            assert (await outcomes(world, row.id))[0] == "lookup not_found"
            await installation.close_epoch(database)
            row = await world.status(await world.pay(), "fiscalized")
            assert await outcomes(world, row.id) == ["submit fiscalized"], "and goes straight when it is closed"

    async def test_what_was_judged_in_another_epoch_is_not_marked(self, world: World) -> None:
        event = await world.pay()
        row = await world.receipt(event)
        state = await installation.recognise(world.runtime.database)
        (job,) = (await take(world.runtime.database)).jobs
        opened = await installation.restored(world.runtime.database, "a test")
        async with world.runtime.database.raw() as connection:
            assert await mark(connection, [mark_of(job, row, state)]) == [None]
            assert await mark(connection, [mark_of(job, row, opened)]) != [None]

    async def test_what_is_found_is_adopted(self, world: World) -> None:
        """The provider has it; this database has forgotten sending it."""
        first = await world.pay("p-1")
        async with world.working():
            row = await world.status(first, "fiscalized")
            await world.idle()
            await _forget(world, row.id)
            await installation.restored(world.runtime.database, "a test")
            async with world.runtime.database.pipeline() as tx:
                await work.enqueue(tx, work.JobKind.FISCALIZE, world.kassa_id, row.id)
            await world.until(lambda: _first_asked(world, first))
            await step(world)
            again = await world.status(first, "fiscalized")
        assert (again.fd, again.marks) == (row.fd, 0)
        assert len(await world.tape()) == 1

    @pytest.mark.parametrize(
        ("dedup", "lookup", "age", "sent"),
        [
            (0, DAY, 3_600.0, True),
            (0, DAY, DAY + 3_600, False),
            (0, DAY, None, False),
            (DAY, 0, 3_600.0, True),
            (DAY, 0, DAY + 3_600, False),
            (DAY, 0, None, False),
            (None, 0, None, True),
            (0, None, None, True),
            (0, 0, 1.0, False),
        ],
    )
    async def test_the_windows_run_from_the_oldest_forgotten_moment(
        self,
        world: World,
        monkeypatch: pytest.MonkeyPatch,
        dedup: float | None,
        lookup: float | None,
        age: float | None,
        sent: bool,
    ) -> None:
        """A backup older than what the provider still answers for: a person decides."""
        provider(monkeypatch, dedup, lookup)
        asked: list[Any] = []
        answers(monkeypatch, "lookup", lambda found: asked.append(found) or found)
        now = await world.runtime.database.now()
        since = None if age is None else now - timedelta(seconds=age)
        await installation.restored(world.runtime.database, "a test", since)
        await rows.move_time(world.runtime.database, 120)
        event = await world.pay()
        async with world.working():
            await quiet(world)
            await step(world, 240)
            row = await world.receipt(event)
        assert row.status == ("fiscalized" if sent else "needs_attention")
        assert len(await world.tape()) == sent
        assert len(asked) == (2 if sent and dedup == 0 else 0), "twice, where ids do not deduplicate"

    async def test_a_restore_that_is_noticed_knows_how_old_the_backup_is(self, world: World) -> None:
        database = world.runtime.database
        await installation.recognise(database)
        await world.pay()
        before = await database.now()
        await rows.move_time(database, 9 * DAY)
        async with database.pipeline() as tx:
            await tx.execute(text("UPDATE installation SET system_identifier = 'another'"))
        state = await installation.recognise(database)
        assert state.opened_at is not None
        assert state.forgotten_from is not None
        assert state.forgotten_from <= before
        again = await installation.restored(database, "once more", before + timedelta(days=1))
        assert again.forgotten_from == state.forgotten_from, "the older moment counts"


class TestRule10NoTimerDecides:
    async def test_an_unknown_receipt_stays_itself_for_ever(self, world: World) -> None:
        """Nine days without an answer, a second kassa beside it: the same receipt, sent once, waits for a person."""
        await world.fault("drop_after")
        await world.fault("error_before", times=None, match={"action": "lookup"}, params={"status": 502})
        event = await world.pay()
        await world.runtime.services.kassas.create(
            "test", world.merchant_id, new_kassa(world.simulator_url, name="Second")
        )
        async with world.working() as (worker,):
            before = await world.status(event, "unknown")
            for day in range(1, 10):
                await rows.move_time(world.runtime.database, day * DAY)
                with suppress(Conflict):  # it may be with a person already
                    await world.runtime.services.actions.retry(world.principal, world.merchant_id, before.id)
                await worker.maintenance.rescue()
                await worker.maintenance.sweep()
                await rows.due_now(world.runtime.database)
            row = await world.status(event, "needs_attention")
            await worker.maintenance.sweep()
        same = ("version", "kassa_id", "provider_id", "correction", "operation", "marks", "document")
        assert [getattr(row, name) for name in same] == [getattr(before, name) for name in same]
        assert await rows.scalar(world.runtime.database, "SELECT count(*) FROM receipts") == 1
        assert len(await world.tape()) == 1

    def test_the_table_knows_no_other_way(self) -> None:
        """From where a send may have arrived, only a proof, a repeat of the same id or a person leads to a send."""
        sends = {
            (state, what)
            for (state, what), step in TRANSITIONS.items()
            if step.follow_up is FollowUp.FISCALIZE and state in (Status.UNKNOWN, Status.NEEDS_ATTENTION)
        }
        assert sends == {
            (Status.UNKNOWN, Happening.NOT_FOUND),
            (Status.UNKNOWN, Happening.RESEND_DEDUPLICATED),
            (Status.UNKNOWN, Happening.RESOLVED_SEND_AGAIN),
            (Status.NEEDS_ATTENTION, Happening.RESOLVED_SEND_AGAIN),
        }
        assert [state for state, what in TRANSITIONS if what is Happening.CORRECTED] == [Status.REJECTED]


async def _first_asked(world: World, event: UUID) -> bool:
    asked = "SELECT count(*) FROM attempts WHERE receipt_id = :r AND kind = 'lookup'"
    return await rows.scalar(world.runtime.database, asked, r=(await world.receipt(event)).id) != 0


async def _forget(world: World, receipt_id: UUID) -> None:
    """As the backup has it: planned, and not sent yet."""
    async with world.runtime.database.pipeline() as tx:
        await tx.execute(text("DELETE FROM attempts WHERE receipt_id = :r"), {"r": receipt_id})
        await tx.execute(
            text(
                "UPDATE receipts SET status = 'queued', marks = 0, first_marked_at = NULL, fn = NULL, fd = NULL,"
                " fpd = NULL, fiscal = NULL WHERE id = :r"
            ),
            {"r": receipt_id},
        )
