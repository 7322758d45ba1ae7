"""What a source adapter must answer: how a CRM or acquirer reports payments, and how the result is told back.

Acquirers live in `app/acquirers`, CRMs in `app/crms`; the port is one. Verification runs over raw bytes before
anything is stored; parsing, reading back and reporting run in the worker.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol

import httpx
from pydantic import BaseModel

from app.domain.event import PaymentEvent
from app.domain.receipt import FiscalData
from app.ports.inbound import InboundReply, InboundRequest


@dataclass(frozen=True, slots=True)
class SourceCapabilities:
    """Which ways a source offers. `parts` are the last path segments of its webhook addresses, with what they mean."""

    parts: dict[str, str]
    reads_back: bool = False
    polls: bool = False
    reports: bool = False
    may_fiscalize: bool = False
    requests_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class SourceContext:
    """Everything an adapter's call needs, handed down."""

    http: httpx.AsyncClient
    base_url: str | None
    credentials: Any
    settings: Any
    timezone: str
    deadline_seconds: float = 20.0


class Verdict:
    """Outcome of the checks that need no network."""

    @dataclass(frozen=True, slots=True)
    class Genuine:
        """Signed by who it claims to be from."""

    @dataclass(frozen=True, slots=True)
    class NeedsReadBack:
        """This source signs nothing: store, answer, and believe only what is read back."""

    @dataclass(frozen=True, slots=True)
    class Forged:
        """Not believed; `reason` is for the operator, the sender hears only 401."""

        reason: str


VerifyResult = Verdict.Genuine | Verdict.NeedsReadBack | Verdict.Forged


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a genuine notification means. No events: `note` says why nothing is to be done (unknown kind, a hold…)."""

    events: tuple[PaymentEvent, ...] = ()
    note: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadBackFailed:
    """The source's API did not answer or refused: try again later; nothing is decided."""

    reason: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """A finished receipt as a CRM should hear of it."""

    receipt_id: str
    event_external_id: str
    order_id: str | None
    status: str
    total: int
    fiscal: FiscalData | None
    public_url: str | None
    failure_ru: str | None
    metadata: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reported:
    """The CRM has it."""


@dataclass(frozen=True, slots=True)
class ReportFailed:
    """The CRM did not take it; `final` means that repeating cannot help."""

    reason: str
    final: bool = False


class SourceAdapter(Protocol):
    """One CRM or acquirer. The module's name is its kind in the API and the database."""

    code: ClassVar[str]
    title: ClassVar[str]
    docs_url: ClassVar[str]
    default_base_url: ClassVar[str | None]
    Credentials: ClassVar[type[BaseModel]]
    Settings: ClassVar[type[BaseModel]]
    capabilities: ClassVar[SourceCapabilities]

    def verify(self, request: InboundRequest, credentials: Any, settings: Any) -> VerifyResult:
        """Constant-time check over the raw bytes; refuses when no secret is configured."""
        ...

    def reply(self, request: InboundRequest, *, stored: bool) -> InboundReply:
        """The answer that this sender takes as "received"; with `stored` false, the one that makes it come again."""
        ...

    async def parse(self, request: InboundRequest, context: SourceContext) -> Parsed | ReadBackFailed:
        """Events of a verified notification, read back from the source where it must be."""
        ...

    def poll(self, since: datetime, context: SourceContext) -> AsyncIterator[PaymentEvent]:
        """Payments and refunds the source made since a moment, oldest first; sources that cannot list yield nothing."""
        ...

    async def report(self, report: Report, context: SourceContext) -> Reported | ReportFailed:
        """Write the fiscal result back through the CRM's own API."""
        ...
