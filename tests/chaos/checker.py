"""Recomputes the invariants from four independent logs: the clients', the register's, the sinks' and the database.

What was promised is judged against the clients' log and the register's ledger first; our own tables come second.
"""

import base64
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg

from app.domain.lifecycle import TRANSITIONS
from tests.chaos.load import CANARY_EMAIL, CANARY_PHONE

TITLES = {
    "I1": "nothing acknowledged is lost",
    "I2": "no event has two fiscal documents",
    "I3": "every acknowledged event ends, and ends rightly",
    "I4": "what is reported equals what the provider has",
    "I5": "no webhook before its commit",
    "I6": "every state change reaches every endpoint; one id, one body",
    "I7": "a repeat under one key hears the same bytes; other content 422",
    "I8": "a worker that lost its lease changes nothing",
    "I9": "no refund before its sale, none above it",
    "I12": "no secret and no buyer's contact leaves",
    "R": "a final refusal is never sent again",
    "W": "few deliveries reach an endpoint twice (goal: 5 %; red from 10 %)",
    "E": "an endpoint that answers 410 is switched off, and its merchant is told",
    "C": "no answer and no webhook outside the OpenAPI description",
    "D": "class D: nothing is sent twice by itself, each unknown calls a person",
    "H": "the run itself: clients served, queue empty, no process died by itself",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken invariant: which thing, what is wrong with it, and its history."""

    invariant: str
    subject: str
    what: str
    history: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([f"{self.invariant} {self.subject}: {self.what}", *(f"      {line}" for line in self.history)])


@dataclass
class Logs:
    """Everything that a run left behind, as plain rows."""

    acks: list[dict[str, Any]] = field(default_factory=list)
    ledger: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    sink: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)
    timeline: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    outbox: list[dict[str, Any]] = field(default_factory=list)
    endpoints: dict[int, str] = field(default_factory=dict)
    switched: list[dict[str, Any]] = field(default_factory=list)
    gone: int | None = None
    texts: dict[str, str] = field(default_factory=dict)
    leaks: list[tuple[str, str]] = field(default_factory=list)
    searched: int = 0
    letter: str = "B"
    secrets: list[str] = field(default_factory=list)


_TABLES = {
    "events": "SELECT id, merchant_id, type, external_id, payment_id, status, amount, chain_id FROM events",
    "receipts": "SELECT id, merchant_id, event_id, chain_id, provider_id, operation, status, sequence, total, fn, fd,"
    " fpd, failure->>'code' AS failure, marks, created_at, updated_at FROM receipts",
    "timeline": "SELECT id, receipt_id, event_id, at, what, status, actor, data::text AS data FROM timeline"
    " ORDER BY at, id",  # as the API shows it
    "attempts": "SELECT id, receipt_id, kind, provider_id, worker, marked_at, finished_at, outcome, cause"
    " FROM attempts ORDER BY marked_at, id",
    "messages": "SELECT id, receipt_id, merchant_id, type, sequence, encode(sha256(body), 'hex') AS sha256"
    " FROM messages",
    "switched": "SELECT id, merchant_id, status, disabled_reason, updated_at FROM webhook_endpoints",
    "outbox": "SELECT message_id, endpoint_id, status, attempts FROM message_endpoints",
}


def _files(logs: Logs, folder: Path) -> None:
    logs.acks, logs.calls, logs.sink = (_lines(folder / f"{name}.jsonl") for name in ("acks", "calls", "sink"))
    logs.ledger = [
        {name: one[name] for name in _OF_A_DOCUMENT} | {"body": {"items": one["body"]["items"][:1]}}
        for one in _lines(folder / "ledger.jsonl")
        if one["record"] == "document" and one["provider_id"]
    ]
    logs.endpoints = {int(path.name.split("-")[1]): path.read_text() for path in folder.glob("endpoint-*")}
    needles = _needles(logs.secrets)
    for path in sorted(folder.glob("*.log")):
        with path.open(errors="replace") as file:
            for line in file:
                logs.searched += 1
                _search(logs, needles, path.name, line)


_OF_A_DOCUMENT = ("provider_id", "operation", "total", "fn", "fd", "fpd", "at")


def _needles(secrets: list[str]) -> list[str]:
    """What must appear nowhere: the buyer's contacts, and every secret, as it is and as a Basic header holds it."""
    basic = base64.b64encode(f"1:{secrets[-1]}".encode()).decode() if secrets else ""
    return [one for one in (CANARY_EMAIL, CANARY_PHONE, CANARY_PHONE[2:], basic, *secrets) if one]


def _search(logs: Logs, needles: list[str], place: str, text: str) -> None:
    for needle in needles:
        if needle in text:
            at = text.index(needle)
            shown = re.sub(re.escape(needle), "<canary>", text[max(0, at - 120) : at + 160])
            logs.leaks.append((place, f"holds {needle[:6]}…: …{shown}…"))


async def collect(folder: Path, database_url: str, letter: str, secrets: list[str], gone: int | None = None) -> Logs:
    """Read the four logs of a run; the database is asked directly, not through the program."""
    logs = Logs(letter=letter, secrets=secrets, gone=gone)
    _files(logs, folder)
    connection = await asyncpg.connect(database_url)
    try:
        for name, sql in _TABLES.items():
            setattr(logs, name, await connection.fetch(sql))
        needles = _needles(secrets)
        async with connection.transaction():
            for place, sql in _SEARCHED.items():
                async for row in connection.cursor(sql, prefetch=2000):
                    logs.searched += 1
                    _search(logs, needles, place, row[0])
    finally:
        await connection.close()
    return logs


# What leaves, or is kept in the open: told bodies, the timeline, and the notes about deliveries.
_SEARCHED = {
    "messages": "SELECT convert_from(body, 'utf8') FROM messages",
    "timeline": "SELECT data::text FROM timeline",
    "deliveries": "SELECT coalesce(reason, '') || ' ' || coalesce(response_head, '') FROM deliveries",
}


def _lines(path: Path) -> list[dict[str, Any]]:
    """All records in one go: the decoder then keeps each name of a member once, not once a line."""
    if not path.exists():
        return []
    text = path.read_text().rstrip("\n")
    found: list[dict[str, Any]] = json.loads("[" + text.replace("\n", ",") + "]")
    return found


class Checker:
    """All invariants over one run's logs; `violations` is empty when every promise was kept."""

    def __init__(self, logs: Logs) -> None:
        self.logs = logs
        self.violations: list[Violation] = []
        self.counts: Counter[str] = Counter()
        self.checked: Counter[str] = Counter()
        self._receipts = {row["id"]: row for row in logs.receipts}
        self._by_provider_id = {row["provider_id"]: row for row in logs.receipts}
        self._chains: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for row in logs.receipts:
            self._chains[row["chain_id"]].append(row)
        self._submits: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for attempt in logs.attempts:
            if attempt["kind"] == "submit":
                self._submits[attempt["receipt_id"]].append(attempt)
        self._public = {f"rcpt_{row['id'].hex}": row for row in logs.receipts}
        self._timeline: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for entry in logs.timeline:
            self._timeline[entry["receipt_id"]].append(entry)
        self._calls: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for call in logs.calls:
            self._calls[call["id"]].append(call)
        self._printed: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for document in logs.ledger:
            self._printed[document["operation"], _name(document)].append(document)
        self._reported = self._acknowledged()

    def run(self) -> list[Violation]:
        for check in (self.i1, self.i2, self.i3, self.i4, self.i5, self.i6, self.i7, self.i8, self.i9, self.i12):
            check()
        self.refusals()
        self.repeats()
        self.switched_off()
        if self.logs.letter == "D":
            self.class_d()
        return self.violations

    def _acknowledged(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Business key → the first acknowledgement that a client holds in hand."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for ack in self.logs.acks:
            if 200 <= ack["status"] < 300 and not ack["contradicts"]:
                found.setdefault((ack["kind"], ack["name"]), ack)
        self.counts["acknowledged"] = len(found)
        return found

    def _broken(self, invariant: str, subject: str, what: str, receipt_id: Any = None, provider_id: str = "") -> None:
        self.violations.append(Violation(invariant, subject, what, tuple(self._history(receipt_id, provider_id))))

    def _history(self, receipt_id: Any, provider_id: str) -> Iterator[str]:
        """The thing's story out of all logs, in the order of their clocks."""
        row = self._receipts.get(receipt_id) or self._by_provider_id.get(provider_id)
        if row is not None:
            receipt_id, provider_id = row["id"], row["provider_id"]
        lines = []
        if receipt_id is not None:
            for entry in self._timeline.get(receipt_id, ()):
                text = f"{entry['what']} → {entry['status']} by {entry['actor']} {entry['data']}"
                lines.append((entry["at"].timestamp(), f"database: {text}"))
        for call in self._calls.get(provider_id, ()):
            told = f"{call['action']} answered {call['status']} at {_clock(call['until'])} {call['faults'] or ''}"
            lines.append((call["at"], f"provider: {told}"))
        for document in self.logs.ledger:
            if document["provider_id"] == provider_id:
                lines.append(
                    (_at(document), f"ledger: FD {document['fd']} {document['operation']} {document['total']}")
                )
        for at, line in sorted(lines):
            yield f"{_clock(at)} {line}"

    def i1(self) -> None:
        known = {f"evt_{row['id'].hex}" for row in self.logs.events} | {
            f"rcpt_{row['id'].hex}" for row in self.logs.receipts
        }
        for ack in self.logs.acks:
            self.checked["I1"] += 200 <= ack["status"] < 300
            if 200 <= ack["status"] < 300 and ack["id"] not in known:
                self._broken("I1", ack["external_id"], f"acknowledged with {ack['status']} as {ack['id']}, not there")
        ids: dict[tuple[str, str], set[str]] = defaultdict(set)
        for ack in self.logs.acks:
            if 200 <= ack["status"] < 300 and not ack["contradicts"]:
                ids[ack["kind"], ack["external_id"]].add(ack["id"])
        for (_, external_id), found in ids.items():
            if len(found) > 1:
                self._broken("I1", external_id, f"one payment was acknowledged as several: {sorted(found)}")

    def i2(self) -> None:
        for (operation, name), documents in self._printed.items():
            self.counts["documents"] += len(documents)
            self.checked["I2"] += len(documents)
            if len(documents) > 1:
                numbers = ", ".join(f"FD {one['fd']}" for one in documents)
                self._broken(
                    "I2",
                    f"{operation} {name}",
                    f"printed {len(documents)} times: {numbers}",
                    provider_id=documents[0]["provider_id"],
                )
            if (operation, name) not in self._reported:
                self._broken("I2", f"{operation} {name}", "printed, but nobody was told that it was taken")

    def i3(self) -> None:
        """Every acknowledged event has its one document with the right total, or an end with a reason."""
        by_event = {row["event_id"]: row for row in self.logs.receipts}
        events = {(row["type"], row["external_id"]): row for row in self.logs.events}
        for (kind, name), ack in self._reported.items():
            self.checked["I3"] += 1
            type_ = "refund.succeeded" if kind == "sell_refund" else "payment.succeeded"
            event = events.get((type_, ack["external_id"]))
            row = by_event.get(event["id"]) if event else None
            if ack["key"] is not None:
                row = self._public.get(ack["id"])
            if row is None:
                self._broken("I3", ack["external_id"], "acknowledged, but has no receipt")
                continue
            self.counts[f"receipts {row['status']}"] += 1
            documents = self._printed.get((kind, name), [])
            if row["status"] == "fiscalized":
                if not documents:
                    self._broken("I3", ack["external_id"], "said to be fiscalized, never printed", row["id"])
                elif documents[0]["total"] != ack["total"]:
                    self._broken(
                        "I3", ack["external_id"], f"printed {documents[0]['total']}, reported {ack['total']}", row["id"]
                    )
            elif not self._rightly_ended(row):
                self._broken("I3", ack["external_id"], f"is {row['status']} ({row['failure']}) at the end", row["id"])

    def _rightly_ended(self, row: dict[str, Any]) -> bool:
        """Without a document only: refused by the provider, a refund of such a sale, or (class D) for a person."""
        siblings = [one for one in self._chains[row["chain_id"]] if one["id"] != row["id"]]
        match row["status"]:
            case "rejected":
                return any("refuse" in call["faults"] for call in self._calls[row["provider_id"]])
            case "held":
                return row["failure"] == "sale_not_fiscalized" and any(one["status"] == "rejected" for one in siblings)
            case "needs_attention":
                return self.logs.letter == "D"
            case "queued":
                return any(one["status"] == "needs_attention" for one in siblings)
            case _:
                return False

    def i4(self) -> None:
        ledger = {one["provider_id"]: one for one in self.logs.ledger}
        said = {row["provider_id"] for row in self.logs.receipts if row["status"] == "fiscalized"}
        self.checked["I4"] = len(said | ledger.keys())
        for row in self.logs.receipts:
            if row["status"] != "fiscalized":
                continue
            one = ledger.get(row["provider_id"])
            subject = f"rcpt_{row['id'].hex}"
            if one is None:
                self._broken("I4", subject, "said to be fiscalized; the register has no such document", row["id"])
            elif (one["fn"], one["fd"], str(one["fpd"]), one["total"], one["operation"]) != (
                row["fn"],
                row["fd"],
                row["fpd"],
                row["total"],
                row["operation"],
            ):
                self._broken(
                    "I4",
                    subject,
                    f"register: FD {one['fd']} FP {one['fpd']} {one['total']}; we say FD"
                    f" {row['fd']} FP {row['fpd']} {row['total']}",
                    row["id"],
                )
        for provider_id, one in ledger.items():
            ours = self._by_provider_id.get(provider_id)
            if ours is None:
                self._broken("I4", provider_id, f"FD {one['fd']} stands under an id that is no receipt of ours")
            elif ours["status"] != "fiscalized" and not (
                self.logs.letter == "D" and ours["status"] == "needs_attention"
            ):
                self._broken(
                    "I4", f"rcpt_{ours['id'].hex}", f"FD {one['fd']} was printed; we say {ours['status']}", ours["id"]
                )

    def i5(self) -> None:
        for post in self.logs.sink:
            if not post["verified"]:
                self._broken("I5", str(post["id"]), f"its signature does not verify: {post['error']}")
            if "receipt" not in post:
                continue
            for where in ("seen", "shown"):
                seen = post.get(where)
                if seen is None:
                    continue
                self.counts["read-backs"] += 1
                self.checked["I5"] += not isinstance(seen, str)
                if seen in ("not there", "HTTP 404"):
                    self._broken("I5", post["receipt"], f"{post['type']} told of a receipt that was not there")
                elif isinstance(seen, str):
                    self.counts["read-backs without an answer"] += 1
                elif seen < post["sequence"]:
                    told = f"{post['type']} told sequence {post['sequence']} at {_clock(post['at'])}"
                    row = self._public.get(post["receipt"])
                    self._broken("I5", post["receipt"], f"{told} while {seen} stood", row and row["id"])

    def i6(self) -> None:
        """Delivered = a sink took it with 2xx. Every public step has its message, gap-free."""
        bodies: dict[tuple[int, str], set[str]] = defaultdict(set)
        taken: Counter[tuple[str, str]] = Counter()
        for post in self.logs.sink:
            bodies[post["endpoint"], post["id"]].add(post["sha256"])
            if post["answer"] == "204":
                taken[self.logs.endpoints[post["endpoint"]], post["id"]] += 1
        off = {row["id"] for row in self.logs.switched if row["status"] == "disabled"}
        stored = {f"msg_{row['id'].hex}": row["sha256"] for row in self.logs.messages}
        for (endpoint, message_id), found in bodies.items():
            if found != {stored.get(message_id)}:
                self._broken("I6", message_id, f"endpoint {endpoint} saw {len(found)} bodies, or another than stored")
        for row in self.logs.outbox:
            place = (str(row["endpoint_id"]), f"msg_{row['message_id'].hex}")
            self.counts["deliveries due"] += 1
            self.checked["I6"] += 1
            self.counts["deliveries taken twice"] += max(taken[place] - 1, 0)
            if row["endpoint_id"] in off and row["status"] in ("exhausted", "skipped"):
                self.counts["deliveries that ended with their endpoint"] += 1
            elif not taken[place]:
                self._broken("I6", place[1], f"never reached endpoint {place[0]} (we say {row['status']})")
        told: dict[Any, list[int]] = defaultdict(list)
        for message in self.logs.messages:
            # A reminder (`receipt.overdue`) changes nothing and has no sequence.
            if message["receipt_id"] is not None and message["sequence"] is not None:
                told[message["receipt_id"]].append(message["sequence"])
        fanned = Counter(row["message_id"] for row in self.logs.outbox)
        for message in self.logs.messages:
            if not fanned[message["id"]]:
                self._broken("I6", f"msg_{message['id'].hex}", "was given to no endpoint")
        for row in self.logs.receipts:
            if sorted(told[row["id"]]) != list(range(1, row["sequence"] + 1)):
                self._broken(
                    "I6",
                    f"rcpt_{row['id'].hex}",
                    f"sequence {row['sequence']}, told {sorted(told[row['id']])}",
                    row["id"],
                )

    def i7(self) -> None:
        answers: dict[str, set[tuple[int, str]]] = defaultdict(set)
        for ack in self.logs.acks:
            if ack["key"] is None:
                continue
            if ack["contradicts"]:
                if ack["status"] != 422:
                    self._broken("I7", ack["key"], f"other content under this key was answered {ack['status']}")
            elif 200 <= ack["status"] < 300:
                answers[ack["key"]].add((ack["status"], ack["sha256"]))
        self.counts["idempotency keys"] = len(answers)
        self.checked["I7"] = sum(1 for ack in self.logs.acks if ack["key"] is not None)
        for key, found in answers.items():
            if len(found) > 1:
                self._broken("I7", key, f"repeats of one request heard {len(found)} different answers")

    def i8(self) -> None:
        """After `lease_lost` nothing moves in the name of the attempt that lost it; each step is a legal one."""
        legal: dict[str, set[str]] = defaultdict(set)
        for (status, _), after in TRANSITIONS.items():
            legal[status.value].add(after.status.value)
        for receipt_id, entries in self._timeline.items():
            if receipt_id is None:
                continue
            marked, lost = None, set()
            for entry in entries:
                self.checked["I8"] += 1
                attempt = json.loads(entry["data"]).get("attempt_id")
                if entry["what"] == "marked":
                    marked = attempt
                elif entry["what"] == "lease_lost":
                    lost.add(marked)
                    self.counts["leases lost after the mark"] += 1
                elif entry["what"] == "learned_late":
                    self.counts["stale results kept as evidence"] += 1
                elif attempt in lost and entry["status"] is not None:
                    self._broken(
                        "I8",
                        f"rcpt_{receipt_id.hex}",
                        f"attempt {attempt} lost its lease and yet moved it ({entry['what']} → {entry['status']})",
                        receipt_id,
                    )
            told = [entry["status"] for entry in entries if entry["status"] is not None]
            row = self._receipts[receipt_id]
            if told and told[-1] != row["status"]:
                self._broken(
                    "I8",
                    f"rcpt_{receipt_id.hex}",
                    f"its history ends in {told[-1]}, the receipt is {row['status']}",
                    receipt_id,
                )
            for before, after in pairwise(told):
                if after not in legal[before] and before != after:
                    self._broken("I8", f"rcpt_{receipt_id.hex}", f"{before} → {after} is no legal step", receipt_id)

    def i9(self) -> None:
        for (operation, name), refunds in list(self._printed.items()):
            if operation != "sell_refund":
                continue
            self.checked["I9"] += 1
            sales = self._printed.get(("sell", name), [])
            first = min(refunds, key=lambda one: one["fd"])
            if not sales or min(one["fd"] for one in sales) > first["fd"]:
                self._broken(
                    "I9", name, f"refund FD {first['fd']} without an earlier sale", provider_id=first["provider_id"]
                )
            elif sum(one["total"] for one in refunds) > sales[0]["total"]:
                self._broken("I9", name, "refunded more than was sold", provider_id=first["provider_id"])

    def i12(self) -> None:
        needles = _needles(self.logs.secrets)
        for place, text in self.logs.texts.items():
            self.logs.searched += 1
            _search(self.logs, needles, place, text)
        self.checked["I12"] = self.logs.searched
        for place, what in self.logs.leaks:
            self._broken("I12", place, what)

    def repeats(self) -> None:
        """At least once is promised; a large share would mean that repeats are a habit."""
        self.checked["W"] = due = self.counts["deliveries due"]
        twice = self.counts["deliveries taken twice"]
        if due >= 500 and twice >= due * REPEATS_LIMIT:
            self._broken("W", "deliveries", f"{twice} of {due} were taken twice ({twice / due:.1%})")

    def switched_off(self) -> None:
        """The endpoint that answered 410, and no other; told to its merchant; left alone afterwards."""
        states = {str(row["id"]): row for row in self.logs.switched}
        posts: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for post in self.logs.sink:
            if post["answer"] == "gone":
                posts[post["endpoint"]].append(post)
        for number, id_ in self.logs.endpoints.items():
            state = states.get(id_)
            if state is None:
                continue
            self.checked["E"] += 1
            if number == self.logs.gone and not posts[number]:
                self._broken("E", f"endpoint {number}", "was never asked, so its 410 proves nothing")
            if not posts[number]:
                if state["status"] != "active":
                    self._broken("E", f"endpoint {number}", f"is {state['status']} and answered no 410")
                continue
            if (state["status"], state["disabled_reason"]) != ("disabled", "gone"):
                self._broken("E", f"endpoint {number}", f"answered 410 and is {state['status']}")
                continue
            told = [
                row
                for row in self.logs.messages
                if row["type"] == "endpoint.disabled" and row["merchant_id"] == state["merchant_id"]
            ]
            if len(told) != 1:
                self._broken("E", f"endpoint {number}", f"its merchant was told {len(told)} times")
            late = [one for one in posts[number] if one["at"] > state["updated_at"].timestamp() + STRAGGLER_SECONDS]
            if late:
                self._broken("E", f"endpoint {number}", f"was called {len(late)} times after it was switched off")

    def refusals(self) -> None:
        """A submit that the provider finally refused is the last one under its id, unless an earlier one was open."""
        for provider_id, calls in self._calls.items():
            submits = sorted((one for one in calls if one["action"] == "submit"), key=lambda one: one["at"])
            self.checked["R"] += any("refuse" in one["faults"] for one in submits)
            for number, one in enumerate(submits[:-1]):
                if "refuse" in one["faults"] and number == 0 and one["status"] == 400 and self._heard(provider_id):
                    self._broken("R", provider_id, "was sent again after its refusal", provider_id=provider_id)

    def _heard(self, provider_id: str) -> bool:
        """Whether a refusal reached a worker that could act on it."""
        row = self._by_provider_id.get(provider_id)
        submits = self._submits[row["id"]] if row else []
        return not submits or submits[0]["outcome"] not in (None, "unknown")

    def class_d(self) -> None:
        """The register's log says which submits ended in the dark; a killed worker is told by its lost lease."""
        lost = {id_ for id_, entries in self._timeline.items() if any(one["what"] == "lease_lost" for one in entries)}
        for row in self.logs.receipts:
            self.checked["D"] += 1
            submits = [one for one in self._calls[row["provider_id"]] if one["action"] == "submit"]
            dark = any(set(one["faults"]) & _DARK for one in submits)
            if len([one for one in submits if not set(one["faults"]) & {"rate_limited"}]) > 1:
                self._broken("D", f"rcpt_{row['id'].hex}", "was sent twice", row["id"])
            expected = dark or row["id"] in lost
            if expected != (row["status"] == "needs_attention"):
                what = "should call a person" if expected else "calls a person without need"
                self._broken("D", f"rcpt_{row['id'].hex}", f"is {row['status']}; {what}", row["id"])
            self.counts["unknowns injected"] += expected


REPEATS_LIMIT = 0.1
"""Each kill of a worker repeats what it had in flight, and a starved machine has twice as much in flight."""

STRAGGLER_SECONDS = 20.0
"""A worker that was frozen with a message in hand may still post it when it wakes."""

_DARK = {"drop_after", "drop_before", "error_after", "error_before", "hang", "slow", "half_body"}


def _name(document: dict[str, Any]) -> str:
    return str(document["body"]["items"][0]["name"])


def _at(document: dict[str, Any]) -> float:
    return datetime.fromisoformat(document["at"]).timestamp()


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]
