"""Events, receipts and fiscal data as JSON values and back, without loss: what the database keeps.

Only dict, list, str, int, bool and None come out: decimals are strings, times RFC 3339 in UTC, enumerations their API
names. The shape follows the dataclasses by itself, so that a new member can never be forgotten here.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import cache, partial
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from app.domain.basket import Adjustment
from app.domain.event import PaymentEvent
from app.domain.ffd import FfdEnum
from app.domain.money import quantity_text
from app.domain.nomenclature import Filled
from app.domain.outcome import Accepted, Fiscalized
from app.domain.receipt import Agent, Customer, Echo, FiscalData, Receipt
from app.domain.vat_settings import VatSettings

Json = dict[str, Any]
T = TypeVar("T")


def event_to_json(event: PaymentEvent) -> Json:
    """An event for storage: members without a value are left out."""
    return _written(PaymentEvent, event, sparse=True)


def event_from_json(stored: Mapping[str, Any]) -> PaymentEvent:
    """ValueError, naming the member, when it is not what `event_to_json` writes."""
    event: PaymentEvent = _decoder(PaymentEvent)(dict(stored), "event")
    return event


def receipt_to_json(receipt: Receipt) -> Json:
    """A receipt for storage: members without a value are left out."""
    return _written(Receipt, receipt, sparse=True)


def receipt_from_json(stored: Mapping[str, Any], customer: Customer | None = None) -> Receipt:
    """ValueError, naming the member, when it is not what `receipt_to_json` writes. `customer`: who is kept apart."""
    whole = dict(stored) if customer is None else {**stored, "customer": {}}
    members = _members_decoder(Receipt)(whole, "receipt")
    return Receipt(**members) if customer is None else Receipt(**{**members, "customer": customer})


def customer_to_json(customer: Customer) -> Json:
    """A buyer for storage: members without a value are left out."""
    return _written(Customer, customer, sparse=True)


def customer_from_json(stored: Mapping[str, Any]) -> Customer:
    """ValueError, naming the member, when it is not what `customer_to_json` writes."""
    customer: Customer = _decoder(Customer)(dict(stored), "customer")
    return customer


def vat_settings_to_json(settings: VatSettings) -> Json:
    """A merchant's VAT settings for storage."""
    return _written(VatSettings, settings, sparse=True)


def vat_settings_from_json(stored: Mapping[str, Any]) -> VatSettings:
    """ValueError, naming the member, when it is not what `vat_settings_to_json` writes; {} is no settings."""
    settings: VatSettings = _decoder(VatSettings)(dict(stored), "vat")
    return settings


def fiscal_to_json(fiscal: FiscalData) -> Json:
    """Fiscal data with every member, null where the provider said nothing."""
    return _written(FiscalData, fiscal, sparse=False)


def fiscal_from_json(stored: Mapping[str, Any]) -> FiscalData:
    """ValueError, naming the member, when it is not what `fiscal_to_json` writes."""
    fiscal: FiscalData = _decoder(FiscalData)(dict(stored), "fiscal")
    return fiscal


def found_to_json(found: Accepted | Fiscalized) -> Json:
    """What a provider said to have, whole: its reference, and of a document its fiscal data and what it said of it."""
    match found:
        case Accepted(reference=reference):
            return {"reference": reference}
        case Fiscalized(reference=reference, fiscal=fiscal, echo=echo):
            return {"reference": reference, "fiscal": fiscal_to_json(fiscal), "echo": _written(Echo, echo, sparse=True)}


def found_from_json(stored: Mapping[str, Any]) -> Accepted | Fiscalized:
    """ValueError, naming the member, when it is not what `found_to_json` writes."""
    reference = stored.get("reference")
    if "fiscal" not in stored:
        return Accepted(reference)
    echo: Echo = _decoder(Echo)(stored.get("echo", {}), "echo")
    return Fiscalized(fiscal_from_json(stored["fiscal"]), reference, echo)


def adjustments_to_json(adjustments: Iterable[Adjustment]) -> list[Json]:
    """Adjustments with every member, null where there is nothing to say."""
    return [_written(Adjustment, one, sparse=False) for one in adjustments]


def agent_to_json(agent: Agent) -> Json:
    """Agent data for storage: members without a value are left out."""
    return _written(Agent, agent, sparse=True)


def agent_from_json(stored: Mapping[str, Any]) -> Agent:
    """ValueError, naming the member, when it is not what `agent_to_json` writes."""
    agent: Agent = _decoder(Agent)(dict(stored), "agent")
    return agent


def filled_to_json(filled: Filled) -> Json:
    """What rules did to a receipt's lines, for storage; null for a line that no rule filled."""
    return _written(Filled, filled, sparse=True)


def filled_from_json(stored: Mapping[str, Any]) -> Filled:
    """ValueError, naming the member, when it is not what `filled_to_json` writes."""
    filled: Filled = _decoder(Filled)(dict(stored), "nomenclature")
    return filled


Encode = Callable[[Any], Any]
Where = Any
"""A name, or the place of what holds it and a name or a number in it: only an error spells it out."""
Decode = Callable[[Any, Where], Any]


def _said(where: Where) -> str:
    if isinstance(where, str):
        return where
    holder, name = where
    return f"{_said(holder)}[{name}]" if isinstance(name, int) else f"{_said(holder)}.{name}"


def _written(kind: type, value: object, *, sparse: bool) -> Json:
    encode = _encoder(kind, sparse)
    if encode is None:
        raise TypeError(f"{kind.__name__} is no dataclass")
    written: Json = encode(value)
    return written


@cache
def _encoder(kind: Any, sparse: bool) -> Encode | None:
    """How a value of this type is written, None when it stays as it is; compiled once: every receipt passes here."""
    kind, _ = _without_none(kind)
    if is_dataclass(kind):
        return _object_encoder(kind, sparse)
    if get_origin(kind) is tuple:
        part = _encoder(get_args(kind)[0], sparse)
        if part is not None and _without_none(get_args(kind)[0])[1]:
            part = partial(_write_or_none, part)
        return list if part is None else partial(_write_list, part)
    if kind is Decimal:
        return quantity_text
    if kind is datetime:
        return _write_time
    if kind is date:
        return date.isoformat
    if isinstance(kind, type) and issubclass(kind, FfdEnum):
        return attrgetter("code")
    if isinstance(kind, type) and issubclass(kind, Enum):
        return attrgetter("value")
    return None


def _write_or_none(part: Encode, value: Any) -> Any:
    return None if value is None else part(value)


def _write_list(part: Encode, value: Iterable[Any]) -> list[Any]:
    return [part(each) for each in value]


def _object_encoder(kind: Any, sparse: bool) -> Encode:
    """Members without a value are written as null, or left out when it is `sparse`; metadata stays as it came."""
    hints = _hints(kind)
    names = tuple(hints)
    read = attrgetter(*names, names[0])  # the first one twice: of a single name it would give no tuple
    writes = tuple(_encoder(hints[name], sparse) for name in names)
    omitted = frozenset(field.name for field in fields(kind) if field.metadata.get("omit_empty"))

    def encode_sparse(value: Any) -> Json:
        members = {}
        for name, one, write in zip(names, read(value), writes, strict=False):
            if one is not None and (one != () or name not in omitted):
                members[name] = one if write is None else write(one)
        return members

    def encode(value: Any) -> Json:
        given = zip(names, read(value), writes, strict=False)
        return {name: one if one is None or write is None else write(one) for name, one, write in given}

    return encode_sparse if sparse else encode


@cache
def _decoder(kind: Any) -> Decode:
    kind, optional = _without_none(kind)
    if optional:
        inner = _decoder(kind)
        return lambda value, where: None if value is None else inner(value, where)
    if is_dataclass(kind):
        return _object_decoder(kind)
    if get_origin(kind) is tuple:
        return _list_decoder(get_args(kind))
    if kind is Decimal:
        return _read_decimal
    if kind is datetime:
        return _read_time
    if kind is date:
        return lambda value, where: _parse(date.fromisoformat, _typed(str, value, where), where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _enum_decoder(kind)
    if get_origin(kind) is dict:
        return lambda value, where: dict(_typed(dict, value, where))
    return partial(_typed, kind)


def _object_decoder(kind: Any) -> Decode:
    read = _members_decoder(kind)
    return lambda value, where: kind(**read(value, where))


@cache
def _members_decoder(kind: Any) -> Decode:
    """The members of an object that is about to be made."""
    hints = _hints(kind)
    members = {name: _decoder(hint) for name, hint in hints.items()}
    known = frozenset(members)
    required = frozenset(field.name for field in fields(kind) if _required(field, hints[field.name]))

    def decode(value: Any, where: Where) -> Any:
        stored = _typed(dict, value, where)
        if not stored.keys() <= known:
            unknown = sorted(stored.keys() - known)
            raise ValueError(f"{_said(where)} has a member that this version does not know: {unknown[0]}")
        if not required <= stored.keys():
            raise ValueError(f"{_said(where)} lacks {min(required - stored.keys())}")
        return {name: members[name](each, (where, name)) for name, each in stored.items()}

    return decode


def _list_decoder(arguments: tuple[Any, ...]) -> Decode:
    part = _decoder(arguments[0])
    length = None if arguments[-1] is Ellipsis else len(arguments)

    def decode(value: Any, where: Where) -> Any:
        stored = _typed(list, value, where)
        if length is not None and len(stored) != length:
            raise ValueError(f"{_said(where)} must have {length} parts")
        return tuple(part(each, (where, index)) for index, each in enumerate(stored))

    return decode


def _enum_decoder(kind: type[Enum]) -> Decode:
    by_name = {member.code if isinstance(member, FfdEnum) else member.value: member for member in kind}

    def decode(value: Any, where: Where) -> Any:
        try:
            return by_name[_typed(str, value, where)]
        except KeyError:
            raise ValueError(f"{_said(where)} is not one of: {', '.join(by_name)}") from None

    return decode


def _write_time(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("a stored moment needs its time zone")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _read_time(value: Any, where: Where) -> datetime:
    moment = _parse(datetime.fromisoformat, _typed(str, value, where), where)
    if moment.tzinfo is None:
        raise ValueError(f"{_said(where)} lacks its time zone")
    return moment.astimezone(UTC)


def _read_decimal(value: Any, where: Where) -> Decimal:
    try:
        number = Decimal(_typed(str, value, where))
    except InvalidOperation:
        raise ValueError(f"{_said(where)} is not a decimal number") from None
    if not number.is_finite():
        raise ValueError(f"{_said(where)} is not a decimal number")
    return number


def _parse(read: Callable[[str], T], text: str, where: Where) -> T:
    try:
        return read(text)
    except ValueError:
        raise ValueError(f"{_said(where)} is not a date or time") from None


def _typed(kind: type[T], value: Any, where: Where) -> T:
    """The value itself if JSON gave exactly this type; True is no number here."""
    if type(value) is not kind:
        raise ValueError(f"{_said(where)} must be {kind.__name__}, not {type(value).__name__}")
    return value


def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _required(field: Field[Any], hint: Any) -> bool:
    if field.default is not MISSING or field.default_factory is not MISSING:
        return False
    return not _without_none(hint)[1]


def _without_none(kind: Any) -> tuple[Any, bool]:
    if not isinstance(kind, UnionType):
        return kind, False
    (one,) = [part for part in get_args(kind) if part is not NoneType]
    return one, True
