"""Names survive the register's code page: nothing in them may make a provider refuse the receipt."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.text import CHANGES, cp866_safe, fit


@pytest.mark.parametrize(
    ("text", "printed", "changes"),
    [
        ("Кружка №5, ёлка 20°", "Кружка №5, ёлка 20°", ()),
        ("Абонемент «Йога»", 'Абонемент "Йога"', ("quotes",)),
        ("утро — вечер – ночь", "утро - вечер - ночь", ("dashes",)),
        ("и так далее…", "и так далее...", ("ellipsis",)),
        ("5\u00a0000 ₽", "5 000 руб.", ("rouble", "spaces")),
        ("12 × 45", "12 x 45", ("letters",)),
        ("Футболка 🎉 «Лето»", 'Футболка "Лето"', ("quotes", "dropped", "spaces")),
        ("cafe\u0301", "cafe", ("letters",)),
        ("Қазақ", "?аза?", ("dropped",)),
        ("и\u0306", "й", ()),
        ("a\tb\x00\nc", "a b c", ("control", "spaces")),
        ("  два   пробела  ", "два пробела", ("spaces",)),
        ("нуль\u200bширины\ufeff", "нульширины", ("dropped",)),
        ("½ порции", "1/2 порции", ("letters",)),
    ],
)
def test_typography_gets_its_plain_twin(text: str, printed: str, changes: tuple[str, ...]) -> None:
    assert fit(text, 128) == (printed, changes)


def test_a_long_text_ends_at_a_word() -> None:
    text = "Индивидуальное занятие по программированию на языке Python для начинающих"
    assert fit(text, 43) == ("Индивидуальное занятие по программированию", ("truncated",))
    assert fit(text, 50) == ("Индивидуальное занятие по программированию на", ("truncated",))
    assert fit("Индивидуальное занятие, продвинутый", 32)[0] == "Индивидуальное занятие, продвину"
    assert fit("Индивидуальное занятие, продвинутый", 24)[0] == "Индивидуальное занятие"
    assert fit("Слово" * 40, 128)[0] == ("Слово" * 40)[:128]


def test_only_the_unprintable_becomes_empty() -> None:
    assert fit("👍🎉", 128)[0] == ""
    assert fit("\x00\u200b", 128)[0] == ""
    assert fit("日本", 128)[0] == "??"
    assert fit("", 128) == ("", ())


def test_there_must_be_room() -> None:
    with pytest.raises(ValueError, match="room"):
        fit("a", 0)


@pytest.mark.parametrize(("text", "safe"), [("Кружка", True), ("«", False), ("a\tb", False), ("₽", False), ("", True)])
def test_what_a_register_prints(text: str, safe: bool) -> None:
    assert cp866_safe(text) is safe


@given(text=st.text(max_size=200), limit=st.integers(1, 130))
@settings(max_examples=200, deadline=None)
def test_any_text_is_fitted_once_and_for_all(text: str, limit: int) -> None:
    printed, changes = fit(text, limit)
    assert len(printed) <= limit
    assert len(printed.encode("cp866")) == len(printed)
    assert cp866_safe(printed)
    assert set(changes) <= set(CHANGES)
    assert fit(printed, limit) == (printed, ())
    if not changes:
        assert printed == unicodedata.normalize("NFC", text)


@given(st.text(alphabet="абвгдежзийклмнопрстуфхцчшщъыьэюяё АБВ0123456789,.-()№", max_size=128))
@settings(max_examples=200, deadline=None)
def test_plain_russian_stays_as_it_is(text: str) -> None:
    plain = " ".join(text.split())
    assert fit(plain, 128) == (plain, ())
