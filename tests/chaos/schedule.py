"""When what is struck: drawn from the seed and printed before the run begins."""

import random
from dataclasses import dataclass

CLOCK_STEP_SECONDS = 300.0
DEAD_SECONDS = 600.0
"""How long an endpoint is dead at most; in a short run a third of it."""


@dataclass(frozen=True, slots=True)
class Strike:
    """At `at` seconds. `number` says which worker or endpoint; `point` is a failpoint that freezes a worker; a clock is
    `seconds` ahead from then on."""

    at: float
    what: str
    number: int = 0
    point: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.at:6.1f} s  {self.what}"
            + (f" {self.number}" if self.what.split()[-1] not in ("api", "database", "over") else "")
            + (f" ({self.point})" if self.point else "")
            + (f" ({self.seconds:+g} s)" if self.what == "step clock" else "")
        )


def schedule(
    seed: str,
    seconds: float,
    *,
    workers: int,
    kill_every: float,
    api_kills: int,
    database_kills: int,
    freezes: int,
    failovers: int = 0,
    clock_steps: bool = False,
    dead_endpoint: int | None = None,
    gone_endpoint: int | None = None,
) -> list[Strike]:
    """Worker kills every `kill_every` seconds, the rest spread over the middle of the run."""
    rng = random.Random(f"{seed}/schedule")
    strikes = []
    if kill_every:
        at = kill_every
        while at < seconds:
            strikes.append(Strike(at, "kill worker", rng.randrange(workers)))
            at += kill_every
    for count, what in ((api_kills, "kill api"), (database_kills, "kill database"), (failovers, "fail over")):
        for number in range(count):
            middle = seconds * (number + 1) / (count + 1)
            strikes.append(Strike(max(1.0, middle + rng.uniform(-1, 1)), what))
    for number in range(freezes):
        at = seconds * (number + 0.5) / freezes
        point = rng.choice(("provider.after_response", "attempt.after_tx1"))
        strikes.append(Strike(at, "freeze worker", rng.randrange(workers)))
        strikes.append(Strike(at + 1, "freeze worker at point", rng.randrange(workers), point))
    if clock_steps:
        which = rng.randrange(workers)
        for share, ahead in ((0.15, CLOCK_STEP_SECONDS), (0.5, -CLOCK_STEP_SECONDS), (0.85, 0.0)):
            strikes.append(Strike(seconds * share, "step clock", which, seconds=ahead))
    if dead_endpoint is not None:
        at = seconds * 0.25
        strikes.append(Strike(at, "endpoint dies", dead_endpoint))
        strikes.append(Strike(at + min(seconds / 3, DEAD_SECONDS), "endpoint revives", dead_endpoint))
    if gone_endpoint is not None:
        strikes.append(Strike(seconds * 0.4, "endpoint answers 410", gone_endpoint))
    return sorted(strikes, key=lambda one: (one.at, one.what))
