"""JSON of another company's program, read without trust: exact numbers, no name twice, nothing unprintable."""

import json
import re
from decimal import Decimal
from typing import Any

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?")


def read_object(body: bytes, *, numbers_as_text: bool = False) -> dict[str, Any]:
    """The object that a body is, read as by `read_json`. ValueError for anything else."""
    found = read_json(body, numbers_as_text=numbers_as_text)
    if not isinstance(found, dict):
        raise ValueError("the JSON is no object")
    return found


def read_json(body: bytes | str, *, numbers_as_text: bool = False) -> Any:
    """Any value. ValueError for what is no JSON, for a name that came twice, and for a wild number.

    `numbers_as_text`: numbers stay as they were written, for signatures over them.
    """
    number = _as_written if numbers_as_text else _decimal
    whole = _as_written if numbers_as_text else int
    try:
        return json.loads(
            body, parse_float=number, parse_int=whole, parse_constant=_decimal, object_pairs_hook=_without_doubles
        )
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def one_line(value: Any) -> str:
    """One line of printable text; empty for what is no text or number."""
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        return ""
    return printable(str(value))


def printable(text: str) -> str:
    """The text as one line: a NUL or half a surrogate pair would be refused by the database, for ever."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def member(holder: Any, *path: str) -> Any:
    """What stands under these names, one inside the other; None where any is missing or no object."""
    for name in path:
        holder = holder.get(name) if isinstance(holder, dict) else None
    return holder


def _as_written(text: str) -> str:
    if not _NUMBER.fullmatch(text):
        raise ValueError("a number is out of range")
    return text


def _decimal(text: str) -> Decimal:
    # 1e999999999 would be written out digit by digit later on.
    if not _NUMBER.fullmatch(text) or not -15 <= (found := Decimal(text)).adjusted() <= 18:
        raise ValueError("a number is out of range or no number")
    return found


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name came twice")
    return found
