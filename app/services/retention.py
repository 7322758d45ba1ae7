"""Retention: what has served its time goes, in small batches, and only when nothing can still need it.

Raw exchanges, told messages and inbound bodies go after days; receipts with all that belongs to them after years, a
whole payment at a time. Identities of events and settlement keys stay for ever.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from app.db.repos import audit, idempotency, retention
from app.db.repos.retention import Kind
from app.db.unit_of_work import Database, database_now
from app.domain.errors import Busy

log = structlog.get_logger(__name__)

YEARS: Final = 5
"""How long accounting documents are to be kept at least (402-FZ; the article is unconfirmed). A longer time is set by
KASSA_RETENTION_RECEIPTS_YEARS."""

BATCH: Final = 500
_TRIES = 5
_EVERY_SECONDS = 86_400.0
# Workers begin their day a little apart from each other's batches; a pause leaves the disk to receipts.
_DAILY_PAUSE = 0.05

Progress = Callable[[str, int], None]
"""Told after each batch: what is being walked, and how many old rows were looked at."""

_RAW = (
    ("exchanges", retention.EXCHANGES),
    ("messages", retention.MESSAGES),
    ("inbound", retention.INBOUND),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things are kept. `years` None: receipts are not touched."""

    days: int
    years: int | None


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went, or with a dry run what would go, by name; and the moments before which things were old."""

    counts: dict[str, int]
    raw_before: datetime
    receipts_before: datetime | None


class Retention:
    """Lets old things go."""

    def __init__(self, database: Database, *, batch: int = BATCH) -> None:
        self._database = database
        self._batch = batch

    async def prune(
        self,
        limits: Limits,
        actor: str,
        progress: Progress | None = None,
        *,
        dry: bool = False,
        resume: bool = False,
        pause: float = 0.0,
    ) -> Pruned:
        """Walk everything old; may be stopped at any time and started again, each batch is whole by itself.

        What went is audited, also when the walk breaks off. `resume`: exchanges are walked from where the last such
        run ended. Raises Busy when a batch met somebody else's locks again and again, or the database is away.
        """
        async with self._database.pipeline() as tx:
            now = await database_now(tx)
        raw = now - timedelta(days=limits.days)
        old = None if limits.years is None else _years_before(now, limits.years)
        counts: Counter[str] = Counter()
        told = progress or (lambda _name, _walked: None)
        try:
            for name, kind in _RAW:
                keep_place = resume and kind is retention.EXCHANGES
                await self._walk(name, kind, raw, counts, told, dry=dry, keep_place=keep_place, pause=pause)
            if old is not None:
                await self._walk("receipts", None, old, counts, told, dry=dry, pause=pause)
            await self._keys(counts, dry=dry)
        finally:
            if not dry and counts.total():
                await self._audit(actor, counts, raw, old)
        return Pruned(dict(counts), raw, old)

    async def daily(self, limits: Limits) -> None:
        """The same once a day by whichever worker comes first."""
        async with self._database.pipeline() as tx:
            mine = await retention.take_turn(tx, _EVERY_SECONDS)
        if mine:
            done = await self.prune(limits, "worker", resume=True, pause=_DAILY_PAUSE)
            if done.counts:
                log.info("retention.pruned", **done.counts)

    async def _walk(
        self,
        name: str,
        kind: Kind | None,
        before: datetime,
        counts: Counter[str],
        progress: Progress,
        *,
        dry: bool,
        keep_place: bool = False,
        pause: float = 0.0,
    ) -> None:
        after = await self._place() if keep_place else retention.FIRST
        while True:
            done = await self._one(kind, before, after, dry=dry)
            counts.update({key: count for key, count in done.counts.items() if count})
            progress(name, done.walked)
            if done.last is None:
                return
            after = done.last
            if keep_place and not dry:
                async with self._database.pipeline() as tx:
                    await retention.remember(tx, after)
            if pause:
                await asyncio.sleep(pause)

    async def _one(self, kind: Kind | None, before: datetime, after: UUID, *, dry: bool) -> retention.Batch:
        for attempt in range(_TRIES):
            try:
                async with self._database.pipeline() as tx:
                    if kind is None:
                        return await retention.receipts(tx, before, after, self._batch, dry=dry)
                    return await retention.batch(tx, kind, before, after, self._batch, dry=dry)
            except Busy:
                if attempt == _TRIES - 1:
                    raise
                await asyncio.sleep(0.2 * (attempt + 1))
        raise AssertionError("unreachable")

    async def _keys(self, counts: Counter[str], *, dry: bool) -> None:
        async with self._database.pipeline() as tx:
            expired = await retention.expired_keys(tx)
        gone = 0
        while not dry and gone < expired:
            async with self._database.pipeline() as tx:
                took = await idempotency.prune(tx, self._batch)
            if not took:
                break
            gone += took
        if found := expired if dry else gone:
            counts["idempotency_keys"] += found

    async def _place(self) -> UUID:
        async with self._database.pipeline() as tx:
            return await retention.place(tx)

    async def _audit(self, actor: str, counts: Counter[str], raw: datetime, old: datetime | None) -> None:
        data = {
            "counts": dict(counts),
            "raw_before": raw.isoformat(),
            "receipts_before": None if old is None else old.isoformat(),
        }
        async with self._database.pipeline() as tx:
            await audit.record(tx, actor, "retention.pruned", merchant_id=None, object_id="installation", data=data)


def _years_before(moment: datetime, years: int) -> datetime:
    """The same day some years ago; of the 29th of February the 28th."""
    try:
        return moment.replace(year=moment.year - years)
    except ValueError:
        return moment.replace(year=moment.year - years, day=28)
