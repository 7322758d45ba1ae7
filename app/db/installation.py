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
    """The epoch that this database is in; `opened_at` is set while sources may press forgotten events again.

    `forgotten_from`: nothing that was sent before it is forgotten; None when nobody knows how old the backup was.
    """

    epoch: int
    opened_at: datetime | None
    forgotten_from: datetime | None = None


class Known:
    """The epoch as a worker knows it. A mark is refused when it is another by now; then it is read again."""

    def __init__(self, database: Database, state: Installation) -> None:
        self._database = database
        self.state = state

    async def changed(self) -> bool:
        """Read it again; whether it is another than was known."""
        before, found = self.state, await present(self._database)
        if found is not None:
            self.state = found
        if self.state == before:
            return False
        log.warning("installation.epoch_changed", epoch=self.state.epoch, open=self.state.opened_at is not None)
        return True


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

_PRESENT = text("SELECT epoch, epoch_opened_at, forgotten_from FROM installation WHERE id = 1")

# What was forgotten was sent after the last thing that the backup remembers. An epoch opened within an open one keeps
# the older moment: what the first restore forgot is not remembered by the second.
_OPEN = text("""
UPDATE installation SET system_identifier = :system_identifier, timeline = :timeline, database_oid = :database_oid,
  epoch = epoch + 1, epoch_opened_at = kassa_now(), epoch_reason = :reason,
  forgotten_from = CASE WHEN epoch_opened_at IS NULL THEN CAST(:forgotten_from AS timestamptz)
    ELSE CASE WHEN forgotten_from < CAST(:forgotten_from AS timestamptz) THEN forgotten_from
      WHEN forgotten_from IS NOT NULL THEN CAST(:forgotten_from AS timestamptz) END END
WHERE id = 1
RETURNING epoch, epoch_opened_at, forgotten_from
""")

_LAST_REMEMBERED = text("""
SELECT greatest((SELECT max(seen_at) FROM workers), (SELECT at FROM timeline ORDER BY id DESC LIMIT 1))
""")

_CLOSE = text("""
UPDATE installation SET epoch_opened_at = NULL, epoch_reason = NULL, forgotten_from = NULL WHERE id = 1
""")


async def recognise(database: Database) -> Installation:
    """Compare the database's identity with the stored one; a difference opens an epoch by itself.

    It is the first thing that a process does, so the newest thing that this database remembers is the backup's.
    """
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
            return await _open(tx, dict(now), reason, (await tx.execute(_LAST_REMEMBERED)).scalar_one())
        return Installation(stored.epoch, stored.epoch_opened_at, stored.forgotten_from)


async def present(database: Database) -> Installation | None:
    """The stored epoch, nothing compared and nothing changed; None before the first worker started."""
    async with database.pipeline() as tx:
        row = (await tx.execute(_PRESENT)).one_or_none()
    return None if row is None else Installation(row.epoch, row.epoch_opened_at, row.forgotten_from)


async def restored(database: Database, reason: str, forgotten_from: datetime | None = None) -> Installation:
    """A person says that this database was restored, and of which moment the backup is.

    Without that moment every window of a provider counts as closed: workers may have written since the restore, so the
    newest thing that this database remembers says nothing of the backup.
    """
    async with database.pipeline() as tx:
        now = (await tx.execute(_IDENTITY)).one()._mapping
        await tx.execute(_FIRST, dict(now))
        return await _open(tx, dict(now), reason, forgotten_from)


async def close_epoch(database: Database) -> None:
    """Every source has repeated what it had: first submits go straight again."""
    async with database.pipeline() as tx:
        await tx.execute(_CLOSE)


async def _open(tx: Tx, identity: dict[str, object], reason: str, forgotten_from: datetime | None) -> Installation:
    # Whoever is writing a message ends first: the feed takes the messages of earlier epochs for complete.
    await tx.execute(text("LOCK TABLE messages IN SHARE MODE"))
    row = (await tx.execute(_OPEN, {**identity, "reason": reason, "forgotten_from": forgotten_from})).one()
    return Installation(row.epoch, row.epoch_opened_at, row.forgotten_from)
