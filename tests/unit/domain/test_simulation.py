"""Three virtual workers, a wire that loses things and days of virtual time, over the same decision core; one seed is
one history, and a seed that fails is printed with it."""

import heapq
import os
import random
from collections import Counter
from collections.abc import Callable
from itertools import count

import pytest

from app.domain.decide import Past
from app.domain.lifecycle import FollowUp, Happening, Status
from app.domain.outcome import CannotTell, LookupOutcome, Scope, Unavailable, Unknown
from tests.support import office as core
from tests.support.office import VISIBILITY, WIRE, Office, Order, Task
from tests.support.virtual_provider import Provider

HOUR = 3600.0
_LAST_EVENT = 600.0
WORKERS = 3
PROVIDERS = ((None, None), (HOUR, 24 * HOUR), (0.0, 24 * HOUR), (0.0, None), (HOUR, 0.0), (None, 0.0), (0.0, 0.0))


class Simulation:
    """Everything that happens is an entry of one heap, drawn from one generator."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.history: list[str] = []
        dedup, lookup = PROVIDERS[seed % len(PROVIDERS)]
        self.office = Office(Provider(dedup, lookup, self.rng.random() < 0.5), self._say)
        self.heap: list[tuple[float, int, Callable[[], object]]] = []
        self.order_of_entries = count()
        self.trouble = self.rng.choice((0.1, 0.3, 0.6))
        self.calm_from = self.rng.choice((0.5, 3.0, 30.0)) * HOUR
        self.paused_until = 0.0
        self.seen: Counter[str] = Counter()

    def run(self) -> None:
        """From the first payment until nothing is left to do."""
        for number in range(self.rng.randint(2, 5)):
            self.at(self.rng.random() * 300.0, self._payment(number))
        for _ in range(WORKERS):
            self.at(self.rng.random(), self._look_for_work)
        self.at(5.0, self._rescue)
        while self.heap:
            at, _, action = heapq.heappop(self.heap)
            self.office.now = max(self.office.now, at)
            said = len(self.history)
            action()
            if len(self.history) > said:
                self.office.check()
            assert self.office.now < 60 * 24 * HOUR, "some receipts never end"
        self.office.check_ended()

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        heapq.heappush(self.heap, (self.office.now + seconds, next(self.order_of_entries), action))

    @property
    def calm(self) -> bool:
        return self.office.now >= self.calm_from

    @property
    def open(self) -> bool:
        """Payments may still come."""
        return self.office.now < self.calm_from + _LAST_EVENT

    def troubled(self) -> bool:
        return not self.calm and self.rng.random() < self.trouble

    def _payment(self, number: int) -> Callable[[], None]:
        def happen() -> None:
            sale = self.office.submit(f"sale-{number}", 100 * self.rng.randint(1, 3))
            if self.rng.random() < 0.4:
                self.at(self.rng.random() * _LAST_EVENT, lambda: self._refund(f"back-{number}", sale))
            if self.rng.random() < 0.3 and not self.calm:
                self.at(self.rng.random() * _LAST_EVENT, happen)

        return happen

    def _refund(self, key: str, sale: Order) -> None:
        self.office.refund(key, sale, 100)

    def _rescue(self) -> None:
        self.office.rescue()
        if self.office.jobs or self.open:
            soonest = min((job.until for job in self.office.jobs.values() if job.token is not None), default=0.0)
            self.at(max(5.0, soonest - self.office.now + 0.1 if soonest else 300.0), self._rescue)

    # One worker: claim, mark, send, settle, with a pause of any length after each.

    def _look_for_work(self) -> None:
        due = self.office.due() if self.office.now >= self.paused_until else []
        if not due:
            if self.office.jobs or self.open:
                waiting = [job.run_at for job in self.office.jobs.values() if job.token is None]
                soonest = max(min(waiting, default=0.0), self.paused_until) - self.office.now
                self.at(max(soonest, 1.0 if waiting else 300.0), self._look_for_work)
            return
        if self.troubled() and self.rng.random() < 0.05:
            # The lane is paused for as long as it takes windows to close.
            self.paused_until = self.office.now + self.rng.choice((0.5, 2.0, 26.0)) * HOUR
            self._say(f"paused until {self.paused_until:.0f}")
        task = self.office.claim(self.rng.choice(due))
        self._later(task, lambda: self._begin(task))

    def _begin(self, task: Task) -> None:
        if self.office.begin(task, lookup_fails=self.troubled()):
            self._later(task, lambda: self._send(task))
        else:
            self.at(0.01, self._look_for_work)

    def _send(self, task: Task) -> None:
        task.outcome = self._wire(task)
        self._later(task, lambda: self._settle(task))

    def _settle(self, task: Task) -> None:
        assert task.outcome is not None
        self.office.answer(task, task.outcome)
        self.at(0.01, self._look_for_work)

    def _later(self, task: Task, action: Callable[[], None]) -> None:
        """Usually at once; sometimes the worker dies, or is stopped for longer than any lease and wakes up again."""
        if self.troubled():
            fate = self.rng.random()
            if fate < 0.25:
                self._say(f"dies with {task.order.key}")
                self.seen["death"] += 1
                self.at(5.0, self._look_for_work)
                return
            if fate < 0.5:
                frozen = self.rng.choice((3.0, 8.0, 100.0, 400.0, 4_000.0))
                self._say(f"frozen for {frozen:.0f} with {task.order.key}")
                self.seen["freeze"] += 1
                self.at(frozen, action)
                return
        self.at(self.rng.random() * 0.2, action)

    def _wire(self, task: Task) -> LookupOutcome:
        office, order = self.office, task.order
        if task.attempt is None:
            if self.troubled():
                return CannotTell("failed", Scope.PROVIDER)
            if task.job.kind is FollowUp.POLL:
                return office.provider.polled(order.provider_id)
            return office.provider.asked(order.provider_id, office.now)
        if not office.fresh(task):
            self.seen["not fresh"] += 1
            return Unavailable("stale")
        provider_id = task.attempt.provider_id
        if not self.troubled():
            return self._arrive(order, provider_id, refuse=self.troubled())
        match self.rng.randrange(5):
            case 0:
                return Unavailable("wire_not_sent")
            case 1:
                return Unknown("lost on the way there")
            case 2:
                self._arrive(order, provider_id)
                return Unknown("lost on the way back")
            case 3:
                self.at(self.rng.random() * (WIRE - 0.1), lambda: self._arrive(order, provider_id))
                return Unknown("still on its way")
            case _:
                return self._arrive(order, provider_id, refuse=True)

    def _arrive(self, order: Order, provider_id: str, *, refuse: bool = False) -> LookupOutcome:
        before = len(self.office.provider.ledger)
        hidden_for = self.rng.choice((0.0, 1.0, VISIBILITY - 0.1))
        outcome = self.office.provider.arrives(provider_id, order.amount, self.office.now, hidden_for, refuse=refuse)
        if len(self.office.provider.ledger) > before:
            self._say(f"printed {provider_id}, hidden for {hidden_for:.0f}")
            document = self.office.provider.ledger[-1]
            if document.state == "queued":
                fails = not self.calm and self.rng.random() < 0.1

                def finish() -> None:
                    document.state = "failed" if fails else "done"
                    if self.rng.random() < 0.5:
                        self.office.hint(order)

                self.at(self.rng.choice((1.0, 30.0, 5_000.0)), finish)
        return outcome

    def _say(self, what: str) -> None:
        self.history.append(f"{self.office.now if hasattr(self, 'office') else 0.0:12.2f}  {what}")


def test_thousands_of_seeds_without_a_double_or_a_loss() -> None:
    """KASSA_TEST_SEEDS: more than the everyday number; KASSA_TEST_FIRST_SEED: where to begin."""
    first = int(os.environ.get("KASSA_TEST_FIRST_SEED", "0"))
    number = int(os.environ.get("KASSA_TEST_SEEDS", "2000"))
    ends: Counter[Status] = Counter()
    seen: Counter[str] = Counter()
    for seed in range(first, first + number):
        ends += _history_of(seed, seen)
    assert ends[Status.FISCALIZED] > number, "most payments get their receipt in spite of everything"
    assert ends[Status.NEEDS_ATTENTION], "without a look-up and without deduplication a person is asked"
    assert min(seen[what] for what in ("death", "freeze", "not fresh", "stale", "evidence")) > 0, seen


def _histories(number: int) -> None:
    for seed in range(number):
        _history_of(seed, Counter())


def _history_of(seed: int, seen: Counter[str]) -> Counter[Status]:
    simulation = Simulation(seed)
    try:
        simulation.run()
    except Exception as wrong:
        pytest.fail(f"seed {seed}: {wrong!r}\n" + "\n".join(simulation.history[-80:]), pytrace=False)
    seen += simulation.seen
    seen["stale"] += sum("  stale " in line for line in simulation.history)
    seen["evidence"] += sum("  evidence " in line for line in simulation.history)
    return Counter(order.status for order in simulation.office.orders.values())


def _resend_whatever_the_window(cls: object, past: Past) -> None:
    return None


def _absent_at_once(*_: object, **__: object) -> core.LookupMoment:
    return core.LookupMoment(visible=True, confirmed=True)


def _refusal_is_final(outcome: object, receipt: object, cls: core.LookupClass, past: Past) -> Happening:
    return _AFTER_SUBMIT(outcome, receipt, cls, Past())  # type: ignore[arg-type]


_AFTER_SUBMIT = core.after_submit


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("hindrance", _resend_whatever_the_window),
        ("lookup_moment", _absent_at_once),
        ("after_submit", _refusal_is_final),
    ],
)
def test_the_simulation_sees_a_planted_mistake(
    name: str, wrong: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, name, wrong)
    with pytest.raises(pytest.fail.Exception, match=r"printed|a document exists"):
        _histories(2_000)
