"""Keeps a refund that two sources tell, one of them by what it leaves, at one receipt (`app/domain/told_twice.py`)."""

from dataclasses import replace
from uuid import UUID

from app.db.repos import planned, settlement_keys
from app.db.repos.events import EventRow
from app.db.repos.receipts import ReceiptRow
from app.db.repos.settings import SourceRow
from app.db.unit_of_work import Tx
from app.domain.event import EventType, PaymentEvent
from app.domain.plan import Held, Plan, Planned
from app.domain.settlement_key import by_rule, of_refund
from app.domain.told_twice import fits, step, unclear
from app.infra.crypto import SecretBox
from app.services.customers import open_event
from app.services.story import Story, is_refund


class ToldTwice:
    """Judges a planned refund under its payment's lock."""

    def __init__(self, box: SecretBox) -> None:
        self._box = box

    async def judged(
        self,
        tx: Tx,
        source: SourceRow,
        event: EventRow,
        payload: PaymentEvent,
        plan: Plan,
        story: Story,
        paid: int,
    ) -> Plan:
        """The plan, or a hold where it may be a receipt that there is already. `paid`: of the sale, kopecks.

        A refund without a sum that is planned takes the key by which the other source's report of it is linked.
        """
        if payload.type is not EventType.REFUND_SUCCEEDED or not isinstance(plan, Planned):
            return plan
        back = [row for row in story.counted if is_refund(row) and row.event_id != event.id]
        others = [row for row in back if row.source_id != event.source_id]
        if payload.left_after is None:
            return unclear() if await self._among_levels(tx, event, others) else plan
        due = sum(receipt.total for receipt in plan.receipts)
        own = [row.total for row in back if row.source_id == event.source_id]
        told = await self._told(tx, event)
        if not fits(paid, payload.left_after, told, due, own, [row.total for row in others]):
            return unclear()
        return await self._taken(tx, source, event, payload, due, back) or plan

    async def other_money(self, tx: Tx, event: EventRow, payload: PaymentEvent, paid: int) -> PaymentEvent:
        """The refund as a person's word makes it: no receipt stands for it, so it returns all that it took by its own
        source's count."""
        if payload.left_after is None:
            return payload
        amount = step(paid, payload.left_after, await self._told(tx, event))
        await settlement_keys.found_out(tx, event.merchant_id, event.id, amount, None)
        return replace(payload, amount=amount, left_after=None)

    async def _told(self, tx: Tx, event: EventRow) -> list[int]:
        """What the source's other reports leave of this payment."""
        if event.payment_id is None:
            return []
        rows = await settlement_keys.refunds_of(tx, event.merchant_id, event.source_id, event.payment_id)
        found = [open_event(self._box, event.merchant_id, id, payload) for id, payload in rows if id != event.id]
        return [one.left_after for one in found if one.left_after is not None]

    async def _among_levels(self, tx: Tx, event: EventRow, others: list[ReceiptRow]) -> bool:
        """Whether another source returned something by a level that this source has not told yet: this may be it."""
        for row in others:
            first = None if row.event_id is None else await planned.of_merchant(tx, event.merchant_id, row.event_id)
            if first is None or self._opened(first).left_after is None:
                continue
            key = first.settlement_key
            told = {} if key is None else await settlement_keys.among(tx, event.merchant_id, event.type, [key])
            if key is None or key not in told or event.source_id not in told[key].sources:
                return True
        return False

    async def _taken(
        self,
        tx: Tx,
        source: SourceRow,
        event: EventRow,
        payload: PaymentEvent,
        due: int,
        back: list[ReceiptRow],
    ) -> Held | None:
        """Take the key of what is due: the first of this sum that neither this source told, nor has its receipt.

        One that another source told, and that has no receipt yet, is this very money on its way.
        """
        if due <= 0:
            return None
        key = await self._free_key(tx, source, event, payload, due, {row.event_id for row in back})
        if isinstance(key, Held):
            return key
        if key is not None and not await settlement_keys.take(
            tx, event.merchant_id, event.type, key, event.id, event.source_id, due
        ):
            return unclear()
        await settlement_keys.found_out(tx, event.merchant_id, event.id, due, key)
        return None

    async def _free_key(
        self,
        tx: Tx,
        source: SourceRow,
        event: EventRow,
        payload: PaymentEvent,
        due: int,
        returned: set[UUID | None],
    ) -> str | Held | None:
        rule = by_rule(source.settlement_key_from, replace(payload, settlement_key=None))
        if rule is None:
            return None
        numbered = of_refund(rule, due)
        known = await settlement_keys.among(tx, event.merchant_id, event.type, numbered)
        for key in numbered:
            if key not in known:
                return key
            one = known[key]
            if event.source_id not in one.sources and one.event_id not in returned:
                return unclear()
        return None

    def _opened(self, event: EventRow) -> PaymentEvent:
        return open_event(self._box, event.merchant_id, event.id, event.payload)
