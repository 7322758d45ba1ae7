"""Who is calling: an API key's merchant, source and scopes. Every tenant query starts from here."""

from dataclasses import dataclass
from uuid import UUID

SCOPES = (
    "events:write",
    "events:read",
    "receipts:read",
    "receipts:read_pii",
    "receipts:write",
    "webhooks:read",
    "webhooks:write",
    "settings:read",
    "settings:write",
    "keys:write",
)
"""What a merchant's key may be allowed; `*` is all of these. `admin` belongs to keys without a merchant."""


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated key. `merchant_id` is None for an installation's admin key.

    `name`: who acts, where it is no key but a source that was told apart by its own signature.
    """

    key_id: UUID
    merchant_id: UUID | None
    source_id: UUID | None
    scopes: frozenset[str]
    live: bool = True
    name: str | None = None

    @property
    def admin(self) -> bool:
        return self.merchant_id is None and "admin" in self.scopes

    @property
    def actor(self) -> str:
        """How the timeline names this caller."""
        return self.name or f"key_{self.key_id.hex}"

    def may(self, scope: str) -> bool:
        return scope in self.scopes or ("*" in self.scopes and scope != "admin")
