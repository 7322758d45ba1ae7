"""What a leg hands back: rates by pass, figures that are only told, and checks; all of them plain values."""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Figures:
    """Grows while a run goes on. `values[name]` has one entry per pass; `told` is printed and judged by nobody."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    told: dict[str, str] = field(default_factory=dict)
    checks: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.values[name].append(value)

    def check(self, name: str, expected: object, found: object, what: str) -> None:
        """A count that must be right; a wrong one voids every ratio in which `name` takes part."""
        said = f"{name}: {what}: expected {expected}, found {found}"
        if expected == found:
            self.checks.append(said)
        else:
            self.broken.setdefault(name, said)

    def ratios(self, above: str, below: str | None) -> list[float]:
        """One per pass: the first by the second, or the figure itself."""
        mine = self.values.get(above, [])
        if below is None:
            return list(mine)
        theirs = self.values.get(below, [])
        return [a / b for a, b in zip(mine, theirs, strict=False) if b > 0]


def middle(values: Sequence[float]) -> float:
    """Of two passes the geometric mean, of more the median."""
    if len(values) == 2 and all(value > 0 for value in values):
        return math.sqrt(values[0] * values[1])
    return statistics.median(values)


def spread(values: Sequence[float]) -> float:
    """By which part the greatest is above the smallest."""
    return max(values) / min(values) - 1 if values and min(values) > 0 else 0.0
