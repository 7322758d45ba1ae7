"""`CloudPayments.CustomerReceipt`: the receipt as a shop describes it to the widget, in CloudKassir's words.

Spelling and letter case of the keys vary from shop to shop; they are compared in lower case. Every reader here takes a
list of warnings and adds what it left out: a buyer's payment is never lost over a description of it.
"""

from typing import Any, Final

from app.acquirers.cloudpayments.wire import decimal_text, money, read_json, text, whole, word
from app.domain.event import EventItem, EventPayment
from app.domain.ffd import AgentType, FfdEnum, Measure, PaymentKind, PaymentMethod, PaymentObject, Taxation
from app.domain.money import fit_line, line_amount, parse_quantity, quantity_text
from app.domain.receipt import Agent, Customer, MarkingCode
from app.domain.vat import VatRate
from app.infra.contacts import normalize_email, normalize_phone

VAT: Final[dict[int | None, VatRate]] = {
    None: VatRate.NONE,
    0: VatRate.VAT0,
    5: VatRate.VAT5,
    7: VatRate.VAT7,
    10: VatRate.VAT10,
    20: VatRate.VAT20,
    22: VatRate.VAT22,
    105: VatRate.VAT105,
    107: VatRate.VAT107,
    110: VatRate.VAT110,
    120: VatRate.VAT120,
    122: VatRate.VAT122,
}
TAXATION: Final[dict[int, FfdEnum]] = {
    0: Taxation.OSN,
    1: Taxation.USN_INCOME,
    2: Taxation.USN_INCOME_OUTCOME,
    4: Taxation.ESN,
    5: Taxation.PATENT,
}
METHOD: Final[dict[int, FfdEnum]] = {member.tag_value: member for member in PaymentMethod}
OBJECT: Final[dict[int, FfdEnum]] = {member.tag_value: member for member in PaymentObject}
UNIT: Final = {member.tag_value: member for member in Measure}
UNIT_WORD: Final = {member.ru.lower(): member for member in Measure if member is not Measure.ANOTHER} | {
    "штука": Measure.PIECE,
    "штук": Measure.PIECE,
    "ед": Measure.PIECE,
    "ч": Measure.HOUR,
    "м2": Measure.SQUARE_METER,
    "м3": Measure.CUBIC_METER,
}
OTHER_AMOUNTS: Final = {
    "cash": PaymentKind.CASH,
    "advancepayment": PaymentKind.PREPAID,
    "credit": PaymentKind.CREDIT,
    "provision": PaymentKind.OTHER,
}


def find(data: Any, warnings: list[str]) -> dict[str, Any]:
    """The CustomerReceipt in a notice's `Data` (text in a form, an object in JSON); empty when there is none."""
    if isinstance(data, str):
        try:
            data = read_json(data) if data.strip() else {}
        except (ValueError, RecursionError):
            warnings.append("Data cannot be read as JSON and was left out")
            return {}
    for name in ("cloudpayments", "customerreceipt"):
        data = data.get(name) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


def customer(receipt: dict[str, Any], payment_email: str, warnings: list[str]) -> Customer:
    """The receipt's own e-mail goes before the payment's; a phone comes only from the receipt."""
    email = phone = None
    for candidate in (text(receipt.get("email")), payment_email):
        if candidate and email is None:
            try:
                email = normalize_email(candidate)
            except ValueError as error:
                warnings.append(str(error))
    if candidate := text(receipt.get("phone")):
        try:
            phone = normalize_phone(candidate)
        except ValueError as error:
            warnings.append(str(error))
    return Customer(email, phone, text(receipt.get("customerinfo")) or None, text(receipt.get("customerinn")) or None)


def taxation(receipt: dict[str, Any], warnings: list[str]) -> str | None:
    """API name of the taxation system, where the shop names one."""
    if receipt.get("taxationsystem") is None:
        return None
    return _code(TAXATION, receipt["taxationsystem"], "TaxationSystem", warnings)


def lines(
    receipt: dict[str, Any], amount: int, warnings: list[str]
) -> tuple[tuple[EventItem, ...], tuple[EventPayment, ...]]:
    """Lines, and ways of paying besides the `amount` of this payment; nothing at all when one line cannot be read."""
    raw = receipt.get("items")
    if not isinstance(raw, list) or not raw:
        return (), ()
    try:
        items = tuple(line for item in raw for line in _item(item, receipt, warnings))
        return items, _payments(receipt.get("amounts"), amount)
    except ValueError as error:
        warnings.append(f"CustomerReceipt cannot be read and was left out: {error}")
        return (), ()


def _item(item: Any, receipt: dict[str, Any], warnings: list[str]) -> list[EventItem]:
    """One line; two where a discounted sum needs two prices that differ by a kopeck (tag 1079 is after discounts)."""
    if not isinstance(item, dict) or not (name := text(item.get("label"))):
        raise ValueError("a line has no label")
    quantity = parse_quantity(decimal_text(item.get("quantity", 1)))
    price = money(item.get("price"))
    full = line_amount(price, quantity)
    amount = full if item.get("amount") is None else money(item["amount"])
    if price < 0 or not 0 <= amount <= full:
        raise ValueError("the sum of a line is not its price times its quantity less a discount")
    split = [(quantity, price, amount)]
    if amount != full:
        split = fit_line(amount, quantity) if amount else [(quantity, 0, 0)]
    if sum(line[0] for line in split) != quantity:
        name = f"{name} ({quantity_text(quantity)})"
    known: dict[str, Any] = {
        "vat": _vat(item, warnings),
        "payment_method": _code(METHOD, item.get("method"), "method", warnings),
        "payment_object": _code(OBJECT, item.get("object"), "object", warnings),
        "measure": _measure(item),
        "marking": _marking(item),
        "agent": _agent(item, receipt),
        "excise": None if item.get("excise") is None else money(item["excise"]),
        "country": text(item.get("countryorigincode")) or None,
        "declaration": text(item.get("customsdeclarationnumber")) or None,
    }
    return [EventItem(name=name, quantity=q, price=p, amount=a, **known) for q, p, a in split]


def _payments(amounts: Any, electronic: int) -> tuple[EventPayment, ...]:
    """Told only where something besides this payment pays for the lines, such as an advance."""
    if not isinstance(amounts, dict):
        return ()
    others = [
        EventPayment(kind.code, paid)
        for name, kind in OTHER_AMOUNTS.items()
        if amounts.get(name) is not None and (paid := money(amounts[name]))
    ]
    return (EventPayment(PaymentKind.ELECTRONIC.code, electronic), *others) if others else ()


def _vat(item: dict[str, Any], warnings: list[str]) -> str | None:
    """Per cent, or null for "без НДС"; a line that does not speak of VAT gets the kassa's answer."""
    if "vat" not in item:
        return None
    value = item["vat"]
    member = VAT.get(None if value is None else whole(value))
    if member is None:
        warnings.append(f"VAT {word(value)!r} of a line is no rate in force; the kassa's own is used")
        return None
    return member.code


def _code(table: dict[int, FfdEnum], value: Any, name: str, warnings: list[str]) -> str | None:
    """A number by its table. In `method` and `object` (tags 1214, 1212) 0 is CloudPayments' "unknown"."""
    member = table.get(whole(value))
    if member is None and value is not None and whole(value) != 0:
        warnings.append(f"{name} {word(value)!r} of CustomerReceipt is unknown; the kassa's own is used")
    return member.code if member else None


def _measure(item: dict[str, Any]) -> str | None:
    if item.get("unitcode") is not None:
        member = UNIT.get(whole(item["unitcode"]))
    else:
        member = UNIT_WORD.get(word(item.get("measurementunit")).rstrip("."))
    return member.code if member else None


def _marking(item: dict[str, Any]) -> MarkingCode | None:
    """The code keeps its GS characters, which the shop may have replaced by a printable sign."""
    code = item.get("rawmarkcode")
    if not isinstance(code, str) or not code:
        return None
    if separator := item.get("groupseparator"):
        code = code.replace(str(separator), "\x1d")
    if not all(char.isprintable() or char == "\x1d" for char in code):
        raise ValueError("a marking code has characters that no code has")
    part = item.get("markpartquantity")
    fraction = (
        (whole(part.get("numerator")), whole(part.get("denominator"))) if isinstance(part, dict) else (None, None)
    )
    return MarkingCode(code, whole(item.get("expectedmarkitemstatus") or 255), *fraction)


def _agent(item: dict[str, Any], receipt: dict[str, Any]) -> Agent | None:
    """AgentSign counts the bits of tag 1222 from 0. The supplier goes with it; what is missing there is held later."""
    sign = item.get("agentsign", receipt.get("agentsign"))
    if sign is None:
        return None
    kind = next((member for member in AgentType if member.tag_value == 1 << max(whole(sign), 0)), None)
    supplier, paying = item.get("purveyordata") or {}, item.get("agentdata") or {}
    if whole(sign) < 0 or kind is None or not isinstance(supplier, dict) or not isinstance(paying, dict):
        raise ValueError("the agent of a line cannot be read")
    return Agent(
        type=kind,
        supplier_inn=text(supplier.get("inn")),
        supplier_name=text(supplier.get("name")),
        supplier_phones=_phones(supplier.get("phone")),
        paying_agent_operation=text(paying.get("agentoperationname")) or None,
        paying_agent_phones=_phones(paying.get("paymentagentphone")),
        payment_operator_phones=_phones(paying.get("paymentreceiveroperatorphone")),
        transfer_operator_name=text(paying.get("transferoperatorname")) or None,
        transfer_operator_inn=text(paying.get("transferoperatorinn")) or None,
        transfer_operator_address=text(paying.get("transferoperatoraddress")) or None,
        transfer_operator_phones=_phones(paying.get("transferoperatorphone")),
    )


def _phones(value: Any) -> tuple[str, ...]:
    return (text(value),) if text(value) else ()
