"""`python -m tests.chaos.planted [name …]`: tests the test. Each planted bug must turn a small run red.

At most three seeds a bug; prints which invariants caught it, and ends with exit code 1 when one was not caught.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.chaos.bugs import BUGS
from tests.chaos.harness import Plan
from tests.chaos.run import of_the_run, run

SEEDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.planted", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BUGS)}; all when left out")
    parser.add_argument("--events", type=int, default=300)
    parser.add_argument("--seed", default="planted")
    options = parser.parse_args()
    missed = []
    for name in options.names or list(BUGS):
        what, _ = BUGS[name]
        for number in range(SEEDS):
            caught = asyncio.run(_caught(_plan(name, f"{options.seed}-{number}", options.events)))
            if caught:
                by = ", ".join(f"{invariant} {times}×" for invariant, times in sorted(caught.items()))
                print(f"caught  {name} ({what}) by {by}; seed {number + 1}", flush=True)
                break
        else:
            missed.append(name)
            print(f"MISSED  {name} ({what}) in {SEEDS} seeds", flush=True)
    print(f"{len(options.names or BUGS) - len(missed)} of {len(options.names or BUGS)} caught")
    sys.exit(1 if missed else 0)


def _plan(name: str, seed: str, events: int) -> Plan:
    return Plan(
        seed=seed,
        events=events,
        api_kills=3 if name == "answer_before_commit" else 0,
        database_kills=0,
        freezes=3 if name == "no_lease_fence" else 0,
        kill_every=0 if name == "no_lease_fence" else 3,
        quiet_seconds=20,
        patience_seconds=20,
        bug=name,
    )


async def _run(plan: Plan, folder: Path) -> Counter[str]:
    facts, checker = await run(plan, folder)
    return Counter(one.invariant for one in (*checker.violations, *of_the_run(facts)))


async def _caught(plan: Plan) -> Counter[str]:
    """Invariants broken. What only the harness noticed (clients that gave up, a queue that stays) does not count."""
    with tempfile.TemporaryDirectory(prefix="kassa-chaos-", ignore_cleanup_errors=True) as folder:
        found = await _run(plan, Path(folder))
    found.pop("H", None)
    return found


if __name__ == "__main__":
    main()
