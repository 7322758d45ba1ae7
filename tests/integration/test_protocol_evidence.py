"""The rules about what is found out late (5) and what is found at all (6), each by its number."""

from collections.abc import AsyncIterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.db.unit_of_work import Database
from app.domain.ffd import Operation, Taxation
from app.domain.outcome import Accepted, Fiscalized
from app.domain.receipt import Echo
from app.infra.ids import new_id
from app.queue.jobs import JobKind
from app.queue.mark import mark
from app.queue.rescue import rescue
from app.queue.settle import Verdict, settle
from tests.integration.test_queue import a_mark, a_settlement, take
from tests.support import rows
from tests.support.rules import DAY, TWICE, answers, hold, lease_lost, provider, quiet
from tests.support.world import World, open_world


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path) as found:
        yield found


class TestRule5WhatAStaleWorkerLearned:
    async def test_it_is_adopted_where_nobody_can_be_asked(
        self, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Class D: its person was called already, and its document is known after all."""
        provider(monkeypatch, 0, 0)
        gate = hold(monkeypatch, "submit")
        async with open_world(database_url, tmp_path, simulator=TWICE) as world:
            event = await world.pay()
            async with world.working(), lease_lost(world, gate, event):
                await world.status(event, "needs_attention")
                gate.opened.set()
                row = await world.status(event, "fiscalized")
            (document,) = await world.tape()
        assert row.fiscal is not None
        assert (row.fd, row.marks, row.sequence) == (document["fd"], 1, 2)
        assert row.fiscal["qr"]

    async def test_what_was_only_accepted_is_polled(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        provider(monkeypatch, 0, 0, poll_schedule_seconds=(0.1,))
        gate = hold(monkeypatch, "submit", lambda _: Accepted("their-uuid"))
        event = await world.pay()
        async with world.working(), lease_lost(world, gate, event):
            await world.status(event, "needs_attention")
            gate.opened.set()
            row = await world.status(event, "fiscalized")
        assert row.provider_reference == "their-uuid"
        assert row.marks == 1

    async def test_another_document_is_not_adopted(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        provider(monkeypatch, 0, 0)
        gate = hold(monkeypatch, "submit", lambda found: replace(found, echo=Echo(total=1)))
        event = await world.pay()
        async with world.working(), lease_lost(world, gate, event):
            await world.status(event, "needs_attention")
            gate.opened.set()
            await world.until(lambda: _cause(world, event, "mismatch"))
        row = await world.receipt(event)
        assert (row.status, row.fd) == ("needs_attention", None)

    async def test_where_the_resend_is_the_question_it_is_asked(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Class C: sending again brings what stands under the id; a late answer does not call a person."""
        provider(monkeypatch, None, 0)
        gate = hold(monkeypatch, "submit", lambda _: Accepted())
        event = await world.pay()
        await world.fault("error_before", times=None, match={"action": "submit"}, params={"status": 502})
        async with world.working():
            await world.http.delete(f"{world.simulator_url}/faults")
            async with lease_lost(world, gate, event):
                gate.opened.set()
                row = await world.status(event, "fiscalized")
        assert row.marks >= 2
        assert len(await world.tape()) == 1
        assert "needs_attention" not in {entry async for entry in _states(world, event)}

    async def test_a_second_send_that_arrived_is_suspected(
        self, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A person vouched for an absence; then the first send turns out to have been printed as well."""
        provider(monkeypatch, 0, 0)
        gate = hold(monkeypatch, "submit")
        async with open_world(database_url, tmp_path, simulator=TWICE) as world:
            event = await world.pay()
            async with world.working(), lease_lost(world, gate, event):
                row = await world.status(event, "needs_attention")
                await world.runtime.services.actions.resolve(
                    world.principal, world.merchant_id, row.id, "send_again", row.sequence, "not in the cabinet", None
                )
                await world.status(event, "fiscalized")
                gate.opened.set()
                row = await world.status(event, "needs_attention")
            assert len(await world.tape()) == 2
        assert row.failure is not None
        assert row.failure["code"] == "double_suspected"

    async def test_it_is_stored_with_the_job_that_acts_on_it(self, database: Database) -> None:
        """A death right after the commit forgets nothing."""
        merchant, source = await rows.merchant(database)
        kassa = await rows.kassa(database, merchant)
        await rows.receipt(database, merchant, source, kassa)
        (job,) = (await take(database)).jobs
        sent = a_mark(job, merchant)
        async with database.raw() as connection:
            await mark(connection, [sent])
        await rows.move_time(database, 600)
        late = a_settlement(job, merchant, sent.attempt_id, outcome="accepted")
        async with database.raw_transaction() as connection:
            await rescue(connection)
            assert await settle(connection, [late]) == [Verdict.STALE]
            assert await settle(connection, [late]) == [Verdict.ALREADY]
        kind = "SELECT kind FROM jobs WHERE ref = :a"
        assert await rows.scalar(database, kind, a=sent.attempt_id) == JobKind.EVIDENCE

    async def test_it_blocks_a_send_that_was_judged_before_it_came(self, database: Database) -> None:
        merchant, source = await rows.merchant(database)
        kassa = await rows.kassa(database, merchant)
        receipt = await rows.receipt(database, merchant, source, kassa)
        (job,) = (await take(database)).jobs
        async with database.pipeline() as tx:
            await tx.execute(text("UPDATE receipts SET marks = 1"))
            await tx.execute(
                text(
                    "INSERT INTO attempts (id, merchant_id, receipt_id, kassa_id, kind, provider_id, worker, outcome)"
                    " VALUES (:a, :m, :r, :k, 'submit', :p, 'w0', 'accepted')"
                ),
                {"a": new_id(), "m": merchant, "r": receipt, "k": kassa, "p": receipt.hex},
            )
        async with database.raw() as connection:
            assert await mark(connection, [a_mark(job, merchant)]) == [None]
            assert await mark(connection, [a_mark(job, merchant)._replace(asks=True)]) != [None]

    async def test_made_elsewhere_and_printed_here_is_a_double(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        provider(monkeypatch, 0, 0)
        gate = hold(monkeypatch, "submit")
        event = await world.pay()
        async with world.working(), lease_lost(world, gate, event):
            row = await world.status(event, "needs_attention")
            await world.runtime.services.actions.resolve(
                world.principal, world.merchant_id, row.id, "made_elsewhere", row.sequence, "by hand", None
            )
            gate.opened.set()
            await world.until(lambda: _cause(world, event, "double_suspected"))
        assert (await world.receipt(event)).status == "needs_attention"


CONTRADICTIONS = {
    "operation": Operation.SELL_REFUND,
    "correction": True,
    "total": 1,
    "taxation": Taxation.OSN,
}


class TestRule6WhatIsFoundMustMatch:
    def test_every_fact_that_a_provider_may_tell_is_tried(self) -> None:
        assert {one.name for one in fields(Echo)} - {"extra"} == set(CONTRADICTIONS)

    @pytest.mark.parametrize("fact", sorted(CONTRADICTIONS))
    @pytest.mark.parametrize("way", ["submit", "lookup", "poll"])
    async def test_a_difference_is_a_persons_decision(
        self, world: World, monkeypatch: pytest.MonkeyPatch, fact: str, way: str
    ) -> None:
        provider(monkeypatch, DAY, None, poll_schedule_seconds=(0.05,))
        wrong = Echo(**{fact: CONTRADICTIONS[fact]})
        answers(monkeypatch, way, lambda found: replace(found, echo=wrong) if isinstance(found, Fiscalized) else found)
        if way == "lookup":
            await world.fault("drop_after")
        if way == "poll":
            await world.fault("queue", params={"polls": 1})
        event = await world.pay()
        async with world.working():
            row = await world.status(event, "needs_attention")
            await quiet(world)
        assert row.failure is not None
        assert row.failure["code"] == "mismatch"
        assert (row.fn, row.fd, row.fiscal) == (None, None, None)


async def _cause(world: World, event: Any, code: str) -> bool:
    return ((await world.receipt(event)).failure or {}).get("code") == code


async def _states(world: World, event: Any) -> AsyncIterator[str]:
    row = await world.receipt(event)
    async with world.runtime.database.pipeline() as tx:
        found = await tx.execute(
            text("SELECT status FROM timeline WHERE receipt_id = :r AND status IS NOT NULL"), {"r": row.id}
        )
        for status in found.scalars():
            yield status
