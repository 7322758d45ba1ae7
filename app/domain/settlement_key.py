"""Settlement keys by rule: how two sources that report the same money come to name it by one word."""

import re
from collections.abc import Sequence

from app.domain.event import EventType, PaymentEvent

RULE = r"^(none|order_id|payment_id|metadata\.[A-Za-z0-9_-]{1,64})$"
"""`order_id`, `payment_id` (the payment's own id in its source), a member of `metadata`, or `none`."""

_MOST_ALIKE = 50
_MEMBER = re.compile(r"metadata\.(.+)")


def by_rule(rule: str | None, event: PaymentEvent) -> str | None:
    """What a source's rule makes of its payment or refund: the key of the payment that it is about.

    Without a rule, and where the member that it names is missing, the event's own key counts. A closing has none but
    its own.
    """
    if rule is None or event.type is EventType.ORDER_SETTLED:
        return event.settlement_key
    if rule == "none":
        return None
    return _value(rule, event) or event.settlement_key


def of_refund(key: str, amount: int) -> Sequence[str]:
    """A payment is returned in parts, so a rule's key does not name a refund yet: the first return of this sum, the
    second one of the same sum, and so on. Two sources meet at the same number."""
    return [f"{key}/{amount}/{number}" for number in range(1, _MOST_ALIKE + 1)]


def _value(rule: str, event: PaymentEvent) -> str | None:
    if member := _MEMBER.fullmatch(rule):
        found = event.metadata.get(member[1])
        return str(found).strip() or None if isinstance(found, str | int) and not isinstance(found, bool) else None
    if rule == "payment_id":
        return event.external_id if event.type is EventType.PAYMENT_SUCCEEDED else event.payment_id
    return event.order_id
