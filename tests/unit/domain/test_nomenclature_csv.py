"""Rules as a table: what is written is read back, and nothing in it runs when a spreadsheet opens it."""

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.nomenclature_csv import COLUMNS, guarded, read_rules, unguarded, write_rules

CELLS = st.text(alphabet="=+-@'0123456789.,/eЕ \tабcd;\"%:()＝", max_size=12).map(str.strip)
FORMULAS = ("=1+1", "+79990000000", "-5", "@SUM(A1)", "=cmd|' /C calc'!A0", "＝1", "\t=1", '=HYPERLINK("x")')


@given(CELLS)
def test_a_guard_is_taken_away_exactly(text: str) -> None:
    assert unguarded(guarded(text)) == text


@given(st.lists(CELLS.filter(bool), min_size=1, max_size=4))
def test_nothing_that_is_written_runs(texts: list[str]) -> None:
    told = write_rules([{"sku": text, "text": text, "name": text, "comment": text} for text in texts])
    rows = list(csv.reader(io.StringIO(told.removeprefix("\ufeff"), newline=""), delimiter=";"))
    for row, text in zip(rows[1:], texts, strict=True):
        for cell in row:
            assert not cell.startswith(tuple("=+-@\t\r＝＋－＠")), cell
        assert row[list(COLUMNS).index("name")].lstrip("'") == text.lstrip("'")


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "sku": CELLS.filter(bool),
                "text": CELLS.filter(bool),
                "name": CELLS.filter(bool),
                "vat": st.sampled_from(["none", "vat22", "vat105"]),
                "payment_object": st.sampled_from(["service", "another"]),
                "payment_type": st.sampled_from(["cash", "electronic"]),
                "agent_supplier_phones": st.just("+79990000000, +74950000000"),
            },
        ).filter(bool),
        max_size=5,
    ),
    st.integers(-1000, 1000),
    st.booleans(),
)
def test_what_is_written_is_read_back(rules: list[dict[str, str]], priority: int, override: bool) -> None:
    rows: list[dict[str, Any]] = [{**rule, "priority": priority, "override": override} for rule in rules]
    lines, faults = read_rules(write_rules(rows), 100)
    assert faults == ()
    assert [dict(line.cells) for line in lines] == rules
    assert all(line.findings == () for line in lines)
    assert all((line.priority, line.override) == (priority, override) for line in lines)


@pytest.mark.parametrize("text", [*FORMULAS, "007", "4600123456789", "1-2", "3/4", "10.05.2026", "1e5", "50%"])
def test_what_a_spreadsheet_would_change_is_guarded(text: str) -> None:
    assert guarded(text) == "'" + text


@pytest.mark.parametrize("text", ["Абонемент 8 занятий", "A-1", "'quoted' name", "8 занятий"])
def test_plain_words_stay_as_they_are(text: str) -> None:
    assert guarded(text) == text == unguarded(text)


def test_an_accountants_table_is_read() -> None:
    text = (
        "Артикул,Текст,Наименование,НДС,Предмет расчёта,Вид оплаты,Заменять,Приоритет\n"
        "'007,,Кружка,НДС 10%,товар,карта,да,5\n"
        ",Абонемент*,,Без НДС,услуга,,,\n"
    )
    lines, faults = read_rules(text, 10)
    assert faults == ()
    first, second = lines
    assert dict(first.cells) == {
        "sku": "007",
        "name": "Кружка",
        "vat": "vat10",
        "payment_object": "commodity",
        "payment_type": "electronic",
    }
    assert (first.priority, first.override, first.line) == (5, True, 2)
    assert dict(second.cells) == {"text": "Абонемент*", "vat": "none", "payment_object": "service"}


def test_every_fault_of_every_line_is_told() -> None:
    lines, faults = read_rules("text;vat;override;priority;payment_type\nа;19%;может;много;мена;\nб;22%;;;\n", 10)
    assert faults == ()
    assert [one.pointer.rsplit("/", 1)[1] for one in lines[0].findings] == [
        "payment_type",
        "vat",
        "override",
        "priority",
    ]
    assert all("Line 2" in one.detail and "Строка 2" in one.detail_ru for one in lines[0].findings)
    assert lines[1].findings == ()


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "list_empty"),
        ("text;цвет\nа;б\n", "column_unknown"),
        ("text;text\nа;б\n", "column_repeated"),
        ('text\n"а\n', "list_format"),
        ("text\nа\nб\nв\n", "list_too_long"),
    ],
)
def test_a_file_that_is_no_table_of_rules_is_refused_as_a_whole(text: str, rule: str) -> None:
    lines, faults = read_rules(text, 2)
    assert lines == []
    assert rule in [fault.rule for fault in faults]


def test_heads_alone_are_an_empty_set() -> None:
    assert read_rules(write_rules([]), 10) == ([], ())
