"""What a run shows: a table for the console, and a page that a sceptic can repeat."""

import os
import platform
import resource
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from typing import Any

from app import __version__
from tests.chaos.checker import TITLES, Checker, Violation
from tests.chaos.harness import HABITS, LATE_ANSWERS, PROVIDER_MIX, TO_API, TO_PROVIDER, TO_SINK, Facts, Plan
from tests.chaos.schedule import CLOCK_STEP_SECONDS
from tests.chaos.sink import FAULTS


def command(plan: Plan) -> str:
    """How to repeat this run."""
    default = Plan(seed="")
    options = [f"--seed {plan.seed}", f"--events {plan.events}"]
    for name, option in (
        ("rate", "--rate"),
        ("letter", "--personality"),
        ("kill_every", "--kill-every"),
        ("bug", "--bug"),
        ("merchants", "--merchants"),
        ("endpoints", "--endpoints"),
        ("api_kills", "--api-kills"),
        ("database_kills", "--database-kills"),
        ("freezes", "--freezes"),
        ("failovers", "--failovers"),
        ("quiet_seconds", "--quiet"),
    ):
        value = getattr(plan, name)
        if value != getattr(default, name):
            options.append(f"{option} {value:g}" if isinstance(value, float) else f"{option} {value}")
    return f"python -m tests.chaos.run {' '.join(options)}"


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds from a sale's acceptance to its fiscalization: of all, and of those that no fault met."""

    all: list[float]
    undisturbed: list[float]


def times(facts: Facts, checker: Checker) -> Times:
    """A sale is undisturbed when one clean submit printed it and neither API nor database was away meanwhile."""
    submits: Counter[str] = Counter()
    spoiled: set[str] = set()
    for call in checker.logs.calls:
        if call["action"] == "submit":
            submits[call["id"]] += 1
        if call["action"] == "lookup" or call["faults"]:
            spoiled.add(call["id"])
    ends: dict[Any, float] = {}
    unclear: set[Any] = set()
    for entry in checker.logs.timeline:
        if entry["what"] == "lease_lost" or entry["status"] == "unknown":
            unclear.add(entry["receipt_id"])
        if entry["status"] == "fiscalized":
            ends[entry["receipt_id"]] = entry["at"].timestamp()
    found = Times([], [])
    for row in checker.logs.receipts:
        end = ends.get(row["id"])
        if end is None or row["operation"] != "sell":
            continue
        began = row["created_at"].timestamp()
        found.all.append(end - began)
        clean = submits[row["provider_id"]] == 1 and row["provider_id"] not in spoiled and row["id"] not in unclear
        if clean and not any(away < end and back > began for _, away, back in facts.outages):
            found.undisturbed.append(end - began)
    return found


def intake_gaps(facts: Facts, checker: Checker) -> dict[str, float]:
    """What was struck → the longest time without any acknowledgement around such a strike, seen by the clients."""
    at = sorted(ack["at"] for ack in checker.logs.acks if 200 <= ack["status"] < 300)
    found: dict[str, float] = {}
    for what, began, back in facts.outages:
        for before, after in pairwise(at):
            if after > began and before < back:
                found[what] = max(found.get(what, 0.0), after - before)
    return found


def figures(plan: Plan, facts: Facts, checker: Checker, seconds: float) -> list[tuple[str, str]]:
    """Name and value of everything counted."""
    counts, logs = checker.counts, checker.logs
    submits = Counter(one["id"] for one in logs.calls if one["action"] == "submit")
    lookups = sum(1 for one in logs.calls if one["action"] == "lookup")
    sent, events = submits.total(), counts["acknowledged"] or 1
    due = counts["deliveries due"] or 1
    took = times(facts, checker)
    gaps = intake_gaps(facts, checker)
    spoiled_submits = sum(1 for one in logs.calls if one["action"] == "submit" and one["faults"])
    network = facts.network.get("worker-provider", {})
    spoiled = sum(n for mode, n in network.items() if mode != "pass")
    rows = [
        ("requests of the plan, repeats included", str(facts.requests)),
        ("acknowledged, distinct", str(counts["acknowledged"])),
        ("repeats heard as repeats", str(facts.replays)),
        ("fiscal documents in the ledger", str(counts["documents"])),
        *((name, str(n)) for name, n in sorted(counts.items()) if name.startswith("receipts ")),
        (
            "acknowledged events per second while the load ran",
            f"{counts['acknowledged'] / (facts.seconds_load or 1):.1f}",
        ),
        ("acknowledgement p50 / p95 / p99", _three(facts.ack_latencies)),
        (
            f"acceptance to fiscalization, {len(took.undisturbed)} undisturbed sales, p50 / p95 / p99",
            _three(took.undisturbed),
        ),
        (f"acceptance to fiscalization, all {len(took.all)} sales, p50 / p95 / p99", _three(took.all)),
        *((f"longest time without an acknowledgement, {what}", f"{gap:.2f} s") for what, gap in sorted(gaps.items())),
        ("submits / resubmissions per event", f"{sent} / {(sent - len(submits)) / events:.3f}"),
        ("look-ups / per event", f"{lookups} / {lookups / events:.3f}"),
        ("submits spoiled by the provider", f"{spoiled_submits} ({spoiled_submits / (sent or 1):.0%})"),
        ("exchanges spoiled between worker and provider", f"{spoiled} of {sum(network.values())}"),
        ("client requests without an acknowledgement", _counted(facts.client_errors)),
        ("leases lost after the mark", str(counts["leases lost after the mark"])),
        ("stale results kept as evidence only", str(counts["stale results kept as evidence"])),
        ("processes started while the database was away", str(facts.started_without_database)),
        (
            "deliveries due / taken twice",
            f"{counts['deliveries due']} / {counts['deliveries taken twice']} "
            f"({counts['deliveries taken twice'] / due:.1%})",
        ),
        (
            "deliveries that ended with a switched-off endpoint",
            str(counts["deliveries that ended with their endpoint"]),
        ),
        (
            "read-backs at the moment of a webhook / unanswered",
            f"{counts['read-backs']} / {counts['read-backs without an answer']}",
        ),
        ("of it held back, as more waited than this machine can carry", f"{facts.seconds_held:.1f} s"),
        (
            "load / drain / check / whole run",
            f"{facts.seconds_load:.1f} / {facts.seconds_drain:.1f} / {facts.seconds_check:.1f} / {seconds:.1f} s",
        ),
        ("CPU seconds, harness / API / workers / database, register and the rest", _cpu(facts)),
        ("memory of the harness at most", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB"),
    ]
    if plan.letter == "D":
        rows.append(("unknown outcomes injected", str(counts["unknowns injected"])))
    return rows


def console(plan: Plan, facts: Facts, checker: Checker, violations: Sequence[Violation], seconds: float) -> str:
    rows = [("strikes", _struck(facts)), *figures(plan, facts, checker, seconds)]
    wide = max(len(name) for name, _ in rows)
    lines = [f"{name:<{wide}}  {value}" for name, value in rows]
    lines.append("")
    lines += [
        f"{'FAIL' if n else 'ok':<5}{code:<4}{title} ({checked} checked)" + (f": {n} violations" if n else "")
        for code, title, checked, n in _verdicts(plan, facts, checker, violations)
    ]
    return "\n".join(lines)


def markdown(plan: Plan, facts: Facts, checker: Checker, violations: Sequence[Violation], seconds: float) -> str:
    """The page. Everything on it is computed from this one run."""
    verdict = "every promise below was kept" if not violations else f"{len(violations)} violations"
    began = datetime.fromtimestamp(facts.began, UTC).strftime("%Y-%m-%d %H:%M UTC")
    verdicts = _verdicts(plan, facts, checker, violations)
    parts = [
        "# Proof: exactly one fiscal document per acknowledged payment",
        f"This page was written by the run itself on {began}. Result: **{verdict}**.",
        f"{facts.requests} requests reported {checker.counts['acknowledged']} payments, refunds and manual receipts in "
        f"{facts.seconds_load:.0f} seconds, while parts of the system were killed, frozen and lied to. The cash "
        f"register's own ledger holds {checker.counts['documents']} documents.",
        "## What was attacked",
        f"The program as its users run it: one API process, {plan.workers} workers, PostgreSQL with fsync, "
        "the built-in `digitalkassa` driver over HTTP. Around it: clients that repeat a request until it is "
        "acknowledged (70 % sales, 20 % refunds of which one in twenty comes before its sale, 10 % exact repeats of "
        f"one to three copies, and manual receipts under an `Idempotency-Key`) for {plan.merchants} merchants; their "
        f"{plan.endpoints} webhook endpoints; and {_REGISTERS[plan.letter]}",
        "## With what",
        _table(("strike", "times"), [(name, str(n)) for name, n in sorted(facts.strikes.items())]),
        f"A worker is killed with SIGKILL every {plan.kill_every:g} seconds. A freeze is a SIGSTOP that lasts beyond "
        "the lease, once at a random moment and once just before the request leaves or just after the answer came. "
        f"A clock step sets one worker's wall clock {CLOCK_STEP_SECONDS:g} s ahead, later as far back. A dead endpoint "
        f"cuts every call. A failover copies the database under load, kills the primary and promotes the copy "
        "(`synchronous_commit=remote_apply`). Besides, every exchange draws its own fault:",
        _table(
            ("where", "what, per exchange"),
            [
                ("provider, submits", _chances({**PROVIDER_MIX, "answer after its callback": LATE_ANSWERS})),
                ("provider, habits", _chances(HABITS)),
                (
                    "provider, besides",
                    "a third of the documents is not shown by look-ups at once; 1 % of the submits is "
                    "answered with a callback that names a document which does not exist",
                ),
                ("network, worker to provider", _chances(TO_PROVIDER if plan.network_faults else {})),
                ("network, worker to merchant", _chances(TO_SINK if plan.network_faults else {})),
                ("network, client to API", _chances(TO_API if plan.network_faults else {})),
                ("merchants' endpoints", _chances(FAULTS)),
            ],
        ),
        "## How it is judged",
        "By a checker that takes nothing from the program but its table of legal states, from four logs: what the "
        "clients were told (written by the clients), what the register printed (its own ledger, fsync per document; a "
        "payment is known there by the "
        "printed line, not by an id of ours), what the endpoints received (signatures verified with the "
        "`standardwebhooks` package; before it answers, an endpoint asks the database past the program, and for one "
        "message in ten also the API, what stands), and the database at the end. After the load all faults stop; "
        f"everything has to come to its end within {plan.quiet_seconds:g} seconds (it took {facts.seconds_drain:.1f}). "
        "`make chaos-bugs` tests the checker itself: twelve mistakes that people make are planted one by one, and each "
        "must turn a run red.",
        "## Invariants",
        _table(("", "promise", "checked", "violations"), [(c, t, str(k), str(n)) for c, t, k, n in verdicts]),
        "Checked counts acknowledgements (I1, I3), documents (I2, I4), answered read-backs (I5), deliveries (I6, W), "
        "answers under a key (I7), steps in timelines (I8), refunds (I9), stored and logged texts (I12), refusals (R), "
        "endpoints (E), answers and webhooks (C).",
        "## Figures",
        _table(("figure", "value"), figures(plan, facts, checker, seconds)),
        "Undisturbed is a sale that one clean submit printed while neither the API nor the database was away; it may "
        "still have waited for a killed worker's successor, or behind a kassa that was paused after failures. All "
        "parts, clients and register included, shared one machine.",
        "## How to repeat",
        f"```\n{command(plan)}\n```",
        "One seed gives the same load, faults and strikes. How the processes interleave is the machine's own, so a "
        "repeat is another trial and no replay. `make chaos` is the short form (2,000 events).",
        "## What this does not show",
        "- A real provider: the register is software that speaks digitalkassa's protocol. What a provider documents "
        "wrongly is not found here.\n"
        "- The loss of a disk or of the whole machine: processes were killed, and the kernel kept what they had "
        "written.\n"
        "- Exactly-once webhooks: they are delivered at least once, and the table says how many came twice.\n"
        "- A network between the machines of one installation: everything ran on one.\n"
        "- Real clocks: the step is what Python reads of the wall clock; no kernel clock was changed.\n"
        "- Months: schedules longer than the run (webhook retries after hours) are made due at its end.",
        "## Versions",
        _table(
            ("part", "version"),
            [
                ("CRM-Kassa", f"{__version__}, commit {facts.commit}"),
                ("provider", f"class {plan.letter}"),
                ("Python", sys.version.split()[0]),
                ("PostgreSQL", facts.postgres),
                *((name, version(name)) for name in ("asyncpg", "sqlalchemy", "aiohttp", "uvicorn", "fastapi")),
                ("machine", f"{platform.platform()}, {os.cpu_count()} cores"),
            ],
        ),
    ]
    if plan.bug:
        parts.insert(2, f"A bug was planted on purpose: `{plan.bug}`.")
    if violations:
        parts += ["## Violations", "```\n" + "\n".join(map(str, violations[:50])) + "\n```"]
    return "\n\n".join(parts) + "\n"


_REGISTERS = {
    "A": "a cash register made of software that deduplicates by id and can be asked (class A).",
    "B": "a cash register made of software that **does not deduplicate** (class B): whatever is sent twice is printed "
    "twice.",
    "C": "a cash register made of software that deduplicates by id but cannot be asked (class C).",
    "D": "a cash register made of software that neither deduplicates nor can be asked (class D).",
}


def _verdicts(
    plan: Plan, facts: Facts, checker: Checker, violations: Sequence[Violation]
) -> list[tuple[str, str, int, int]]:
    checked = checker.checked | Counter(C=facts.answers_checked, H=1)
    codes = [code for code in TITLES if code != "D" or plan.letter == "D"]
    return [(c, TITLES[c], checked[c], sum(1 for one in violations if one.invariant == c)) for c in codes]


def _cpu(facts: Facts) -> str:
    own, rest = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    api = facts.cpu.get("api", 0.0)
    workers = sum(facts.cpu.values()) - api
    others = rest.ru_utime + rest.ru_stime - api - workers
    return f"{own.ru_utime + own.ru_stime:.0f} / {api:.0f} / {workers:.0f} / {others:.0f}"


def _struck(facts: Facts) -> str:
    return ", ".join(f"{n} × {name}" for name, n in sorted(facts.strikes.items())) or "none"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} × {name}" for name, n in sorted(counts.items())) or "0"


def _three(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "–"
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return f"{cuts[49]:.3f} / {cuts[94]:.3f} / {cuts[98]:.3f} s"


def _chances(chances: dict[str, float]) -> str:
    return ", ".join(f"{name} {chance:.1%}" for name, chance in chances.items()) or "none"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
