"""`python -m tests.chaos.outage`: the provider is down for hours, payments go on, then everything is printed once.

The hours are the database's own clock, moved from event to event and from probe to probe. Real parts: API, worker and
register as processes, PostgreSQL with fsync. Prints the figures; exit code 1 when a promise was broken.
"""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.checker import Checker, collect
from tests.chaos.outage_parts import Parts
from tests.chaos.outage_report import figures, judge
from tests.chaos.outage_story import Outage, Story, play


def main() -> None:
    options = _options()
    what = Outage(hours=options.hours, rate=options.rate, density=options.density, lane_rate=options.lane_rate)
    print(
        f"{what.hours:g} hours without the provider, {what.rate:g} events/s of which {what.density:g} are sent:"
        f" {what.events} events, then at most {what.lane_rate}/s to the provider",
        flush=True,
    )
    folder = Path(options.keep or tempfile.mkdtemp(prefix="kassa-outage-"))
    folder.mkdir(parents=True, exist_ok=True)
    # A run that is ended still ends what it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    story, checker = asyncio.run(run(what, folder, say=_say))
    wrong = judge(what, story, checker)
    print(f"{figures(what, story, checker)}\n  the whole run took {time.monotonic() - began:.0f} s")
    for one in wrong:
        print(f"BROKEN {one}")
    if wrong:
        print(f"RED. Logs and database: {folder}")
        sys.exit(1)
    print("GREEN")
    if not options.keep:
        shutil.rmtree(folder, ignore_errors=True)


async def run(what: Outage, folder: Path, say: Callable[[str], None] = lambda _: None) -> tuple[Story, Checker]:
    """One outage from its first minute to the last receipt; judged by `outage_report.judge`."""
    async with Parts(folder, lane_rate=what.lane_rate) as parts:
        story = await play(what, parts, say)
        logs = await collect(folder, parts.database_url, "B", parts.secrets)
    checker = Checker(logs)
    # Webhooks of receipts (I5, I6) and keys (I7) are the other runs' business: here only the kassa's are subscribed.
    for check in (checker.i1, checker.i2, checker.i3, checker.i4, checker.i8, checker.i9, checker.i12):
        check()
    return story, checker


def _say(words: str) -> None:
    print(f"  {words}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.outage", description=__doc__)
    parser.add_argument("--hours", type=float, default=6.0, help="of the outage, by the database's clock")
    parser.add_argument("--rate", type=float, default=20.0, help="events per second of that clock")
    parser.add_argument("--density", type=float, default=0.02, help="share of the events that is really sent; 1: all")
    parser.add_argument("--lane-rate", type=int, default=200, help="requests per second that the provider takes")
    parser.add_argument("--keep", help="folder for logs and database; kept")
    return parser.parse_args()


if __name__ == "__main__":
    main()
