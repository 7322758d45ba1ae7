"""A lane as a person wants to see it: what runs, what waits, and why nothing moves."""

from dataclasses import dataclass
from datetime import datetime

from app.db.repos.lanes_read import LaneState
from app.domain.causes import cause
from app.queue.lanes import SWITCHED_OFF


@dataclass(frozen=True, slots=True)
class PauseView:
    """Why a lane stands still: what happened, who acts, what to do next; `probe_at` None: only a person resumes it."""

    cause: str
    message: str
    message_ru: str
    who: str
    next_step: str
    next_step_ru: str
    since: datetime
    probe_at: datetime | None


@dataclass(frozen=True, slots=True)
class LaneView:
    """Jobs under way and waiting; `waiting` is counted up to 10,000. `pause` None: it runs."""

    max_in_flight: int
    in_flight: int
    waiting: int
    pause: PauseView | None


def lane_view(lane: LaneState) -> LaneView:
    return LaneView(lane.max_in_flight, lane.in_flight, lane.waiting, _pause(lane))


def _pause(lane: LaneState) -> PauseView | None:
    if lane.paused_at is None:
        return None
    why = cause("kassa_switched_off" if lane.pause_cause == SWITCHED_OFF else lane.pause_cause or "")
    return PauseView(
        why.code,
        why.message,
        why.message_ru,
        why.who,
        why.next_step,
        why.next_step_ru,
        lane.paused_at,
        lane.probe_at,
    )
