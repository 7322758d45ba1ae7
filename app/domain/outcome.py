"""What one exchange with a provider taught us: six outcomes of a submit or a poll, two more of a look-up.

A driver returns these values and raises nothing; what it does not recognise is `Unknown`, never final.
"""

from dataclasses import dataclass, field
from enum import Enum

from app.domain.receipt import Echo, FiscalData


class Scope(Enum):
    """How much of the world a failure speaks for: this receipt, every receipt of the kassa, or the whole provider."""

    RECEIPT = "receipt"
    KASSA = "kassa"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider has the receipt and will print it; ask again after `poll_after_seconds`."""

    reference: str | None = None
    poll_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Fiscalized:
    """The document exists in fiscal storage."""

    fiscal: FiscalData
    reference: str | None = None
    echo: Echo = field(default_factory=Echo)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pending:
    """Asked again: still in the provider's queue."""

    poll_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Finally refused under this id; `cause` is a code of `domain/causes.py`."""

    cause: str
    provider_code: str | None = None
    provider_message: str | None = None
    pointer: str | None = None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Certainly not registered: may be sent again later under the same id."""

    cause: str
    scope: Scope = Scope.RECEIPT
    retry_after_seconds: float | None = None
    provider_code: str | None = None
    provider_message: str | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have arrived. Only asking by our id, or a person, can tell.

    `stuck` (a code of `domain/causes.py`): neither asking nor sending again would tell more, so a person decides now.
    """

    reason: str
    provider_code: str | None = None
    provider_message: str | None = None
    stuck: str | None = None


@dataclass(frozen=True, slots=True)
class NotFound:
    """Asked by our id: the provider has no such document.

    `proof` says why this is not merely a wrong group or a stale replica (for example "group answered 200").
    """

    proof: str


@dataclass(frozen=True, slots=True)
class CannotTell:
    """The look-up itself failed or is not offered: proves nothing."""

    reason: str
    scope: Scope = Scope.RECEIPT
    provider_code: str | None = None
    provider_message: str | None = None


Outcome = Accepted | Fiscalized | Pending | Rejected | Unavailable | Unknown
LookupOutcome = Outcome | NotFound | CannotTell
