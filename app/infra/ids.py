"""Identities: UUIDv7 inside, `rcpt_<32 hex>` outside, and API keys whose typing errors show without a database."""

import hmac
import re
import secrets
import string
import zlib
from typing import Final, Literal
from uuid import UUID

from uuid_utils.compat import uuid7

Prefix = Literal[
    "mer", "brn", "kas", "src", "evt", "rcpt", "att", "msg", "whe", "dlv", "key", "cor", "cbt", "ntf", "nom"
]

PREFIXES: Final[dict[Prefix, str]] = {
    "mer": "merchant",
    "brn": "branch",
    "kas": "kassa",
    "src": "source",
    "evt": "event",
    "rcpt": "receipt",
    "att": "attempt",
    "msg": "message",
    "whe": "webhook endpoint",
    "dlv": "delivery",
    "key": "API key",
    "cor": "correction",
    "cbt": "correction batch",
    "ntf": "notification",
    "nom": "nomenclature rule",
}
"""Prefix of a public id → what it names, in the words of the documentation."""

_HEX = re.compile(r"[0-9a-f]{32}")

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SECRET_LENGTH = 43  # 62^43 is just over 2^256
_CHECKSUM_LENGTH = 6  # 62^6 is more than 2^32
_API_KEY = re.compile(r"ck_(?:live|test)_[0-9A-Za-z]{49}")


def new_id() -> UUID:
    """A UUIDv7; within one process each is greater than the one before."""
    return uuid7()


def public(prefix: Prefix, value: UUID) -> str:
    """The id as the outside sees it: `rcpt_` and 32 lower-case hex digits."""
    return f"{prefix}_{value.hex}"


def parse(prefix: Prefix, text: str) -> UUID:
    """The reverse of `public`; ValueError says in one sentence what was expected."""
    head, _, digits = text.partition("_")
    if head != prefix or not _HEX.fullmatch(digits):
        raise ValueError(f"The id of a {PREFIXES[prefix]} is {prefix}_ followed by 32 lower-case hex digits.")
    return UUID(hex=digits)


def new_api_key(live: bool) -> str:
    """A fresh key, about 256 random bits; it is shown once and stored as a hash only."""
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))
    body = f"ck_{'live' if live else 'test'}_{secret}"
    return body + _checksum(body)


def well_formed(key: str) -> bool:
    """Whether this can be one of our keys: lets a typing error be told from an unknown key, offline."""
    return _API_KEY.fullmatch(key) is not None and key[-_CHECKSUM_LENGTH:] == _checksum(key[:-_CHECKSUM_LENGTH])


def hash_api_key(pepper: bytes, key: str) -> bytes:
    """What is stored of a key, 32 bytes. Keys carry full entropy, so no slow hash is needed."""
    return hmac.digest(pepper, key.encode(), "sha256")


def _checksum(body: str) -> str:
    rest, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        rest, digit = divmod(rest, 62)
        digits = _ALPHABET[digit] + digits
    return digits
