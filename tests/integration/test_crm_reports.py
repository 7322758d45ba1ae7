"""Results told back to the CRM that reported the payment: each state once, whatever fails or dies in between."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.domain.receipt import Customer
from app.infra.failpoints import FailpointHit, Failpoints
from app.ports.source import NotReported, Reported, ReportFailed
from app.queue.jobs import Job, JobKind
from app.services.crm_reports import CrmReports
from tests.support import rows
from tests.support.sources import Town, open_town
from tests.support.world import payment

STATES = "SELECT string_agg(status || ':' || state, ' ' ORDER BY created_at, status) FROM crm_reports"


@pytest.fixture
async def town(database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(database_url, tmp_path, public_url="https://kassa.example.org") as found:
        yield found


async def pay(town: Town, external_id: str = "p-1", *, source_id: UUID | None = None, **changes: Any) -> UUID:
    intake = town.world.runtime.services.intake
    event = payment(external_id, **changes)
    return (await intake.accept(town.world.merchant_id, source_id or town.source_id, event, "source")).event_id


async def claimed(town: Town) -> Job:
    (row,) = await town.query(
        "UPDATE jobs SET lease_token = kassa_uuid7(), lease_until = kassa_now() + interval '30 seconds', "
        "attempt = attempt + 1 WHERE kind = 10 RETURNING id, lane, ref, attempt, lease_token, lease_until"
    )
    return Job(row[0], JobKind.REPORT, row[1], None, row[2], row[3], row[4], row[5])


def reports(town: Town, failpoints: str = "") -> CrmReports:
    runtime = town.world.runtime
    return CrmReports(
        database=runtime.database,
        contexts=runtime.contexts,
        links=runtime.links,
        metrics=runtime.metrics,
        failpoints=Failpoints.parse(failpoints),
        worker="w",
        retry_base_seconds=5,
        call_seconds=10,
    )


async def held(town: Town, external_id: str = "p-1") -> UUID:
    """A payment without a contact, which a person must fill."""
    return await pay(town, external_id, customer=Customer(), metadata={"pupil": 7}, order_id="A-1")


async def test_the_crm_hears_of_the_printed_receipt(town: Town) -> None:
    async with town.world.working():
        event_id = await pay(town, metadata={"pupil": 7})
        await town.until(STATES, "fiscalized:reported")
    (told,) = town.crm.told
    receipt = await town.world.receipt(event_id)
    assert (told.receipt_id, told.status, told.event_external_id) == (f"rcpt_{receipt.id.hex}", "fiscalized", "p-1")
    assert told.fiscal is not None
    assert told.fiscal.fd == receipt.fd
    assert told.metadata == {"pupil": 7}
    assert told.public_url == town.world.runtime.links.url(receipt.merchant_id, receipt.id)
    assert told.public_url is not None
    lines = await town.history(event_id)
    assert ("reported", {"source": f"src_{town.source_id.hex}", "status": "fiscalized"}) in lines
    assert await town.scalar("SELECT count(*) FROM jobs WHERE kind = 10") == 0


async def test_a_held_receipt_is_told_and_then_its_end(town: Town) -> None:
    event_id = await held(town)
    await reports(town).run(await claimed(town))
    assert await town.scalar(STATES) == "held:reported"
    (told,) = town.crm.told
    assert (told.status, told.fiscal, told.order_id) == ("held", None, "A-1")
    assert told.failure_ru
    async with town.world.working():
        world = town.world
        changes = {"customer": {"email": "anna@example.org"}}
        await world.runtime.services.actions.patch_event(world.principal, world.merchant_id, event_id, changes)
        await town.until(STATES, "held:reported fiscalized:reported")


async def test_what_was_overtaken_is_not_told_any_more(town: Town) -> None:
    event_id = await held(town)
    world = town.world
    await world.runtime.services.actions.patch_event(
        world.principal, world.merchant_id, event_id, {"customer": {"email": "anna@example.org"}}
    )
    await reports(town).run(await claimed(town))
    assert await town.scalar(STATES) == "held:superseded"
    assert town.crm.told == []


async def test_a_failure_is_tried_again_and_told_once_in_the_history(town: Town) -> None:
    event_id = await held(town)
    town.crm.result = ReportFailed("503 for anna@example.org")
    for _ in range(3):
        await reports(town).run(await claimed(town))
        await rows.due_now(town.world.runtime.database)
    assert await town.scalar(STATES) == "held:waiting"
    assert await town.scalar("SELECT attempts FROM crm_reports") == 3
    failed = [data for what, data in await town.history(event_id) if what == "report_failed"]
    assert len(failed) == 1
    assert failed[0]["again"] is True
    assert "anna@" not in failed[0]["reason"]
    town.crm.result = Reported()
    await reports(town).run(await claimed(town))
    assert await town.scalar(STATES) == "held:reported"
    metrics = town.world.runtime.metrics.registry
    told = {
        one: metrics.get_sample_value("kassa_crm_reports_total", {"source": "memory_crm", "outcome": one})
        for one in ("retry", "reported")
    }
    assert told == {"retry": 3, "reported": 1}


async def test_it_waits_longer_each_time_and_gives_up_after_a_week(town: Town) -> None:
    event_id = await held(town)
    town.crm.result = ReportFailed("503")
    waits = []
    for _ in range(4):
        await reports(town).run(await claimed(town))
        waits.append(
            float(await town.scalar("SELECT extract(epoch FROM run_at - kassa_now()) FROM jobs WHERE kind = 10"))
        )
    assert waits == sorted(waits)
    assert waits[-1] > 15
    await rows.move_time(town.world.runtime.database, 8 * 86_400)
    await reports(town).run(await claimed(town))
    assert await town.scalar(STATES) == "held:failed"
    assert await town.scalar("SELECT count(*) FROM jobs WHERE kind = 10") == 0
    assert [data.get("given_up") for what, data in await town.history(event_id) if what == "report_failed"] == [
        None,
        True,
    ]


@pytest.mark.parametrize(
    ("result", "state", "lines"),
    [
        (ReportFailed("no such pupil", final=True), "held:failed", ["report_failed"]),
        (NotReported("comments are off"), "held:not_reported", []),
    ],
)
async def test_what_is_final_ends_it(town: Town, result: Any, state: str, lines: list[str]) -> None:
    event_id = await held(town)
    town.crm.result = result
    await reports(town).run(await claimed(town))
    assert await town.scalar(STATES) == state
    assert await town.scalar("SELECT reason FROM crm_reports") == result.reason
    assert await town.scalar("SELECT count(*) FROM jobs WHERE kind = 10") == 0
    assert [what for what, _ in await town.history(event_id) if what.startswith("report")] == lines


async def test_a_bug_of_the_adapter_loses_nothing(town: Town) -> None:
    await held(town)
    town.crm.result = ZeroDivisionError("secret words")
    await reports(town).run(await claimed(town))
    assert await town.scalar("SELECT reason FROM crm_reports") == "the adapter failed: ZeroDivisionError"
    assert await town.scalar(STATES) == "held:waiting"


async def test_a_worker_that_dies_behind_the_crm_tells_it_again_under_one_row(town: Town) -> None:
    await held(town)
    job = await claimed(town)
    with pytest.raises(FailpointHit):
        await reports(town, "report.before_commit=raise*1").run(job)
    assert await town.scalar(STATES) == "held:waiting"
    await reports(town).run(await claimed(town))
    assert await town.scalar(STATES) == "held:reported"
    assert len(town.crm.told) == 2
    # The first worker wakes up: its job is gone, and so is what it would store.
    await reports(town).run(job)
    assert len(town.crm.told) == 2


async def test_while_the_source_is_off_the_result_waits(town: Town) -> None:
    await held(town)
    await town.change(status="off")
    await reports(town).run(await claimed(town))
    assert await town.scalar(STATES) == "held:waiting"
    assert town.crm.told == []


async def test_results_have_a_lane_of_their_own(town: Town) -> None:
    await held(town)
    lane = (await town.row()).report_lane
    assert lane not in (None, town.source_id)
    assert await town.scalar("SELECT lane FROM jobs WHERE kind = 10") == lane
    assert await town.scalar("SELECT kind FROM lanes WHERE id = :l", l=lane) == "report"


async def test_a_source_from_before_gets_its_lane_by_the_sweep(town: Town) -> None:
    await town.connect(name="Second")
    await town.query("UPDATE sources SET report_lane = NULL RETURNING 1")
    await held(town, "p-0")
    assert await town.scalar("SELECT count(*) FROM crm_reports") == 0
    await reports(town).keep()
    await held(town)
    assert await town.scalar("SELECT count(DISTINCT report_lane) FROM sources WHERE kind = 'memory_crm'") == 2
    assert await town.scalar("SELECT count(*) FROM crm_reports") == 1


async def test_the_built_in_source_is_told_nothing(town: Town) -> None:
    await town.world.pay(customer=Customer())
    assert await town.scalar("SELECT count(*) FROM crm_reports") == 0


async def test_the_crm_that_came_second_hears_of_the_receipt_too(town: Town) -> None:
    acquirer = town.world.source_id
    async with town.world.working():
        first = await pay(town, "a-1", source_id=acquirer, settlement_key="k")
        second = await pay(town, "p-1", settlement_key="k")
        await town.until(STATES, "fiscalized:reported")
        # And of one that was printed before it spoke.
        await pay(town, "a-2", source_id=acquirer, settlement_key="k2")
        await town.until("SELECT count(*) FROM receipts WHERE status = 'fiscalized'", 2)
        await pay(town, "p-2", settlement_key="k2")
        await town.until(STATES, "fiscalized:reported fiscalized:reported")
    assert [told.event_external_id for told in town.crm.told] == ["p-1", "p-2"]
    assert await town.world.receipts(second) == []
    assert len(await town.world.receipts(first)) == 1


async def test_a_report_that_a_race_left_out_is_made_by_the_sweep(town: Town) -> None:
    async with town.world.working():
        await pay(town, "a-1", source_id=town.world.source_id, settlement_key="k")
        await pay(town, "p-1", settlement_key="k")
        await town.until(STATES, "fiscalized:reported")
        await town.query("DELETE FROM crm_reports RETURNING 1")
        await town.until(STATES, "fiscalized:reported")
    assert len(town.crm.told) == 2
