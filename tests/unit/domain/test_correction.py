"""What happened → which documents: each case by each format, the worked examples, pairs that cancel to the kopeck."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.correction import (
    Asked,
    Case,
    CorrectionPlan,
    Means,
    Printed,
    Role,
    carried,
    plan_correction,
    with_rate,
)
from app.domain.correction_letter import Letter, Made, differences, letter
from app.domain.ffd import (
    CorrectionKind,
    FfdVersion,
    Measure,
    Operation,
    PaymentKind,
    PaymentMethod,
    PaymentObject,
    Taxation,
)
from app.domain.money import line_amount
from app.domain.plan import Refused
from app.domain.receipt import CorrectionBasis, Customer, FiscalData, Item, MarkingCode, Payment, Receipt
from app.domain.vat import VatRate, vat_amount

Make = Callable[..., Any]
TODAY, DAY = date(2026, 11, 23), date(2026, 11, 18)
V105, V12 = FfdVersion.V1_05, FfdVersion.V1_2
FPD = "3304159072"
ALL = Means(frozenset({V105, V12}), frozenset(Operation), additional_prop=True)
SELF = CorrectionBasis(CorrectionKind.SELF, DAY)
SELL, REFUND, BUY = Operation.SELL, Operation.SELL_REFUND, Operation.BUY


def planned(asked: Asked, means: Means = ALL, today: date = TODAY) -> CorrectionPlan:
    found = plan_correction(asked, means, today)
    assert isinstance(found, CorrectionPlan), found
    return found


def rules(asked: Asked, means: Means = ALL, today: date = TODAY) -> list[str]:
    found = plan_correction(asked, means, today)
    assert isinstance(found, Refused), found
    return [one.rule for one in found.findings]


def shape(plan: CorrectionPlan) -> list[tuple[str, str, bool, str | None]]:
    return [
        (one.role.value, one.receipt.operation.code, one.receipt.correction is not None, one.receipt.additional_prop)
        for one in plan.documents
    ]


REPAIRS: dict[Case, Callable[[Receipt], Receipt | None]] = {
    Case.WRONG_RATE: lambda wrong: with_rate(wrong, VatRate.VAT22),
    Case.WRONG_SUM: lambda wrong: replace(
        wrong,
        items=(replace(wrong.items[0], price=100_00, amount=100_00),),
        payments=(Payment(PaymentKind.ELECTRONIC, 100_00),),
    ),
    Case.WRONG_OTHER: lambda wrong: replace(wrong, taxation=Taxation.USN_INCOME),
    Case.DUPLICATE: lambda wrong: None,
}


@pytest.mark.parametrize("ffd", [V105, V12])
@pytest.mark.parametrize("operation", [SELL, REFUND, BUY])
@pytest.mark.parametrize("case", REPAIRS)
def test_a_wrong_receipt_is_reversed_and_made_again(
    case: Case, operation: Operation, ffd: FfdVersion, make_item: Make, make_receipt: Make
) -> None:
    wrong = make_receipt(make_item(1220_00, vat=VatRate.VAT10), operation=operation, ffd=ffd)
    right = REPAIRS[case](wrong)
    plan = planned(Asked(case, SELF, ffd, Printed(wrong, FPD, DAY), right))
    form = ffd is V12
    expected = [("reversal", operation.reverse.code, form, FPD), ("right", operation.code, form, FPD)]
    assert shape(plan) == (expected[:1] if case is Case.DUPLICATE else expected)
    reversal = plan.documents[0].receipt
    assert (reversal.items, reversal.payments, reversal.taxation) == (wrong.items, wrong.payments, wrong.taxation)
    if right is not None:
        made = plan.documents[1].receipt
        assert replace(made, correction=None, additional_prop=None) == right


@pytest.mark.parametrize(
    ("operation", "ffd", "made", "notes"),
    [
        (SELL, V12, SELL, ()),
        (REFUND, V12, REFUND, ()),
        (SELL, V105, SELL, ("totals_only",)),
        (REFUND, V105, BUY, ("totals_only", "refund_as_purchase")),
        (Operation.BUY_REFUND, V105, SELL, ("totals_only", "refund_as_purchase")),
    ],
)
def test_money_without_a_receipt_is_one_correction(
    operation: Operation, ffd: FfdVersion, made: Operation, notes: tuple[str, ...], make_item: Make, make_receipt: Make
) -> None:
    right = make_receipt(make_item(1500_00), operation=operation, ffd=ffd)
    plan = planned(Asked(Case.NOT_REGISTERED, SELF, ffd, right=right))
    assert shape(plan) == [("missing", made.code, True, None)]
    assert plan.notes == notes
    assert plan.documents[0].totals_only is (ffd is V105)


def test_worked_example_13_6_a_missing_receipt(make_item: Make, make_receipt: Make) -> None:
    """1500.00 of 2026-11-18, found on the 23rd."""
    line = make_item(1500_00, measure=Measure.ANOTHER, payment_object=PaymentObject.SERVICE)
    for ffd in (V12, V105):
        (document,) = planned(Asked(Case.NOT_REGISTERED, SELF, ffd, right=make_receipt(line, ffd=ffd))).documents
        receipt = document.receipt
        assert (receipt.operation, receipt.correction, receipt.total) == (SELL, SELF, 1500_00)
        assert receipt.paid(PaymentKind.ELECTRONIC) == 1500_00
        assert vat_amount(receipt.items[0].amount, receipt.items[0].vat) == 270_49
        assert document.description == "Расчёт без применения ККТ, расчёт от 18.11.2026"


def test_worked_example_13_6_b_twenty_instead_of_twenty_two(make_item: Make, make_receipt: Make) -> None:
    """1220.00 at 20 % in 2026: the reversal keeps the rate that is in force no more."""
    for ffd in (V12, V105):
        wrong = make_receipt(make_item(1220_00, vat=VatRate.VAT20), ffd=ffd)
        right = with_rate(wrong, VatRate.VAT22)
        plan = planned(Asked(Case.WRONG_RATE, SELF, ffd, Printed(wrong, FPD, DAY), right))
        first, second = (one.receipt for one in plan.documents)
        assert (first.operation, second.operation) == (REFUND, SELL)
        assert [vat_amount(one.items[0].amount, one.items[0].vat) for one in (first, second)] == [203_33, 220_00]
        assert {one.additional_prop for one in (first, second)} == {FPD}
        assert {one.correction for one in (first, second)} == ({SELF} if ffd is V12 else {None})
        assert [one.description for one in plan.documents] == [
            "Исправление ставки НДС, расчёт от 18.11.2026, ФПД 3304159072"
        ] * 2


@pytest.mark.parametrize("ffd", [V105, V12])
def test_a_sale_of_2025_keeps_its_rates_when_it_is_corrected_in_2026(
    ffd: FfdVersion, make_item: Make, make_receipt: Make
) -> None:
    day = date(2025, 12, 31)
    wrong = make_receipt(make_item(1220_00, vat=VatRate.VAT10), ffd=ffd)
    asked = Asked(
        Case.WRONG_RATE,
        CorrectionBasis(CorrectionKind.SELF, day),
        ffd,
        Printed(wrong, FPD, day),
        with_rate(wrong, VatRate.VAT20),
    )
    assert planned(asked).documents[1].receipt.items[0].vat is VatRate.VAT20
    late = replace(asked, wrong=Printed(wrong, FPD, date(2026, 1, 1)))
    if ffd is V105:
        assert rules(late) == ["vat_not_in_force"]


def test_a_prepayment_takes_the_calculated_rate(make_item: Make, make_receipt: Make) -> None:
    line = make_item(100_00, payment_method=PaymentMethod.FULL_PREPAYMENT, vat=VatRate.VAT120)
    assert with_rate(make_receipt(line, make_item(5_00)), VatRate.VAT22).items[0].vat is VatRate.VAT122


def test_what_a_driver_cannot_is_refused_by_its_name(make_item: Make, make_receipt: Make) -> None:
    wrong = make_receipt(make_item(1220_00, vat=VatRate.VAT10))
    asked = Asked(Case.WRONG_RATE, SELF, V12, Printed(wrong, FPD, DAY), with_rate(wrong, VatRate.VAT22))
    assert rules(asked, replace(ALL, corrections=frozenset({V105}))) == ["correction_not_supported"]
    sells = replace(ALL, operations=frozenset({SELL}))
    assert rules(asked, sells) == ["correction_operation_not_supported"]
    blind = replace(ALL, additional_prop=False)
    plan = planned(asked, blind)
    assert "link_kept_here" in plan.notes
    assert {one.additional_prop for one in carried(plan, blind)} == {None}
    assert {one.additional_prop for one in carried(plan, ALL)} == {FPD}
    old = replace(asked, ffd=V105)
    assert rules(old, blind) == ["additional_prop_not_supported"]
    assert planned(replace(old, without_link=True), blind).documents


def test_a_correction_that_corrects_nothing_is_refused(make_item: Make, make_receipt: Make) -> None:
    wrong = make_receipt(make_item(1220_00, vat=VatRate.VAT10))
    printed = Printed(wrong, FPD, DAY)
    for case, right, rule in (
        (Case.WRONG_RATE, wrong, "correction_changes_nothing"),
        (Case.WRONG_RATE, REPAIRS[Case.WRONG_SUM](wrong), "correction_sum_differs"),
        (Case.WRONG_SUM, with_rate(wrong, VatRate.VAT22), "correction_changes_nothing"),
        (Case.WRONG_OTHER, wrong, "correction_changes_nothing"),
        (Case.WRONG_OTHER, replace(wrong, operation=BUY), "correction_other_operation"),
    ):
        assert rules(Asked(case, SELF, V12, printed, right)) == [rule], (case, rule)
    ahead = CorrectionBasis(CorrectionKind.SELF, date(2026, 11, 24))
    assert rules(Asked(Case.NOT_REGISTERED, ahead, V12, right=wrong)) == ["correction_date"]
    ordered = CorrectionBasis(CorrectionKind.INSTRUCTION, DAY)
    assert rules(Asked(Case.NOT_REGISTERED, ordered, V12, right=wrong)) == ["correction_document"]


@pytest.mark.parametrize(
    ("case", "wrong", "right"),
    [(Case.NOT_REGISTERED, True, True), (Case.WRONG_RATE, False, True), (Case.DUPLICATE, True, True)],
)
def test_a_case_without_its_receipts_is_a_bug_of_the_caller(
    case: Case, wrong: bool, right: bool, make_item: Make, make_receipt: Make
) -> None:
    one = make_receipt(make_item(1220_00))
    with pytest.raises(ValueError, match="told"):
        plan_correction(
            Asked(case, SELF, V12, Printed(one, FPD, DAY) if wrong else None, one if right else None), ALL, TODAY
        )


def test_a_marked_piece_comes_back_and_is_sold_again(make_item: Make, make_receipt: Make) -> None:
    line = make_item(
        100_00,
        marking=MarkingCode("0104600439931256", state=1),
        payment_object=PaymentObject.COMMODITY_WITH_MARKING,
    )
    wrong = make_receipt(line)
    right = replace(wrong, taxation=Taxation.USN_INCOME)
    plan = planned(Asked(Case.WRONG_OTHER, SELF, V12, Printed(wrong, FPD, DAY), right))
    assert [one.receipt.items[0].marking.state for one in plan.documents if one.receipt.items[0].marking] == [3, 1]


LINES = st.lists(
    st.builds(
        lambda price, quantity, vat: Item(
            "Занятие",
            price,
            quantity,
            line_amount(price, quantity),
            vat,
            PaymentMethod.FULL_PAYMENT,
            PaymentObject.SERVICE,
        ),
        st.integers(100, 10_000_00),
        st.integers(1, 9_999).map(lambda n: Decimal(n) / 1000),
        st.sampled_from([VatRate.VAT22, VatRate.VAT10, VatRate.NONE, VatRate.VAT5]),
    ).filter(lambda item: item.amount > 0),
    min_size=1,
    max_size=20,
)


@given(LINES, st.sampled_from([SELL, REFUND]), st.sampled_from([V105, V12]), st.integers(0, 100))
def test_the_wrong_receipt_and_its_reversal_cancel_to_the_kopeck(
    lines: list[Item], operation: Operation, ffd: FfdVersion, cash: int
) -> None:
    """In sum, in every rate's VAT, and in every way of payment; what is left is the right receipt."""
    total = sum(item.amount for item in lines)
    in_cash = total * cash // 100
    paid = ((PaymentKind.CASH, in_cash), (PaymentKind.ELECTRONIC, total - in_cash))
    wrong = Receipt(
        operation,
        Taxation.OSN,
        ffd,
        tuple(lines),
        tuple(Payment(kind, amount) for kind, amount in paid if amount),
        Customer(email="buyer@example.org"),
        "https://shop.example",
        "Europe/Moscow",
        internet=True,
    )
    right = with_rate(wrong, VatRate.VAT7)
    plan = planned(Asked(Case.WRONG_RATE, SELF, ffd, Printed(wrong, FPD, DAY), right))
    books: dict[Any, int] = {}
    for receipt in (wrong, *(one.receipt for one in plan.documents)):
        sign = -1 if receipt.operation.is_refund else 1
        for item in receipt.items:
            books[item.vat] = books.get(item.vat, 0) + sign * vat_amount(item.amount, item.vat)
        for one in receipt.payments:
            books[one.kind] = books.get(one.kind, 0) + sign * one.amount
        books["total"] = books.get("total", 0) + sign * receipt.total
    sign = -1 if operation.is_refund else 1
    assert books["total"] == sign * right.total
    assert books[VatRate.VAT7] == sign * sum(vat_amount(item.amount, item.vat) for item in right.items)
    assert all(books.get(rate, 0) == 0 for rate in VatRate if rate is not VatRate.VAT7)
    assert all(books.get(kind, 0) == sign * right.paid(kind) for kind in PaymentKind)


def fiscal(fd: int, fpd: str) -> FiscalData:
    return FiscalData(
        "9999078902000001", fd, fpd, datetime(2026, 11, 18, 9, 5, tzinfo=UTC), "2026-11-18T12:05:00", kkt_rn="000123"
    )


def test_the_explanation_names_every_document_and_leaves_blanks_for_the_rest(
    make_item: Make, make_receipt: Make
) -> None:
    wrong = make_receipt(make_item(1220_00, vat=VatRate.VAT20))
    right = with_rate(wrong, VatRate.VAT22)
    facts = Letter(
        "ООО «Школа»",
        "7707083893",
        "https://shop.example",
        Case.WRONG_RATE,
        SELF,
        V12,
        DAY,
        1220_00,
        (Made(REFUND, True, 1220_00, fiscal(18, "111")), Made(SELL, True, 1220_00)),
        Made(SELL, False, 1220_00, fiscal(17, FPD)),
        differences(wrong, right),
        "неверная настройка кассы.",
    )
    text = letter(facts)
    for part in (
        "ООО «Школа», ИНН 7707083893",
        "18.11.2026 произведён расчёт на сумму 1220,00 руб.",
        f"ФД № 17, ФПД {FPD}, от 2026-11-18 12:05.",
        "ставка НДС «НДС 20%» вместо «НДС 22%»",
        "Причина: неверная настройка кассы.",
        "самостоятельно",
        "1) кассовый чек коррекции «возврат прихода» на сумму 1220,00 руб.: ККТ рег. № 000123, ФН № 9999078902000001, ",
        "2) кассовый чек коррекции «приход» на сумму 1220,00 руб.: ФД № ________",
        "статье 14.5 КоАП РФ",
    ):
        assert part in text, part
    ordered = CorrectionBasis(CorrectionKind.INSTRUCTION, DAY, "12-34")
    text = letter(replace(facts, basis=ordered, case=Case.NOT_REGISTERED, wrong=None))
    assert "по предписанию № 12-34" in text
    assert "без применения ККТ" in text
    assert "14.5" not in text


def test_every_difference_is_told(make_item: Make, make_receipt: Make) -> None:
    wrong = make_receipt(make_item(1220_00, vat=VatRate.VAT10))
    right = make_receipt(
        make_item(100_00, name="Курс", payment_object=PaymentObject.COMMODITY, payment_method=PaymentMethod.ADVANCE),
        taxation=Taxation.PATENT,
        payments=(Payment(PaymentKind.CASH, 100_00),),
    )
    told = differences(wrong, right)
    starts = ("ставка", "сумма", "система", "вид оплаты", "предмет", "способ", "наименование")
    assert [one.startswith(start) for one, start in zip(told, starts, strict=True)] == [True] * 7
    assert differences(wrong, wrong) == ()


def test_roles_are_told_in_order() -> None:
    assert [role.value for role in Role] == ["missing", "reversal", "right"]
