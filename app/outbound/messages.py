"""The body of a message: made once, in the transaction that made the change, and sent byte for byte ever after."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from app.domain.contact import mask_email, mask_phone

# json.dumps makes an encoder for every call.
_TEXT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def message_body(type: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    """Compact UTF-8 JSON `{"type", "timestamp", "data"}`; `at` is when it happened, told in UTC to the microsecond.

    ValueError for a time without zone, or a number that JSON does not know.
    """
    if at.tzinfo is None:
        raise ValueError("A message's time must come with its zone.")
    timestamp = at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
    document = {"type": type, "timestamp": timestamp, "data": data}
    body = to_json(document, inf_nan_mode="constants")
    # A word in a text, or a number that is none: the slow writer knows, and refuses the latter.
    return _TEXT(document).encode() if b"NaN" in body or b"Infinity" in body else body


def mask_customer(customer: Mapping[str, Any]) -> dict[str, Any]:
    """The buyer with e-mail and phone masked: a message may end up in a log or a chat; the API tells them in full."""
    masked = dict(customer)
    if customer.get("email"):
        masked["email"] = mask_email(customer["email"])
    if customer.get("phone"):
        masked["phone"] = mask_phone(customer["phone"])
    return masked
