"""From an outcome to what happened: the rules by which nothing is printed twice and nothing is given up silently.

Pure. Each rule here closes a way in which a receipt was lost or doubled (docs/adr/0004).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
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


def class_at(seconds: float, *, dedup_seconds: float | None, lookup_seconds: float | None) -> LookupClass:
    """The class so long after the first mark: windows close, so it is computed when acting, never once and for all.

    0 = the provider does not do this at all, None = without limit.
    """
    dedup = dedup_seconds is None or seconds < dedup_seconds
    lookup = lookup_seconds is None or seconds < lookup_seconds
    match dedup, lookup:
        case True, True:
            return LookupClass.A
        case False, True:
            return LookupClass.B
        case True, False:
            return LookupClass.C
        case _:
            return LookupClass.D


@dataclass(frozen=True, slots=True)
class Past:
    """What earlier submits under the same id left: how many are unproven, and whether one is known to have arrived."""

    unproven: int = 0
    evidence: bool = False


def hindrance(cls: LookupClass, past: Past) -> Happening | None:
    """What stands against sending a `queued` receipt (again); None when nothing does.

    `cls` is that of the moment at which the request may arrive: a resend that was decided within the deduplication
    window may have waited in a paused lane until after it. Class C's resend is its look-up: evidence of an earlier send
    calls for it instead of standing against it.
    """
    if past.evidence:
        return None if cls is LookupClass.C else Happening.EVIDENCE
    if past.unproven and not cls.deduplicates:
        return Happening.EVIDENCE if cls.looks_up else Happening.UNDECIDABLE
    return None


def before_send(outcome: LookupOutcome, *, present: bool) -> Happening | None:
    """What asking for an id before a send means: None = not there, `CANNOT_TELL` = ask again later, else do not send.

    `present`: it is the id about to be sent, not that of an earlier version.
    """
    match outcome:
        case NotFound():
            return None
        case CannotTell() | Unavailable() | Unknown():
            return Happening.CANNOT_TELL
        case Rejected() if not present:
            return None
        case Accepted() | Fiscalized() | Pending() | Rejected():
            return Happening.EVIDENCE if present else Happening.UNDECIDABLE
        case _:
            assert_never(outcome)


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
            return Happening.REJECTED_UNPROVEN if past.unproven or past.evidence else Happening.REJECTED
        case Unavailable():
            # This attempt was not registered; an earlier unproven one keeps the receipt unknown.
            return Happening.UNKNOWN if past.unproven or past.evidence else Happening.UNAVAILABLE
        case Unknown(stuck=stuck):
            return Happening.UNDECIDABLE if stuck or cls is LookupClass.D else Happening.UNKNOWN
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


@dataclass(frozen=True, slots=True)
class Asked:
    """The last question about an id: when it was answered, and whether by "not found"."""

    at: datetime
    absent: bool


def lookup_moment(
    marked_at: datetime | None, asked: Asked | None, now: datetime, *, settled_after: float, visibility: float
) -> LookupMoment:
    """The moment of a look-up that began at `now`; `marked_at` is the last mark under this id.

    `settled_after` = freshness bound + wire deadline + visibility delay, in seconds like `visibility`.
    """
    if marked_at is None:
        return LookupMoment(visible=False, confirmed=False)
    confirmed = (
        asked is not None
        and asked.absent
        and (asked.at - marked_at).total_seconds() >= settled_after
        and (now - asked.at).total_seconds() >= visibility
    )
    return LookupMoment((now - marked_at).total_seconds() >= settled_after, confirmed)


def without_asking(cls: LookupClass, past: Past, *, overdue: bool) -> Happening:
    """The way out of `unknown` where the provider cannot be asked: resend the same id if it deduplicates, which brings
    what stands under it; else what is known already (`from_evidence`), or nobody can know. `overdue`: resends have said
    nothing clear for too long."""
    if not cls.deduplicates:
        return Happening.EVIDENCE if past.evidence else Happening.UNDECIDABLE
    return Happening.OVERDUE if overdue else Happening.RESEND_DEDUPLICATED


@dataclass(frozen=True, slots=True)
class Arrival:
    """One exchange by which a provider said that it has our document; `sent`: it was a submit, not a question."""

    found: Accepted | Fiscalized
    sent: bool


def may_be_two(arrivals: Sequence[Arrival], cls: LookupClass) -> bool:
    """Whether two documents may exist: two were named, or two sends arrived where ids do not deduplicate. `cls` is that
    of the moment at which the last of them was sent."""
    documents = {(one.found.fiscal.fn, one.found.fiscal.fd) for one in arrivals if isinstance(one.found, Fiscalized)}
    return len(documents) > 1 or (not cls.deduplicates and sum(one.sent for one in arrivals) > 1)


def from_evidence(
    arrivals: Sequence[Arrival], receipt: Receipt, cls: LookupClass
) -> tuple[Accepted | Fiscalized | Unknown, Happening]:
    """Class D: nobody can be asked and nothing sent again, so what a late answer said is itself adopted, if it matches
    what we asked for. `cls` is that of the last send, as for `may_be_two`; arrivals are in their order."""
    documents = [one.found for one in arrivals if isinstance(one.found, Fiscalized)]
    if not arrivals:
        return Unknown("this provider cannot be asked by our id"), Happening.UNDECIDABLE
    if may_be_two(arrivals, cls):
        return arrivals[-1].found, Happening.DOUBLE_SUSPECTED
    if not documents:
        return arrivals[-1].found, Happening.ACCEPTED
    differing = next((one for one in documents if one.echo.differs_from(receipt)), None)
    return (documents[0], Happening.FISCALIZED) if differing is None else (differing, Happening.MISMATCH)


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
            # Without deduplication several sends may be several documents, and this speaks of one.
            several = past.unproven > 1 and not cls.deduplicates
            return Happening.REJECTED_UNPROVEN if several else Happening.REJECTED
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
        case Unknown(stuck=stuck):
            return Happening.UNDECIDABLE if stuck else Happening.UNKNOWN
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
        case Unknown(stuck=stuck):
            return Happening.UNDECIDABLE if stuck else Happening.UNKNOWN
        case _:
            assert_never(outcome)
