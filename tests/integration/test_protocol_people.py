"""The rules about hints (7) and about people (8), each by its number; no order is left to chance."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.db import installation
from app.db.repos import notifications, receipts
from app.db.unit_of_work import Database
from app.domain.errors import Conflict, Invalid, PreconditionFailed
from app.infra.crypto import aad
from app.ports.inbound import InboundRequest
from app.queue import work
from app.queue.mark import mark
from tests.integration.test_queue import a_mark, take
from tests.support import rows
from tests.support.rules import TWICE, hold, provider, quiet, step, waits_for_a_lock
from tests.support.world import World, open_world

SLOW: dict[str, Any] = {"retry_base_seconds": 1_000.0, "retry_cap_seconds": 2_000.0}
NEVER = 3_600.0
"""The next poll, unless a hint makes it due."""


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path, simulator=TWICE, **SLOW) as found:
        yield found


async def hint(world: World, provider_id: str) -> None:
    async with world.runtime.database.pipeline() as tx:
        await notifications.hint(tx, world.merchant_id, world.kassa_id, provider_id)


class TestRule7AHint:
    async def test_while_sending_makes_the_poll_due_at_the_settle(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        provider(monkeypatch, None, None, poll_schedule_seconds=(NEVER,))
        gate = hold(monkeypatch, "submit")
        await world.fault("queue", params={"polls": 1})
        event = await world.pay()
        async with world.working():
            await gate.reached.wait()
            row = await world.status(event, "sending")
            await hint(world, row.provider_id)
            gate.opened.set()
            await world.until(lambda: _asked(world, row.id))

    @pytest.mark.parametrize("first", ["hint", "settle"])
    async def test_at_the_moment_of_the_settle_is_not_lost(
        self, world: World, monkeypatch: pytest.MonkeyPatch, first: str
    ) -> None:
        """Both transactions are open at once; the one that came first is let go when the other waits for it."""
        provider(monkeypatch, None, None, poll_schedule_seconds=(NEVER,))
        gate = hold(monkeypatch, "submit")
        await world.fault("queue", params={"polls": 1})
        event = await world.pay()
        async with world.working():
            await gate.reached.wait()
            row = await world.status(event, "sending")
            async with world.runtime.database.pipeline() as tx:
                if first == "hint":
                    await notifications.hint(tx, world.merchant_id, world.kassa_id, row.provider_id)
                    gate.opened.set()
                    await waits_for_a_lock(world)
                    late = None
                else:
                    # The settle has the receipt and waits for the job; the hint waits for the receipt.
                    await tx.execute(text("SELECT id FROM jobs WHERE ref = :r FOR UPDATE"), {"r": row.id})
                    gate.opened.set()
                    await waits_for_a_lock(world)
                    late = asyncio.create_task(hint(world, row.provider_id))
                    await waits_for_a_lock(world, 2)
            if late is not None:
                await late
            await world.until(lambda: _asked(world, row.id))

    async def test_during_a_poll_makes_the_next_one_due(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        provider(monkeypatch, None, None, poll_schedule_seconds=(NEVER,))
        gate = hold(monkeypatch, "poll")
        await world.fault("queue", params={"polls": 2})
        event = await world.pay()
        async with world.working():
            row = await world.status(event, "accepted")
            await hint(world, row.provider_id)
            await gate.reached.wait()
            await hint(world, row.provider_id)
            gate.opened.set()
            await world.until(lambda: _asked(world, row.id, 2))

    async def test_never_shortens_a_visibility_delay(self, world: World) -> None:
        await world.fault("drop_after")
        await world.fault("error_before", times=None, match={"action": "lookup"}, params={"status": 502})
        event = await world.pay()
        async with world.working():
            row = await world.status(event, "unknown")
            await step(world)
            due = "SELECT run_at FROM jobs WHERE ref = :r"
            before = await rows.scalar(world.runtime.database, due, r=row.id)
            await hint(world, row.provider_id)
            assert await rows.scalar(world.runtime.database, due, r=row.id) == before
        assert "callback_hint" in await world.timeline(row.id)

    async def test_is_not_believed(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever its body says, the receipt becomes what the provider answers when it is asked."""
        provider(monkeypatch, None, None, poll_schedule_seconds=(NEVER,))
        await world.fault("queue_forever")
        event = await world.pay()
        body = json.dumps({"status": "done", "doc": {"fiscal_num": 1, "fiscal_sign": 2}, "cashbox": {"fn_num": "9"}})
        async with world.working():
            row = await world.status(event, "accepted")
            await _callback(world, row.provider_id, body)
            await world.until(lambda: _asked(world, row.id))
            await quiet(world)
        after = await world.receipt(event)
        assert (after.status, after.fd, after.fpd, after.sequence) == ("accepted", None, None, row.sequence)


ANSWERS = ["found", "send_again", "made_elsewhere", "abandon"]


class TestRule8APersonDecides:
    @pytest.mark.parametrize("answer", ANSWERS)
    async def test_while_a_look_up_is_on_the_wire(
        self, world: World, monkeypatch: pytest.MonkeyPatch, answer: str
    ) -> None:
        """The person was first: what the look-up then says is stored, and moves nothing."""
        await world.fault("drop_before")
        gate = hold(monkeypatch, "lookup")
        event = await world.pay()
        async with world.working():
            row = await world.status(event, "unknown")
            await rows.due_now(world.runtime.database)
            await gate.reached.wait()
            before = await _job(world, row.id)
            await _resolve(world, event, answer)
            assert await _job(world, row.id) != before, "the open look-up is void"
            after = await world.receipt(event)
            gate.opened.set()
            await world.until(lambda: _learned_late(world, row.id))
            if answer == "send_again":
                await world.status(event, "fiscalized")
            elif answer == "found":
                await world.until(lambda: _asked(world, row.id, 2, "lookup"))
                assert (await world.receipt(event)).status == "unknown"
            else:
                await quiet(world)
                assert (await world.receipt(event)).status == after.status == "cancelled"
        assert len(await world.tape()) == (1 if answer == "send_again" else 0)

    @pytest.mark.parametrize("answer", ANSWERS)
    async def test_after_a_look_up_has_decided(self, world: World, answer: str) -> None:
        """The look-up was first: the person saw an older sequence, and nothing is done."""
        await world.fault("drop_after")
        event = await world.pay()
        async with world.working():
            seen = await world.status(event, "unknown")
            await step(world)
            row = await world.status(event, "fiscalized")
            with pytest.raises(PreconditionFailed):
                await _resolve(world, event, answer, sequence=seen.sequence)
            with pytest.raises(Conflict):
                await _resolve(world, event, answer)
        assert await world.receipt(event) == row
        assert len(await world.tape()) == 1

    async def test_at_the_same_moment_one_of_them_decides(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """All four answers against look-ups that find the document, five rounds each."""
        await world.fault("drop_after", times=None, match={"action": "submit"})
        gate = hold(monkeypatch, "lookup")
        events = [await world.pay(amount=1_000 + number) for number in range(20)]
        async with world.working(2):
            for event in events:
                await world.status(event, "unknown")
            await world.http.delete(f"{world.simulator_url}/faults")
            gate.opened.set()
            said = [ANSWERS[number % 4] for number in range(20)]
            await asyncio.gather(
                rows.due_now(world.runtime.database),
                *(_resolve(world, event, answer) for event, answer in zip(events, said, strict=True)),
                return_exceptions=True,
            )
            for _ in range(3):
                await step(world)
        for event in events:
            row = await world.receipt(event)
            told = "SELECT array_agg(sequence ORDER BY sequence) FROM messages WHERE receipt_id = :r"
            numbers = await rows.scalar(world.runtime.database, told, r=row.id)
            assert (numbers or []) == list(range(1, row.sequence + 1))
            documents = await world.tape(row.provider_id)
            resent = "resolved_send_again" in await world.timeline(row.id)
            assert 1 <= len(documents) <= 1 + resent
            if row.status == "fiscalized":
                assert row.fd in {one["fd"] for one in documents}

    async def test_names_the_sequence_that_was_seen_and_gives_a_reason(self, world: World) -> None:
        event = await _attention(world)
        with pytest.raises(PreconditionFailed):
            await _resolve(world, event, "abandon", sequence=7)
        with pytest.raises(Invalid):
            await _resolve(world, event, "abandon", reason="  ")
        assert (await world.receipt(event)).status == "needs_attention"

    async def test_cancel_takes_a_claimed_job_away(self, world: World) -> None:
        event = await world.pay()
        row = await world.receipt(event)
        (job,) = (await take(world.runtime.database)).jobs
        await world.runtime.services.actions.cancel(world.principal, world.merchant_id, row.id, None)
        async with world.runtime.database.raw() as connection:
            assert await mark(connection, [a_mark(job, world.merchant_id)]) == [None]
        assert (await world.receipt(event)).status == "cancelled"

    async def test_cancel_hears_a_mark_that_it_waited_for(self, world: World, database: Database) -> None:
        event = await world.pay()
        row = await world.receipt(event)
        state = await installation.recognise(world.runtime.database)
        (job,) = (await take(world.runtime.database)).jobs
        async with world.runtime.database.raw_transaction() as connection:
            assert await mark(connection, [mark_of(job, row, state)]) != [None]
            cancelling = asyncio.create_task(
                world.runtime.services.actions.cancel(world.principal, world.merchant_id, row.id, None)
            )
            await waits_for_a_lock(world)
        with pytest.raises(Conflict):
            await cancelling
        assert (await world.receipt(event)).status == "sending"

    async def test_a_mark_hears_a_cancel_that_it_waited_for(self, world: World) -> None:
        event = await world.pay()
        row = await world.receipt(event)
        state = await installation.recognise(world.runtime.database)
        (job,) = (await take(world.runtime.database)).jobs

        async def marking() -> list[datetime | None]:
            async with world.runtime.database.raw() as connection:
                return await mark(connection, [mark_of(job, row, state)])

        async with world.runtime.database.pipeline() as tx:
            await receipts.by_id(tx, world.merchant_id, row.id, lock=True)
            assert await work.take_unmarked(tx, row.id)
            late = asyncio.create_task(marking())
            await waits_for_a_lock(world)
        assert await late == [None]
        assert (await world.receipt(event)).marks == 0


def mark_of(job: Any, row: Any, state: installation.Installation) -> Any:
    return a_mark(job, row.merchant_id)._replace(
        provider_id=row.provider_id, sequence=row.sequence, epoch=state.epoch,
        restored_at=state.opened_at,
    )  # fmt: skip


async def _asked(world: World, receipt_id: UUID, times: int = 1, kind: str = "poll") -> bool:
    asked = "SELECT count(*) FROM attempts WHERE receipt_id = :r AND kind = :k"
    found = await rows.scalar(world.runtime.database, asked, r=receipt_id, k=kind)
    return isinstance(found, int) and found >= times


async def _learned_late(world: World, receipt_id: UUID) -> bool:
    return "learned_late" in await world.timeline(receipt_id)


async def _job(world: World, receipt_id: UUID) -> object:
    return await rows.scalar(world.runtime.database, "SELECT id FROM jobs WHERE ref = :r", r=receipt_id)


async def _resolve(
    world: World, event: UUID, answer: str, *, sequence: int | None = None, reason: str = "the cabinet"
) -> None:
    row = await world.receipt(event)
    await world.runtime.services.actions.resolve(
        world.principal, world.merchant_id, row.id, answer, row.sequence if sequence is None else sequence, reason, None
    )


async def _attention(world: World) -> UUID:
    event = await world.pay()
    async with world.runtime.database.pipeline() as tx:
        await tx.execute(text("DELETE FROM jobs"))
        await tx.execute(text("UPDATE receipts SET status = 'needs_attention'"))
    return event


async def _callback(world: World, provider_id: str, body: str) -> None:
    async with world.runtime.database.pipeline() as tx:
        kassa = await notifications.kassa(tx, world.kassa_id)
    assert kassa is not None
    where = aad("kassas", "callback_secret", kassa.merchant_id, kassa.id)
    secret = world.runtime.keys.box.open(kassa.callback_secret, where).decode()
    request = InboundRequest("POST", "", f"receipt={provider_id}", {}, body.encode())
    await world.runtime.services.inbound.callback(f"kas_{kassa.id.hex}", secret, request)
