"""How long to wait before the next try, in seconds: pure arithmetic, the caller draws the random fraction.

Jitter keeps a thousand receipts that failed together from coming back together.
"""

from collections.abc import Sequence

_HOUR = 3600.0
_EARLY = (0.0, 5.0, 300.0, 1800.0, 2 * _HOUR, 5 * _HOUR, 10 * _HOUR)
_THEN_EVERY = 12 * _HOUR
_DELIVERY_ENDS = 72 * _HOUR
_JITTER = 0.2

_TIMES_LEFT = int((_DELIVERY_ENDS - sum(_EARLY)) // _THEN_EVERY)
DELIVERY_SCHEDULE = (*_EARLY, *(_THEN_EVERY for _ in range(_TIMES_LEFT)))
"""Waits before each delivery of a message: 0 s, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, then every 12 h within 3 days."""


def retry_delay(attempt: int, rng_fraction: float, *, base: float, cap: float) -> float:
    """Wait after failed attempt number `attempt` (from 1): doubles from `base` up to `cap`, half of it at random.

    `rng_fraction` lies in [0, 1). The answer never exceeds `cap` and is never below half of the doubled wait.
    """
    doublings = min(max(attempt, 1) - 1, 63)
    whole = min(cap, base * float(2**doublings))
    return whole / 2 + whole / 2 * rng_fraction


def delivery_delay(attempt: int, rng_fraction: float) -> float | None:
    """Wait before delivery number `attempt` (from 1) of a message, ±20 %; None when it is given up.

    The first goes at once. The waits add up to at most three days, jitter apart.
    """
    if attempt > len(DELIVERY_SCHEDULE):
        return None
    return DELIVERY_SCHEDULE[max(attempt, 1) - 1] * (1 - _JITTER + 2 * _JITTER * rng_fraction)


def poll_delay(schedule: Sequence[float], polls_done: int) -> float:
    """Wait before the next question about an accepted receipt; the schedule's last step repeats for ever.

    ValueError for an empty schedule.
    """
    if not schedule:
        raise ValueError("a poll schedule has at least one step")
    return schedule[min(max(polls_done, 0), len(schedule) - 1)]
