"""A register as its cabinet exports it becomes the events that the source's notices would have told."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.event import EventType
from app.domain.money import roubles
from app.domain.register import COLUMNS, IMPORTED, REQUIRED, Row, read_register

MOSCOW = ZoneInfo("Europe/Moscow")


def rows_of(text: str) -> list[Row]:
    rows, findings = read_register(text, MOSCOW)
    assert findings == ()
    return rows


def one(text: str) -> Row:
    (row,) = rows_of(text)
    return row


def test_a_payment_in_russian_heads() -> None:
    row = one(
        "ID операции;Дата;Сумма;Наименование;НДС;Почта;Заказ;Вид оплаты;Филиал\n"
        "a-1;23.11.2026 14:05;1 990,50 ₽;Абонемент;без НДС;anna@example.org;A-1;СБП;f-1\n"
    )
    event = row.event
    assert event is not None
    assert (event.type, event.external_id, event.amount) == (EventType.PAYMENT_SUCCEEDED, "a-1", 1990_50)
    assert event.occurred_at == datetime(2026, 11, 23, 11, 5, tzinfo=UTC)
    assert (event.items[0].name, event.items[0].vat, event.items[0].amount) == ("Абонемент", "none", 1990_50)
    assert (event.customer.email, event.order_id, event.branch) == ("anna@example.org", "A-1", "f-1")
    assert event.payments[0].kind == "electronic"
    assert event.metadata == {IMPORTED: True}


def test_a_refund_names_its_payment() -> None:
    text = "external_id,date,amount,type,payment_id\nr-1,2026-11-23,10.00,возврат,a-1\nr-2,2026-11-23,10.00,refund,\n"
    first, second = rows_of(text)
    assert first.event is not None
    assert (first.event.type, first.event.payment_id) == (EventType.REFUND_SUCCEEDED, "a-1")
    assert second.event is None
    assert [finding.rule for finding in second.findings] == ["cell_missing"]


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-11-23", datetime(2026, 11, 23, 9, tzinfo=UTC)),
        ("23.11.26", datetime(2026, 11, 23, 9, tzinfo=UTC)),
        ("23.11.2026 14:05:30", datetime(2026, 11, 23, 11, 5, 30, tzinfo=UTC)),
        ("2026-11-23T14:05:00+07:00", datetime(2026, 11, 23, 7, 5, tzinfo=UTC)),
        ("2026-11-23T14:05:00Z", datetime(2026, 11, 23, 14, 5, tzinfo=UTC)),
        ("2026-11-23 14:05", datetime(2026, 11, 23, 11, 5, tzinfo=UTC)),
    ],
)
def test_moments_as_people_and_programs_write_them(written: str, moment: datetime) -> None:
    event = one(f"external_id;date;amount\na-1;{written};1\n").event
    assert event is not None
    assert event.occurred_at == moment


@pytest.mark.parametrize(
    ("cells", "rule"),
    [
        (";23.11.2026;1", "cell_missing"),
        ("a;23.13.2026;1", "date_format"),
        ("a;23.11.2026 25:00;1", "date_format"),
        ("a;23.11.2026 later;1", "date_format"),
        ("a;23.11.2026;-1", "amount_positive"),
        ("a;23.11.2026;1,005", "amount_format"),
        ("a;23.11.2026;1;left over", "cells_too_many"),
        (f"{'a' * 256};23.11.2026;1", "cell_long"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(cells: str, rule: str) -> None:
    row = one(f"external_id;date;amount\n{cells}\n")
    assert row.event is None
    assert rule in [finding.rule for finding in row.findings]
    assert all("2" in finding.detail for finding in row.findings)


def test_an_unknown_type_and_a_rate_without_a_name_are_faults() -> None:
    row = one("external_id;date;amount;type;vat\na;23.11.2026;1;подарок;20\n")
    assert {finding.rule for finding in row.findings} == {"value_unknown", "cell_missing"}


def test_an_id_that_stands_twice_is_a_fault_of_the_second() -> None:
    first, second, third = rows_of(
        "external_id;date;amount;type;payment_id\na;23.11.2026;1;;\na;23.11.2026;2;;\na;23.11.2026;1;refund;a\n"
    )
    assert first.event is not None
    assert [finding.rule for finding in second.findings] == ["row_repeated"]
    assert third.event is not None


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "list_empty"),
        ("external_id;date;amount\n", "list_empty"),
        ("external_id;date\na;23.11.2026\n", "column_missing"),
        ("external_id;date;amount;colour\na;23.11.2026;1;red\n", "column_unknown"),
        ('external_id;date;amount\n"a;23.11.2026;1\n', "list_format"),
    ],
)
def test_a_file_that_is_none_says_why(text: str, rule: str) -> None:
    rows, findings = read_register(text, MOSCOW)
    assert rows == []
    assert rule in [finding.rule for finding in findings]


def test_every_head_belongs_to_one_column() -> None:
    heads = [head for name, others in COLUMNS.items() for head in (name, *others)]
    assert len(heads) == len(set(heads))
    assert set(REQUIRED) <= set(COLUMNS)


@given(st.integers(1, 10**11), st.sampled_from([",", "."]), st.sampled_from([";", "\t"]))
def test_sums_are_read_to_the_kopeck(amount: int, point: str, delimiter: str) -> None:
    written = f"{roubles(amount):.2f}".replace(".", point)
    event = one(f"external_id{delimiter}date{delimiter}amount\na{delimiter}2026-11-23{delimiter}{written}\n").event
    assert event is not None
    assert event.amount == amount
