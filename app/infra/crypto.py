"""Secrets at rest: what the database keeps of credentials and buyer contacts is ciphertext and keyed hashes.

AES-256-GCM with numbered keys (`KASSA_SECRET_KEYS`); the row and column are bound in, so a value copied elsewhere
does not open. The search key is separate: replacing the secret keys must not lose what was stored for searching.
"""

import base64
import binascii
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from typing import Final, Self
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

_VERSION: Final = b"\x01"
_NONCE = 12
_TAG = 16
_HEADER = len(_VERSION) + 2
_OVERHEAD = _HEADER + _NONCE + _TAG
_KEY = 32
_MAX_KEY_ID = 0xFFFF
_SEARCH_HASH = 16
_KEY_ID = re.compile(r"[0-9]{1,5}")

_SHAPE = "write it as 2:<base64 of 32 bytes>,1:<base64 of 32 bytes>, the key that encrypts first"


class KeysInvalid(ValueError):
    """A setting with keys cannot be used; the sentence names the setting and never shows a key."""


class CannotOpen(Exception):
    """A stored secret does not open. Deliberately says nothing of its content."""


class UnknownKey(CannotOpen):
    """The value was sealed with a key that is configured no longer."""

    def __init__(self, key_id: int) -> None:
        super().__init__(
            f"A stored secret was sealed with key {key_id}, which KASSA_SECRET_KEYS does not have; put that key back."
        )
        self.key_id = key_id


def aad(table: str, column: str, merchant_id: UUID, row_id: UUID | str) -> bytes:
    """Where a value lives. Bound into the ciphertext, so that it opens nowhere else."""
    return f"crmkassa|{table}|{column}|{merchant_id}|{row_id}".encode()


class SecretBox:
    """Encrypts with its first key, decrypts with any. A blob is 0x01 ‖ key id (2) ‖ nonce (12) ‖ ciphertext and tag."""

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        if not keys:
            raise KeysInvalid(f"KASSA_SECRET_KEYS is empty; {_SHAPE}.")
        for key_id, key in keys.items():
            if not 1 <= key_id <= _MAX_KEY_ID or len(key) != _KEY:
                raise KeysInvalid(f"KASSA_SECRET_KEYS: a key id is 1…{_MAX_KEY_ID} and a key has {_KEY} bytes.")
        if len(set(keys.values())) != len(keys):
            raise KeysInvalid("KASSA_SECRET_KEYS has the same key under two ids; each id needs a key of its own.")
        self._current = next(iter(keys))
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `2:<base64>,1:<base64>`; KeysInvalid says in one sentence what is wrong."""
        keys: dict[int, bytes] = {}
        for number, part in enumerate(filter(None, (piece.strip() for piece in text.split(","))), start=1):
            name, colon, encoded = part.partition(":")
            if not colon or not _KEY_ID.fullmatch(name):
                raise KeysInvalid(f"KASSA_SECRET_KEYS: entry {number} does not begin with a key id; {_SHAPE}.")
            if int(name) in keys:
                raise KeysInvalid(f"KASSA_SECRET_KEYS names key {int(name)} twice; each id may occur once.")
            keys[int(name)] = _decoded(encoded, f"KASSA_SECRET_KEYS: key {int(name)}")
        return cls(keys)

    @staticmethod
    def generate(key_id: int = 1) -> str:
        """A fresh entry for `KASSA_SECRET_KEYS`, id and key."""
        return f"{key_id}:{base64.b64encode(secrets.token_bytes(_KEY)).decode()}"

    @property
    def current_key_id(self) -> int:
        """The key that `seal` uses."""
        return self._current

    @property
    def key_ids(self) -> frozenset[int]:
        """All keys at hand; start-up compares them with those that occur in the database."""
        return frozenset(self._ciphers)

    def seal(self, plain: bytes, aad: bytes) -> bytes:
        """Ciphertext under the first key, 31 bytes longer than the plaintext; twice the same text differs."""
        nonce = os.urandom(_NONCE)
        sealed = self._ciphers[self._current].encrypt(nonce, plain, aad)
        return _VERSION + self._current.to_bytes(2, "big") + nonce + sealed

    def open(self, blob: bytes, aad: bytes) -> bytes:
        """The plaintext; CannotOpen when it was changed or belongs elsewhere, UnknownKey when its key is gone."""
        key_id = key_id_of(blob)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise UnknownKey(key_id)
        try:
            return cipher.decrypt(blob[_HEADER : _HEADER + _NONCE], blob[_HEADER + _NONCE :], aad)
        except InvalidTag:
            raise CannotOpen(
                "A stored secret does not open: it was changed, belongs to another row, or its key was replaced."
            ) from None

    def reseal(self, blob: bytes, aad: bytes) -> bytes:
        """The same secret under the first key; the blob itself when it is so already."""
        if key_id_of(blob) == self._current:
            return blob
        return self.seal(self.open(blob, aad), aad)


def key_id_of(blob: bytes) -> int:
    """Which key sealed this; CannotOpen when it is no sealed value at all."""
    if len(blob) < _OVERHEAD or blob[:1] != _VERSION:
        raise CannotOpen("A stored secret is not in the form this version writes.")
    return int.from_bytes(blob[1:_HEADER], "big")


class SearchHasher:
    """Keyed hashes by which a buyer's contact is found without being readable.

    The key (`KASSA_SEARCH_KEY`) lives as long as the data: with another one nothing stored before is found. Hashes
    of two merchants or of two kinds never meet, so equal buyers cannot be matched across tenants.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY:
            raise KeysInvalid(f"KASSA_SEARCH_KEY must be base64 of {_KEY} bytes.")
        self._email, self._phone, self._tail = (
            HKDFExpand(SHA256(), _KEY, b"crmkassa|search|" + kind).derive(key) for kind in (b"email", b"phone", b"tail")
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads the base64 of `KASSA_SEARCH_KEY`; KeysInvalid says in one sentence what is wrong."""
        return cls(_decoded(text, "KASSA_SEARCH_KEY"))

    @staticmethod
    def generate() -> str:
        """A fresh value for `KASSA_SEARCH_KEY`."""
        return base64.b64encode(secrets.token_bytes(_KEY)).decode()

    def email(self, merchant_id: UUID, email: str) -> bytes:
        """16 bytes for a normalised e-mail; letter case does not matter."""
        return _search_hash(self._email, merchant_id, email.strip().lower())

    def phone(self, merchant_id: UUID, phone: str) -> bytes:
        """16 bytes for a phone in E.164."""
        return _search_hash(self._phone, merchant_id, phone.strip())

    def phone_tail(self, merchant_id: UUID, phone: str) -> bytes:
        """16 bytes for the last four digits of a phone, or for these digits alone; ValueError with fewer."""
        digits = phone[-4:]
        if len(digits) < 4 or not (digits.isascii() and digits.isdigit()):
            digits = "".join(character for character in phone if character in "0123456789")
        if len(digits) < 4:
            raise ValueError("A search by the end of a phone needs its last four digits.")
        return _search_hash(self._tail, merchant_id, digits[-4:])


def _search_hash(key: bytes, merchant_id: UUID, text: str) -> bytes:
    return hmac.digest(key, merchant_id.bytes + text.encode(), "sha256")[:_SEARCH_HASH]


def _decoded(text: str, name: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise KeysInvalid(f"{name} is not base64; make one with: openssl rand -base64 {_KEY}") from None
    if len(key) != _KEY:
        raise KeysInvalid(f"{name} has {len(key)} bytes, not {_KEY}; make one with: openssl rand -base64 {_KEY}")
    return key
