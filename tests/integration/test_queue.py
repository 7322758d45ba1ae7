"""The statements of the queue: caps, fairness, fences. Each closes a way to print a receipt twice or never."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
from sqlalchemy import text

from app.db.unit_of_work import Database
from app.infra.ids import new_id
from app.queue import lanes, work
from app.queue.claim import START, Claim, claim
from app.queue.jobs import Job, JobKind
from app.queue.mark import Mark, mark, marked_by_me
from app.queue.rescue import rescue
from app.queue.settle import Settlement, Verdict, settle
from tests.support import rows


async def take(database: Database, limit: int = 100, *, lease: float = 60, cursor: UUID = START) -> Claim:
    async with database.raw_transaction() as connection:
        return await claim(connection, token=new_id(), limit=limit, lease_seconds=lease, cursor=cursor)


def a_mark(job: Job, merchant_id: UUID) -> Mark:
    return Mark(
        job_id=job.id,
        lease_token=job.lease_token,
        receipt_id=job.ref,
        merchant_id=merchant_id,
        kassa_id=job.lane,
        sequence=0,
        provider_id=job.ref.hex,
        attempt_id=new_id(),
        worker="w1",
        wire_seconds=30,
    )


def a_settlement(job: Job, merchant_id: UUID, attempt_id: UUID, **changes: object) -> Settlement:
    values: dict[str, object] = {
        "job_id": job.id,
        "lease_token": job.lease_token,
        "receipt_id": job.ref,
        "merchant_id": merchant_id,
        "chain_id": None,
        "expected_status": "sending",
        "expected_sequence": 0,
        "status": "fiscalized",
        "sequence": 1,
        "failure": None,
        "fiscal": '{"fn": "1", "fd": 7}',
        "fn": "1",
        "fd": 7,
        "fpd": "9",
        "provider_reference": None,
        "next_kind": None,
        "next_seconds": 0.0,
        "next_attempt": 0,
        "finishes": True,
        "attempt_id": attempt_id,
        "attempt_kind": "submit",
        "kassa_id": job.lane,
        "provider_id": job.ref.hex,
        "worker": "w1",
        "outcome": "fiscalized",
        "cause": None,
        "provider_code": None,
        "provider_message": None,
        "evidence": '{"fn": "1", "fd": "7"}',
        "exchange": None,
        "proves_absent": False,
        "what": "fiscalized",
        "data": "{}",
        "message_id": new_id(),
        "message_type": "receipt.fiscalized",
        "message_body": b"{}",
        "at": datetime.now(UTC),
    }
    return Settlement(**{**values, **changes})  # type: ignore[arg-type]


async def test_a_lane_never_holds_more_than_its_cap(database: Database) -> None:
    merchant, source = await rows.merchant(database)
    kassa = await rows.kassa(database, merchant, max_in_flight=3)
    for _ in range(10):
        await rows.receipt(database, merchant, source, kassa)
    claims = await asyncio.gather(*(take(database) for _ in range(5)))
    assert sum(len(one.jobs) for one in claims) == 3
    assert (await take(database)).jobs == ()


async def test_a_deep_lane_does_not_delay_a_single_receipt(database: Database) -> None:
    merchant, source = await rows.merchant(database)
    deep = await rows.kassa(database, merchant, max_in_flight=4)
    async with database.pipeline() as tx:
        await tx.execute(
            text(
                "INSERT INTO jobs (id, kind, lane, ref, run_at) SELECT kassa_uuid7(), 1, :lane, kassa_uuid7(),"
                " kassa_now() - interval '1 hour' FROM generate_series(1, 2000)"
            ),
            {"lane": deep},
        )
    shallow = await rows.kassa(database, merchant)
    await rows.receipt(database, merchant, source, shallow)
    found = await take(database, limit=8)
    assert shallow in {job.lane for job in found.jobs}


async def test_the_ring_goes_on_where_it_stopped(database: Database) -> None:
    merchant, source = await rows.merchant(database)
    kassas = [await rows.kassa(database, merchant) for _ in range(6)]
    for kassa in kassas:
        await rows.receipt(database, merchant, source, kassa)
    served: list[UUID] = []
    cursor = START
    for _ in range(6):
        found = await take(database, limit=1, cursor=cursor)
        served += [job.lane for job in found.jobs]
        cursor = found.cursor
    assert sorted(served) == sorted(kassas)


async def test_a_paused_lane_is_left_out_and_its_probe_takes_one(database: Database) -> None:
    merchant, source = await rows.merchant(database)
    kassa = await rows.kassa(database, merchant)
    for _ in range(3):
        await rows.receipt(database, merchant, source, kassa)
    async with database.pipeline() as tx:
        assert await lanes.pause(tx, kassa, "provider_down", 10.0)
        assert not await lanes.pause(tx, kassa, "provider_down", 10.0), "told once"
    assert (await take(database)).jobs == ()
    await rows.move_time(database, 11)
    probing = (await take(database)).jobs
    assert [job.probe for job in probing] == [True]
    assert (await take(database)).jobs == (), "one probe at a time"
    async with database.pipeline() as tx:
        assert await lanes.resume(tx, kassa)
    assert len((await take(database)).jobs) == 2


async def test_a_switched_off_lane_is_not_probed(database: Database) -> None:
    merchant, source = await rows.merchant(database)
    kassa = await rows.kassa(database, merchant)
    await rows.receipt(database, merchant, source, kassa)
    async with database.pipeline() as tx:
        await lanes.pause(tx, kassa, lanes.SWITCHED_OFF, None)
        await lanes.probe_now(tx, kassa)
    await rows.move_time(database, 1e7)
    assert (await take(database)).jobs == ()


async def test_a_mark_is_given_once_and_only_to_the_holder_of_the_lease(database: Database) -> None:
    merchant, source = await rows.merchant(database)
    kassa = await rows.kassa(database, merchant)
    await rows.receipt(database, merchant, source, kassa)
    (job,) = (await take(database)).jobs
    other = Job(job.id, job.kind, job.lane, None, job.ref, 1, new_id(), job.lease_until)
    async with database.raw() as connection:
        assert await mark(connection, [a_mark(other, merchant)]) == [None]
        first, second = await mark(connection, [a_mark(job, merchant)]), await mark(connection, [a_mark(job, merchant)])
        assert first[0] is not None
        assert second == [None]
        assert await marked_by_me(connection, job.id, job.lease_token) == first[0]
        assert await marked_by_me(connection, job.id, new_id()) is None
    assert await rows.scalar(database, "SELECT status FROM receipts WHERE id = :id", id=job.ref) == "sending"
    assert await rows.scalar(database, "SELECT count(*) FROM attempts WHERE receipt_id = :id", id=job.ref) == 1


async def test_an_expired_lease_may_not_mark(database: Database) -> None:
    merchant, source = await rows.merchant(database)
    kassa = await rows.kassa(database, merchant)
    await rows.receipt(database, merchant, source, kassa)
    (job,) = (await take(database, lease=5)).jobs
    await rows.move_time(database, 6)
    async with database.raw() as connection:
        assert await mark(connection, [a_mark(job, merchant)]) == [None]


async def test_rescue_runs_an_unmarked_job_again_and_reconciles_a_marked_one(database: Database) -> None:
    merchant, source = await rows.merchant(database)
    kassa = await rows.kassa(database, merchant)
    for _ in range(2):
        await rows.receipt(database, merchant, source, kassa)
    unmarked, marked = (await take(database, lease=5)).jobs
    async with database.raw() as connection:
        await mark(connection, [a_mark(marked, merchant)])
        assert (await rescue(connection)).again == 0
    await rows.move_time(database, 40)
    async with database.raw() as connection:
        found = await rescue(connection)
    assert (found.again, found.reconciled) == (1, 1)
    assert await rows.scalar(database, "SELECT kind FROM jobs WHERE ref = :r", r=unmarked.ref) == JobKind.FISCALIZE
    assert await rows.scalar(database, "SELECT kind FROM jobs WHERE ref = :r", r=marked.ref) == JobKind.RECONCILE
    assert await rows.scalar(database, "SELECT status FROM receipts WHERE id = :r", r=marked.ref) == "unknown"


async def test_a_rescue_that_waited_for_a_mark_does_not_requeue_it(database: Database) -> None:
    """The hole of the first design: the rescue's snapshot was older than the mark it had waited for."""
    merchant, source = await rows.merchant(database)
    kassa = await rows.kassa(database, merchant)
    await rows.receipt(database, merchant, source, kassa)
    (job,) = (await take(database, lease=60)).jobs
    marking: asyncpg.Connection = await database.connect()
    rescuing: asyncpg.Connection = await database.connect()
    try:
        transaction = marking.transaction()
        await transaction.start()
        assert (await mark(marking, [a_mark(job, merchant)]))[0] is not None
        await marking.execute("UPDATE jobs SET lease_until = kassa_now() - interval '1 hour'")
        waiting = asyncio.create_task(rescue(rescuing, grace_seconds=-3600))
        while not await rows.scalar(database, "SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
        await transaction.commit()
        await waiting
    finally:
        await marking.close()
        await rescuing.close()
    kind = await rows.scalar(database, "SELECT kind FROM jobs WHERE ref = :r", r=job.ref)
    marked_at = await rows.scalar(database, "SELECT marked_at FROM jobs WHERE ref = :r", r=job.ref)
    assert kind == JobKind.RECONCILE or marked_at is not None


async def test_settle_moves_the_receipt_and_takes_the_job(database: Database) -> None:
    merchant, source = await rows.merchant(database)
    kassa = await rows.kassa(database, merchant)
    await rows.receipt(database, merchant, source, kassa)
    (job,) = (await take(database)).jobs
    one = a_mark(job, merchant)
    async with database.raw() as connection:
        await mark(connection, [one])
        settlement = a_settlement(job, merchant, one.attempt_id)
        assert await settle(connection, [settlement]) == [Verdict.SETTLED]
        assert await settle(connection, [settlement]) == [Verdict.ALREADY], "a commit that was lost is given again"
    assert await rows.scalar(database, "SELECT status FROM receipts WHERE id = :r", r=job.ref) == "fiscalized"
    assert await rows.scalar(database, "SELECT count(*) FROM jobs WHERE ref = :r", r=job.ref) == 0
    assert await rows.scalar(database, "SELECT count(*) FROM messages WHERE receipt_id = :r", r=job.ref) == 1


async def test_a_stale_settle_moves_nothing_but_is_remembered(database: Database) -> None:
    merchant, source = await rows.merchant(database)
    kassa = await rows.kassa(database, merchant)
    await rows.receipt(database, merchant, source, kassa)
    (job,) = (await take(database, lease=5)).jobs
    one = a_mark(job, merchant)
    async with database.raw() as connection:
        await mark(connection, [one])
    await rows.move_time(database, 60)
    async with database.raw() as connection:
        await rescue(connection)
        verdict = await settle(connection, [a_settlement(job, merchant, one.attempt_id)])
    assert verdict == [Verdict.STALE]
    assert await rows.scalar(database, "SELECT status FROM receipts WHERE id = :r", r=job.ref) == "unknown"
    assert await rows.scalar(database, "SELECT count(*) FROM messages") == 0
    assert await rows.scalar(database, "SELECT outcome FROM attempts WHERE id = :a", a=one.attempt_id) == "fiscalized"
    told = "SELECT count(*) FROM timeline WHERE receipt_id = :r AND what = 'learned_late'"
    assert await rows.scalar(database, told, r=job.ref) == 1


async def test_a_batch_settles_many_of_one_lane(database: Database) -> None:
    merchant, source = await rows.merchant(database)
    kassa = await rows.kassa(database, merchant, max_in_flight=50)
    for _ in range(20):
        await rows.receipt(database, merchant, source, kassa)
    jobs = (await take(database)).jobs
    marks = [a_mark(job, merchant) for job in jobs]
    async with database.raw() as connection:
        assert all(await mark(connection, marks))
        verdicts = await settle(
            connection, [a_settlement(job, merchant, m.attempt_id) for job, m in zip(jobs, marks, strict=True)]
        )
    assert verdicts == [Verdict.SETTLED] * 20
    assert await rows.scalar(database, "SELECT count(*) FROM jobs WHERE kind = 1") == 0


async def test_cancel_takes_the_job_away_from_a_worker_that_has_not_marked(database: Database) -> None:
    merchant, source = await rows.merchant(database)
    kassa = await rows.kassa(database, merchant)
    await rows.receipt(database, merchant, source, kassa)
    (job,) = (await take(database)).jobs
    async with database.pipeline() as tx:
        assert await work.take_unmarked(tx, job.ref)
    async with database.raw() as connection:
        assert await mark(connection, [a_mark(job, merchant)]) == [None]


async def test_cancel_comes_too_late_for_a_marked_job(database: Database) -> None:
    merchant, source = await rows.merchant(database)
    kassa = await rows.kassa(database, merchant)
    await rows.receipt(database, merchant, source, kassa)
    (job,) = (await take(database)).jobs
    async with database.raw() as connection:
        await mark(connection, [a_mark(job, merchant)])
    async with database.pipeline() as tx:
        assert not await work.take_unmarked(tx, job.ref)


async def test_one_provider_never_fills_a_worker(database: Database) -> None:
    merchant, source = await rows.merchant(database)
    for _ in range(3):
        slow = await rows.kassa(database, merchant, max_in_flight=5, provider="slow")
        for _ in range(5):
            await rows.receipt(database, merchant, source, slow)
    quick = await rows.kassa(database, merchant, provider="quick")
    await rows.receipt(database, merchant, source, quick)
    async with database.raw_transaction() as connection:
        found = await claim(
            connection, token=new_id(), limit=10, lease_seconds=60, provider_limit=5, provider_running={"slow": 2}
        )
    assert sorted(job.provider or "" for job in found.jobs) == ["quick", "slow", "slow", "slow"]
