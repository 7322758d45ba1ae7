"""The deadline clock at work: who is told, once; what is held as late and how it ends; contacts that come late."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.domain.errors import Conflict
from app.domain.receipt import Customer
from app.main import create_app
from app.queue import lanes
from app.runtime import open_worker
from app.services.deadlines import Deadlines
from tests.support.town import client
from tests.support.world import World, open_world

HOUR = 3600.0


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """Its limit is nine hours after the payment, whatever the hour of the day is; the sweep is called by the tests."""
    chosen = {"freshness_seconds": 0.5, "sweep_every_seconds": HOUR, "operational_limit_seconds": 9 * HOUR}
    async with open_world(database_url, tmp_path, **chosen) as found:
        yield found


def clock(world: World, *, hold_late: bool = True) -> Deadlines:
    """What each worker's sweep does, called when the test wants it."""
    runtime = world.runtime
    return Deadlines(
        database=runtime.database,
        catalog=runtime.services.catalog,
        planner=runtime.planner,
        box=runtime.keys.box,
        links=runtime.links,
        hold_late=hold_late,
    )


async def aged(world: World, event: UUID, seconds: float) -> None:
    """As if the event had happened so much earlier."""
    async with world.runtime.database.pipeline() as tx:
        for column in ("due_at", "limit_at", "alarm_at", "created_at"):
            await tx.execute(
                text(f"UPDATE receipts SET {column} = {column} - :s * interval '1 second' WHERE event_id = :e"),
                {"s": seconds, "e": event},
            )
        await tx.execute(
            text(
                "UPDATE receipts SET failure = jsonb_set(failure, '{until}', to_jsonb((failure->>'until')::timestamptz "
                "- :s * interval '1 second')) WHERE event_id = :e AND failure ? 'until'"
            ),
            {"s": seconds, "e": event},
        )


async def told(world: World, kind: str = "receipt.overdue") -> list[dict[str, Any]]:
    async with world.runtime.database.pipeline() as tx:
        found = await tx.execute(
            text("SELECT body, sequence, receipt_id FROM messages WHERE type = :t ORDER BY created_at, id"), {"t": kind}
        )
        return [json.loads(row.body) | {"sequence": row.sequence, "about": row.receipt_id} for row in found]


async def steps(world: World) -> list[str]:
    return [one["data"]["deadline"]["step"] for one in await told(world)]


async def confirm(world: World, event: UUID, how: Any) -> None:
    row = await world.receipt(event)
    await world.runtime.services.late.confirm(world.principal, world.merchant_id, row.id, how, "the register was down")


@asynccontextmanager
async def api(world: World) -> AsyncIterator[Any]:
    app = create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)
    admin = await world.runtime.services.access.ensure_admin_key()
    async with client(app, admin) as first:
        made = await first.post("/v1/api-keys", json={"merchant_id": f"mer_{world.merchant_id.hex}", "scopes": ["*"]})
        async with client(app, made.json()["key"]) as found:
            yield found


async def test_a_receipt_that_is_not_there_is_told_of_step_by_step(world: World) -> None:
    event = await world.pay("p-1")
    before = await world.receipt(event)
    found = clock(world, hold_late=False)
    await found.run()
    assert await told(world) == []
    for seconds, step in (
        (301, "warning"),
        (HOUR, "warning"),
        (8 * HOUR, "limit"),
        (24 * HOUR, "daily"),
        (24 * HOUR, "daily"),
    ):
        await aged(world, event, seconds)
        await found.run()
        await found.run()
        assert (await steps(world))[-1] == step
    assert await steps(world) == ["warning", "warning", "limit", "daily", "daily"]
    message = (await told(world))[0]
    assert message["sequence"] is None
    assert message["about"] == before.id
    assert message["data"]["receipt"]["sequence"] == before.sequence
    assert "anna@" not in json.dumps(message, default=str)
    row = await world.receipt(event)
    assert (row.status, row.sequence) == (before.status, before.sequence), "a reminder changes nothing"
    assert row.alarm_at is not None
    assert row.alarm_at > datetime.now(UTC)
    assert (await world.timeline(row.id)).count("overdue") == 5


async def test_a_payment_of_a_past_day_says_that_its_receipt_bears_another(world: World) -> None:
    today, long_ago = await world.pay("p-1"), await world.pay("p-2", occurred_at=datetime(2024, 2, 29, 20, tzinfo=UTC))
    assert (await world.receipt(today)).remarks is None
    async with api(world) as http:
        row = await world.receipt(long_ago)
        (remark,) = (await http.get(f"/v1/receipts/rcpt_{row.id.hex}")).json()["remarks"]
    assert (remark["code"], remark["severity"], remark["pointer"]) == ("reported_late", "warning", "#/occurred_at")
    assert "29.02.2024" in remark["detail"]
    assert "29.02.2024" in remark["detail_ru"]


async def test_while_a_kassa_is_paused_its_one_alarm_speaks_for_all_until_the_limit(world: World) -> None:
    events = [await world.pay(f"p-{number}") for number in range(3)]
    kassa = (await world.receipt(events[0])).kassa_id
    assert kassa is not None
    async with world.runtime.database.pipeline() as tx:
        await lanes.pause(tx, kassa, "provider_down", 60)
    for event in events:
        await aged(world, event, 301)
    await clock(world).run()
    assert await steps(world) == []
    async with world.runtime.database.pipeline() as tx:
        await lanes.resume(tx, kassa)
    await aged(world, events[0], HOUR)
    await clock(world).run()
    assert await steps(world) == [], "what waited is on its way, in its order"
    async with world.runtime.database.pipeline() as tx:
        await tx.execute(text("UPDATE lanes SET resumed_at = resumed_at - interval '61 minutes'"))
    await aged(world, events[2], HOUR)
    await clock(world).run()
    assert await steps(world) == ["warning"], "an hour later it should have been there"
    async with world.runtime.database.pipeline() as tx:
        await lanes.pause(tx, kassa, "provider_down", 60)
    await aged(world, events[1], 10 * HOUR)
    await clock(world, hold_late=False).run()
    assert await steps(world) == ["warning", "limit"]


async def test_many_workers_tell_each_step_once(world: World) -> None:
    events = [await world.pay() for _ in range(120)]
    for event in events:
        await aged(world, event, 400)
    await asyncio.gather(*(clock(world).run() for _ in range(6)))
    messages = await told(world)
    assert len(messages) == len({one["about"] for one in messages}) == 120


@pytest.mark.parametrize("status", ["held", "unknown", "needs_attention", "rejected", "accepted", "sending"])
async def test_every_unfinished_state_is_told_of_and_keeps_its_state(world: World, status: str) -> None:
    event = await world.pay("p-1")
    async with world.runtime.database.pipeline() as tx:
        await tx.execute(text("UPDATE receipts SET status = :s WHERE event_id = :e"), {"s": status, "e": event})
    await aged(world, event, 48 * HOUR)
    await clock(world).run()
    assert await steps(world) == ["daily"]
    assert (await world.receipt(event)).status == status


async def test_finished_receipts_are_not_spoken_of(world: World) -> None:
    events = [await world.pay() for _ in range(2)]
    async with world.working():
        await world.status(events[0], "fiscalized")
    for event in events:
        await aged(world, event, 48 * HOUR)
    async with world.runtime.database.pipeline() as tx:
        await tx.execute(text("UPDATE receipts SET status = 'cancelled' WHERE status <> 'fiscalized'"))
    await clock(world).run()
    assert await told(world) == []


async def test_a_reminder_does_not_disturb_what_is_on_its_way(world: World) -> None:
    """It falls between mark and settle: the outcome is stored as if nothing had been."""
    await world.fault("slow", params={"seconds": 0.8})
    event = await world.pay("p-1")
    await aged(world, event, 400)
    async with world.working():
        await world.status(event, "sending")
        await clock(world).run()
        assert await steps(world) == ["warning"]
        row = await world.status(event, "fiscalized")
    assert row.sequence >= 1
    assert len(await world.tape()) == 1


async def test_a_receipt_that_was_never_sent_is_held_and_printed_late_by_a_person(world: World) -> None:
    event = await world.pay("p-1")
    await aged(world, event, 48 * HOUR)
    await asyncio.gather(*(clock(world).run() for _ in range(4)))
    row = await world.receipt(event)
    assert (row.status, row.sequence) == ("held", 1)
    assert row.failure is not None
    assert row.failure["code"] == "deadline_passed"
    assert row.correction_draft is not None
    assert row.correction_draft["kind"] == "self"
    assert row.correction_draft["total"] == row.total
    (message,) = await told(world, "receipt.held")
    assert message["data"]["receipt"]["correction_draft"] == row.correction_draft
    async with world.working():
        await world.idle()
        assert await world.tape() == [], "nobody but a person sends it"
        await confirm(world, event, "print_now")
        await clock(world).run()
        done = await world.status(event, "fiscalized")
    (document,) = await world.tape()
    assert document["fd"] == done.fd
    assert not done.correction
    assert "confirmed_late" in await world.timeline(done.id)


async def test_it_becomes_a_correction_of_the_settlements_day(world: World) -> None:
    event = await world.pay("p-1", occurred_at=datetime.now(UTC) - timedelta(days=3))
    await aged(world, event, 48 * HOUR)
    await clock(world).run()
    day = (await world.receipt(event)).correction_draft["corrected_date"]  # type: ignore[index]
    await confirm(world, event, "as_correction")
    async with world.working():
        row = await world.status(event, "fiscalized")
    assert row.correction
    assert row.document is not None
    assert row.document["correction"]["corrected_date"] == day
    assert day == (datetime.now(UTC) - timedelta(days=3) + timedelta(hours=3)).date().isoformat()
    assert len(await world.tape()) == 1


@pytest.mark.parametrize("outcome", [None, "unknown", "accepted", "fiscalized"])
async def test_what_may_be_registered_is_never_held_as_late(world: World, outcome: str | None) -> None:
    event = await world.pay("p-1")
    row = await world.receipt(event)
    async with world.runtime.database.pipeline() as tx:
        await tx.execute(
            text(
                "INSERT INTO attempts (id, merchant_id, receipt_id, kind, provider_id, worker, marked_at, outcome) "
                "VALUES (kassa_uuid7(), :m, :r, 'submit', :p, 'w', kassa_now(), :o)"
            ),
            {"m": row.merchant_id, "r": row.id, "p": row.provider_id, "o": outcome},
        )
        await tx.execute(text("UPDATE receipts SET marks = 1 WHERE id = :r"), {"r": row.id})
    await aged(world, event, 48 * HOUR)
    found = clock(world)
    await found.run()
    async with world.runtime.database.pipeline() as tx:
        settings = await world.runtime.services.catalog.merchant(world.merchant_id)
        await found._hold(tx, settings, row.id)
    after = await world.receipt(event)
    assert (after.status, after.correction_draft) == ("queued", None)
    assert await steps(world) == ["daily"], "it is spoken of all the same"
    # Proven absent, it may be held.
    async with world.runtime.database.pipeline() as tx:
        await tx.execute(text("UPDATE attempts SET proven_absent = true"))
    await found.run()
    assert (await world.receipt(event)).status == "held"


async def test_what_was_refused_without_being_registered_is_held_and_corrected_under_a_new_id(world: World) -> None:
    """An outage of days: each attempt is certainly not registered."""
    event = await world.pay("p-1")
    await world.fault("rate_limited", times=None, params={"retry_after": 1})
    async with world.working():

        async def tried() -> bool:
            return (await world.receipt(event)).marks >= 1

        await world.until(tried)
        before = await world.receipt(event)
        await world.until(lambda: held_now(world, event))
    assert (await world.http.delete(f"{world.simulator_url}/faults")).is_success
    await confirm(world, event, "as_correction")
    async with world.working():
        row = await world.status(event, "fiscalized")
    assert row.version == 2
    assert row.provider_id != before.provider_id
    assert len(await world.tape()) == 1


async def held_now(world: World, event: UUID) -> bool:
    row = await world.receipt(event)
    if row.status == "queued":
        await aged(world, event, 48 * HOUR)
        await clock(world).run()
    return (await world.receipt(event)).status == "held"


async def test_the_hold_can_be_switched_off(world: World) -> None:
    event = await world.pay("p-1")
    await aged(world, event, 48 * HOUR)
    await clock(world, hold_late=False).run()
    assert (await world.receipt(event)).status == "queued"
    async with world.working():
        await world.status(event, "fiscalized")


async def test_nothing_is_held_while_a_restored_database_may_have_forgotten_a_send(world: World) -> None:
    event = await world.pay("p-1")
    async with open_worker(world.runtime):
        async with world.runtime.database.pipeline() as tx:
            await tx.execute(text("UPDATE installation SET epoch_opened_at = kassa_now(), epoch = epoch + 1"))
        await aged(world, event, 48 * HOUR)
        await clock(world).run()
        assert (await world.receipt(event)).status == "queued"


async def test_a_refund_waits_with_its_late_sale_and_follows_it(world: World) -> None:
    sale = await world.pay("p-1")
    back = await world.refund("r-1", "p-1", 50_000)
    async with open_worker(world.runtime) as worker:
        task = asyncio.create_task(worker.runner.run())
        await world.status(back, "queued")
        worker.runner.stop()
        await task
    async with world.runtime.database.pipeline() as tx:
        await tx.execute(text("UPDATE receipts SET status = 'queued', fn = NULL, fd = NULL, fpd = NULL, marks = 0"))
        await tx.execute(text("DELETE FROM attempts"))
        await tx.execute(text("DELETE FROM jobs"))
    await aged(world, sale, 48 * HOUR)
    await clock(world).run()
    assert (await world.receipt(sale)).status == "held"
    waiting = await world.receipt(back)
    assert (waiting.status, (waiting.failure or {})["code"]) == ("held", "sale_not_fiscalized")
    await confirm(world, sale, "print_now")
    assert (await world.receipt(back)).status == "queued", "planned again behind its sale"


async def test_only_a_late_receipt_can_be_confirmed(world: World) -> None:
    event = await world.pay("p-1")
    with pytest.raises(Conflict, match="deadline has passed"):
        await confirm(world, event, "print_now")
    await aged(world, event, 48 * HOUR)
    await clock(world).run()
    row = await world.receipt(event)
    with pytest.raises(Conflict, match="it is late"):
        await world.runtime.services.actions.retry(world.principal, world.merchant_id, row.id)
    await confirm(world, event, "print_now")
    with pytest.raises(Conflict, match="deadline has passed"):
        await confirm(world, event, "print_now")


async def test_many_are_confirmed_at_once_after_a_preview_and_each_is_explained(world: World) -> None:
    events = [await world.pay() for _ in range(3)]
    other = await world.pay("fresh")
    for event in events:
        await aged(world, event, 48 * HOUR)
    await clock(world).run()
    body = {"action": "print_now", "filter": {"status": ["held"], "cause": "deadline_passed"}}
    async with api(world) as http:
        first = await world.receipt(events[0])
        page = (await http.get(f"/v1/receipts/rcpt_{first.id.hex}/explain")).json()
        assert [one["action"] for one in page["actions"]] == ["print_now", "as_correction", "cancel"]
        assert page["cause"] == "deadline_passed"
        assert page["overdue"] is True
        assert "просрочен" in page["text_ru"].lower()
        preview = (await http.post("/v1/receipts/bulk", json=body)).json()
        assert (preview["count"], preview["results"]) == (3, [])
        assert (await world.receipt(events[0])).status == "held"
        done = (await http.post("/v1/receipts/bulk", json={**body, "preview": False, "reason": "outage"})).json()
        assert [one["done"] for one in done["results"]] == [True] * 3
        call = page["actions"][0]
        again = await http.request(call["method"], call["path"], json=call["body"])
        assert again.status_code == 409
        finished = (await http.get(f"/v1/receipts/rcpt_{(await world.receipt(other)).id.hex}/explain")).json()
        assert finished["cause"] is None
        assert [one["action"] for one in finished["actions"]] == ["retry", "cancel"]
    for event in events:
        assert (await world.receipt(event)).status == "queued"


async def printed_contact(world: World, receipt_id: UUID) -> str:
    view = await world.runtime.services.reads.receipt(world.merchant_id, receipt_id, masked=False)
    email: str = view["customer"]["email"]
    return email


@pytest.fixture
async def falling_back(world: World) -> World:
    """A source with an address of its own for buyers who leave none."""
    await world.runtime.services.sources.change(
        "test", world.merchant_id, world.source_id, {"fallback_contact": {"email": "shop@example.org"}}
    )
    return world


async def test_a_missing_contact_is_waited_for_and_then_the_fallback_is_taken_and_marked(falling_back: World) -> None:
    world = falling_back
    event = await world.pay("p-1", customer=Customer())
    row = await world.receipt(event)
    assert (row.status, (row.failure or {})["code"]) == ("held", "contact_missing")
    until = datetime.fromisoformat((row.failure or {})["until"])
    assert timedelta() < until - row.created_at <= timedelta(minutes=15)
    await clock(world).run()
    assert (await world.receipt(event)).status == "held"
    await aged(world, event, 16 * 60)
    await clock(world).run()
    async with world.working():
        row = await world.status(event, "fiscalized")
    assert row.contact_fallback
    assert await printed_contact(world, row.id) == "shop@example.org"
    assert len(await world.tape()) == 1


async def test_a_contact_that_comes_in_time_is_the_receipts(falling_back: World) -> None:
    world = falling_back
    event = await world.pay("p-1", customer=Customer())
    row = await world.receipt(event)
    await world.runtime.services.actions.patch_receipt(
        world.principal, world.merchant_id, row.id, row.sequence, {"customer": {"email": "anna@example.org"}}
    )
    async with world.working():
        row = await world.status(event, "fiscalized")
    assert not row.contact_fallback
    assert await printed_contact(world, row.id) == "anna@example.org"


async def test_a_contact_that_comes_after_the_receipt_is_kept_and_told_without_a_new_document(
    falling_back: World,
) -> None:
    world = falling_back
    event = await world.pay("p-1", customer=Customer())
    await aged(world, event, 16 * 60)
    await clock(world).run()
    async with world.working():
        row = await world.status(event, "fiscalized")
    async with api(world) as http:
        path = f"/v1/receipts/rcpt_{row.id.hex}"
        (wanted, *_) = (await http.get(f"{path}/explain")).json()["actions"]
        assert wanted["action"] == "update"
        answer = await http.request(
            wanted["method"],
            wanted["path"],
            json={"customer": {"email": "late@example.org"}},
            headers=wanted["headers"],
        )
        assert answer.status_code == 200, answer.text
        assert (answer.json()["customer"]["email"], answer.json()["contact_fallback"]) == ("late@example.org", True)
        found = (await http.get("/v1/receipts", params={"email": "late@example.org"})).json()["data"]
        assert [one["id"] for one in found] == [f"rcpt_{row.id.hex}"]
        refused = await http.patch(path, json={"taxation": "usn_income"}, headers={"If-Match": f'"{row.sequence + 1}"'})
        assert refused.status_code == 409
    (message,) = await told(world, "receipt.contact_added")
    assert message["sequence"] == row.sequence + 1
    assert len(await world.tape()) == 1
