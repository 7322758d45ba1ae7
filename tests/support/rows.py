"""Rows put straight into the tables, for tests of single statements."""

from datetime import UTC, datetime
from uuid import UUID

import asyncpg
from sqlalchemy import func, insert, text

from app.db.tables import jobs, kassas, lanes, merchants, receipts, sources
from app.db.unit_of_work import Database
from app.infra.ids import new_id
from app.queue.jobs import JobKind


async def merchant(database: Database) -> tuple[UUID, UUID]:
    """A merchant with its built-in source and that source's lane: (merchant, source)."""
    merchant_id, source_id = new_id(), new_id()
    async with database.pipeline() as tx:
        await tx.execute(insert(merchants).values(id=merchant_id, name="Школа", inn="7707083893"))
        await tx.execute(insert(sources).values(id=source_id, merchant_id=merchant_id, kind="api", name="api"))
        await tx.execute(insert(lanes).values(id=source_id, kind="source", merchant_id=merchant_id, max_in_flight=8))
    return merchant_id, source_id


async def kassa(
    database: Database, merchant_id: UUID, *, max_in_flight: int = 4, provider: str = "digitalkassa"
) -> UUID:
    """A kassa row (its credentials do not open) with its lane."""
    kassa_id = new_id()
    async with database.pipeline() as tx:
        await tx.execute(
            insert(kassas).values(
                id=kassa_id,
                merchant_id=merchant_id,
                name="Main",
                provider=provider,
                base_url="http://127.0.0.1:1/",
                group_key="g",
                ffd="1.2",
                taxation=["usn_income"],
                place="https://shop.example/",
                timezone="Europe/Moscow",
                internet=True,
                credentials=b"",
                callback_secret=b"",
                callback_secret_hash=b"",
            )
        )
        await tx.execute(
            insert(lanes).values(
                id=kassa_id,
                kind="kassa",
                merchant_id=merchant_id,
                provider=provider,
                max_in_flight=max_in_flight,
            )
        )
    return kassa_id


async def receipt(database: Database, merchant_id: UUID, source_id: UUID, kassa_id: UUID, *, job: bool = True) -> UUID:
    """A queued receipt, with its fiscalize job unless told otherwise."""
    receipt_id = new_id()
    async with database.pipeline() as tx:
        await tx.execute(
            insert(receipts).values(
                id=receipt_id,
                merchant_id=merchant_id,
                source_id=source_id,
                kassa_id=kassa_id,
                provider_id=receipt_id.hex,
                operation="sell",
                status="queued",
                total=100,
                created_at=datetime.now(UTC),
                updated_at=datetime.now(UTC),
            )
        )
    if job:
        await enqueue(database, kassa_id, receipt_id)
    return receipt_id


async def enqueue(database: Database, lane: UUID, ref: UUID, kind: JobKind = JobKind.FISCALIZE) -> None:
    async with database.pipeline() as tx:
        await tx.execute(insert(jobs).values(id=new_id(), kind=int(kind), lane=lane, ref=ref, run_at=func.kassa_now()))


async def scalar(database: Database, sql: str, **values: object) -> object:
    async with database.pipeline() as tx:
        return (await tx.execute(text(sql), values)).scalar_one_or_none()


async def move_time(database: Database, seconds: float) -> None:
    """From now on `kassa_now()` runs this much ahead; the one clock of leases and delays."""
    connection = await asyncpg.connect(database.dsn.asyncpg_dsn)
    try:
        await connection.execute(
            "CREATE OR REPLACE FUNCTION kassa_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
            f"$$ SELECT clock_timestamp() + interval '{float(seconds)} seconds' $$"
        )
    finally:
        await connection.close()


async def due_now(database: Database) -> None:
    """Whatever waits for a later try is tried now."""
    async with database.pipeline() as tx:
        await tx.execute(text("UPDATE jobs SET run_at = kassa_now() WHERE lease_token IS NULL"))
