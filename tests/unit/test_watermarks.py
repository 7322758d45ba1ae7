"""How long watermarks are kept: a second, and longer only where reading the lanes anew takes long."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from app.queue.claim import START
from app.queue.watermarks import Watermark, Watermarks

AT = datetime(2026, 11, 29, tzinfo=UTC)


def mark(lane: int) -> Watermark:
    return Watermark(UUID(int=lane), AT, START, START)


@pytest.mark.parametrize(
    ("took", "kept"),
    [(0.002, 1.0), (0.05, 1.0), (0.1, 1.0), (0.35, 6.0), (0.8, 15.0), (60.0, 15.0)],
)
def test_reading_anew_may_take_a_twentieth_of_the_time(took: float, kept: float) -> None:
    now = [100.0]
    known = Watermarks(1.0, lambda: now[0])
    assert known.behind(START, 64) == []
    known.keep([mark(1)], took)
    now[0] = 100.0 + kept - 0.01
    assert known.behind(START, 64) == [mark(1)]
    now[0] = 100.0 + kept + 0.01
    assert known.behind(START, 64) == []


def test_only_what_was_read_from_its_beginning_counts() -> None:
    now = [100.0]
    known = Watermarks(1.0, lambda: now[0])
    known.behind(START, 64)
    known.keep([mark(1)], 0.01)
    for _ in range(50):
        known.keep([mark(1)], 0.5)
    now[0] = 101.01
    assert known.behind(START, 64) == [], "a claim that waited for something else keeps nothing longer"


def test_a_resumed_lane_is_read_at_once() -> None:
    now = [100.0]
    known = Watermarks(1.0, lambda: now[0])
    known.behind(START, 64)
    known.keep([mark(1)], 10.0)
    known.reset()
    assert known.behind(START, 64) == []
    known.keep([mark(1)], 0.01)
    now[0] = 101.01
    assert known.behind(START, 64) == [], "what reading cost before counts no more"
