"""The states of a receipt and every legal transition, as data.

(state, what happened) → next state, follow-up job, message to the merchant; a pair that is not in the table is not
legal: `step` raises, and nothing is stored. `docs/state-machine.md` is printed from this table.
"""

from dataclasses import dataclass
from enum import Enum


class Status(Enum):
    """State of a receipt; design words, also the API's."""

    HELD = "held"
    QUEUED = "queued"
    SENDING = "sending"
    ACCEPTED = "accepted"
    UNKNOWN = "unknown"
    FISCALIZED = "fiscalized"
    REJECTED = "rejected"
    NEEDS_ATTENTION = "needs_attention"
    CANCELLED = "cancelled"


BLOCKING = frozenset({Status.QUEUED, Status.SENDING, Status.ACCEPTED, Status.UNKNOWN, Status.NEEDS_ATTENTION})
"""A later receipt of the same chain waits behind these; a held sibling blocks nobody."""

TERMINAL = frozenset({Status.FISCALIZED, Status.REJECTED, Status.CANCELLED})
"""Nothing moves these by itself."""

SETTLED = frozenset({*TERMINAL, Status.HELD, Status.NEEDS_ATTENTION})
"""Where `Prefer: wait` stops waiting: the end, or a person's turn."""


REPORTED = (Status.FISCALIZED, Status.REJECTED, Status.NEEDS_ATTENTION, Status.HELD)
"""What a CRM is told of, where it takes results: a receipt's end, or a person's turn."""


class Happening(Enum):
    """What happened to a receipt."""

    MARKED = "marked"
    ACCEPTED = "accepted"
    PENDING = "pending"
    FISCALIZED = "fiscalized"
    REJECTED = "rejected"
    REJECTED_UNPROVEN = "rejected_unproven"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"
    LEASE_LOST = "lease_lost"
    NOT_FOUND = "not_found"
    NOT_FOUND_YET = "not_found_yet"
    CANNOT_TELL = "cannot_tell"
    RESEND_DEDUPLICATED = "resend_deduplicated"
    UNDECIDABLE = "undecidable"
    EVIDENCE = "evidence"
    MISMATCH = "mismatch"
    DOUBLE_SUSPECTED = "double_suspected"
    OVERDUE = "overdue"
    DEADLINE_PASSED = "deadline_passed"
    CONFIRMED_LATE = "confirmed_late"
    CONTACT_ADDED = "contact_added"
    FILLED = "filled"
    SALE_NOT_FISCALIZED = "sale_not_fiscalized"
    CANCELLED = "cancelled"
    CORRECTED = "corrected"
    RESOLVED_FOUND = "resolved_found"
    RESOLVED_SEND_AGAIN = "resolved_send_again"
    RESOLVED_MADE_ELSEWHERE = "resolved_made_elsewhere"
    RESOLVED_ABANDON = "resolved_abandon"


class FollowUp(Enum):
    """The job that a transition leaves behind."""

    FISCALIZE = "fiscalize"
    POLL = "poll"
    RECONCILE = "reconcile"


class MessageType(Enum):
    """What the merchant's system is told about a receipt."""

    ACCEPTED = "receipt.accepted"
    FISCALIZED = "receipt.fiscalized"
    REJECTED = "receipt.rejected"
    NEEDS_ATTENTION = "receipt.needs_attention"
    HELD = "receipt.held"
    CANCELLED = "receipt.cancelled"
    OVERDUE = "receipt.overdue"
    CONTACT_ADDED = "receipt.contact_added"


@dataclass(frozen=True, slots=True)
class Step:
    """The consequence of one happening. A public step (with a message) raises the receipt's sequence."""

    status: Status
    follow_up: FollowUp | None = None
    message: MessageType | None = None


class IllegalTransition(Exception):
    """This cannot happen to a receipt in that state."""

    def __init__(self, status: Status, happening: Happening) -> None:
        super().__init__(f"{happening.value} cannot happen to a receipt that is {status.value}")
        self.status = status
        self.happening = happening


_S, _H, _F, _M = Status, Happening, FollowUp, MessageType

_DONE = Step(_S.FISCALIZED, None, _M.FISCALIZED)
_REFUSED = Step(_S.REJECTED, None, _M.REJECTED)
_ATTENTION = Step(_S.NEEDS_ATTENTION, None, _M.NEEDS_ATTENTION)
_ASK = Step(_S.UNKNOWN, _F.RECONCILE)
_AGAIN = Step(_S.QUEUED, _F.FISCALIZE)
_ON_TAPE = Step(_S.ACCEPTED, _F.POLL, _M.ACCEPTED)
_STILL = Step(_S.ACCEPTED, _F.POLL)
_GIVEN_UP = Step(_S.CANCELLED, None, _M.CANCELLED)

TRANSITIONS: dict[tuple[Status, Happening], Step] = {
    # A person or a mapping fills what was missing, or gives the receipt up.
    (_S.HELD, _H.FILLED): _AGAIN,
    (_S.HELD, _H.CANCELLED): _GIVEN_UP,
    (_S.HELD, _H.EVIDENCE): _ASK,
    (_S.HELD, _H.OVERDUE): Step(_S.HELD, None, _M.NEEDS_ATTENTION),
    # Late, and never sent or proven absent: only then a person may choose between the receipt and a correction.
    (_S.QUEUED, _H.DEADLINE_PASSED): Step(_S.HELD, None, _M.HELD),
    (_S.HELD, _H.CONFIRMED_LATE): _AGAIN,
    # Waiting for its turn: nothing was sent under this marking yet.
    (_S.QUEUED, _H.MARKED): Step(_S.SENDING),
    (_S.QUEUED, _H.UNAVAILABLE): _AGAIN,
    (_S.QUEUED, _H.CANCELLED): _GIVEN_UP,
    (_S.QUEUED, _H.SALE_NOT_FISCALIZED): Step(_S.HELD, None, _M.HELD),
    (_S.QUEUED, _H.REJECTED): _REFUSED,
    (_S.QUEUED, _H.EVIDENCE): _ASK,
    # Asked for before a first send, in an epoch after a restore: not proven absent yet.
    (_S.QUEUED, _H.NOT_FOUND_YET): _AGAIN,
    (_S.QUEUED, _H.CANNOT_TELL): _AGAIN,
    (_S.QUEUED, _H.FISCALIZED): _DONE,
    (_S.QUEUED, _H.UNDECIDABLE): _ATTENTION,
    # On the wire. A refusal is final only when no earlier attempt of this id is left unproven.
    (_S.SENDING, _H.ACCEPTED): _ON_TAPE,
    (_S.SENDING, _H.FISCALIZED): _DONE,
    (_S.SENDING, _H.REJECTED): _REFUSED,
    (_S.SENDING, _H.REJECTED_UNPROVEN): _ASK,
    (_S.SENDING, _H.UNAVAILABLE): _AGAIN,
    (_S.SENDING, _H.UNKNOWN): _ASK,
    (_S.SENDING, _H.LEASE_LOST): _ASK,
    (_S.SENDING, _H.EVIDENCE): _ASK,
    (_S.SENDING, _H.MISMATCH): _ATTENTION,
    (_S.SENDING, _H.UNDECIDABLE): _ATTENTION,
    (_S.SENDING, _H.DOUBLE_SUSPECTED): _ATTENTION,
    # The provider has it.
    (_S.ACCEPTED, _H.PENDING): _STILL,
    (_S.ACCEPTED, _H.ACCEPTED): _STILL,
    (_S.ACCEPTED, _H.CANNOT_TELL): _STILL,
    (_S.ACCEPTED, _H.UNAVAILABLE): _STILL,
    (_S.ACCEPTED, _H.EVIDENCE): _STILL,
    (_S.ACCEPTED, _H.UNKNOWN): _STILL,
    (_S.ACCEPTED, _H.FISCALIZED): _DONE,
    (_S.ACCEPTED, _H.REJECTED): _REFUSED,
    (_S.ACCEPTED, _H.REJECTED_UNPROVEN): _ASK,
    (_S.ACCEPTED, _H.NOT_FOUND): _ATTENTION,
    (_S.ACCEPTED, _H.MISMATCH): _ATTENTION,
    (_S.ACCEPTED, _H.DOUBLE_SUSPECTED): _ATTENTION,
    (_S.ACCEPTED, _H.OVERDUE): _ATTENTION,
    (_S.ACCEPTED, _H.UNDECIDABLE): _ATTENTION,
    # Nobody knows: only asking by our id, or a person, leads out.
    (_S.UNKNOWN, _H.ACCEPTED): _ON_TAPE,
    (_S.UNKNOWN, _H.PENDING): _ON_TAPE,
    (_S.UNKNOWN, _H.FISCALIZED): _DONE,
    (_S.UNKNOWN, _H.REJECTED): _REFUSED,
    (_S.UNKNOWN, _H.REJECTED_UNPROVEN): _ASK,
    (_S.UNKNOWN, _H.UNAVAILABLE): _ASK,
    (_S.UNKNOWN, _H.UNKNOWN): _ASK,
    (_S.UNKNOWN, _H.CANNOT_TELL): _ASK,
    (_S.UNKNOWN, _H.NOT_FOUND_YET): _ASK,
    (_S.UNKNOWN, _H.EVIDENCE): _ASK,
    (_S.UNKNOWN, _H.NOT_FOUND): _AGAIN,
    (_S.UNKNOWN, _H.RESEND_DEDUPLICATED): _AGAIN,
    (_S.UNKNOWN, _H.MISMATCH): _ATTENTION,
    (_S.UNKNOWN, _H.UNDECIDABLE): _ATTENTION,
    (_S.UNKNOWN, _H.DOUBLE_SUSPECTED): _ATTENTION,
    (_S.UNKNOWN, _H.OVERDUE): _ATTENTION,
    # Only a person decides here; `found` is checked against the provider before it is believed.
    (_S.NEEDS_ATTENTION, _H.RESOLVED_FOUND): _DONE,
    (_S.NEEDS_ATTENTION, _H.RESOLVED_SEND_AGAIN): _AGAIN,
    (_S.NEEDS_ATTENTION, _H.RESOLVED_MADE_ELSEWHERE): _GIVEN_UP,
    (_S.NEEDS_ATTENTION, _H.RESOLVED_ABANDON): _GIVEN_UP,
    (_S.NEEDS_ATTENTION, _H.EVIDENCE): _ASK,
    (_S.UNKNOWN, _H.RESOLVED_FOUND): _DONE,
    (_S.UNKNOWN, _H.RESOLVED_SEND_AGAIN): _AGAIN,
    (_S.UNKNOWN, _H.RESOLVED_MADE_ELSEWHERE): _GIVEN_UP,
    (_S.UNKNOWN, _H.RESOLVED_ABANDON): _GIVEN_UP,
    # Refused for good; a corrected resend is a new version with a new id, the old id stays burnt.
    (_S.REJECTED, _H.CORRECTED): _AGAIN,
    (_S.REJECTED, _H.CANCELLED): _GIVEN_UP,
    (_S.REJECTED, _H.EVIDENCE): _ASK,
    (_S.CANCELLED, _H.EVIDENCE): _ASK,
    # Made elsewhere, a person said, and here as well, as is known now.
    (_S.CANCELLED, _H.DOUBLE_SUSPECTED): _ATTENTION,
    # The buyer's address came after the merchant's own was printed: the document stays, our link goes to the buyer.
    (_S.FISCALIZED, _H.CONTACT_ADDED): Step(_S.FISCALIZED, None, _M.CONTACT_ADDED),
    # A second document for a finished receipt: the first stays true, a person must undo the second.
    (_S.FISCALIZED, _H.DOUBLE_SUSPECTED): _ATTENTION,
}


def step(status: Status, happening: Happening) -> Step:
    """The one legal consequence; IllegalTransition when there is none."""
    try:
        return TRANSITIONS[status, happening]
    except KeyError:
        raise IllegalTransition(status, happening) from None


def allowed(status: Status) -> tuple[Happening, ...]:
    """What may happen to a receipt in this state, in the table's order."""
    return tuple(happening for state, happening in TRANSITIONS if state is status)
