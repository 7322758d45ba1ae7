"""From an outcome to what happened: the rules by which nothing is printed twice and nothing is given up silently.

Pure. Each rule here closes a way in which a receipt was lost or doubled (docs/adr/0004).
"""

from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from app.domain.lifecycle import Happening
from app.domain.outcome import (
    Accepted,
    CannotTell,
    Fiscalized,
    LookupOutcome,
    NotFound,
    Outcome,
    Pending,
    Rejected,
    Unavailable,
    Unknown,
)
from app.domain.receipt import Receipt


class LookupClass(Enum):
    """How an unknown outcome can be ended, by what the provider offers at this moment.

    A: our id deduplicates and can be asked for. B: can only be asked for. C: only deduplicates. D: neither.
    """

    A = "A"
    B = "B"
    C = "C"
    D = "D"

    @property
    def deduplicates(self) -> bool:
        return self in (LookupClass.A, LookupClass.C)

    @property
    def looks_up(self) -> bool:
        return self in (LookupClass.A, LookupClass.B)


@dataclass(frozen=True, slots=True)
class Past:
    """What earlier submits under the same id left: how many are unproven, and whether one is known to have arrived."""

    unproven: int = 0
    evidence: bool = False


def after_submit(outcome: Outcome, receipt: Receipt, cls: LookupClass, past: Past) -> Happening:
    """What a submit means for a receipt that is `sending`."""
    doubled = past.evidence and not cls.deduplicates
    match outcome:
        case Accepted() | Pending():
            return Happening.DOUBLE_SUSPECTED if doubled else Happening.ACCEPTED
        case Fiscalized(echo=echo):
            if doubled:
                return Happening.DOUBLE_SUSPECTED
            return Happening.MISMATCH if echo.differs_from(receipt) else Happening.FISCALIZED
        case Rejected():
            # A refusal speaks for this attempt only: an earlier one whose answer was lost may have been printed.
            return Happening.REJECTED_UNPROVEN if past.unproven else Happening.REJECTED
        case Unavailable():
            # This attempt was not registered; an earlier unproven one keeps the receipt unknown.
            return Happening.UNKNOWN if past.unproven else Happening.UNAVAILABLE
        case Unknown():
            return Happening.UNDECIDABLE if cls is LookupClass.D else Happening.UNKNOWN
        case _:
            assert_never(outcome)


@dataclass(frozen=True, slots=True)
class LookupMoment:
    """When a look-up was made.

    `visible`: the last mark lies further back than freshness bound + wire deadline + visibility delay.
    `confirmed`: an earlier look-up after that moment, at least the visibility delay before this one, found nothing.
    """

    visible: bool
    confirmed: bool


def after_lookup(
    outcome: LookupOutcome, receipt: Receipt, cls: LookupClass, past: Past, moment: LookupMoment
) -> Happening:
    """What asking by our id means for a receipt that is `unknown`."""
    match outcome:
        case Fiscalized(echo=echo):
            return Happening.MISMATCH if echo.differs_from(receipt) else Happening.FISCALIZED
        case Accepted():
            return Happening.ACCEPTED
        case Pending():
            return Happening.PENDING
        case Rejected():
            return Happening.REJECTED
        case NotFound():
            if past.evidence or not moment.visible:
                return Happening.NOT_FOUND_YET
            if not cls.deduplicates and not moment.confirmed:
                return Happening.NOT_FOUND_YET
            return Happening.NOT_FOUND
        case CannotTell():
            return Happening.CANNOT_TELL
        case Unavailable():
            return Happening.UNAVAILABLE
        case Unknown():
            return Happening.UNKNOWN
        case _:
            assert_never(outcome)


def after_poll(outcome: LookupOutcome, receipt: Receipt, moment: LookupMoment) -> Happening:
    """What asking again means for a receipt that the provider had `accepted`."""
    match outcome:
        case Fiscalized(echo=echo):
            return Happening.MISMATCH if echo.differs_from(receipt) else Happening.FISCALIZED
        case Accepted():
            return Happening.ACCEPTED
        case Pending():
            return Happening.PENDING
        case Rejected():
            return Happening.REJECTED
        case NotFound():
            # It was there: an absence must be confirmed before a person is called.
            return Happening.NOT_FOUND if moment.visible and moment.confirmed else Happening.CANNOT_TELL
        case CannotTell():
            return Happening.CANNOT_TELL
        case Unavailable():
            return Happening.UNAVAILABLE
        case Unknown():
            return Happening.UNKNOWN
        case _:
            assert_never(outcome)
