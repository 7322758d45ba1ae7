"""By when a receipt is due: the law's cases, the calendar's turns, and what holds for every moment of every year."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.deadline import (
    GRACE,
    Alarm,
    Deadline,
    Limits,
    SettlementKind,
    Step,
    alarms_before,
    contact_until,
    day_missed,
    deadline,
    end_of_day,
    first_alarm,
    last_alarm,
    local_day,
    next_alarm,
    next_workday,
)
from app.infra.calendar import ProductionCalendar

WORKS = ProductionCalendar()
ZONES = (
    "Europe/Kaliningrad",
    "Europe/Moscow",
    "Europe/Samara",
    "Asia/Yekaterinburg",
    "Asia/Omsk",
    "Asia/Novosibirsk",
    "Asia/Irkutsk",
    "Asia/Yakutsk",
    "Asia/Vladivostok",
    "Asia/Magadan",
    "Asia/Kamchatka",
)
"""The eleven zones of Russia (tag 1011: UTC+2 to UTC+12)."""

moments = st.datetimes(datetime(2024, 1, 1), datetime(2028, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
kinds = st.sampled_from(SettlementKind)
zones = st.sampled_from(ZONES)
delays = st.timedeltas(timedelta(), timedelta(days=40))


def at(text: str, zone: str = "Europe/Moscow") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def due(kind: SettlementKind, paid: str, zone: str = "Europe/Moscow", **more: bool) -> datetime:
    moment = at(paid, zone)
    return deadline(kind, moment, moment, zone, WORKS, **more).due_at.astimezone(ZoneInfo(zone))


@pytest.mark.parametrize(
    ("paid", "wanted"),
    [
        ("2026-11-23T15:00:00", "2026-11-24T23:59:59"),  # Monday → Tuesday
        ("2026-11-20T23:59:59", "2026-11-23T23:59:59"),  # Friday night → Monday
        ("2026-11-21T00:00:00", "2026-11-23T23:59:59"),  # Saturday → Monday
        ("2025-12-30T10:00:00", "2026-01-12T23:59:59"),  # over New Year, 31.12. and 9.1. being moved days off
        ("2024-04-26T12:00:00", "2024-04-27T23:59:59"),  # the next day is a Saturday that was made a working day
        ("2024-04-27T12:00:00", "2024-05-02T23:59:59"),  # and after it four days off in a row
        ("2025-10-31T12:00:00", "2025-11-01T23:59:59"),
        ("2025-11-01T12:00:00", "2025-11-05T23:59:59"),
        ("2024-12-31T23:59:59", "2025-01-09T23:59:59"),
    ],
)
def test_a_transfer_is_due_by_the_end_of_the_next_business_day(paid: str, wanted: str) -> None:
    """54-FZ, art. 1.2 p. 5.4."""
    assert due(SettlementKind.TRANSFER, paid) == at(wanted)


def test_the_business_day_is_that_of_the_kassas_zone() -> None:
    """Friday 20:30 in Moscow is Saturday in Kamchatka; Thursday 20:30 is Friday there."""
    thursday = at("2026-11-19T20:30:00")
    assert thursday.astimezone(ZoneInfo("Asia/Kamchatka")).date() == date(2026, 11, 20)
    far = deadline(SettlementKind.TRANSFER, thursday, thursday, "Asia/Kamchatka", WORKS)
    near = deadline(SettlementKind.TRANSFER, thursday, thursday, "Europe/Moscow", WORKS)
    assert far.due_at == at("2026-11-23T23:59:59", "Asia/Kamchatka")
    assert near.due_at == at("2026-11-20T23:59:59")


def test_what_is_handed_over_with_the_transfer_is_due_at_once() -> None:
    assert due(SettlementKind.TRANSFER, "2026-11-20T12:00:00", delivered=True) == at("2026-11-20T12:00:00")


@pytest.mark.parametrize("kind", [SettlementKind.ONLINE, SettlementKind.IN_PERSON])
def test_card_and_cash_are_due_at_once_with_an_operational_limit_at_the_end_of_the_day(kind: SettlementKind) -> None:
    paid = at("2026-11-23T15:00:00", "Asia/Omsk")
    found = deadline(kind, paid, paid, "Asia/Omsk", WORKS)
    assert found == Deadline(paid, at("2026-11-23T23:59:59", "Asia/Omsk"))
    shorter = deadline(kind, paid, paid, "Asia/Omsk", WORKS, limits=Limits(operational_seconds=7200))
    assert shorter.limit_at == paid + timedelta(hours=2)


def test_a_closing_is_due_on_the_day_of_service() -> None:
    assert due(SettlementKind.OFFSET, "2026-11-21T09:00:00") == at("2026-11-21T23:59:59")


@pytest.mark.parametrize("zone", ZONES)
def test_paid_a_second_before_the_year_ends_there_is_still_an_hour(zone: str) -> None:
    paid = at("2025-12-31T23:59:59", zone)
    assert deadline(SettlementKind.ONLINE, paid, paid, zone, WORKS).limit_at == paid + GRACE


def test_reported_days_later_it_is_due_long_ago_and_may_still_be_tried() -> None:
    paid, heard = at("2026-11-01T12:00:00"), at("2026-11-23T12:00:00")
    found = deadline(SettlementKind.ONLINE, paid, heard, "Europe/Moscow", WORKS)
    assert found == Deadline(paid, heard + GRACE)


@given(kinds, moments, delays, zones)
def test_nothing_is_due_before_it_happened_or_late_before_it_could_be_tried(
    kind: SettlementKind, paid: datetime, delay: timedelta, zone: str
) -> None:
    found = deadline(kind, paid, paid + delay, zone, WORKS)
    assert paid <= found.due_at <= found.limit_at
    assert found.limit_at >= paid + delay + GRACE


@given(kinds, moments, delays, zones, st.booleans())
def test_what_was_paid_later_is_never_due_earlier(
    kind: SettlementKind, paid: datetime, later: timedelta, zone: str, delivered: bool
) -> None:
    first = deadline(kind, paid, paid, zone, WORKS, delivered=delivered)
    second = deadline(kind, paid + later, paid + later, zone, WORKS, delivered=delivered)
    assert first.due_at <= second.due_at
    assert first.limit_at <= second.limit_at


@given(moments, zones)
def test_a_transfer_ends_with_the_last_second_of_the_first_working_day_after_it(paid: datetime, zone: str) -> None:
    found = deadline(SettlementKind.TRANSFER, paid, paid, zone, WORKS).due_at.astimezone(ZoneInfo(zone))
    assert found.time() == time(23, 59, 59)
    day = local_day(paid, zone)
    assert WORKS(found.date())
    assert not any(WORKS(day + timedelta(days=n)) for n in range(1, (found.date() - day).days))


@given(st.dates(date(2024, 1, 1), date(2028, 12, 31)), zones)
def test_a_day_has_24_hours_in_every_zone_of_russia(day: date, zone: str) -> None:
    """No daylight saving time since 2014: two ends of day lie a day apart."""
    assert end_of_day(day + timedelta(days=1), zone) - end_of_day(day, zone) == timedelta(days=1)


@given(kinds, moments, delays, zones)
def test_alarms_come_in_order_and_end_with_the_limit(
    kind: SettlementKind, paid: datetime, delay: timedelta, zone: str
) -> None:
    since = paid + delay
    found = deadline(kind, paid, since, zone, WORKS)
    alarms = alarms_before(found, since)
    assert [one.at for one in alarms] == sorted({one.at for one in alarms})
    assert alarms[-1] == Alarm(Step.LIMIT, found.limit_at)
    assert all(one.at > since and one.step is Step.WARNING for one in alarms[:-1])
    assert len(alarms) >= 2
    assert first_alarm(found, since) == alarms[0].at == next_alarm(found, since, since).at


@given(kinds, moments, delays, st.timedeltas(timedelta(), timedelta(days=400)), zones)
def test_there_is_always_a_next_alarm_and_none_is_told_twice(
    kind: SettlementKind, paid: datetime, delay: timedelta, waited: timedelta, zone: str
) -> None:
    since = paid + delay
    found, now = deadline(kind, paid, since, zone, WORKS), since + waited
    following, reached = next_alarm(found, since, now), last_alarm(found, since, now)
    assert following.at > now
    assert reached is None or reached.at <= now
    # At its moment the next one is the one that is reached.
    assert last_alarm(found, since, following.at) == following
    assert following.at - now <= max(timedelta(days=1), found.limit_at - since)


def test_the_alarms_of_a_card_payment() -> None:
    paid = at("2026-11-23T15:00:00").astimezone(UTC)
    found = deadline(SettlementKind.ONLINE, paid, paid, "Europe/Moscow", WORKS)
    told, now = [], paid
    for _ in range(5):
        alarm = next_alarm(found, paid, now)
        told.append((alarm.step.value, alarm.at - paid))
        now = alarm.at
    minutes = [("warning", 5), ("warning", 60), ("limit", 9 * 60), ("daily", 33 * 60), ("daily", 57 * 60)]
    seconds = timedelta(seconds=1)
    assert told == [(step, timedelta(minutes=n) - (seconds if n > 60 else timedelta())) for step, n in minutes]


def test_a_transfer_is_spoken_of_at_half_of_its_time() -> None:
    paid = at("2026-11-23T12:00:00")
    found = deadline(SettlementKind.TRANSFER, paid, paid, "Europe/Moscow", WORKS)
    first, last = alarms_before(found, paid)
    assert first.at - paid == (found.limit_at - paid) / 2
    assert last.at == found.due_at


def test_a_contact_is_waited_for_half_of_the_time_and_a_quarter_of_an_hour_for_a_card() -> None:
    paid = at("2026-11-23T12:00:00")
    card = deadline(SettlementKind.ONLINE, paid, paid, "Europe/Moscow", WORKS)
    transfer = deadline(SettlementKind.TRANSFER, paid, paid, "Europe/Moscow", WORKS)
    assert contact_until(card, paid, Limits()) == paid + timedelta(minutes=15)
    assert contact_until(transfer, paid, Limits()) - paid == (transfer.limit_at - paid) / 2
    assert contact_until(card, paid, Limits(contact_seconds=86_400)) - paid == (card.limit_at - paid) / 2


def test_a_calendar_that_knows_no_working_day_is_refused() -> None:
    with pytest.raises(ValueError, match="no working day"):
        next_workday(date(2026, 1, 1), lambda day: False)


@pytest.mark.parametrize(
    ("kind", "paid", "told", "missed"),
    [
        (SettlementKind.ONLINE, "2026-11-20T23:58", "2026-11-21T00:02", False),
        (SettlementKind.ONLINE, "2026-11-20T23:58", "2026-11-21T01:00", True),
        (SettlementKind.IN_PERSON, "2026-11-20T09:00", "2026-11-20T23:50", False),
        (SettlementKind.IN_PERSON, "2023-11-20T09:00", "2026-11-20T09:00", True),
        # Friday's transfer has until the end of Monday.
        (SettlementKind.TRANSFER, "2026-11-20T09:00", "2026-11-23T23:50", False),
        (SettlementKind.TRANSFER, "2026-11-20T09:00", "2026-11-24T01:01", True),
        (SettlementKind.OFFSET, "2026-11-20T09:00", "2026-11-20T23:59", False),
        (SettlementKind.OFFSET, "2026-11-20T09:00", "2026-11-22T00:00", True),
    ],
)
def test_a_settlement_told_after_the_day_of_its_receipt_has_missed_it(
    kind: SettlementKind, paid: str, told: str, missed: bool
) -> None:
    zone = "Europe/Moscow"
    found = deadline(kind, at(paid), at(told), zone, WORKS)
    assert day_missed(found, at(told), zone) is missed


@given(kinds, moments, zones)
def test_what_is_told_when_it_happens_has_missed_nothing(kind: SettlementKind, moment: datetime, zone: str) -> None:
    assert not day_missed(deadline(kind, moment, moment, zone, WORKS), moment, zone)
