"""When what is killed: drawn from the seed and printed before the run begins."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Strike:
    """At `at` seconds: `what` is `kill worker`, `freeze worker`, `freeze worker at point`, `kill api`, `kill database`.

    `number` says which worker; `point` is a failpoint that freezes it.
    """

    at: float
    what: str
    number: int = 0
    point: str = ""

    def __str__(self) -> str:
        return (
            f"{self.at:6.1f} s  {self.what}"
            + (f" {self.number}" if "worker" in self.what else "")
            + (f" ({self.point})" if self.point else "")
        )


def schedule(
    seed: str, seconds: float, *, workers: int, kill_every: float, api_kills: int, database_kills: int, freezes: int
) -> list[Strike]:
    """Worker kills every `kill_every` seconds, the rest spread over the middle of the run."""
    rng = random.Random(f"{seed}/schedule")
    strikes = []
    if kill_every:
        at = kill_every
        while at < seconds:
            strikes.append(Strike(at, "kill worker", rng.randrange(workers)))
            at += kill_every
    for count, what in ((api_kills, "kill api"), (database_kills, "kill database")):
        for number in range(count):
            middle = seconds * (number + 1) / (count + 1)
            strikes.append(Strike(max(1.0, middle + rng.uniform(-1, 1)), what))
    for number in range(freezes):
        at = seconds * (number + 0.5) / freezes
        point = rng.choice(("provider.after_response", "attempt.after_tx1"))
        strikes.append(Strike(at, "freeze worker", rng.randrange(workers)))
        strikes.append(Strike(at + 1, "freeze worker at point", rng.randrange(workers), point))
    return sorted(strikes, key=lambda one: (one.at, one.what))
