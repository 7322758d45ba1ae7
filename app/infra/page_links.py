"""Links by which a buyer opens a receipt without a key: derived from the ids, so that nothing has to be stored."""

import base64
import binascii
import hmac
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

_VERSION: Final = b"\x01"
_IDS = 32
_TAG = 16
_LENGTH = len(_VERSION) + _IDS + _TAG


class PageLinks:
    """Tokens that name a receipt and cannot be guessed, and the addresses made of them.

    A token is base64url of version ‖ merchant ‖ receipt ‖ the first 128 bits of HMAC-SHA256 over these three. The
    merchant is inside, so that the receipt is read as that merchant from the first statement on; knowing both ids is
    of no use without the key. The key is derived from `secret` (at least 32 random bytes): with another one all links
    that were given out are dead. Without a base address, or switched off, no receipt gets a link.
    """

    def __init__(self, secret: bytes, public_url: str | None, *, on: bool = True) -> None:
        self._key = HKDFExpand(SHA256(), 32, b"crmkassa|receipt-page|1").derive(secret)
        self._base = None if public_url is None else f"{public_url.rstrip('/')}/r/"
        self.on = on

    def url(self, merchant_id: UUID, receipt_id: UUID) -> str | None:
        """The public address of a receipt, the same for ever; None where there are no public pages."""
        if self._base is None or not self.on:
            return None
        return self._base + self.token(merchant_id, receipt_id)

    def token(self, merchant_id: UUID, receipt_id: UUID) -> str:
        """66 characters of the URL-safe alphabet."""
        named = _VERSION + merchant_id.bytes + receipt_id.bytes
        tag = hmac.digest(self._key, named, "sha256")[:_TAG]
        return base64.urlsafe_b64encode(named + tag).rstrip(b"=").decode()

    def read(self, token: str) -> tuple[UUID, UUID] | None:
        """Merchant and receipt of a token that was given out here; None for everything else, however near."""
        try:
            raw = base64.b64decode(token.encode("ascii") + b"==", altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        if len(raw) != _LENGTH or raw[:1] != _VERSION:
            return None
        merchant_id, receipt_id = UUID(bytes=raw[1:17]), UUID(bytes=raw[17:33])
        # The whole text is compared: spare bits of the last character do not make a second address of one receipt.
        if not hmac.compare_digest(token.encode(), self.token(merchant_id, receipt_id).encode()):
            return None
        return merchant_id, receipt_id


NO_LINKS: Final = PageLinks(bytes(32), None, on=False)
"""For whoever shows receipts and has no address to link to."""
