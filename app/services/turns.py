"""Turns: receipts of one payment are printed strictly in order, and its totals are what they took from it."""

from datetime import datetime
from uuid import UUID

from app.db.records import TimelineEntry
from app.db.repos import chains, history, planned, prepayments
from app.db.repos.chains import Chain
from app.db.repos.receipts import ReceiptRow
from app.db.unit_of_work import Tx, database_now
from app.domain.errors import Conflict
from app.domain.ledger import balance, undoes_closing
from app.domain.lifecycle import BLOCKING, Happening, MessageType, Status, step
from app.domain.money import roubles
from app.domain.plan import Held, HeldReason, Missing
from app.domain.receipt import Customer
from app.infra.crypto import SecretBox
from app.queue import work
from app.queue.jobs import JobKind
from app.queue.tell import tell
from app.services.correction_standing import lost_its_sibling, waits_for_sibling
from app.services.customers import open_customer
from app.services.giving_up import give_up
from app.services.intake import Intake
from app.services.story import (
    NOT_COUNTED,
    SALES,
    Stories,
    Story,
    Taken,
    closings,
    counts,
    document,
    is_refund,
    moved,
    refunds,
)
from app.services.telling import told
from app.services.views import held_failure

_ON_THE_WAY = BLOCKING - {Status.QUEUED}

SALE_NOT_FISCALIZED = Missing(
    "payment_id",
    "#/payment_id",
    "The sale has no receipt (it is held, refused or cancelled), so there is nothing that a receipt could return.",
    "У продажи нет чека (он ждёт данных, отклонён или отменён), возвращать чеком нечего.",
)


class Turns:
    """Acts on chains that the caller has locked."""

    def __init__(self, intake: Intake, stories: Stories, box: SecretBox) -> None:
        self._intake = intake
        self._stories = stories
        self._box = box

    async def advance(self, tx: Tx, chain: Chain) -> None:
        """Give the next receipt its turn; then the chain's totals, the table's CHECKs having the last word."""
        story = await self._stories.read(tx, chain)
        gone = await self._give_turn(tx, story)
        await self._recount(tx, story, gone)

    async def recount(self, tx: Tx, chain: Chain) -> None:
        """The totals of a payment that a closing of its order drew on."""
        await self._recount(tx, await self._stories.read(tx, chain), set())

    async def must_hold(self, tx: Tx, chain: Chain) -> None:
        """Conflict when a receipt that a person brings back takes what others took meanwhile."""
        story = await self._stories.read(tx, chain)
        if story.sale is None or story.sale.status in NOT_COUNTED:
            return
        sale = document(story.sale)
        received = balance(sale, (), ()).received
        back = refunds(story)
        prepaid_back = sum(item.amount for one in back for item in one.items if item.payment_method.before_handing_over)
        offset, back_again = moved(story)
        closed = sum(one.total for one in closings(story)) + sum(one.total for one in offset) - back_again
        undone = min(closed, sum(one.total for one in back if undoes_closing(one)))
        closed -= undone
        if sum(one.total for one in back) - undone > sale.total or (closed and closed + prepaid_back > received):
            raise Conflict(
                f"of this payment's {roubles(sale.total)} more would be returned or closed than is left; "
                "cancel this receipt, or the one that took its place"
            )

    async def _recount(self, tx: Tx, story: Story, gone: set[UUID]) -> None:
        chain, sale = story.chain, story.sale
        if chain.of_order:
            return
        counted = [row for row in story.counted if row.id not in gone]
        own = sum(row.total for row in counted if row.operation in SALES and row is not sale)
        back = [document(row) for row in counted if is_refund(row)]
        # A closing that was undone moved no money: it is neither closed nor returned.
        settled = own + sum(part.amount for part in story.parts if counts(part))
        undone = min(settled, sum(one.total for one in back if undoes_closing(one)))
        await planned.set_totals(
            tx,
            chain.id,
            # A person may have filled or corrected the sale's amount since it was reported.
            sold=chain.sold if sale is None or sale not in counted else sale.total,
            refunded=sum(one.total for one in back) - undone,
            settled=settled - undone,
        )
        if sale is None or sale not in counted:
            return
        standing = Taken(counted, sale, story.parts)
        found = balance(document(sale), closings(standing), refunds(standing), *moved(standing))
        if found.received:
            await prepayments.set_closed(tx, chain.merchant_id, sale.id, closed=found.open == 0)

    async def _give_turn(self, tx: Tx, story: Story) -> set[UUID]:
        """Strictly in order: the first receipt that waits gets its job when no other is on its way.

        One that was held and filled later waits for those that overtook it. Returns what became held, its sale gone.
        """
        rows = story.rows
        for row in [one for one in rows if lost_its_sibling(one, rows)]:
            note = {"reason": "the document that had to go before it was given up"}
            await give_up(tx, row, "planner", note, await database_now(tx), self._box, self._intake.links)
            rows = [one for one in rows if one is not row]
        waiting = [row for row in rows if row.status == Status.QUEUED.value and not waits_for_sibling(row, rows)]
        if story.sale is not None and story.sale.status in NOT_COUNTED:
            for row in waiting:
                await self._sale_gone(tx, row)
            return {row.id for row in waiting}
        if any(Status(row.status) in _ON_THE_WAY for row in story.rows):
            return set()
        for row in waiting:
            if await work.has_job(tx, row.id):
                return set()
        first = next((row for row in waiting if row.kassa_id is not None), None)
        if first is not None and first.kassa_id is not None:
            await work.enqueue(tx, JobKind.FISCALIZE, first.kassa_id, first.id, chain=story.chain.id)
        return set()

    async def _sale_gone(self, tx: Tx, row: ReceiptRow) -> None:
        """The sale was refused or cancelled: what looks back at it would return or close what no receipt sold."""
        at = await database_now(tx)
        consequence = step(Status.QUEUED, Happening.SALE_NOT_FISCALIZED)
        after = row.changed(
            status=consequence.status.value,
            sequence=row.sequence + 1,
            failure=held_failure(Held(HeldReason.SALE_NOT_FISCALIZED, (SALE_NOT_FISCALIZED,)), at),
            updated_at=at,
        )
        customer = open_customer(self._box, row.merchant_id, row.id, row.customer)
        if not await planned.rewrite_receipt(
            tx, row, self._intake.new_receipt(after, customer), sequence=after.sequence
        ):
            return
        await work.take_unmarked(tx, row.id)
        if row.event_id is not None:
            await planned.set_event(tx, row.merchant_id, row.event_id, "held", after.failure)
        await self.tell_held(tx, after, customer, at)

    async def tell_held(self, tx: Tx, row: ReceiptRow, customer: Customer | None, at: datetime) -> None:
        """A hold in the history, and its message."""
        await history.add(
            tx,
            row.merchant_id,
            TimelineEntry("held", "planner", row.status, {"failure": row.failure}),
            receipt_id=row.id,
            event_id=row.event_id,
        )
        await tell(
            tx,
            row.merchant_id,
            MessageType.HELD.value,
            told(MessageType.HELD, row, customer, at, self._intake.links),
            at,
            receipt_id=row.id,
            sequence=row.sequence,
        )

    async def recount_drawn(self, tx: Tx, chain: Chain) -> None:
        """The payments that an order's closings, or a payment that offsets them, drew on, after a receipt moved."""
        rows = (await self._stories.read(tx, chain)).rows
        for drawn in await prepayments.drawn_by(tx, chain.merchant_id, [row.id for row in rows]):
            payment = await chains.lock(tx, chain.merchant_id, drawn)
            if payment is not None:
                await self.recount(tx, payment)
