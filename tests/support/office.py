"""The pipeline without a database: the same decisions over plain objects, and a provider whose ledger is the truth.

Leases, marks, fences and rescue are those of `app/queue`, in a few lines each; what they decide is decided by the
functions that the program itself calls. Time is a number of seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import count

from app.domain.backoff import poll_delay, retry_delay
from app.domain.decide import (
    Arrival,
    Asked,
    LookupClass,
    LookupMoment,
    Past,
    after_lookup,
    after_poll,
    after_submit,
    before_send,
    class_at,
    from_evidence,
    hindrance,
    lookup_moment,
    may_be_two,
    without_asking,
)
from app.domain.event import EventType, PaymentEvent
from app.domain.ffd import FfdVersion, Operation, PaymentKind, PaymentMethod, PaymentObject, Taxation
from app.domain.lifecycle import BLOCKING, FollowUp, Happening, Status, allowed, step
from app.domain.outcome import (
    Accepted,
    CannotTell,
    Fiscalized,
    LookupOutcome,
    NotFound,
    Rejected,
    Unavailable,
    Unknown,
)
from app.domain.plan import Planned
from app.domain.receipt import Customer, Item, Payment, Receipt
from app.domain.refund import refund_receipt
from app.domain.vat import VatRate
from tests.support.virtual_provider import Document, Provider

FRESHNESS, WIRE, VISIBILITY, LEASE = 5.0, 20.0, 60.0, 120.0
SETTLED_AFTER = FRESHNESS + WIRE + VISIBILITY
LIMIT = 86_400.0
POLLS = (2.0, 5.0, 10.0, 30.0, 60.0, 600.0)
_START = datetime(2026, 11, 23, tzinfo=UTC)
_GO_ON = (
    Happening.CANNOT_TELL,
    Happening.UNAVAILABLE,
    Happening.UNKNOWN,
    Happening.NOT_FOUND_YET,
    Happening.EVIDENCE,
)
_WAITING = (
    Happening.PENDING,
    Happening.ACCEPTED,
    Happening.CANNOT_TELL,
    Happening.UNAVAILABLE,
    Happening.UNKNOWN,
)


@dataclass
class Attempt:
    """One exchange about an id."""

    kind: str
    provider_id: str
    marked_at: float
    finished_at: float | None = None
    outcome: LookupOutcome | None = None
    absent: bool = False


@dataclass
class Order:
    """One receipt."""

    key: str
    amount: int
    sale: "Order | None" = None
    status: Status = Status.QUEUED
    sequence: int = 0
    version: int = 1
    marks: int = 0
    first_marked: float | None = None
    attempts: list[Attempt] = field(default_factory=list)
    told: list[int] = field(default_factory=list)
    refunds: list["Order"] = field(default_factory=list)

    @property
    def provider_id(self) -> str:
        return f"{self.key}/{self.version}"

    @property
    def ids(self) -> list[str]:
        return [f"{self.key}/{n}" for n in range(1, self.version + 1)]

    def past(self, besides: Attempt | None = None) -> Past:
        sent = [
            a
            for a in self.attempts
            if a.kind == "submit" and a.provider_id == self.provider_id and not a.absent and a is not besides
        ]
        return Past(
            sum(not isinstance(a.outcome, Unavailable | Rejected) for a in sent),
            any(isinstance(a.outcome, Accepted | Fiscalized) for a in sent),
        )


@dataclass
class Job:
    """At most one per order."""

    order: Order
    kind: FollowUp
    run_at: float
    attempt: int = 0
    token: int | None = None
    until: float = 0.0
    marked_at: float | None = None


@dataclass
class Task:
    """A worker with a leased job: what it read, and how far it got."""

    job: Job
    token: int
    status: Status
    sequence: int
    attempt: Attempt | None = None
    began: float | None = None
    outcome: LookupOutcome | None = None

    @property
    def order(self) -> Order:
        return self.job.order


@cache
def receipt_of(amount: int, operation: Operation = Operation.SELL) -> Receipt:
    line = Item("Lesson", amount, Decimal(1), amount, VatRate.NONE, PaymentMethod.FULL_PAYMENT, PaymentObject.SERVICE)
    return Receipt(
        operation,
        Taxation.USN_INCOME,
        FfdVersion.V1_2,
        (line,),
        (Payment(PaymentKind.ELECTRONIC, amount),),
        Customer(email="buyer@example.org"),
        "https://shop.example",
        "Europe/Moscow",
        internet=True,
    )


def moment(seconds: float) -> datetime:
    return _START + timedelta(seconds=seconds)


class Office:
    """Orders, jobs and what may be done to them. `say` hears each step, for the history of a failed run."""

    def __init__(self, provider: Provider, say: Callable[[str], None] = lambda _: None) -> None:
        self.provider = provider
        self.orders: dict[str, Order] = {}
        self.jobs: dict[str, Job] = {}
        self.now = 0.0
        self.resent_blindly: list[str] = []
        self._tokens = count(1)
        self._say = say

    def class_of(self, order: Order, ahead: float = 0.0) -> LookupClass:
        since = 0.0 if order.first_marked is None else self.now - order.first_marked + ahead
        return class_at(since, dedup_seconds=self.provider.dedup, lookup_seconds=self.provider.lookup)

    # What sources and people do.

    def submit(self, key: str, amount: int) -> Order:
        """A payment event; the same key again is the same receipt."""
        if key not in self.orders:
            self.orders[key] = order = Order(key, amount)
            self.jobs[key] = Job(order, FollowUp.FISCALIZE, self.now)
        return self.orders[key]

    def refund(self, key: str, sale: Order, amount: int) -> Order | None:
        """A refund event, planned by the program's own rule; None when it would return more than is left."""
        if key in self.orders:
            return self.orders[key]
        gone = (Status.CANCELLED, Status.REJECTED, Status.HELD)
        earlier = [receipt_of(one.amount, Operation.SELL_REFUND) for one in sale.refunds if one.status not in gone]
        event = PaymentEvent(EventType.REFUND_SUCCEEDED, key, amount, _START, payment_id=sale.key)
        if not isinstance(refund_receipt(event, receipt_of(sale.amount), earlier, date(2026, 11, 23)), Planned):
            return None
        self.orders[key] = order = Order(key, amount, sale)
        sale.refunds.append(order)
        self.release(sale)
        return order

    def release(self, sale: Order) -> None:
        """The next receipt of a chain gets its turn when nothing before it blocks."""
        before = [sale]
        for one in sale.refunds:
            if one.status is Status.QUEUED and one.key not in self.jobs:
                if any(earlier.status in BLOCKING for earlier in before):
                    return
                if sale.status is Status.FISCALIZED:
                    self.jobs[one.key] = Job(one, FollowUp.FISCALIZE, self.now)
                else:
                    self._move(one, Happening.SALE_NOT_FISCALIZED)
            before.append(one)

    def hint(self, order: Order) -> None:
        """A callback: what is to be asked is asked now."""
        job = self.jobs.get(order.key)
        if job is not None and job.token is None and job.kind is not FollowUp.FISCALIZE:
            job.run_at = min(job.run_at, self.now)

    def cancel(self, order: Order) -> bool:
        if Happening.CANCELLED not in allowed(order.status):
            return False
        past, job = order.past(), self.jobs.get(order.key)
        if order.status is Status.QUEUED:
            if past.unproven or past.evidence or (job is not None and job.marked_at is not None):
                return False
            self.jobs.pop(order.key, None)
        self._finish(order, Happening.CANCELLED)
        return True

    def correct(self, order: Order) -> None:
        """A refused receipt goes out as a new version."""
        order.version += 1
        self._finish(order, Happening.CORRECTED)

    def resolve(self, order: Order, happening: Happening) -> None:
        job = self.jobs.get(order.key)
        if job is not None and job.marked_at is None:
            del self.jobs[order.key]
        if happening is Happening.RESOLVED_SEND_AGAIN:
            for one in order.attempts:
                one.absent = one.absent or one.kind == "submit"
        self._finish(order, happening)

    def _finish(self, order: Order, happening: Happening) -> None:
        after = self._move(order, happening)
        if after is not None and order.key not in self.jobs:
            self.jobs[order.key] = Job(order, after, self.now)
        self.release(order.sale or order)

    # What workers do.

    def due(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.token is None and job.run_at <= self.now]

    def claim(self, job: Job) -> Task:
        job.token, job.until, job.attempt = next(self._tokens), self.now + LEASE, job.attempt + 1
        self._say(f"claim {job.kind.value} {job.order.key}")
        return Task(job, job.token, job.order.status, job.order.sequence)

    def begin(self, task: Task, *, lookup_fails: bool = False) -> bool:
        """Before the first byte. False: the task has ended; True: a request is to be sent (a submit is marked)."""
        order, job = task.order, task.job
        wanted = {
            FollowUp.FISCALIZE: Status.QUEUED,
            FollowUp.POLL: Status.ACCEPTED,
            FollowUp.RECONCILE: Status.UNKNOWN,
        }[job.kind]
        task.status, task.sequence, task.began = order.status, order.sequence, self.now
        if order.status is not wanted:
            self._drop(task)
            return False
        if job.kind is not FollowUp.FISCALIZE:
            cls = self.class_of(order, ahead=WIRE)
            if job.kind is FollowUp.RECONCILE and not cls.looks_up:
                happening = without_asking(cls, order.past(), overdue=self._overdue(order))
                outcome: LookupOutcome = Unknown("cannot be asked")
                if happening is Happening.EVIDENCE:
                    last = self._class_of_last_send(order)
                    outcome, happening = from_evidence(self._arrivals(order), receipt_of(order.amount), last)
                    self._say(f"adopts {order.key}: {happening.value}")
                self.settle(task, happening, "decision", outcome, self._retry(job))
                return False
            return True
        if (order.marks or order.version > 1) and not self._may_send(task, lookup_fails):
            return False
        return self._mark(task)

    def _may_send(self, task: Task, lookup_fails: bool) -> bool:
        order = task.order
        cls = self.class_of(order, ahead=WIRE + FRESHNESS)
        found = hindrance(cls, order.past())
        if found is not None:
            self.settle(task, found, "decision", Unknown("unproven"), 0.0)
            return False
        for provider_id in order.ids[:-1]:
            tried = [a for a in order.attempts if a.kind == "submit" and a.provider_id == provider_id]
            if all(a.absent for a in tried):
                continue
            if not cls.looks_up:
                self.settle(task, Happening.UNDECIDABLE, "decision", CannotTell("cannot be asked"), 0.0)
                return False
            outcome = CannotTell("failed") if lookup_fails else self.provider.asked(provider_id, self.now)
            happening = before_send(outcome, present=False)
            if happening is Happening.CANNOT_TELL:
                task.job.token, task.job.run_at = None, self.now + self._retry(task.job)
                return False
            if happening is not None:
                self.settle(task, happening, "lookup", outcome, 0.0)
                return False
        return True

    def _mark(self, task: Task) -> bool:
        order, job = task.order, task.job
        mine = self.jobs.get(order.key) is job and job.token == task.token
        if not mine or job.until <= self.now or job.marked_at is not None or order.status is not Status.QUEUED:
            return False
        if order.past().unproven and not self.class_of(order).deduplicates:
            self.resent_blindly.append(order.key)
        job.marked_at, job.until = self.now, self.now + WIRE + FRESHNESS + 10.0
        order.status = step(order.status, Happening.MARKED).status
        order.marks += 1
        order.first_marked = self.now if order.first_marked is None else order.first_marked
        task.status = order.status
        task.attempt = Attempt("submit", order.provider_id, self.now)
        order.attempts.append(task.attempt)
        self._say(f"mark {order.provider_id}")
        return True

    def fresh(self, task: Task) -> bool:
        """Whether the transport would still write the first byte."""
        return task.began is not None and self.now - task.began <= FRESHNESS

    def answer(self, task: Task, outcome: LookupOutcome) -> None:
        """What the request brought, judged and stored."""
        order, job = task.order, task.job
        assert task.began is not None
        if task.attempt is not None:
            assert not isinstance(outcome, NotFound | CannotTell)
            cls = self.class_of(order)
            happening = after_submit(outcome, receipt_of(order.amount), cls, order.past(besides=task.attempt))
            seconds = {
                Happening.ACCEPTED: POLLS[0],
                Happening.UNAVAILABLE: self._retry(job),
            }.get(happening, 2.0)
            self.settle(task, happening, "submit", outcome, seconds)
            return
        asked = self._last_asked(order)
        if job.kind is FollowUp.POLL:
            at = LookupMoment(visible=True, confirmed=asked is not None and asked.absent)
            happening = after_poll(outcome, receipt_of(order.amount), at)
            if happening in _WAITING and self._overdue(order):
                happening = Happening.OVERDUE
            self.settle(task, happening, "poll", outcome, poll_delay(POLLS, job.attempt))
            return
        marks = [a.marked_at for a in order.attempts if a.kind == "submit" and a.provider_id == order.provider_id]
        last = moment(marks[-1]) if marks else None
        at = lookup_moment(last, asked, moment(task.began), settled_after=SETTLED_AFTER, visibility=VISIBILITY)
        happening = after_lookup(outcome, receipt_of(order.amount), self.class_of(order), order.past(), at)
        if happening in _GO_ON and self._overdue(order):
            happening = Happening.OVERDUE
        seconds = self._retry(job)
        if happening is Happening.NOT_FOUND_YET:
            seconds = max(marks[-1] + SETTLED_AFTER - task.began, VISIBILITY if at.visible else 0.0)
        self.settle(task, happening, "lookup", outcome, seconds)

    def settle(self, task: Task, happening: Happening, kind: str, outcome: LookupOutcome, seconds: float) -> None:
        """T4: what was learned is stored; state moves only for the holder of the lease."""
        order, job = task.order, task.job
        attempt = task.attempt or Attempt(kind, order.provider_id, self.now)
        if task.attempt is None:
            order.attempts.append(attempt)
        attempt.finished_at, attempt.outcome = self.now, outcome
        if isinstance(outcome, Accepted | Fiscalized):
            attempt.absent = False
        mine = self.jobs.get(order.key) is job and job.token == task.token
        if not mine or (order.status, order.sequence) != (task.status, task.sequence):
            self._say(f"stale {type(outcome).__name__} {order.key}")
            if kind == "submit" and isinstance(outcome, Accepted | Fiscalized):
                self._evidence(order)
            return
        self._say(f"{happening.value} {order.key} by {type(outcome).__name__}")
        if happening is Happening.NOT_FOUND:
            for one in order.attempts:
                one.absent = one.absent or (one.kind == "submit" and one.provider_id == order.provider_id)
        after = self._move(order, happening)
        if after is None:
            del self.jobs[order.key]
        else:
            if happening is Happening.NOT_FOUND or (after is not job.kind and self.provider.lookup != 0):
                job.attempt = 0
            job.kind, job.run_at, job.token, job.marked_at = after, self.now + seconds, None, None
        if order.status not in BLOCKING:
            self.release(order.sale or order)

    def rescue(self) -> None:
        """Leases that ran out: unmarked runs again, marked is looked up."""
        for job in self.jobs.values():
            if job.token is None or job.until >= self.now:
                continue
            self._say(f"rescue {job.order.key}")
            if job.marked_at is not None:
                job.kind, job.attempt = FollowUp.RECONCILE, 0
                if job.order.status is Status.SENDING:
                    self._move(job.order, Happening.LEASE_LOST)
            job.token, job.marked_at, job.run_at = None, None, self.now

    def _evidence(self, order: Order) -> None:
        job = self.jobs.get(order.key)
        match order.status:
            case Status.SENDING | Status.FISCALIZED:
                return
            case Status.ACCEPTED | Status.UNKNOWN if may_be_two(self._arrivals(order), self._class_of_last_send(order)):
                self.jobs.pop(order.key, None)
                self._move(order, Happening.DOUBLE_SUSPECTED)
                return
            case Status.ACCEPTED | Status.UNKNOWN:
                self.hint(order)
                return
            case _:
                pass
        if job is not None and job.marked_at is not None:
            return
        self._say(f"evidence for {order.key}, {order.status.value}")
        self.jobs[order.key] = Job(order, FollowUp.RECONCILE, self.now)
        self._move(order, Happening.EVIDENCE)

    def _arrivals(self, order: Order) -> list[Arrival]:
        return [
            Arrival(one.outcome, one.kind == "submit")
            for one in order.attempts
            if isinstance(one.outcome, Accepted | Fiscalized)
            and one.provider_id == order.provider_id
            and not one.absent
        ]

    def _class_of_last_send(self, order: Order) -> LookupClass:
        marks = [a.marked_at for a in order.attempts if a.kind == "submit" and a.provider_id == order.provider_id]
        since = marks[-1] - (order.first_marked or marks[-1]) if marks else 0.0
        return class_at(since, dedup_seconds=self.provider.dedup, lookup_seconds=self.provider.lookup)

    def _move(self, order: Order, happening: Happening) -> FollowUp | None:
        after = step(order.status, happening)
        order.status = after.status
        if after.message is not None:
            order.sequence += 1
            order.told.append(order.sequence)
        return after.follow_up

    def _drop(self, task: Task) -> None:
        if self.jobs.get(task.order.key) is task.job and task.job.token == task.token:
            del self.jobs[task.order.key]

    def _last_asked(self, order: Order) -> Asked | None:
        for one in reversed(order.attempts):
            if one.kind in ("lookup", "poll") and one.provider_id == order.provider_id and one.finished_at is not None:
                return Asked(moment(one.finished_at), isinstance(one.outcome, NotFound))
        return None

    def _overdue(self, order: Order) -> bool:
        return order.first_marked is not None and self.now - order.first_marked > LIMIT

    def _retry(self, job: Job) -> float:
        return retry_delay(job.attempt, 0.5, base=5.0, cap=600.0)

    # What must hold.

    def printed(self, order: Order) -> list[Document]:
        return [one for key in order.ids for one in self.provider.under(key) if one.state != "failed"]

    def check(self) -> None:
        """At every moment."""
        for order in self.orders.values():
            printed = self.printed(order)
            assert len(printed) <= 1, f"{order.key} was printed {len(printed)} times"
            assert order.told == list(range(1, order.sequence + 1)), f"{order.key}: the sequence has gaps {order.told}"
            if order.status is Status.FISCALIZED:
                assert len(printed) == 1, f"{order.key} is fiscalized, and nothing was printed"
            for refund in printed if order.sale is not None else ():
                sold = [one for one in self.printed(order.sale) if one.at <= refund.at]
                assert sold, f"{order.key} was printed before its sale"
            back = sum(one.amount for refund in order.refunds for one in self.printed(refund))
            assert back <= order.amount, f"more was returned of {order.key} than was sold"
        assert not self.resent_blindly, f"sent again without a proof: {self.resent_blindly}"

    def check_ended(self) -> None:
        """When nothing is left to do."""
        self.check()
        for order in self.orders.values():
            if order.status in (Status.FISCALIZED, Status.NEEDS_ATTENTION):
                continue
            if order.status is Status.QUEUED and order.sale is not None:
                assert any(one.status is Status.NEEDS_ATTENTION for one in (order.sale, *order.sale.refunds)), (
                    f"{order.key} waits for nothing"
                )
                continue
            assert order.status in (Status.REJECTED, Status.CANCELLED, Status.HELD), f"{order.key}: {order.status}"
            assert not self.printed(order), f"{order.key} is {order.status.value}, and a document exists"
