"""The virtual fiscal storage: numbers without gaps, shifts of at most a day, and nothing lost in a restart."""

import json
import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.ffd import Operation, Taxation
from app.simulator.tape import Order, ShiftError, Tape, masked, registration_number

START = datetime(2026, 11, 23, 20, 59, 30, tzinfo=UTC)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time

    def pass_(self, **by: float) -> None:
        self.time += timedelta(**by)


def order(provider_id: str = "a1", **changes: object) -> Order:
    told = {
        "provider": "digitalkassa",
        "provider_id": provider_id,
        "group": "4321",
        "operation": Operation.SELL,
        "correction": False,
        "total": 149_000,
        "taxation": Taxation.OSN,
        "body": {"notify": {"emails": ["buyer@example.org"], "phone": "+79990000000"}, "amount": Decimal("1490.00")},
    }
    return Order(**{**told, **changes})  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "tape.jsonl"


def test_a_receipt_takes_the_next_number_after_the_report_that_opens_the_shift() -> None:
    tape = Tape(now=Clock())
    first, second = tape.print_receipt(order("a1")), tape.print_receipt(order("a2"))
    assert [(d.kind, d.fd) for d in tape.documents] == [("shift_opened", 1), ("receipt", 2), ("receipt", 3)]
    assert (first.shift, first.number_in_shift, second.number_in_shift) == (1, 1, 2)
    assert first.local_time == "2026-11-23T23:59:30"
    assert first.qr == f"t=20261123T2359&s=1490.00&fn={tape.fn}&i=2&fp={first.fpd}&n=1"
    assert tape.receipts == [first, second]


def test_local_time_is_that_of_the_receipt() -> None:
    printed = Tape(now=Clock()).print_receipt(order(utc_offset_hours=12, operation=Operation.SELL_REFUND, total=5))
    assert printed.local_time == "2026-11-24T08:59:30"
    assert printed.qr is not None
    assert printed.qr.startswith("t=20261124T0859&s=0.05&")
    assert printed.qr.endswith("&n=2")


def test_a_fiscal_sign_depends_on_what_is_printed_and_on_nothing_else() -> None:
    signs = {Tape(now=Clock()).print_receipt(order(total=total)).fpd for total in (1, 2, 2)}
    assert len(signs) == 2
    assert all(1_000_000_000 <= sign < 2**32 for sign in signs)


def test_the_tape_does_not_deduplicate() -> None:
    tape = Tape(now=Clock())
    assert [tape.print_receipt(order()).fd, tape.print_receipt(order()).fd] == [2, 3]
    assert len(tape.find("digitalkassa", "4321", "a1")) == 2


def test_a_shift_is_renewed_after_a_day() -> None:
    clock = Clock()
    tape = Tape(now=clock)
    tape.print_receipt(order("a1"))
    clock.pass_(hours=23, minutes=59)
    assert tape.print_receipt(order("a2")).shift == 1
    clock.pass_(minutes=1)
    last = tape.print_receipt(order("a3"))
    assert (last.shift, last.number_in_shift) == (2, 1)
    assert [d.kind for d in tape.documents][-3:] == ["shift_closed", "shift_opened", "receipt"]


def test_shifts_kept_by_hand_are_not_opened_by_a_receipt() -> None:
    clock = Clock()
    tape = Tape(now=clock)
    tape.auto_shift = False
    with pytest.raises(ShiftError):
        tape.print_receipt(order())
    tape.open_shift()
    with pytest.raises(ShiftError):
        tape.open_shift()
    tape.print_receipt(order())
    clock.pass_(hours=24)
    with pytest.raises(ShiftError):
        tape.print_receipt(order("a2"))
    tape.close_shift()
    with pytest.raises(ShiftError):
        tape.close_shift()
    assert [d.fd for d in tape.documents] == [1, 2, 3]


STEPS = st.lists(st.sampled_from(["print", "queue", "drop", "hour", "close", "restart"]), max_size=25)


@given(STEPS)
def test_numbers_have_no_gaps_and_a_restart_changes_nothing(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, clock = Path(folder) / "tape", Clock()
        tape = Tape(path, fsync=False, now=clock)
        for number, step in enumerate(steps):
            match step:
                case "print":
                    tape.print_receipt(next(iter(tape.waiting.values()), order(f"a{number}")))
                case "queue":
                    tape.queue(order(f"a{number}"))
                case "drop":
                    tape.drop(next(iter(tape.waiting), ("", "", "")))
                case "hour":
                    clock.pass_(hours=7)
                case "close" if tape.shift:
                    tape.close_shift()
                case "restart":
                    before = (list(tape.documents), tape.shift, list(tape.waiting))
                    tape.close()
                    tape = Tape(path, fsync=False, now=clock)
                    assert (tape.documents, tape.shift, list(tape.waiting)) == before
        assert [d.fd for d in tape.documents] == list(range(1, len(tape.documents) + 1))
        for shift in {d.shift for d in tape.documents}:
            numbers = [d.number_in_shift for d in tape.receipts if d.shift == shift]
            assert numbers == list(range(1, len(numbers) + 1))
        tape.close()


def test_a_torn_last_line_is_cut_off(path: Path) -> None:
    tape = Tape(path)
    tape.print_receipt(order())
    tape.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"record": "document", "fd"')
    again = Tape(path)
    assert len(again.documents) == 2
    assert again.print_receipt(order("a2")).fd == 3
    again.close()
    assert [json.loads(line)["fd"] for line in path.read_bytes().splitlines()] == [1, 2, 3]


def test_no_buyer_on_disk(path: Path) -> None:
    tape = Tape(path)
    tape.queue(order("a1"))
    tape.print_receipt(order("a2"))
    tape.close()
    assert b"buyer@example.org" not in path.read_bytes()
    assert b"79990000000" not in path.read_bytes()
    assert masked(["a@example.org", {"phones": ["+79990000000"], "tin": "7700000009"}]) == [
        "a***@example.org",
        {"phones": ["+7***00"], "tin": "7700000009"},
    ]


def test_registration_number_has_the_check_digits_of_the_format() -> None:
    assert registration_number(1, "7702203276", "1") == "0000000001001579"
