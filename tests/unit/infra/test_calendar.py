"""The production calendar: decreed moves of days off are known, and a setting comes before them."""

from datetime import date

import pytest

from app.infra.calendar import ProductionCalendar, parse_exceptions

WORKED_SATURDAYS = (date(2024, 4, 27), date(2024, 11, 2), date(2024, 12, 28), date(2025, 11, 1))
MOVED_DAYS_OFF = (date(2024, 4, 29), date(2025, 5, 2), date(2025, 12, 31), date(2026, 1, 9), date(2026, 12, 31))


@pytest.mark.parametrize("day", WORKED_SATURDAYS)
def test_a_saturday_that_was_made_a_working_day_is_one(day: date) -> None:
    assert ProductionCalendar()(day)


@pytest.mark.parametrize("day", MOVED_DAYS_OFF)
def test_a_working_day_that_was_made_a_day_off_is_one(day: date) -> None:
    assert not ProductionCalendar()(day)


@pytest.mark.parametrize("day", [date(2026, 11, 23), date(2026, 1, 12)])
def test_a_plain_monday_is_worked(day: date) -> None:
    assert ProductionCalendar()(day)


def test_what_is_set_by_hand_comes_first() -> None:
    exceptions = parse_exceptions(" 2026-11-23=off, 2026-11-22=work,")
    works = ProductionCalendar(exceptions)
    assert (works(date(2026, 11, 22)), works(date(2026, 11, 23)), works(date(2026, 11, 24))) == (True, False, True)
    assert exceptions == {date(2026, 11, 22): True, date(2026, 11, 23): False}


@pytest.mark.parametrize("written", ["2026-11-23", "2026-11-23=maybe", "23.11.2026=off", "=off"])
def test_an_entry_that_cannot_be_read_is_named(written: str) -> None:
    with pytest.raises(ValueError, match=r"does not begin|says neither"):
        parse_exceptions(written)
