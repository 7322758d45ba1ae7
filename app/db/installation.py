"""Which database this is: another identity than the stored one means a restore or a clone, and opens an epoch.

In an open epoch first submits look up first, because the provider may know receipts that this database forgot.
"""

from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import text

from app.db.unit_of_work import Database, Tx

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Installation:
    """The epoch that this database is in; `opened_at` is set while sources may press forgotten events again."""

    epoch: int
    opened_at: datetime | None


# The timeline stands in the name of the WAL file; pg_control_checkpoint() knows a promotion only after a checkpoint.
_IDENTITY = text("""
SELECT system_identifier::text AS system_identifier,
  ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer AS timeline,
  (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database_oid
FROM pg_control_system()
""")

_FIRST = text("""
INSERT INTO installation (id, system_identifier, timeline, database_oid)
VALUES (1, :system_identifier, :timeline, :database_oid) ON CONFLICT DO NOTHING
""")

_STORED = text("SELECT * FROM installation WHERE id = 1 FOR UPDATE")

_PRESENT = text("SELECT epoch, epoch_opened_at FROM installation WHERE id = 1")

_OPEN = text("""
UPDATE installation SET system_identifier = :system_identifier, timeline = :timeline, database_oid = :database_oid,
  epoch = epoch + 1, epoch_opened_at = kassa_now(), epoch_reason = :reason
WHERE id = 1
RETURNING epoch, epoch_opened_at
""")

_CLOSE = text("UPDATE installation SET epoch_opened_at = NULL, epoch_reason = NULL WHERE id = 1")


async def recognise(database: Database) -> Installation:
    """Compare the database's identity with the stored one; a difference opens an epoch by itself."""
    async with database.pipeline() as tx:
        now = (await tx.execute(_IDENTITY)).one()._mapping
        await tx.execute(_FIRST, dict(now))
        stored = (await tx.execute(_STORED)).one()
        differing = [
            name for name in ("system_identifier", "timeline", "database_oid") if stored._mapping[name] != now[name]
        ]
        if differing:
            log.warning("installation.epoch_opened", changed=differing)
            reason = "this database was restored or cloned: " + ", ".join(differing) + " changed"
            return await _open(tx, dict(now), reason)
        return Installation(stored.epoch, stored.epoch_opened_at)


async def present(database: Database) -> Installation | None:
    """The stored epoch, nothing compared and nothing changed; None before the first worker started."""
    async with database.pipeline() as tx:
        row = (await tx.execute(_PRESENT)).one_or_none()
    return None if row is None else Installation(row.epoch, row.epoch_opened_at)


async def restored(database: Database, reason: str) -> Installation:
    """A person says that this database was restored."""
    async with database.pipeline() as tx:
        now = (await tx.execute(_IDENTITY)).one()._mapping
        await tx.execute(_FIRST, dict(now))
        return await _open(tx, dict(now), reason)


async def close_epoch(database: Database) -> None:
    """Every source has repeated what it had: first submits go straight again."""
    async with database.pipeline() as tx:
        await tx.execute(_CLOSE)


async def _open(tx: Tx, identity: dict[str, object], reason: str) -> Installation:
    # Whoever is writing a message ends first: the feed takes the messages of earlier epochs for complete.
    await tx.execute(text("LOCK TABLE messages IN SHARE MODE"))
    row = (await tx.execute(_OPEN, {**identity, "reason": reason})).one()
    return Installation(row.epoch, row.epoch_opened_at)
