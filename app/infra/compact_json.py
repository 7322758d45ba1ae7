"""JSON as it is stored, sealed and answered: compact UTF-8, by pydantic's serializer (a third of the time of `json`).

Canonical JSON, over which hashes are taken, is not made here: it must never change with a library.
"""

from decimal import Decimal
from typing import Any

from pydantic_core import to_json


def json_bytes(value: Any) -> bytes:
    """A JSON value as UTF-8; ValueError for what JSON cannot say. A number that is not finite becomes null."""
    return to_json(value, inf_nan_mode="null")


def exact_json(value: Any) -> bytes:
    """The same where a Decimal is a number, digit by digit: 1490.00 stays 1490.00."""
    match value:
        case Decimal():
            return format(value, "f").encode()
        case dict():
            return b"{" + b",".join(json_bytes(name) + b":" + exact_json(one) for name, one in value.items()) + b"}"
        case list() | tuple():
            return b"[" + b",".join(exact_json(one) for one in value) + b"]"
        case _:
            return json_bytes(value)


def json_text(value: Any) -> str:
    """The same as text."""
    return to_json(value, inf_nan_mode="null").decode()
