"""VAT by date: both sides of the midnight of 2025-12-31 in three time zones, dated rates, groups, old receipts."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.domain.event import EventRequisites, EventType
from app.domain.ffd import AgentType, CorrectionKind, Operation, PaymentMethod, PaymentObject, Taxation
from app.domain.plan import Held, Planned, Refused
from app.domain.planning import Defaults, plan_sale
from app.domain.receipt import Agent, CorrectionBasis, Item, Receipt
from app.domain.refund import refund_receipt
from app.domain.rules import findings
from app.domain.settlement import settlement_receipt
from app.domain.vat import VatRate, vat_amount
from app.domain.vat_settings import DatedRate, DebtRate, Regime, VatGroup, VatPolicy, VatSettings, check_vat_settings

Make = Callable[..., Any]

ZONES = ["Europe/Kaliningrad", "Europe/Moscow", "Asia/Kamchatka"]
GENERAL = VatSettings(rates=(DatedRate(date(2019, 1, 1), VatRate.VAT20), DatedRate(date(2026, 1, 1), VatRate.VAT22)))
NEW_YEAR = date(2026, 1, 1)
BEFORE, AFTER = timedelta(seconds=-1), timedelta(0)
FULL, PREPAID, ADVANCE = PaymentMethod.FULL_PAYMENT, PaymentMethod.FULL_PREPAYMENT, PaymentMethod.ADVANCE
DEBT = PaymentMethod.CREDIT_PAYMENT
DEFAULTS = Defaults(payment_object=PaymentObject.COMMODITY, item_name="Лампа")


def local_day(zone: str, off: timedelta) -> date:
    """The day of a moment near the New Year of that zone, told in UTC as an event tells it."""
    midnight = datetime.combine(NEW_YEAR, time(), ZoneInfo(zone))
    moment = midnight.astimezone(UTC) + off
    return moment.astimezone(ZoneInfo(zone)).date()


def only(plan: object) -> Item:
    assert isinstance(plan, Planned), plan
    (receipt,) = plan.receipts
    (item,) = receipt.items
    return item


@pytest.fixture(scope="session")
def sale(make_event: Make, make_line: Make, make_settings: Make) -> Make:
    """A sale whose rate the settings answer; `rates` are the merchant's."""

    def make(day: date, method: PaymentMethod, rates: VatSettings = GENERAL, **line: Any) -> Any:
        said = line.pop("said", None)
        settings = make_settings(
            replace(DEFAULTS, payment_method=method),
            taxation=(Taxation.OSN,),
            vat=VatPolicy(rates),
            **line.pop("s", {}),
        )
        return plan_sale(make_event(make_line(12200_00, **line), requisites=said), settings, day)

    return make


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("off", "method", "rate"),
    [
        (BEFORE, FULL, VatRate.VAT20),
        (AFTER, FULL, VatRate.VAT22),
        (BEFORE, PREPAID, VatRate.VAT120),
        (AFTER, PREPAID, VatRate.VAT122),
        (BEFORE, ADVANCE, VatRate.VAT120),
        (AFTER, ADVANCE, VatRate.VAT122),
    ],
)
def test_a_sale_at_the_turn_of_the_year(
    zone: str, off: timedelta, method: PaymentMethod, rate: VatRate, sale: Make
) -> None:
    assert only(sale(local_day(zone, off), method)).vat is rate


def test_one_moment_is_another_year_in_another_zone(sale: Make) -> None:
    moment = datetime(2025, 12, 31, 21, 30, tzinfo=UTC)
    rates = {zone: only(sale(moment.astimezone(ZoneInfo(zone)).date(), FULL)).vat for zone in ZONES}
    assert rates == {
        "Europe/Kaliningrad": VatRate.VAT20,
        "Europe/Moscow": VatRate.VAT22,
        "Asia/Kamchatka": VatRate.VAT22,
    }


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(("off", "closed_at"), [(BEFORE, VatRate.VAT20), (AFTER, VatRate.VAT22)])
@pytest.mark.parametrize("told", [VatPolicy(GENERAL), None])
def test_a_prepayment_of_2025_is_closed_at_the_rate_of_the_day_of_service(
    zone: str,
    off: timedelta,
    closed_at: VatRate,
    told: VatPolicy | None,
    make_receipt: Make,
    make_item: Make,
    make_event: Make,
) -> None:
    prepaid = make_receipt(make_item(12200_00, vat=VatRate.VAT120, payment_method=PREPAID))
    event = make_event(amount=12200_00, type=EventType.ORDER_SETTLED)
    plan = settlement_receipt(event, prepaid, (), (), local_day(zone, off), told)
    assert only(plan).vat is closed_at


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("off", [BEFORE, AFTER])
@pytest.mark.parametrize(
    ("method", "rate"), [(FULL, VatRate.VAT20), (PREPAID, VatRate.VAT120), (ADVANCE, VatRate.VAT120)]
)
def test_a_receipt_of_2025_is_returned_and_corrected_at_its_own_rate(
    zone: str,
    off: timedelta,
    method: PaymentMethod,
    rate: VatRate,
    make_receipt: Make,
    make_item: Make,
    make_event: Make,
) -> None:
    day = local_day(zone, off)
    sold: Receipt = make_receipt(make_item(12200_00, vat=rate, payment_method=method))
    event = make_event(amount=5000_00, type=EventType.REFUND_SUCCEEDED)
    assert only(refund_receipt(event, sold, (), day)).vat is rate
    for operation in (Operation.SELL, Operation.SELL_REFUND):
        basis = CorrectionBasis(CorrectionKind.SELF, date(2025, 12, 30))
        assert findings(replace(sold, operation=operation, correction=basis), day) == ()


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("method", [FULL, DEBT])
@pytest.mark.parametrize(("shipped", "rate"), [(date(2025, 12, 31), VatRate.VAT20), (date(2026, 1, 1), VatRate.VAT22)])
def test_goods_given_earlier_carry_the_rate_of_that_day(
    zone: str, method: PaymentMethod, shipped: date, rate: VatRate, sale: Make
) -> None:
    paid = local_day(zone, timedelta(days=14))
    item = only(sale(paid, method, said=EventRequisites(shipped_on=shipped)))
    assert (item.vat, item.shipped_on) == (rate, shipped)
    named = only(sale(paid, method, said=EventRequisites(shipped_on=shipped), vat=rate.code))
    assert named.vat is rate


def test_a_rate_named_against_the_dates_is_refused(sale: Make) -> None:
    for vat, method, said in (
        ("vat20", FULL, None),
        ("vat120", PREPAID, None),
        ("vat22", FULL, EventRequisites(shipped_on=date(2025, 12, 31))),
        ("vat22", DEBT, EventRequisites(shipped_on=date(2025, 12, 31))),
    ):
        plan = sale(date(2026, 1, 15), method, vat=vat, said=said)
        assert isinstance(plan, Refused)
        assert [found.rule for found in plan.findings] == ["vat_not_in_force"]
    assert isinstance(sale(date(2026, 1, 15), DEBT, vat="vat20"), Planned)


@pytest.mark.parametrize(
    ("method", "shipped", "rule"),
    [
        (FULL, date(2026, 1, 16), "shipped_later"),
        (PREPAID, date(2026, 1, 14), "shipped_before_prepayment"),
    ],
)
def test_a_day_of_handing_over_that_cannot_be(method: PaymentMethod, shipped: date, rule: str, sale: Make) -> None:
    plan = sale(date(2026, 1, 15), method, said=EventRequisites(shipped_on=shipped))
    assert isinstance(plan, Refused)
    assert [found.rule for found in plan.findings] == [rule]


def test_a_debt_without_vat_by_the_merchants_choice(sale: Make) -> None:
    old = replace(GENERAL, debt=DebtRate.NONE)
    assert only(sale(date(2026, 1, 15), DEBT, old)).vat is VatRate.NONE
    assert only(sale(date(2026, 1, 15), FULL, old)).vat is VatRate.VAT22


USN = VatSettings(
    rates=(DatedRate(date(2025, 1, 1), VatRate.NONE), DatedRate(date(2026, 11, 1), VatRate.VAT5)),
    groups=(
        VatGroup("minors", (DatedRate(date(2025, 1, 1), VatRate.NONE),), names=("детск",), basis="ст. 149 п. 2 пп. 4"),
        VatGroup("books", (DatedRate(date(2025, 1, 1), VatRate.VAT10),), skus=("B-1",)),
    ),
)


@pytest.mark.parametrize(
    ("day", "line", "rate"),
    [
        (date(2026, 10, 31), {"name": "Курс для взрослых"}, VatRate.NONE),
        (date(2026, 11, 1), {"name": "Курс для взрослых"}, VatRate.VAT5),
        (date(2026, 11, 1), {"name": "ДЕТСКАЯ студия"}, VatRate.NONE),
        (date(2026, 11, 1), {"name": "Курс", "vat_group": "minors"}, VatRate.NONE),
        (date(2026, 11, 1), {"name": "Учебник", "sku": "B-1"}, VatRate.VAT10),
    ],
)
def test_rates_by_date_and_group(day: date, line: dict[str, Any], rate: VatRate, sale: Make) -> None:
    assert only(sale(day, FULL, USN, **line)).vat is rate


def test_a_prepayment_without_vat_is_closed_with_it_and_returned_without(
    make_receipt: Make, make_item: Make, make_event: Make
) -> None:
    adults = make_item(12000_00, name="Курс", vat=VatRate.NONE, payment_method=PREPAID)
    minors = make_item(6000_00, name="Рисование", vat=VatRate.NONE, payment_method=PREPAID, vat_group="minors")
    prepaid = make_receipt(adults, minors)
    event = make_event(amount=18000_00, type=EventType.ORDER_SETTLED)
    plan = settlement_receipt(event, prepaid, (), (), date(2026, 11, 20), VatPolicy(USN))
    assert isinstance(plan, Planned)
    assert [item.vat for item in plan.receipts[0].items] == [VatRate.VAT5, VatRate.NONE]
    back = refund_receipt(make_event(amount=18000_00), prepaid, (), date(2026, 11, 20))
    assert isinstance(back, Planned)
    assert {item.vat for item in back.receipts[0].items} == {VatRate.NONE}
    assert vat_amount(12000_00, VatRate.VAT5) == 571_43


def test_a_day_or_group_that_nobody_answers_waits(sale: Make, make_settings: Make) -> None:
    for plan in (sale(date(2018, 5, 1), FULL), sale(date(2026, 5, 1), FULL, USN, vat_group="dogs")):
        assert isinstance(plan, Held)
        assert [(one.field, one.pointer) for one in plan.missing] == [("vat", "#/items/0/vat")]


def test_who_answers_first() -> None:
    day = date(2026, 11, 20)
    assert VatPolicy(USN, VatRate.VAT7, VatRate.VAT22).rate(day, "B-1") is VatRate.VAT10
    assert VatPolicy(USN, VatRate.VAT7, VatRate.VAT22).rate(day) is VatRate.VAT7
    assert VatPolicy(USN, None, VatRate.VAT22).rate(day) is VatRate.VAT5
    assert VatPolicy(VatSettings(), None, VatRate.VAT22).rate(day) is VatRate.VAT22
    assert VatPolicy().rate(day) is None


def test_goods_of_a_principal_never_take_the_sellers_rate(
    sale: Make, make_receipt: Make, make_item: Make, make_event: Make
) -> None:
    agent = Agent(AgentType.ANOTHER, "7702203276", "ООО", ("+74951234567",))
    plan = sale(date(2026, 5, 1), FULL, agent=agent)
    assert isinstance(plan, Held)
    assert [one.field for one in plan.missing] == ["vat"]
    assert only(sale(date(2026, 5, 1), FULL, agent=agent, vat="none")).vat is VatRate.NONE
    prepaid = make_receipt(make_item(100_00, vat=VatRate.NONE, payment_method=PREPAID, agent=agent))
    event = make_event(amount=100_00, type=EventType.ORDER_SETTLED)
    closed = settlement_receipt(event, prepaid, (), (), date(2026, 5, 1), VatPolicy(GENERAL))
    assert only(closed).vat is VatRate.NONE


TODAY = date(2026, 11, 23)


def dated(*entries: tuple[date, VatRate]) -> tuple[DatedRate, ...]:
    return tuple(DatedRate(day, rate) for day, rate in entries)


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (GENERAL, []),
        (USN, []),
        (VatSettings(), []),
        (VatSettings(dated((date(2025, 1, 1), VatRate.VAT20))), [("vat_not_in_force", "#/rates/0/vat")]),
        (VatSettings(dated((date(2025, 12, 31), VatRate.VAT22))), [("vat_not_in_force", "#/rates/0/vat")]),
        (VatSettings(dated((date(2026, 1, 1), VatRate.VAT122))), [("vat_calculated_rate", "#/rates/0/vat")]),
        (VatSettings(dated((date(2026, 12, 1), VatRate.VAT5))), [("vat_unanswered", "#/rates")]),
        (
            VatSettings(dated((date(2026, 5, 1), VatRate.VAT5), (date(2026, 1, 1), VatRate.VAT7))),
            [("vat_dates_order", "#/rates")],
        ),
        (
            VatSettings(groups=(VatGroup("a", ()), VatGroup("a", dated((date(2026, 1, 1), VatRate.NONE))))),
            [("vat_unanswered", "#/groups/0/rates"), ("vat_group_twice", "#/groups/1/name")],
        ),
        (
            VatSettings(dated((date(2026, 1, 1), VatRate.VAT5)), regime=Regime.AUSN),
            [("ausn_without_vat", "#/rates/0/vat")],
        ),
        (VatSettings(dated((date(2026, 1, 1), VatRate.NONE)), regime=Regime.AUSN), []),
    ],
)
def test_settings_that_cannot_be_right_are_refused_with_a_sentence(
    settings: VatSettings, found: list[tuple[str, str]]
) -> None:
    told = list(check_vat_settings(settings, TODAY))
    assert [(one.rule, one.pointer) for one in told] == found
    assert all(one.detail.endswith(".") and one.detail_ru.endswith(".") and one.fix for one in told)
