"""What must hold before a receipt may go to a kassa: every finding at once, with where, why and how to mend it.

The receipt as a whole is judged here, its lines in `rules_line.py`, agent data in `rules_agent.py`, marking codes in
`rules_marking.py`, other requisites in `rules_props.py`, and what a provider can carry in `carriage.py`. Sums and ways
of payment are those of the format (FNS order ЕД-7-20/662@), contact and place of a sale over the Internet those of
order ЕД-7-20/236@ of 2025-03-26 (in force 2025-09-01); a receipt without findings can still be refused by a kassa that
is registered otherwise.
"""

import re
from datetime import date

from app.domain.carriage import carriage_findings
from app.domain.errors import Finding
from app.domain.ffd import CorrectionKind, FfdVersion, PaymentKind, PaymentMethod
from app.domain.limits import DriverLimits, limit_findings
from app.domain.money import roubles
from app.domain.receipt import Receipt
from app.domain.rules_line import line_findings
from app.domain.rules_props import props_findings

MAX_MARKING_CODES = 128
"""Fiscal storage takes no more codes in one receipt."""

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_PHONE = re.compile(r"\+[0-9]{10,15}")


OF_SUMS = frozenset(
    {
        "totals",
        "line_amount",
        "price_positive",
        "amount_positive",
        "payment_positive",
        "prepaid_method",
        "credit_method",
        "credit_unpaid",
        "prepayment_kind",
        "items_empty",
        "place_missing",
    }
)
"""Rules that say nothing new of a report whose sums are not settled, and the one that is the settings' own fault."""

ANY_DRIVER = DriverLimits()


def findings(receipt: Receipt, today: date, limits: DriverLimits = ANY_DRIVER) -> tuple[Finding, ...]:
    """All that is wrong with the receipt; empty when it may be sent.

    `today` is the local date of the settlement: it decides which VAT rates a new sale may carry. `limits` are those of
    the kassa's driver. Pointers are those of the body of our API.
    """
    found: list[Finding] = []
    _count(found, receipt)
    limit_findings(found, receipt, limits)
    for index, item in enumerate(receipt.items):
        line_findings(found, receipt, index, item, today)
    _marking_codes(found, receipt)
    _payments(found, receipt)
    _methods(found, receipt)
    _contact(found, receipt)
    _place(found, receipt)
    _correction(found, receipt, today)
    props_findings(found, receipt)
    if limits.carries is not None:
        found += carriage_findings(receipt, limits.carries)
    return tuple(found)


def contact_usable(email: str | None, phone: str | None) -> tuple[str | None, str | None]:
    """The contacts that tag 1008 can carry; None in place of the others."""
    return (
        email if email and len(email) <= 64 and _EMAIL.fullmatch(email) else None,
        phone if phone and _PHONE.fullmatch(phone) else None,
    )


def _count(found: list[Finding], receipt: Receipt) -> None:
    if not receipt.items:
        found.append(
            Finding(
                "#/items",
                "items_empty",
                "A receipt needs at least one line.",
                "В чеке должна быть хотя бы одна строка.",
                1059,
                "Name what was paid for.",
            )
        )


def _marking_codes(found: list[Finding], receipt: Receipt) -> None:
    seen: set[str] = set()
    for index, item in enumerate(receipt.items):
        if item.marking is None:
            continue
        if item.marking.code in seen:
            found.append(
                Finding(
                    f"#/items/{index}/marking_code",
                    "mark_duplicate",
                    "The same marking code stands in another line of this receipt.",
                    "Этот код маркировки уже есть в другой строке чека.",
                    2000,
                    "Scan the code of each piece; one code is one line.",
                )
            )
        seen.add(item.marking.code)
    if len(seen) > MAX_MARKING_CODES:
        found.append(
            Finding(
                "#/items",
                "mark_count",
                f"The receipt has {len(seen)} marking codes; fiscal storage takes at most {MAX_MARKING_CODES}.",
                f"В чеке {len(seen)} кодов маркировки, фискальный накопитель принимает не больше {MAX_MARKING_CODES}.",
                2000,
                "Report the payment in parts.",
            )
        )


def _payments(found: list[Finding], receipt: Receipt) -> None:
    for index, payment in enumerate(receipt.payments):
        if payment.amount <= 0:
            found.append(
                Finding(
                    f"#/payments/{index}/amount",
                    "payment_positive",
                    "A payment is above zero.",
                    "Сумма оплаты должна быть больше нуля.",
                    payment.kind.tag_value,
                    "Leave out ways of payment that were not used.",
                )
            )
    paid = sum(payment.amount for payment in receipt.payments)
    if paid != receipt.total:
        found.append(
            Finding(
                "#/payments",
                "totals",
                f"The payments sum to {roubles(paid)}, the lines to {roubles(receipt.total)}.",
                f"Сумма оплат {roubles(paid)} руб., а сумма строк {roubles(receipt.total)} руб.",
                1020,
                "Make both equal to what the buyer really paid, after every discount.",
            )
        )


def _methods(found: list[Finding], receipt: Receipt) -> None:
    sold: dict[PaymentMethod, int] = {}
    for item in receipt.items:
        sold[item.payment_method] = sold.get(item.payment_method, 0) + item.amount
    paid: dict[PaymentKind, int] = {}
    for payment in receipt.payments:
        paid[payment.kind] = paid.get(payment.kind, 0) + payment.amount
    full, partial = sold.get(PaymentMethod.FULL_PAYMENT, 0), sold.get(PaymentMethod.PARTIAL_PAYMENT, 0)
    on_credit = sold.get(PaymentMethod.CREDIT, 0)
    before = sum([amount for method, amount in sold.items() if method.before_handing_over])
    prepaid, credit = paid.get(PaymentKind.PREPAID, 0), paid.get(PaymentKind.CREDIT, 0)
    if prepaid > full + partial:
        found.append(
            Finding(
                "#/payments",
                "prepaid_method",
                "A prepayment can be offset (prepaid) only for lines with full_payment or partial_payment.",
                "Зачёт предоплаты (1215) возможен только для строк с полным или частичным расчётом.",
                1215,
                "Give the lines the method full_payment, or report the money as electronic or cash.",
            )
        )
    if credit > partial + on_credit:
        found.append(
            Finding(
                "#/payments",
                "credit_method",
                "Credit (a debt to the seller) is possible only for lines with partial_payment or credit.",
                "Оплата в кредит (1216) возможна только для строк с частичным расчётом или передачей в кредит.",
                1216,
                "Give the lines the method credit or partial_payment. A bank's loan to the buyer is electronic.",
            )
        )
    if not receipt.operation.is_refund and credit < on_credit:
        found.append(
            Finding(
                "#/payments",
                "credit_unpaid",
                "Lines handed over on credit are not covered by a payment of the kind credit.",
                "Строки с передачей в кредит должны быть покрыты оплатой вида «в кредит» (1216).",
                1216,
                "Give the sum of these lines as credit, or change their method.",
            )
        )
    money = paid.get(PaymentKind.ELECTRONIC, 0) + paid.get(PaymentKind.CASH, 0)
    if before > money:
        found.append(
            Finding(
                "#/payments",
                "prepayment_kind",
                "Money before handing over comes as electronic or cash only.",
                "Предоплата и аванс вносятся только безналичными или наличными.",
                1214,
                "Report the prepaid lines as paid by electronic or cash.",
            )
        )
    if len(receipt.items) > 1 and sold.get(PaymentMethod.CREDIT_PAYMENT):
        found.append(
            Finding(
                "#/items",
                "credit_payment_alone",
                "Payment of a debt (credit_payment) must be the only line of its receipt.",
                "Оплата кредита должна быть единственной строкой чека.",
                1214,
                "Report the payment of the debt as an event of its own.",
            )
        )


def _contact(found: list[Finding], receipt: Receipt) -> None:
    customer = receipt.customer
    if receipt.internet and not customer.has_contact:
        found.append(
            Finding(
                "#/customer",
                "contact_missing",
                "A payment over the Internet needs the buyer's e-mail or phone.",
                "Для оплаты в интернете нужен e-mail или телефон покупателя.",
                1008,
                "Ask the buyer, or set a fallback contact for the kassa.",
            )
        )
    email, phone = contact_usable(customer.email, customer.phone)
    if customer.email and email is None:
        found.append(
            Finding(
                "#/customer/email",
                "contact_format",
                "The e-mail is not an address of at most 64 characters.",
                "E-mail покупателя записан неверно или длиннее 64 символов.",
                1008,
                "Correct it, for example name@example.org.",
            )
        )
    if customer.phone and phone is None:
        found.append(
            Finding(
                "#/customer/phone",
                "contact_format",
                "The phone is not in international form.",
                "Телефон покупателя записан не в международном виде.",
                1008,
                "Write it as +79990000000.",
            )
        )


def _place(found: list[Finding], receipt: Receipt) -> None:
    place = receipt.place.strip()
    if not place or len(place) > 256:
        found.append(
            Finding(
                "#",
                "place_missing",
                "The kassa has no place of settlement of 1 to 256 characters.",
                "У кассы не указано место расчётов (от 1 до 256 символов).",
                1187,
                "Set the kassa's place exactly as it is registered with the provider.",
            )
        )
    elif receipt.internet and ("." not in place or " " in place):
        found.append(
            Finding(
                "#",
                "place_missing",
                "For payments over the Internet the place of settlement is the address of the site.",
                "При оплате в интернете место расчётов это адрес сайта.",
                1187,
                "Set the kassa's place to the site's address, for example https://shop.example.",
            )
        )


def _correction(found: list[Finding], receipt: Receipt, today: date) -> None:
    basis = receipt.correction
    if basis is None:
        return
    if basis.corrected_date > today:
        found.append(
            Finding(
                "#/correction/corrected_date",
                "correction_date",
                "The corrected settlement lies in the future.",
                "Дата корректируемого расчёта ещё не наступила.",
                1178,
                "Give the day on which the money was taken or returned.",
            )
        )
    if receipt.operation.is_refund and receipt.ffd is not FfdVersion.V1_2:
        found.append(
            Finding(
                "#/operation",
                "correction_operation",
                f"FFD {receipt.ffd.value} knows no correction of a refund.",
                f"В ФФД {receipt.ffd.value} нет чека коррекции возврата.",
                1054,
                "Correct with an ordinary refund receipt, or use a kassa with FFD 1.2.",
            )
        )
    if basis.kind is CorrectionKind.INSTRUCTION and not (basis.document_number or "").strip():
        found.append(
            Finding(
                "#/correction/document_number",
                "correction_document",
                "A correction by instruction needs the number of the tax office's order.",
                "Для коррекции по предписанию нужен номер предписания.",
                1179,
                "Give the number, or mark the correction as made by yourself (self).",
            )
        )
    if len(basis.document_number or "") > 32:
        found.append(
            Finding(
                "#/correction/document_number",
                "correction_document",
                "The number of the order is longer than 32 characters.",
                "Номер предписания длиннее 32 символов.",
                1179,
                "Give the number alone, without the name of the document.",
            )
        )
