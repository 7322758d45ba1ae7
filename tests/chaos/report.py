"""What a run shows: a table for the console, and a page that a sceptic can repeat."""

import os
import platform
import statistics
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from app import __version__
from tests.chaos.checker import TITLES, Checker, Violation
from tests.chaos.harness import PROVIDER_MIX, TO_API, TO_PROVIDER, TO_SINK, Facts, Plan
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
        ("quiet_seconds", "--quiet"),
    ):
        value = getattr(plan, name)
        if value != getattr(default, name):
            options.append(f"{option} {value:g}" if isinstance(value, float) else f"{option} {value}")
    return f"python -m tests.chaos.run {' '.join(options)}"


def figures(plan: Plan, facts: Facts, checker: Checker, seconds: float) -> list[tuple[str, str]]:
    """Name and value of everything counted."""
    counts, logs = checker.counts, checker.logs
    submits = sum(1 for one in logs.calls if one["action"] == "submit")
    lookups = sum(1 for one in logs.calls if one["action"] == "lookup")
    due = counts["deliveries due"] or 1
    times = _latencies(checker)
    provider_faults = sum(1 for one in logs.calls if one["action"] == "submit" and one["faults"])
    network = facts.network.get("worker-provider", {})
    spoiled = sum(n for mode, n in network.items() if mode != "pass")
    rows = [
        ("events reported, repeats included", str(facts.requests)),
        ("acknowledged, distinct", str(counts["acknowledged"])),
        ("repeats heard as repeats", str(facts.replays)),
        ("fiscal documents in the ledger", str(counts["documents"])),
        *((name, str(n)) for name, n in sorted(counts.items()) if name.startswith("receipts ")),
        ("strikes", ", ".join(f"{n} × {name}" for name, n in sorted(facts.strikes.items())) or "none"),
        ("submits / look-ups at the provider", f"{submits} / {lookups}"),
        ("submits spoiled by the provider", f"{provider_faults} ({provider_faults / (submits or 1):.0%})"),
        ("exchanges spoiled between worker and provider", f"{spoiled} of {sum(network.values())}"),
        (
            "client requests that heard no acknowledgement",
            ", ".join(f"{k}: {n}" for k, n in facts.client_errors.items()) or "0",
        ),
        ("leases lost after the mark", str(counts["leases lost after the mark"])),
        ("processes started while the database was away", str(facts.started_without_database)),
        ("stale results kept as evidence only", str(counts["stale results kept as evidence"])),
        (
            "deliveries due / taken twice",
            f"{counts['deliveries due']} / {counts['deliveries taken twice']} "
            f"({counts['deliveries taken twice'] / due:.1%})",
        ),
        (
            "read-backs at the moment of a webhook / unanswered",
            f"{counts['read-backs']} / {counts['read-backs without an answer']}",
        ),
        ("idempotency keys repeated", str(counts["idempotency keys"])),
        ("acknowledgement p50 / p95", _two(facts.ack_latencies)),
        ("acceptance to fiscalization p50 / p95, faults included", _two(times)),
        ("API back after a kill of it or the database, longest", f"{max(facts.restart_gaps, default=0):.2f} s"),
        ("load / drain / whole run", f"{facts.seconds_load:.1f} s / {facts.seconds_drain:.1f} s / {seconds:.1f} s"),
        ("events per second while the load ran", f"{counts['acknowledged'] / (facts.seconds_load or 1):.1f}"),
    ]
    if plan.letter == "D":
        rows.append(("unknown outcomes injected", str(counts["unknowns injected"])))
    return rows


def console(plan: Plan, facts: Facts, checker: Checker, violations: Sequence[Violation], seconds: float) -> str:
    rows = figures(plan, facts, checker, seconds)
    wide = max(len(name) for name, _ in rows)
    lines = [f"{name:<{wide}}  {value}" for name, value in rows]
    lines.append("")
    lines += [
        f"{'FAIL' if n else 'ok':<5}{code:<4}{title}" + (f": {n}" if n else "")
        for code, title, n in _verdicts(plan, violations)
    ]
    return "\n".join(lines)


def markdown(plan: Plan, facts: Facts, checker: Checker, violations: Sequence[Violation], seconds: float) -> str:
    """The page. Everything on it is computed from this one run."""
    verdict = "every promise below was kept" if not violations else f"{len(violations)} violations"
    began = datetime.fromtimestamp(facts.began, UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [
        "# Proof: exactly one fiscal document per acknowledged payment",
        f"Written by the run itself on {began}. Result: **{verdict}**.",
        "The whole program ran as its users run it: one API process, "
        f"{plan.workers} workers, PostgreSQL with fsync, and a cash register made of software that **does not "
        "deduplicate** (class B) unless another class is named below. The register writes its own ledger with fsync; "
        "clients write down every acknowledgement; the merchants' systems verify every webhook with another library "
        "and read the receipt back before they answer. A checker recomputes the promises from these logs and the "
        "database.",
        "## How to repeat",
        f"```\n{command(plan)}\n```",
        "One seed gives the same load, faults and strikes. How the processes interleave is the machine's own.",
        "## Invariants",
        _table(("", "promise", "violations"), [(c, t, str(n)) for c, t, n in _verdicts(plan, violations)]),
        "## Figures",
        _table(("figure", "value"), figures(plan, facts, checker, seconds)),
        "## What went wrong on purpose",
        _table(
            ("where", "what, per call"),
            [
                ("provider, submits", _chances(PROVIDER_MIX)),
                ("network, worker to provider", _chances(TO_PROVIDER if plan.network_faults else {})),
                ("network, worker to merchant", _chances(TO_SINK if plan.network_faults else {})),
                ("network, client to API", _chances(TO_API if plan.network_faults else {})),
                ("merchants' endpoints", _chances(FAULTS)),
                (
                    "provider, besides",
                    "a third of the documents is not shown by look-ups at once; 1 % of the callbacks "
                    "name a document that does not exist; 1 % of the answers come after their callback",
                ),
            ],
        ),
        "## Versions",
        _table(
            ("part", "version"),
            [
                ("CRM-Kassa", __version__),
                ("provider", f"class {plan.letter}"),
                ("Python", sys.version.split()[0]),
                ("PostgreSQL", facts.postgres),
                *((name, version(name)) for name in ("asyncpg", "sqlalchemy", "aiohttp", "uvicorn", "fastapi")),
                ("machine", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"),
            ],
        ),
    ]
    if plan.bug:
        parts.insert(2, f"A bug was planted on purpose: `{plan.bug}`.")
    if violations:
        parts += ["## Violations", "```\n" + "\n".join(map(str, violations[:50])) + "\n```"]
    return "\n\n".join(parts) + "\n"


def _verdicts(plan: Plan, violations: Sequence[Violation]) -> list[tuple[str, str, int]]:
    codes = [code for code in TITLES if code != "D" or plan.letter == "D"]
    return [(code, TITLES[code], sum(1 for one in violations if one.invariant == code)) for code in codes]


def _latencies(checker: Checker) -> list[float]:
    return [
        (row["updated_at"] - row["created_at"]).total_seconds()
        for row in checker.logs.receipts
        if row["status"] == "fiscalized"
    ]


def _two(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "–"
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return f"{cuts[49]:.3f} s / {cuts[94]:.3f} s"


def _chances(chances: dict[str, float]) -> str:
    return ", ".join(f"{name} {chance:.1%}" for name, chance in chances.items()) or "none"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
