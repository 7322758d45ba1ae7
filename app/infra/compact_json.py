"""JSON as it is stored, sealed and answered: compact UTF-8, by pydantic's serializer (a third of the time of `json`).

Canonical JSON, over which hashes are taken, is not made here: it must never change with a library.
"""

from typing import Any

from pydantic_core import to_json


def json_bytes(value: Any) -> bytes:
    """A JSON value as UTF-8; ValueError for what JSON cannot say. A number that is not finite becomes null."""
    return to_json(value, inf_nan_mode="null")


def json_text(value: Any) -> str:
    """The same as text."""
    return to_json(value, inf_nan_mode="null").decode()
