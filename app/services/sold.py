"""The sale of a payment as it was printed: what a refund, a closing or an offset looks back at."""

from dataclasses import dataclass
from uuid import UUID

from app.db.repos.receipts import ReceiptRow
from app.domain.lifecycle import Status
from app.domain.receipt import Receipt
from app.services.story import NOT_COUNTED, Stories, Story, original_of


@dataclass(frozen=True, slots=True)
class Sold:
    """A sale as it was printed, on which kassa, and for which branch; without a row another program printed it."""

    receipt: Receipt
    kassa_id: UUID
    branch_id: UUID | None
    row: ReceiptRow | None = None

    @property
    def printed(self) -> bool:
        return self.row is None or printed(self.row)


def sold_in(stories: Stories, story: Story) -> Sold | None:
    """The sale of a payment, if it has a receipt that counts."""
    row = story.sale
    if row is None:
        receipt = original_of(story.chain)
        if receipt is None or story.chain.original is None:
            return None
        place = story.chain.original
        branch = place.get("branch_id")
        return Sold(receipt, UUID(place["kassa_id"]), None if branch is None else UUID(branch))
    if row.document is None or row.status in NOT_COUNTED or row.kassa_id is None:
        return None
    return Sold(stories.document(row), row.kassa_id, row.branch_id, row)


def printed(row: ReceiptRow) -> bool:
    return row.status == Status.FISCALIZED.value
