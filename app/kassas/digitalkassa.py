"""digitalkassa (formerly Innokassa): receipts by our own id, answered at once or after a queue.

Provider document: "digitalkassa API v2.1" (https://api.digitalkassa.ru/v2.1/doc, OpenAPI 2.1.0 beside it).
"""

import base64
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Annotated, Any, ClassVar
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from app.domain.carriage import carriage_findings
from app.domain.errors import Finding, Invalid
from app.domain.ffd import AgentType, CorrectionKind, FfdVersion, Operation, PaymentKind, Taxation, timezone_code
from app.domain.money import quantity_text, roubles
from app.domain.outcome import (
    Accepted,
    CannotTell,
    Fiscalized,
    LookupOutcome,
    NotFound,
    Outcome,
    Pending,
    Rejected,
    Scope,
    Unavailable,
    Unknown,
)
from app.domain.receipt import Agent, FiscalData, Item, MarkingCode, Receipt
from app.domain.text import fit
from app.infra.compact_json import exact_json
from app.infra.http import NotSent, basic_auth
from app.ports.inbound import InboundRequest
from app.ports.kassa import Capabilities, CheckLine, CheckReport, DriverContext, Mark


class Credentials(BaseModel):
    """What the vendor issues after the contract and the registration of the registers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    actor_id: str = Field(min_length=1, pattern=r"^[^:\s]+$", title="actor_id")
    actor_token: SecretStr = Field(min_length=1, title="actor_token")
    c_group_id: int = Field(gt=0, title="Группа касс (c_group_id)")
    marking_base64: bool = Field(
        default=False,
        title="Коды маркировки в Base64",
        description="How the service wants marking codes is not confirmed: as scanned, or in Base64.",
    )


_CARRIES = frozenset({1021, 1084, 1191, 1203, 1222, 1227, 1228, 1229, 1230, 1231})

CAPABILITIES = Capabilities(
    ffd=frozenset({FfdVersion.V1_05, FfdVersion.V1_2}),
    operations=frozenset(Operation),
    corrections=frozenset({FfdVersion.V1_05, FfdVersion.V1_2}),
    # A repeat of an id gives the first result; for how long is stated nowhere, so a day is relied on and no more.
    dedup_seconds=86_400,
    lookup_seconds=None,
    # Stated nowhere either. A group spreads receipts over several registers, so a minute is left for it to settle.
    visibility_seconds=60,
    max_items=100,
    quantity_decimals=3,
    callbacks=True,
    marking=True,
    agents=True,
    additional_receipt_prop=False,
    # Version 2.1 has no member for 1192, 1243-1246, 1254, 1260, 1261 and 1270; an unknown one would refuse the receipt.
    carries=_CARRIES | {1291, 2000},
    carries_105=_CARRIES,
    wire_seconds=20,
    notes=(
        "How long an id is remembered is not published: ids are never reused.",
        "The number of lines per receipt is not published; 100 is the limit of comparable services.",
        "Marking codes are sent as scanned; whether the service wants Base64 is not confirmed, so a setting says it.",
        "The zone of doc.reg_time is not stated; it is read as the local time of the receipt.",
        "Tag 1192 cannot be sent: a repair of a wrong receipt keeps its link only here.",
        "The callback's body is not documented: a callback only makes the next poll due.",
    ),
)

# Tables: our names -> theirs. Enumerations that are not here go by their FFD numbers, as the document does.

PAYMENTS = {
    PaymentKind.CASH: "cash",
    PaymentKind.ELECTRONIC: "cashless",
    PaymentKind.PREPAID: "prepayment",
    PaymentKind.CREDIT: "postpayment",
    PaymentKind.OTHER: "barter",
}

MARKING_STATES = frozenset({1, 2, 3, 4, 255})
"""Tag 2003 as the service takes it; 5 and 6 of later orders are not confirmed."""

_BANK = frozenset({AgentType.BANK_PAYING_AGENT, AgentType.BANK_PAYING_SUBAGENT})
_PAYING = frozenset({AgentType.PAYING_AGENT, AgentType.PAYING_SUBAGENT})

# Tables: their answers -> ours. What is in none of them is unknown, never final.

REFUSALS = {
    "UNEXPECTED_FIELD": "field_unexpected",
    "MISSED_REQUIRED_FIELD": "field_missing",
    "BAD_VALUE": "value_invalid",
    "UNAVAILABLE_VALUE": "value_unavailable",
}
"""Types of a 400 that certainly registered nothing. ERR_TIMED_OUT is a 400 too, but the register may have printed."""

REFUSALS_BY_PLACE = {
    ("UNAVAILABLE_VALUE", "#/place"): "place_not_registered",
    ("UNAVAILABLE_VALUE", "#/taxation"): "taxation_not_registered",
}

NOT_REGISTERED = {
    401: "credentials_refused",
    402: "payment_required",
    403: "account_inactive",
    404: "group_not_found",
    429: "rate_limited",
}
"""HTTP codes of a POST that stand before the receipt itself: the same id may be sent once the kassa works again.

503 is not among them: "cannot serve now" does not say that this receipt was not taken, so it is looked up first.
"""

POINTERS = {
    "type": "operation",
    "amount": "payments",
    "notify": "customer",
    "notify/emails": "customer/email",
    "notify/emails/*": "customer/email",
    "notify/phone": "customer/phone",
    "customer/tin": "customer/inn",
    "loc/billing_place": "place",
    "is_internet": "internet",
    "cashier/name": "cashier_name",
    "cashier/tin": "cashier_inn",
    "additional_attribute": "user_prop",
    "corrected_date": "correction/corrected_date",
    "order_number": "correction/document_number",
    "items/*/type": "items/*/payment_object",
    "items/*/unit": "items/*/measure",
    "items/*/marking": "items/*/marking_code",
    "items/*/marking/code": "items/*/marking_code",
    "items/*/country_code": "items/*/country",
    "items/*/declaration_number": "items/*/declaration",
}
"""Where their members are in our receipt; the rest have the same name."""

_ID = re.compile(r"[A-Za-z0-9]{1,64}")
_SCOPES = {"stale": Scope.RECEIPT, "pool": Scope.RECEIPT, "unsupported": Scope.RECEIPT, "forbidden": Scope.KASSA}
"""Reasons of the transport that lie with us; every other one speaks for the whole provider."""


def to_wire(
    provider_id: str, receipt: Receipt, *, callback_url: str | None, at: datetime, marking_base64: bool = False
) -> dict[str, Any]:
    """The body of a receipt or a correction. Money is Decimal roubles. Invalid where the service cannot carry it."""
    if not _ID.fullmatch(provider_id):
        raise _cannot_carry("#/provider_id", "an id of this service is 1 to 64 Latin letters and digits")
    for found in carriage_findings(receipt, _CARRIES | {1291, 2000}):
        raise _cannot_carry(found.pointer, f"version 2.1 has no member for tag {found.tag}")
    body: dict[str, Any] = {
        "type": receipt.operation.tag_value,
        "taxation": receipt.taxation.tag_value,
        "is_internet": int(receipt.internet),
        "timezone": _timezone(receipt.timezone, int(at.timestamp()) // 3600),
        "items": [
            _item(f"#/items/{index}", item, receipt.ffd, marking_base64=marking_base64)
            for index, item in enumerate(receipt.items)
        ],
        "amount": {name: roubles(paid) for kind, name in PAYMENTS.items() if (paid := receipt.paid(kind))},
        "loc": {"billing_place": receipt.place},
    }
    if receipt.correction is not None:
        body["corrected_date"] = receipt.correction.corrected_date.strftime("%d.%m.%Y")
        # Its presence is what makes a correction "by instruction"; FFD 1.2 has no 1179 in one made by oneself.
        if receipt.correction.kind is CorrectionKind.INSTRUCTION:
            number = receipt.correction.document_number
            body["order_number"] = _text("#/correction/document_number", number, 32)
            if not body["order_number"]:
                raise _cannot_carry("#/correction/document_number", "without its number it would say: by oneself")
    customer = receipt.customer
    name, value = receipt.user_prop or (None, None)
    optional: dict[str, Any] = {
        "notify": _present(emails=[customer.email] if customer.email else None, phone=customer.phone),
        "customer": _present(tin=customer.inn, name=_text("#/customer/name", customer.name, 256)),
        "additional_attribute": _present(
            name=_text("#/user_prop/name", name, 64), value=_text("#/user_prop/value", value, 256)
        ),
        "cashier": _present(name=_text("#/cashier_name", receipt.cashier_name, 64), tin=receipt.cashier_inn),
        "service": _present(callback_url=_callback(callback_url, provider_id)),
    }
    return body | _present(**optional)


def _item(pointer: str, item: Item, ffd: FfdVersion, *, marking_base64: bool) -> dict[str, Any]:
    name, _ = fit(item.name, 128)
    if not name:
        raise _cannot_carry(f"{pointer}/name", "no character of it can be printed by a register (CP866)")
    quantity = Decimal(quantity_text(item.quantity))
    if not Decimal("0.001") <= quantity <= Decimal("99999.999") or quantity != round(quantity, 3):
        raise _cannot_carry(f"{pointer}/quantity", "a quantity has at most 3 decimals, 0.001 to 99999.999")
    # `sku` is our own and in no fiscal document; v2.1 has no member for it.
    return {
        "type": item.payment_object.tag_value,
        "name": name,
        "price": roubles(item.price),
        "quantity": quantity,
        "amount": roubles(item.amount),
        "payment_method": item.payment_method.tag_value,
        "vat": item.vat.tag_value,
        "unit": item.measure.tag_value,
    } | _present(
        excise=None if item.excise is None else roubles(item.excise),
        additional_props=_text(f"{pointer}/additional_props", item.additional_props, 64),
        declaration_number=_text(f"{pointer}/declaration", item.declaration, 32),
        country_code=item.country,
        marking=_marking(f"{pointer}/marking_code", item.marking, ffd, encoded=marking_base64),
        agent=_agent(f"{pointer}/agent", item.agent),
    )


def _marking(pointer: str, marking: MarkingCode | None, ffd: FfdVersion, *, encoded: bool) -> dict[str, Any] | None:
    if marking is None:
        return None
    if ffd is not FfdVersion.V1_2:
        raise _cannot_carry(pointer, "this service takes marking codes by FFD 1.2 only")
    if marking.state not in MARKING_STATES:
        raise _cannot_carry(pointer, f"state {marking.state} of the goods (tag 2003) is not taken by this service")
    fraction = _present(numerator=marking.numerator, denominator=marking.denominator)
    code = base64.b64encode(marking.code.encode()).decode() if encoded else marking.code
    return {"code": code, "item_status": marking.state, **fraction}


def _agent(pointer: str, agent: Agent | None) -> dict[str, Any] | None:
    """Each kind of agent has its own members; data of another kind has no place to go."""
    if agent is None:
        return None
    paying = _present(phones=list(agent.paying_agent_phones))
    operation = _text(f"{pointer}/paying_agent_operation", agent.paying_agent_operation, 24)
    operator = _present(phones=list(agent.payment_operator_phones))
    transfer = _present(
        phones=list(agent.transfer_operator_phones),
        name=_text(f"{pointer}/transfer_operator_name", agent.transfer_operator_name, 64),
        tin=agent.transfer_operator_inn,
        address=_text(f"{pointer}/transfer_operator_address", agent.transfer_operator_address, 256),
    )
    bank, payment = agent.type in _BANK, agent.type in _PAYING
    for member, carried, given in (
        ("paying_agent_phones", bank or payment, paying),
        ("paying_agent_operation", bank, operation),
        ("payment_operator_phones", payment, operator),
        ("transfer_operator_name", bank, transfer),
    ):
        if given and not carried:
            raise _cannot_carry(f"{pointer}/{member}", f"an agent of type {agent.type.code} has no such data here")
    supplier = {
        "phones": list(agent.supplier_phones),
        "name": _text(f"{pointer}/supplier_name", agent.supplier_name, 256),
        "tin": agent.supplier_inn,
    }
    return {"type": agent.type.tag_value, "supplier": _present(**supplier)} | _present(
        paying_agent=paying | _present(operation=operation),
        payment_operator=operator,
        money_transfer_operator=transfer,
    )


def _present(**members: Any) -> dict[str, Any]:
    """Without null and empty members: the service refuses both."""
    return {name: value for name, value in members.items() if value or value == 0}


def _text(pointer: str, text: str | None, limit: int) -> str | None:
    """Printable in CP866; refused rather than cut, because half a declaration number is a wrong one."""
    if text is None:
        return None
    fitted, changes = fit(text, limit)
    if "truncated" in changes:
        raise _cannot_carry(pointer, f"at most {limit} characters can be printed")
    return fitted


@lru_cache(maxsize=256)
def _timezone(zone: str, hour: int) -> int:
    """Tag 1011 in this hour since 1970. From the receipt, not from the kassa's settings: a repeat of an id must have
    the same body."""
    try:
        offset = datetime.fromtimestamp(hour * 3600, ZoneInfo(zone)).utcoffset() or timedelta()
        if offset % timedelta(hours=1):
            raise ValueError("not a whole hour")
        return timezone_code(offset // timedelta(hours=1))
    except (ZoneInfoNotFoundError, ValueError):
        raise _cannot_carry("#/timezone", f"{zone} is not a time zone of Russia (UTC+2 to UTC+12)") from None


def _callback(url: str | None, provider_id: str) -> str | None:
    """The address with our id in it, because the body that will come is not documented."""
    return None if url is None else str(httpx.URL(url).copy_merge_params({"receipt": provider_id}))


def _cannot_carry(pointer: str, why: str) -> Invalid:
    finding = Finding(
        pointer,
        "payload_not_supported",
        f"digitalkassa cannot carry this: {why}.",
        "digitalkassa не умеет передать это поле.",
        fix="Change or leave out this part, or use another kassa.",
    )
    return Invalid(finding.detail, (finding,))


class _Doc(BaseModel):
    reg_time: str
    fiscal_num: int = Field(ge=1, lt=2**32)
    fiscal_sign: int = Field(ge=0, lt=2**32)
    shift_num: int | None = None
    index: int | None = None


class _Cashbox(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    fn_num: str = Field(pattern=r"^\d{16}$")
    rn: str | None = None
    factory_num: str | None = None
    ffd: str | None = None


class _Service(BaseModel):
    receipt_url: str | None = None


class _Result(BaseModel):
    """What makes a receipt: without FN, FD, FPD and time it is not one. PHP writes an empty object as []."""

    doc: _Doc
    cashbox: _Cashbox
    service: Annotated[_Service | None, BeforeValidator(lambda value: value or None)] = None


def from_wire(body: bytes, timezone: str) -> FiscalData:
    """The printed document; ValueError where something that makes it a document is missing or odd."""
    result = _Result.model_validate_json(body)
    told = datetime.fromisoformat(result.doc.reg_time)
    if not 2017 <= told.year < 9999:  # no storage of this kind is older, and beyond lies no UTC
        raise ValueError("doc.reg_time is outside the age of fiscal storages")
    local = told if told.tzinfo else told.replace(tzinfo=ZoneInfo(timezone))
    ffd = result.cashbox.ffd or ""
    url = result.service.receipt_url if result.service else None
    return FiscalData(
        fn=result.cashbox.fn_num,
        fd=result.doc.fiscal_num,
        fpd=str(result.doc.fiscal_sign),
        fiscalized_at=local.astimezone(UTC),
        local_time=result.doc.reg_time,
        kkt_rn=result.cashbox.rn,
        kkt_serial=result.cashbox.factory_num,
        shift=result.doc.shift_num,
        number_in_shift=result.doc.index,
        ffd=FfdVersion.from_tag(int(ffd)) if ffd.isdecimal() else None,
        receipt_url=url if url and url.startswith(("https://", "http://")) else None,
    )


def _warnings(fiscal: FiscalData, receipt: Receipt) -> Iterator[str]:
    if fiscal.fd > 10_000_000 and int(fiscal.fpd) < 1_000_000:
        # The vendor's own sample has the two numbers the other way round; which is right shows the QR.
        yield "fiscal_num and fiscal_sign look swapped: compare FD and FPD with the receipt's QR"
    if fiscal.ffd is not None and fiscal.ffd is not receipt.ffd:
        yield f"the register works by FFD {fiscal.ffd.value}, the kassa is set to {receipt.ffd.value}"


def to_pointer(path: str | None) -> str | None:
    """Their JSONPath as a pointer into our receipt: $.items[0].unit → #/items/0/measure."""
    if not path or not path.startswith("$"):
        return None
    steps = re.findall(r"[^.\[\]'\"]+", path[1:])
    shape = ["*" if step.isdigit() else step for step in steps]
    for length in range(len(steps), 0, -1):
        ours = POINTERS.get("/".join(shape[:length]))
        if ours is not None:
            indexes = iter([step for step in steps[:length] if step.isdigit()])
            found = [next(indexes) if step == "*" else step for step in ours.split("/")]
            return "/".join(["#", *found, *steps[length:]])
    return "/".join(["#", *steps])


class DigitalkassaDriver:
    """One group of registers at digitalkassa."""

    code: ClassVar[str] = "digitalkassa"
    title: ClassVar[str] = "digitalkassa"
    docs_url: ClassVar[str] = "https://api.digitalkassa.ru/v2.1/doc"
    protocol_version: ClassVar[str] = "2.1"
    default_base_url: ClassVar[str] = "https://api.digitalkassa.ru/v2.1/"
    Credentials: ClassVar[type[BaseModel]] = Credentials
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def group_key(self, credentials: Any) -> str:
        """Ids live within the group of registers."""
        return str(credentials.c_group_id)

    def payload(self, provider_id: str, receipt: Receipt, context: DriverContext) -> dict[str, Any]:
        """The body of `submit`, money as Decimal roubles; Invalid (rule `payload_not_supported`) where it cannot be."""
        return to_wire(
            provider_id,
            receipt,
            callback_url=context.callback_url,
            at=datetime.now(UTC),
            marking_base64=context.credentials.marking_base64,
        )

    async def submit(self, provider_id: str, receipt: Receipt, context: DriverContext) -> Outcome:
        """Send once. A 409 is answered by asking what stands under the id."""
        started = time.monotonic()
        try:
            content = exact_json(self.payload(provider_id, receipt, context))
        except Invalid as refused:
            pointer = refused.findings[0].pointer if refused.findings else None
            return Rejected("payload_not_supported", provider_message=refused.detail, pointer=pointer)
        try:
            path = _receipt_path(provider_id, receipt, context)
            answer = await _send("POST", path, context, context.extensions, content)
        except NotSent as error:
            return Unavailable("wire_not_sent", _scope_of(error), provider_message=_words(error))
        except httpx.RequestError as error:
            return Unknown(f"no answer: {_words(error)}")
        match answer.status_code:
            case 200 | 201:
                return _fiscalized(answer, receipt)
            case 202:
                return Accepted(poll_after_seconds=_retry_after(answer))
            case 400:
                return _refusal(answer, receipt) or Unknown("a refusal of an unknown kind", *_told(answer, receipt))
            case 406:
                return Rejected("refused_other", *_told(answer, receipt))
            case 409:
                return self._already_there(await self._ask(provider_id, receipt, context, started))
            case status if status in NOT_REGISTERED:
                code, message = _told(answer, receipt)
                return Unavailable(NOT_REGISTERED[status], Scope.KASSA, _retry_after(answer), code, message)
            case status:
                return Unknown(f"HTTP {status} does not say whether the receipt was taken", *_told(answer, receipt))

    async def poll(
        self, provider_id: str, reference: str | None, receipt: Receipt, context: DriverContext
    ) -> LookupOutcome:
        """State of an accepted receipt: its id is ours, so this is the look-up."""
        return await self._ask(provider_id, receipt, context)

    async def lookup(self, provider_id: str, receipt: Receipt, context: DriverContext) -> LookupOutcome:
        """`NotFound` only with a fresh success from the group: a wrong group answers 404 as well."""
        return await self._ask(provider_id, receipt, context)

    async def check(self, context: DriverContext) -> CheckReport:
        """Credentials, group, place of settlement, taxation and shift mode; no receipt is made."""
        try:
            answer = await _send("GET", _group_path(context), context, _deadline(context))
        except httpx.RequestError as error:
            fix = "Check the network, the base URL and whether the provider is up."
            return CheckReport((CheckLine("connection", Mark.FAILED, f"no answer: {_words(error)}", fix),))
        group = _json(answer)
        if answer.status_code != 200 or not _is_group(group):
            return CheckReport((_failed_group(answer.status_code, context),))
        places, mask = [str(place) for place in group["billing_place_list"]], int(group["taxation"])
        shifts = await self._shift_mode(context)
        return CheckReport(
            (
                CheckLine("credentials", Mark.OK, "accepted"),
                CheckLine("group", Mark.OK, f"group {context.credentials.c_group_id} answers"),
                _place_line(context.profile.place, places),
                *(_taxation_line(taxation, mask) for taxation in context.profile.taxation),
                shifts,
            ),
            {
                "group_type": group.get("type"),
                "places": places,
                "taxation": [taxation.code for taxation in Taxation if mask & taxation.tag_value],
            },
        )

    def callback_hint(self, request: InboundRequest) -> str | None:
        """Our id from the address that we gave; else from the address that the body repeats."""
        return _id_in(request.query) or _id_in(_callback_query(request.body))

    async def _ask(
        self, provider_id: str, receipt: Receipt, context: DriverContext, started: float | None = None
    ) -> LookupOutcome:
        started = time.monotonic() if started is None else started
        if not _ID.fullmatch(provider_id):
            return CannotTell("this id cannot exist at digitalkassa: nothing was ever sent under it")
        try:
            path = _receipt_path(provider_id, receipt, context)
            answer = await _send("GET", path, context, _deadline(context, started))
            if answer.status_code == 404:
                return await self._not_there(context, started)
        except httpx.RequestError as error:
            return CannotTell(f"no answer: {_words(error)}", _scope_of(error))
        match answer.status_code:
            case 200:
                return _fiscalized(answer, receipt)
            case 202:
                return Pending(_retry_after(answer))
            case 400:
                # How a receipt that failed in the queue is shown is not documented: only known words are believed.
                return _refusal(answer, receipt) or CannotTell(
                    "an answer of an unknown kind", Scope.RECEIPT, *_told(answer, receipt)
                )
            case status:
                scope = Scope.PROVIDER if status >= 500 else Scope.RECEIPT
                scope = Scope.KASSA if status in NOT_REGISTERED else scope
                return CannotTell(f"the look-up was answered by HTTP {status}", scope, *_told(answer, receipt))

    async def _not_there(self, context: DriverContext, started: float) -> LookupOutcome:
        """404 may mean the id or the group: only a group that answers now proves the first."""
        group = await _send("GET", _group_path(context), context, _deadline(context, started))
        if group.status_code == 200 and _is_group(_json(group)):
            at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return NotFound(f"group {context.credentials.c_group_id} answered 200 at {at}")
        reason = f"404 for the receipt, and the group itself answered HTTP {group.status_code}"
        return CannotTell(reason, Scope.KASSA, str(group.status_code))

    @staticmethod
    def _already_there(found: LookupOutcome) -> Outcome:
        match found:
            case Fiscalized():
                warning = "409: a document stood under this id already; compare its total with the receipt"
                return replace(found, warnings=(*found.warnings, warning))
            case Pending(poll_after):
                return Accepted(poll_after_seconds=poll_after)
            case Rejected() | Unknown():
                return found
            case _:
                return Unknown("the id exists already (409), but asking for it did not show it", "409")

    async def _shift_mode(self, context: DriverContext) -> CheckLine:
        try:
            answer = await _send("GET", f"{_group_path(context)}/shifts/report", context, _deadline(context))
        except httpx.RequestError as error:
            return CheckLine("shifts", Mark.WARNING, f"the shift mode is not known: {_words(error)}")
        told = _json(answer)
        match told.get("mode") if answer.status_code == 200 and isinstance(told, dict) else None:
            case 0:
                return CheckLine("shifts", Mark.OK, "the registers open and close shifts themselves")
            case 1:
                fix = "Set the group to automatic shifts in the cabinet, or keep opening and closing them there."
                return CheckLine("shifts", Mark.WARNING, "shifts are kept by hand", fix)
            case _:
                return CheckLine("shifts", Mark.WARNING, f"the shift mode is not known: HTTP {answer.status_code}")


async def _send(
    method: str, path: str, context: DriverContext, extensions: dict[str, Any], content: bytes | None = None
) -> httpx.Response:
    actor: Credentials = context.credentials
    headers = {
        "Accept": "application/json",
        "Authorization": basic_auth(actor.actor_id, actor.actor_token.get_secret_value()),
    }
    if content is not None:
        headers["Content-Type"] = "application/json; charset=utf-8"
    return await context.http.request(
        method,
        f"{context.base_url.rstrip('/')}/{path}",
        content=content,
        headers=headers,
        extensions=extensions,
    )


def _group_path(context: DriverContext) -> str:
    return f"c_groups/{context.credentials.c_group_id}"


def _receipt_path(provider_id: str, receipt: Receipt, context: DriverContext) -> str:
    kind = "receipts" if receipt.correction is None else "receipts/correction"
    return f"{_group_path(context)}/{kind}/{provider_id}"


def _deadline(context: DriverContext, started: float | None = None) -> dict[str, Any]:
    """What is left of the exchange's time. Without the freshness bound, which is for sending a receipt only."""
    spent = 0.0 if started is None else time.monotonic() - started
    return {"deadline_seconds": max(context.deadline_seconds - spent, 0.1)}


def _json(answer: httpx.Response) -> Any:
    """The body as JSON, None where it is none."""
    try:
        return json.loads(answer.content)
    except (ValueError, RecursionError):
        return None


def _fiscalized(answer: httpx.Response, receipt: Receipt) -> Fiscalized | Unknown:
    try:
        fiscal = from_wire(answer.content, receipt.timezone)
    except ValidationError as error:
        wrong = "; ".join(".".join(map(str, e["loc"])) + ": " + e["msg"] for e in error.errors(include_url=False))
        return Unknown(f"a success that is no receipt: {wrong[:300]}", str(answer.status_code))
    except ValueError:
        return Unknown("a success that is no receipt: doc.reg_time is no time", str(answer.status_code))
    return Fiscalized(fiscal, warnings=tuple(_warnings(fiscal, receipt)))


def _errors(answer: httpx.Response) -> list[dict[str, Any]]:
    """The entries of a 400: an array of {type, desc, path?}; empty where the body is anything else."""
    told = _json(answer)
    if not isinstance(told, list) or not all(isinstance(entry, dict) and entry.get("type") for entry in told):
        return []
    return told


def _refusal(answer: httpx.Response, receipt: Receipt) -> Rejected | None:
    """Final only when every entry is a refusal that we know."""
    errors = _errors(answer)
    if not errors or not all(str(entry["type"]) in REFUSALS for entry in errors):
        return None
    kind, pointer = str(errors[0]["type"]), to_pointer(str(errors[0].get("path") or ""))
    cause = REFUSALS_BY_PLACE.get((kind, pointer or ""), REFUSALS[kind])
    return Rejected(cause, *_told(answer, receipt), pointer)


def _told(answer: httpx.Response, receipt: Receipt) -> tuple[str, str | None]:
    """Their code and words. What they repeat of the buyer is taken out: these words are shown and logged."""
    errors = _errors(answer)
    words = "; ".join(" ".join(str(e[part]) for part in ("type", "desc", "path") if e.get(part)) for e in errors)
    text = words or " ".join(answer.text.split())
    for private in receipt.customer.private_words:
        text = text.replace(private, "***")
    return (str(errors[0]["type"]) if errors else str(answer.status_code)), text[:500] if text not in (
        "",
        "[]",
    ) else None


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds of a Retry-After header, given as a number or as a date."""
    value = answer.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


def _words(error: httpx.RequestError) -> str:
    return f"{getattr(error, 'reason', type(error).__name__)}: {error}"


def _scope_of(error: httpx.RequestError) -> Scope:
    return _SCOPES.get(getattr(error, "reason", ""), Scope.PROVIDER)


def _is_group(told: object) -> bool:
    return isinstance(told, dict) and isinstance(told.get("billing_place_list"), list) and _is_int(told.get("taxation"))


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _failed_group(status: int, context: DriverContext) -> CheckLine:
    group = context.credentials.c_group_id
    match status:
        case 401:
            return CheckLine("credentials", Mark.FAILED, "actor_id or actor_token is refused", "Enter them anew.")
        case 402:
            return CheckLine("account", Mark.FAILED, "the subscription is not paid", "Pay it in the cabinet.")
        case 403:
            return CheckLine("account", Mark.FAILED, "the actor is deactivated", "Ask the provider to activate it.")
        case 404:
            fix = "Compare c_group_id with the cabinet; the group must belong to this actor."
            return CheckLine("group", Mark.FAILED, f"group {group} does not exist or is not this actor's", fix)
        case _:
            fix = "Try again later; check the base URL if it stays so."
            return CheckLine("group", Mark.FAILED, f"group {group} answered HTTP {status}, not a description", fix)


def _place_line(place: str, places: list[str]) -> CheckLine:
    if place in places:
        return CheckLine("place", Mark.OK, f"{place} is registered for the group")
    fix = f"Set the kassa's place to exactly one of: {', '.join(places) or '(none is registered)'}"
    return CheckLine("place", Mark.FAILED, f"{place!r} is not among the group's places, to the letter", fix)


def _taxation_line(taxation: Taxation, mask: int) -> CheckLine:
    if mask & taxation.tag_value:
        return CheckLine("taxation", Mark.OK, f"{taxation.code} is registered for the group")
    fix = "Take it off the kassa, or have the registers registered anew with it."
    return CheckLine("taxation", Mark.FAILED, f"{taxation.code} is not registered for the group", fix)


def _id_in(query: str) -> str | None:
    found = parse_qs(query).get("receipt", [""])[0]
    return found if _ID.fullmatch(found) else None


def _callback_query(body: bytes) -> str:
    try:
        return urlsplit(str(json.loads(body)["service"]["callback_url"])).query
    except (ValueError, RecursionError, KeyError, TypeError):
        return ""


PLUGIN = DigitalkassaDriver
