"""A CRM that is only listed, over HTTP, and takes results back: for processes of the program that are to die."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, ClassVar

from pydantic import BaseModel, SecretStr

from app.domain.event import PaymentEvent
from app.ports.inbound import InboundReply, InboundRequest
from app.ports.source import (
    Alarm,
    Parsed,
    Passive,
    PollFailed,
    ReadBackFailed,
    Report,
    Reported,
    ReportFailed,
    ReportResult,
    SourceCapabilities,
    SourceContext,
    Verdict,
    VerifyResult,
)
from tests.support.world import payment


class Credentials(BaseModel):
    """Asked for by every listing."""

    token: SecretStr


class Settings(BaseModel):
    """Nothing to set."""


class ListedCrm(Passive):
    """`GET {base_url}/payments` lists ids, `POST {base_url}/results` takes a receipt's state."""

    code: ClassVar[str] = "listed_crm"
    title: ClassVar[str] = "Listed"
    docs_url: ClassVar[str] = "https://crm.example.org/api"
    default_base_url: ClassVar[str | None] = None
    Credentials: ClassVar[type[BaseModel]] = Credentials
    Settings: ClassVar[type[BaseModel]] = Settings
    capabilities: ClassVar[SourceCapabilities] = SourceCapabilities(
        parts={}, polls=True, poll_seconds=3600.0, reports=True
    )

    def verify(self, request: InboundRequest, credentials: Any, settings: Any) -> VerifyResult:
        return Verdict.Forged("it posts nothing")

    def reply(self, request: InboundRequest, *, stored: bool) -> InboundReply:
        return InboundReply(404)

    async def parse(self, request: InboundRequest, context: SourceContext) -> Parsed | ReadBackFailed:
        return Parsed(note="it posts nothing")

    async def poll(self, since: datetime, context: SourceContext) -> AsyncIterator[PaymentEvent | Alarm]:
        answer = await context.http.get(f"{context.base_url}/payments")
        if answer.status_code != 200:
            raise PollFailed(f"the CRM answers {answer.status_code}")
        for name in answer.json():
            yield payment(name)

    async def report(self, report: Report, context: SourceContext) -> ReportResult:
        told = {"payment": report.event_external_id, "status": report.status}
        answer = await context.http.post(f"{context.base_url}/results", json=told)
        return Reported() if answer.status_code == 204 else ReportFailed(f"the CRM answers {answer.status_code}")


PLUGIN = ListedCrm
