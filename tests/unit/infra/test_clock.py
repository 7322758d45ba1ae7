"""The database's time, carried on between two looks at it."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.infra.clock import DatabaseClock, boottime


class Ticks:
    """A clock since boot that the test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_the_databases_time_goes_on_by_this_machines_elapsed_time():
    ticks = Ticks()
    clock = DatabaseClock(ticks)
    clock.sync(datetime(2040, 1, 1, tzinfo=UTC))
    assert clock.now() == datetime(2040, 1, 1, tzinfo=UTC)
    ticks.seconds += 90.5
    assert clock.now() == datetime(2040, 1, 1, 0, 1, 30, 500000, tzinfo=UTC)
    clock.sync(datetime(2039, 1, 1, tzinfo=UTC))
    assert clock.now() == datetime(2039, 1, 1, tzinfo=UTC)


def test_what_the_database_stored_is_never_in_the_future():
    ticks = Ticks()
    clock = DatabaseClock(ticks)
    clock.sync(datetime(2040, 1, 1, tzinfo=UTC))
    clock.not_before(datetime(2040, 1, 1, 0, 0, 2, tzinfo=UTC))
    assert clock.now() == datetime(2040, 1, 1, 0, 0, 2, tzinfo=UTC)
    ticks.seconds += 3
    clock.not_before(datetime(2040, 1, 1, 0, 0, 4, tzinfo=UTC))
    assert clock.now() == datetime(2040, 1, 1, 0, 0, 5, tzinfo=UTC)


def test_it_is_always_told_in_utc():
    clock = DatabaseClock(Ticks())
    clock.sync(datetime(2026, 11, 23, 14, 0, tzinfo=timezone(timedelta(hours=3))))
    assert clock.now().isoformat() == "2026-11-23T11:00:00+00:00"
    with pytest.raises(ValueError, match="zone"):
        clock.sync(datetime(2026, 11, 23))  # noqa: DTZ001


def test_before_the_first_look_it_is_the_machines_own_time():
    assert abs(DatabaseClock().now() - datetime.now(UTC)) < timedelta(seconds=5)


def test_boot_time_only_grows_and_counts_suspension():
    first = boottime()
    assert boottime() >= first
    assert first >= time.monotonic() - 1


def test_a_time_that_was_told_earlier_and_comes_later_does_not_turn_history_back():
    ticks = Ticks()
    clock = DatabaseClock(ticks)
    clock.sync(datetime(2040, 1, 1, 0, 0, 2, tzinfo=UTC))
    clock.sync(datetime(2040, 1, 1, 0, 0, 1, tzinfo=UTC))
    assert clock.now() == datetime(2040, 1, 1, 0, 0, 2, tzinfo=UTC)
