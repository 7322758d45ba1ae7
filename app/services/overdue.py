"""Overdue: what waited too long is told to a person once; it is never given up by a timer."""

import structlog

from app.db.records import TimelineEntry
from app.db.repos import history, overdue
from app.db.unit_of_work import Database, database_now
from app.domain.lifecycle import Happening, Status, step
from app.infra.crypto import SecretBox
from app.infra.page_links import PageLinks
from app.queue.tell import tell
from app.services.customers import open_customer
from app.services.telling import told

log = structlog.get_logger(__name__)


class Overdue:
    """Refunds whose payment has not been reported within the limit."""

    def __init__(self, database: Database, box: SecretBox, links: PageLinks, refund_wait_seconds: float) -> None:
        self._database = database
        self._box = box
        self._links = links
        self._limit = refund_wait_seconds

    async def run(self) -> None:
        """Tell each of them once: a line in its timeline and a message; the refund stays held."""
        async with self._database.pipeline() as tx:
            for row in await overdue.refunds_without_payment(tx, self._limit):
                at = await database_now(tx)
                consequence = step(Status.HELD, Happening.OVERDUE)
                if consequence.message is None:
                    continue
                failure = {**(row.failure or {}), "overdue": True}
                after = row.changed(sequence=row.sequence + 1, failure=failure, updated_at=at)
                if not await overdue.mark_told(tx, row, after):
                    continue
                await history.add(tx, row.merchant_id, TimelineEntry("overdue", "sweep", row.status), receipt_id=row.id)
                customer = open_customer(self._box, row.merchant_id, row.id, row.customer)
                await tell(
                    tx,
                    row.merchant_id,
                    consequence.message.value,
                    told(consequence.message, after, customer, at, self._links),
                    at,
                    receipt_id=row.id,
                    sequence=after.sequence,
                )
                log.warning("refund.payment_unknown", receipt_id=str(row.id))
