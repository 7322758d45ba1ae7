"""The portal's posts as nested text: a form with PHP's brackets, as it sends them, or JSON, as its pages print them.

Both give the same: every value is text, a list is a mapping of its indexes. Nothing is decided here about money.
"""

import json
import re
from typing import Any, Final
from urllib.parse import unquote_to_bytes

Nested = dict[str, Any]
"""Values are text or `Nested`."""

MAX_FIELDS: Final = 20_000
MAX_DEPTH: Final = 8

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


def read(body: bytes, media_type: str) -> Nested:
    """The members of a post. ValueError, which quotes nothing, for what cannot be read in one way only.

    Bytes that are no UTF-8 (a binary code of goods) become lone surrogates, which no printable text has.
    """
    if "json" in media_type.lower() or body.lstrip()[:1] == b"{":
        return _of_json(body)
    return parse_form(body)


def parse_form(body: bytes) -> Nested:
    """`a[b][]=1&a[c]=2` → `{"a": {"b": {"0": "1"}, "c": "2"}}`, as PHP reads it.

    A name with two different values is refused, where PHP takes the last: nobody can tell which sum was meant.
    """
    found: Nested = {}
    fields = [field for field in body.split(b"&") if field]
    if len(fields) > MAX_FIELDS:
        raise ValueError("the form has too many fields")
    for field in fields:
        name, _, value = field.partition(b"=")
        _put(found, _path(_text(name)), _text(value))
    return found


def listed(value: Any) -> list[Any]:
    """The members of a list in the order of their indexes; an empty list has vanished from the form, or is ""."""
    if not isinstance(value, dict):
        return []
    if not all(_INDEX.fullmatch(index) for index in value):
        raise ValueError("a list has a member that is no index")
    return [value[index] for index in sorted(value, key=int)]


def nested(value: Any) -> Nested:
    """A mapping; text, or nothing, is an empty one."""
    return value if isinstance(value, dict) else {}


def _text(encoded: bytes) -> str:
    return unquote_to_bytes(encoded.replace(b"+", b" ")).decode("utf-8", "surrogateescape")


def _path(name: str) -> list[str]:
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise ValueError("a field has a name that cannot be read")
    steps = [parts[1], *re.findall(r"\[([^\[\]]*)\]", parts[2])]
    if len(steps) > MAX_DEPTH:
        raise ValueError("the form is nested too deep")
    return steps


def _put(found: Nested, path: list[str], value: str) -> None:
    place = found
    for step in path[:-1]:
        inner = place.setdefault(step or _next(place), {})
        if not isinstance(inner, dict):
            raise ValueError("a field is both a value and a list")
        place = inner
    last = path[-1] or _next(place)
    if place.setdefault(last, value) != value:
        raise ValueError("a field came twice with different values")


def _next(place: Nested) -> str:
    """The index that PHP gives to `[]`."""
    return str(max((int(index) for index in place if _INDEX.fullmatch(index)), default=-1) + 1)


def _of_json(body: bytes) -> Nested:
    try:
        found = _as_form(json.loads(body.decode("utf-8", "surrogateescape"), parse_float=str, parse_int=str), 0)
    except RecursionError:
        raise ValueError("the JSON is nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError("the body is not a JSON object")
    return found


def _as_form(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError("the JSON is nested too deep")
    match value:
        case dict():
            return {name: _as_form(member, depth + 1) for name, member in value.items()}
        case list():
            return {str(index): _as_form(member, depth + 1) for index, member in enumerate(value)}
        case bool():
            return "1" if value else ""
        case None:
            return ""
        case _:
            return str(value)
