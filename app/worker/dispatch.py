"""From a leased job to the service that runs it; everything a batch needs is read at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never
from uuid import UUID

from app.db.repos.outbox import Parcel
from app.db.repos.receipts import ReceiptRow
from app.db.unit_of_work import Kept
from app.domain.errors import Busy
from app.infra.ids import public
from app.infra.tracing import Kind, Tracing, born
from app.queue import load
from app.queue.jobs import RECEIPT_ORDERS, Job, JobKind
from app.services.catalog import Catalog
from app.services.crm_reports import CrmReports
from app.services.deliver import Deliver
from app.services.endings import Endings
from app.services.evidence import Evidence
from app.services.fiscalize import Fiscalize, Order
from app.services.inbound import Inbound
from app.services.plan import Planner
from app.services.poll import Poll
from app.services.reconcile import Reconcile
from app.services.source_polls import SourcePolls
from app.services.traces import attempt


@dataclass(frozen=True, slots=True)
class Stages:
    """The services that run jobs, one per kind."""

    fiscalize: Fiscalize
    poll: Poll
    reconcile: Reconcile
    planner: Planner
    deliver: Deliver
    inbound: Inbound
    evidence: Evidence
    source_polls: SourcePolls
    crm_reports: CrmReports


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a batch of jobs is about."""

    orders: dict[UUID, Order]
    parcels: dict[UUID, Parcel]
    broken: dict[UUID, Exception] = field(default_factory=dict)


class Dispatch:
    """Loads and runs jobs."""

    def __init__(self, catalog: Catalog, stages: Stages, endings: Endings, tracing: Tracing) -> None:
        self._catalog = catalog
        self._stages = stages
        self._endings = endings
        self._tracing = tracing

    async def load(self, jobs: Sequence[Job], kept: Kept) -> Loaded:
        """Read receipts and parcels of a batch at once."""
        wanted = [job.ref for job in jobs if job.kind in RECEIPT_ORDERS]
        posts = [job.ref for job in jobs if job.kind is JobKind.DELIVER]
        if not wanted and not posts:
            return Loaded({}, {})
        async with kept.raw() as connection:
            rows = await load.receipts(connection, wanted) if wanted else {}
            parcels = await load.parcels(connection, posts) if posts else {}
        loaded = Loaded({}, parcels)
        for row in rows.values():
            try:
                order = await self._order(row)
            except Busy:
                raise
            except Exception as error:
                # One receipt that cannot be read must not stop the others: its own job fails, and is tried later.
                loaded.broken[row.id] = error
            else:
                if order is not None:
                    loaded.orders[row.id] = order
        return loaded

    async def _order(self, row: ReceiptRow) -> Order | None:
        merchant = await self._catalog.merchant(row.merchant_id)
        kassa = merchant.kassas.get(row.kassa_id) if row.kassa_id else None
        if kassa is None or kassa.first_used_at is None:
            # Until its first use a kassa's address may still change: what is sent must go to the present one.
            merchant = await self._catalog.merchant(row.merchant_id, fresh=True)
            kassa = merchant.kassas.get(row.kassa_id) if row.kassa_id else None
        if kassa is None or row.document is None:
            return None
        receipt = self._stages.planner.document(row)
        return Order(row, receipt, receipt.customer, kassa, merchant.inn)

    async def run(self, job: Job, loaded: Loaded) -> None:
        """One job to its end. What it is about may be gone: then so is the job."""
        if job.ref in loaded.broken:
            raise loaded.broken[job.ref]
        match job.kind:
            case JobKind.FISCALIZE | JobKind.POLL | JobKind.RECONCILE:
                order = loaded.orders.get(job.ref)
                if order is None:
                    await self._endings.finish(job)
                    return
                with attempt(self._tracing, job, order.row, order.kassa):
                    if job.kind is JobKind.FISCALIZE:
                        await self._stages.fiscalize.run(job, order)
                    elif job.kind is JobKind.POLL:
                        await self._stages.poll.run(job, order)
                    else:
                        await self._stages.reconcile.run(job, order)
            case JobKind.PLAN:
                await self._stages.planner.plan(job)
            case JobKind.RELEASE:
                await self._stages.planner.release(job)
            case JobKind.DELIVER:
                parcel = loaded.parcels.get(job.ref)
                await (self._endings.finish(job) if parcel is None else self._stages.deliver.run(job, parcel))
            case JobKind.INBOUND:
                # It waited since it was posted, and that is when its id was made.
                with self._tracing.entry(started=born(job.ref)) as entry:
                    try:
                        await self._stages.inbound.run(job)
                    finally:
                        entry.tell("notice", Kind.CONSUMER, {"kassa.notification.id": public("ntf", job.ref)})
            case JobKind.EVIDENCE:
                await self._stages.evidence.run(job)
            case JobKind.POLL_SOURCE:
                await self._stages.source_polls.run(job)
            case JobKind.REPORT:
                await self._stages.crm_reports.run(job)
            case _:
                assert_never(job.kind)
