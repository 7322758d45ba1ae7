"""Field types that several requests and answers share: money, ids, times and texts, each told once."""

import math
import re
from datetime import UTC, date, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
)
from pydantic import BaseModel as PydanticModel
from pydantic.json_schema import WithJsonSchema
from pydantic_core import PydanticCustomError

from app.infra import ids

MAX_MONEY = 10**12

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_BEGINS_WITH_DATE = re.compile(rf"\s*{_DAY.pattern}[Tt _]")


def _json_integer(value: Any) -> int:
    """JSON Schema counts 1.0 as an integer and true as none; so does this."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("must be a whole number")
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("must be a whole number")
    return int(value)


def _kopecks(value: Any) -> int:
    """To JSON Schema 199.00 is the integer 199: to whoever wrote it, it was roubles."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise PydanticCustomError("kopecks", "must be whole kopecks, a number without a point")
    return value


# `Field` stands before the validator: the other way round pydantic writes bounds that JSON Schema does not know.
MinorUnits = Annotated[int, Field(ge=0, le=MAX_MONEY), BeforeValidator(_kopecks)]
"""Money: kopecks as an integer; never a float, never text."""

_NO_NUL = r"^[^\x00]*[^\s\x00][^\x00]*$"

ShortText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128, pattern=_NO_NUL)]
"""A name or an id of somebody else's: not empty, no NUL (PostgreSQL cannot store it)."""

LongText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2048, pattern=_NO_NUL)]
"""A URL or a remark."""


class RequestModel(PydanticModel):
    """A request body: members nobody knows are refused, not passed over."""

    model_config = ConfigDict(extra="forbid")


class ResponseModel(PydanticModel):
    """An answer: built from a service's view, every member always there."""

    model_config = ConfigDict(from_attributes=True)


def _public_id(prefix: ids.Prefix) -> Any:
    def read(value: Any) -> UUID:
        if isinstance(value, UUID):
            return value
        if not isinstance(value, str):
            raise ValueError(f"The id of a {ids.PREFIXES[prefix]} is text.")
        return ids.parse(prefix, value)

    return (
        BeforeValidator(read),
        PlainSerializer(lambda value: ids.public(prefix, value), return_type=str, when_used="json"),
        WithJsonSchema({"type": "string", "pattern": f"^{prefix}_[0-9a-f]{{32}}$"}),
    )


MerchantId = Annotated[UUID, *_public_id("mer")]
BranchId = Annotated[UUID, *_public_id("brn")]
KassaId = Annotated[UUID, *_public_id("kas")]
SourceId = Annotated[UUID, *_public_id("src")]
EventId = Annotated[UUID, *_public_id("evt")]
ReceiptId = Annotated[UUID, *_public_id("rcpt")]
AttemptId = Annotated[UUID, *_public_id("att")]
MessageId = Annotated[UUID, *_public_id("msg")]
EndpointId = Annotated[UUID, *_public_id("whe")]
DeliveryId = Annotated[UUID, *_public_id("dlv")]
KeyId = Annotated[UUID, *_public_id("key")]
CorrectionId = Annotated[UUID, *_public_id("cor")]
NotificationId = Annotated[UUID, *_public_id("ntf")]
CorrectionBatchId = Annotated[UUID, *_public_id("cbt")]
RuleId = Annotated[UUID, *_public_id("nom")]
"""Ids: `<prefix>_<32 hex>` outside, UUID inside. A wrong one in a path reads as 404, in a body as 422."""


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with `Z` and always six decimals."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


Timestamp = Annotated[
    datetime,
    PlainSerializer(timestamp, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment in an answer."""


def _json_text(value: Any) -> Any:
    # The framework would also take seconds since 1970, as a number or as its digits.
    if not (isinstance(value, datetime) or (isinstance(value, str) and _BEGINS_WITH_DATE.match(value))):
        raise ValueError("must be a date and time in RFC 3339 with an offset, such as 2026-11-23T11:00:00Z")
    return value


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the calendar") from None


def _json_day(value: Any) -> Any:
    if not (isinstance(value, date) or (isinstance(value, str) and _DAY.fullmatch(value))):
        raise ValueError("must be a day such as 2026-11-23")
    return value


Day = Annotated[date, BeforeValidator(_json_day)]
"""A day: year, month and day, without a time."""

Moment = Annotated[AwareDatetime, AfterValidator(_utc), BeforeValidator(_json_text)]
"""A moment in a request: RFC 3339 with any offset; one without an offset is refused, numbers are too."""


WHOLE = BeforeValidator(_json_integer)
"""For a whole number that is no money: `Annotated[int, Field(ge=…), WHOLE]`, in this order."""

_DEEPEST = 8


def _storable(value: Any, depth: int = 0) -> Any:
    """What PostgreSQL can keep as JSON: no NUL, no half of a surrogate pair, no infinite number."""
    if depth > _DEEPEST:
        raise ValueError(f"is nested deeper than {_DEEPEST} levels")
    match value:
        case str():
            if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
                raise ValueError("holds a character that cannot be stored")
        case float() if not math.isfinite(value):
            raise ValueError("holds a number that is not finite")
        case dict():
            for name, member in value.items():
                _storable(name, depth + 1)
                _storable(member, depth + 1)
        case list():
            for member in value:
                _storable(member, depth + 1)
        case _:
            pass
    return value


JsonObject = Annotated[dict[str, Any], AfterValidator(_storable)]
"""An object whose members only a plug-in knows."""


def optional(**told: Any) -> Any:
    """A member of a change that may be left out, but not be null where its type does not say so."""

    def without_default(schema: dict[str, Any]) -> None:
        schema.pop("default", None)

    return Field(default=None, json_schema_extra=without_default, **told)
