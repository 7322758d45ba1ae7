"""Jobs that end in batches: each under its own lease, an endpoint touched once, nothing stored for a lost lease."""

from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.db.unit_of_work import Database
from app.infra.ids import new_id
from app.queue.claim import claim
from app.queue.endings import Ended, Ending, Finished, Posted, end
from app.queue.jobs import Job, JobKind
from tests.support import rows


async def test_a_job_is_finished_by_the_holder_of_its_lease_only(database: Database) -> None:
    _, source = await rows.merchant(database)
    for _ in range(3):
        await rows.enqueue(database, source, new_id(), JobKind.INBOUND)
    one, two, three = await leased(database)
    batch: list[Ending] = [
        Finished(one.id, one.lease_token),
        Finished(two.id, new_id()),
        Finished(new_id(), one.lease_token),
        Finished(three.id, three.lease_token),
    ]
    assert await ended(database, batch) == [Ended(True), Ended(False), Ended(False), Ended(True)]
    assert await ended(database, batch) == [Ended(False)] * 4, "given again after a lost commit it changes nothing"
    assert await rows.scalar(database, "SELECT id FROM jobs") == two.id


async def test_posts_of_one_endpoint_touch_it_once_and_are_stored_under_their_leases(database: Database) -> None:
    merchant, endpoint, jobs = await posts(database, 5)
    lost, *kept = jobs
    batch: list[Ending] = [
        posted(lost, merchant, endpoint, status="delivered", lease_token=new_id()),
        posted(kept[0], merchant, endpoint, status="delivered"),
        *(posted(job, merchant, endpoint, status="pending", again=30.0) for job in kept[1:3]),
        posted(kept[3], merchant, endpoint, status="exhausted", outcome="failed"),
    ]
    found = await ended(database, batch)
    assert [one.ours for one in found] == [False, True, True, True, True]
    assert all(one.failing_seconds < 60 for one in found)
    assert await rows.scalar(database, "SELECT count(*) FROM deliveries") == 4
    assert await rows.scalar(database, "SELECT failing_since IS NOT NULL FROM webhook_endpoints")
    left = {
        row.id: (row.lease_token, row.later)
        for row in await _all(database, "SELECT id, lease_token, run_at > kassa_now() AS later FROM jobs")
    }
    assert left == {
        lost.id: (lost.lease_token, False),
        kept[1].id: (None, True),
        kept[2].id: (None, True),
    }
    states = await _all(database, "SELECT status, count(*) AS n FROM message_endpoints GROUP BY status")
    assert {row.status: row.n for row in states} == {"delivered": 1, "pending": 3, "exhausted": 1}


async def test_an_endpoint_that_takes_one_of_a_batch_is_well_again(database: Database) -> None:
    merchant, endpoint, (one, two) = await posts(database, 2)
    await rows.scalar(
        database,
        "UPDATE webhook_endpoints SET failing_since = kassa_now() - interval '6 days' RETURNING id",
    )
    found = await ended(
        database,
        [
            posted(one, merchant, endpoint, status="pending", outcome="failed", again=5.0),
            posted(two, merchant, endpoint, status="delivered", recovered=True),
        ],
    )
    assert found == [Ended(True), Ended(True)], "no reason to switch it off"
    assert await rows.scalar(database, "SELECT failing_since IS NULL FROM webhook_endpoints")


async def test_a_failure_tells_for_how_long_the_endpoint_has_taken_nothing(database: Database) -> None:
    merchant, endpoint, (one,) = await posts(database, 1)
    await rows.scalar(
        database,
        "UPDATE webhook_endpoints SET failing_since = kassa_now() - interval '6 days' RETURNING id",
    )
    (found,) = await ended(database, [posted(one, merchant, endpoint, status="pending", outcome="failed", again=5.0)])
    assert 6 * 86_400 <= found.failing_seconds < 6 * 86_400 + 60


async def leased(database: Database) -> tuple[Job, ...]:
    async with database.raw_transaction() as connection:
        return (await claim(connection, limit=100, lease_seconds=60)).jobs


async def ended(database: Database, batch: list[Ending]) -> list[Ended]:
    async with database.raw_transaction() as connection:
        return await end(connection, batch)


async def _all(database: Database, sql: str) -> list[Any]:
    async with database.pipeline() as tx:
        return list(await tx.execute(text(sql)))


async def posts(database: Database, count: int) -> tuple[UUID, UUID, tuple[Job, ...]]:
    """An endpoint with so many messages to it, each with a leased job: (merchant, endpoint, jobs)."""
    merchant, _ = await rows.merchant(database)
    endpoint = new_id()
    async with database.pipeline() as tx:
        await tx.execute(
            text(
                "INSERT INTO webhook_endpoints (id, merchant_id, url, types, secret)"
                " VALUES (:id, :merchant, 'https://crm.example.org/', '{*}', '')"
            ),
            {"id": endpoint, "merchant": merchant},
        )
        await tx.execute(
            text("INSERT INTO lanes (id, kind, merchant_id, max_in_flight) VALUES (:id, 'endpoint', :merchant, 100)"),
            {"id": endpoint, "merchant": merchant},
        )
        for _ in range(count):
            await tx.execute(
                text(
                    "WITH m AS (INSERT INTO messages (id, merchant_id, type, body)"
                    " VALUES (kassa_uuid7(), :merchant, 'receipt.held', '{}') RETURNING id),"
                    " p AS (INSERT INTO message_endpoints (id, merchant_id, message_id, endpoint_id)"
                    " SELECT kassa_uuid7(), :merchant, id, :endpoint FROM m RETURNING id)"
                    " INSERT INTO jobs (id, kind, lane, ref, run_at)"
                    " SELECT kassa_uuid7(), 6, :endpoint, id, kassa_now() FROM p"
                ),
                {"merchant": merchant, "endpoint": endpoint},
            )
    jobs = await leased(database)
    assert len(jobs) == count
    return merchant, endpoint, jobs


def posted(
    job: Job,
    merchant: UUID,
    endpoint: UUID,
    *,
    status: str,
    outcome: str | None = None,
    again: float | None = None,
    lease_token: UUID | None = None,
    recovered: bool = False,
) -> Posted:
    outcome = outcome or ("delivered" if status == "delivered" else "failed")
    return Posted(
        job_id=job.id,
        lease_token=lease_token or job.lease_token,
        attempt=job.attempt,
        again_seconds=again,
        delivery_id=new_id(),
        parcel_id=job.ref,
        merchant_id=merchant,
        message_id=job.ref,
        endpoint_id=endpoint,
        status=status,
        attempts=1,
        outcome=outcome,
        response_status=204 if outcome == "delivered" else 500,
        reason=None,
        response_head=None,
        duration_ms=3,
        failed=outcome == "failed",
        recovered=recovered,
    )
