"""What is sent to correct an event becomes what an event is stored as: nothing that may be left out is missed later."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.api.schemas.events import Changes
from app.api.types import Day, Moment
from app.domain.codec import event_from_json, event_to_json
from app.domain.event import EventType, PaymentEvent

AT = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
EVENT = PaymentEvent(type=EventType.PAYMENT_SUCCEEDED, external_id="p-1", amount=5000, occurred_at=AT)


def test_an_operating_prop_without_its_number_is_number_nothing() -> None:
    """It was stored without the number, and no worker could read the event any more."""
    given = Changes.model_validate({"operating_prop": {"at": "2026-11-23T11:00:00Z", "data": "заезд"}}).given()
    read = event_from_json({**event_to_json(EVENT), **given})
    assert read.requisites is not None
    assert read.requisites.operating_prop is not None
    assert (read.requisites.operating_prop.id, read.requisites.operating_prop.data) == (0, "заезд")


@pytest.mark.parametrize(
    "value", [0, 20_000, "0", "1790000000", "2026-1-1", "2026-01-01T00:00:00", "20260101", "", True]
)
def test_a_day_is_written_as_a_day(value: Any) -> None:
    """A number was once a day of 1970: a rate of VAT would have held since then."""
    with pytest.raises(ValidationError, match="must be a day such as 2026-11-23"):
        TypeAdapter(Day).validate_python(value)


@pytest.mark.parametrize("value", [0, 1_790_000_000, "1790000000", "1790000000.5", "2026-11-23", "", True])
def test_a_moment_is_written_as_a_moment(value: Any) -> None:
    with pytest.raises(ValidationError, match="RFC 3339"):
        TypeAdapter(Moment).validate_python(value)


@pytest.mark.parametrize("value", ["2026-11-23T14:00:00+03:00", "2026-11-23t11:00:00z", "2026-11-23 11:00:00Z"])
def test_every_form_of_a_moment_is_taken(value: str) -> None:
    assert TypeAdapter(Moment).validate_python(value) == AT
