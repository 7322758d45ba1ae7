"""Every named point: a process is killed right there, and twenty payments still become exactly twenty receipts.

A point that is not reached fails its test, and a point without a scene fails too: what is armed is what really passes.
"""

import asyncio
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from fastapi import FastAPI, Request

from app.infra.dsn import Dsn
from app.infra.failpoints import NAMES
from app.infra.postgres import EmbeddedPostgres
from app.queue.jobs import JobKind
from app.simulator.faults import FaultRequest, Match
from tests.chaos.children import Nursery, answering
from tests.conftest import TEMPLATE
from tests.support import rows
from tests.support.program import program
from tests.support.server import serve
from tests.support.stage import LEASES_OVER_SECONDS, Settled, Stage, open_stage, settle_in

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVENTS = 20
SETTLED = "kassa_settled"
FIRST_REVISION = "0001"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def settled(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Settled:
    admin = await asyncpg.connect(postgres.url)
    await admin.execute(f"CREATE DATABASE {SETTLED} TEMPLATE {TEMPLATE}")
    await admin.close()
    url = Dsn.parse(postgres.url).with_database(SETTLED).asyncpg_dsn
    return await settle_in(url, tmp_path_factory.mktemp("settled"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nursery(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nursery]:
    found = Nursery(tmp_path_factory.mktemp("nursery"))
    await found.start()
    try:
        yield found
    finally:
        await found.stop()


Proof = Callable[[Stage], Awaitable[None]]
"""What must be true of the world when the process has just died: it died there and not a step before or after."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Who dies, what proves where, how payments come, and how many answers of the register are lost; `mute`: all of
    them until the death."""

    victim: str
    proof: Proof
    notices: bool = False
    answers_lost: int = 0
    mute: bool = False


async def _nothing_written(s: Stage) -> None:
    assert await s.count("pg_relation_size('event_identities')") == 0
    assert not s.acknowledged


async def _written_not_committed(s: Stage) -> None:
    assert await s.count("pg_relation_size('event_identities')") > 0
    assert await s.count("count(*) FROM event_identities") == 0
    assert not s.acknowledged


async def _committed_not_answered(s: Stage) -> None:
    assert await s.count("count(*) FROM event_identities") > 0
    assert not s.acknowledged


async def _no_notice_stored(s: Stage) -> None:
    assert await s.count("count(*) FROM notifications") == 0
    assert not s.acknowledged


async def _hint_not_committed(s: Stage) -> None:
    assert s.tape()
    assert await s.count("count(*) FROM timeline WHERE what = 'callback_hint'") == 0


async def _claimed(s: Stage) -> None:
    assert await s.count("count(*) FROM jobs WHERE lease_token IS NOT NULL") > 0
    assert await s.count("pg_relation_size('attempts')") == 0


async def _mark_not_committed(s: Stage) -> None:
    assert await s.count("pg_relation_size('attempts')") > 0
    assert await s.count("count(*) FROM attempts") == 0
    assert s.tap.connections == 0


async def _marked_not_connected(s: Stage) -> None:
    assert await s.count("count(*) FROM jobs WHERE marked_at IS NOT NULL") > 0
    assert s.tap.connections == 0


async def _connected_not_asked(s: Stage) -> None:
    assert await s.count("count(*) FROM jobs WHERE marked_at IS NOT NULL") > 0
    assert s.tap.connections > 0
    assert s.tap.asked == 0


async def _printed_not_known(s: Stage) -> None:
    async def printed() -> bool:
        return bool(s.tape())

    await s.until(printed, 15)
    assert await s.count("count(*) FROM attempts WHERE outcome IS NOT NULL") == 0


async def _outcome_committed(s: Stage) -> None:
    assert await s.count("count(*) FROM attempts WHERE outcome IS NOT NULL") > 0
    assert await s.count("count(*) FROM receipts WHERE status <> 'fiscalized'") > 0


async def _looked_up_not_known(s: Stage) -> None:
    assert await s.count("count(*) FROM receipts WHERE status = 'unknown'") > 0
    assert await s.count("count(*) FROM attempts WHERE kind = 'lookup'") == 0


async def _some_found(s: Stage) -> None:
    assert await s.count("count(*) FROM attempts WHERE kind = 'lookup' AND outcome = 'fiscalized'") > 0
    assert await s.count("count(*) FROM receipts WHERE status <> 'fiscalized'") > 0


async def _message_not_posted(s: Stage) -> None:
    assert await s.count("count(*) FROM messages") > 0
    assert s.sink.posts == []


async def _posted_not_noted(s: Stage) -> None:
    assert s.sink.posts
    assert await s.count("count(*) FROM message_endpoints WHERE status <> 'pending'") == 0


async def _some_taken_of_a_listing(s: Stage) -> None:
    assert 0 < await s.count("count(*) FROM events") < EVENTS
    assert await s.count("count(*) FROM sources WHERE polled_to IS NOT NULL") == 0


async def _all_taken_of_a_listing(s: Stage) -> None:
    assert await s.count("count(*) FROM events") == EVENTS
    assert await s.count("count(*) FROM sources WHERE polled_to IS NOT NULL") == 0


async def _told_to_the_crm_not_noted(s: Stage) -> None:
    assert s.tape()
    assert await s.count("count(*) FROM crm_reports WHERE state = 'waiting'") > 0
    assert await s.count("count(*) FROM crm_reports WHERE state <> 'waiting'") == 0


async def _nothing_migrated(s: Stage) -> None:
    assert await s.count("to_regclass('receipts')::text") is None
    assert await s.bytes_of_catalog() > s.catalog, "it died before it made any table"


SCENES = {
    "api.before_insert": Scene("api", _nothing_written),
    "api.after_insert_before_commit": Scene("api", _written_not_committed),
    "api.after_commit_before_response": Scene("api", _committed_not_answered),
    "inbound.after_signature": Scene("api", _no_notice_stored, notices=True),
    "callback.before_commit": Scene("api", _hint_not_committed),
    "worker.after_claim": Scene("worker", _claimed),
    "attempt.before_tx1": Scene("worker", _claimed),
    "lease.renew": Scene("worker", _mark_not_committed),
    "attempt.after_tx1": Scene("worker", _marked_not_connected),
    "provider.after_connect": Scene("worker", _connected_not_asked),
    "provider.after_request_written": Scene("worker", _printed_not_known, mute=True),
    "provider.after_response": Scene("worker", _printed_not_known),
    "attempt.before_tx2": Scene("worker", _printed_not_known),
    "attempt.after_tx2": Scene("worker", _outcome_committed),
    "readback.after_response": Scene("worker", _looked_up_not_known, answers_lost=8),
    "reconcile.mid_batch": Scene("worker", _some_found, answers_lost=8),
    "poll.after_event": Scene("crm worker", _some_taken_of_a_listing),
    "poll.before_cursor": Scene("crm worker", _all_taken_of_a_listing),
    "report.before_commit": Scene("crm worker", _told_to_the_crm_not_noted),
    "webhook.before_send": Scene("worker", _message_not_posted),
    "webhook.after_send_before_commit": Scene("worker", _posted_not_noted),
    "migration.between_steps": Scene("migrate", _nothing_migrated),
}


@pytest.mark.parametrize("name", NAMES)
async def test_killed_at(
    name: str, postgres: EmbeddedPostgres, settled: Settled, nursery: Nursery, tmp_path: Path
) -> None:
    scene = SCENES[name]
    async with open_stage(postgres, settled, nursery, tmp_path, empty=scene.victim == "migrate") as stage:
        match scene.victim:
            case "api":
                await _api_dies(stage, scene, f"{name}=kill")
            case "worker":
                await _worker_dies(stage, scene, f"{name}=kill")
            case "crm worker":
                await _crm_worker_dies(stage, scene, f"{name}=kill")
            case _:
                await _migration_dies(stage, scene, f"{name}=kill")
        await stage.until(lambda: _quiet(stage))
        await _check(stage)


async def _api_dies(stage: Stage, scene: Scene, failpoints: str) -> None:
    """A worker runs beside it; who reports hears nothing, and reports again to the API that comes after it."""
    await stage.start("worker")
    dying = await stage.api(failpoints)
    reports = asyncio.gather(*_reports(stage, scene))
    assert await dying.died() == -signal.SIGKILL
    await scene.proof(stage)
    await stage.api()
    await reports


async def _worker_dies(stage: Stage, scene: Scene, failpoints: str) -> None:
    """Another worker comes when the leases of the dead one are over."""
    if scene.answers_lost:
        lost = FaultRequest(kind="drop_after", times=scene.answers_lost, match=Match(action="submit"))
        stage.register.faults.add(lost)
    stage.tap.muted = scene.mute
    await stage.api()
    await asyncio.gather(*_reports(stage, scene))
    dying = await stage.start("worker", failpoints=failpoints)
    assert await dying.died() == -signal.SIGKILL
    await scene.proof(stage)
    stage.tap.muted = False
    await rows.move_time(stage.database, LEASES_OVER_SECONDS)
    await stage.start("worker")


async def _crm_worker_dies(stage: Stage, scene: Scene, failpoints: str) -> None:
    """Payments are listed, nobody reports them; and the CRM hears of every receipt, of some of them twice."""
    told: list[str] = []
    crm = FastAPI()

    @crm.get("/payments")
    async def payments() -> list[str]:
        return [f"l-{number}" for number in range(EVENTS)]

    @crm.post("/results", status_code=204)
    async def results(request: Request) -> None:
        told.append((await request.json())["payment"])

    async with serve(crm) as url:
        await stage.connect_crm(url)
        dying = await stage.start("worker", failpoints=failpoints)
        assert await dying.died() == -signal.SIGKILL
        await scene.proof(stage)
        await rows.move_time(stage.database, LEASES_OVER_SECONDS)
        await stage.start("worker")
        stage.acknowledged |= dict.fromkeys(await payments())
        await stage.until(lambda: _quiet(stage))
    assert set(told) == set(stage.acknowledged)
    assert await stage.count("count(*) FROM crm_reports WHERE state = 'reported'") == EVENTS
    assert await stage.count("count(*) FROM sources WHERE polled_to IS NOT NULL") == 1


async def _migration_dies(stage: Stage, scene: Scene, failpoints: str) -> None:
    """In the first step, then in the second: the next one finds the lock free and what was committed."""
    dying = await stage.start("migrate", failpoints=failpoints)
    assert await dying.died() == -signal.SIGKILL
    await scene.proof(stage)
    assert await (await stage.start("migrate", "--to", FIRST_REVISION)).died() == 0
    dying = await stage.start("migrate", failpoints=failpoints)
    assert await dying.died() == -signal.SIGKILL
    assert await stage.count("version_num FROM alembic_version") == FIRST_REVISION
    assert await (await stage.start("migrate")).died() == 0
    await stage.settle()
    await stage.api()
    await stage.start("worker")
    await asyncio.gather(*_reports(stage, scene))


@pytest.mark.parametrize("commands", [("api", "worker"), ("up",)], ids=" and ".join)
async def test_in_a_normal_start_no_point_is_active(
    commands: tuple[str, ...], postgres: EmbeddedPostgres, settled: Settled, nursery: Nursery, tmp_path: Path
) -> None:
    """Whatever is armed by a left-over variable: it is said to be ignored, and nobody dies."""
    armed = ",".join(f"{name}=kill" for name in NAMES)
    async with open_stage(postgres, settled, nursery, tmp_path) as stage, AsyncExitStack() as stack:
        env = stage.env | {"KASSA_FAILPOINTS": armed, "KASSA_PORT": str(stage.port)}
        running = [await stack.enter_async_context(program(command, cwd=tmp_path, **env)) for command in commands]
        await answering(f"{stage.api_url}/readyz")
        await asyncio.gather(*_reports(stage, Scene("nobody", _claimed)), *(stage.notify() for _ in range(5)))
        await stage.until(lambda: _quiet(stage))
        await _check(stage)
        for one in running:
            assert await one.end(signal.SIGTERM) == 0, one.said
            (line,) = [line for line in one.lines if "KASSA_FAILPOINTS" in line]
            assert "failpoints.ignored" in line
            assert "acts only with KASSA_TESTING" in line


def _reports(stage: Stage, scene: Scene) -> list[Awaitable[None]]:
    return [stage.notify() if scene.notices else stage.report(f"p-{number}") for number in range(EVENTS)]


async def _quiet(stage: Stage) -> bool:
    """Nothing is left to do and everybody was answered."""
    if len(stage.acknowledged) < EVENTS or await stage.count("count(*) FROM events") < EVENTS:
        return False
    # A source that is listed has its job for ever.
    return bool(await stage.count(f"count(*) FROM jobs WHERE kind <> {int(JobKind.POLL_SOURCE)} OR attempt > 0") == 0)


async def _check(stage: Stage) -> None:
    async with stage.database.raw() as connection:
        events = await connection.fetch("SELECT 'evt_' || replace(id::text, '-', '') AS id, external_id FROM events")
        receipts = await connection.fetch("SELECT provider_id, status FROM receipts")
        messages = await connection.fetch("SELECT 'msg_' || replace(id::text, '-', '') AS id, type FROM messages")
        notices = await connection.fetchval("SELECT count(*) FROM notifications WHERE status <> 'processed'")
    assert sorted(event["external_id"] for event in events) == sorted(stage.acknowledged), (
        "an event was lost, or came twice"
    )
    ids = {event["external_id"]: event["id"] for event in events}
    assert all(told in (None, ids[external_id]) for external_id, told in stage.acknowledged.items())
    assert [receipt["status"] for receipt in receipts] == ["fiscalized"] * len(stage.acknowledged)
    assert notices == 0
    assert sorted(stage.tape()) == sorted(receipt["provider_id"] for receipt in receipts), "not one document each"
    bodies: dict[str, set[bytes]] = defaultdict(set)
    stage.sink.verified(stage.settled.webhook_secret)
    for headers, body in stage.sink.posts:
        bodies[headers["webhook-id"]].add(body)
    assert sorted(bodies) == sorted(message["id"] for message in messages), "a message was not told, or made up"
    assert sum(message["type"] == "receipt.fiscalized" for message in messages) == len(receipts)
    assert all(len(seen) == 1 for seen in bodies.values()), "one id, two bodies"
