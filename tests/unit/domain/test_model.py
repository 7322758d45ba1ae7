"""Every order of submits, faults, deaths, freezes, hints and people that hypothesis thinks of, over the pure core."""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.domain.lifecycle import FollowUp, Happening, Status
from app.domain.outcome import CannotTell, LookupOutcome, Scope, Unavailable, Unknown
from tests.support.office import VISIBILITY, WIRE, Office, Order, Task
from tests.support.virtual_provider import Provider

CLASSES = {
    "A": (None, None),
    "A for an hour, B for a day": (3600.0, 86_400.0),
    "B": (0.0, None),
    "B for a day": (0.0, 86_400.0),
    "C": (None, 0.0),
    "C for an hour": (3600.0, 0.0),
    "D": (0.0, 0.0),
}
FAULTS = ("none", "none", "refused", "not_sent", "request_lost", "answer_lost", "late", "busy")
LATE = WIRE - 1
PICK = st.integers(0, 63)


class Receipts(RuleBasedStateMachine):
    """Each rule is one step of somebody; the provider's ledger says what really happened."""

    @initialize(name=st.sampled_from(sorted(CLASSES)), at_once=st.booleans())
    def open(self, name: str, at_once: bool) -> None:
        dedup, lookup = CLASSES[name]
        self.office = Office(Provider(dedup, lookup, at_once))
        self.working: list[Task] = []
        self.underway: list[tuple[float, Order, str]] = []
        self.events = 0

    # Sources.

    @precondition(lambda self: len(self.office.orders) < 6)
    @rule(amount=st.integers(1, 3))
    def submit(self, amount: int) -> None:
        self.events += 1
        self.office.submit(f"sale-{self.events}", amount * 100)

    @precondition(lambda self: self.office.orders)
    @rule(which=PICK)
    def duplicate(self, which: int) -> None:
        order = self._order(which)
        before = len(self.office.orders), len(self.office.jobs)
        if order.sale is None:
            self.office.submit(order.key, order.amount)
        else:
            self.office.refund(order.key, order.sale, order.amount)
        assert (len(self.office.orders), len(self.office.jobs)) == before

    @precondition(lambda self: self.office.orders)
    @rule(which=PICK, amount=st.integers(1, 3))
    def refund(self, which: int, amount: int) -> None:
        sale = self._order(which)
        if sale.sale is None and len(sale.refunds) < 3:
            self.events += 1
            self.office.refund(f"refund-{self.events}", sale, amount * 100)

    # Workers: a whole job, or one half of it at a time, so that everything else may happen in between.

    @precondition(lambda self: self.office.due())
    @rule(which=PICK, fault=st.sampled_from(FAULTS), shows_after=st.sampled_from((0.0, VISIBILITY)))
    def work(self, which: int, fault: str, shows_after: float) -> None:
        task = self._claim(which)
        if self.office.begin(task):
            self.office.answer(task, self._wire(task, fault, shows_after))

    @precondition(lambda self: self.office.due() and len(self.working) < 4)
    @rule(which=PICK)
    def claim(self, which: int) -> None:
        self.working.append(self._claim(which))

    @precondition(lambda self: any(task.began is None and task.outcome is None for task in self.working))
    @rule(which=PICK, lookup_fails=st.booleans())
    def mark(self, which: int, lookup_fails: bool) -> None:
        waiting = [task for task in self.working if task.began is None and task.outcome is None]
        task = waiting[which % len(waiting)]
        if not self.office.begin(task, lookup_fails=lookup_fails):
            self.working.remove(task)

    @precondition(lambda self: any(task.began is not None and task.outcome is None for task in self.working))
    @rule(which=PICK, fault=st.sampled_from(FAULTS), shows_after=st.sampled_from((0.0, VISIBILITY)))
    def send(self, which: int, fault: str, shows_after: float) -> None:
        waiting = [task for task in self.working if task.began is not None and task.outcome is None]
        task = waiting[which % len(waiting)]
        task.outcome = self._wire(task, fault, shows_after)

    @precondition(lambda self: any(task.outcome is not None for task in self.working))
    @rule(which=PICK)
    def settle(self, which: int) -> None:
        waiting = [task for task in self.working if task.outcome is not None]
        task = waiting[which % len(waiting)]
        self.working.remove(task)
        assert task.outcome is not None
        self.office.answer(task, task.outcome)

    @precondition(lambda self: self.working)
    @rule(which=PICK)
    def crash(self, which: int) -> None:
        """Dies wherever it is: before the mark, after it, after the answer."""
        self.working.pop(which % len(self.working))

    # The world.

    @rule(seconds=st.sampled_from((0.5, 4.0, 6.0, 30.0, 61.0, 90.0, 130.0, 600.0, 3_700.0, 90_000.0)))
    def time_passes(self, seconds: float) -> None:
        """Whoever works meanwhile was frozen; leases that ran out are rescued."""
        self.office.now += seconds
        for at, order, provider_id in [one for one in self.underway if one[0] <= self.office.now]:
            self.office.provider.arrives(provider_id, order.amount, at)
        self.underway = [one for one in self.underway if one[0] > self.office.now]
        self.office.rescue()

    @precondition(lambda self: any(one.state == "queued" for one in self.office.provider.ledger))
    @rule(which=PICK, well=st.booleans())
    def provider_finishes(self, which: int, well: bool) -> None:
        waiting = [one for one in self.office.provider.ledger if one.state == "queued"]
        waiting[which % len(waiting)].state = "done" if well else "failed"

    @precondition(lambda self: self.office.orders)
    @rule(which=PICK)
    def callback(self, which: int) -> None:
        self.office.hint(self._order(which))

    # People.

    @precondition(lambda self: self.office.orders)
    @rule(which=PICK)
    def cancel(self, which: int) -> None:
        order = self._order(which)
        if self.office.cancel(order):
            assert not self.office.printed(order) or order.status is not Status.CANCELLED

    @precondition(lambda self: any(one.status is Status.REJECTED for one in self.office.orders.values()))
    @rule(which=PICK)
    def correct(self, which: int) -> None:
        refused = [one for one in self.office.orders.values() if one.status is Status.REJECTED]
        order = refused[which % len(refused)]
        if order.sale is None and order.version < 3:
            self.office.correct(order)

    @precondition(lambda self: any(self._for_a_person(one) for one in self.office.orders.values()))
    @rule(which=PICK, again=st.booleans())
    def resolve(self, which: int, again: bool) -> None:
        """A person who looks into the provider's cabinet first, and not while something may still be on its way."""
        waiting = [one for one in self.office.orders.values() if self._for_a_person(one)]
        self._decide(waiting[which % len(waiting)], again)

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "office"):
            self.office.check()

    def teardown(self) -> None:
        """No more faults, and nobody interferes: everything ends, or is in a person's hands."""
        if not hasattr(self, "office"):
            return
        self.working.clear()
        for _ in range(2_000):
            self.time_passes(40.0)
            for one in self.office.provider.ledger:
                one.state = "done" if one.state == "queued" else one.state
            for job in self.office.due():
                task = self.office.claim(job)
                if self.office.begin(task):
                    self.office.answer(task, self._wire(task, "none", 0.0))
            self.office.check()
            if not self.office.jobs and not self.underway:
                break
            if self.office.jobs:
                soonest = min(job.run_at if job.token is None else job.until for job in self.office.jobs.values())
                self.office.now = max(self.office.now, soonest - 40.0)
        assert not self.office.jobs, "some receipts never end"
        self.office.check_ended()

    def _claim(self, which: int) -> Task:
        due = self.office.due()
        return self.office.claim(due[which % len(due)])

    def _order(self, which: int) -> Order:
        orders = list(self.office.orders.values())
        return orders[which % len(orders)]

    def _for_a_person(self, order: Order) -> bool:
        return (
            order.status is Status.NEEDS_ATTENTION
            and not any(task.order is order for task in self.working)
            and not any(one is order for _, one, _ in self.underway)
            and not any(one.state == "queued" for key in order.ids for one in self.office.provider.under(key))
        )

    def _decide(self, order: Order, again: bool) -> None:
        if self.office.printed(order):
            self.office.resolve(order, Happening.RESOLVED_FOUND)
        elif again and not self.office.provider.under(order.provider_id):
            self.office.resolve(order, Happening.RESOLVED_SEND_AGAIN)
        else:
            self.office.resolve(order, Happening.RESOLVED_ABANDON)

    def _wire(self, task: Task, fault: str, shows_after: float) -> LookupOutcome:
        """The exchange, with one of the faults of the wire or of the provider."""
        office, order = self.office, task.order
        if task.attempt is None:
            if fault in ("request_lost", "answer_lost", "late", "not_sent", "busy"):
                return CannotTell("failed", Scope.PROVIDER)
            if task.job.kind is FollowUp.POLL:
                return office.provider.polled(order.provider_id)
            return office.provider.asked(order.provider_id, office.now)
        if not office.fresh(task):
            return Unavailable("stale")
        provider_id = task.attempt.provider_id
        match fault:
            case "not_sent" | "busy":
                return Unavailable("wire_not_sent" if fault == "not_sent" else "busy")
            case "request_lost":
                return Unknown("no answer")
            case "late":
                self.underway.append((office.now + LATE, order, provider_id))
                return Unknown("no answer")
            case "answer_lost":
                office.provider.arrives(provider_id, order.amount, office.now, shows_after)
                return Unknown("no answer")
            case _:
                return office.provider.arrives(
                    provider_id, order.amount, office.now, shows_after, refuse=fault == "refused"
                )


def test_nothing_is_printed_twice_or_lost_whatever_happens_in_whatever_order() -> None:
    """KASSA_TEST_EXAMPLES: more than the everyday number, for a long run."""
    examples = int(os.environ.get("KASSA_TEST_EXAMPLES", "300"))
    run_state_machine_as_test(
        Receipts,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            derandomize=examples <= 300,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
