"""The usual ingest: FastAPI and the SQLAlchemy ORM, a session per request, three objects added, one commit."""

import os
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI
from sqlalchemy import BigInteger, ForeignKey, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from benchmarks.cluster import connect
from benchmarks.peers.model import Event, Stored


class Base(DeclarativeBase):
    pass


class EventRow(Base):
    __tablename__ = "peer_events"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    external_id: Mapped[str]
    type: Mapped[str]
    amount: Mapped[int] = mapped_column(BigInteger)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ReceiptRow(Base):
    __tablename__ = "peer_receipts"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    event_id: Mapped[UUID] = mapped_column(ForeignKey("peer_events.id"))
    status: Mapped[str]
    total: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    event: Mapped[EventRow] = relationship()


class JobRow(Base):
    __tablename__ = "peer_jobs"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    kind: Mapped[str]
    receipt_id: Mapped[UUID] = mapped_column(ForeignKey("peer_receipts.id"))
    run_at: Mapped[datetime] = mapped_column(server_default=func.now())
    receipt: Mapped[ReceiptRow] = relationship()


async def _connect() -> Any:
    return await connect(os.environ["BENCH_URL"])


engine = create_async_engine("postgresql+asyncpg://", async_creator=_connect, pool_size=10, max_overflow=10)
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


async def session() -> AsyncIterator[AsyncSession]:
    async with sessions() as opened:
        yield opened


@app.post("/events", status_code=202)
async def ingest(event: Event, db: Annotated[AsyncSession, Depends(session)]) -> Stored:
    row = EventRow(
        external_id=event.external_id,
        type=event.type,
        amount=event.amount,
        payload=event.model_dump(mode="json"),
    )
    receipt = ReceiptRow(event=row, status="queued", total=event.amount)
    db.add_all([row, receipt, JobRow(kind="fiscalize", receipt=receipt)])
    await db.commit()
    return Stored(id=str(row.id), status=receipt.status)
