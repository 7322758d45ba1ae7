"""Refunds of one payment that two sources tell, where one of them tells no sum but only what is left (`left_after`).

Such a source (T-Bank) counts the whole payment, another one (a CRM) names each refund by its sum. What has a receipt
gets no second one when the other tells it, a second true refund gets its own, and in doubt a person is asked.
"""

from collections.abc import Collection, Iterable

from app.domain.plan import Held, HeldReason, Missing

_MOST = 12
"""Of more refunds of one payment no sums are tried: a person looks."""


def fits(paid: int, left: int, told: Iterable[int], due: int, own: Collection[int], others: Collection[int]) -> bool:
    """Whether a report that `left` of `paid` kopecks is left can be acted on beside what other sources returned.

    `told`: what the same source's other reports leave. `due`: what would be returned now to come to `left`; nothing
    when it is not above 0. `own`, `others`: the sums of receipts that returned something, by this source's reports and
    by others. It fits when

    * no other source returned anything: then the levels speak for themselves (see T-Bank's `refunds.claim`);
    * nothing is left: whoever told which part, the rest goes back;
    * the whole step from this source's last level is due: nothing of it was told by another;
    * nothing is due, and what the source counts as returned is made up of receipts that there are.
    """
    if not others or left == 0:
        return True
    if due > 0:
        return due == step(paid, left, told)
    return paid - left in _sums([*own, *others])


def step(paid: int, left: int, told: Iterable[int]) -> int:
    """What a report takes from the payment by its source's own count, kopecks: from the level above it to its own."""
    return min([level for level in told if level > left], default=paid) - left


def unclear() -> Held:
    """Not to be told from what was returned already."""
    return Held(HeldReason.REFUND_UNCLEAR, (_WHICH,))


def _sums(parts: list[int]) -> set[int]:
    found = {0}
    for part in parts if len(parts) <= _MOST else ():
        found |= {part + one for one in found}
    return found


_WHICH = Missing(
    "amount",
    "#/amount",
    "Another source has told refunds of this payment too, and the sums do not say whether this one is among those that "
    "have a receipt. Compare the CRM with the acquirer's cabinet.",
    "О возвратах по этому платежу сообщил и другой источник, и по суммам не понять, есть ли уже чек на этот возврат. "
    "Сравните CRM с кабинетом эквайера.",
)
