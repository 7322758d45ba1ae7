"""Waits grow, stay bounded and end when they must."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.backoff import DELIVERY_SCHEDULE, delivery_delay, poll_delay, retry_delay

MODEST = settings(max_examples=200, deadline=None)
FRACTIONS = st.floats(0, 1, exclude_max=True)
HOUR = 3600


def test_deliveries_follow_the_promised_schedule() -> None:
    assert DELIVERY_SCHEDULE[:7] == (0, 5, 300, 1800, 2 * HOUR, 5 * HOUR, 10 * HOUR)
    assert set(DELIVERY_SCHEDULE[7:]) == {12 * HOUR}
    assert 60 * HOUR < sum(DELIVERY_SCHEDULE) <= 72 * HOUR


def test_the_first_delivery_goes_at_once_and_the_last_is_the_last() -> None:
    assert delivery_delay(1, 0.99) == 0
    assert delivery_delay(len(DELIVERY_SCHEDULE), 0.5) == 12 * HOUR
    assert delivery_delay(len(DELIVERY_SCHEDULE) + 1, 0.5) is None
    assert delivery_delay(10**9, 0.5) is None


@given(attempt=st.integers(1, len(DELIVERY_SCHEDULE)), fraction=FRACTIONS)
@MODEST
def test_a_delivery_jitters_by_a_fifth(attempt: int, fraction: float) -> None:
    delay = delivery_delay(attempt, fraction)
    nominal = DELIVERY_SCHEDULE[attempt - 1]
    assert delay is not None
    assert 0.8 * nominal - 1e-6 <= delay <= 1.2 * nominal + 1e-6


def test_retries_double_up_to_the_cap() -> None:
    assert [retry_delay(n, 0.0, base=2, cap=60) for n in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]


@given(attempt=st.integers(0, 10**9), fraction=FRACTIONS, base=st.floats(0.01, 60), cap=st.floats(60, 10**5))
@MODEST
def test_a_retry_waits_between_half_and_all_of_its_step(attempt: int, fraction: float, base: float, cap: float) -> None:
    delay = retry_delay(attempt, fraction, base=base, cap=cap)
    assert base / 2 <= delay <= cap
    assert retry_delay(attempt + 1, fraction, base=base, cap=cap) >= delay


def test_polls_go_on_at_the_last_step() -> None:
    schedule = (2, 5, 10)
    assert [poll_delay(schedule, done) for done in range(5)] == [2, 5, 10, 10, 10]
    with pytest.raises(ValueError, match="at least one step"):
        poll_delay((), 0)
