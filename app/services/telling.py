"""The frozen body of a message about a receipt."""

from datetime import datetime

from app.db.repos.receipts import ReceiptRow
from app.domain.lifecycle import MessageType
from app.domain.receipt import Customer
from app.infra.page_links import PageLinks
from app.outbound.messages import message_body
from app.services.views import receipt_view


def told(message: MessageType, row: ReceiptRow, customer: Customer | None, at: datetime, links: PageLinks) -> bytes:
    """Its whole state as it is from this change on, the buyer's contact masked."""
    return message_body(message.value, at, {"receipt": receipt_view(row, customer, masked=True, links=links)})
