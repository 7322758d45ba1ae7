"""A payment of which a part was received before: which prepayments it closes, and what its return gives back to them.

Tag 1215. What was given belongs to the payment that closed the prepayment, and is returned there.
"""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

from app.db.repos import chains, prepayments
from app.db.repos.chains import Chain
from app.db.repos.events import EventRow
from app.db.repos.settings import BranchRow, KassaRow, SourceRow
from app.db.unit_of_work import Tx
from app.domain.event import EventPayment, PaymentEvent
from app.domain.ffd import PaymentKind
from app.domain.ledger import Ledger
from app.domain.lifecycle import Status
from app.domain.money import roubles
from app.domain.plan import Held, HeldReason, Missing, Plan, Planned
from app.domain.reading import offsets
from app.domain.receipt import Item, Receipt
from app.domain.settlement import Prepaid, offset
from app.services.catalog import MerchantSettings
from app.services.sales import Sales
from app.services.sold import sold_in
from app.services.story import Stories, Story, closings, moved, refunds

Drawn = dict[UUID, tuple[Item, ...]]
"""Lines taken from each prepayment, by its chain."""

_GONE = (Status.CANCELLED.value, Status.REJECTED.value)


class Offsets:
    """Plans such payments under the locks of the prepayments."""

    def __init__(self, sales: Sales, stories: Stories) -> None:
        self._sales = sales
        self._stories = stories

    async def payments(self, tx: Tx, event: EventRow, found: Sequence[tuple[int, EventPayment]]) -> list[UUID]:
        """The chains that it may close: those it names, and the others of its order."""
        named = [await self._named(tx, event, part) for _, part in found if part.payment_id is not None]
        of_order = []
        if event.order_id is not None and any(part.payment_id is None for _, part in found):
            of_order = await chains.of_order(tx, event.merchant_id, event.order_id)
        return [one for one in dict.fromkeys([*named, *of_order]) if one is not None and one != event.chain_id]

    async def plan(
        self,
        tx: Tx,
        settings: MerchantSettings,
        source: SourceRow,
        event: EventRow,
        payload: PaymentEvent,
        locked: Sequence[Chain],
    ) -> tuple[Plan, KassaRow | None, BranchRow | None, Drawn]:
        """Its receipt, as of any other payment, its place, and the lines that it draws from each prepayment.

        More than is open holds it. A part without a payment's name whose order has no prepayment here is believed,
        with a remark.
        """
        branch, kassa = self._sales.place_of(settings, source, payload)
        plan = self._sales.plan(settings, source, branch, kassa, payload)
        if not isinstance(plan, Planned):
            return plan, kassa, branch, {}
        found = await self._drawn(tx, event, payload, plan, locked)
        if isinstance(found, Held):
            return found, kassa, branch, {}
        drawn, notes = found
        return replace(plan, notes=(*plan.notes, *notes)), kassa, branch, drawn

    async def given_back(self, tx: Tx, story: Story, refund: Receipt, event_id: UUID) -> Drawn:
        """Of a return by offset: what is open again in the prepayments that its sale had closed, the newest first.

        The lines carry negative sums.
        """
        parts = await prepayments.parts_of(tx, story.chain.merchant_id, [row.id for row in story.counted])
        used: dict[UUID, int] = {}
        for part in parts:
            if part.event_id != event_id:
                used[part.chain_id] = used.get(part.chain_id, 0) + part.amount
        rest = refund.paid(PaymentKind.PREPAID)
        back: Drawn = {}
        for payment, amount in reversed(used.items()):
            if (given := min(rest, amount)) > 0:
                back[payment] = (replace(refund.items[0], quantity=Decimal(1), price=given, amount=-given),)
                rest -= given
        return back

    async def _drawn(
        self, tx: Tx, event: EventRow, payload: PaymentEvent, plan: Planned, locked: Sequence[Chain]
    ) -> tuple[Drawn, list[str]] | Held:
        stories = [await self._stories.read(tx, chain) for chain in locked]
        stories.sort(key=lambda story: [(row.created_at, row.id) for row in story.rows[:1]])
        ledgers = {story.chain.id: ledger for story in stories if (ledger := self._open(story, event.id)) is not None}
        # Held, or not known to be printed: it may become a prepayment that has to be closed.
        undecided = any(
            story.sale is not None and story.sale.status not in _GONE and story.chain.id not in ledgers
            for story in stories
        )
        drawn: dict[UUID, list[Item]] = {}
        notes: list[str] = []
        # What names its payment comes first, so that what names none takes only from the rest.
        for index, part in sorted(offsets(payload), key=lambda one: one[1].payment_id is None):
            pointer = f"#/payments/{index}"
            if part.payment_id is not None:
                named = await self._named(tx, event, part)
                if named is None or named not in ledgers:
                    return _not_there_yet(pointer, unknown=named is None)
                among = {named: ledgers[named]}
            else:
                among = {one: ledger for one, ledger in ledgers.items() if ledger.lines}
                if not among and undecided:
                    return _not_there_yet(pointer, unknown=False)
                if not among:
                    notes.append(f"prepaid_elsewhere: {pointer} {roubles(part.amount)}")
                    continue
            left = sum(ledger.left for ledger in among.values())
            if part.amount > left:
                return _exceeds(pointer, part.amount, left)
            taken = offset(plan.receipts[0].items, part.amount, list(among.values()))
            for one, lines in zip(among, taken, strict=True):
                drawn.setdefault(one, []).extend(lines)
        return {one: tuple(lines) for one, lines in drawn.items() if lines}, notes

    def _open(self, story: Story, event_id: UUID) -> Ledger | None:
        sold = sold_in(self._stories, story)
        if sold is None or not sold.printed:
            return None
        taken = (closings(story, besides=event_id), refunds(story, besides=event_id))
        return Prepaid(sold.receipt, *taken, *moved(story, besides=event_id)).open

    async def _named(self, tx: Tx, event: EventRow, part: EventPayment) -> UUID | None:
        return await chains.of_payment(tx, event.merchant_id, event.source_id, part.payment_id or "")


def by_offset(payload: PaymentEvent) -> bool:
    """Whether a part of it moves no money: it is offset against what was received before."""
    return any(part.kind == PaymentKind.PREPAID.code for part in payload.payments)


def _not_there_yet(pointer: str, *, unknown: bool) -> Held:
    reason = HeldReason.PAYMENT_UNKNOWN if unknown else HeldReason.SALE_NOT_FISCALIZED
    missing = Missing(
        "payment_id",
        f"{pointer}/payment_id",
        "The payment that is offset here has no receipt yet; this one goes on by itself when it has.",
        "У платежа, который здесь зачитывается, ещё нет чека; этот чек продолжится сам, когда он появится.",
    )
    return Held(reason, (missing,))


def _exceeds(pointer: str, wanted: int, left: int) -> Held:
    missing = Missing(
        "prepaid_exceeds",
        f"{pointer}/amount",
        f"{roubles(wanted)} is offset, but {roubles(left)} of the prepayment is open.",
        f"К зачёту {roubles(wanted)} руб., а открыто {roubles(left)} руб. предоплаты.",
    )
    return Held(HeldReason.SETTLEMENT_EXCEEDS_PREPAYMENT, (missing,), limit=left)
