"""Where the last claim of each lane ended, so that the next one does not wade through what is already gone.

PostgreSQL keeps deleted jobs in the index as long as any transaction is open that might still see them: one forgotten
elsewhere makes each claim read all of them again (51k → 5k jobs/s measured). A watermark is a hint with an end: all
are forgotten each second, so that what became ready below one waits no longer.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7

_SHARE = 0.05
_CHEAP_SECONDS = 0.05
"""A claim on a busy machine takes that long without reading anything that is gone."""
_LONGEST_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Watermark:
    """Every ready job of a lane lies behind (`run_at`, `id`); `lease` is not above any lease token alive in it."""

    lane: UUID
    run_at: datetime
    id: UUID
    lease: UUID


class Watermarks:
    """The watermarks of one worker, none older than `seconds`.

    Behind some hundred thousand dead rows reading anew takes a good part of a second: there it is done as seldom as
    leaves it a twentieth of the time, and every 15 s at the latest.
    """

    def __init__(self, seconds: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._known: dict[UUID, Watermark] = {}
        self._lanes: list[UUID] = []
        self._began = 0.0
        self._until = 0.0
        self._spent = 0.0

    def behind(self, cursor: UUID, most: int) -> list[Watermark]:
        """Those of the next lanes of the ring, at most so many, in its order."""
        if self._clock() >= self._until:
            self.reset()
        start = bisect_right(self._lanes, cursor)
        return [self._known[lane] for lane in self._lanes[start : start + most]]

    def keep(self, found: Sequence[Watermark], seconds: float = 0.0) -> None:
        """What a claim of so many seconds has seen, in the name of its transaction: call it after the commit."""
        fresh = {one.lane: one for one in found}
        if not fresh.keys() <= self._known.keys():
            self._lanes = sorted(self._known.keys() | fresh.keys())
            self._spent += max(seconds - _CHEAP_SECONDS, 0.0)
            self._until = self._began + max(self._seconds, min(self._spent / _SHARE, _LONGEST_SECONDS))
        self._known |= fresh

    def reset(self) -> None:
        """Read every lane from its beginning again: after a second, and when a lane was resumed."""
        self._known, self._lanes, self._spent = {}, [], 0.0
        self._began = self._clock()
        self._until = self._began + self._seconds


def lease_token(at: datetime) -> UUID:
    """A token that no other lease has and that stands behind every older one: a UUIDv7 of the database's time."""
    return uuid7(nanoseconds=int(at.timestamp() * 1000) * 1_000_000)


def lowest_token(at: datetime) -> UUID:
    """No token made at this moment or later is lower."""
    return UUID(int=(int(at.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62))
