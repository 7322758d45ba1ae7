"""Identities that are derived, never drawn: after a restore from backup the same payment meets the same ids.

Encoding of the hashed parts: each part as UTF-8 text, written as a netstring (`<bytes in decimal>:<bytes>,`), one after
another, numbers in decimal: no two different lists of parts share an encoding. The first part names the kind of id.
"""

import hashlib
import json
from collections.abc import Mapping

from app.domain.event import EventType

_EVENT_KIND = "crm-kassa/provider-id/event"
_KEY_KIND = "crm-kassa/provider-id/key"
_NOT_CONTENT = frozenset({"occurred_at", "metadata"})

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def provider_id(
    merchant_id: str, source_id: str, event_type: EventType, external_id: str, number: int, version: int
) -> str:
    """The id under which a provider knows a receipt: 32 lower-case hex digits, legal for every provider.

    `number` is the receipt's number within its event, `version` grows with each corrected resend.
    """
    return _digest(_EVENT_KIND, merchant_id, source_id, event_type.value, external_id, str(number), str(version))


def provider_id_for_key(merchant_id: str, idempotency_key: str, number: int, version: int) -> str:
    """The same for a receipt that a person or program asked for by hand, under its Idempotency-Key."""
    return _digest(_KEY_KIND, merchant_id, idempotency_key, str(number), str(version))


def fingerprint(event_json: Mapping[str, object]) -> bytes:
    """SHA-256 over what an event says (the output of `codec.event_to_json`), without `occurred_at` and `metadata`.

    Two reports of one identity with different fingerprints contradict each other. The order of members is no content.
    """
    content = {name: value for name, value in event_json.items() if name not in _NOT_CONTENT}
    return hashlib.sha256(_CANONICAL.encode(content).encode()).digest()


def differing(first: Mapping[str, object], second: Mapping[str, object]) -> tuple[str, ...]:
    """Which members of two events (outputs of `codec.event_to_json`) are not the same, named as a caller writes them.

    `occurred_at` and `metadata` are no content, as in `fingerprint`. No value is told: it may be a buyer's.
    """
    mine, theirs = _members(first), _members(second)
    names = dict.fromkeys([*mine, *theirs])
    return tuple(dict.fromkeys(_CALLED.get(name, name) for name in names if mine.get(name) != theirs.get(name)))


_CALLED = {"cashier_name": "cashier", "cashier_inn": "cashier"}


def _members(event: Mapping[str, object]) -> dict[str, object]:
    said = event.get("requisites")
    spread = said if isinstance(said, Mapping) else {}
    return {name: value for name, value in event.items() if name not in _NOT_CONTENT | {"requisites"}} | dict(spread)


def _digest(*parts: str) -> str:
    encoded = b"".join(b"%d:%b," % (len(raw), raw) for raw in (part.encode() for part in parts))
    return hashlib.sha256(encoded).hexdigest()[:32]
