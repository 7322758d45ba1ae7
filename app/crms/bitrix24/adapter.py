"""The gateway as a cashbox of a Bitrix24 portal: it prints at PRINT_URL, is asked at CHECK_URL, and reports by itself.

The portal takes a failed answer of CHECK_URL for "printed", and one of PRINT_URL hangs the check for ever, so that
every answer is HTTP 200, and one that is not sure of anything is WAIT. Facts: the portal's REST documentation and the
open source of its module sale, as of 2026-11; what the cloud build does differently is not known.
"""

import hmac
from typing import Any, ClassVar, Final

from app.crms.bitrix24 import registration, settings
from app.crms.bitrix24.check import Unprintable, event_of_check
from app.crms.bitrix24.form import Nested, nested, read
from app.crms.bitrix24.identity import event_of, key_of, uuid_of
from app.crms.bitrix24.portal import Answered, Denied, NoAnswer, call
from app.domain.errors import Busy, Invalid
from app.domain.receipt import FiscalData
from app.infra.compact_json import json_bytes
from app.ports.inbound import InboundReply, InboundRequest
from app.ports.source import (
    Desk,
    NotReported,
    Parsed,
    Passive,
    ReadBackFailed,
    Report,
    Reported,
    ReportFailed,
    ReportResult,
    SourceCapabilities,
    SourceContext,
    Standing,
    Verdict,
    VerifyResult,
)

PRINT, CHECK = "print", "check"

_ENDED: Final = {
    "rejected": "Касса отказала в чеке.",
    "cancelled": "Чек отменён в CRM-Kassa.",
    "refused": "Из этого чека нельзя сделать кассовый чек.",
    "ignored": "Для этого чека CRM-Kassa кассовых чеков не делает.",
}
"""States without a receipt that will still come, with the sentence where the receipt has none of its own."""

_BUSY = "CRM-Kassa сейчас не может принять чек: повторите печать через минуту."
_NOT_OURS = (
    "Чек не принят: адрес или токен кассы не те, что выдала CRM-Kassa, или запрос не читается. "
    "Зарегистрируйте кассу заново (crm-kassa source bitrix24 register)."
)
_UNKNOWN_UUID = "CRM-Kassa не знает этого чека: напечатайте его ещё раз."


class Bitrix24Adapter(Passive):
    """One portal. Both posts are answered at once; a check printed again is the same receipt, or a new attempt of it
    once it was finally rejected."""

    code: ClassVar[str] = "bitrix24"
    title: ClassVar[str] = "Битрикс24"
    docs_url: ClassVar[str] = "https://apidocs.bitrix24.ru/api-reference/sale/cashbox/index.html"
    default_base_url: ClassVar[str | None] = None
    Credentials: ClassVar[type[settings.Credentials]] = settings.Credentials
    Settings: ClassVar[type[settings.Settings]] = settings.Settings
    Registration: ClassVar[type[registration.Registration]] = registration.Registration
    capabilities: ClassVar[SourceCapabilities] = SourceCapabilities(
        parts={PRINT: "PRINT_URL: a check to print", CHECK: "CHECK_URL: what became of a check"},
        live_parts=frozenset({PRINT, CHECK}),
        signs=False,
        reads_back=True,
        reports=True,
        requests_per_second=2.0,
    )

    def verify(self, request: InboundRequest, credentials: Any, settings: Any) -> VerifyResult:
        """The token among `cashbox_params`, and the portal in `uuid` where one is set. Nothing is signed.

        CHECK_URL brings a UUID of ours alone: only the secret in its path protects it, and it changes nothing.
        """
        wanted = credentials.token.get_secret_value().encode() if credentials is not None else b""
        if not wanted.strip():
            return Verdict.Forged("no token is configured for this source")
        if _part(request) != PRINT:
            return Verdict.Genuine()
        post = _read(request)
        if post is None:
            return Verdict.Forged("the post cannot be read")
        section = nested(nested(post.get("cashbox_params")).get(registration.SECTION))
        given = section.get(registration.TOKEN)
        if not isinstance(given, str) or not hmac.compare_digest(given.encode(errors="surrogateescape"), wanted):
            return Verdict.Forged("the token among cashbox_params is not this source's")
        key = key_of(_uuid(post))
        if settings.portal is not None and key is not None and key.portal != settings.portal:
            return Verdict.Forged("the check is of another portal")
        return Verdict.Genuine()

    def reply(self, request: InboundRequest, *, stored: bool) -> InboundReply:
        """Nothing of this source is only stored: the answer claims nothing."""
        return self.away(_part(request)) or _json({"STATUS": "WAIT"})

    def refuse(self, request: InboundRequest, reason: str) -> InboundReply | None:
        """A check that is not believed is refused with a sentence; a question that is not believed waits."""
        return _errors(_NOT_OURS) if _part(request) == PRINT else _WAIT

    @staticmethod
    def away(part: str) -> InboundReply | None:
        """PRINT_URL says to print again, which meets the same receipt; CHECK_URL says to wait."""
        match part:
            case "print":
                return _errors(_BUSY)
            case "check":
                return _WAIT
            case _:
                return None

    async def parse(self, request: InboundRequest, context: SourceContext) -> Parsed | ReadBackFailed:
        """Both parts are live."""
        return Parsed(note="answered at once")

    async def answer(self, request: InboundRequest, desk: Desk, context: SourceContext) -> InboundReply:
        """The UUID of a check that is or will be printed, or ERRORS; of a question its STATUS."""
        post = _read(request)
        if _part(request) == CHECK:
            return await _status(post, desk)
        if post is None:
            return _errors(_NOT_OURS)
        try:
            return await _print(post, desk, context)
        except Unprintable as wrong:
            return _errors(str(wrong))
        except Invalid as wrong:
            return _errors(*(dict.fromkeys(one.detail_ru for one in wrong.findings) or (_ENDED["refused"],)))
        except Busy:
            return _errors(_BUSY)

    async def report(self, report: Report, context: SourceContext) -> ReportResult:
        """Tell the portal of a printed check, so that it need not ask; asked again while it has not saved our UUID.

        A failure has no place in `check.apply`: CHECK_URL tells it.
        """
        if report.status != "fiscalized" or report.fiscal is None:
            return NotReported("the portal hears of what is not printed when it asks CHECK_URL")
        webhook = context.credentials.portal_webhook
        if webhook is None:
            return NotReported("no webhook of the portal is set: it hears the result when it asks CHECK_URL")
        uuid = uuid_of(report.event_type, report.event_external_id)
        if event_of(uuid) is None:
            return NotReported("this receipt is of no check of the portal")
        match await call(context, webhook, "sale.cashbox.check.apply", printed(uuid, report.fiscal)):
            case Answered(result=True):
                return Reported()
            case Answered():
                return ReportFailed("the portal did not confirm sale.cashbox.check.apply")
            case Denied(code="ERROR_CHECK_NOT_FOUND"):
                return ReportFailed("the portal has not saved our UUID yet")
            case Denied() as denied:
                return ReportFailed(str(denied), final=denied.code == "ERROR_CHECK_FAILURE")
            case NoAnswer(reason=reason):
                return ReportFailed(reason)

    def connection(
        self, wish: registration.Registration, known: tuple[settings.Credentials, settings.Settings] | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """See `app.ports.registration`."""
        return registration.connection(wish, known)

    async def registered(self, wish: registration.Registration, context: SourceContext) -> dict[str, str] | None:
        """See `app.ports.registration`."""
        return await registration.registered(wish, context)

    async def register(
        self, wish: registration.Registration, addresses: dict[str, str], context: SourceContext
    ) -> tuple[str, ...]:
        """See `app.ports.registration`."""
        return await registration.register(wish, addresses, context)


async def _print(post: Nested, desk: Desk, context: SourceContext) -> InboundReply:
    key = key_of(_uuid(post))
    if key is None:
        return _errors("У чека нет номера портала (uuid вида check|портал|номер).")
    event = await event_of_check(post, key, context)
    standing: Standing | None = await desk.accept(event)
    if standing is not None and standing.status == "rejected":
        # The manager pressed "print" again: he may have mended the cause, and the portal keeps its number.
        standing = await desk.again(event.type, event.external_id)
    if standing is None:
        return _errors(_BUSY)
    if standing.status in _ENDED:
        return _errors(standing.failure_ru or _ENDED[standing.status])
    return _json({"UUID": uuid_of(event.type, event.external_id)})


async def _status(post: Nested | None, desk: Desk) -> InboundReply:
    """DONE only with the fiscal data in hand, ERROR only for what will never be printed, WAIT on any doubt."""
    uuid = _uuid(post or {})
    if not uuid:
        return _WAIT
    named = event_of(uuid)
    try:
        standing = None if named is None else await desk.standing(*named)
    except Busy:
        return _WAIT
    if standing is None:
        return _json({"STATUS": "ERROR", "ERROR": _UNKNOWN_UUID})
    if standing.status == "fiscalized" and standing.fiscal is not None:
        return _json({"STATUS": "DONE", **printed(uuid, standing.fiscal)})
    if standing.status in _ENDED:
        return _json({"STATUS": "ERROR", "ERROR": standing.failure_ru or _ENDED[standing.status]})
    return _WAIT


def printed(uuid: str, fiscal: FiscalData) -> dict[str, str]:
    """The eight fields of a printed check; what the kassa did not tell is empty."""

    def text(value: object) -> str:
        return "" if value is None else str(value)

    return {
        "UUID": uuid,
        "REG_NUMBER_KKT": text(fiscal.kkt_rn),
        "FISCAL_DOC_ATTR": fiscal.fpd,
        "FISCAL_DOC_NUMBER": str(fiscal.fd),
        "FISCAL_RECEIPT_NUMBER": text(fiscal.number_in_shift),
        "FN_NUMBER": fiscal.fn,
        "SHIFT_NUMBER": text(fiscal.shift),
        "PRINT_END_TIME": str(int(fiscal.fiscalized_at.timestamp())),
    }


def _read(request: InboundRequest) -> Nested | None:
    try:
        return read(request.body, request.headers.get("content-type", ""))
    except ValueError:
        return None


def _uuid(post: Nested) -> str:
    value = post.get("uuid")
    return value.strip() if isinstance(value, str) else ""


def _part(request: InboundRequest) -> str:
    return request.part.strip("/").rpartition("/")[2].lower()


def _json(answer: dict[str, Any]) -> InboundReply:
    return InboundReply(200, json_bytes(answer), "application/json")


def _errors(*sentences: str) -> InboundReply:
    return _json({"ERRORS": list(sentences)})


_WAIT: Final = InboundReply(200, b'{"STATUS":"WAIT"}', "application/json")
