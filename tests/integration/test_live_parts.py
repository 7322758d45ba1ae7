"""Live parts: answered with what stands now, in the sender's own words, also while the database is away."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.db.unit_of_work import Database
from app.domain.errors import Busy, NotFound, SignatureInvalid
from app.infra.dsn import Dsn
from app.ports.inbound import InboundReply, InboundRequest
from tests.support.sources import Town, open_town
from tests.support.world import payment


@pytest.fixture
async def town(database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(database_url, tmp_path) as found:
        yield found


def told(reply: InboundReply) -> dict[str, Any]:
    assert reply.status == 200
    found: dict[str, Any] = json.loads(reply.body)
    return found


def take_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database does not answer any more: connections are refused, as after a crash."""
    nowhere, pipeline = Database(Dsn.parse("postgresql://nobody@127.0.0.1:9/nothing")), Database.pipeline
    monkeypatch.setattr(Database, "pipeline", lambda _: pipeline(nowhere))


async def test_a_live_part_is_accepted_and_told_at_once(town: Town) -> None:
    town.crm.event = payment("check-1")
    first = told(await town.call("print"))
    assert (first["status"], first["fd"]) == ("queued", None)
    assert first["receipt"].startswith("rcpt_")
    again = told(await town.call("print"))
    assert (again["receipt"], again["differs"]) == (first["receipt"], False)
    async with town.world.working():
        await town.world.status(await town.event_of("check-1"), "fiscalized")
    later = told(await town.call("check", "check-1"))
    assert (later["receipt"], later["status"]) == (first["receipt"], "fiscalized")
    assert isinstance(later["fd"], int)
    assert await town.scalar("SELECT count(*) FROM receipts") == 1


async def test_other_content_is_told_and_alarmed_about_and_prints_nothing(town: Town) -> None:
    town.crm.event = payment("check-1", 100_00)
    first = told(await town.call("print"))
    town.crm.event = payment("check-1", 200_00)
    second = told(await town.call("print"))
    assert (second["receipt"], second["differs"]) == (first["receipt"], True)
    assert await town.scalar("SELECT count(*) FROM receipts") == 1
    assert await town.scalar("SELECT code FROM alarms") == "amount_changed"


async def test_what_cannot_become_a_receipt_is_said_and_not_stored(town: Town) -> None:
    event = payment("check-1")
    town.crm.event = payment("check-1", 5, items=event.items)
    assert b"totals" in (await town.call("print")).body
    assert await town.scalar("SELECT count(*) FROM events") == 0


async def test_what_was_never_reported_stands_nowhere(town: Town) -> None:
    assert (await town.call("check", "nobody")).body == b"UNKNOWN"
    assert (await town.call("check", "again:nobody")).body == b"UNKNOWN"


async def test_only_a_rejected_receipt_is_tried_again(town: Town) -> None:
    town.crm.event = payment("check-1")
    await town.call("print")
    assert told(await town.call("check", "again:check-1"))["status"] == "queued"
    event_id = await town.event_of("check-1")
    await town.query(
        "UPDATE receipts SET status = 'rejected', failure = jsonb_build_object('message_ru', 'нет') RETURNING 1"
    )
    await town.query("DELETE FROM jobs WHERE ref IN (SELECT id FROM receipts) RETURNING 1")
    assert told(await town.call("check", "check-1"))["failure"] == "нет"
    assert told(await town.call("check", "again:check-1"))["status"] == "queued"
    assert (await town.world.receipt(event_id)).version == 2
    name = f"src_{town.source_id.hex}"
    assert await town.scalar("SELECT actor FROM timeline WHERE what = 'corrected'") == name


async def test_nothing_of_another_source_is_seen(town: Town) -> None:
    other = await town.connect(name="Other")
    town.crm.event = payment("check-1")
    await town.call("print")
    assert (await town.call("check", "check-1", source_id=other)).body == b"UNKNOWN"


async def test_a_forged_one_hears_no_in_the_adapters_words_or_401(town: Town) -> None:
    town.crm.event = payment("check-1")
    for part in ("print", "notice"):
        assert (await town.call(part, headers={"x-secret": "guess"})).body == b"NO"
    town.crm.says_no_in_words = False
    with pytest.raises(SignatureInvalid):
        await town.call("print", headers={})
    assert await town.scalar("SELECT count(*) FROM events") == 0
    assert await town.scalar("SELECT count(*) FROM notifications") == 0
    counted = town.world.runtime.metrics.registry.get_sample_value(
        "kassa_notifications_received_total", {"source": "memory_crm", "verdict": "forged"}
    )
    assert counted == 3


async def test_without_the_database_the_sender_is_told_to_wait(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    town.crm.event = payment("check-1")
    await town.call("print")
    take_away(monkeypatch)
    assert (await town.call("check", "check-1")).body == b"WAIT"
    assert (await town.call("print")).body == b"WAIT"
    assert (await town.call("notice")).body == b"LATER"
    # Not even then is a forger told more.
    assert (await town.call("check", "check-1", headers={})).body == b"NO"
    request = InboundRequest("POST", "check", "", {}, b"")
    with pytest.raises(Busy):
        await town.world.runtime.services.inbound.receive(f"src_{uuid4().hex}", "check", None, request)


async def test_a_process_that_just_started_knows_its_sources(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_town(database_url, tmp_path) as town:
        known = town.world.runtime.services.inbound._known
        known._last.clear()
        await known.remember()
        take_away(monkeypatch)
        assert (await town.call("check", "check-1")).body == b"WAIT"


async def test_a_bug_of_the_adapter_claims_nothing(town: Town) -> None:
    town.crm.broken = True
    assert (await town.call("check", "check-1")).body == b"WAIT"
    with pytest.raises(RuntimeError):
        await town.call("print")


async def test_a_source_that_is_off_hears_nothing(town: Town) -> None:
    await town.change(status="off")
    with pytest.raises(NotFound):
        await town.call("check", "check-1")
