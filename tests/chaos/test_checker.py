"""The checker sees each kind of broken promise in logs that are otherwise in order."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.chaos.checker import Checker, Logs

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SALE, REFUND, EVENT, BACK, CHAIN, MERCHANT, ENDPOINT = (UUID(int=n) for n in range(1, 8))


def entry(receipt: UUID, seconds: float, what: str, status: str | None, attempt: str = "att_1") -> dict[str, Any]:
    return {
        "id": UUID(int=1000 + int(seconds * 1000)),
        "receipt_id": receipt,
        "event_id": None,
        "at": BEGAN + timedelta(seconds=seconds),
        "what": what,
        "status": status,
        "actor": "w",
        "data": json.dumps({"attempt_id": attempt}),
    }


def in_order() -> Logs:
    """A sale and its refund, printed, told and taken."""
    logs = Logs()
    for number, (receipt, event, kind, external_id) in enumerate(
        [(SALE, EVENT, "sell", "p-1"), (REFUND, BACK, "sell_refund", "r-1")], 1
    ):
        about = {"kind": kind, "external_id": external_id, "name": "Line p-1", "total": 100, "merchant": 0}
        logs.acks.append(
            {**about, "status": 202, "id": f"evt_{event.hex}", "copy": 0, "key": None, "contradicts": False}
        )
        type_ = "payment.succeeded" if kind == "sell" else "refund.succeeded"
        logs.events.append({"id": event, "type": type_, "external_id": external_id})
        row = {
            "id": receipt,
            "merchant_id": MERCHANT,
            "event_id": event,
            "chain_id": CHAIN,
            "provider_id": f"i{number}",
        }
        row |= {"operation": kind, "status": "fiscalized", "sequence": 1, "total": 100, "fn": "F", "fd": number}
        logs.receipts.append({**row, "fpd": "7", "failure": None, "marks": 1})
        document = {"provider_id": f"i{number}", "operation": kind, "total": 100, "fn": "F", "fd": number, "fpd": 7}
        logs.ledger.append({**document, "at": "2026-01-01T00:00:01Z", "body": {"items": [{"name": "Line p-1"}]}})
        call = {"id": f"i{number}", "action": "submit", "status": 201, "faults": [], "at": 1.0, "until": 1.1}
        logs.calls.append(call)
        steps = [("planned", "queued"), ("marked", "sending"), ("fiscalized", "fiscalized")]
        logs.timeline += [entry(receipt, number + n / 10, what, status) for n, (what, status) in enumerate(steps)]
        message = UUID(int=100 + number)
        logs.messages.append(
            {"id": message, "receipt_id": receipt, "type": "receipt.fiscalized", "sequence": 1, "sha256": "h"}
        )
        logs.outbox.append({"message_id": message, "endpoint_id": ENDPOINT, "status": "delivered", "attempts": 1})
        post = {"endpoint": 0, "id": f"msg_{message.hex}", "sha256": "h", "verified": True, "answer": "204", "at": 2.0}
        logs.sink.append(
            {**post, "type": "receipt.fiscalized", "receipt": f"rcpt_{receipt.hex}", "sequence": 1, "seen": 1}
        )
    logs.endpoints = {0: str(ENDPOINT)}
    state = {"id": ENDPOINT, "merchant_id": MERCHANT, "status": "active", "disabled_reason": None, "updated_at": BEGAN}
    logs.switched = [state]
    return logs


def manual(logs: Logs, **changes: Any) -> None:
    """One more answer under an Idempotency-Key."""
    about = {"kind": "sell", "external_id": "m-1", "name": "Line p-1", "total": 100, "merchant": 0, "copy": 1}
    about |= {"status": 202, "id": f"rcpt_{SALE.hex}", "key": "m-1", "contradicts": False, "sha256": "a"}
    logs.acks.append({**about, **changes})


def twice_answered(logs: Logs) -> None:
    manual(logs)
    manual(logs, sha256="b")


def stale_write(logs: Logs) -> None:
    logs.timeline[2:3] = [entry(SALE, 1.2, "lease_lost", "unknown"), entry(SALE, 1.3, "fiscalized", "fiscalized")]


def sent_after_refusal(logs: Logs) -> None:
    refused = {"id": "i1", "action": "submit", "status": 400, "faults": ["refuse"], "at": 0.5, "until": 0.6}
    logs.calls.append(refused)
    logs.attempts.append({"receipt_id": SALE, "kind": "submit", "outcome": "rejected"})


def taken_twice(logs: Logs) -> None:
    """In a run that is long enough for shares."""
    logs.sink += [logs.sink[0]] * 60
    logs.outbox += [logs.outbox[1]] * 498


def switched_off_untold(logs: Logs) -> None:
    logs.switched[0].update(status="disabled", disabled_reason="gone")
    logs.sink.append({**logs.sink[0], "answer": "gone"})


BREACHES: list[tuple[str, Callable[[Logs], Any]]] = [
    ("I1", lambda logs: logs.events.pop()),
    ("I2", lambda logs: logs.ledger.append({**logs.ledger[0], "fd": 9})),
    ("I2", lambda logs: logs.ledger.append({**logs.ledger[0], "fd": 9, "provider_id": "another"})),
    ("I3", lambda logs: logs.receipts[0].update(status="unknown")),
    ("I3", lambda logs: logs.receipts[0].update(status="rejected")),
    ("I3", lambda logs: logs.ledger[0].update(total=99)),
    ("I4", lambda logs: logs.receipts[0].update(fpd="8")),
    ("I4", lambda logs: logs.receipts[0].update(status="rejected")),
    ("I5", lambda logs: logs.sink[0].update(seen=0)),
    ("I5", lambda logs: logs.sink[0].update(seen="not there")),
    ("I6", lambda logs: logs.sink[0].update(answer="500")),
    ("I6", lambda logs: logs.sink.append({**logs.sink[0], "sha256": "other"})),
    ("I6", lambda logs: logs.messages.pop()),
    ("I7", twice_answered),
    ("I7", lambda logs: manual(logs, contradicts=True, status=202)),
    ("I8", stale_write),
    ("I9", lambda logs: (logs.ledger[0].update(fd=3), logs.receipts[0].update(fd=3))),
    ("I12", lambda logs: logs.texts.update(log="to kanareyka.canary@example.org")),
    ("R", sent_after_refusal),
    ("W", taken_twice),
    ("E", lambda logs: logs.switched[0].update(status="disabled", disabled_reason="gone")),
    ("E", lambda logs: logs.sink.append({**logs.sink[0], "answer": "gone"})),
    ("E", switched_off_untold),
]


def test_logs_in_order_break_nothing() -> None:
    assert Checker(in_order()).run() == []


@pytest.mark.parametrize(("invariant", "breach"), BREACHES)
def test_a_broken_promise_is_seen(invariant: str, breach: Callable[[Logs], Any]) -> None:
    logs = in_order()
    breach(logs)
    assert invariant in {one.invariant for one in Checker(logs).run()}


def test_a_violation_tells_the_story_of_its_receipt() -> None:
    logs = in_order()
    logs.receipts[0]["fpd"] = "8"
    (found,) = [one for one in Checker(logs).run() if one.invariant == "I4"]
    assert ["marked" in line for line in found.history].count(True) == 1
    assert any("ledger: FD 1" in line for line in found.history)
