"""Reports to CRMs: a receipt's end, or that a person is needed, is written back where its payment came from.

At least once for each version and state of a receipt: a worker that dies after the CRM took it tells it again, under
the same row. What was overtaken by a later state is not told any more.
"""

import asyncio
import random
from datetime import datetime, timedelta
from typing import assert_never

import structlog

from app.db.records import TimelineEntry
from app.db.repos import crm_reports, events, history, notifications, receipts
from app.db.repos.crm_reports import ReportRow
from app.db.repos.events import EventRow
from app.db.repos.receipts import ReceiptRow
from app.db.repos.settings import SourceRow
from app.db.unit_of_work import Database, database_now
from app.domain.backoff import retry_delay
from app.domain.contact import mask_contacts
from app.domain.event import EventType
from app.infra.failpoints import Failpoints
from app.infra.ids import public
from app.infra.metrics import Metrics
from app.infra.page_links import PageLinks
from app.ports.source import NotReported, Report, Reported, ReportFailed, ReportResult
from app.queue import reports as queue
from app.queue import work
from app.queue.jobs import Job
from app.services.receipt_rows import fiscal_of
from app.services.source_contexts import SourceContexts

log = structlog.get_logger(__name__)

IN_FLIGHT = 2
"""Results at once for one source. They have a lane of their own: a CRM that is away holds up no payment."""

_CAP_SECONDS = 3_600.0
_GIVE_UP = timedelta(days=7)
_LONGEST_REASON = 500


class CrmReports:
    """Runs report jobs."""

    def __init__(
        self,
        *,
        database: Database,
        contexts: SourceContexts,
        links: PageLinks,
        metrics: Metrics,
        failpoints: Failpoints,
        worker: str,
        retry_base_seconds: float,
        call_seconds: float,
        rng: random.Random | None = None,
    ) -> None:
        self._database = database
        self._contexts = contexts
        self._links = links
        self._metrics = metrics
        self._failpoints = failpoints
        self._worker = worker
        self._base = retry_base_seconds
        self._call = call_seconds
        self._rng = rng or random.Random()  # noqa: S311

    async def run(self, job: Job) -> None:
        """Tell one state, unless it is told, or past."""
        async with self._database.pipeline() as tx:
            report = await crm_reports.by_id(tx, job.ref)
            if report is None or report.state != "waiting":
                await work.finish(tx, job)
                return
            receipt = await receipts.by_id(tx, report.merchant_id, report.receipt_id)
            event = await events.by_id(tx, report.merchant_id, report.event_id)
            source = await notifications.source(tx, report.source_id)
            at = await database_now(tx)
        if receipt is None or event is None or (receipt.status, receipt.version) != (report.status, report.version):
            await self._end(job, report, "superseded", None)
            return
        result = await self._told(source, event, receipt)
        await self._failpoints.hit("report.before_commit")
        await self._settle(job, report, source, result, at)

    async def _told(self, source: SourceRow | None, event: EventRow, receipt: ReceiptRow) -> ReportResult:
        if source is None or source.status != "active":
            return ReportFailed("the source is switched off", final=source is None)
        adapter = self._contexts.adapters.get(source.kind)
        if not adapter.capabilities.reports:
            return NotReported("this source takes nothing back")
        report = Report(
            receipt_id=public("rcpt", receipt.id),
            event_type=EventType(event.type),
            event_external_id=event.external_id,
            order_id=event.order_id,
            operation=receipt.operation,
            status=receipt.status,
            total=receipt.total,
            fiscal=fiscal_of(receipt),
            public_url=self._links.url(receipt.merchant_id, receipt.id),
            failure_ru=(receipt.failure or {}).get("message_ru"),
            metadata=dict(event.metadata),
        )
        try:
            async with asyncio.timeout(self._call):
                return await adapter.report(report, await self._contexts.of(source))
        except TimeoutError:
            return ReportFailed(f"no answer within {self._call:g} s")
        except Exception as error:
            # A bug of the adapter must not lose the report: it is tried again, visibly.
            log.exception("crm.report_broken", source_id=str(source.id), kind=source.kind)
            return ReportFailed(f"the adapter failed: {type(error).__name__}")

    async def _settle(
        self, job: Job, report: ReportRow, source: SourceRow | None, result: ReportResult, at: datetime
    ) -> None:
        kind = "?" if source is None else source.kind
        match result:
            case Reported():
                await self._end(job, report, "reported", None, "reported")
            case NotReported(reason=reason):
                await self._end(job, report, "not_reported", _storable(reason))
            case ReportFailed(reason=reason, final=final):
                gone = at - report.created_at > _GIVE_UP
                if final or gone:
                    words = _storable(reason)
                    await self._end(job, report, "failed", words, "report_failed", given_up=gone)
                else:
                    await self._later(job, report, _storable(reason))
                    self._metrics.crm_reports.labels(kind, "retry").inc()
                    return
            case _:
                assert_never(result)
        outcome = {Reported: "reported", NotReported: "nothing", ReportFailed: "failed"}[type(result)]
        self._metrics.crm_reports.labels(kind, outcome).inc()

    async def _end(
        self,
        job: Job,
        report: ReportRow,
        state: str,
        reason: str | None,
        what: str | None = None,
        *,
        given_up: bool = False,
    ) -> None:
        async with self._database.pipeline() as tx:
            if not await work.finish(tx, job):
                return
            await crm_reports.tried(tx, report, state, reason)
            if what is not None:
                facts = {"given_up": True} if given_up else {}
                entry = TimelineEntry(what, self._worker, None, self._data(report, reason, **facts))
                await history.add(tx, report.merchant_id, entry, receipt_id=report.receipt_id)

    async def _later(self, job: Job, report: ReportRow, reason: str) -> None:
        """Told in the history when it fails first, and when it fails in another way: not each time, for days."""
        delay = retry_delay(job.attempt, self._rng.random(), base=self._base, cap=_CAP_SECONDS)
        async with self._database.pipeline() as tx:
            if not await work.snooze(tx, job, delay):
                return
            await crm_reports.tried(tx, report, "waiting", reason)
            if reason != report.reason:
                entry = TimelineEntry("report_failed", self._worker, None, self._data(report, reason, again=True))
                await history.add(tx, report.merchant_id, entry, receipt_id=report.receipt_id)
        log.warning("crm.report_failed", receipt_id=str(report.receipt_id), attempt=job.attempt)

    @staticmethod
    def _data(report: ReportRow, reason: str | None, **facts: bool) -> dict[str, object]:
        told = {"source": public("src", report.source_id), "status": report.status, "reason": reason, **facts}
        return {name: value for name, value in told.items() if value is not None}

    async def keep(self) -> None:
        """A lane for each source that takes results, and the reports that a race left out."""
        kinds = [adapter.code for adapter in self._contexts.adapters if adapter.capabilities.reports]
        async with self._database.pipeline() as tx:
            await queue.fit_lanes(tx, kinds, max_in_flight=IN_FLIGHT)
        async with self._database.pipeline() as tx:
            await queue.report_linked(tx)


def _storable(reason: str) -> str:
    """A CRM's own words may quote the buyer, and the history is kept in the open."""
    return mask_contacts(reason.replace("\x00", ""))[:_LONGEST_REASON]
