"""What every ratio must reach: below its floor the benchmark fails, at its goal it is where it should be."""

from dataclasses import dataclass
from enum import Enum

from benchmarks.figures import Figures, middle


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table. `below` None: the figure itself is judged. `lower`: less is better."""

    code: str
    name: str
    above: str
    below: str | None
    floor: float
    goal: float
    lower: bool = False
    long_only: bool = False


GOALS = (
    Goal("I1", "ingest/echo", "ingest", "echo", 0.5, 1.0),
    Goal("I2", "ingest/ORM ingest", "ingest", "orm", 6.0, 12.0),
    Goal("I3", "lone caller p50/one-CTE p50", "ingest_lone_ms", "cte_lone_ms", 1.5, 1.0, lower=True),
    Goal("I4", "p99 at 8 connections/echo", "ingest_p99_8", "echo_p99_8", 3.0, 1.5, lower=True, long_only=True),
    Goal("I5", "ingest at 256/at 64 connections", "ingest_256", "ingest_64", 0.8, 0.95, long_only=True),
    Goal("J1", "no-op jobs/Procrastinate", "jobs", "jobs_procrastinate", 20.0, 40.0),
    Goal("J2", "no-op jobs/PgQueuer", "jobs", "jobs_pgqueuer", 1.0, 2.0),
    Goal("R1", "receipts/Procrastinate", "receipts", "receipts_procrastinate", 2.0, 6.0),
    Goal("R2", "receipts/PgQueuer", "receipts", "receipts_pgqueuer", 0.8, 1.7),
    Goal("G1", "claim ms grown/empty", "claim_ms_grown", "claim_ms_empty", 1.25, 1.05, lower=True),
    Goal("G2", "slowest receipt search p95, ms", "search_p95_ms", None, 300.0, 50.0, lower=True),
    Goal("G3", "ingest grown/empty", "intake_grown", "intake_empty", 0.6, 0.9),
    Goal("S1", "jobs under a pinned snapshot/without", "pinned_jobs", "unpinned_jobs", 0.6, 0.85),
    Goal("S2", "pinned, last quarter/first", "pinned_last", "pinned_first", 0.6, 0.85),
)


class Verdict(Enum):
    """`VOID`: a count was wrong, so there is no figure. `MISSING`: the leg was not run."""

    GOAL = "GOAL"
    PASS = "PASS"  # noqa: S105
    FAIL = "FAIL"
    VOID = "VOID"
    MISSING = "MISSING"


@dataclass(frozen=True, slots=True)
class Judged:
    """A line of the table with what was measured."""

    goal: Goal
    passes: tuple[float, ...]
    verdict: Verdict

    @property
    def value(self) -> float:
        return middle(self.passes)

    def line(self) -> str:
        """`I1 ingest/echo 1.08 [0.99 1.18] floor 0.5 goal 1.0 PASS`."""
        goal = self.goal
        if not self.passes:
            return f"{goal.code} {goal.name}: {self.verdict.value}"
        passes = " ".join(map(number, self.passes))
        bounds = f"floor {goal.floor:g} goal {goal.goal:g}"
        return f"{goal.code} {goal.name} {number(self.value)} [{passes}] {bounds} {self.verdict.value}"


def judge(figures: Figures, *, long: bool) -> list[Judged]:
    """Every line that belongs to this kind of run."""
    return [_judged(goal, figures) for goal in GOALS if long or not goal.long_only]


def failed(lines: list[Judged]) -> bool:
    """Whether the command fails: a figure is below its floor, or has none because its counts are wrong."""
    return any(line.verdict in (Verdict.FAIL, Verdict.VOID) for line in lines)


def number(value: float) -> str:
    """Three digits that matter."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _judged(goal: Goal, figures: Figures) -> Judged:
    passes = tuple(figures.ratios(goal.above, goal.below))
    if goal.above in figures.broken or goal.below in figures.broken:
        return Judged(goal, passes, Verdict.VOID)
    if not passes:
        return Judged(goal, (), Verdict.MISSING)
    value = middle(passes)
    return Judged(goal, passes, _verdict(goal, value))


def _verdict(goal: Goal, value: float) -> Verdict:
    if goal.lower:
        return Verdict.GOAL if value <= goal.goal else Verdict.PASS if value <= goal.floor else Verdict.FAIL
    return Verdict.GOAL if value >= goal.goal else Verdict.PASS if value >= goal.floor else Verdict.FAIL
