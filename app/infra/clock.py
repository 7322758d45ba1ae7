"""Which time it is: the database's, carried on by this machine's clock since boot; worker clocks decide nothing."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_SET_BACK = timedelta(seconds=5)


def boottime() -> float:
    """Seconds since boot, counting suspension, so that a frozen machine cannot believe that no time has passed.

    Where the system has no such clock (it is Linux's), the monotonic one.
    """
    return time.clock_gettime(_BOOTTIME)


class DatabaseClock:
    """The database's time without asking it each time. Until the first `sync` it is this machine's UTC."""

    __slots__ = ("_at", "_base", "_ticks")

    def __init__(self, ticks: Callable[[], float] = boottime) -> None:
        self._ticks = ticks
        self._base: datetime | None = None
        self._at = 0.0

    def sync(self, db_now: datetime) -> None:
        """Takes the time that the database has just told; ValueError for one without a zone.

        What was told is as old as its way to here, so a time a little behind ours is the worse of the two: taking it
        would let history run backwards. Far behind means that the database's clock was set back.
        """
        if db_now.tzinfo is None:
            raise ValueError("The database's time must come with its zone.")
        if self._base is None or not db_now <= self.now() < db_now + _SET_BACK:
            self._base, self._at = db_now.astimezone(UTC), self._ticks()

    def not_before(self, stored_at: datetime) -> None:
        """Takes a time that the database has just stored: what is told here afterwards does not lie before it."""
        if self.now() < stored_at:
            self.sync(stored_at)

    def now(self) -> datetime:
        """Aware UTC."""
        if self._base is None:
            return datetime.now(UTC)
        return self._base + timedelta(seconds=self._ticks() - self._at)
