"""Settle: turn one outcome into the receipt's next state, its follow-up and its message, and store it all at once.

Every wire stage ends here. The state moves only if the lease is still held; what was learned is stored either way, and
what was learned too late gets a job of its own (`evidence.py`).
"""

from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from app.db.group_commit import CommitUnknown, GroupCommitter
from app.db.repos.receipts import ReceiptRow
from app.db.unit_of_work import Database
from app.domain.codec import fiscal_to_json, found_to_json
from app.domain.contact import mask_contacts
from app.domain.errors import Busy
from app.domain.ffd import Operation
from app.domain.lifecycle import BLOCKING, Happening, Status, Step, step
from app.domain.outcome import (
    Accepted,
    CannotTell,
    Fiscalized,
    LookupOutcome,
    NotFound,
    Pending,
    Rejected,
    Unavailable,
    Unknown,
)
from app.domain.qr import qr_text
from app.domain.receipt import Customer, FiscalData
from app.infra.clock import DatabaseClock
from app.infra.compact_json import json_bytes, json_text
from app.infra.crypto import SecretBox, aad
from app.infra.failpoints import Failpoints
from app.infra.http import Exchange, NotSent
from app.infra.ids import new_id
from app.infra.metrics import Metrics, labelled
from app.infra.page_links import PageLinks
from app.infra.tracing import current
from app.queue.jobs import FOLLOW_UP, Job
from app.queue.settle import Settlement, Verdict
from app.services import traces
from app.services.telling import told
from app.services.views import failure_json

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Learned:
    """One exchange: what it was, what came of it, and what it proves about earlier sends.

    `provider_id`: the id that was asked for, where it is not the receipt's present one.
    """

    attempt_id: UUID
    kind: str
    outcome: LookupOutcome
    exchanges: tuple[Exchange, ...] = ()
    proves_absent: bool = False
    provider_id: str | None = None


@dataclass(frozen=True, slots=True)
class Next:
    """How the follow-up runs: after how many seconds, and with which attempt number."""

    seconds: float = 0.0
    attempt: int = 0


class Settle:
    """Stores outcomes through the group committer, again and again until their fate is known."""

    def __init__(
        self,
        committer: GroupCommitter[Settlement, Verdict],
        database: Database,
        box: SecretBox,
        clock: DatabaseClock,
        worker: str,
        failpoints: Failpoints,
        metrics: Metrics,
        links: PageLinks,
    ) -> None:
        self._committer = committer
        self._database = database
        self._box = box
        self._clock = clock
        self.worker = worker
        self._failpoints = failpoints
        self._metrics = metrics
        self._links = links

    async def settle(
        self,
        job: Job,
        row: ReceiptRow,
        customer: Customer | None,
        status: Status,
        happening: Happening,
        learned: Learned,
        follow: Next,
        failure: dict[str, Any] | None = None,
    ) -> Verdict:
        """Move `row`, which is `status` now, by `happening`. Returns whether the lease still allowed it."""
        consequence = step(status, happening)
        at, failure = self._clock.now(), _storable(failure)
        settlement = self._settlement(job, row, customer, status, consequence, happening, learned, follow, failure, at)
        traces.tell_attempt(current(), settlement, failure)
        await self._failpoints.hit("attempt.before_tx2")
        span = current().child("settle", {})
        tried = 0
        while True:
            try:
                # What was learned is stored even if this worker is told to stop in the middle of it.
                verdict = await self._committer.put(settlement)
                break
            except (CommitUnknown, Busy) as lost:
                # Idempotent by attempt id: giving it again stores it once. The lease bounds how long this may take.
                log.warning("settle.commit_lost", receipt_id=str(row.id), error=str(lost))
                await self._database.before_again(tried)
                tried += 1
        span.set({"kassa.settled": verdict is Verdict.SETTLED})
        span.end()
        await self._failpoints.hit("attempt.after_tx2")
        self._count(job, row, happening, learned, verdict, at)
        if verdict is Verdict.STALE:
            log.warning("settle.stale", receipt_id=str(row.id), outcome=_name(learned.outcome))
        return verdict

    def _count(
        self, job: Job, row: ReceiptRow, happening: Happening, learned: Learned, verdict: Verdict, at: datetime
    ) -> None:
        provider = job.provider or "?"
        labelled(self._metrics.receipt_attempts, provider, _name(learned.outcome)).inc()
        for one in learned.exchanges:
            took = labelled(self._metrics.provider_request_seconds, provider, learned.kind, _status_class(one))
            took.observe(one.seconds)
        if verdict is not Verdict.SETTLED:
            return
        match happening:
            case Happening.FISCALIZED:
                seconds = max((at - row.created_at).total_seconds(), 0.0)
                labelled(self._metrics.receipt_fiscalization_seconds, provider).observe(seconds)
            case Happening.MISMATCH:
                self._metrics.reconcile_mismatches.labels("receipt").inc()
            case Happening.DOUBLE_SUSPECTED:
                self._metrics.doubles_suspected.labels(provider).inc()
            case _:
                pass

    def _settlement(
        self,
        job: Job,
        row: ReceiptRow,
        customer: Customer | None,
        status: Status,
        consequence: Step,
        happening: Happening,
        learned: Learned,
        follow: Next,
        failure: dict[str, Any] | None,
        at: datetime,
    ) -> Settlement:
        outcome = learned.outcome
        fiscal = outcome.fiscal if isinstance(outcome, Fiscalized) and consequence.status is Status.FISCALIZED else None
        public = consequence.message is not None
        after = row.changed(
            status=consequence.status.value,
            sequence=row.sequence + 1 if public else row.sequence,
            failure=failure,
            updated_at=at,
            fn=fiscal.fn if fiscal else row.fn,
            fd=fiscal.fd if fiscal else row.fd,
            fpd=fiscal.fpd if fiscal else row.fpd,
            fiscal=_fiscal_json(fiscal, row) if fiscal else row.fiscal,
        )
        message_id = new_id() if public else None
        evidence = _evidence(outcome)
        code, said = _provider_words(outcome)
        return Settlement(
            job_id=job.id,
            lease_token=job.lease_token,
            receipt_id=row.id,
            merchant_id=row.merchant_id,
            chain_id=row.chain_id,
            expected_status=status.value,
            expected_sequence=row.sequence,
            status=after.status,
            sequence=after.sequence,
            failure=None if failure is None else _json(failure),
            fiscal=None if fiscal is None else _json(after.fiscal),
            fn=after.fn if fiscal else None,
            fd=after.fd if fiscal else None,
            fpd=after.fpd if fiscal else None,
            provider_reference=outcome.reference if isinstance(outcome, Accepted | Fiscalized) else None,
            next_kind=None if consequence.follow_up is None else int(FOLLOW_UP[consequence.follow_up]),
            next_seconds=follow.seconds,
            next_attempt=follow.attempt,
            finishes=consequence.status not in BLOCKING,
            attempt_id=learned.attempt_id,
            attempt_kind=learned.kind,
            kassa_id=_required(row.kassa_id),
            provider_id=learned.provider_id or row.provider_id,
            worker=self.worker,
            outcome=_name(outcome),
            cause=outcome.cause if isinstance(outcome, Rejected | Unavailable) else None,
            provider_code=code,
            provider_message=said,
            evidence=_json(evidence),
            exchange=self._sealed(row, learned),
            proves_absent=learned.proves_absent,
            what=happening.value,
            data=_json({"attempt_id": f"att_{learned.attempt_id.hex}", **evidence}),
            message_id=message_id,
            message_type=None if consequence.message is None else consequence.message.value,
            message_body=None
            if consequence.message is None
            else told(consequence.message, after, customer, at, self._links),
            at=at,
            found=_found(outcome),
        )

    def _sealed(self, row: ReceiptRow, learned: Learned) -> bytes | None:
        if not learned.exchanges:
            return None
        text = json_bytes([_exchange_json(one) for one in learned.exchanges])
        return self._box.seal(text, aad("attempts", "exchange", row.merchant_id, learned.attempt_id))


def failure_of(
    outcome: LookupOutcome, happening: Happening, at: datetime, *, was: Status | None = None, **facts: Any
) -> dict[str, Any] | None:
    """The `failure` member for a receipt that was `was` after this outcome; None when nothing is wrong."""
    code, said = _provider_words(outcome)
    words = {"provider_code": code, "provider_message": said, "at": at, **facts}
    match happening:
        case Happening.MISMATCH:
            return failure_json("mismatch", **words)
        case Happening.DOUBLE_SUSPECTED:
            return failure_json("double_suspected", **words)
        case Happening.UNDECIDABLE:
            return failure_json(getattr(outcome, "stuck", None) or "lookup_impossible", **words)
        case Happening.OVERDUE:
            return failure_json("accepted_too_long" if was is Status.ACCEPTED else "lookup_impossible", **words)
        case Happening.NOT_FOUND:
            return failure_json("vanished", **words) if was is Status.ACCEPTED else None
        case _:
            pass
    match outcome:
        case Rejected(cause=cause, pointer=pointer):
            return failure_json(cause, pointer=pointer, **words)
        case Unavailable(cause=cause):
            return failure_json(cause, **words)
        case Unknown() | CannotTell():
            return failure_json("unknown_outcome", **words)
        case _:
            return None


def _status_class(one: Exchange) -> str:
    if one.status is not None:
        return f"{one.status // 100}xx"
    return "not_sent" if (one.error or "").startswith(NotSent.__name__) else "maybe_sent"


def _required(kassa_id: UUID | None) -> UUID:
    if kassa_id is None:
        raise ValueError("a receipt without a kassa cannot have been sent")
    return kassa_id


_NAMES: dict[type[LookupOutcome], str] = {
    Accepted: "accepted",
    Fiscalized: "fiscalized",
    Pending: "pending",
    Rejected: "rejected",
    Unavailable: "unavailable",
    Unknown: "unknown",
    NotFound: "not_found",
    CannotTell: "cannot_tell",
}


def _name(outcome: LookupOutcome) -> str:
    return _NAMES[type(outcome)]


def _provider_words(outcome: LookupOutcome) -> tuple[str | None, str | None]:
    code = getattr(outcome, "provider_code", None)
    said = getattr(outcome, "provider_message", None)
    # A driver takes out the buyer as it knows him; a provider may spell the same phone in its own way.
    return _storable(code), _storable(mask_contacts(said)[:500]) if isinstance(said, str) else None


def _evidence(outcome: LookupOutcome) -> dict[str, Any]:
    """What may be shown of an outcome in the timeline: no body, no contact."""
    found: dict[str, Any] = {"outcome": _name(outcome)}
    match outcome:
        case Fiscalized(fiscal=fiscal, warnings=warnings):
            found |= {"fn": fiscal.fn, "fd": fiscal.fd, "fpd": fiscal.fpd}
            if warnings:
                found["warnings"] = list(warnings)
        case Rejected(cause=cause, pointer=pointer):
            found |= {"cause": cause, "pointer": pointer}
        case Unavailable(cause=cause, scope=scope, provider_message=said):
            found |= {"cause": cause, "scope": scope.value, "detail": said}
        case Unknown(reason=reason):
            found["reason"] = reason
        case CannotTell(reason=reason):
            found["reason"] = reason
        case NotFound(proof=proof):
            found["proof"] = proof
        case _:
            pass
    return found


def _found(outcome: LookupOutcome) -> str | None:
    """What the provider says to have, whole: where it cannot be asked, a late answer is all that will ever be known."""
    match outcome:
        case Accepted() | Fiscalized():
            return _json(found_to_json(outcome))
        case Pending():
            return _json(found_to_json(Accepted()))
        case _:
            return None


def _json(value: Any) -> str:
    try:
        text = json_text(value)
    except ValueError:  # half a surrogate pair
        return json_text(_storable(value))
    return json_text(_storable(value)) if "\\u0000" in text else text


def _storable(value: Any) -> Any:
    """Without what PostgreSQL cannot store (NUL, half a surrogate pair): a provider's odd words must not keep its
    answer from being stored."""
    match value:
        case str():
            return value.replace("\x00", "").encode(errors="replace").decode()
        case dict():
            return {name: _storable(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_storable(inner) for inner in value]
        case _:
            return value


def _fiscal_json(fiscal: FiscalData, row: ReceiptRow) -> dict[str, Any]:
    return {**fiscal_to_json(fiscal), "qr": qr_text(fiscal, Operation.parse(row.operation), row.total)}


def _exchange_json(one: Exchange) -> dict[str, Any]:
    return {
        "method": one.method,
        "url": one.url,
        "request": {"headers": dict(one.request_headers), "body": _text(one.request_body)},
        "response": {"status": one.status, "headers": dict(one.response_headers), "body": _text(one.response_body)},
        "error": one.error,
        "seconds": round(one.seconds, 4),
    }


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return "base64:" + b64encode(body).decode()
