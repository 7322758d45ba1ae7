"""Events that name no payment but an order: which they are, and which payment a refund of one is matched to."""

from collections.abc import Sequence

from app.db.repos.events import EventRow
from app.domain.event import EventType
from app.domain.ledger import Ledger
from app.domain.money import roubles
from app.domain.plan import Held, HeldReason, Missing
from app.services.sold import printed
from app.services.story import Stories, Story, closings, refunds
from app.services.turns import SALE_NOT_FISCALIZED


def closes_order(event: EventRow) -> bool:
    """A closing that names no payment: it is for the whole order."""
    return event.type == EventType.ORDER_SETTLED.value and event.payment_id is None and event.order_id is not None


def refunds_order(event: EventRow) -> bool:
    """A refund that names no payment, but the order (the buyer's account) that it belongs to."""
    return event.type == EventType.REFUND_SUCCEEDED.value and event.payment_id is None and event.order_id is not None


def of_whole_order(event: EventRow) -> bool:
    """What is planned from all payments of an order."""
    return closes_order(event) or refunds_order(event)


class Matching:
    """Finds the payment of a refund among those of its order; their chains are locked by the caller."""

    def __init__(self, stories: Stories) -> None:
        self._stories = stories

    def enough(self, stories: Sequence[Story], event: EventRow) -> Story | None:
        """The latest fiscalized payment of an order of which the whole refund can be returned.

        A refund is one receipt, made from the lines of one sale; it is never split over several by a guess.
        """
        able = [
            story
            for story in stories
            if story.sale is not None and printed(story.sale) and self._left(story, event) >= event.amount
        ]
        return max(able, key=_age, default=None)

    def _left(self, story: Story, event: EventRow) -> int:
        """What can still be returned of a payment."""
        if story.sale is None:
            return 0
        taken = [*refunds(story, besides=event.id), *closings(story, besides=event.id)]
        return Ledger.of_sale(self._stories.document(story.sale), taken).left

    def none_enough(self, stories: Sequence[Story], event: EventRow) -> Held:
        """Why no payment of the order was found for a refund, and what a person can do."""
        if not stories:
            return payment_unknown(event)
        able = [story for story in stories if story.sale is not None and printed(story.sale)]
        if not able:
            return not_fiscalized()
        most = max(self._left(story, event) for story in able)
        return Held(HeldReason.REFUND_EXCEEDS_PAYMENT, (_no_payment_enough(event.amount, most),), limit=most)


def payment_unknown(event: EventRow) -> Held:
    """Nobody has reported what this event looks back at."""
    missing = _PAYMENT_UNKNOWN
    if of_whole_order(event):
        missing = _ORDER_UNKNOWN if closes_order(event) else _ORDER_OF_REFUND_UNKNOWN
    return Held(HeldReason.PAYMENT_UNKNOWN, (missing,))


def _age(story: Story) -> tuple[object, ...]:
    """Of two payments the later one is greater."""
    return (None, None) if story.sale is None else (story.sale.created_at, story.sale.id)


def _no_payment_enough(wanted: int, most: int) -> Missing:
    return Missing(
        "payment_id",
        "#/payment_id",
        f"The refund names no payment, and no single payment of this order has {roubles(wanted)} left; the most is "
        f"{roubles(most)}. Cancel it and report a refund of each payment with its payment_id.",
        f"В возврате не назван платёж, и ни в одном платеже этого заказа не осталось {roubles(wanted)} руб.; больше "
        f"всего {roubles(most)} руб. Отмените его и передайте возврат по каждому платежу со своим payment_id.",
    )


def not_fiscalized() -> Held:
    """What it looks back at has no receipt."""
    return Held(HeldReason.SALE_NOT_FISCALIZED, (SALE_NOT_FISCALIZED,))


_PAYMENT_UNKNOWN = Missing(
    "payment_id",
    "#/payment_id",
    "The payment that this refund returns has not been reported yet; it is planned by itself when it comes.",
    "Платёж, который возвращают, ещё не пришёл; возврат продолжится сам, когда он придёт.",
)
_ORDER_UNKNOWN = Missing(
    "order_id",
    "#/order_id",
    "No payment of this order has been reported yet; its closing is planned by itself when one comes.",
    "Ни один платёж этого заказа ещё не пришёл; закрытие продолжится само, когда платёж придёт.",
)
_ORDER_OF_REFUND_UNKNOWN = Missing(
    "order_id",
    "#/order_id",
    "The refund names no payment, and none of this order has been reported yet; it is planned by itself when one "
    "comes.",
    "В возврате не назван платёж, и ни один платёж этого заказа ещё не пришёл; он продолжится сам, когда платёж "
    "придёт.",
)
