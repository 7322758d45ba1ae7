"""What a worker learned after it lost its lease: it moves no outcome, but makes a look-up due and blocks resends."""

from uuid import UUID

from app.db.records import TimelineEntry
from app.db.repos import attempts, history, planned, receipts
from app.db.repos.receipts import ReceiptRow
from app.db.unit_of_work import Tx, database_now
from app.domain.lifecycle import Happening, Status, step
from app.infra.crypto import SecretBox
from app.queue import work
from app.queue.jobs import JobKind
from app.queue.tell import tell
from app.services.customers import open_customer
from app.services.telling import told
from app.services.views import failure_json


async def make_lookup_due(tx: Tx, box: SecretBox, merchant_id: UUID, receipt_id: UUID, actor: str) -> None:
    """A stored attempt says that the document was accepted or printed: ask the provider before anything else is sent.

    A submit in flight is left alone: its settle reads the same evidence. A finished receipt is left as it is unless
    the evidence names another document.
    """
    row = await receipts.by_id(tx, merchant_id, receipt_id, lock=True)
    if row is None or row.kassa_id is None:
        return
    status = Status(row.status)
    match status:
        case Status.SENDING:
            return
        case Status.HELD if row.marks == 0:
            return
        case Status.ACCEPTED:
            await work.make_due(tx, row.id, (JobKind.POLL,))
            return
        case Status.UNKNOWN:
            await work.make_due(tx, row.id, (JobKind.RECONCILE,))
            return
        case Status.FISCALIZED:
            await _compare(tx, box, row, actor)
            return
        case _:
            pass
    if not await work.replace(tx, JobKind.RECONCILE, row.kassa_id, row.id, chain=row.chain_id):
        return
    after = step(status, Happening.EVIDENCE)
    await planned.set_status(tx, row, after.status.value)
    await history.add(tx, merchant_id, TimelineEntry("evidence", actor, after.status.value), receipt_id=row.id)


async def _compare(tx: Tx, box: SecretBox, row: ReceiptRow, actor: str) -> None:
    """A second document for a finished receipt is a person's business at once."""
    seen = await attempts.documents(tx, row.id)
    consequence = step(Status.FISCALIZED, Happening.DOUBLE_SUSPECTED)
    if not seen - {(row.fn, str(row.fd))} or consequence.message is None:
        return
    at, documents = await database_now(tx), sorted(map(list, seen))
    after = row.changed(
        status=consequence.status.value,
        sequence=row.sequence + 1,
        failure=failure_json("double_suspected", at=at, documents=documents),
        updated_at=at,
    )
    await planned.move_receipt(tx, row, after)
    entry = TimelineEntry("double_suspected", actor, after.status, {"documents": documents})
    await history.add(tx, row.merchant_id, entry, receipt_id=row.id)
    customer = open_customer(box, row.merchant_id, row.id, row.customer)
    body = told(consequence.message, after, customer, at)
    await tell(tx, row.merchant_id, consequence.message.value, body, at, receipt_id=row.id, sequence=after.sequence)
