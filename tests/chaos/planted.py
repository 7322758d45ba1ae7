"""`python -m tests.chaos.planted [name …]`: tests the test. Each planted bug must turn a small run red.

At most three seeds a bug; prints which invariants caught it, and ends with exit code 1 when one was not caught.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.chaos.bugs import BUGS
from tests.chaos.harness import Plan
from tests.chaos.run import of_the_run, run

SEEDS = 3

CALM: dict[str, Any] = {
    "events": 200,
    "rate": 40.0,
    "kill_every": 0.0,
    "api_kills": 0,
    "database_kills": 0,
    "freezes": 0,
    "clock_steps": False,
    "endpoint_faults": False,
    "quiet_seconds": 20,
    "patience_seconds": 20,
}
"""Each bug meets the faults that it needs and no others, so that twelve runs take minutes."""

NEEDS: dict[str, dict[str, Any]] = {
    "answer_before_commit": {"api_kills": 3, "events": 300},
    "no_lease_fence": {"freezes": 3, "events": 400},
    "webhook_in_transaction": {"kill_every": 2.0, "events": 300},
    "closed_before_delivery": {"kill_every": 2.0},
    "resend_without_lookup": {"kill_every": 3.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.planted", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BUGS)}; all when left out")
    parser.add_argument("--seed", default="planted")
    options = parser.parse_args()
    names = options.names or list(BUGS)
    wide = max(len(name) for name in names)
    missed = []
    for name in names:
        began = time.monotonic()
        for number in range(1, SEEDS + 1):
            seed = f"{options.seed}-{number}"
            caught = asyncio.run(_caught(Plan(seed=seed, bug=name, **(CALM | NEEDS.get(name, {})))))
            if caught:
                by = ", ".join(f"{invariant} ({times})" for invariant, times in sorted(caught.items()))
                print(
                    f"{name:<{wide}}  caught by {by:<30}  seed {number}  {time.monotonic() - began:4.0f} s", flush=True
                )
                break
        else:
            missed.append(name)
            print(f"{name:<{wide}}  MISSED in {SEEDS} seeds: {BUGS[name][0]}", flush=True)
    print(f"{len(names) - len(missed)} of {len(names)} caught; in brackets: violations")
    sys.exit(1 if missed else 0)


async def _caught(plan: Plan) -> Counter[str]:
    """Invariants broken. What only the harness noticed (clients that gave up, a queue that stays) does not count."""
    with tempfile.TemporaryDirectory(prefix="kassa-chaos-", ignore_cleanup_errors=True) as folder:
        facts, checker = await run(plan, Path(folder))
    found = Counter(one.invariant for one in (*checker.violations, *of_the_run(facts)))
    del found["H"]
    return found


if __name__ == "__main__":
    main()
