"""What a kassa driver must answer: pure translation between our receipt and one provider's protocol.

A driver does no SQL, no retry and no sleep, and keeps nothing between calls except tokens in the cache it is handed.
Its calls return outcomes; an exception from a driver is a bug and is treated as `Unknown`.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, ClassVar, Protocol

import httpx
from pydantic import BaseModel

from app.domain.decide import LookupClass, class_at
from app.domain.ffd import FfdVersion, Operation, Taxation
from app.domain.outcome import LookupOutcome, Outcome
from app.domain.receipt import Receipt
from app.ports.inbound import InboundRequest
from app.ports.tokens import TokenCache


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider can do, in numbers that decide about money.

    `dedup_seconds` / `lookup_seconds`: how long after the first send our id deduplicates / can be asked for; 0 = not
    at all, None = without limit. `visibility_seconds`: how long a registered document may still be invisible.
    `carries`: tags of `domain/carriage.py` that the protocol has members for by FFD 1.2, `carries_105` by FFD 1.05;
    None = all. A receipt that has another one is refused before it is queued.
    """

    ffd: frozenset[FfdVersion]
    operations: frozenset[Operation]
    corrections: frozenset[FfdVersion]
    dedup_seconds: float | None
    lookup_seconds: float | None
    visibility_seconds: float
    max_items: int
    quantity_decimals: int
    callbacks: bool
    marking: bool
    agents: bool
    additional_receipt_prop: bool
    max_in_flight: int = 4
    requests_per_second: float | None = None
    wire_seconds: float = 20.0
    poll_schedule_seconds: tuple[float, ...] = (2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
    notes: tuple[str, ...] = ()
    carries: frozenset[int] | None = None
    carries_105: frozenset[int] | None = None

    def carried(self, ffd: FfdVersion) -> frozenset[int] | None:
        """The optional tags that go out by this format; None: every one."""
        return self.carries if ffd is FfdVersion.V1_2 else self.carries_105

    def lookup_class(self, seconds_since_first_mark: float) -> LookupClass:
        """The class at this moment: windows close, so it is computed when acting, never once and for all."""
        return class_at(seconds_since_first_mark, dedup_seconds=self.dedup_seconds, lookup_seconds=self.lookup_seconds)


@dataclass(frozen=True, slots=True)
class KassaProfile:
    """What a driver may know about the kassa it speaks for."""

    id: str
    ffd: FfdVersion
    taxation: tuple[Taxation, ...]
    place: str
    timezone: str
    internet: bool
    merchant_inn: str


@dataclass(frozen=True, slots=True)
class DriverContext:
    """Everything a call needs, handed down: nothing is looked up by the driver itself.

    `not_after` (boot-time clock) is the freshness bound of a submit: the transport refuses to begin after it.
    `created_at`: when our document was made, for providers that want its time: the same in every send of one id.
    `resend`: an earlier send under this id is not proven unregistered.
    """

    http: httpx.AsyncClient
    base_url: str
    credentials: Any
    profile: KassaProfile
    tokens: TokenCache
    callback_url: str | None = None
    not_after: float | None = None
    deadline_seconds: float = 20.0
    created_at: datetime | None = None
    resend: bool = False

    @property
    def extensions(self) -> dict[str, Any]:
        """Request extensions that carry the freshness bound and the hard deadline to the transport."""
        found: dict[str, Any] = {"deadline_seconds": self.deadline_seconds}
        if self.not_after is not None:
            found["not_after"] = self.not_after
        return found


class Mark(Enum):
    """Verdict of one line of a kassa check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One thing tried without making a receipt: what, how it went, what to do."""

    name: str
    mark: Mark
    detail: str
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Do these credentials and settings work? No receipt is made to find out."""

    lines: tuple[CheckLine, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return all(line.mark is not Mark.FAILED for line in self.lines)


class KassaDriver(Protocol):
    """One provider. The module's name is the provider's code in the API and the database."""

    code: ClassVar[str]
    title: ClassVar[str]
    docs_url: ClassVar[str]
    protocol_version: ClassVar[str]
    default_base_url: ClassVar[str]
    Credentials: ClassVar[type[BaseModel]]
    capabilities: ClassVar[Capabilities]

    def group_key(self, credentials: Any) -> str:
        """What must never change once a kassa was used (group, login, register): ids live within it."""
        ...

    def payload(self, provider_id: str, receipt: Receipt, context: DriverContext) -> dict[str, Any]:
        """The exact body that `submit` would send; pure, used by previews and tests."""
        ...

    async def submit(self, provider_id: str, receipt: Receipt, context: DriverContext) -> Outcome:
        """Send once."""
        ...

    async def poll(
        self, provider_id: str, reference: str | None, receipt: Receipt, context: DriverContext
    ) -> LookupOutcome:
        """State of a receipt that the provider accepted."""
        ...

    async def lookup(self, provider_id: str, receipt: Receipt, context: DriverContext) -> LookupOutcome:
        """Does the provider have a document under our id? Used after an unknown outcome."""
        ...

    async def check(self, context: DriverContext) -> CheckReport:
        """Try credentials and settings without making a receipt."""
        ...

    def callback_hint(self, request: InboundRequest) -> str | None:
        """Provider id named by a callback, if any. Only a hint to poll now: its body is never believed."""
        ...
