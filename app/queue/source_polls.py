"""The job that asks a source again and again: one of each, its `ref` and its lane are the source."""

from uuid import UUID

from sqlalchemy import text

from app.db.unit_of_work import Tx
from app.queue import work
from app.queue.jobs import CHANNEL, Job, JobKind

# Asked for now while it was being asked: once more, because the listing may have passed what the caller waits for.
_AGAIN = text("""
UPDATE jobs SET lease_token = NULL, lease_until = NULL, hinted = false, attempt = :attempt,
  run_at = CASE WHEN hinted AND :attempt = 0 THEN kassa_now() ELSE kassa_now() + :seconds * interval '1 second' END
WHERE id = :id AND lease_token = :token RETURNING id
""")
_EXTEND = text("""
UPDATE jobs SET lease_until = kassa_now() + :seconds * interval '1 second'
WHERE id = :id AND lease_token = :token AND lease_until > kassa_now() RETURNING id
""")
_NOW = text(f"""
WITH asked AS (
  UPDATE jobs SET hinted = lease_token IS NOT NULL,
    run_at = CASE WHEN lease_token IS NULL THEN least(run_at, kassa_now()) ELSE run_at END
  WHERE ref = :source AND kind = {int(JobKind.POLL_SOURCE)} RETURNING id
)
SELECT pg_notify('{CHANNEL}', '') FROM asked
""")
_END = text(f"DELETE FROM jobs WHERE ref = :source AND kind = {int(JobKind.POLL_SOURCE)}")


async def start(tx: Tx, source_id: UUID) -> None:
    """The job of a source that can be listed, unless it has it."""
    await work.enqueue(tx, JobKind.POLL_SOURCE, source_id, source_id)


async def end(tx: Tx, source_id: UUID) -> None:
    """No more; what is being listed at this moment comes to its end and moves nothing."""
    await tx.execute(_END, {"source": source_id})


async def now(tx: Tx, source_id: UUID) -> None:
    """Ask it now. A listing that is under way is followed by another one."""
    await start(tx, source_id)
    await tx.execute(_NOW, {"source": source_id})


async def again(tx: Tx, job: Job, seconds: float, *, attempt: int) -> bool:
    """The next time; False when the lease is no longer ours."""
    values = {"id": job.id, "token": job.lease_token, "seconds": seconds, "attempt": attempt}
    return (await tx.execute(_AGAIN, values)).one_or_none() is not None


async def extend(tx: Tx, job: Job, seconds: float) -> bool:
    """A long listing keeps its lease; False when it is lost already."""
    values = {"id": job.id, "token": job.lease_token, "seconds": seconds}
    return (await tx.execute(_EXTEND, values)).one_or_none() is not None
