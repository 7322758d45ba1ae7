"""What a worker learned after it lost its lease: it moves no outcome, but makes a look-up due and blocks resends."""

import json
from uuid import UUID

from sqlalchemy import text

from app.db.records import TimelineEntry
from app.db.repos import history, receipts
from app.db.unit_of_work import Tx
from app.domain.lifecycle import Happening, Status, step
from app.queue import work
from app.queue.jobs import JobKind

_MOVE = text("UPDATE receipts SET status = :status, updated_at = kassa_now() WHERE id = :id")


async def make_lookup_due(tx: Tx, merchant_id: UUID, receipt_id: UUID, actor: str) -> None:
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
            await _compare(tx, row, actor)
            return
        case _:
            pass
    if not await work.replace(tx, JobKind.RECONCILE, row.kassa_id, row.id, chain=row.chain_id):
        return
    after = step(status, Happening.EVIDENCE)
    await tx.execute(_MOVE, {"status": after.status.value, "id": row.id})
    await history.add(tx, merchant_id, TimelineEntry("evidence", actor, after.status.value), receipt_id=row.id)


_OTHERS = text("""
SELECT evidence->>'fn' AS fn, evidence->>'fd' AS fd FROM attempts
WHERE receipt_id = :id AND outcome = 'fiscalized' AND evidence->>'fd' IS NOT NULL
""")


async def _compare(tx: Tx, row: receipts.ReceiptRow, actor: str) -> None:
    seen = {(other.fn, other.fd) for other in await tx.execute(_OTHERS, {"id": row.id})}
    if not seen - {(row.fn, str(row.fd))}:
        return
    after = step(Status.FISCALIZED, Happening.DOUBLE_SUSPECTED)
    await tx.execute(
        text(
            "UPDATE receipts SET status = :status, updated_at = kassa_now(),"
            " failure = CAST(:failure AS jsonb) WHERE id = :id"
        ),
        {"status": after.status.value, "id": row.id, "failure": json.dumps({"code": "double_suspected"})},
    )
    await history.add(
        tx,
        row.merchant_id,
        TimelineEntry("double_suspected", actor, after.status.value, {"documents": sorted(map(list, seen))}),
        receipt_id=row.id,
    )
