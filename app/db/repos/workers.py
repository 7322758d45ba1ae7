"""Heartbeats: which workers are alive, for `doctor` and the alarms; leases do not depend on them."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from app.db.tables import workers
from app.db.unit_of_work import Tx


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that beat lately."""

    id: str
    version: str
    started_at: datetime
    seen_at: datetime


async def beat(tx: Tx, name: str, version: str) -> None:
    await tx.execute(
        insert(workers)
        .values(id=name, version=version)
        .on_conflict_do_update(index_elements=["id"], set_={"seen_at": func.kassa_now(), "version": version})
    )


async def gone(tx: Tx, name: str) -> None:
    await tx.execute(delete(workers).where(workers.c.id == name))


async def alive(tx: Tx) -> list[Worker]:
    """Workers seen within half a minute; rows of long-dead ones are swept away."""
    await tx.execute(delete(workers).where(workers.c.seen_at < func.kassa_now() - text("interval '1 hour'")))
    found = await tx.execute(
        select(workers).where(workers.c.seen_at > func.kassa_now() - text("interval '30 seconds'"))
    )
    return [Worker(**row._mapping) for row in found]
