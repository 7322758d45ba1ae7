"""The lines of an event laid out as lines of a receipt: split or fitted where a price needs it, and told."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.basket import Adjustment, NetLine
from app.domain.event import PaymentEvent
from app.domain.fitting import fit_basket
from app.domain.receipt import Item


@dataclass(frozen=True, slots=True)
class Layout:
    """The receipt's lines; `origin_of` is for each of them the line of the event that it comes from."""

    items: list[Item]
    origin_of: list[int]
    notes: list[str]
    adjustments: list[Adjustment]


def lay_out(event: PaymentEvent, wanted: Sequence[tuple[int, Item, NetLine]], most: int) -> Layout:
    """Each wanted line: its place in the event, the line with everything but its sum, and what it costs."""
    laid = Layout([], [], [], [])
    fitted = fit_basket([(like, net.amount) for _, like, net in wanted], most)
    for (index, _, net), (made, change) in zip(wanted, fitted, strict=True):
        # A discount lowers the price: that is no rewriting.
        told = None if change == "price_fitted" and net.taken else change
        if told:
            laid.notes.append(f"{told}: #/items/{index}")
        if told or net.taken:
            places = tuple(range(len(laid.items), len(laid.items) + len(made)))
            full = event.items[index].amount
            laid.adjustments.append(Adjustment(index, made[0].name, full, net.amount, net.taken, places, told))
        laid.items.extend(made)
        laid.origin_of.extend([index] * len(made))
    return laid
