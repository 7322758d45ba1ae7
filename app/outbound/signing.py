"""Standard Webhooks 1.0.0: signs what we post, so that the receiver knows it came from us and is not a replay."""

import base64
import binascii
import hmac
import secrets as randomness
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

_PREFIX: Final = "whsec_"
_SECRET_BYTES = 32
TOLERANCE_SECONDS: Final = 300
"""How far a message's timestamp may be from the receiver's clock, as in the reference libraries."""


def new_secret() -> str:
    """`whsec_` and the base64 of 32 random bytes; the HMAC key is the bytes, not the text."""
    return _PREFIX + base64.b64encode(randomness.token_bytes(_SECRET_BYTES)).decode()


def sign(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header: one v1 signature per secret, so that a rotation breaks nobody.

    `timestamp` is the Unix second of this attempt. ValueError without a usable secret: nothing leaves unsigned.
    """
    if not secrets:
        raise ValueError("A webhook cannot be sent without a signing secret.")
    if not message_id or "." in message_id:
        raise ValueError("A message id must not be empty or contain a full stop: the signed text is split at them.")
    return " ".join(f"v1,{_signature(_key(secret), message_id, str(timestamp), body)}" for secret in secrets)


def verify(secrets: Sequence[str], message_id: str, timestamp: str, signature: str, body: bytes, now: float) -> bool:
    """Whether one of these secrets signed this body within five minutes of `now`; anything malformed is False.

    `timestamp` and `signature` are the headers as received; other versions than v1 in the list are passed over.
    """
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return False
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    expected = [_signature(_key(secret), message_id, timestamp, body).encode() for secret in secrets]
    given = [entry[3:].encode() for entry in signature.split(" ") if entry.startswith("v1,")]
    matches = [hmac.compare_digest(mine, theirs) for mine in expected for theirs in given]
    return any(matches)


def _signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return base64.b64encode(digest).decode()


@lru_cache(maxsize=256)
def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not 24 <= len(key) <= 64:
        raise ValueError("A signing secret is whsec_ followed by the base64 of 24 to 64 bytes.")
    return key
