"""A source that is played by its test: what it lists, what it believes, what it takes back."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from pydantic import BaseModel, SecretStr

from app.domain.errors import Busy, Invalid
from app.domain.event import EventType, PaymentEvent
from app.ports.inbound import InboundReply, InboundRequest
from app.ports.source import (
    Alarm,
    Desk,
    Parsed,
    Passive,
    PollFailed,
    ReadBackFailed,
    Report,
    Reported,
    ReportResult,
    SourceCapabilities,
    SourceContext,
    Verdict,
    VerifyResult,
)


class Credentials(BaseModel):
    """A word that every request carries."""

    secret: SecretStr


class Settings(BaseModel):
    """Nothing to set."""


@dataclass
class Listing:
    """What a poll yields; with `breaks` it fails behind the last one."""

    items: list[PaymentEvent | Alarm] = field(default_factory=list)
    breaks: Exception | None = None


class MemoryCrm(Passive):
    """`parsed` answers notices, `listing` polls, `result` reports; what came is kept."""

    code: ClassVar[str] = "memory_crm"
    title: ClassVar[str] = "Memory"
    docs_url: ClassVar[str] = "https://crm.example.org/api"
    default_base_url: ClassVar[str | None] = None
    Credentials: ClassVar[type[BaseModel]] = Credentials
    Settings: ClassVar[type[BaseModel]] = Settings
    capabilities: ClassVar[SourceCapabilities] = SourceCapabilities(
        parts={"notice": "money moved", "print": "print a receipt now", "check": "is it printed?"},
        live_parts=frozenset({"print", "check"}),
        polls=True,
        poll_seconds=3600.0,
        poll_overlap_seconds=600.0,
        reports=True,
    )

    def __init__(self) -> None:
        self.parsed: Parsed | ReadBackFailed = Parsed(note="nothing of interest")
        self.listing = Listing()
        self.asked_since: list[datetime] = []
        self.result: ReportResult | Exception = Reported()
        self.told: list[Report] = []
        self.says_no_in_words = True
        self.event: PaymentEvent | None = None
        self.broken = False

    def verify(self, request: InboundRequest, credentials: Any, settings: Any) -> VerifyResult:
        if request.headers.get("x-secret") == credentials.secret.get_secret_value():
            return Verdict.Genuine()
        return Verdict.Forged("another secret")

    def reply(self, request: InboundRequest, *, stored: bool) -> InboundReply:
        return InboundReply(200, b"OK") if stored else InboundReply(503, b"LATER")

    def refuse(self, request: InboundRequest, reason: str) -> InboundReply | None:
        return InboundReply(200, b"NO") if self.says_no_in_words else None

    @staticmethod
    def away(part: str) -> InboundReply | None:
        return InboundReply(200, b"WAIT") if part == "check" else None

    async def parse(self, request: InboundRequest, context: SourceContext) -> Parsed | ReadBackFailed:
        return self.parsed

    async def answer(self, request: InboundRequest, desk: Desk, context: SourceContext) -> InboundReply:
        if self.broken:
            raise RuntimeError("a bug")
        try:
            if request.part == "print":
                assert self.event is not None
                standing = await desk.accept(self.event)
            else:
                name = request.query
                again = name.startswith("again:")
                name = name.removeprefix("again:")
                ask = desk.again if again else desk.standing
                found = await ask(EventType.PAYMENT_SUCCEEDED, name)
                if found is None:
                    return InboundReply(404, b"UNKNOWN")
                standing = found
        except Busy:
            return InboundReply(200, b"WAIT")
        except Invalid as wrong:
            return InboundReply(200, json.dumps([one.rule for one in wrong.findings]).encode())
        told = {
            "receipt": standing.receipt_id,
            "status": standing.status,
            "fd": None if standing.fiscal is None else standing.fiscal.fd,
            "failure": standing.failure_ru,
            "differs": standing.content_differs,
        }
        return InboundReply(200, json.dumps(told).encode(), "application/json")

    async def poll(self, since: datetime, context: SourceContext) -> AsyncIterator[PaymentEvent | Alarm]:
        self.asked_since.append(since)
        listing = self.listing
        for one in listing.items:
            yield one
        if listing.breaks is not None:
            raise listing.breaks

    async def report(self, report: Report, context: SourceContext) -> ReportResult:
        self.told.append(report)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


PLUGIN = MemoryCrm

__all__ = ["PLUGIN", "Listing", "MemoryCrm", "PollFailed"]
