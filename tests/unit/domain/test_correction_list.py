"""A table of payments as people save it: delimiters, heads, dates and sums of every habit; each fault with its line."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.correction_list import COLUMNS, MAX_ROWS, Listed, Unreadable, read_list


def rows(text: str) -> list[Listed | Unreadable]:
    found, faults = read_list(text)
    assert faults == ()
    return found


def rules(text: str) -> list[str]:
    found, faults = read_list(text)
    assert found == []
    return [one.rule for one in faults]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "lines",
    [
        ("payment_id;date;amount;email", "p-1;18.11.2026;1500,50;a@example.org"),
        ("ID платежа;Дата;Сумма;Почта", "p-1;18.11.2026 14:05;1 500,50 руб.;a@example.org"),
        ("Платёж,Дата платежа,СУММА,E-mail", 'p-1,2026-11-18,"1500,50",a@example.org'),
        ("payment_id\tdate\tamount\temail", "p-1\t2026-11-18T10:00:00\t1500.5\ta@example.org"),
        ("дата;сумма;номер платежа;эл. почта", "18.11.26;1\u00a0500,50 ₽;p-1;a@example.org"),
    ],
)
def test_the_same_payment_in_many_hands(mark: str, end: str, lines: tuple[str, str]) -> None:
    (row,) = rows(mark + end.join((*lines, "", "")))
    assert isinstance(row, Listed)
    assert (row.number, row.line, row.payment_id, row.day, row.amount) == (0, 2, "p-1", date(2026, 11, 18), 150050)
    assert row.customer.email == "a@example.org"


def test_everything_that_a_row_can_say() -> None:
    (row,) = rows(
        "id;дата;сумма;наименование;ндс;телефон;заказ;вид оплаты;сно;филиал\n"
        "p;18.11.2026;10;Курс, часть 2;22/122;+79990000000;A-1;наличными;usn_income;north\n"
    )
    assert isinstance(row, Listed)
    (item,) = row.items
    assert (item.name, item.vat, item.amount) == ("Курс, часть 2", "vat122", 1000)
    assert [(one.kind, one.amount) for one in row.payments] == [("cash", 1000)]
    assert (row.order_id, row.taxation, row.branch, row.customer.phone) == (
        "A-1",
        "usn_income",
        "north",
        "+79990000000",
    )


@pytest.mark.parametrize(
    ("cell", "vat"),
    [
        ("22%", "vat22"),
        ("НДС 20%", "vat20"),
        ("без НДС", "none"),
        ("vat5", "vat5"),
        ("0", "vat0"),
        ("10/110", "vat110"),
    ],
)
def test_rates_as_people_write_them(cell: str, vat: str) -> None:
    (row,) = rows(f"id;дата;сумма;товар;ндс\np;18.11.2026;10;Курс;{cell}\n")
    assert isinstance(row, Listed)
    assert row.items[0].vat == vat


def test_every_fault_of_every_line_with_its_number() -> None:
    found = rows(
        "id;дата;сумма;товар;ндс\n"
        "\n"
        ";31.02.2026;-5;;22%\n"
        'p-2;18.11.2026;1.005;"Курс\nв две строки";лишнее\n'
        "p-3;18.11.2026;0;Курс;;и ещё\n"
        "p-4;18.11.2026;10;Курс;\n"
    )
    told = [[one.rule for one in row.findings] if isinstance(row, Unreadable) else [] for row in found]
    assert told == [
        ["cell_missing", "date_format", "amount_positive", "cell_missing"],
        ["amount_format", "value_unknown"],
        ["cells_too_many", "amount_positive"],
        [],
    ]
    assert [row.line for row in found] == [3, 4, 6, 7]
    first = found[0]
    assert isinstance(first, Unreadable)
    assert first.findings[1].detail_ru == "Строка 3: «дата» не дата."
    assert first.findings[1].pointer == "#/rows/0/date"


def test_a_file_that_is_no_list() -> None:
    assert rules("") == ["list_empty"]
    assert rules("\ufeff\n\n") == ["list_empty"]
    assert rules('""') == ["list_empty"]
    assert rules("id;дата;сумма\n") == ["list_empty"]
    assert rules("id;дата;дата;цвет\np;1;1;1\n") == ["column_repeated", "column_unknown", "column_missing"]
    assert rules('id;дата;сумма\n"p;18.11.2026;10\n') == ["list_format"]
    many = "\n".join(f"p-{n};18.11.2026;10" for n in range(MAX_ROWS + 1))
    assert rules(f"id;дата;сумма\n{many}\n") == ["list_too_long"]


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    found, faults = read_list(text)
    assert bool(found) != bool(faults)


@given(st.sampled_from(";,\t"), st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\n"), max_size=40))
def test_whatever_stands_in_a_name_comes_through(delimiter: str, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    heads = delimiter.join(("payment_id", "date", "amount", "name"))
    (row,) = rows(f"{heads}\n" + delimiter.join(("p", "2026-11-18", '"1,50"', quoted)))
    assert isinstance(row, Listed)
    assert row.amount == 150
    assert [item.name for item in row.items] == ([name.strip()] if name.strip() else [])


def test_no_head_means_two_columns() -> None:
    heads = [head for name, others in COLUMNS.items() for head in (name, *others)]
    assert len(heads) == len(set(heads))
