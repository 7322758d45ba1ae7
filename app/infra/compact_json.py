"""JSON as it is stored, sealed and answered: compact UTF-8, by pydantic's serializer (a third of the time of `json`).

Canonical JSON, over which hashes are taken, is not made here: it must never change with a library.
"""

from collections.abc import Callable
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

from pydantic_core import to_json


def json_bytes(value: Any) -> bytes:
    """A JSON value as UTF-8; ValueError for what JSON cannot say. A number that is not finite becomes null."""
    return to_json(value, inf_nan_mode="null")


def exact_json(value: Any) -> bytes:
    """JSON of a receipt as a provider gets it: a Decimal is a number, digit by digit, 1490.00 stays 1490.00. TypeError
    for a float, which has no place in a receipt."""
    return _exact(value).encode()


def _exact(value: Any) -> str:
    write = _EXACT.get(type(value))
    if write is not None:
        return write(value)
    for kind, write in _EXACT.items():
        if isinstance(value, kind):  # members of enumerations
            return write(value)
    raise TypeError(f"{type(value).__name__} has no place in a receipt")


def _exact_object(value: dict[str, Any]) -> str:
    return "{" + ",".join([f"{encode_basestring(name)}:{_exact(inner)}" for name, inner in value.items()]) + "}"


def _exact_list(value: list[Any] | tuple[Any, ...]) -> str:
    return "[" + ",".join([_exact(inner) for inner in value]) + "]"


_EXACT: dict[type, Callable[[Any], str]] = {
    str: encode_basestring,
    int: int.__repr__,
    Decimal: "{:f}".format,
    dict: _exact_object,
    list: _exact_list,
    tuple: _exact_list,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "null",
}


def json_text(value: Any) -> str:
    """The same as text."""
    return to_json(value, inf_nan_mode="null").decode()
