"""What an outage must not do, judged from its story and the logs; and the figures for people."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from tests.chaos.checker import Checker
from tests.chaos.outage_parts import MAX_IN_FLIGHT, PAUSE_AFTER, PROBE_BASE, PROBE_CAP
from tests.chaos.outage_story import Outage, Story

GROWTH, CONSTANT_MIB = 0.10, 8.0
"""By how much a process may be larger at the end of the outage than after its first tenth."""

OUT_OF_ORDER = 4 * MAX_IN_FLIGHT
"""By how many places a receipt may be sent before or after its turn: so many are in flight or in a batch at once."""


def judge(what: Outage, story: Story, checker: Checker) -> list[str]:
    """Every broken promise in words; empty when all were kept."""
    return [
        *_taken(what, story),
        *_memory(story),
        *_alarms(story),
        *_attempts(what, story),
        *_order(story),
        *_pace(what, story),
        *(f"{one}" for one in checker.violations),
    ]


def _taken(what: Outage, story: Story) -> Iterator[str]:
    others = {status: n for status, n in story.statuses.items() if status != 202}
    if others:
        yield f"intake answered {others} during the outage"
    if len(story.receipts) != what.events:
        yield f"{what.events} events made {len(story.receipts)} receipts"
    if story.left:
        yield f"{story.left} jobs are left"


def _memory(story: Story) -> Iterator[str]:
    for name, (early, late) in story.memory.items():
        if late > early * (1 + GROWTH) + CONSTANT_MIB:
            yield f"the {name} grew from {early:.0f} to {late:.0f} MiB"


def _alarms(story: Story) -> Iterator[str]:
    once = {"kassa.paused": 1, "kassa.resumed": 1}
    if story.told != once:
        yield f"one alarm and one all-clear were due, told: {dict(story.told)}"
    if story.heard != once:
        yield f"one alarm and one all-clear were due, the merchant heard: {dict(story.heard)}"


def _attempts(what: Outage, story: Story) -> Iterator[str]:
    low, high = probes_within(what.seconds)
    tried = attempts_in_outage(story)
    parallel = MAX_IN_FLIGHT + PAUSE_AFTER
    if not low <= len(tried) <= high + parallel:
        yield f"{len(tried)} exchanges in the outage; probes with this backoff are {low} to {high}"
    if set(story.burnt) - {0}:
        yield f"the pause used up attempts of first submits: {story.burnt}"
    probed = _probed(story)
    if len(probed) > len(tried):
        yield f"{len(probed)} receipts met the dead provider in {len(tried)} exchanges"
    for row in story.receipts:
        outcomes = [one["outcome"] for one in row["attempts"]]
        if row["id"] not in probed and (row["marks"], outcomes) != (1, ["fiscalized"]):
            yield f"receipt {row['id']} waited, and yet took {row['marks']} sends: {outcomes}"
    sent = sum(row["marks"] for row in story.receipts)
    probes = sum(1 for one in tried if one["kind"] == "submit")
    if sent > what.events + probes:
        yield f"{what.events} receipts took {sent} sends, of which {probes} met the dead provider"


def _order(story: Story) -> Iterator[str]:
    """Sales go out in the order of their payments, and so do those that a probe took and certainly did not send."""
    first_sent: dict[str, float] = {}
    for call in story.calls:
        if call["action"] == "submit" and call["at"] >= story.back_at:
            first_sent.setdefault(call["id"], call["at"])
    in_doubt = {row["id"] for row in story.receipts if any(one["outcome"] == "unknown" for one in row["attempts"])}
    sales = [r for r in story.receipts if r["operation"] == "sell" and r["id"] not in in_doubt]
    sent = sorted(sales, key=lambda row: first_sent[row["provider_id"]])
    places = {row["id"]: place for place, row in enumerate(sent)}
    for turn, row in enumerate(sales):
        if abs(places[row["id"]] - turn) > OUT_OF_ORDER:
            yield f"sale {turn} of {len(sales)} was sent as number {places[row['id']]}"


def _pace(what: Outage, story: Story) -> Iterator[str]:
    most = busiest_second(story)
    if most > what.lane_rate:
        yield f"{most} requests within one second, {what.lane_rate} are allowed"


def attempts_in_outage(story: Story) -> list[dict[str, Any]]:
    """Exchanges that met the dead provider."""
    return [one for row in story.receipts for one in row["attempts"] if one["at"] < story.resumed and _failed(one)]


def _failed(attempt: dict[str, Any]) -> bool:
    return attempt["outcome"] in ("unavailable", "unknown", "cannot_tell")


def _probed(story: Story) -> set[Any]:
    return {
        row["id"]
        for row in story.receipts
        if any(one["at"] < story.resumed and _failed(one) for one in row["attempts"])
    }


def probes_within(seconds: float) -> tuple[int, int]:
    """How many probes a backoff from `PROBE_BASE` to `PROBE_CAP` makes, when each wait is its whole, or half of it.

    The failures that opened the breaker together may have used up a few of the first steps.
    """
    return _count(seconds, _waits(1.0)) - MAX_IN_FLIGHT // PAUSE_AFTER - 1, _count(seconds, _waits(0.5)) + 1


def _waits(share: float) -> Iterator[float]:
    wait = PROBE_BASE
    while True:
        yield wait * share
        wait = min(wait * 2, PROBE_CAP)


def _count(seconds: float, waits: Iterable[float]) -> int:
    number, passed = 0, 0.0
    for wait in waits:
        passed += wait
        if passed > seconds:
            return number
        number += 1
    return number


def busiest_second(story: Story) -> int:
    """The most requests that reached the register within any second after the outage."""
    at = sorted(call["at"] for call in story.calls if call["at"] >= story.back_at)
    return max((bisect_left(at, moment + 1.0) - number for number, moment in enumerate(at)), default=0)


def figures(what: Outage, story: Story, checker: Checker) -> str:
    """The run in a few lines."""
    latencies = sorted(story.latencies)
    tried = attempts_in_outage(story)
    kinds = Counter(f"{one['kind']} {one['outcome']}" for one in tried)
    after = [call for call in story.calls if story.back_at <= call["at"] <= story.ended_at]
    drained = story.ended_at - story.back_at
    lines = [
        f"intake      {story.statuses[202]} of {story.statuses.total()} answered 202,"
        f" {what.events / max(story.seconds_intake, 0.001):.0f}/s,"
        f" p50 {_part(latencies, 0.5) * 1000:.0f} ms, p99 {_part(latencies, 0.99) * 1000:.0f} ms",
        *(
            f"memory      {name}: {a:.1f} MiB after a tenth, {b:.1f} at the end"
            for name, (a, b) in story.memory.items()
        ),
        f"alarms      told {dict(story.told)}, heard {dict(story.heard)}",
        f"outage      {len(tried)} exchanges (probes expected: {probes_within(what.seconds)}) {dict(kinds)}",
        f"            {story.waiting} jobs waited at its end; attempts used up: {story.burnt}",
        f"drain       {drained:.1f} s, {len(after) / max(drained, 0.001):.0f} requests/s,"
        f" busiest second {busiest_second(story)} of {what.lane_rate} allowed; {story.stragglers} later look-ups",
        f"documents   {checker.counts['documents']} for {checker.counts['acknowledged']} events, "
        + ", ".join(f"{n} {name}" for name, n in checker.counts.items() if name.startswith("receipts")),
    ]
    return "\n".join(f"  {line}" for line in lines)


def _part(values: list[float], share: float) -> float:
    return values[min(int(len(values) * share), len(values) - 1)] if values else 0.0
