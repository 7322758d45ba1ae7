"""The buyer's address that came after the receipt had gone to the merchant's own: kept, and told with our link.

The fiscal document is not made again and no provider is asked to send it: none of ours offers that for another address.
What can be done is done: refunds go to the buyer from now on, and the merchant's system hears `receipt.contact_added`
with the address of the receipt's page, to be sent to the buyer.
"""

from app.db.records import TimelineEntry
from app.db.repos import history, overdue
from app.db.repos.receipts import ReceiptRow
from app.db.unit_of_work import Tx, database_now
from app.domain.lifecycle import Happening, Status, step
from app.domain.receipt import Customer
from app.queue.tell import tell
from app.services.intake import Intake
from app.services.principal import Principal
from app.services.telling import told


def may_get_contact(row: ReceiptRow, members: frozenset[str]) -> bool:
    """Only the buyer, and only of a finished receipt that bears the merchant's own address."""
    return row.status == Status.FISCALIZED.value and row.contact_fallback and members == {"customer"}


async def add_contact(tx: Tx, intake: Intake, row: ReceiptRow, customer: Customer, principal: Principal) -> None:
    """Keep the address of a locked receipt and tell it. The document keeps the address that was printed."""
    consequence = step(Status.FISCALIZED, Happening.CONTACT_ADDED)
    at = await database_now(tx)
    after = row.changed(sequence=row.sequence + 1, updated_at=at)
    sealed = intake.new_receipt(after, customer)
    await overdue.add_contact(
        tx,
        row,
        {
            "customer": sealed.customer,
            "email_hash": sealed.email_hash,
            "phone_hash": sealed.phone_hash,
            "phone_tail_hash": sealed.phone_tail_hash,
            "sequence": after.sequence,
            "updated_at": at,
        },
    )
    entry = TimelineEntry(Happening.CONTACT_ADDED.value, principal.actor, row.status)
    await history.add(tx, row.merchant_id, entry, receipt_id=row.id)
    if consequence.message is not None:
        body = told(consequence.message, after, customer, at, intake.links)
        await tell(tx, row.merchant_id, consequence.message.value, body, at, receipt_id=row.id, sequence=after.sequence)
