"""The rules by which a receipt is sent, looked up and refused (1 to 4), each by its number; 5 to 10 stand beside."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.db.repos import planned
from app.db.unit_of_work import Database
from app.domain.errors import Conflict
from app.queue.mark import mark
from tests.integration.test_queue import a_mark, take
from tests.support import rows
from tests.support.rules import TWICE, outcomes, provider, step
from tests.support.world import World, new_kassa, open_world

SLOW: dict[str, Any] = {"retry_base_seconds": 1_000.0, "retry_cap_seconds": 2_000.0}
"""Nothing is tried a second time unless the test says so."""


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path) as found:
        yield found


@pytest.fixture
async def slow(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """A register that prints again, and a worker that tries once per step."""
    async with open_world(database_url, tmp_path, simulator=TWICE, **{**SLOW, "visibility_seconds": 600.0}) as found:
        yield found


class TestRule1TheClassIsThatOfTheMoment:
    async def test_a_look_up_window_that_closed_since_the_unknown(
        self, slow: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A at the send, D when it is acted on: the provider would still answer, and is not asked."""
        provider(monkeypatch, 3_600, 3_600)
        await slow.fault("drop_after")
        event = await slow.pay()
        async with slow.working():
            row = await slow.status(event, "unknown")
            await step(slow, 4_000)
            row = await slow.status(event, "needs_attention")
        assert row.failure is not None
        assert row.failure["code"] == "lookup_impossible"
        assert await outcomes(slow, row.id) == ["submit unknown", "decision unknown"]

    async def test_a_deduplication_window_that_closed_between_decision_and_send(
        self, slow: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """C decides to send again; the job waits, as in a paused lane, until the provider would print it anew."""
        provider(monkeypatch, 3_600, 0)
        await slow.fault("drop_after")
        event = await slow.pay()
        async with slow.working():
            await slow.status(event, "unknown")
            await step(slow)
            await slow.status(event, "queued")
            await step(slow, 4_000)
            await slow.status(event, "needs_attention")
        assert len(await slow.tape()) == 1

    async def test_the_request_may_arrive_after_the_window(self, slow: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """Seconds before its end a window is closed for what takes as long to arrive."""
        provider(monkeypatch, 3_600, 0)
        await slow.fault("drop_after")
        event = await slow.pay()
        async with slow.working():
            await slow.status(event, "unknown")
            await step(slow, 3_590)
            await slow.status(event, "needs_attention")

    async def test_windows_that_are_open_let_it_go_on(self, slow: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """The other way: the same receipt within its windows is decided by the provider."""
        provider(monkeypatch, 3_600, 3_600)
        await slow.fault("drop_after")
        event = await slow.pay()
        async with slow.working():
            await slow.status(event, "unknown")
            await step(slow, 3_000)
            row = await slow.status(event, "fiscalized")
        assert await outcomes(slow, row.id) == ["submit unknown", "lookup fiscalized"]


class TestRule2WhenAnAbsenceCounts:
    async def test_after_freshness_deadline_and_visibility(self, slow: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """5 + 20 + 600 seconds after the mark and not before: what is under way may still come."""
        provider(monkeypatch, None, None)
        await slow.fault("drop_before")
        event = await slow.pay()
        async with slow.working():
            row = await slow.status(event, "unknown")
            for clock in (1.0, 300.0, 610.0):
                await step(slow, clock)
                assert (await slow.receipt(event)).status == "unknown"
            assert await outcomes(slow, row.id) == ["submit unknown"] + ["lookup not_found"] * 3
            await step(slow, 640.0)
            await step(slow)
            row = await slow.status(event, "fiscalized")
        assert row.marks == 2
        assert len(await slow.tape()) == 1

    async def test_without_deduplication_it_is_confirmed_by_the_next_question(
        self, slow: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two in a row, the visibility delay apart; one that failed between them breaks the row."""
        provider(monkeypatch, 0, None)
        await slow.fault("drop_before")
        event = await slow.pay()
        async with slow.working():
            await slow.status(event, "unknown")
            await step(slow, 700)
            await step(slow)
            await slow.fault("error_before", match={"action": "lookup"}, params={"status": 502})
            await step(slow, 1_400)
            await step(slow, 2_100)
            row = await slow.receipt(event)
            assert (row.status, row.marks) == ("unknown", 1)
            await step(slow, 2_800)
            await step(slow)
            row = await slow.status(event, "fiscalized")
        assert (await outcomes(slow, row.id))[1:-1] == [
            "lookup not_found", "lookup not_found", "lookup cannot_tell", "lookup not_found", "lookup not_found",
        ]  # fmt: skip
        assert row.marks == 2

    async def test_a_group_that_does_not_answer_proves_nothing(self, slow: World) -> None:
        """digitalkassa says 404 for a wrong group as well."""
        await slow.fault("drop_before")
        event = await slow.pay()
        wrong = {"status": 404, "body": {"type": "GROUP_NOT_FOUND"}}
        async with slow.working():
            row = await slow.status(event, "unknown")
            await slow.fault("answer", times=None, match={"action": "check"}, params=wrong)
            for clock in (700, 1_400, 2_100):
                await slow.runtime.services.actions.retry(slow.principal, slow.merchant_id, row.id)
                await step(slow, clock)
            row = await slow.receipt(event)
            assert (row.status, row.marks) == ("unknown", 1)
            assert set((await outcomes(slow, row.id))[1:]) == {"lookup cannot_tell"}
            await slow.http.delete(f"{slow.simulator_url}/faults")
            await slow.runtime.services.actions.retry(slow.principal, slow.merchant_id, row.id)
            await step(slow)
            await step(slow)
            await slow.status(event, "fiscalized")


class TestRule3AKassaStaysWhatItWas:
    @pytest.mark.parametrize(
        "change",
        [
            {"base_url": "http://127.0.0.1:9/v2.1/"},
            {"credentials": {"actor_id": "1", "actor_token": "t", "c_group_id": 1}},
        ],
    )
    async def test_its_address_and_group_are_fixed_by_the_first_use(self, world: World, change: dict[str, Any]) -> None:
        kassas = world.runtime.services.kassas
        await world.pay()
        async with world.working():
            await world.idle()
        with pytest.raises(Conflict):
            await kassas.change("test", world.merchant_id, world.kassa_id, change)
        with pytest.raises(Conflict):
            await world.runtime.services.merchants.change("test", world.merchant_id, {"inn": "7728168971"})
        token = {"credentials": {"actor_id": "1", "actor_token": "new", "c_group_id": 4321}}
        await kassas.change("test", world.merchant_id, world.kassa_id, token)

    async def test_what_was_sent_once_never_changes_its_kassa(self, world: World) -> None:
        await world.fault("refuse", params={"type": "UNAVAILABLE_VALUE", "path": "$.loc.billing_place", "desc": "-"})
        event = await world.pay()
        async with world.working():
            row = await world.status(event, "rejected")
        other = await world.runtime.services.kassas.create(
            "test", world.merchant_id, new_kassa(world.simulator_url, name="Second")
        )
        new = world.runtime.services.intake.new_receipt(row.changed(kassa_id=other.kassa.id), None)
        async with world.runtime.database.pipeline() as tx:
            assert not await planned.rewrite_receipt(tx, row, new, sequence=row.sequence)
        await world.runtime.services.kassas.change("test", world.merchant_id, world.kassa_id, {"status": "off"})
        await world.runtime.services.actions.retry(world.principal, world.merchant_id, row.id)
        again = await world.receipt(event)
        assert (again.version, again.kassa_id) == (2, world.kassa_id)

    async def test_nothing_is_marked_for_another_kassa_than_the_receipts(self, database: Database) -> None:
        merchant, source = await rows.merchant(database)
        kassa, other = await rows.kassa(database, merchant), await rows.kassa(database, merchant)
        await rows.receipt(database, merchant, source, kassa)
        (job,) = (await take(database)).jobs
        async with database.raw() as connection:
            assert await mark(connection, [a_mark(job, merchant)._replace(kassa_id=other)]) == [None]
            assert await mark(connection, [a_mark(job, merchant)]) != [None]


class TestRule4ARefusalSpeaksOfOneAttempt:
    async def test_after_an_unknown_it_is_not_final(self, slow: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first send was printed and its answer lost; the second is refused: the receipt is not."""
        provider(monkeypatch, None, 0)
        await slow.fault("drop_after")
        await slow.fault("refuse", params={"type": "UNAVAILABLE_VALUE", "path": "$.loc.billing_place", "desc": "-"})
        event = await slow.pay()
        async with slow.working():
            row = await slow.status(event, "unknown")
            for _ in range(2):
                await step(slow)
        assert (await slow.receipt(event)).status == "unknown"
        assert await outcomes(slow, row.id) == ["submit unknown", "decision unknown", "submit rejected"]

    async def test_the_next_version_asks_for_the_earlier_ids(self, slow: World) -> None:
        """It was refused, and printed all the same."""
        body = json.dumps([{"type": "UNAVAILABLE_VALUE", "path": "$.loc.billing_place", "desc": "-"}])
        said = {"status": 400, "register": True, "body": body}
        await slow.fault("answer", match={"action": "submit"}, params=said)
        event = await slow.pay()
        async with slow.working():
            row = await slow.status(event, "rejected")
            assert len(await slow.tape(row.provider_id)) == 1
            await slow.runtime.services.actions.retry(slow.principal, slow.merchant_id, row.id)
            again = await slow.status(event, "needs_attention")
        assert (again.version, again.marks) == (2, 1)
        assert len(await slow.tape()) == 1
        async with slow.runtime.database.pipeline() as tx:
            asked = text("SELECT provider_id FROM attempts WHERE receipt_id = :r AND kind = 'lookup'")
            assert (await tx.execute(asked, {"r": row.id})).scalars().all() == [row.provider_id]

    async def test_where_they_cannot_be_asked_for_a_person_decides(
        self, slow: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await slow.fault("refuse", params={"type": "UNAVAILABLE_VALUE", "path": "$.loc.billing_place", "desc": "-"})
        event = await slow.pay()
        async with slow.working():
            row = await slow.status(event, "rejected")
            provider(monkeypatch, None, 0)
            # A second attempt under the old id, of which nothing is known.
            async with slow.runtime.database.pipeline() as tx:
                again = (
                    "INSERT INTO attempts (id, merchant_id, receipt_id, kassa_id, kind, provider_id, worker, marked_at)"
                    " SELECT kassa_uuid7(), merchant_id, receipt_id, kassa_id, kind, provider_id, 'w2', marked_at"
                    " FROM attempts"
                )
                await tx.execute(text(again))
            await slow.runtime.services.actions.retry(slow.principal, slow.merchant_id, row.id)
            await slow.status(event, "needs_attention")
        assert await slow.tape() == []
