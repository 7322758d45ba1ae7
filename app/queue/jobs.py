"""Kinds of work and the job that carries it: ids only, never content."""

from datetime import datetime
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID

from app.domain.lifecycle import FollowUp


class JobKind(IntEnum):
    """What is to be done; `ref` is the id of the thing it is done to."""

    FISCALIZE = 1
    POLL = 2
    RECONCILE = 3
    PLAN = 4
    RELEASE = 5
    DELIVER = 6
    INBOUND = 7
    EVIDENCE = 8
    POLL_SOURCE = 9
    REPORT = 10


FOLLOW_UP = {
    FollowUp.FISCALIZE: JobKind.FISCALIZE,
    FollowUp.POLL: JobKind.POLL,
    FollowUp.RECONCILE: JobKind.RECONCILE,
}

RECEIPT_ORDERS = (JobKind.FISCALIZE, JobKind.POLL, JobKind.RECONCILE)
"""At most one of these exists per receipt: `ref` is unique."""


class Job(NamedTuple):
    """A leased job. `lease_token` fences everything that is stored in its name; `probe` tries a paused lane."""

    id: UUID
    kind: JobKind
    lane: UUID
    chain: UUID | None
    ref: UUID
    attempt: int
    lease_token: UUID
    lease_until: datetime
    probe: bool = False
    provider: str | None = None


CHANNEL = "kassa_jobs"
"""NOTIFY channel: carries nothing, only wakes."""

RESUMED = "resumed"
"""The one thing it may say: jobs that waited in a paused lane may lie below a watermark."""
