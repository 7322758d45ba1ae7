"""Numbers for Prometheus, of all merchants together, and whether this database is one that the program can use."""

from dataclasses import dataclass

from sqlalchemy import text

from app.db.unit_of_work import Tx

_PATIENCE = text("SET LOCAL statement_timeout = '2s'")
_ALIVE = text("SELECT 1")
_SMALL_MEMORY = text("SET LOCAL work_mem = '64kB'")
_SPILL = text("SELECT count(*) FROM generate_series(1, 200000)")
_REVISION = text("SELECT version_num FROM alembic_version")
# Finished receipts are not counted: they are all that ever were. The open ones have an index of their own.
_RECEIPTS = text("""
SELECT status, count(*) AS n, count(*) FILTER (WHERE due_at < kassa_now() - interval '5 minutes') AS overdue
FROM receipts
WHERE status IN ('held', 'queued', 'sending', 'accepted', 'unknown', 'needs_attention') GROUP BY status
""")
_JOBS = text("""
SELECT kind, state, count(*) AS n, extract(epoch FROM max(age))::float AS oldest FROM (
  SELECT kind, t.now - run_at AS age,
    CASE WHEN lease_token IS NOT NULL THEN 'leased' WHEN run_at <= t.now THEN 'ready' ELSE 'scheduled' END AS state
  FROM jobs, (SELECT kassa_now() AS now OFFSET 0) t
) j GROUP BY kind, state
""")
_LANES = text("""
SELECT kind, pause_cause AS cause, count(*) AS n FROM lanes WHERE paused_at IS NOT NULL GROUP BY 1, 2
""")
_CIRCUITS = text("""
SELECT provider, max(CASE WHEN paused_at IS NULL OR pause_cause = 'switched_off' THEN 0
  WHEN probe_at <= kassa_now() THEN 1 ELSE 2 END) AS state
FROM lanes WHERE provider IS NOT NULL GROUP BY provider
""")
_ENDPOINTS = text("SELECT count(*) FROM webhook_endpoints WHERE status = 'disabled'")
_SILENT = text("SELECT kind, count(*) AS n FROM sources WHERE silent_since IS NOT NULL GROUP BY kind")
_HEARTBEAT = text("SELECT extract(epoch FROM max(seen_at))::float FROM workers")


@dataclass(frozen=True, slots=True)
class Gauges:
    """One sample. Keys are label values; ages are in seconds."""

    receipts: dict[str, int]
    overdue: int
    jobs: dict[tuple[int, str], int]
    oldest_ready: dict[int, float]
    paused: dict[tuple[str, str], int]
    circuits: dict[str, int]
    disabled_endpoints: int
    silent_sources: dict[str, int]
    heartbeat: float | None


async def room(tx: Tx) -> None:
    """Whether the server finds room for a few megabytes, in a temporary file that is gone at once; Busy if it does not,
    at the end of the transaction."""
    await tx.execute(_SMALL_MEMORY)
    await tx.execute(_SPILL)


async def sample(tx: Tx) -> Gauges:
    """Everything at one moment; gives up after two seconds rather than weigh on a busy database."""
    await tx.execute(_PATIENCE)
    receipts = (await tx.execute(_RECEIPTS)).all()
    jobs = (await tx.execute(_JOBS)).all()
    return Gauges(
        receipts={row.status: row.n for row in receipts},
        overdue=sum(row.overdue for row in receipts),
        jobs={(row.kind, row.state): row.n for row in jobs},
        oldest_ready={row.kind: row.oldest for row in jobs if row.state == "ready"},
        paused={(row.kind, row.cause): row.n for row in await tx.execute(_LANES)},
        circuits={row.provider: row.state for row in await tx.execute(_CIRCUITS)},
        disabled_endpoints=(await tx.execute(_ENDPOINTS)).scalar_one(),
        silent_sources={row.kind: row.n for row in await tx.execute(_SILENT)},
        heartbeat=(await tx.execute(_HEARTBEAT)).scalar_one(),
    )


async def answers(tx: Tx) -> None:
    """The shortest question there is."""
    await tx.execute(_ALIVE)


async def revision(tx: Tx) -> str | None:
    """Which migration the database stands at; the answer also proves that it can be read."""
    found: str | None = (await tx.execute(_REVISION)).scalar_one_or_none()
    return found
