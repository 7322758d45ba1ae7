"""The QR text is what the tax service's app reads: written exactly, read generously."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.ffd import Operation
from app.domain.qr import QrData, parse_qr, qr_text
from app.domain.receipt import FiscalData

EXAMPLE = "t=20261123T1505&s=1220.00&fn=9960440300000001&i=12345&fp=3304159072&n=1"
DOCUMENT = FiscalData(
    fn="9960440300000001",
    fd=12345,
    fpd="3304159072",
    fiscalized_at=datetime(2026, 11, 23, 12, 5, 40, tzinfo=UTC),
    local_time="2026-11-23T15:05:40",
)
READ = QrData("2026-11-23T15:05:00", 1220_00, "9960440300000001", 12345, "3304159072", Operation.SELL)


@pytest.mark.parametrize(
    "local_time",
    [
        "2026-11-23T15:05:40",
        "2026-11-23 15:05",
        "2026-11-23T15:05:40.123+03:00",
        "23.11.2026 15:05:40",
        "23.11.2026T15:05",
        "20261123T1505",
        "20261123T150540",
    ],
)
def test_the_example_of_the_format(local_time: str) -> None:
    assert qr_text(replace(DOCUMENT, local_time=local_time), Operation.SELL, 1220_00) == EXAMPLE


@pytest.mark.parametrize("local_time", ["", "2026-11-23T12:05:40Z", "yesterday", "2026-13-45T99:99"])
def test_without_a_local_time_the_zone_of_the_kassa_decides(local_time: str) -> None:
    document = replace(DOCUMENT, local_time=local_time)
    assert qr_text(document, Operation.SELL, 1220_00, timezone="Europe/Moscow") == EXAMPLE
    assert "t=20261123T2205&" in qr_text(document, Operation.SELL, 1220_00, timezone="Asia/Vladivostok")
    with pytest.raises(ValueError, match="local time"):
        qr_text(document, Operation.SELL, 1220_00)


def test_no_leading_zeros() -> None:
    text = qr_text(replace(DOCUMENT, fpd="0000012345"), Operation.BUY_REFUND, 5)
    assert text.endswith("&s=0.05&fn=9960440300000001&i=12345&fp=12345&n=4")


@pytest.mark.parametrize(
    "text",
    [
        EXAMPLE,
        "  " + EXAMPLE + "\n",
        "fn=9960440300000001&n=1&fp=3304159072&i=12345&s=1220&t=20261123T1505",
        EXAMPLE.removesuffix("&n=1"),
        EXAMPLE.replace("1220.00", "1220,0"),
        EXAMPLE.replace("i=12345", "i=0000012345"),
        "https://consumer.1-ofd.ru/v1?" + EXAMPLE,
        "https://ofd.example/#/check?" + EXAMPLE + "&extra=1",
    ],
)
def test_what_links_and_devices_make_of_it(text: str) -> None:
    assert parse_qr(text) == READ


def test_seconds_are_kept_when_given() -> None:
    assert parse_qr(EXAMPLE.replace("T1505", "T150559")).local_time == "2026-11-23T15:05:59"


@pytest.mark.parametrize(
    ("was", "becomes", "complaint"),
    [
        ("t=20261123T1505", "t=20261323T1505", "time"),
        ("t=20261123T1505&", "", "time"),
        ("1220.00", "12.345", "sum"),
        ("1220.00", "-5", "sum"),
        ("9960440300000001", "99604403", "16 digits"),
        ("i=12345", "i=x", "document number"),
        ("fp=3304159072", "fp=", "fiscal sign"),
        ("n=1", "n=5", "operation"),
    ],
)
def test_a_faulty_field_is_named(was: str, becomes: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_qr(EXAMPLE.replace(was, becomes))


@given(
    minute=st.datetimes(datetime(2017, 1, 1), datetime(2099, 1, 1)),  # noqa: DTZ001
    total=st.integers(1, 10**12),
    fn=st.integers(10**15, 10**16 - 1),
    fd=st.integers(1, 2**32 - 1),
    fpd=st.integers(0, 2**32 - 1),
    operation=st.sampled_from(Operation),
)
@settings(max_examples=200, deadline=None)
def test_written_and_read_again(minute: datetime, total: int, fn: int, fd: int, fpd: int, operation: Operation) -> None:
    minute = minute.replace(second=0, microsecond=0)
    document = FiscalData(str(fn), fd, f"{fpd:010}", datetime.now(UTC), minute.isoformat())
    read = parse_qr(qr_text(document, operation, total))
    assert read == QrData(minute.isoformat(), total, str(fn), fd, str(fpd), operation)
