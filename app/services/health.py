"""Whether this process may be given work, and the numbers an operator watches."""

import asyncio
import time
from dataclasses import dataclass

import structlog

from app.db.repos import gauges
from app.db.repos.gauges import Gauges
from app.db.trouble import DISK_FULL_ADVICE
from app.db.unit_of_work import Database
from app.domain.errors import Busy
from app.infra.metrics import Metrics
from app.queue.jobs import JobKind

log = structlog.get_logger(__name__)

_SAMPLE_EVERY_SECONDS = 15.0
_PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """`ready` decides; `why` is for the operator: why it is not, or what will not go well all the same."""

    ready: bool
    why: str = ""


class Health:
    """Readiness and metrics of one process. `revision` is the migration that this code needs."""

    def __init__(self, database: Database, metrics: Metrics, revision: str) -> None:
        self._database = database
        self._metrics = metrics
        self._needed = revision
        self._schema_right = False
        self._draining = False
        self._sampled_at = -_SAMPLE_EVERY_SECONDS
        self._sampling = asyncio.Lock()

    def drain(self) -> None:
        """From now on not ready: the balancer sends nothing new, what is running ends."""
        self._draining = True

    async def ready(self) -> Readiness:
        """Answers within about a second, whatever the database does."""
        if self._draining:
            return Readiness(False, "shutting down")
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._ask()
        except (TimeoutError, Busy):
            return Readiness(False, f"the database does not answer{'; ' + DISK_FULL_ADVICE if self._full else ''}")
        if not self._schema_right:
            return Readiness(False, "the database has another schema; run crm-kassa migrate")
        # Ready all the same: what only reads works, and what is to be stored is refused with 503.
        return Readiness(True, DISK_FULL_ADVICE if self._full else "")

    async def exposition(self) -> tuple[bytes, str]:
        """The text of `/metrics` and its content type; what needs the database is at most 15 seconds old."""
        async with self._sampling:
            if time.monotonic() - self._sampled_at >= _SAMPLE_EVERY_SECONDS:
                await self._sample()
        return self._metrics.exposition()

    @property
    def _full(self) -> bool:
        return self._database.refusals.disk_full

    async def _ask(self) -> None:
        async with self._database.pipeline() as tx:
            if self._schema_right:
                await gauges.answers(tx)
            else:
                self._schema_right = await gauges.revision(tx) == self._needed

    async def _sample(self) -> None:
        try:
            async with self._database.pipeline() as tx:
                self._show(await gauges.sample(tx))
        except Busy:
            log.info("metrics.not_sampled")
        # Also after a failure: a database in trouble is not asked at every scrape.
        self._sampled_at = time.monotonic()

    def _show(self, found: Gauges) -> None:
        told = self._metrics
        for gauge in (
            told.receipts,
            told.queue_depth,
            told.queue_oldest_age_seconds,
            told.lanes_paused,
            told.provider_circuit_state,
            told.sources_silent,
        ):
            gauge.clear()
        for status, n in found.receipts.items():
            told.receipts.labels(status).set(n)
        told.receipts_overdue.set(found.overdue)
        for (kind, state), n in found.jobs.items():
            told.queue_depth.labels(_kind(kind), state).set(n)
        for kind, age in found.oldest_ready.items():
            told.queue_oldest_age_seconds.labels(_kind(kind)).set(age)
        for (lane, cause), n in found.paused.items():
            told.lanes_paused.labels(lane, cause).set(n)
        for provider, circuit in found.circuits.items():
            told.provider_circuit_state.labels(provider).set(circuit)
        for source, n in found.silent_sources.items():
            told.sources_silent.labels(source).set(n)
        told.webhook_endpoints_disabled.set(found.disabled_endpoints)
        if found.heartbeat is not None:
            told.worker_heartbeat.set(found.heartbeat)


def _kind(number: int) -> str:
    return JobKind(number).name.lower()
