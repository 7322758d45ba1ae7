"""Our receipt → the body of protocol v5 (FFD 1.2) or v4 (FFD 1.05): tables first, then the document part by part."""

import base64
import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app.domain.carriage import carriage_findings
from app.domain.errors import Finding, Invalid
from app.domain.ffd import (
    CorrectionKind,
    FfdVersion,
    Measure,
    Operation,
    PaymentKind,
    PaymentObject,
    timezone_code,
)
from app.domain.money import quantity_text, roubles
from app.domain.receipt import (
    Agent,
    CorrectionBasis,
    Customer,
    Item,
    MarkingCode,
    OperatingProp,
    Receipt,
    SectoralProp,
)
from app.domain.text import fit
from app.domain.vat import VatRate, vat_amount

# Tables: our names -> theirs. Operations, taxation, payment methods, VAT rates and agents are called as we call them.

PAYMENTS = {
    PaymentKind.CASH: 0,
    PaymentKind.ELECTRONIC: 1,
    PaymentKind.PREPAID: 2,
    PaymentKind.CREDIT: 3,
    PaymentKind.OTHER: 4,
}

V4_OBJECTS = {kind: kind.code for kind in PaymentObject if not kind.ffd12_only} | {
    PaymentObject.NON_OPERATING_GAIN: "non-operating_gain"
}
"""Protocol v4 has words; v5 has the numbers of tag 1212."""

CORRECTION_KINDS = {CorrectionKind.SELF: "self", CorrectionKind.INSTRUCTION: "instruction"}

NO_NUMBER = "б/н"
"""Tag 1179 of FFD 1.05 where a business corrects itself and its memo has no number: v4 demands the member."""

MAX_SUM, MAX_TOTAL = 4_294_967_295, 10_000_000_000
"""Kopecks: of a line's price and sum (42 949 672.95), of a receipt (100 000 000.00)."""

_V4_CARRIES = frozenset({1021, 1084, 1191, 1192, 1222, 1227, 1228, 1229, 1230, 1231, 2000})
_V5_CARRIES = _V4_CARRIES | {1203, 1243, 1244, 1245, 1246, 1254, 1260, 1261, 1270, 1291}
CARRIES = {FfdVersion.V1_05: _V4_CARRIES, FfdVersion.V1_2: _V5_CARRIES}
"""Optional tags that the protocol of each format has members for."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_CALLBACK = re.compile(r"https?://[\w.-]+(:\d+)?(/[\w\-.?,'/\\+&=%$#]*)?")
_MARKS = (
    (re.compile(r"01\d{14}21.+", re.DOTALL), "gs1m"),
    (re.compile(r"\d{14}[!-z]{15}"), "short"),
    (re.compile(r"[A-Z]{2}-\d{6}-[A-Z0-9]{10}"), "fur"),
    (re.compile(r"\d{8}"), "ean8"),
    (re.compile(r"\d{13}"), "ean13"),
    (re.compile(r"\d{14}"), "itf14"),
)
"""Shape of a marking code → the one member that carries it (tags 1301-1307); anything else is `unknown`, tag 1300."""


def operation_path(receipt: Receipt) -> str:
    """Last segment of the address: `sell`, `sell_correction`, …"""
    return receipt.operation.code + ("_correction" if receipt.correction else "")


def to_wire(
    provider_id: str, receipt: Receipt, *, inn: str, email: str, callback_url: str | None, at: datetime
) -> dict[str, Any]:
    """The whole body; money is Decimal roubles. `at` is when our document was made: the same in every send of an id.

    Invalid (rule `payload_not_supported`) where the protocol cannot carry something.
    """
    if not _ID.fullmatch(provider_id):
        raise cannot_carry("#/provider_id", "an id of this service is 1 to 128 Latin letters, digits, _ and -")
    v5 = _is_v5(receipt.ffd)
    if receipt.total > MAX_TOTAL:
        raise cannot_carry("#/items", "a receipt costs at most 100 000 000.00")
    company = {
        "email": email,
        "sno": receipt.taxation.code,
        "inn": inn,
        "payment_address": _text("#/place", receipt.place, 256),
    }
    body: dict[str, Any]
    match receipt.correction, v5:
        case None, _:
            body = {"receipt": _document(receipt, company, v5=v5)}
        case basis, True:
            document = _document(receipt, company, v5=True)
            body = {"correction": document | {"correction_info": _basis(basis, v5=True)}}
        case basis, _:
            del company["email"]  # v4 has no member for it in a correction
            body = {"correction": _v4_correction(receipt, company, basis)}
    heading: dict[str, Any] = {
        "external_id": provider_id,
        "timestamp": at.astimezone(_zone(receipt.timezone)).strftime("%d.%m.%Y %H:%M:%S"),
    }
    # An address outside the service's mask would only come back as a warning: callbacks are a hint, polling finds all.
    if callback_url and len(callback_url) <= 256 and _CALLBACK.fullmatch(callback_url):
        heading["service"] = {"callback_url": callback_url}
    return heading | body


def _is_v5(ffd: FfdVersion) -> bool:
    match ffd:
        case FfdVersion.V1_2:
            return True
        case FfdVersion.V1_05:
            return False
        case _:
            raise cannot_carry("#/ffd", f"protocols v4 and v5 carry FFD 1.05 and 1.2, not {ffd.value}")


def _document(receipt: Receipt, company: dict[str, Any], *, v5: bool) -> dict[str, Any]:
    """What a receipt and a correction by FFD 1.2 share."""
    if receipt.correction is None and not receipt.customer.has_contact:
        raise cannot_carry("#/customer", "a receipt needs the buyer's e-mail or phone")
    name, value = receipt.user_prop or (None, None)
    document: dict[str, Any] = present(client=_client(receipt.customer)) | {
        "company": company,
        "items": [_item(f"#/items/{index}", item, v5=v5) for index, item in enumerate(receipt.items)],
        "payments": _payments(receipt),
        "total": roubles(receipt.total),
    }
    for found in carriage_findings(receipt, CARRIES[receipt.ffd]):
        raise cannot_carry(found.pointer, f"protocol {'v5' if v5 else 'v4'} has no member for tag {found.tag}")
    document |= present(
        additional_check_props=_text("#/additional_prop", receipt.additional_prop, 16),
        cashier=_text("#/cashier_name", receipt.cashier_name, 64),
        additional_user_props=present(
            name=_text("#/user_prop/name", name, 64), value=_text("#/user_prop/value", value, 256)
        ),
    )
    if v5:
        return (
            document
            | present(
                cashier_inn=receipt.cashier_inn,
                sectoral_check_props=[_sectoral("#/sectoral_props", prop) for prop in receipt.sectoral_props],
                operating_check_props=_operating(receipt.operating_prop, receipt.timezone),
            )
            | {"internet": receipt.internet, "timezone": _timezone(receipt.timezone)}
        )
    # FFD 1.05: Internet sign and zone are those of the group's registration.
    return document


def _client(customer: Customer) -> dict[str, Any]:
    if customer.email and len(customer.email) > 64:
        raise cannot_carry("#/customer/email", "an e-mail has at most 64 characters here")
    return present(
        email=customer.email,
        phone=customer.phone,
        name=_text("#/customer/name", customer.name, 256),
        inn=customer.inn,
        birthdate=None if customer.birth_date is None else customer.birth_date.strftime("%d.%m.%Y"),
        citizenship=customer.citizenship,
        document_code=customer.document_code,
        document_data=_text("#/customer/document_data", customer.document_data, 64),
        address=_text("#/customer/address", customer.address, 256),
    )


def _sectoral(pointer: str, prop: SectoralProp) -> dict[str, Any]:
    """Tags 1262-1265 of 1260 and 1261."""
    return {
        "federal_id": prop.federal_id,
        "date": prop.date.strftime("%d.%m.%Y"),
        "number": _text(f"{pointer}/number", prop.number, 32),
        "value": _text(f"{pointer}/value", prop.value, 256),
    }


def _operating(prop: OperatingProp | None, zone: str) -> dict[str, Any] | None:
    """Tag 1270; its id (1271) is text here, and only 0 while the tax service defined no other."""
    if prop is None:
        return None
    if prop.id != 0:
        raise cannot_carry("#/operating_prop/id", "an operation has the id 0 here")
    moment = prop.at.astimezone(_zone(zone)).strftime("%d.%m.%Y %H:%M:%S")
    return {"name": "0", "value": _text("#/operating_prop/data", prop.data, 64), "timestamp": moment}


def _payments(receipt: Receipt) -> list[dict[str, Any]]:
    return [{"type": number, "sum": roubles(paid)} for kind, number in PAYMENTS.items() if (paid := receipt.paid(kind))]


def _basis(basis: CorrectionBasis, *, v5: bool) -> dict[str, Any]:
    info = {"type": CORRECTION_KINDS[basis.kind], "base_date": basis.corrected_date.strftime("%d.%m.%Y")}
    number = _text("#/correction/document_number", basis.document_number, 32)
    match basis.kind, v5:
        case CorrectionKind.INSTRUCTION, _:
            if not number:
                raise cannot_carry("#/correction/document_number", "a correction by instruction names its number")
            return info | {"base_number": number}
        case _, True:  # FFD 1.2 has no 1179 in a correction made by oneself
            return info
        case _:
            return info | {"base_number": number or NO_NUMBER}


def _v4_correction(receipt: Receipt, company: dict[str, Any], basis: CorrectionBasis) -> dict[str, Any]:
    """FFD 1.05 corrects sums, not lines, and knows only money that came and money that was paid out."""
    if receipt.operation not in (Operation.SELL, Operation.BUY):
        raise cannot_carry("#/operation", "protocol v4 corrects sales and purchases, not their refunds")
    taxes: dict[VatRate, int] = {}
    for item in receipt.items:
        taxes[item.vat] = taxes.get(item.vat, 0) + item.amount
    if len(taxes) > 6:
        raise cannot_carry("#/items", "a correction by protocol v4 has at most 6 VAT rates")
    return {
        "company": company,
        "correction_info": _basis(basis, v5=False),
        "payments": _payments(receipt),
        "vats": [_vat(rate, amount) for rate, amount in taxes.items()],
    } | present(cashier=_text("#/cashier_name", receipt.cashier_name, 64))


def _item(pointer: str, item: Item, *, v5: bool) -> dict[str, Any]:
    name, _ = fit(item.name, 128)
    if not name:
        raise cannot_carry(f"{pointer}/name", "no character of it can be printed by a register (CP866)")
    if max(item.price, item.amount) > MAX_SUM:
        raise cannot_carry(f"{pointer}/amount", "a line costs at most 42 949 672.95")
    quantity = Decimal(quantity_text(item.quantity))
    if not Decimal("0.001") <= quantity <= Decimal("99999.999") or quantity != round(quantity, 3):
        raise cannot_carry(f"{pointer}/quantity", "a quantity has at most 3 decimals, 0.001 to 99999.999")
    # `sku` is our own and in no fiscal document.
    line: dict[str, Any] = {"name": name, "price": roubles(item.price), "quantity": quantity}
    line |= {"measure": item.measure.tag_value} if v5 else _unit(item.measure)
    line |= {
        "sum": roubles(item.amount),
        "payment_method": item.payment_method.code,
        "payment_object": item.payment_object.tag_value if v5 else _v4_object(pointer, item.payment_object),
        "vat": _vat(item.vat, item.amount),
    }
    line |= present(
        user_data=_text(f"{pointer}/additional_props", item.additional_props, 64),
        excise=None if item.excise is None else roubles(item.excise),
        country_code=item.country,
        declaration_number=_text(f"{pointer}/declaration", item.declaration, 32),
        sectoral_item_props=[_sectoral(f"{pointer}/sectoral_props", prop) for prop in item.sectoral_props],
    )
    if item.marking is not None:
        marking = f"{pointer}/marking_code"
        line |= _mark(marking, item.marking) if v5 else _nomenclature(marking, item.marking)
    return line | _agent(f"{pointer}/agent", item.agent)


def _vat(rate: VatRate, gross: int) -> dict[str, Any]:
    """`none`, `vat0`, `vat22`, `vat122`, …; the sum is that of tags 1102-1107 as we count it, 0 without a tax."""
    return {"type": rate.code, "sum": roubles(vat_amount(gross, rate))}


def _unit(measure: Measure) -> dict[str, Any]:
    """Tag 1197 is free text; of "another" there is nothing to print."""
    return present(measurement_unit=fit(measure.unit_text, 16)[0] if measure.unit_text else None)


def _v4_object(pointer: str, kind: PaymentObject) -> str:
    if kind not in V4_OBJECTS:
        raise cannot_carry(f"{pointer}/payment_object", f"{kind.code} exists in FFD 1.2 only")
    return V4_OBJECTS[kind]


def _mark(pointer: str, marking: MarkingCode) -> dict[str, Any]:
    """Tags 1163, 2003, 2102 and 1291. Codes with GS separators travel in Base64."""
    kind = next((name for shape, name in _MARKS if shape.fullmatch(marking.code)), "unknown")
    code = base64.b64encode(marking.code.encode()).decode() if kind == "gs1m" else marking.code
    if len(code) > {"gs1m": 200, "unknown": 32}.get(kind, 38):
        raise cannot_carry(pointer, "the code is too long for this service, or of a kind that it does not know")
    state: int | None = marking.state
    if state not in range(1, 7):
        if kind in ("gs1m", "short"):
            raise cannot_carry(pointer, f"state {state} of the goods (tag 2003) is not taken by this service")
        state = None
    fraction = present(numerator=marking.numerator, denominator=marking.denominator)
    return {"mark_code": {kind: code}, "mark_processing_mode": "0"} | present(
        planned_status=state, mark_quantity=fraction
    )


def _nomenclature(pointer: str, marking: MarkingCode) -> dict[str, Any]:
    """Tag 1162 of FFD 1.05: the service turns a raw GS1 code into bytes itself."""
    if len(marking.code) > 150:
        raise cannot_carry(pointer, "protocol v4 takes a code of at most 150 characters")
    if marking.numerator or marking.denominator:
        raise cannot_carry(pointer, "FFD 1.05 has no fraction of a marked piece")
    return {"nomenclature_code": marking.code}


def _agent(pointer: str, agent: Agent | None) -> dict[str, Any]:
    if agent is None:
        return {}
    info = {"type": agent.type.code} | present(
        paying_agent=present(
            operation=_text(f"{pointer}/paying_agent_operation", agent.paying_agent_operation, 24),
            phones=list(agent.paying_agent_phones),
        ),
        receive_payments_operator=present(phones=list(agent.payment_operator_phones)),
        money_transfer_operator=present(
            phones=list(agent.transfer_operator_phones),
            name=_text(f"{pointer}/transfer_operator_name", agent.transfer_operator_name, 64),
            address=_text(f"{pointer}/transfer_operator_address", agent.transfer_operator_address, 256),
            inn=agent.transfer_operator_inn,
        ),
    )
    supplier = present(
        phones=list(agent.supplier_phones),
        name=_text(f"{pointer}/supplier_name", agent.supplier_name, 256),
        inn=agent.supplier_inn,
    )
    return {"agent_info": info, "supplier_info": supplier}


def present(**members: Any) -> dict[str, Any]:
    """Without null and empty members."""
    return {name: value for name, value in members.items() if value not in (None, "", [], {})}


def _text(pointer: str, text: str | None, limit: int) -> str | None:
    """Printable in CP866; refused rather than cut, because half a declaration number is a wrong one."""
    if text is None:
        return None
    fitted, changes = fit(text, limit)
    if "truncated" in changes:
        raise cannot_carry(pointer, f"at most {limit} characters can be printed")
    return fitted


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise cannot_carry("#/timezone", f"{name} is not a time zone") from None


def _timezone(name: str) -> int:
    """Tag 1011. Russia's zones know no summer time, so that any moment has the offset of all."""
    offset = datetime(2026, 1, 1, tzinfo=_zone(name)).utcoffset() or timedelta()
    try:
        if offset % timedelta(hours=1):
            raise ValueError("not a whole hour")
        return timezone_code(offset // timedelta(hours=1))
    except ValueError:
        raise cannot_carry("#/timezone", f"{name} is not a time zone of Russia (UTC+2 to UTC+12)") from None


def cannot_carry(pointer: str, why: str) -> Invalid:
    """The refusal of something that this protocol has no place for."""
    finding = Finding(
        pointer,
        "payload_not_supported",
        f"ATOL Online cannot carry this: {why}.",
        "АТОЛ Онлайн не умеет передать это поле.",
        fix="Change or leave out this part, or use another kassa.",
    )
    return Invalid(finding.detail, (finding,))
