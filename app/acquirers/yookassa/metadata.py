"""What a shop writes into `metadata` of its payment, because YooKassa tells neither lines nor the buyer's contact.

Up to 16 keys of 32 characters with values of 512: `order_id`, `email`, `phone`, `name`, `inn`, `item_name`,
`item_code`, `items` (JSON, going on in `items_2`, `items_3`…), `branch`, `delivered`, `crm`, `crm_payment_id`. Every
reader here takes a list of warnings and adds what it left out: a payment is never lost over a description of it.
"""

from typing import Any, Final

from app.domain.contact import mask_contacts
from app.domain.event import EventItem
from app.domain.ffd import FfdEnum, Measure, PaymentMethod, PaymentObject
from app.domain.money import line_amount, parse_quantity
from app.domain.receipt import Customer
from app.domain.vat import VatRate
from app.infra.contacts import normalize_email, normalize_phone
from app.infra.foreign_json import one_line, read_json

_MAX_KEYS: Final = 16
_MEMBERS: Final = frozenset(
    ["name", "sku", "quantity", "price", "amount", "vat", "payment_method", "payment_object", "measure"]
)
_MAX_KOPECKS: Final = 10**12


def word(metadata: dict[str, Any], name: str) -> str | None:
    """One value of the metadata as a line of text."""
    return one_line(metadata.get(name))[:512] or None


def customer(metadata: dict[str, Any], merchant_customer_id: Any, warnings: list[str]) -> Customer:
    """The buyer; `merchant_customer_id` is looked at last, since shops use e-mails and phones for it."""
    known_as = one_line(merchant_customer_id)
    emails = [metadata.get("email"), known_as if "@" in known_as else None]
    phones = [metadata.get("phone"), known_as if known_as.startswith("+") else None]
    return Customer(
        _first(normalize_email, emails, warnings),
        _first(normalize_phone, phones, warnings),
        word(metadata, "name"),
        word(metadata, "inn"),
    )


def lines(metadata: dict[str, Any], amount: int, warnings: list[str]) -> tuple[EventItem, ...]:
    """The lines of `items`, else one of `item_name`; none when they cannot be read or are not the sum paid."""
    text = "".join(_parts(metadata))
    if text:
        try:
            items = _items(text)
        except ValueError as error:
            warnings.append(f"metadata.items cannot be read and was left out: {error}")
            return ()
        if sum(item.amount for item in items) != amount:
            warnings.append("the lines of metadata.items are not the sum paid and were left out")
            return ()
        return items
    name = word(metadata, "item_name")
    if name is None:
        return ()
    sku = word(metadata, "item_code")
    return (EventItem(name=name, quantity=parse_quantity("1"), price=amount, amount=amount, sku=sku),)


def delivered(metadata: dict[str, Any], warnings: list[str]) -> bool | None:
    """Whether goods or service are given with the payment; None: as the settings say."""
    said = (word(metadata, "delivered") or "").lower()
    if said not in ("", "true", "false"):
        warnings.append("metadata.delivered is neither true nor false and was left out")
        return None
    return said == "true" if said else None


def kept(metadata: dict[str, Any], **more: str | None) -> dict[str, object]:
    """What goes on with the event, in the open: no contacts."""
    told = {name: word(metadata, name) for name in ("crm", "crm_payment_id")} | more
    return {name: value for name, value in told.items() if value and mask_contacts(value) == value}


def _first(normalize: Any, candidates: list[Any], warnings: list[str]) -> str | None:
    for candidate in filter(None, map(one_line, candidates)):
        try:
            found: str = normalize(candidate)
        except ValueError as error:
            warnings.append(str(error))
        else:
            return found
    return None


def _parts(metadata: dict[str, Any]) -> list[str]:
    names = ["items", *(f"items_{number}" for number in range(2, _MAX_KEYS + 1))]
    return [part for name in names if isinstance(part := metadata.get(name), str)]


def _items(text: str) -> tuple[EventItem, ...]:
    found = read_json(text)
    if not isinstance(found, list) or not found:
        raise ValueError("it is no list of lines")
    return tuple(_item(line) for line in found)


def _item(line: Any) -> EventItem:
    """A line in the words of the neutral event: kopecks are whole numbers, the quantity is a decimal string."""
    if not isinstance(line, dict) or not (name := one_line(line.get("name"))):
        raise ValueError("a line has no name")
    if unknown := sorted(line.keys() - _MEMBERS):
        raise ValueError(f"a line has an unknown member {one_line(unknown[0])[:40]!r}")
    quantity = parse_quantity(one_line(line.get("quantity", "1")))
    price = _kopecks(line.get("price"), "price")
    amount = line_amount(price, quantity) if line.get("amount") is None else _kopecks(line["amount"], "amount")
    return EventItem(
        name=name,
        quantity=quantity,
        price=price,
        amount=amount,
        sku=one_line(line.get("sku")) or None,
        vat=_code(VatRate, line.get("vat")),
        payment_method=_code(PaymentMethod, line.get("payment_method")),
        payment_object=_code(PaymentObject, line.get("payment_object")),
        measure=_code(Measure, line.get("measure")),
    )


def _kopecks(value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_KOPECKS:
        raise ValueError(f"the {name} of a line is no whole number of kopecks")
    return value


def _code(table: type[FfdEnum], value: Any) -> str | None:
    if value is None:
        return None
    try:
        return table.parse(one_line(value)).code
    except (ValueError, KeyError):
        raise ValueError(f"{one_line(value)[:40]!r} is not one of the names of {table.__name__}") from None
