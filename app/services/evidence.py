"""What a worker learned after it lost its lease: it moves no outcome, but makes a look-up due and blocks resends.

T4 stores such an answer together with a job of its own, so that no death in between can forget it.
"""

from typing import Any
from uuid import UUID

import structlog

from app.db.records import TimelineEntry
from app.db.repos import attempts, history, notifications, planned, receipts
from app.db.repos.receipts import ReceiptRow
from app.db.unit_of_work import Database, Tx, database_now
from app.domain.decide import LookupClass, may_be_two
from app.domain.lifecycle import Happening, Status, step
from app.infra.crypto import SecretBox
from app.infra.page_links import PageLinks
from app.ports.kassa import KassaDriver
from app.ports.registry import Registry
from app.queue import work
from app.queue.jobs import Job, JobKind
from app.queue.tell import tell
from app.services.customers import open_customer
from app.services.telling import told
from app.services.views import failure_json

log = structlog.get_logger(__name__)

_IN_FLIGHT_SECONDS = 1.0
_A_PERSON_KNOWS = ("mismatch", "double_suspected")
"""Causes that speak of documents: asking again would bring one of them and hide the other."""


class Evidence:
    """Runs evidence jobs."""

    def __init__(
        self, *, database: Database, registry: Registry[KassaDriver], box: SecretBox, links: PageLinks
    ) -> None:
        self._database = database
        self._registry = registry
        self._box = box
        self._links = links

    async def run(self, job: Job) -> None:
        """Act on one late answer, once no submit of its receipt is in flight."""
        async with self._database.pipeline() as tx:
            late = await attempts.late(tx, job.ref)
            if late is None:
                await work.finish(tx, job)
                return
            log.warning("evidence.late", receipt_id=str(late.receipt_id), worker=late.worker)
            row = await receipts.by_id(tx, late.merchant_id, late.receipt_id, lock=True)
            if row is not None and row.status == Status.SENDING.value:
                await work.snooze(tx, job, _IN_FLIGHT_SECONDS)
            elif await work.finish(tx, job):
                await attempts.disprove_absence(tx, job.ref)
                cls = None if row is None else await self._class_of_last_send(tx, row)
                await make_lookup_due(tx, self._box, self._links, late.merchant_id, late.receipt_id, late.worker, cls)

    async def _class_of_last_send(self, tx: Tx, row: ReceiptRow) -> LookupClass | None:
        kassa = None if row.kassa_id is None else await notifications.kassa(tx, row.kassa_id)
        if kassa is None:
            return None
        last = await attempts.last_marked(tx, row.id, row.provider_id)
        first = row.first_marked_at or last
        since = 0.0 if last is None or first is None else (last - first).total_seconds()
        return self._registry.get(kassa.provider).capabilities.lookup_class(since)


async def make_lookup_due(
    tx: Tx,
    box: SecretBox,
    links: PageLinks,
    merchant_id: UUID,
    receipt_id: UUID,
    actor: str,
    cls: LookupClass | None = None,
) -> None:
    """A stored attempt says that the document was accepted or printed: ask the provider before anything else is sent.
    Where it cannot be asked, the look-up is what the attempt itself brought (`Reconcile`).

    A submit in flight is left alone: its settle reads the same evidence. A finished receipt is left as it is unless
    there may be a second document; `cls` is the provider's class at the moment of the last send.
    """
    row = await receipts.by_id(tx, merchant_id, receipt_id, lock=True)
    if row is None or row.kassa_id is None:
        return
    status, cause = Status(row.status), (row.failure or {}).get("code")
    match status:
        case Status.SENDING:
            return
        case Status.HELD if row.marks == 0:
            return
        case Status.NEEDS_ATTENTION if cause in _A_PERSON_KNOWS:
            return
        case Status.ACCEPTED | Status.UNKNOWN | Status.FISCALIZED if await _two(tx, row, cls):
            await _double(tx, box, links, row, actor, {"documents": await _documents(tx, row)})
            return
        case Status.CANCELLED if (row.failure or {}).get("answer") == "made_elsewhere":
            await _double(tx, box, links, row, actor, {"answer": "made_elsewhere"})
            return
        case Status.ACCEPTED:
            await work.make_due(tx, row.id, (JobKind.POLL,))
            return
        case Status.UNKNOWN:
            await work.make_due(tx, row.id, (JobKind.RECONCILE,))
            return
        case Status.FISCALIZED:
            return
        case _:
            pass
    if not await work.replace(tx, JobKind.RECONCILE, row.kassa_id, row.id, chain=row.chain_id):
        return
    after = step(status, Happening.EVIDENCE)
    await planned.set_status(tx, row, after.status.value)
    await history.add(tx, merchant_id, TimelineEntry("evidence", actor, after.status.value), receipt_id=row.id)


async def _two(tx: Tx, row: ReceiptRow, cls: LookupClass | None) -> bool:
    """Of any version of the receipt: a document besides its own, or a second send that arrived and was not needed."""
    own = {(row.fn, str(row.fd))} if row.fd is not None else set()
    if len(await attempts.documents(tx, row.id) | own) > 1:
        return True
    return cls is not None and may_be_two(await attempts.arrivals(tx, row.id, row.provider_id), cls)


async def _documents(tx: Tx, row: ReceiptRow) -> list[list[str | None]]:
    return sorted(([fn, fd] for fn, fd in await attempts.documents(tx, row.id)), key=str)


async def _double(tx: Tx, box: SecretBox, links: PageLinks, row: ReceiptRow, actor: str, facts: dict[str, Any]) -> None:
    """A second document for one payment is a person's business at once; whatever was planned for it ends."""
    consequence = step(Status(row.status), Happening.DOUBLE_SUSPECTED)
    if consequence.message is None:
        return
    await work.take_unmarked(tx, row.id)
    at = await database_now(tx)
    after = row.changed(
        status=consequence.status.value,
        sequence=row.sequence + 1,
        failure=failure_json("double_suspected", at=at, **facts),
        updated_at=at,
    )
    await planned.move_receipt(tx, row, after)
    entry = TimelineEntry("double_suspected", actor, after.status, facts)
    await history.add(tx, row.merchant_id, entry, receipt_id=row.id)
    customer = open_customer(box, row.merchant_id, row.id, row.customer)
    body = told(consequence.message, after, customer, at, links)
    await tell(tx, row.merchant_id, consequence.message.value, body, at, receipt_id=row.id, sequence=after.sequence)
