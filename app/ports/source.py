"""What a source adapter must answer: how a CRM or acquirer reports payments, and how the result is told back.

Acquirers (`app/acquirers`) and CRMs (`app/crms`) share it: verification runs over raw bytes before anything is stored;
parsing, reading back, polling and reporting run in the worker. Only a part whose sender wants to hear what stands now
(`live_parts`) is acted on at once, through the desk that it is handed.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, ClassVar, Protocol

import httpx
from pydantic import BaseModel

from app.domain.event import EventType, PaymentEvent
from app.domain.receipt import FiscalData
from app.ports.inbound import InboundReply, InboundRequest
from app.ports.tokens import TokenCache


@dataclass(frozen=True, slots=True)
class SourceCapabilities:
    """Which ways a source offers. `parts` are the last path segments of its webhook addresses, with what they mean.

    `live_parts` are answered by `answer` instead of stored and acted on later. A source that `polls` is asked every
    `poll_seconds` for what happened since the last time, with `poll_overlap_seconds` of overlap: identity drops the
    repeats. `requests_per_second` holds for all calls with one context's `pace`. One that `signs` nothing is told from
    a forger by a secret in its addresses, which it always gets.
    """

    parts: dict[str, str]
    live_parts: frozenset[str] = frozenset()
    signs: bool = True
    reads_back: bool = False
    polls: bool = False
    poll_seconds: float = 300.0
    poll_overlap_seconds: float = 86_400.0
    reports: bool = False
    may_fiscalize: bool = False
    requests_per_second: float | None = None


class Pace(Protocol):
    """Keeps the calls of one source within its `requests_per_second`."""

    async def turn(self) -> None:
        """Wait until one more request may be sent."""
        ...


class Known(Protocol):
    """What one source reported before: it need not be read again, and shows what changed at the source since."""

    async def amounts(self, type: EventType, external_ids: Sequence[str]) -> Mapping[str, int | None]:
        """Kopecks of those events that were reported; None where there is nothing to compare (ignored, or too old)."""
        ...


class NothingKnown:
    """For a conversation of which nothing was kept."""

    async def amounts(self, type: EventType, external_ids: Sequence[str]) -> Mapping[str, int | None]:
        """Nothing was reported."""
        return {}


@dataclass(frozen=True, slots=True)
class SourceContext:
    """Everything an adapter's call needs, handed down. `source_id` is public (`src_…`)."""

    http: httpx.AsyncClient
    base_url: str | None
    credentials: Any
    settings: Any
    timezone: str
    source_id: str
    tokens: TokenCache
    pace: Pace
    deadline_seconds: float = 20.0
    known: Known = field(default_factory=NothingKnown)


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
class Alarm:
    """A reported payment or refund changed at its source (edited, deleted, fiscalized elsewhere): a person decides.

    It never makes, changes or cancels a receipt; told once per `code`, at the event named by type and external id.
    """

    type: EventType
    external_id: str
    code: str
    reason: str
    reason_ru: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a genuine notification means. No events: `note` says why nothing is to be done (unknown kind, a hold…)."""

    events: tuple[PaymentEvent, ...] = ()
    note: str | None = None
    warnings: tuple[str, ...] = ()
    alarms: tuple[Alarm, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadBackFailed:
    """The source's API did not answer or refused: try again later; nothing is decided."""

    reason: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """What became of a reported event, as it is now. `receipt_id` (`rcpt_…`) and `status` are those of its newest
    receipt, or None and the event's own status where it has none."""

    event_id: str
    receipt_id: str | None
    status: str
    fiscal: FiscalData | None = None
    failure_ru: str | None = None
    content_differs: bool = False


class Desk(Protocol):
    """What a live part may do at once: report an event of its own source, and ask what became of one.

    Every call raises `Busy` while the database is away.
    """

    async def accept(self, event: PaymentEvent) -> Standing:
        """Store it once for ever, or say what became of the one that came first (`content_differs`: it was another).

        Invalid, with all findings, for what cannot become a receipt: then nothing is stored.
        """
        ...

    async def standing(self, type: EventType, external_id: str) -> Standing | None:
        """None: never reported."""
        ...

    async def again(self, type: EventType, external_id: str) -> Standing | None:
        """A finally rejected receipt is tried once more, as a new version; any other is left alone."""
        ...


@dataclass(frozen=True, slots=True)
class Report:
    """A receipt at its end, or in a person's hands, as a CRM should hear of it. `metadata` is the event's."""

    receipt_id: str
    event_type: EventType
    event_external_id: str
    order_id: str | None
    operation: str
    status: str
    total: int
    fiscal: FiscalData | None
    public_url: str | None
    failure_ru: str | None
    metadata: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Estimate:
    """How many closing receipts a source's own history would have made between two days, both included.

    `receipts` has the number under every choice of the source's setting, `chosen` is the present choice.
    """

    first_day: date
    last_day: date
    customers: int
    charges: int
    receipts: dict[str, int]
    chosen: str


class SourceUnreachable(Exception):
    """The source did not answer, or refused; the sentence is for the operator and holds no secret."""


class PollFailed(SourceUnreachable):
    """The source could not be listed; the sentence is for the operator and holds no secret."""


@dataclass(frozen=True, slots=True)
class Reported:
    """The CRM has it."""


@dataclass(frozen=True, slots=True)
class NotReported:
    """Nothing was to be written: the adapter's settings say so, or this CRM has no place for this kind of state."""

    reason: str


@dataclass(frozen=True, slots=True)
class ReportFailed:
    """The CRM did not take it; `final` means that repeating cannot help."""

    reason: str
    final: bool = False


ReportResult = Reported | NotReported | ReportFailed


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

    def refuse(self, request: InboundRequest, reason: str) -> InboundReply | None:
        """The answer to what is not believed, for a sender that misreads an HTTP error; None: 401. Tells no reason."""
        ...

    @staticmethod
    def away(part: str) -> InboundReply | None:
        """The answer to a live part while nothing is known of its source, not even its secret; None: 503.

        It claims nothing: the sender asks again.
        """
        ...

    async def parse(self, request: InboundRequest, context: SourceContext) -> Parsed | ReadBackFailed:
        """Events of a verified notification, read back from the source where it must be."""
        ...

    async def answer(self, request: InboundRequest, desk: Desk, context: SourceContext) -> InboundReply:
        """The answer to a live part; never called for another. Raises nothing: what goes wrong is in the answer."""
        ...

    def poll(self, since: datetime, context: SourceContext) -> AsyncIterator[PaymentEvent | Alarm]:
        """What happened at the source since a moment, oldest first; sources that cannot list yield nothing.

        Raises PollFailed when the source does not answer: what was yielded counts, the rest is asked for again.
        """
        ...

    async def report(self, report: Report, context: SourceContext) -> ReportResult:
        """Write the fiscal result back through the CRM's own API.

        Asked at least once for each state of a receipt: where the CRM lets it, write so that a repeat replaces.
        """
        ...

    async def estimate(self, days: int, context: SourceContext) -> Estimate | None:
        """What the closing of prepayments would have made in the last `days`; None for a source that closes none.

        Raises SourceUnreachable.
        """
        ...

    def reconsider(self, event: PaymentEvent, settings: Any) -> PaymentEvent | None:
        """An event with a question, under the settings of today: answered, as it was, or None (it needs no receipt)."""
        ...


class Passive:
    """What an adapter inherits that has no live part, cannot be listed and takes nothing back; one that has some of
    them overrides these."""

    def refuse(self, request: InboundRequest, reason: str) -> InboundReply | None:
        """401."""
        return None

    @staticmethod
    def away(part: str) -> InboundReply | None:
        """503."""
        return None

    async def answer(self, request: InboundRequest, desk: Desk, context: SourceContext) -> InboundReply:
        """There is no live part."""
        return InboundReply(404)

    async def poll(self, since: datetime, context: SourceContext) -> AsyncIterator[PaymentEvent | Alarm]:
        """Nothing can be listed."""
        nothing: tuple[PaymentEvent, ...] = ()
        for event in nothing:
            yield event

    async def report(self, report: Report, context: SourceContext) -> ReportResult:
        """There is no place for it."""
        return ReportFailed("this source takes nothing back", final=True)

    async def estimate(self, days: int, context: SourceContext) -> Estimate | None:
        """It closes no prepayments."""
        return None

    def reconsider(self, event: PaymentEvent, settings: Any) -> PaymentEvent | None:
        """It asks no questions."""
        return event
