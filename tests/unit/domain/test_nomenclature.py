"""Which rule fills a line: the same one however the rules are kept, the narrower one before the wider one."""

import random
import re
from dataclasses import fields, replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.codec import filled_from_json, filled_to_json
from app.domain.defaults import Defaults
from app.domain.event import EventItem
from app.domain.ffd import AgentType, Measure, PaymentKind, PaymentMethod, PaymentObject
from app.domain.nomenclature import (
    Conditions,
    Filled,
    FilledLine,
    Glob,
    Matcher,
    Rule,
    RuleSet,
    Unmapped,
    as_printed,
    folded,
    rank,
    sought,
)
from app.domain.plan import Held, HeldReason, Planned, Refused
from app.domain.planning import plan_sale
from app.domain.receipt import Agent
from app.domain.vat import VatRate

ELECTRONIC = frozenset({"electronic"})
WORDS = st.text(alphabet="аб *Ё-", min_size=1, max_size=8)
TEXTS = st.text(alphabet="аб ёЁ-—", max_size=10)
CONDITIONS = st.builds(
    Conditions,
    source=st.sampled_from([None, "s1", "s2"]),
    branch=st.sampled_from([None, "b1"]),
    payment_type=st.sampled_from([None, PaymentKind.CASH, PaymentKind.ELECTRONIC]),
    sku=st.sampled_from([None, "A-1", "A-2"]),
    text=st.none() | WORDS,
)


def rules_of(conditions: list[tuple[Conditions, int]]) -> list[Rule]:
    return [Rule(f"nom_{number}", when, priority=priority) for number, (when, priority) in enumerate(conditions)]


RULES = st.lists(st.tuples(CONDITIONS, st.integers(-1, 1)), max_size=12).map(rules_of)


def as_regex(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, folded(text).split("*"))), re.DOTALL)


def naive(rules: list[Rule], source: str, branch: str | None, sku: str | None, text: str, kinds: frozenset[str]) -> Any:
    """The definition: of all that match, the first by rank."""
    matching = [
        rule
        for rule in rules
        if rule.when.source in (None, source)
        and (rule.when.branch is None or rule.when.branch == branch)
        and (rule.when.payment_type is None or rule.when.payment_type.code in kinds)
        and (rule.when.sku is None or rule.when.sku == sku)
        and (rule.when.text is None or as_regex(rule.when.text).fullmatch(folded(text)))
    ]
    return min(matching, key=rank, default=None)


@given(WORDS, TEXTS)
def test_a_star_stands_for_any_characters(pattern: str, text: str) -> None:
    assert Glob(pattern).matches(folded(text)) == bool(as_regex(pattern).fullmatch(folded(text)))


def test_stars_take_no_more_time_than_the_text_is_long() -> None:
    assert not Glob("*а" * 100 + "*б").matches("а" * 20_000)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("абонемент «Лето»", 'Абонемент "ЛЕТО"'),
        ("Учёба", "учеба"),
        ("8  занятий", "8 занятий"),
        ("Курс — онлайн", "курс - онлайн"),
        ("Абонемент*", "Абонемент 8 занятий"),
        ("*английский*", "Группа: Английский, дети"),
        ("Абон. * зан.*", "Абон. 12 зан. (утро)"),
    ],
)
def test_what_an_accountant_means(pattern: str, text: str) -> None:
    assert Glob(pattern).matches(folded(text))


@pytest.mark.parametrize(("pattern", "text"), [("Абонемент", "Абонемент 8"), ("а*а", "а"), ("Абон *", "Абонемент")])
def test_what_nobody_means(pattern: str, text: str) -> None:
    assert not Glob(pattern).matches(folded(text))


@given(
    RULES,
    st.sampled_from(["s1", "s2"]),
    st.sampled_from([None, "b1", "b2"]),
    st.sampled_from([None, "A-1", "A-3"]),
    TEXTS,
    st.sampled_from([ELECTRONIC, frozenset({"cash"}), frozenset({"cash", "electronic"})]),
    st.randoms(),
)
def test_the_index_finds_what_the_definition_says_in_any_order(
    rules: list[Rule],
    source: str,
    branch: str | None,
    sku: str | None,
    text: str,
    kinds: frozenset[str],
    chance: random.Random,
) -> None:
    expected = naive(rules, source, branch, sku, text, kinds)
    shuffled = rules[:]
    chance.shuffle(shuffled)
    found = RuleSet(1, shuffled).at(source, branch, Unmapped.DEFAULT).find(sku, text, kinds)
    assert found == expected


@given(CONDITIONS, CONDITIONS)
def test_who_asks_more_comes_first(some: Conditions, more: Conditions) -> None:
    """Everything that the one asks and something beside: narrower, whatever their ages."""
    both = replace(some, **{f.name: getattr(more, f.name) for f in fields(Conditions) if getattr(some, f.name) is None})
    if both.key != some.key:
        wide, narrow = Rule("nom_1", some), Rule("nom_2", both)
        assert rank(narrow) < rank(wide)
        assert rank(replace(wide, priority=1)) < rank(narrow), "a priority goes before everything"


def test_texts_by_how_much_they_say() -> None:
    texts = ["Абонемент 8", "Абонемент *", "Абон*", "*бон*", None]
    made = [Rule(f"nom_{9 - n}", Conditions(text=text, branch="b")) for n, text in enumerate(texts)]
    assert sorted(made, key=rank) == made


def test_rules_that_ask_the_same_have_one_key() -> None:
    assert Conditions(text="Учёба  «А»").key == Conditions(text='учеба "а"').key
    assert Conditions(sku="a").key != Conditions(sku="A").key


LESSON = Rule(
    "nom_1",
    Conditions(text="абон*"),
    Defaults(VatRate.NONE, PaymentMethod.ADVANCE, PaymentObject.PAYMENT, Measure.HOUR, "Абонемент"),
    agent=Agent(AgentType.ANOTHER, "7707083893", "ООО Школа", ("+74950000000",)),
)


def matcher(*rules: Rule, unmapped: Unmapped = Unmapped.DEFAULT) -> Matcher:
    return RuleSet(7, rules).at("src_1", None, unmapped)


def line(**said: Any) -> EventItem:
    return EventItem(**{"name": "Абон. 8 зан.", "quantity": Decimal(1), "price": 100, "amount": 100, **said})


def test_a_rule_names_the_line_and_fills_what_is_open() -> None:
    fill = matcher(LESSON).fill(line(vat="vat10"), ELECTRONIC)
    assert fill is not None
    assert (fill.item.name, fill.item.vat, fill.item.agent) == ("Абонемент", "vat10", LESSON.agent)
    assert fill.line == FilledLine(
        "nom_1", ("name", "payment_object", "measure", "payment_method", "agent"), "Абон. 8 зан."
    )


def test_an_override_goes_before_the_report() -> None:
    said = line(vat="vat10", payment_method="full_payment", payment_object="commodity", measure="piece")
    fill = matcher(replace(LESSON, override=True)).fill(said, ELECTRONIC, delivered=True)
    assert fill is not None
    assert (fill.item.vat, fill.item.payment_method, fill.item.payment_object) == (None, "advance", None)
    assert set(fill.line.members) == {"name", "payment_object", "vat", "measure", "payment_method", "agent"}


def test_what_a_person_typed_is_filled_and_not_renamed() -> None:
    fill = matcher(replace(LESSON, override=True)).fill(line(vat="vat10"), ELECTRONIC, by_person=True)
    assert fill is not None
    assert (fill.item.name, fill.item.vat, fill.item.agent) == ("Абон. 8 зан.", "vat10", None)
    assert fill.answers.item_name is None
    assert fill.line.members == ("payment_object", "measure", "payment_method")


@pytest.mark.parametrize(("delivered", "given"), [(None, True), (False, True), (True, False)])
def test_delivered_is_a_fact_and_goes_before_a_habit(delivered: bool | None, given: bool) -> None:
    fill = matcher(LESSON).fill(line(), ELECTRONIC, delivered=delivered)
    assert fill is not None
    assert ("payment_method" in fill.line.members) == given


def test_the_default_policy_without_rules_changes_nothing() -> None:
    assert not matcher()
    assert matcher(unmapped=Unmapped.HOLD)
    assert matcher(LESSON)


def test_a_rule_fills_a_receipt_before_the_settings_do(make_event: Any, make_line: Any, make_settings: Any) -> None:
    rules = matcher(LESSON)
    event = make_event(make_line(name="Абон. 8 зан."), make_line(name="Кружка"))
    plan = plan_sale(event, make_settings(nomenclature=rules), date(2026, 11, 23))
    assert isinstance(plan, Planned)
    lesson, mug = plan.receipts[0].items
    assert (lesson.name, lesson.vat, lesson.payment_object, lesson.measure) == (
        "Абонемент",
        VatRate.NONE,
        PaymentObject.PAYMENT,
        Measure.HOUR,
    )
    assert (mug.name, mug.vat) == ("Кружка", VatRate.VAT22)
    assert plan.items_origin == "nomenclature"
    assert plan.filled is not None
    assert plan.filled.version == 7
    assert [each and each.rule for each in plan.filled.lines] == ["nom_1", None]
    assert filled_from_json(filled_to_json(plan.filled)) == plan.filled


def test_a_split_line_names_its_rule_twice(make_event: Any, make_line: Any, make_settings: Any) -> None:
    event = make_event(make_line(33_33, "3", name="Абон. 3", amount=100_00), amount=100_00)
    plan = plan_sale(event, make_settings(nomenclature=matcher(LESSON)), date(2026, 11, 23))
    assert isinstance(plan, Planned)
    assert plan.filled is not None
    assert len(plan.filled.lines) == len(plan.receipts[0].items) == 2
    assert all(each is not None for each in plan.filled.lines)


def test_a_rate_of_a_rule_takes_the_form_of_the_method(make_event: Any, make_line: Any, make_settings: Any) -> None:
    rule = Rule("nom_1", Conditions(sku="C-1"), Defaults(VatRate.VAT5, PaymentMethod.FULL_PREPAYMENT))
    plan = plan_sale(make_event(make_line(sku="C-1")), make_settings(nomenclature=matcher(rule)), date(2026, 11, 23))
    assert isinstance(plan, Planned)
    (item,) = plan.receipts[0].items
    assert (item.vat, item.payment_method) == (VatRate.VAT105, PaymentMethod.FULL_PREPAYMENT)
    assert plan.items_origin == "event", "the rule named nothing"


def test_a_payment_without_lines_is_matched_by_its_description(make_event: Any, make_settings: Any) -> None:
    event = make_event(amount=100_00, description="Абонемент Анны")
    plan = plan_sale(event, make_settings(nomenclature=matcher(LESSON)), date(2026, 11, 23))
    assert isinstance(plan, Planned)
    (item,) = plan.receipts[0].items
    assert (item.name, item.agent) == ("Абонемент", LESSON.agent)
    assert plan.items_origin == "nomenclature"


def test_a_hold_names_what_a_rule_would_have_to_match(make_event: Any, make_line: Any, make_settings: Any) -> None:
    event = make_event(make_line(name="Курс для anna@example.org", sku="C-9"))
    settings = make_settings(nomenclature=matcher(LESSON, unmapped=Unmapped.HOLD))
    plan = plan_sale(event, settings, date(2026, 11, 23))
    assert isinstance(plan, Held)
    assert plan.reason is HeldReason.NOMENCLATURE_MISSING
    (gap,) = plan.missing
    assert (gap.field, gap.pointer) == ("nomenclature", "#/items/0")
    for told in (gap.detail, gap.detail_ru):
        assert "Курс для a***@e***.org" in told
        assert "sku C-9" in told
        assert "electronic" in told
        assert "src_1" in told
        assert told.endswith(".")


def test_a_refusal_names_it_too(make_event: Any, make_line: Any, make_settings: Any) -> None:
    settings = make_settings(nomenclature=matcher(unmapped=Unmapped.REFUSE))
    plan = plan_sale(make_event(make_line(name="Кружка")), settings, date(2026, 11, 23))
    assert isinstance(plan, Refused)
    (finding,) = plan.findings
    assert (finding.rule, finding.pointer) == ("nomenclature_unmapped", "#/items/0")
    assert "Кружка" in finding.detail_ru


def test_lines_of_a_person_are_never_held(make_event: Any, make_line: Any, make_settings: Any) -> None:
    settings = make_settings(nomenclature=matcher(unmapped=Unmapped.HOLD))
    plan = plan_sale(make_event(make_line(), items_origin="person"), settings, date(2026, 11, 23))
    assert isinstance(plan, Planned)
    assert (plan.items_origin, plan.filled) == ("person", None)


def test_a_wrong_rule_holds_the_receipt_and_refuses_nobody(make_event: Any, make_line: Any, make_settings: Any) -> None:
    goods = Defaults(payment_object=PaymentObject.COMMODITY_WITH_MARKING)
    rule = Rule("nom_1", Conditions(text="кружка"), goods)
    plan = plan_sale(make_event(make_line()), make_settings(nomenclature=matcher(rule)), date(2026, 11, 23))
    assert isinstance(plan, Held)
    (gap,) = plan.missing
    assert gap.field == "nomenclature"
    assert "nom_1" in gap.detail
    assert "nom_1" in gap.detail_ru
    said = make_event(make_line(payment_object="commodity_with_marking"))
    assert isinstance(plan_sale(said, make_settings(), date(2026, 11, 23)), Refused), "the report's own fault"


def test_lines_of_a_refund_take_the_names_of_the_sale() -> None:
    filled = Filled(1, (FilledLine("nom_1", ("name",), "Абон."), None, FilledLine("nom_2", ("vat",))))
    sale = (filled, ["Абонемент", "Кружка", "Книга"])
    items = (line(name="АБОН."), line(name="Кружка"), line(name="Книга"))
    assert [item.name for item in as_printed(items, [sale])] == ["Абонемент", "Кружка", "Книга"]
    twice = Filled(2, (FilledLine("nom_1", ("name",), "Абон."),))
    assert as_printed(items[:1], [sale, (twice, ["Абонемент, дети"])])[0].name == "АБОН.", "two names: not guessed"


def test_what_is_sought_is_short_and_has_no_contact() -> None:
    told = sought(None, "Оплата +79990000000 " + "х" * 500, ELECTRONIC, {"source": "src_1", "branch": None})
    assert "+7******0000" in told
    assert len(told) < 220
    assert "branch" not in told
