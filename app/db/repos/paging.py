"""A place in a list that is read newest first."""

from datetime import datetime
from uuid import UUID

Position = tuple[datetime, UUID]
"""Time and id of the last row that a reader has; the next page begins behind it."""
