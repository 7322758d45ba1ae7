"""Each rule of a receipt: one fault, one finding, at the right place and in words; all faults at once."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from app.domain.carriage import OPTIONAL
from app.domain.errors import Finding
from app.domain.ffd import (
    AgentType,
    CorrectionKind,
    FfdVersion,
    Measure,
    Operation,
    PaymentKind,
    PaymentMethod,
    PaymentObject,
)
from app.domain.inn import inn_valid
from app.domain.limits import DriverLimits
from app.domain.receipt import (
    Agent,
    CorrectionBasis,
    Customer,
    MarkingCode,
    OperatingProp,
    Payment,
    Receipt,
    SectoralProp,
)
from app.domain.rules import findings
from app.domain.rules_marking import check_digit
from app.domain.vat import VatRate

Make = Callable[..., Any]
CODE = "010460043993125621JgXJ5.T\x1d8005112000"
NOON = datetime(2026, 11, 23, 9, tzinfo=UTC)
SUPPLIER: dict[str, Any] = {
    "supplier_inn": "7702203276",
    "supplier_name": 'ООО "Поставщик"',
    "supplier_phones": ("+74951234567",),
}


def rules(found: tuple[Finding, ...]) -> list[tuple[str, str]]:
    return [(each.rule, each.pointer) for each in found]


def test_a_right_receipt_has_no_findings(make_receipt: Make, make_item: Make, today: date) -> None:
    receipt = make_receipt(make_item(333_33, "3"), make_item(80_00, "1234.567", amount=98765_36))
    assert findings(receipt, today) == ()


LINE_FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"name": "  "}, "name_empty", "name"),
    ({"name": "я" * 129}, "name_long", "name"),
    ({"name": "Кружка ₽"}, "name_charset", "name"),
    ({"amount": 99_99}, "line_amount", "amount"),
    ({"quantity": Decimal("NaN"), "amount": 100_00}, "quantity_range", "quantity"),
    ({"quantity": Decimal("1.0000001"), "amount": 100_00}, "quantity_range", "quantity"),
    ({"quantity": Decimal(0), "amount": 100_00}, "quantity_range", "quantity"),
    ({"vat": VatRate.VAT20}, "vat_not_in_force", "vat"),
    ({"payment_method": PaymentMethod.FULL_PREPAYMENT}, "vat_calculated_rate", "vat"),
    ({"payment_object": PaymentObject.COMMODITY_WITH_MARKING}, "mark_missing", "marking_code"),
    ({"marking": MarkingCode("x" * 257)}, "mark_length", "marking_code"),
    ({"marking": MarkingCode(CODE, numerator=2, denominator=2)}, "mark_fraction", "marking_code"),
    ({"marking": MarkingCode(CODE, numerator=1)}, "mark_fraction", "marking_code"),
    (
        {"marking": MarkingCode(CODE, numerator=1, denominator=2), "measure": Measure.KILOGRAM},
        "mark_fraction",
        "marking_code",
    ),
    ({"excise": -1}, "excise_negative", "excise"),
    ({"country": "RU"}, "country_code", "country"),
    ({"declaration": "7" * 33}, "text_length", "declaration"),
    ({"additional_props": ""}, "text_length", "additional_props"),
]


@pytest.mark.parametrize(("fault", "rule", "member"), LINE_FAULTS)
def test_a_fault_of_a_line(
    fault: dict[str, Any], rule: str, member: str, make_receipt: Make, make_item: Make, today: date
) -> None:
    receipt = make_receipt(make_item(), make_item(**fault))
    assert rules(findings(receipt, today)) == [(rule, f"#/items/1/{member}")]


def test_free_and_negative_lines(make_receipt: Make, make_item: Make, today: date) -> None:
    receipt = make_receipt(make_item(), make_item(0))
    assert rules(findings(receipt, today)) == [
        ("price_positive", "#/items/1/price"),
        ("amount_positive", "#/items/1/amount"),
    ]


def test_everything_is_found_at_once_and_told_in_both_languages(
    make_receipt: Make, make_item: Make, today: date
) -> None:
    items = [make_item(**fault) for fault, _, _ in LINE_FAULTS]
    receipt = make_receipt(*items, payments=(), customer=Customer(), place="")
    found = findings(receipt, today, limits=DriverLimits(max_items=3))
    assert {each.rule for each in found} >= {
        *(rule for _, rule, _ in LINE_FAULTS),
        "too_many_items",
        "mark_duplicate",
        "totals",
        "prepayment_kind",
        "contact_missing",
        "place_missing",
    }
    for each in found:
        assert each.detail.endswith(".")
        assert each.detail_ru.endswith(".")
        assert each.fix is not None
        assert each.fix.endswith(".")
        assert each.tag is not None


def test_an_empty_receipt(make_receipt: Make, today: date) -> None:
    assert rules(findings(make_receipt(payments=()), today)) == [("items_empty", "#/items")]


@pytest.mark.parametrize(
    ("payments", "rule"),
    [
        ([(PaymentKind.ELECTRONIC, 99_99)], ["totals"]),
        ([(PaymentKind.ELECTRONIC, 100_00), (PaymentKind.CASH, 0)], ["payment_positive"]),
        ([(PaymentKind.CREDIT, 100_00)], ["credit_method"]),
        ([(PaymentKind.PREPAID, 40_00), (PaymentKind.ELECTRONIC, 60_00)], []),
        ([(PaymentKind.OTHER, 100_00)], []),
    ],
)
def test_payments_of_goods_handed_over(
    payments: list[tuple[PaymentKind, int]], rule: list[str], make_receipt: Make, make_item: Make, today: date
) -> None:
    receipt = make_receipt(make_item(), payments=tuple(Payment(*each) for each in payments))
    assert [each.rule for each in findings(receipt, today)] == rule


@pytest.mark.parametrize(
    ("method", "payments", "rule"),
    [
        (PaymentMethod.FULL_PREPAYMENT, {PaymentKind.ELECTRONIC: 100_00}, []),
        (PaymentMethod.ADVANCE, {PaymentKind.CASH: 100_00}, []),
        (PaymentMethod.PREPAYMENT, {PaymentKind.OTHER: 100_00}, ["prepayment_kind"]),
        (PaymentMethod.ADVANCE, {PaymentKind.PREPAID: 100_00}, ["prepaid_method", "prepayment_kind"]),
        (PaymentMethod.PARTIAL_PAYMENT, {PaymentKind.ELECTRONIC: 40_00, PaymentKind.CREDIT: 60_00}, []),
        (PaymentMethod.PARTIAL_PAYMENT, {PaymentKind.PREPAID: 40_00, PaymentKind.CREDIT: 60_00}, []),
        (PaymentMethod.CREDIT, {PaymentKind.CREDIT: 100_00}, []),
        (PaymentMethod.CREDIT, {PaymentKind.ELECTRONIC: 100_00}, ["credit_unpaid"]),
        (PaymentMethod.CREDIT, {PaymentKind.PREPAID: 100_00}, ["prepaid_method", "credit_unpaid"]),
        (PaymentMethod.CREDIT_PAYMENT, {PaymentKind.ELECTRONIC: 100_00}, []),
    ],
)
def test_ways_of_payment_that_a_method_allows(
    method: PaymentMethod,
    payments: dict[PaymentKind, int],
    rule: list[str],
    make_receipt: Make,
    make_item: Make,
    today: date,
) -> None:
    vat = VatRate.VAT122 if method.before_handing_over else VatRate.VAT22
    item = make_item(payment_method=method, vat=vat)
    receipt = make_receipt(item, payments=tuple(Payment(*each) for each in payments.items()))
    assert [each.rule for each in findings(receipt, today)] == rule


def test_a_debt_is_paid_alone(make_receipt: Make, make_item: Make, today: date) -> None:
    debt = make_item(payment_method=PaymentMethod.CREDIT_PAYMENT)
    assert rules(findings(make_receipt(debt, make_item()), today)) == [("credit_payment_alone", "#/items")]


@pytest.mark.parametrize("rate", [VatRate.VAT22, VatRate.VAT20, VatRate.VAT10, VatRate.VAT5, VatRate.VAT7])
def test_money_before_goods_carries_a_calculated_rate(
    rate: VatRate, make_receipt: Make, make_item: Make, today: date
) -> None:
    item = make_item(payment_method=PaymentMethod.PREPAYMENT, vat=rate)
    found = [each for each in findings(make_receipt(item), today) if each.rule == "vat_calculated_rate"]
    pair = "vat122" if rate is VatRate.VAT20 else rate.prepayment_pair.code
    assert [each.fix for each in found] == [
        f"Use {pair}, or full_payment if the goods or service are given with the payment."
    ]
    right = make_item(payment_method=PaymentMethod.PREPAYMENT, vat=VatRate.parse(pair))
    assert findings(make_receipt(right), today) == ()


def test_a_calculated_rate_at_handing_over_is_not_clearly_wrong(
    make_receipt: Make, make_item: Make, today: date
) -> None:
    assert findings(make_receipt(make_item(vat=VatRate.VAT122)), today) == ()


def test_refunds_corrections_and_old_debts_keep_the_rate_of_their_time(
    make_receipt: Make, make_item: Make, today: date
) -> None:
    old = make_item(vat=VatRate.VAT20)
    assert [each.rule for each in findings(make_receipt(old), today)] == ["vat_not_in_force"]
    assert findings(make_receipt(old), date(2025, 12, 31)) == ()
    assert findings(make_receipt(old, operation=Operation.SELL_REFUND), today) == ()
    basis = CorrectionBasis(CorrectionKind.SELF, date(2025, 12, 1))
    assert findings(make_receipt(old, correction=basis), today) == ()
    debt = replace(old, payment_method=PaymentMethod.CREDIT_PAYMENT)
    assert findings(make_receipt(debt), today) == ()


def test_marked_goods(make_receipt: Make, make_item: Make, today: date) -> None:
    sold = make_item(payment_object=PaymentObject.COMMODITY_WITH_MARKING, marking=MarkingCode(CODE, 1))
    assert findings(make_receipt(sold), today) == ()
    assert rules(findings(make_receipt(sold, sold), today)) == [("mark_duplicate", "#/items/1/marking_code")]
    two = make_item(100_00, "2", marking=MarkingCode(CODE, 1))
    assert rules(findings(make_receipt(two), today)) == [("mark_quantity", "#/items/0/quantity")]
    weighed = make_item(100_00, "0.5", marking=MarkingCode(CODE, 2), measure=Measure.KILOGRAM)
    assert findings(make_receipt(weighed), today) == ()
    prepaid = replace(sold, marking=None, payment_method=PaymentMethod.FULL_PREPAYMENT, vat=VatRate.VAT122)
    assert findings(make_receipt(prepaid), today) == ()
    many = [make_item(marking=MarkingCode(f"code-{n}", 1)) for n in range(129)]
    assert rules(findings(make_receipt(*many), today, limits=DriverLimits(max_items=200))) == [
        ("mark_count", "#/items")
    ]


def test_words_of_the_new_format_in_an_old_kassa(make_receipt: Make, make_item: Make, today: date) -> None:
    item = make_item(payment_object=PaymentObject.COMMODITY_WITH_MARKING, marking=MarkingCode(CODE, 1))
    found = findings(make_receipt(item, ffd=FfdVersion.V1_05), today)
    assert rules(found) == [
        ("object_ffd", "#/items/0/payment_object"),
        ("mark_ffd", "#/items/0/marking_code"),
    ]


BANK: dict[str, Any] = {
    "paying_agent_operation": "Платеж",
    "paying_agent_phones": ("+74951234567",),
    "transfer_operator_name": "Банк",
    "transfer_operator_inn": "7702203276",
    "transfer_operator_address": "Москва",
    "transfer_operator_phones": ("+74951234567",),
}
PAYING: dict[str, Any] = {"paying_agent_phones": ("+74951234567",), "payment_operator_phones": ("+74951234567",)}


@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        (AgentType.BANK_PAYING_AGENT, BANK),
        (AgentType.BANK_PAYING_SUBAGENT, BANK),
        (AgentType.PAYING_AGENT, PAYING),
        (AgentType.PAYING_SUBAGENT, PAYING),
        (AgentType.ATTORNEY, {}),
        (AgentType.COMMISSION_AGENT, {}),
        (AgentType.ANOTHER, {}),
    ],
)
def test_company_data_that_an_agent_sign_needs(
    kind: AgentType, needed: dict[str, Any], make_receipt: Make, make_item: Make, today: date
) -> None:
    whole = SUPPLIER | needed
    assert findings(make_receipt(make_item(agent=Agent(kind, **whole))), today) == ()
    empty = Agent(kind, supplier_inn="", supplier_name="")
    found = findings(make_receipt(make_item(agent=empty)), today)
    assert {each.pointer for each in found} == {f"#/items/0/agent/{member}" for member in whole}
    assert {each.rule for each in found} == {"agent_incomplete"}


@pytest.mark.parametrize(
    ("member", "value"),
    [("supplier_inn", "7702203277"), ("supplier_phones", ("84951234567",)), ("supplier_name", "я" * 257)],
)
def test_agent_data_that_nobody_could_use(
    member: str, value: object, make_receipt: Make, make_item: Make, today: date
) -> None:
    agent = Agent(AgentType.ANOTHER, **(SUPPLIER | {member: value}))
    found = findings(make_receipt(make_item(agent=agent)), today)
    assert rules(found) == [("agent_incomplete", f"#/items/0/agent/{member}")]


def test_a_supplier_abroad_has_twelve_zeros(make_receipt: Make, make_item: Make, today: date) -> None:
    agent = Agent(AgentType.ANOTHER, **(SUPPLIER | {"supplier_inn": "000000000000"}))
    assert findings(make_receipt(make_item(agent=agent)), today) == ()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"customer": Customer()}, [("contact_missing", "#/customer")]),
        ({"customer": Customer(), "internet": False}, []),
        ({"customer": Customer(email="no address")}, [("contact_format", "#/customer/email")]),
        ({"customer": Customer(email="a" * 60 + "@b.org")}, [("contact_format", "#/customer/email")]),
        ({"customer": Customer(phone="89990000000")}, [("contact_format", "#/customer/phone")]),
        ({"customer": Customer(phone="+79990000000")}, []),
        ({"customer": Customer(email="a@example.org", inn="123")}, [("inn_checksum", "#/customer/inn")]),
        ({"customer": Customer(email="a@example.org", name="я" * 257)}, [("text_length", "#/customer/name")]),
        ({"place": " "}, [("place_missing", "#")]),
        ({"place": "Москва"}, [("place_missing", "#")]),
        ({"place": "Москва", "internet": False}, []),
        ({"cashier_inn": "7702203277"}, [("inn_checksum", "#/cashier_inn")]),
        ({"user_prop": ("", "1")}, [("text_length", "#/user_prop/name")]),
    ],
)
def test_people_and_places(
    change: dict[str, Any], found: list[tuple[str, str]], make_receipt: Make, make_item: Make, today: date
) -> None:
    assert rules(findings(make_receipt(make_item(), **change), today)) == found


@pytest.mark.parametrize(
    ("operation", "ffd", "basis", "found"),
    [
        (Operation.SELL, FfdVersion.V1_2, CorrectionBasis(CorrectionKind.SELF, date(2026, 11, 23)), []),
        (Operation.SELL_REFUND, FfdVersion.V1_2, CorrectionBasis(CorrectionKind.SELF, date(2026, 11, 1)), []),
        (
            Operation.SELL_REFUND,
            FfdVersion.V1_05,
            CorrectionBasis(CorrectionKind.SELF, date(2026, 11, 1)),
            ["correction_operation"],
        ),
        (
            Operation.BUY,
            FfdVersion.V1_05,
            CorrectionBasis(CorrectionKind.SELF, date(2026, 11, 24)),
            ["correction_date"],
        ),
        (
            Operation.SELL,
            FfdVersion.V1_2,
            CorrectionBasis(CorrectionKind.INSTRUCTION, date(2026, 11, 1)),
            ["correction_document"],
        ),
        (
            Operation.SELL,
            FfdVersion.V1_2,
            CorrectionBasis(CorrectionKind.INSTRUCTION, date(2026, 11, 1), "77-15/0001"),
            [],
        ),
        (
            Operation.SELL,
            FfdVersion.V1_2,
            CorrectionBasis(CorrectionKind.SELF, date(2026, 11, 1), "7" * 33),
            ["correction_document"],
        ),
    ],
)
def test_corrections(
    operation: Operation,
    ffd: FfdVersion,
    basis: CorrectionBasis,
    found: list[str],
    make_receipt: Make,
    make_item: Make,
    today: date,
) -> None:
    receipt: Receipt = make_receipt(make_item(), operation=operation, ffd=ffd, correction=basis)
    assert [each.rule for each in findings(receipt, today)] == found


def test_no_finding_repeats_the_buyers_contact(make_receipt: Make, make_item: Make, today: date) -> None:
    customer = Customer(email="secret name@example.org", phone="89990000000", inn="7702203277", name="я" * 300)
    for each in findings(make_receipt(make_item(), customer=customer), today):
        told = f"{each.detail} {each.detail_ru} {each.fix}"
        assert not any(part in told for part in ("secret", "8999", "7702203277", "яяя"))


@pytest.mark.parametrize(
    ("inn", "right"),
    [
        ("7702203276", True),
        ("500100732259", True),
        ("7702203277", False),
        ("500100732258", False),
        ("000000000000", False),
        ("0000000000", False),
        ("", False),
        ("770220327", False),
        ("٧٧٠٢٢٠٣٢٧٦", False),
    ],
)
def test_check_digits_of_an_inn(inn: str, right: bool) -> None:
    assert inn_valid(inn) is right


PROP = SectoralProp("030", date(2023, 11, 21), "1944", "UUID=1&Time=2")
PERSON = Customer(
    "a@example.org",
    birth_date=date(1990, 5, 17),
    citizenship="643",
    document_code="21",
    document_data="4510 000000",
    address="Москва",
)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"customer": PERSON}, []),
        ({"customer": replace(PERSON, citizenship="RU")}, [("country_code", "#/customer/citizenship")]),
        ({"customer": replace(PERSON, document_code="1")}, [("document_code", "#/customer/document_code")]),
        ({"customer": replace(PERSON, document_data=None)}, [("document_incomplete", "#/customer/document_data")]),
        ({"customer": replace(PERSON, address="я" * 257)}, [("text_length", "#/customer/address")]),
        ({"sectoral_props": (PROP,)}, []),
        (
            {"sectoral_props": (replace(PROP, federal_id="30"),)},
            [("sectoral_federal_id", "#/sectoral_props/0/federal_id")],
        ),
        ({"sectoral_props": (replace(PROP, number="1" * 33),)}, [("text_length", "#/sectoral_props/0/number")]),
        ({"operating_prop": OperatingProp(0, "заезд", NOON)}, []),
        ({"operating_prop": OperatingProp(256, "заезд", NOON)}, [("operating_id", "#/operating_prop/id")]),
        ({"operating_prop": OperatingProp(0, "я" * 65, NOON)}, [("text_length", "#/operating_prop/data")]),
        ({"user_prop": ("Заказ", "1" * 257)}, [("text_length", "#/user_prop/value")]),
        ({"additional_prop": "1" * 17}, [("text_length", "#/additional_prop")]),
    ],
)
def test_requisites_beside_the_lines(
    change: dict[str, Any], found: list[tuple[str, str]], make_receipt: Make, make_item: Make, today: date
) -> None:
    assert rules(findings(make_receipt(make_item(), **change), today)) == found


def test_what_the_old_format_has_no_tag_for(make_receipt: Make, make_item: Make, today: date) -> None:
    receipt = make_receipt(
        make_item(sectoral_props=(PROP,)),
        ffd=FfdVersion.V1_05,
        customer=PERSON,
        sectoral_props=(PROP,),
        operating_prop=OperatingProp(0, "заезд", NOON),
    )
    found = findings(receipt, today)
    assert {each.rule for each in found} == {"requisite_ffd"}
    assert sorted(each.tag or 0 for each in found) == [1243, 1244, 1245, 1246, 1254, 1260, 1261, 1270]


def test_a_provider_that_cannot_carry_a_requisite_is_known_before_anything_is_queued(
    make_receipt: Make, make_item: Make, today: date
) -> None:
    item = make_item(
        100_00,
        marking=MarkingCode(CODE, 1, 1, 2),
        agent=Agent(AgentType.ANOTHER, **SUPPLIER),
        excise=1,
        country="643",
        declaration="1",
        additional_props="1",
        sectoral_props=(PROP,),
    )
    receipt = make_receipt(
        item,
        customer=replace(PERSON, name="Анна", inn="500100732259"),
        cashier_name="Анна",
        cashier_inn="500100732259",
        user_prop=("Заказ", "1"),
        additional_prop="1",
        sectoral_props=(PROP,),
        operating_prop=OperatingProp(0, "заезд", NOON),
    )
    assert findings(receipt, today) == ()
    assert findings(receipt, today, DriverLimits(carries=OPTIONAL)) == ()
    for tag in OPTIONAL:
        assert [(each.rule, each.tag) for each in findings(receipt, today, DriverLimits(carries=OPTIONAL - {tag}))] == [
            ("requisite_not_carried", tag)
        ]


@pytest.mark.parametrize(
    ("marking", "found"),
    [
        (MarkingCode(CODE.replace("\x1d", "\\u001d"), 1), "mark_separator"),
        (MarkingCode(CODE.replace("\x1d", "%1D"), 1), "mark_separator"),
        (MarkingCode("01" + "04600439931257" + CODE[16:], 1), "mark_gs1"),
        (MarkingCode(CODE, 77), "mark_state"),
        (MarkingCode("x" * 257, 1), "mark_length"),
        (MarkingCode(CODE, 1, 2, 2), "mark_fraction"),
        (MarkingCode(CODE, 1, 1), "mark_fraction"),
        (MarkingCode("04600439931256", 1), None),
        (MarkingCode("RU-430302-AAA7582720", 1), None),
    ],
)
def test_a_marking_code_that_nobody_could_check(
    marking: MarkingCode, found: str | None, make_receipt: Make, make_item: Make, today: date
) -> None:
    told = [each.rule for each in findings(make_receipt(make_item(marking=marking)), today)]
    assert told == ([] if found is None else [found])


def test_check_digits_of_a_gtin() -> None:
    assert check_digit("0460043993125") == 6
    assert check_digit("400638133393") == 1
