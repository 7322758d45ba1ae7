"""The Russian production calendar: on which days banks and offices work, days off that were moved included.

The Government decrees them once a year; the library `holidays` carries the decrees, and what
it does not know yet is set by hand.
"""

from collections.abc import Mapping
from datetime import date

import holidays

WORKS, OFF = "work", "off"


class ProductionCalendar:
    """Answers whether a day is a working day. `exceptions` (true: people work) come before what the library knows."""

    def __init__(self, exceptions: Mapping[date, bool] | None = None) -> None:
        self._known: dict[date, bool] = dict(exceptions or {})
        self._russia = holidays.country_holidays("RU")

    def __call__(self, day: date) -> bool:
        found = self._known.get(day)
        if found is None:
            found = self._known[day] = bool(self._russia.is_working_day(day))
        return found


def parse_exceptions(written: str) -> dict[date, bool]:
    """`2027-01-11=off, 2027-02-20=work` as a mapping. ValueError names the entry that is wrong."""
    found: dict[date, bool] = {}
    for entry in filter(None, (part.strip() for part in written.split(","))):
        day, _, word = entry.partition("=")
        try:
            when = date.fromisoformat(day.strip())
        except ValueError:
            raise ValueError(f"{entry!r} does not begin with a date such as 2027-01-11") from None
        if word.strip() not in (WORKS, OFF):
            raise ValueError(f"{entry!r} says neither =work nor =off")
        found[when] = word.strip() == WORKS
    return found
