"""T-Bank's `Token`, which signs its notifications and our questions alike.

SHA-256 in lower-case hex over the values of all top-level members, sorted by name, with `Password` among them and
without `Token`, nested objects and nulls (T-Bank API v1.80, «Проверка токенов»).
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any


def token(members: Mapping[str, Any], password: str) -> str:
    """The token of a body whose numbers are as they were written."""
    signed = {name: value for name, value in members.items() if name != "Token" and not isinstance(value, dict | list)}
    signed["Password"] = password
    text = "".join(_written(signed[name]) for name in sorted(signed) if signed[name] is not None)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def matches(members: Mapping[str, Any], password: str) -> bool:
    """Whether the body's own token is this password's."""
    given = members.get("Token")
    if not isinstance(given, str):
        return False
    return hmac.compare_digest(given.lower().encode("utf-8", "surrogatepass"), token(members, password).encode())


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
