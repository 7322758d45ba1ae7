"""A check's names: the portal's key of it, ours of the event, and the UUID that the portal keeps of us.

The portal's `uuid` is `check|domain|number` (the domain may be empty), the same whenever the check is printed again: it
is the event's external id. CHECK_URL and check.apply know our UUID alone, so that it carries the kind of event too.
"""

import re
from dataclasses import dataclass
from typing import Final

from app.domain.event import EventType

_KEY: Final = re.compile(r"check\|([^|\s]*)\|([0-9]{1,20})")
_MAX: Final = 100

_LETTERS: Final = {
    EventType.PAYMENT_SUCCEEDED: "p",
    EventType.REFUND_SUCCEEDED: "r",
    EventType.ORDER_SETTLED: "s",
}
_TYPES: Final = {letter: type for type, letter in _LETTERS.items()}


@dataclass(frozen=True, slots=True)
class CheckKey:
    """The portal's key of a check; `portal` in lower case."""

    text: str
    portal: str
    number: str


def key_of(uuid: str) -> CheckKey | None:
    """None for what the portal does not call its checks."""
    parts = _KEY.fullmatch(uuid)
    if parts is None or not uuid.isascii() or not uuid.isprintable() or len(uuid) > _MAX - 2:
        return None
    return CheckKey(uuid, parts[1].lower(), parts[2])


def uuid_of(type: EventType, external_id: str) -> str:
    """What the portal keeps: the same for the same check, also after a restore."""
    return f"{_LETTERS[type]}:{external_id}"


def event_of(uuid: str) -> tuple[EventType, str] | None:
    """Type and external id of the event behind a UUID of ours; None for any other text."""
    letter, colon, external_id = uuid.partition(":")
    if not colon or letter not in _TYPES or key_of(external_id) is None:
        return None
    return _TYPES[letter], external_id
