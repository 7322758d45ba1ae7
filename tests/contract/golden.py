"""Golden bodies: JSON laid out for reading, every number exactly as it was written."""

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "golden"


class Number(str):
    """A number as its digits: 1490.00 and 1490.0 are two."""


def laid_out(body: str) -> str:
    """The text of a body, one member a line."""
    return _text(json.loads(body, parse_float=Number, parse_int=Number), "") + "\n"


def laid_out_payload(payload: Mapping[str, Any]) -> str:
    """The same of a payload before it is rendered: Decimal by its digits, and a float is an error."""
    return _text(payload, "") + "\n"


def _text(value: Any, indent: str) -> str:
    deeper = indent + "  "
    match value:
        case Number():
            return str(value)
        case bool() | str() | None:
            return json.dumps(value, ensure_ascii=False)
        case int():
            return str(value)
        case Decimal():
            return format(value, "f")
        case Mapping() if value:
            members = [f'{deeper}"{name}": {_text(it, deeper)}' for name, it in value.items()]
            return "{\n" + ",\n".join(members) + f"\n{indent}}}"
        case list() | tuple() if value:
            return "[\n" + ",\n".join(deeper + _text(it, deeper) for it in value) + f"\n{indent}]"
        case Mapping():
            return "{}"
        case list() | tuple():
            return "[]"
        case _:
            raise AssertionError(f"{type(value).__name__} in a body: money and quantities are Decimal or int")


def file(code: str, name: str) -> Path:
    """Where the body of this receipt lies."""
    return FOLDER / code / f"{name}.json"
