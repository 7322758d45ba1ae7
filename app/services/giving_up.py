"""A receipt that waits and is not wanted any more because another one took its place, or will never be made."""

from datetime import datetime
from typing import Any

from app.db.records import TimelineEntry
from app.db.repos import history, planned
from app.db.repos.receipts import ReceiptRow
from app.db.unit_of_work import Tx
from app.domain.lifecycle import Happening, Status, step
from app.infra.crypto import SecretBox
from app.infra.page_links import PageLinks
from app.queue.tell import tell
from app.services.customers import open_customer
from app.services.telling import told


async def give_up(
    tx: Tx, row: ReceiptRow, actor: str, note: dict[str, Any], at: datetime, box: SecretBox, links: PageLinks
) -> None:
    """Cancel a locked receipt that was certainly not sent, and tell it. IllegalTransition from any other state."""
    consequence = step(Status(row.status), Happening.CANCELLED)
    after = row.changed(status=consequence.status.value, sequence=row.sequence + 1, updated_at=at)
    await planned.move_receipt(tx, row, after)
    await history.add(tx, row.merchant_id, TimelineEntry("cancelled", actor, after.status, note), receipt_id=row.id)
    if consequence.message is None:
        return
    buyer = open_customer(box, row.merchant_id, row.id, row.customer)
    body = told(consequence.message, after, buyer, at, links)
    await tell(tx, row.merchant_id, consequence.message.value, body, at, receipt_id=row.id, sequence=after.sequence)
