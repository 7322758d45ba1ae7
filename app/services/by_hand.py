"""What a person orders through the API: a refund of a sale, a receipt made by hand.

Both become events under their Idempotency-Key and go the way of every other event.
"""

from dataclasses import replace
from datetime import date
from uuid import UUID

from app.db.repos import chains, receipts
from app.db.unit_of_work import Database
from app.domain.errors import Conflict, Finding, Invalid, NotFound, RefundExceedsPayment
from app.domain.event import EventItem, EventType, PaymentEvent
from app.domain.ffd import Operation
from app.domain.lifecycle import Status
from app.domain.money import roubles
from app.domain.nomenclature import PERSON
from app.domain.receipt import CorrectionBasis, Receipt
from app.domain.rules import findings
from app.services.intake import Intake
from app.services.principal import Principal
from app.services.sales import Shape


class ByHand:
    """Receipts that nobody's event asked for."""

    def __init__(self, database: Database, intake: Intake) -> None:
        self._database = database
        self._intake = intake

    async def refund(
        self,
        principal: Principal,
        merchant_id: UUID,
        receipt_id: UUID,
        key: str,
        items: tuple[EventItem, ...],
        amount: int | None,
        metadata: dict[str, object],
        reason: str | None,
    ) -> UUID:
        """Refund a sale in full, by lines or by amount; planned under the sale's lock. Returns the refund's event."""
        async with self._database.pipeline() as tx:
            row = await receipts.by_id(tx, merchant_id, receipt_id)
        if row is None:
            raise NotFound("no such receipt")
        before = await self._intake.known(merchant_id, row.source_id, EventType.REFUND_SUCCEEDED, f"refund:{key}")
        if before is not None:
            return before
        if row.operation != Operation.SELL.code or row.external_id is None:
            raise Conflict("only a sale can be refunded")
        if row.status in (Status.REJECTED.value, Status.CANCELLED.value, Status.HELD.value):
            raise Conflict(
                f"a receipt that is {row.status} cannot be refunded: it sold nothing",
                current_state=row.status,
                allowed_states=[],
            )
        async with self._database.pipeline() as tx:
            # Not locked: many may ask at once, and what is left is judged when the refund is planned.
            chain = None if row.chain_id is None else await chains.by_id(tx, merchant_id, row.chain_id)
        if chain is not None and chain.source_id == chain.merchant_id:
            raise Conflict(
                "this closing has no payment of its own: refund the payments of its order, or report the refund with "
                "`original` where another program printed the sale"
            )
        left = row.total if chain is None else chain.sold - chain.refunded
        if amount is None and not items and left <= 0:
            raise Conflict("nothing is left of this sale that could be refunded", current_state=row.status)
        wanted = amount if amount is not None else sum(item.amount for item in items) or left
        if wanted > left:
            raise RefundExceedsPayment("more is asked back than is left of the sale", (_beyond(left),), refundable=left)
        event = PaymentEvent(
            type=EventType.REFUND_SUCCEEDED,
            external_id=f"refund:{key}",
            amount=wanted,
            occurred_at=await self._database.now(),
            # A closing is refunded as what it closed: its payment.
            payment_id=row.external_id if chain is None else chain.payment_id,
            order_id=row.order_id,
            items=items,
            metadata={**metadata, **({"reason": reason} if reason else {})},
        )
        answer = await self._intake.accept(merchant_id, row.source_id, event, principal.actor)
        return answer.event_id

    async def manual(
        self, principal: Principal, merchant_id: UUID, key: str, operation: Operation, event: PaymentEvent
    ) -> UUID:
        """A receipt made by hand, through the same pipeline and checks; its identity is its Idempotency-Key."""
        source_id = await self._intake.source_of(principal, merchant_id, None)
        answer = await self._intake.accept(
            merchant_id,
            source_id,
            manual_event(event, key),
            principal.actor,
            shape=manual_shape(operation),
        )
        return answer.event_id


def manual_event(event: PaymentEvent, key: str) -> PaymentEvent:
    """The event that stands for a receipt made by hand; its identity is its key, its lines are a person's."""
    return replace(event, type=EventType.PAYMENT_SUCCEEDED, external_id=f"manual:{key}", items_origin=PERSON)


def manual_shape(operation: Operation) -> Shape:
    """Turns a planned sale into a receipt of this operation."""
    return lambda receipt, today: shaped(receipt, today, operation, None)


def shaped(receipt: Receipt, today: date, operation: Operation, basis: CorrectionBasis | None) -> Receipt:
    """The receipt with this operation and basis; Invalid with every finding when it cannot be one."""
    made = replace(receipt, operation=operation, correction=basis)
    found = findings(made, today)
    if found:
        raise Invalid("this cannot become a receipt", found)
    return made


def _beyond(left: int) -> Finding:
    return Finding(
        "#/amount",
        "refund_exceeds",
        f"At most {roubles(left)} is left of this sale.",
        f"От этой продажи осталось не больше {roubles(left)} руб.",
        1020,
        "Return what is left, or look at the refunds that were made already.",
    )
