"""What the service says → what we know: tables, then a report, then a document. In no table: unknown, never final."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import httpx
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from app.domain.money import kopecks
from app.domain.outcome import CannotTell, Fiscalized, NotFound, Pending, Rejected, Scope, Unavailable, Unknown
from app.domain.receipt import Echo, FiscalData, Receipt

# Tables: codes of the service itself (table "Ошибки сервиса" of the protocol), HTTP 4xx.

TOKEN_REFUSED = frozenset({10, 11})
"""MissingToken and ExpiredToken: a fresh token is fetched, and the same request sent once more."""

ALREADY_EXISTS, NO_SUCH_UUID, NOT_YET = 33, 30, 34

NOT_REGISTERED = {
    10: "credentials_refused",
    11: "credentials_refused",
    12: "credentials_refused",
    14: "account_inactive",
    20: "group_not_found",
    21: "ffd_not_registered",
}
"""They stand before the document: the same id may be sent once the kassa works again. 21: this group speaks the other
version of the protocol, and with it the other fiscal format."""

REFUSALS = {
    13: "value_invalid",
    31: "payload_not_supported",
    32: "value_invalid",
    40: "value_invalid",
    41: "refused_other",
}
"""The document was certainly not taken. 0, 1 and 50 do not say that."""

# Tables: why a document that was taken failed (`status: fail` of a report), by `error.type` and `error.code`.

_WRONG_RECEIPT = (
    *(13, 16, 17, 23, 24, 27, 41, 48, 52, 53, 60, 63, 66, 98, 110, 128, 143, 144, 145, 147, 161, 163, 193),
    *(215, 216, 217, 228, 231, 243),
)
_NOT_PRINTED = (36, 40, 68, 141, 421, *(118, 119, 120, 121, 136, 137, 140, 224))
"""Clock behind the last document, full buffer, shift over 24 h, silent marking system; storage worn, full or closed."""

DRIVER_FAILURES = (
    dict.fromkeys(_WRONG_RECEIPT, "value_invalid")
    | dict.fromkeys(_NOT_PRINTED, "not_printed")
    | dict.fromkeys((89, 189, 190, 225), "value_unavailable")
)
"""By the register's own code. Every other one (lost link, time-out, board failure) may hide a printed document."""

AGENT_FAILURES = {
    2003: "value_unavailable",  # the receipt's INN is not the company's
    2004: "not_printed",
    2005: "not_printed",
    2006: "value_invalid",
    2007: "value_invalid",
    2009: "value_unavailable",  # the receipt's INN is not the register's
}

POINTERS = {
    "external_id": "provider_id",
    "timestamp": "created_at",
    "receipt/client": "customer",
    "receipt/company/sno": "taxation",
    "receipt/company/payment_address": "place",
    "receipt/cashier": "cashier_name",
    "receipt/cashier_inn": "cashier_inn",
    "receipt/additional_user_props": "user_prop",
    "receipt/items/*/sum": "items/*/amount",
    "receipt/items/*/vat": "items/*/vat",
    "receipt/items/*/user_data": "items/*/additional_props",
    "receipt/items/*/country_code": "items/*/country",
    "receipt/items/*/declaration_number": "items/*/declaration",
    "receipt/items/*/measurement_unit": "items/*/measure",
    "receipt/items/*/mark_code": "items/*/marking_code",
    "receipt/items/*/planned_status": "items/*/marking_code/state",
    "receipt/items/*/nomenclature_code": "items/*/marking_code",
    "receipt/items/*/agent_info": "items/*/agent",
    "receipt/items/*/supplier_info": "items/*/agent",
    "receipt": "",
    "correction/correction_info/base_date": "correction/corrected_date",
    "correction/correction_info/base_number": "correction/document_number",
}
"""Where their members are in our receipt; the rest have the same name. A correction is read as a receipt."""

SUSPICIOUS_MARKS = frozenset({0, 1, 3, 5, 7, 16, 17, 19})
"""Tag 2106 other than 15: the code was not checked, or not found good; the receipt is printed all the same."""


@dataclass(frozen=True, slots=True)
class Told:
    """One answer, taken apart. `code` None: no error of the service's own form."""

    http: int
    uuid: str | None = None
    status: str | None = None
    code: int | None = None
    type: str | None = None
    text: str | None = None
    body: Any = None
    retry_after: float | None = None

    @property
    def refused(self) -> bool:
        """A refusal in the service's own words, not something of a gateway before it."""
        return self.code is not None and 400 <= self.http < 500

    @property
    def provider_code(self) -> str:
        return str(self.http) if self.code is None else str(self.code)


def read(answer: httpx.Response, private: tuple[str | None, ...] = ()) -> Told:
    """Takes an answer apart; whatever of `private` its words repeat is taken out: they are shown and logged."""
    body = _json(answer)
    members = body if isinstance(body, dict) else {}
    # eKomKassa puts code and text beside the token instead of into `error`; its 0 is no error.
    error = members.get("error") if "error" in members else (members if members.get("code") else None)
    error = error if isinstance(error, dict) and _is_int(error.get("code")) else {}
    words = error.get("text")
    text = " ".join((words if isinstance(words, str) else answer.text).split())
    for secret in private:
        text = text.replace(secret, "***") if secret else text
    retry = answer.headers.get("Retry-After", "")
    return Told(
        http=answer.status_code,
        uuid=_string(members.get("uuid")),
        status=_string(members.get("status")),
        code=error.get("code"),
        type=_string(error.get("type")),
        text=text[:500] or None,
        body=body,
        retry_after=float(retry) if retry.isdecimal() and retry.isascii() else None,
    )


def refused_document(told: Told) -> Rejected | None:
    """The final refusal of a document that was never taken."""
    cause = REFUSALS.get(told.code or 0) if told.refused else None
    return Rejected(cause, told.provider_code, told.text, _pointer(told.text)) if cause else None


def not_registered(told: Told) -> Unavailable | None:
    """What stands before the document: token, account, group, load."""
    if told.http == 429:
        return Unavailable("rate_limited", Scope.KASSA, told.retry_after, told.provider_code, told.text)
    cause = NOT_REGISTERED.get(told.code or 0) if told.refused else None
    if cause is None and told.http == 401:
        cause = "credentials_refused"
    return Unavailable(cause, Scope.KASSA, told.retry_after, told.provider_code, told.text) if cause else None


def token_refused(told: Told) -> bool:
    """Whether a fresh token may help."""
    return told.code in TOKEN_REFUSED if told.code is not None else told.http == 401


Report = Fiscalized | Pending | Rejected | Unknown | NotFound | CannotTell


def reported(told: Told, provider_id: str, receipt: Receipt) -> Report:
    """What a report says about the document that was taken."""
    if told.http == 200 or told.refused:
        match told.status:
            # A document in work is told with error 34: the status counts, not the error.
            case "wait" if told.code in (None, NOT_YET):
                return Pending()
            case "done" if told.http == 200 and told.code in (None, 0):
                return _printed(told, provider_id, receipt)
            case _ if told.code == NO_SUCH_UUID and told.refused:
                return NotFound("error 30: the service took token and group and knows no such uuid")
            case "fail" if told.http == 200 and told.code is not None:
                return _failed(told)
            case _:
                pass
    stopped = not_registered(told)
    scope = Scope.KASSA if stopped else Scope.PROVIDER if told.http >= 500 else Scope.RECEIPT
    return CannotTell(f"the question was answered by HTTP {told.http}", scope, told.provider_code, told.text)


def _failed(told: Told) -> Rejected | Unknown:
    """The id is spent: a repeat of it would be answered by this same failure."""
    code = told.code or 0
    match told.type:
        case "timeout":  # 300 s in the queue of the group, never given to a register
            return Rejected("not_printed", told.provider_code, told.text)
        case "agent":
            cause = AGENT_FAILURES.get(code)
        case "driver":
            cause = DRIVER_FAILURES.get(code)
        case "system":
            cause = REFUSALS.get(code)
        case _:
            cause = None
    if cause is not None:
        return Rejected(cause, told.provider_code, told.text)
    reason = "the register failed while it worked on the document; it may have printed it"
    return Unknown(reason, told.provider_code, told.text, stuck="register_failed")


class _Payload(BaseModel):
    """What makes a receipt: without FN, FD, FPD and time it is not one."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    fn_number: str = Field(pattern=r"^[0-9]{16}$")
    fiscal_document_number: int = Field(ge=1, lt=2**32)
    fiscal_document_attribute: int = Field(ge=0, lt=2**32)
    receipt_datetime: str = Field(pattern=r"^[0-9]{2}\.[0-9]{2}\.[0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2}$")
    total: Annotated[int | None, BeforeValidator(lambda value: None if value is None else kopecks(value))] = None
    shift_number: int | None = None
    fiscal_receipt_number: int | None = None
    ecr_registration_number: str | None = None
    ofd_receipt_url: str | None = None


class _Done(BaseModel):
    payload: _Payload
    external_id: str | None = None


def from_wire(body: object, timezone: str) -> tuple[FiscalData, int | None, str | None]:
    """The printed document, its total in kopecks and the id it was sent under; ValueError where it is no document."""
    done = _Done.model_validate(body)
    payload = done.payload
    told = datetime.strptime(payload.receipt_datetime, "%d.%m.%Y %H:%M:%S")  # noqa: DTZ007 - the storage's local time
    if not 2017 <= told.year < 9999:  # no storage of this kind is older, and beyond lies no UTC
        raise ValueError("receipt_datetime is outside the age of fiscal storages")
    url = payload.ofd_receipt_url
    fiscal = FiscalData(
        fn=payload.fn_number,
        fd=payload.fiscal_document_number,
        fpd=str(payload.fiscal_document_attribute),
        fiscalized_at=told.replace(tzinfo=ZoneInfo(timezone)).astimezone(UTC),
        local_time=payload.receipt_datetime,
        kkt_rn=payload.ecr_registration_number,
        shift=payload.shift_number,
        number_in_shift=payload.fiscal_receipt_number,
        receipt_url=url if url and url.startswith(("https://", "http://")) else None,
    )
    return fiscal, payload.total, done.external_id


def _printed(told: Told, provider_id: str, receipt: Receipt) -> Fiscalized | Unknown | CannotTell:
    try:
        fiscal, total, external_id = from_wire(told.body, receipt.timezone)
    except ValidationError as error:
        wrong = "; ".join(".".join(map(str, e["loc"])) + ": " + e["msg"] for e in error.errors(include_url=False))
        return Unknown(f"a success that is no receipt: {wrong[:300]}", told.provider_code)
    except ValueError:
        return Unknown("a success that is no receipt: receipt_datetime is no time", told.provider_code)
    if external_id not in (None, provider_id):
        return CannotTell("the report is about a document with another external_id")
    return Fiscalized(fiscal, told.uuid, Echo(total=total), tuple(_warnings(told.body)))


def _warnings(body: dict[str, Any]) -> Iterator[str]:
    warned = body.get("warnings")
    for name, words in warned.items() if isinstance(warned, dict) else ():
        if isinstance(words, str):
            yield f"{name}: {words[:200]}"
    marks = body["payload"].get("marks_result")
    for mark in marks if isinstance(marks, list) else ():
        if isinstance(mark, dict) and _is_int(mark.get("result")) and mark["result"] in SUSPICIOUS_MARKS:
            yield f"the marking code of line {mark.get('position')} was not found good (tag 2106 = {mark['result']})"


def _pointer(text: str | None) -> str | None:
    """Their schema path as a pointer into our receipt: `#/receipt/items/0/sum` → `#/items/0/amount`."""
    found = re.search(r"#((?:/[\w-]+){1,12})", text or "")
    if found is None:
        return None
    steps = found[1].strip("/").split("/")
    if steps[0] == "correction" and steps[1:2] != ["correction_info"]:
        steps[0] = "receipt"
    shape = ["*" if step.isdigit() else step for step in steps]
    for length in range(len(steps), 0, -1):
        ours = POINTERS.get("/".join(shape[:length]))
        if ours is not None:
            indexes = iter([step for step in steps[:length] if step.isdigit()])
            made = [next(indexes) if step == "*" else step for step in ours.split("/") if step]
            return "/".join(["#", *made, *steps[length:]])
    return "/".join(["#", *steps])


def _json(answer: httpx.Response) -> Any:
    """The body with exact numbers, None where it is no JSON."""
    try:
        return json.loads(answer.content, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None


def _string(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= 128 else None


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
