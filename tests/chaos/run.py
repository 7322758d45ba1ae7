"""`python -m tests.chaos.run`: attack the promise "every acknowledged payment has exactly one fiscal document".

Prints the seed and the schedule first, then what happened; exit code 1 when any invariant is broken.
"""

import argparse
import asyncio
import secrets
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.chaos import report
from tests.chaos.checker import Checker, Violation, collect
from tests.chaos.harness import Facts, Harness, Plan

SHOWN = 12
"""Violations on the console; the page has more."""


def main() -> None:
    options = _options()
    plan = _plan(options)
    print(f"seed {plan.seed}: {plan.events} events at {plan.rate:g}/s against class {plan.letter}", flush=True)
    for strike in plan.strikes():
        print(f"  {strike}")
    print(flush=True)
    folder = Path(options.keep or tempfile.mkdtemp(prefix="kassa-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    # A harness that is ended still ends what it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    facts, checker = asyncio.run(run(plan, folder))
    violations = [*checker.violations, *of_the_run(facts)]
    seconds = time.monotonic() - began
    print(report.console(plan, facts, checker, violations, seconds))
    for one in violations[:SHOWN]:
        print(one)
    if len(violations) > SHOWN:
        print(f"… and {len(violations) - SHOWN} more")
    if options.report:
        Path(options.report).write_text(report.markdown(plan, facts, checker, violations, seconds))
        print(f"Report: {options.report}")
    if violations:
        print(f"RED: {len(violations)} violations. Logs and database: {folder}. Again: {report.command(plan)}")
        sys.exit(1)
    print("GREEN")
    if not options.keep:
        shutil.rmtree(folder, ignore_errors=True)


async def run(plan: Plan, folder: Path) -> tuple[Facts, Checker]:
    """One run and its check; the database is read while it still stands."""
    async with Harness(plan, folder) as harness:
        facts = await harness.play()
        began = time.monotonic()
        logs = await collect(folder, facts.database_url, plan.letter, facts.secrets, plan.gone_endpoint)
    checker = Checker(logs)
    checker.run()
    facts.seconds_check = time.monotonic() - began
    return facts, checker


def of_the_run(facts: Facts) -> list[Violation]:
    """What the harness itself holds against the program."""
    found = [Violation("H", "clients", f"gave up: {one}") for one in facts.gave_up]
    if not facts.drained:
        found.append(Violation("H", "queue", f"not empty after the quiet phase: {facts.left}"))
    found += [Violation("H", name, f"ended by itself {told}") for name, told in facts.died.items()]
    found += [Violation("H", "endpoints of the harness", f"{what} ({n}×)") for what, n in facts.broke.items()]
    found += [Violation("C", "contract", f"{what} ({times}×)") for what, times in facts.deviations.items()]
    return found


def _plan(options: argparse.Namespace) -> Plan:
    seconds = options.events / options.rate
    plan = Plan(
        seed=options.seed or secrets.token_hex(4),
        events=options.events,
        rate=options.rate,
        letter=options.personality,
        merchants=options.merchants,
        endpoints=options.endpoints,
        kill_every=options.kill_every,
        api_kills=3 if options.api_kills is None else options.api_kills,
        database_kills=2 if options.database_kills is None else options.database_kills,
        freezes=1 if options.freezes is None else options.freezes,
        failovers=options.failovers,
        quiet_seconds=options.quiet,
        bug=options.bug,
    )
    if options.long:
        plan = replace(
            plan,
            api_kills=int(seconds // 15),
            database_kills=int(seconds // 60),
            freezes=int(seconds // 60),
            failovers=2,
            merchants=20,
            endpoints=30,
            quiet_seconds=300,
        )
    if plan.letter == "D":
        # Whatever breaks a connection between worker and register is an unknown outcome that no log can name.
        plan = replace(plan, network_faults=False, freezes=0, refunds=False)
    return plan


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.run", description=__doc__)
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=28.0, help="events per second")
    parser.add_argument("--seed", default="", help="as printed by an earlier run; drawn when left out")
    parser.add_argument("--personality", choices="ABCD", default="B")
    parser.add_argument("--merchants", type=int, default=3)
    parser.add_argument("--endpoints", type=int, default=4)
    parser.add_argument("--kill-every", type=float, default=2.0, help="seconds between worker kills; 0: none")
    parser.add_argument("--api-kills", type=int)
    parser.add_argument("--database-kills", type=int)
    parser.add_argument("--freezes", type=int)
    parser.add_argument("--failovers", type=int, default=0, help="takeovers by a synchronous standby")
    parser.add_argument("--quiet", type=float, default=150.0, help="seconds in which all must be done after the load")
    parser.add_argument(
        "--long", action="store_true", help="20 merchants, 30 endpoints, two takeovers, kills by the clock"
    )
    parser.add_argument("--bug", default="", help="plant a bug of tests/chaos/bugs.py: the run must turn red")
    parser.add_argument("--report", help="write a page for people")
    parser.add_argument("--keep", help="folder for logs and database; kept")
    return parser.parse_args()


if __name__ == "__main__":
    main()
