"""When the lessons of a paid subscription are closed, and for how much: to the kopeck, whatever the school's rhythm.

A paid subscription is a prepayment that each lesson closes by a receipt (FNS letter АБ-4-20/13041@ of 2021-09-14).
Lesson k of n for the sum S costs ⌊S·k/n⌋ − ⌊S·(k−1)/n⌋ kopecks: any run of lessons costs the difference of two such
bounds, and all of them together exactly S.
"""

from calendar import monthrange
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from itertools import groupby


class Schedule(StrEnum):
    """How often closings are made: of each lesson, or of all lessons of a day, a month, or the whole subscription.

    More than a day together is the school's own choice (U): the law knows such a period only for some services.
    """

    PER_LESSON = "per_lesson"
    PER_DAY = "per_day"
    MONTH_END = "month_end"
    SUBSCRIPTION_END = "subscription_end"


@dataclass(frozen=True, slots=True)
class Pack:
    """A number of lessons for a sum in kopecks; `last_day` is when the subscription ends, None: it does not.

    A freeze moves `last_day`, and nothing else. `burns`: lessons not taken by then are the school's, and are closed.
    """

    total: int
    lessons: int
    last_day: date | None = None
    burns: bool = True


@dataclass(frozen=True, slots=True)
class Period:
    """Any number of visits from `first_day` to `last_day`, both included, for a sum in kopecks: given day by day."""

    total: int
    first_day: date
    last_day: date

    @property
    def days(self) -> int:
        return (self.last_day - self.first_day).days + 1


@dataclass(frozen=True, slots=True)
class Closing:
    """A closing receipt to be made on `day`, `amount` in kopecks.

    It is for the units `first` to `last` (lessons or days, counted from 1), of which `burned` were not taken.
    """

    day: date
    amount: int
    first: int
    last: int
    burned: int = 0


@dataclass(frozen=True, slots=True)
class Parting:
    """How what is open ends: `returned` goes back to the buyer, `kept` needs a closing of its own. Kopecks."""

    returned: int
    kept: int


def value(total: int, count: int, first: int, last: int) -> int:
    """Kopecks of the units `first` to `last` of `count`, both included, that cost `total` together.

    ValueError when they are not among them.
    """
    if total < 0 or not 1 <= first <= last <= count:
        raise ValueError(f"units {first} to {last} are not among {count}")
    return total * last // count - total * (first - 1) // count


def lesson_amounts(total: int, count: int) -> list[int]:
    """The price of each lesson of a pack: 10,000.00 for 12 is 833.33, 833.33, 833.34, …"""
    return [value(total, count, number, number) for number in range(1, count + 1)]


def pack_closings(pack: Pack, given: Iterable[date], schedule: Schedule, today: date) -> list[Closing]:
    """The closings that are due by `today`, oldest first; `given` is the day of each lesson that was taken or charged.

    Lessons beyond the pack are given in debt: they close nothing (`credit`, later `credit_payment`). The same history
    gives the same closings whenever it is asked, so that what is already reported is recognised by `first` and `last`.
    """
    days = sorted(day for day in given if day <= today)[: pack.lessons]
    closings = _grouped(
        days, lambda first, last: value(pack.total, pack.lessons, first, last), schedule, today, pack.last_day
    )
    if pack.last_day is None or today < pack.last_day or not pack.burns or len(days) == pack.lessons:
        return closings
    rest = value(pack.total, pack.lessons, len(days) + 1, pack.lessons)
    if not rest:
        return closings
    burned = Closing(pack.last_day, rest, len(days) + 1, pack.lessons, pack.lessons - len(days))
    if schedule is Schedule.SUBSCRIPTION_END and closings:
        (one,) = closings
        return [Closing(one.day, one.amount + rest, one.first, pack.lessons, burned.burned)]
    return [*closings, burned]


def period_closings(period: Period, schedule: Schedule, today: date) -> list[Closing]:
    """The closings of an unlimited period that are due by `today`, by the days that have passed.

    ValueError for `per_lesson`: it has no number of lessons to divide by.
    """
    if schedule is Schedule.PER_LESSON:
        raise ValueError("an unlimited period has no price of a lesson; close it by the day, month or whole")
    passed = min(today, period.last_day)
    days = [period.first_day + timedelta(days=number) for number in range((passed - period.first_day).days + 1)]
    return _grouped(
        days, lambda first, last: value(period.total, period.days, first, last), schedule, today, period.last_day
    )


def part(pack: Pack, *, given: int, closed: int, lesson_price: int | None = None) -> Parting:
    """A buyer leaves after `given` lessons, of which `closed` kopecks are closed: what goes back, and what is kept.

    By itself everything that was not given goes back. A school that recalculates names the price at which the lessons
    given count, `lesson_price`: what that takes beyond their share is earned, and is closed by itself. Never more goes
    back than is open. ValueError when more is closed than was paid.
    """
    still_open = pack.total - closed
    if still_open < 0 or not 0 <= given <= pack.lessons:
        raise ValueError("more is closed or given than was paid for")
    earned = value(pack.total, pack.lessons, 1, given) if given else 0
    if lesson_price is not None:
        earned = given * lesson_price
    returned = min(max(pack.total - earned, 0), still_open)
    return Parting(returned, still_open - returned)


def _grouped(
    days: Sequence[date],
    worth: Callable[[int, int], int],
    schedule: Schedule,
    today: date,
    last_day: date | None,
) -> list[Closing]:
    """Units in their order, run together as the schedule wants; what falls due later is left out."""
    numbered = list(enumerate(days, start=1))
    closings = []
    for due, run in groupby(numbered, key=lambda one: _due(one[0], one[1], schedule, last_day)):
        units = [number for number, _ in run]
        day = due[0]
        amount = worth(units[0], units[-1])
        # A lesson of a very cheap pack may be worth less than a kopeck: nothing can be closed for it.
        if day is not None and day <= today and amount:
            closings.append(Closing(day, amount, units[0], units[-1]))
    return closings


def _due(number: int, day: date, schedule: Schedule, last_day: date | None) -> tuple[date | None, int]:
    """When a unit's closing is made (None: not known yet), and what keeps apart what is not run together."""
    match schedule:
        case Schedule.PER_LESSON:
            return day, number
        case Schedule.PER_DAY:
            return day, 0
        case Schedule.MONTH_END:
            end = day.replace(day=monthrange(day.year, day.month)[1])
            return (end if last_day is None or day > last_day else min(end, last_day)), 0
        case Schedule.SUBSCRIPTION_END:
            return last_day, 0
