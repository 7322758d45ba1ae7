"""Which database this is: another identity than the stored one means a restore or a clone, and opens an epoch.

In an open epoch first submits look up first, because the provider may know receipts that this database forgot.
"""

from dataclasses import dataclass

import structlog
from sqlalchemy import text

from app.db.unit_of_work import Database, Tx

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Installation:
    """The epoch that this database is in; `epoch_open` while sources may press forgotten events again."""

    epoch: int
    epoch_open: bool


_IDENTITY = text("""
SELECT s.system_identifier::text AS system_identifier, c.timeline_id AS timeline,
  (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database_oid
FROM pg_control_system() s, pg_control_checkpoint() c
""")

_FIRST = text("""
INSERT INTO installation (id, system_identifier, timeline, database_oid)
VALUES (1, :system_identifier, :timeline, :database_oid) ON CONFLICT DO NOTHING
""")

_STORED = text("SELECT * FROM installation WHERE id = 1 FOR UPDATE")

_OPEN = text("""
UPDATE installation SET system_identifier = :system_identifier, timeline = :timeline, database_oid = :database_oid,
  epoch = epoch + 1, epoch_opened_at = kassa_now(), epoch_reason = :reason
WHERE id = 1
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
            await _open(tx, dict(now), "this database was restored or cloned: " + ", ".join(differing) + " changed")
            log.warning("installation.epoch_opened", changed=differing)
            return Installation(stored.epoch + 1, epoch_open=True)
        return Installation(stored.epoch, stored.epoch_opened_at is not None)


async def restored(database: Database, reason: str) -> Installation:
    """A person says that this database was restored."""
    async with database.pipeline() as tx:
        now = (await tx.execute(_IDENTITY)).one()._mapping
        await tx.execute(_FIRST, dict(now))
        stored = (await tx.execute(_STORED)).one()
        await _open(tx, dict(now), reason)
        return Installation(stored.epoch + 1, epoch_open=True)


async def close_epoch(database: Database) -> None:
    """Every source has repeated what it had: first submits go straight again."""
    async with database.pipeline() as tx:
        await tx.execute(_CLOSE)


async def _open(tx: Tx, identity: dict[str, object], reason: str) -> None:
    await tx.execute(_OPEN, {**identity, "reason": reason})
