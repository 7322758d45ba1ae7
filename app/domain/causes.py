"""The cause catalogue: why a receipt stands still, in words for people: what happened, who acts, what to do next.

`failure`, the timeline, `kassa.paused` and `GET /v1/receipts/{id}/explain` all take their words from here.
"""

from app.domain.cause import Cause, Who
from app.domain.causes_held import HELD
from app.domain.causes_kassa import KASSA
from app.domain.causes_refused import REFUSED
from app.domain.causes_undecided import UNDECIDED

__all__ = ["CATALOGUE", "Cause", "Who", "cause"]

CATALOGUE: dict[str, Cause] = {each.code: each for each in (*HELD, *REFUSED, *KASSA, *UNDECIDED)}
"""Every cause by its code."""


def cause(code: str) -> Cause:
    """The cause of this code; an unknown code reads as `refused_other`."""
    return CATALOGUE.get(code, CATALOGUE["refused_other"])
