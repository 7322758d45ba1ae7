"""Jobs outside the batches: enqueue one, make one due, take one away, finish one; each in the caller's transaction."""

from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.db.tables import jobs
from app.db.unit_of_work import Tx
from app.infra.ids import new_id
from app.queue.jobs import CHANNEL, Job, JobKind


async def enqueue(
    tx: Tx, kind: JobKind, lane: UUID, ref: UUID, *, chain: UUID | None = None, delay_seconds: float = 0.0
) -> bool:
    """A job for this thing; False when it has one already."""
    found = await tx.execute(
        insert(jobs)
        .values(
            id=new_id(),
            kind=int(kind),
            lane=lane,
            chain=chain,
            ref=ref,
            run_at=_in(delay_seconds),
        )
        .on_conflict_do_nothing(index_elements=["ref"])
        .returning(jobs.c.id)
    )
    await tx.execute(select(func.pg_notify(CHANNEL, "")))
    return found.one_or_none() is not None


async def finish(tx: Tx, job: Job) -> bool:
    """Take the job away in the name of its lease; False when the lease is no longer ours."""
    found = await tx.execute(
        delete(jobs).where(jobs.c.id == job.id, jobs.c.lease_token == job.lease_token).returning(jobs.c.id)
    )
    return found.one_or_none() is not None


async def snooze(tx: Tx, job: Job, seconds: float, *, attempt: int | None = None) -> bool:
    """Give the lease back and run again later; False when the lease is no longer ours."""
    found = await tx.execute(
        update(jobs)
        .where(jobs.c.id == job.id, jobs.c.lease_token == job.lease_token)
        .values(
            lease_token=None,
            lease_until=None,
            marked_at=None,
            run_at=_in(seconds),
            attempt=job.attempt if attempt is None else attempt,
        )
        .returning(jobs.c.id)
    )
    return found.one_or_none() is not None


async def snooze_unmarked(tx: Tx, job: Job, seconds: float) -> bool:
    """The same for a job that failed on a bug: a marked one is left alone, its lease ends in a look-up."""
    found = await tx.execute(
        update(jobs)
        .where(jobs.c.id == job.id, jobs.c.lease_token == job.lease_token, jobs.c.marked_at.is_(None))
        .values(lease_token=None, lease_until=None, run_at=_in(seconds))
        .returning(jobs.c.id)
    )
    return found.one_or_none() is not None


async def release_unmarked(tx: Tx, token: UUID) -> int:
    """On shutdown: give back what was claimed and not begun; the attempt does not count."""
    found = await tx.execute(
        update(jobs)
        .where(jobs.c.lease_token == token, jobs.c.marked_at.is_(None))
        .values(lease_token=None, lease_until=None, attempt=func.greatest(jobs.c.attempt - 1, 0))
        .returning(jobs.c.id)
    )
    return len(found.all())


async def take_unmarked(tx: Tx, ref: UUID) -> bool:
    """Take a receipt's job away before it is sent, leased or not; False when it is marked or there is none."""
    found = await tx.execute(delete(jobs).where(jobs.c.ref == ref, jobs.c.marked_at.is_(None)).returning(jobs.c.id))
    return found.one_or_none() is not None


async def has_job(tx: Tx, ref: UUID) -> bool:
    return (await tx.execute(select(jobs.c.id).where(jobs.c.ref == ref))).one_or_none() is not None


async def replace(
    tx: Tx, kind: JobKind, lane: UUID, ref: UUID, *, chain: UUID | None = None, delay_seconds: float = 0.0
) -> bool:
    """Turn the receipt's job, whoever holds it, into another one; a marked submit in flight is left alone (False).

    The old lease is void: what its worker learns is stored, and moves nothing.
    """
    found = await tx.execute(
        update(jobs)
        .where(jobs.c.ref == ref, jobs.c.marked_at.is_(None))
        .values(kind=int(kind), lane=lane, run_at=_in(delay_seconds), attempt=0, lease_token=None, lease_until=None)
        .returning(jobs.c.id)
    )
    if found.one_or_none() is not None:
        await tx.execute(select(func.pg_notify(CHANNEL, "")))
        return True
    return await enqueue(tx, kind, lane, ref, chain=chain, delay_seconds=delay_seconds)


async def make_due(tx: Tx, ref: UUID, kinds: tuple[JobKind, ...]) -> bool:
    """Run an unleased job of these kinds now."""
    found = await tx.execute(
        update(jobs)
        .where(jobs.c.ref == ref, jobs.c.lease_token.is_(None), jobs.c.kind.in_([int(k) for k in kinds]))
        .values(run_at=func.least(jobs.c.run_at, func.kassa_now()))
        .returning(jobs.c.id)
    )
    if found.one_or_none() is None:
        return False
    await tx.execute(select(func.pg_notify(CHANNEL, "")))
    return True


def _in(seconds: float) -> object:
    return func.kassa_now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
