"""The deadline clock: by when a settlement needs its receipt, and when people are told that it still has none.

The law wants it at the moment of settlement, and lets only what is paid without any contact of seller and buyer, such
as a bank transfer, wait until the business day after; a settlement left without one is cured by a correction.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

Workdays = Callable[[date], bool]
"""Whether people work on a day, by the Russian production calendar; handed in, because it changes by decree."""

FIRST_ALARM = timedelta(minutes=5)
SECOND_ALARM = timedelta(hours=1)
DAILY = timedelta(days=1)
GRACE = timedelta(hours=1)
"""So long a receipt may always try, however late in the day it was paid or however late it was reported."""

_LONGEST_HOLIDAYS = 60
_LAST_SECOND = time(23, 59, 59)


class SettlementKind(StrEnum):
    """How the money came, as far as the law sets another time for its receipt."""

    IN_PERSON = "in_person"
    """Face to face, cash or card: at the moment of settlement (54-FZ, art. 1.2 p. 2)."""
    ONLINE = "online"
    """By card or СБП over the Internet: at the moment of settlement (54-FZ, art. 1.2 p. 5)."""
    TRANSFER = "transfer"
    """By bank transfer, without contact: not later than the business day after it (54-FZ, art. 1.2 p. 5.4)."""
    OFFSET = "offset"
    """A prepayment is set off against a service or goods: on the day they are given."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an operator may set: `operational_seconds` after the settlement instead of the end of its local day, and
    how long the buyer's contact is waited for at most when the money came at once."""

    operational_seconds: float | None = None
    contact_seconds: float = 900.0


@dataclass(frozen=True, slots=True)
class Deadline:
    """`due_at`: when the law wants the receipt. `limit_at`: past it the receipt is late, and a person decides how it
    is made. Aware times."""

    due_at: datetime
    limit_at: datetime


def deadline(
    kind: SettlementKind,
    occurred_at: datetime,
    received_at: datetime,
    timezone: str,
    works: Workdays,
    *,
    delivered: bool | None = None,
    limits: Limits | None = None,
) -> Deadline:
    """The deadline of a settlement that happened at `occurred_at` and was reported at `received_at`, where the kassa
    stands in `timezone`. `delivered`: the goods are given with the payment, so a transfer has no more time either.

    54-FZ, art. 1.2 p. 2, 5, 5.4; the day of a transfer is taken to be that of its crediting, on which the law is
    silent. What stayed without a receipt is cured by a correction (art. 4.3 p. 4). A card payment is due at once; its
    operational limit is the end of its local day. Neither what was paid a minute before midnight nor what a source
    reported days later is late before it could be tried for an hour.
    """
    match kind:
        case SettlementKind.IN_PERSON | SettlementKind.ONLINE:
            due = occurred_at
        case SettlementKind.TRANSFER if delivered:
            due = occurred_at
        case SettlementKind.TRANSFER:
            due = end_of_day(next_workday(local_day(occurred_at, timezone), works), timezone)
        case SettlementKind.OFFSET:
            due = end_of_day(local_day(occurred_at, timezone), timezone)
    if due > occurred_at:
        limit = due
    elif limits is not None and limits.operational_seconds is not None:
        limit = due + timedelta(seconds=limits.operational_seconds)
    else:
        limit = end_of_day(local_day(due, timezone), timezone)
    return Deadline(due, max(limit, occurred_at + GRACE, received_at + GRACE))


def day_missed(found: Deadline, received_at: datetime, timezone: str) -> bool:
    """Whether the day on which the receipt was due was over when the settlement was reported: an ordinary receipt then
    bears another day than its settlement, and the law's cure is a correction (54-FZ, art. 4.3 p. 4)."""
    return end_of_day(local_day(found.due_at, timezone), timezone) + GRACE < received_at


def local_day(moment: datetime, timezone: str) -> date:
    """The day that a moment belongs to where the kassa stands (tag 1178 of a correction is this day)."""
    return moment.astimezone(_zone(timezone)).date()


@lru_cache(maxsize=1024)
def end_of_day(day: date, timezone: str) -> datetime:
    """23:59:59 of a local day, in UTC."""
    return datetime.combine(day, _LAST_SECOND, _zone(timezone)).astimezone(UTC)


def next_workday(day: date, works: Workdays) -> date:
    """The first working day after `day`. ValueError for a calendar that knows none within two months."""
    for distance in range(1, _LONGEST_HOLIDAYS + 1):
        if works(following := day + timedelta(days=distance)):
            return following
    raise ValueError(f"the calendar has no working day within {_LONGEST_HOLIDAYS} days after {day.isoformat()}")


def contact_until(found: Deadline, received_at: datetime, limits: Limits) -> datetime:
    """Until when a missing contact of the buyer is asked for before the merchant's own address is taken: half of the
    time that is left, and for money that came at once not longer than `limits.contact_seconds`.

    A missing receipt costs more than one that reached nobody.
    """
    half = max(found.limit_at - received_at, timedelta()) / 2
    if _at_once(found, received_at):
        half = min(half, timedelta(seconds=limits.contact_seconds))
    return received_at + half


class Step(StrEnum):
    """Which alarm of a receipt this is."""

    WARNING = "warning"
    """It has no receipt yet and the limit is near, or the law wanted it at once."""
    LIMIT = "limit"
    """The limit has passed."""
    DAILY = "daily"
    """Every further day: a hold is not a cure."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One moment at which people are told."""

    step: Step
    at: datetime


def alarms_before(found: Deadline, since: datetime) -> tuple[Alarm, ...]:
    """The alarms up to and with the limit, of a receipt that we have known of `since`, in order.

    Money that came at once: after five minutes and after an hour. Money with a term: at half of it.
    """
    at_once = _at_once(found, since)
    moments = (since + FIRST_ALARM, since + SECOND_ALARM) if at_once else (since + (found.limit_at - since) / 2,)
    warnings = tuple(Alarm(Step.WARNING, at) for at in moments if at < found.limit_at)
    return (*warnings, Alarm(Step.LIMIT, found.limit_at))


def first_alarm(found: Deadline, since: datetime) -> datetime:
    """The moment of the first one: what intake stores, so it is kept cheap."""
    first = since + FIRST_ALARM if _at_once(found, since) else since + (found.limit_at - since) / 2
    return min(first, found.limit_at)


def next_alarm(found: Deadline, since: datetime, now: datetime) -> Alarm:
    """The first alarm after `now`; there always is one, as long as there is no receipt."""
    for alarm in alarms_before(found, since):
        if alarm.at > now:
            return alarm
    days = (now - found.limit_at) // DAILY + 1
    return Alarm(Step.DAILY, found.limit_at + days * DAILY)


def last_alarm(found: Deadline, since: datetime, now: datetime) -> Alarm | None:
    """The newest alarm whose moment has come; None before the first. Those that were slept through are not made up."""
    days = (now - found.limit_at) // DAILY
    if days >= 1:
        return Alarm(Step.DAILY, found.limit_at + days * DAILY)
    passed = [alarm for alarm in alarms_before(found, since) if alarm.at <= now]
    return passed[-1] if passed else None


def _at_once(found: Deadline, since: datetime) -> bool:
    """Whether the law gives no time: a clock that runs a little ahead at the source makes no term."""
    return found.due_at - since <= GRACE


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
