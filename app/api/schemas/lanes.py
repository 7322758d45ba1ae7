"""How much of a kassa or an endpoint runs, waits, or stands still and why."""

from pydantic import Field

from app.api.types import ResponseModel, Timestamp


class PauseOut(ResponseModel):
    """Why it stands still: what happened, who acts, what to do next."""

    cause: str
    message: str
    message_ru: str
    who: str
    next_step: str
    next_step_ru: str
    since: Timestamp
    probe_at: Timestamp | None = Field(description="When it is tried again by itself; null: only a person resumes it.")


class LaneOut(ResponseModel):
    """A lane; nothing in a paused one is given up, what waits goes on when it resumes."""

    max_in_flight: int = Field(description="How many may be under way at once.")
    in_flight: int
    waiting: int = Field(description="Counted up to 10,000.")
    pause: PauseOut | None = Field(description="null: it runs.")
