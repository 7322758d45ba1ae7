"""What a driver cannot carry is found before anything is queued, each by the name of its rule."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.domain.basket import NetLine, Reason, Taken, ZeroLines, free_lines, net_lines
from app.domain.errors import Severity
from app.domain.event import DiscountKind, EventDiscount, EventPayment
from app.domain.ffd import AgentType, CorrectionKind, FfdVersion, Operation
from app.domain.limits import DriverLimits
from app.domain.planning import Planned, Refused, plan_sale
from app.domain.reading import comes_later, future_finding, offsets, untracked
from app.domain.receipt import Agent, CorrectionBasis, MarkingCode
from app.domain.remarks import REMARKS, remark, remarks
from app.domain.rules import findings

Make = Callable[..., Any]
NARROW = DriverLimits(
    max_items=1,
    quantity_decimals=2,
    ffd=frozenset({FfdVersion.V1_05}),
    operations=frozenset({Operation.SELL}),
    corrections=frozenset(),
    marking=False,
    agents=False,
)
AGENT = Agent(AgentType.ANOTHER, "7702203276", "Supplier", ("+74951234567",))


def test_each_limit_has_its_rule(make_item: Make, make_receipt: Make, today: date) -> None:
    lines = (
        make_item(100_00, "0.125", amount=12_50),
        make_item(marking=MarkingCode("0104600000000008215abc", 1)),
        make_item(agent=AGENT),
    )
    receipt = make_receipt(*lines, operation=Operation.BUY)
    assert findings(receipt, today) == ()
    assert [(one.rule, one.pointer) for one in findings(receipt, today, NARROW)] == [
        ("too_many_items", "#/items"),
        ("operation_not_supported", "#/operation"),
        ("ffd_not_supported", "#/ffd"),
        ("quantity_decimals", "#/items/0/quantity"),
        ("marking_not_supported", "#/items/1/marking_code"),
        ("agents_not_supported", "#/items/2/agent"),
    ]
    basis = CorrectionBasis(CorrectionKind.SELF, today)
    correction = make_receipt(make_item(), correction=basis, ffd=FfdVersion.V1_05)
    assert [one.rule for one in findings(correction, today, NARROW)] == ["correction_not_supported"]


def test_splitting_never_makes_too_many_lines(
    make_event: Make, make_line: Make, make_settings: Make, today: date
) -> None:
    """60 lines that each need two prices do not fit into 100: the last ones become one unit, to the same kopeck."""
    lines = [make_line(333_33, "3", amount=1000_00, name=f"Кружка {number}") for number in range(60)]
    plan = plan_sale(make_event(*lines), make_settings(), today)
    assert isinstance(plan, Planned)
    (receipt,) = plan.receipts
    assert len(receipt.items) == 100
    assert receipt.total == 60 * 1000_00
    assert [one.change for one in plan.adjustments].count("quantity_in_name") == 20
    assert receipt.items[-1].name == "Кружка 59 (3 шт)"
    over = plan_sale(make_event(*[make_line() for _ in range(101)]), make_settings(), today)
    assert isinstance(over, Refused)
    assert [one.rule for one in over.findings] == ["too_many_items"]


def test_reasons_share_each_lines_part(make_event: Make, make_line: Make) -> None:
    event = make_event(
        make_line(100_00, discount=10_00),
        make_line(50_00),
        amount=100_00,
        discount=10_00,
        discounts=(EventDiscount(DiscountKind.COUPON, 20_00, "ЛЕТО"), EventDiscount(DiscountKind.BONUS, 10_00)),
    )
    assert net_lines(event) == [
        NetLine(
            64_29,
            (
                Taken(Reason.LINE_DISCOUNT, 10_00),
                Taken(Reason.DISCOUNT, 6_43),
                Taken(Reason.COUPON, 12_85, "ЛЕТО"),
                Taken(Reason.BONUS, 6_43),
            ),
        ),
        NetLine(
            35_71,
            (Taken(Reason.DISCOUNT, 3_57), Taken(Reason.COUPON, 7_15, "ЛЕТО"), Taken(Reason.BONUS, 3_57)),
        ),
    ]


@pytest.mark.parametrize(
    ("change", "rule", "pointer"),
    [
        ({"discounts": (EventDiscount(DiscountKind.COUPON, -1),)}, "discount_negative", "#/discounts/0/amount"),
        ({"discounts": (EventDiscount(DiscountKind.COUPON, 100_01),)}, "discount_exceeds", "#/discounts"),
        ({"discount": 100_01}, "discount_exceeds", "#/discount"),
    ],
)
def test_discounts_that_cannot_be(
    change: dict[str, Any],
    rule: str,
    pointer: str,
    make_event: Make,
    make_line: Make,
    make_settings: Make,
    today: date,
) -> None:
    plan = plan_sale(replace(make_event(make_line()), amount=1, **change), make_settings(), today)
    assert isinstance(plan, Refused)
    assert (rule, pointer) in [(one.rule, one.pointer) for one in plan.findings]


def test_a_kopeck_moves_onto_free_lines_in_turn_or_not_at_all() -> None:
    lines = [NetLine(500), NetLine(0), NetLine(700), NetLine(0), NetLine(0)]
    moved, notes, refused = free_lines(lines, ZeroLines.KOPECK, sums_agree=True)
    assert [line.amount for line in moved] == [499, 1, 698, 1, 1]
    assert (len(notes), refused) == (3, [])
    assert free_lines([NetLine(1), NetLine(0)], ZeroLines.KOPECK, sums_agree=True)[0] == [NetLine(1), NetLine(0)]
    assert [one.pointer for one in free_lines(lines, ZeroLines.REFUSE, sums_agree=True)[2]] == [
        "#/items/1/amount",
        "#/items/3/amount",
        "#/items/4/amount",
    ]
    assert free_lines(lines, None, sums_agree=True) == (lines, [], [])


@pytest.mark.parametrize(
    ("told", "refused", "later"),
    [
        (timedelta(minutes=4), False, False),
        (timedelta(hours=2), False, True),
        (timedelta(hours=12), True, True),
        (timedelta(days=-400), False, False),
    ],
)
def test_a_day_that_has_not_come(
    told: timedelta, refused: bool, later: bool, make_event: Make, make_line: Make
) -> None:
    """Noon in Moscow: two hours later is this day, twelve hours later the next."""
    now = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    event = make_event(make_line(), occurred_at=now + told)
    assert (future_finding(event, now, "Europe/Moscow") is not None) is refused
    assert comes_later(event, now) is later


def test_which_offsets_are_followed(make_event: Make, make_line: Make) -> None:
    parts = (
        EventPayment("prepaid", 10_00),
        EventPayment("prepaid", 20_00, payment_id="card"),
        EventPayment("prepaid", 30_00, elsewhere=True),
        EventPayment("electronic", 40_00),
    )
    ordered = make_event(make_line(), payments=parts, order_id="o-1")
    assert ([index for index, _ in offsets(ordered)], untracked(ordered)) == ([0, 1], 30_00)
    loose = make_event(make_line(), payments=parts)
    assert ([index for index, _ in offsets(loose)], untracked(loose)) == ([1], 40_00)


def test_remarks_have_words_in_both_languages() -> None:
    for code, one in REMARKS.items():
        found = remark(f"{code}: #/items/3 details")
        assert (found.rule, found.pointer, found.severity) == (code, "#/items/3", one.severity)
        assert found.detail.endswith(".")
        assert found.detail_ru.endswith(".")
        assert found.severity is not Severity.ERROR
        assert "{}" not in found.detail + found.detail_ru
    strange = remark("of_another_version: #/amount so")
    assert (strange.rule, strange.pointer, strange.severity) == ("of_another_version", "#/amount", Severity.WARNING)
    assert [one.rule for one in remarks(["line_split: #/items/0", "contact_fallback"])] == [
        "contact_fallback",
        "line_split",
    ]


def test_a_whole_quantity_without_a_measure_is_counted_in_pieces(
    make_event: Make, make_line: Make, make_settings: Make, today: date
) -> None:
    plan = plan_sale(make_event(make_line(quantity="2"), make_line()), make_settings(), today)
    assert isinstance(plan, Planned)
    assert plan.notes == ("measure_defaulted: #/items",)
    old = plan_sale(make_event(make_line()), make_settings(ffd=FfdVersion.V1_05), today)
    assert isinstance(old, Planned)
    assert old.notes == ()
    assert plan.receipts[0].items[0].quantity == Decimal(2)
