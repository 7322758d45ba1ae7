"""Sources over the API: what they posted, how far they were listed, how their money is compared."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.main import create_app
from app.ports.source import Parsed, ReadBackFailed
from tests.support import rows
from tests.support.sources import Town, open_town
from tests.support.world import payment


@pytest.fixture
async def town(database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(database_url, tmp_path) as found:
        yield found


@pytest.fixture
async def http(town: Town) -> AsyncIterator[httpx.AsyncClient]:
    runtime = town.world.runtime
    key = await runtime.services.access.create(
        town.world.principal, merchant_id=town.world.merchant_id, name="test", scopes=["*"]
    )
    app = create_app(runtime.services, runtime.settings, metrics=runtime.metrics)
    headers = {"Authorization": f"Bearer {key.text}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="https://kassa.example.org", headers=headers
    ) as client:
        yield client


async def noted(town: Town, parsed: Any, body: str) -> None:
    """One notice, acted on by a worker."""
    town.crm.parsed = parsed
    async with town.world.working():
        await town.call("notice", body)
        await town.until("SELECT count(*) FROM notifications WHERE status = 'received'", 0)


async def test_notices_are_listed_with_what_came_of_them_and_why(town: Town, http: httpx.AsyncClient) -> None:
    good, broken = payment("p-1"), payment("p-2")
    wrong = payment("p-3", 5, items=broken.items)
    await noted(town, Parsed(events=(good,)), "1")
    await noted(town, Parsed(events=(wrong,)), "2")
    await noted(town, Parsed(note="a hold, no money"), "3")
    await noted(town, ReadBackFailed("no such payment for anna@example.org", final=True), "4")
    await town.call("notice", "5", headers={"x-secret": "guess"})
    answer = await http.get("/v1/notifications")
    assert answer.status_code == 200, answer.text
    found = answer.json()["data"]
    assert [one["status"] for one in found] == ["failed", "ignored", "refused", "processed"]
    assert [one["part"] for one in found] == ["notice"] * 4
    assert "no such payment" in found[0]["note"]
    assert "anna@" not in found[0]["note"]
    assert found[1]["note"] == "a hold, no money"
    assert "p-3" in found[2]["note"]
    for status in ("failed", "processed"):
        only = (await http.get("/v1/notifications", params={"status": status})).json()["data"]
        assert [one["status"] for one in only] == [status]
    two = (await http.get("/v1/notifications", params={"status": ["failed", "ignored"]})).json()["data"]
    assert len(two) == 2
    other = await town.connect(name="Other")
    none = await http.get("/v1/notifications", params={"source": f"src_{other.hex}"})
    assert none.json()["data"] == []
    page = (await http.get("/v1/notifications", params={"limit": 3})).json()
    rest = (await http.get("/v1/notifications", params={"limit": 3, "cursor": page["next_cursor"]})).json()
    assert [one["id"] for one in page["data"] + rest["data"]] == [one["id"] for one in found]
    assert (await http.get("/v1/notifications", params={"status": "lost"})).status_code == 422


async def test_a_notice_that_waits_says_for_what(town: Town, http: httpx.AsyncClient) -> None:
    town.crm.parsed = ReadBackFailed("the CRM answers 503")
    async with town.world.working():
        await town.call("notice", "1")
        await town.until("SELECT note FROM notifications", "the CRM answers 503")
        (one,) = (await http.get("/v1/notifications")).json()["data"]
        assert (one["status"], one["finished_at"]) == ("received", None)
        town.crm.parsed = Parsed(events=(payment("p-1"),))
        await town.until("SELECT status FROM notifications", "processed")


async def test_a_source_tells_how_far_it_was_listed_and_is_asked_now(town: Town, http: httpx.AsyncClient) -> None:
    here = f"/v1/sources/src_{town.source_id.hex}"
    shown = (await http.get(here)).json()
    assert shown["poll"] == {
        "every_seconds": 3600,
        "overlap_seconds": 600,
        "polled_to": None,
        "polled_at": None,
        "failing_since": None,
        "failure": None,
    }
    async with town.world.working():
        await town.until("SELECT polled_to IS NOT NULL FROM sources WHERE id = :s", True, s=town.source_id)
        asked = len(town.crm.asked_since)
        answer = await http.post(f"{here}/poll")
        assert answer.status_code == 202, answer.text

        async def again() -> bool:
            return len(town.crm.asked_since) > asked

        await town.world.until(again)
    built_in = f"/v1/sources/src_{town.world.source_id.hex}"
    assert (await http.get(built_in)).json()["poll"] is None
    assert (await http.post(f"{built_in}/poll")).status_code == 409
    await http.patch(here, json={"status": "off"})
    assert (await http.post(f"{here}/poll")).status_code == 409


async def test_how_money_is_compared_and_silence_is_told_are_settings(town: Town, http: httpx.AsyncClient) -> None:
    here = f"/v1/sources/src_{town.source_id.hex}"
    changes = {"settlement_key_from": "metadata.acquirer_id", "silent_after_hours": 24}
    changed = await http.patch(here, json=changes)
    assert changed.status_code == 200, changed.text
    assert {name: changed.json()[name] for name in changes} == changes
    cleared = (await http.patch(here, json=dict.fromkeys(changes))).json()
    assert [cleared[name] for name in changes] == [None, None]
    for wrong in ({"settlement_key_from": "amount"}, {"silent_after_hours": 0}):
        assert (await http.patch(here, json=wrong)).status_code == 422
    new = {"kind": "memory_crm", "name": "Two", "credentials": {"secret": "s"}, **changes}
    made = await http.post("/v1/sources", json=new)
    assert made.status_code == 201, made.text
    assert made.json()["settlement_key_from"] == "metadata.acquirer_id"


async def test_a_person_decides_about_two_reports_over_the_api(town: Town, http: httpx.AsyncClient) -> None:
    other = await town.connect(name="Acquirer")
    intake = town.world.runtime.services.intake
    for source_id, name, amount in ((town.source_id, "p-1", 100_00), (other, "p-2", 99_00)):
        event = payment(name, amount, settlement_key="k")
        await intake.accept(town.world.merchant_id, source_id, event, "source")
    second = await town.event_of("p-2", other)
    async with town.world.working():
        row = await town.world.status(second, "held")
        here = f"/v1/receipts/rcpt_{row.id.hex}"
        explained = (await http.get(f"{here}/explain")).json()
        assert [one["action"] for one in explained["actions"]] == ["resolve:other_money", "resolve:made_elsewhere"]
        body = {"answer": "other_money", "sequence": row.sequence, "reason": "two subscriptions"}
        answer = await http.post(f"{here}/resolve", json=body)
        assert answer.status_code == 200, answer.text
        await town.world.status(second, "fiscalized")
    whats = [one["what"] for one in (await http.get(f"{here}/timeline")).json()["data"]]
    assert {"alarm", "resolved_other_money", "fiscalized"} <= set(whats)
    assert await rows.scalar(town.world.runtime.database, "SELECT count(*) FROM receipts") == 2
