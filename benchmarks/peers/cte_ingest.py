"""The shortest durable way for one caller: FastAPI and asyncpg, event, receipt and job in one statement."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
from fastapi import FastAPI, Request

from app.infra.dsn import Dsn
from benchmarks.peers.model import Event, Stored

_STORE = """
WITH event AS (
  INSERT INTO peer_events (id, external_id, type, amount, payload) VALUES ($1, $2, $3, $4, $5::jsonb)
), receipt AS (
  INSERT INTO peer_receipts (id, event_id, status, total) VALUES ($6, $1, 'queued', $4)
)
INSERT INTO peer_jobs (id, kind, receipt_id) VALUES ($7, 'fiscalize', $6)
"""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    dsn = Dsn.parse(os.environ["BENCH_URL"])
    async with asyncpg.create_pool(dsn.asyncpg_dsn, min_size=10, max_size=10, **dsn.connect_kwargs) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/events", status_code=202)
async def ingest(event: Event, request: Request) -> Stored:
    event_id = uuid4()
    await request.app.state.pool.execute(
        _STORE,
        event_id,
        event.external_id,
        event.type,
        event.amount,
        event.model_dump_json(),
        uuid4(),
        uuid4(),
    )
    return Stored(id=str(event_id), status="queued")
