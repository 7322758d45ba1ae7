"""A place in a list that is read newest first."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Position:
    """The last row that a reader has; the next page begins behind it."""

    at: datetime
    id: UUID
