"""ATOL Online: a document is taken under our external_id, printed from a queue, and asked for by the service's uuid.

Provider documents: "АТОЛ Онлайн. Описание протокола" v5 (FFD 1.2) and v4 5.15 (FFD 1.05), https://atol.online/library.
"""

import re
import time
from datetime import UTC, datetime
from typing import Any, ClassVar

import httpx
from pydantic import BaseModel

from app.domain.errors import Invalid
from app.domain.ffd import FfdVersion, Operation
from app.domain.outcome import (
    Accepted,
    CannotTell,
    LookupOutcome,
    Outcome,
    Rejected,
    Scope,
    Unavailable,
    Unknown,
)
from app.domain.receipt import Receipt
from app.infra.compact_json import exact_json
from app.infra.http import NotSent
from app.kassas.atol.answer import (
    ALREADY_EXISTS,
    NO_SUCH_UUID,
    Told,
    not_registered,
    read,
    refused_document,
    reported,
    token_refused,
)
from app.kassas.atol.request import CARRIES, cannot_carry, operation_path, to_wire
from app.kassas.atol.services import DEFAULT_BASE_URL, Credentials, api_url
from app.ports.inbound import InboundRequest
from app.ports.kassa import Capabilities, CheckLine, CheckReport, DriverContext, Mark

CAPABILITIES = Capabilities(
    ffd=frozenset({FfdVersion.V1_05, FfdVersion.V1_2}),
    operations=frozenset(Operation),
    corrections=frozenset({FfdVersion.V1_05, FfdVersion.V1_2}),
    # "The same document may always be sent again under its external_id"; a report is kept for 32 days, so that is how
    # long a repeat certainly meets the first document.
    dedup_seconds=32 * 86_400,
    # A document is found by the service's own uuid only; a repeat of the external_id gives it.
    lookup_seconds=0,
    visibility_seconds=60,
    max_items=100,
    quantity_decimals=3,
    callbacks=True,
    marking=True,
    agents=True,
    additional_receipt_prop=True,
    carries=CARRIES[FfdVersion.V1_2],
    carries_105=CARRIES[FfdVersion.V1_05],
    wire_seconds=20,
    # A report may be asked for once a second per register; a document waits 300 s in the queue at most.
    poll_schedule_seconds=(5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600),
    notes=(
        "How long an external_id is remembered is not published; reports are kept for 32 days, and so far it counts.",
        "Whether a known external_id is answered by its uuid or by error 33 differs between two pages of the document; "
        "both are read, and error 33 without a uuid waits for a person.",
        "That compatible services register an external_id once is not confirmed: there a lost answer waits for a "
        "person and is never sent again by itself.",
        "A document that failed has spent its id: it is sent again as a new version by a person.",
        "Protocol v4 (FFD 1.05) corrects sums only, and only of sales and purchases.",
        "Place of settlement and taxation cannot be asked for: the check does not compare them.",
    ),
)

POLL_AFTER_SECONDS = 5.0
TOKEN_SECONDS = 23 * 3600.0
"""A token lives 24 hours; one that is renewed an hour ahead is never refused in the middle of a receipt."""

NOBODYS_UUID = "00000000-0000-0000-0000-000000000000"
_UUID = re.compile(r"[\w.-]{1,128}")
_ID = re.compile(r'"external_id"\s*:\s*"([A-Za-z0-9_-]{1,128})"')
_SCOPES = {"stale": Scope.RECEIPT, "pool": Scope.RECEIPT, "unsupported": Scope.RECEIPT, "forbidden": Scope.KASSA}
"""Reasons of the transport that lie with us; every other one speaks for the whole provider."""


class AtolDriver:
    """ATOL Online, protocols v4 and v5, and the services that speak them."""

    code: ClassVar[str] = "atol"
    title: ClassVar[str] = "АТОЛ Онлайн"
    docs_url: ClassVar[str] = "https://atol.online/library"
    protocol_version: ClassVar[str] = "v5, v4"
    default_base_url: ClassVar[str] = DEFAULT_BASE_URL
    Credentials: ClassVar[type[BaseModel]] = Credentials
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def group_key(self, credentials: Any) -> str:
        """external_id is unique within a group of registers, and the group belongs to one service."""
        return f"{credentials.service}:{credentials.group_code}"

    def payload(self, provider_id: str, receipt: Receipt, context: DriverContext) -> dict[str, Any]:
        """The body of `submit`, money as Decimal roubles; Invalid (rule `payload_not_supported`) where it cannot be."""
        return to_wire(
            provider_id,
            receipt,
            inn=context.profile.merchant_inn,
            email=context.credentials.company_email,
            callback_url=context.callback_url,
            at=context.created_at or datetime.now(UTC),
        )

    async def submit(self, provider_id: str, receipt: Receipt, context: DriverContext) -> Outcome:
        """Send once; again only with a fresh token after the service refused the one we had."""
        try:
            content = exact_json(self.payload(provider_id, receipt, context))
            url = _group_url(context, receipt.ffd)
        except Invalid as refused:
            pointer = refused.findings[0].pointer if refused.findings else None
            return Rejected("payload_not_supported", provider_message=refused.detail, pointer=pointer)
        if context.resend and not context.credentials.speaks.deduplicates:
            reason = "an earlier send may have arrived, and this service is not known to register an id once"
            return Unknown(reason, stuck="lookup_impossible")
        call = _Call(context, receipt)
        told = await call.ask("POST", f"{url}/{operation_path(receipt)}", content)
        match told:
            case Unavailable():
                return told
            case CannotTell(reason=reason):
                return Unknown(reason)
            case Told():
                return self._taken(told)

    @staticmethod
    def _taken(told: Told) -> Outcome:
        """An answer to a registration. A uuid means that the document is in the queue, or stood there before."""
        already = told.refused and told.code == ALREADY_EXISTS
        if told.uuid is not None and ((told.http == 200 and told.code is None) or already):
            return Accepted(told.uuid, POLL_AFTER_SECONDS)
        if already:
            reason = "the id exists already (error 33), and the answer does not say under which uuid"
            return Unknown(reason, told.provider_code, told.text, stuck="duplicate_id")
        reason = f"HTTP {told.http} does not say whether the document was taken"
        return refused_document(told) or not_registered(told) or Unknown(reason, told.provider_code, told.text)

    async def poll(
        self, provider_id: str, reference: str | None, receipt: Receipt, context: DriverContext
    ) -> LookupOutcome:
        """State of an accepted document by the uuid that the service gave it."""
        if reference is None or not _UUID.fullmatch(reference):
            return CannotTell("the uuid of this document is not known, and there is no other way to ask")
        try:
            url = _group_url(context, receipt.ffd)
        except Invalid as refused:
            return CannotTell(refused.detail)
        told = await _Call(context, receipt).ask("GET", f"{url}/report/{reference}")
        match told:
            case Unavailable(cause=cause):
                return CannotTell(f"no token: {cause}", told.scope, told.provider_code, told.provider_message)
            case CannotTell():
                return told
            case Told():
                return reported(told, provider_id, receipt)

    async def lookup(self, provider_id: str, receipt: Receipt, context: DriverContext) -> LookupOutcome:
        """Not offered: sending again under the same id is the only question there is."""
        return CannotTell("ATOL Online finds documents by its own uuid, not by ours")

    async def check(self, context: DriverContext) -> CheckReport:
        """Credentials, group and protocol version, by asking for the report of a document that cannot exist."""
        try:
            url = _group_url(context, context.profile.ffd)
        except Invalid as refused:
            return CheckReport((CheckLine("format", Mark.FAILED, refused.detail, "Choose another FFD or service."),))
        told = await _Call(context).ask("GET", f"{url}/report/{NOBODYS_UUID}")
        match told:
            case Told() if told.refused and told.code == NO_SUCH_UUID:
                group = f"group {context.credentials.group_code} answers by protocol {url.rsplit('/', 2)[-2]}"
                place = "place of settlement and taxation cannot be asked for here"
                return CheckReport(
                    (
                        CheckLine("credentials", Mark.OK, "accepted"),
                        CheckLine("group", Mark.OK, group),
                        CheckLine("place", Mark.WARNING, place, "Compare them with the cabinet, to the letter."),
                    )
                )
            case Told():
                return CheckReport((_failed_line(told, not_registered(told)),))
            case Unavailable():
                return CheckReport((_failed_line(None, told),))
            case CannotTell(reason=reason):
                fix = "Check the network, the base URL and whether the provider is up."
                return CheckReport((CheckLine("connection", Mark.FAILED, reason, fix),))

    def callback_hint(self, request: InboundRequest) -> str | None:
        """Our external_id in the report that a callback repeats."""
        found = _ID.search(request.body.decode(errors="replace"))
        return found[1] if found else None


def _group_url(context: DriverContext, ffd: FfdVersion) -> str:
    url = api_url(context.base_url, context.credentials, ffd)
    if url is None:
        raise cannot_carry("#/ffd", f"{context.credentials.service} is not known to take FFD {ffd.value}")
    return f"{url}/{context.credentials.group_code}"


class _Call:
    """One call of the driver: every request in it shares its deadline and, once refused, one fresh token."""

    def __init__(self, context: DriverContext, receipt: Receipt | None = None) -> None:
        self._context, self._credentials = context, context.credentials
        self._started = time.monotonic()
        self._ffd = receipt.ffd if receipt else context.profile.ffd
        who = receipt.customer if receipt else None
        buyer = who.private_words if who else ()
        self._private = (*buyer, self._credentials.password.get_secret_value())

    async def ask(self, method: str, url: str, content: bytes | None = None) -> Told | Unavailable | CannotTell:
        """The answer; `Unavailable` when the request itself certainly did not leave, `CannotTell` when it is lost."""
        for fresh in (False, True):
            token = await self._token(fresh=fresh)
            if isinstance(token, Unavailable):
                return token
            try:
                told = await self._send(method, url, token, content)
            except NotSent as error:
                if method == "GET":
                    return CannotTell(f"no answer: {_words(error)}", _scope_of(error))
                return Unavailable("wire_not_sent", _scope_of(error), provider_message=_words(error))
            except httpx.RequestError as error:
                return CannotTell(f"no answer: {_words(error)}", _scope_of(error))
            if not token_refused(told):
                break
            if self._context.tokens.get(self._credentials.login) == token:  # another call may have renewed it meanwhile
                self._context.tokens.drop(self._credentials.login)
        return told

    async def _send(self, method: str, url: str, token: str, content: bytes | None) -> Told:
        headers = {"Accept": "application/json"}
        if content is not None:
            headers["Content-Type"] = "application/json; charset=utf-8"
        in_query = self._credentials.token_in_query
        extensions = self._left()
        if method == "POST" and self._context.not_after is not None:
            extensions["not_after"] = self._context.not_after
        answer = await self._context.http.request(
            method,
            url,
            content=content,
            headers=headers | ({} if in_query else {"Token": token}),
            params={"token": token} if in_query else None,
            extensions=extensions,
        )
        return read(answer, (*self._private, token))

    async def _token(self, *, fresh: bool) -> str | Unavailable:
        """From the cache, else asked for. Whatever goes wrong here happens before a receipt is sent."""
        known = self._context.tokens.get(self._credentials.login)
        if known is not None and not fresh:
            return known
        body = {"login": self._credentials.login, "pass": self._credentials.password.get_secret_value()}
        try:
            answer = await self._context.http.request(
                "POST",
                f"{api_url(self._context.base_url, self._credentials, self._ffd)}/getToken",
                content=exact_json(body),
                headers={"Accept": "application/json", "Content-Type": "application/json; charset=utf-8"},
                extensions=self._left() | {"private": True},
            )
        except NotSent as error:
            return Unavailable("wire_not_sent", _scope_of(error), provider_message=_words(error))
        except httpx.RequestError as error:
            return Unavailable("provider_down", Scope.PROVIDER, provider_message=_words(error))
        told = read(answer, self._private)
        token = told.body.get("token") if told.http == 200 and isinstance(told.body, dict) else None
        if isinstance(token, str) and re.fullmatch(r"[!-~]{1,1000}", token) and told.code is None:
            self._context.tokens.put(self._credentials.login, token, TOKEN_SECONDS)
            return token
        # 13 is a login or password of a form that cannot be one.
        if told.refused and told.code == 13:
            return Unavailable("credentials_refused", Scope.KASSA, None, told.provider_code, told.text)
        return not_registered(told) or Unavailable(
            "provider_down", Scope.PROVIDER, told.retry_after, told.provider_code, told.text
        )

    def _left(self) -> dict[str, Any]:
        """What is left of the call's time."""
        left = self._context.deadline_seconds - (time.monotonic() - self._started)
        return {"deadline_seconds": max(left, 0.1)}


def _words(error: httpx.RequestError) -> str:
    return f"{getattr(error, 'reason', type(error).__name__)}: {error}"


def _scope_of(error: httpx.RequestError) -> Scope:
    return _SCOPES.get(getattr(error, "reason", ""), Scope.PROVIDER)


_FIXES = {
    "credentials_refused": ("credentials", "Enter login and password anew: they are in the cabinet's integrator file."),
    "account_inactive": ("account", "Ask the provider to activate the account."),
    "group_not_found": ("group", "Compare group_code with the cabinet; it must belong to this login."),
    "ffd_not_registered": (
        "format",
        "The group speaks the other protocol: set the kassa's FFD (1.2 is v5, 1.05 is v4).",
    ),
    "rate_limited": ("connection", "Try again in a minute."),
}


def _failed_line(told: Told | None, why: Unavailable | None) -> CheckLine:
    name, fix = _FIXES.get(
        why.cause if why else "", ("connection", "Try again later; check the base URL if it stays so.")
    )
    said = why.provider_message if why else (told.text if told else None)
    code = why.provider_code if why else (told.provider_code if told else None)
    return CheckLine(name, Mark.FAILED, f"the service answered {code}: {said or 'nothing that is known'}", fix)
