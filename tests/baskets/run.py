"""`make test-long`: very many baskets in all processors, with a line of progress, and the count at the end.

Every basket comes from its number, so a failure is repeated by `--from NUMBER --count 1`.
"""

import argparse
import multiprocessing
import os
import sys
import time
from dataclasses import dataclass

from tests.baskets.basket import shape_of
from tests.baskets.judge import Wrong, judge

_SLICE = 500


@dataclass(frozen=True, slots=True)
class Part:
    """What became of one slice of numbers; `wrong` is the first failure."""

    baskets: int
    lines: int
    wrong: str | None = None


def judge_slice(first: int, count: int) -> Part:
    """Baskets `first` to `first + count`, in order, up to the first that is wrong."""
    lines = 0
    for seed in range(first, first + count):
        try:
            lines += judge(shape_of(seed), seed)
        except Wrong as wrong:
            return Part(seed - first, lines, f"basket {seed}: {wrong}")
    return Part(count, lines)


def run(first: int, count: int, processes: int) -> Part:
    """All of them; stops at the first failure."""
    slices = [(start, min(_SLICE, first + count - start)) for start in range(first, first + count, _SLICE)]
    baskets = lines = 0
    began = shown = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for part in pool.imap_unordered(_star, slices):
            baskets, lines = baskets + part.baskets, lines + part.lines
            if part.wrong is not None:
                return Part(baskets, lines, part.wrong)
            if time.monotonic() - shown > 1 or baskets == count:
                shown = time.monotonic()
                pace = baskets / (shown - began)
                left = (count - baskets) / pace
                print(f"\r{baskets:,} of {count:,} baskets, {pace:,.0f}/s, {left:,.0f} s left ", end="", flush=True)
    return Part(baskets, lines)


def _star(asked: tuple[int, int]) -> Part:
    return judge_slice(*asked)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=int(os.environ.get("KASSA_BASKETS", "1000000")))
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    found = run(asked.first, asked.count, asked.processes)
    print()
    if found.wrong is not None:
        print(f"WRONG after {found.baskets:,} baskets: {found.wrong}", file=sys.stderr)
        return 1
    print(
        f"{found.baskets:,} baskets with {found.lines:,} lines: every sum exact, every line its fair share, all taken"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
