"""What must hold for the requisites beside the lines: who the buyer is (1256), props of the user (1084), of a federal
body (1260, 1261) and of an operation (1270), cashier and device.

Source: the format, FNS order ЕД-7-20/662@; lengths are those of FFD 1.05 where they are shorter.
"""

import re
from collections.abc import Iterator

from app.domain.errors import Finding
from app.domain.ffd import FfdVersion
from app.domain.inn import inn_valid
from app.domain.receipt import Customer, OperatingProp, Receipt, SectoralProp
from app.domain.tags import limit_of

_COUNTRY = re.compile(r"[0-9]{3}")
_DOCUMENT = re.compile(r"[0-9]{2}")
_FEDERAL_ID = re.compile(r"[0-9]{3}")


def props_findings(found: list[Finding], receipt: Receipt) -> None:
    """Add to `found` everything wrong with these requisites of the receipt and its lines."""
    found += _inns(receipt)
    found += _texts(receipt)
    found += _identity(receipt.customer)
    found += _user_prop(receipt.user_prop)
    found += _sectoral("#/sectoral_props", receipt.sectoral_props)
    for index, item in enumerate(receipt.items):
        found += _sectoral(f"#/items/{index}/sectoral_props", item.sectoral_props)
    if receipt.operating_prop is not None:
        found += _operating(receipt.operating_prop)
    if receipt.ffd is not FfdVersion.V1_2:
        found += _of_the_new_format(receipt)


def text_length(pointer: str, tag: int, text: str | None) -> Iterator[Finding]:
    """A text that is given is not empty and not longer than its tag."""
    if text is None or (text.strip() and len(text) <= limit_of(tag)):
        return
    yield Finding(
        pointer,
        "text_length",
        f"The text must have 1 to {limit_of(tag)} characters.",
        f"Длина текста должна быть от 1 до {limit_of(tag)} символов.",
        tag,
        "Shorten it or leave it out.",
    )


def identity_given(customer: Customer) -> list[tuple[str, int]]:
    """Members of the buyer, with their tags, that FFD 1.05 has no place for."""
    members = (
        ("birth_date", 1243, customer.birth_date),
        ("citizenship", 1244, customer.citizenship),
        ("document_code", 1245, customer.document_code),
        ("document_data", 1246, customer.document_data),
        ("address", 1254, customer.address),
    )
    return [(name, tag) for name, tag, value in members if value is not None]


def _inns(receipt: Receipt) -> Iterator[Finding]:
    for pointer, tag, inn in (
        ("#/customer/inn", 1228, receipt.customer.inn),
        ("#/cashier_inn", 1203, receipt.cashier_inn),
    ):
        if inn and not inn_valid(inn):
            yield Finding(
                pointer,
                "inn_checksum",
                "The INN is not 10 or 12 digits with right check digits.",
                "ИНН должен состоять из 10 или 12 цифр, контрольные цифры не сходятся.",
                tag,
                "Correct the INN or leave it out.",
            )


def _texts(receipt: Receipt) -> Iterator[Finding]:
    for pointer, tag, text in (
        ("#/customer/name", 1227, receipt.customer.name),
        ("#/cashier_name", 1021, receipt.cashier_name),
        ("#/additional_prop", 1192, receipt.additional_prop),
    ):
        yield from text_length(pointer, tag, text)


def _identity(customer: Customer) -> Iterator[Finding]:
    yield from text_length("#/customer/document_data", 1246, customer.document_data)
    yield from text_length("#/customer/address", 1254, customer.address)
    if customer.citizenship is not None and not _COUNTRY.fullmatch(customer.citizenship):
        yield Finding(
            "#/customer/citizenship",
            "country_code",
            "The citizenship is not the three digits of OKSM.",
            "Гражданство это три цифры кода страны по ОКСМ.",
            1244,
            "For example 643 for Russia.",
        )
    if customer.document_code is not None and not _DOCUMENT.fullmatch(customer.document_code):
        yield Finding(
            "#/customer/document_code",
            "document_code",
            "The kind of the buyer's document is not a code of two digits.",
            "Код вида документа покупателя состоит из двух цифр.",
            1245,
            "For example 21 for a passport of Russia.",
        )
    if (customer.document_code is None) is not (customer.document_data is None):
        yield Finding(
            "#/customer/document_data",
            "document_incomplete",
            "A document of the buyer has its kind and its data.",
            "Документ покупателя указывают вместе: код вида и данные.",
            1246,
            "Give document_code and document_data, or neither.",
        )


def _user_prop(prop: tuple[str, str] | None) -> Iterator[Finding]:
    if prop is not None:
        yield from text_length("#/user_prop/name", 1085, prop[0])
        yield from text_length("#/user_prop/value", 1086, prop[1])


def _sectoral(pointer: str, props: tuple[SectoralProp, ...]) -> Iterator[Finding]:
    for index, prop in enumerate(props):
        here = f"{pointer}/{index}"
        if not _FEDERAL_ID.fullmatch(prop.federal_id):
            yield Finding(
                f"{here}/federal_id",
                "sectoral_federal_id",
                "The federal body is named by three digits.",
                "Федеральный орган указывают тремя цифрами.",
                1262,
                "For the permission mode of marked goods it is 030.",
            )
        yield from text_length(f"{here}/number", 1264, prop.number)
        yield from text_length(f"{here}/value", 1265, prop.value)


def _operating(prop: OperatingProp) -> Iterator[Finding]:
    yield from text_length("#/operating_prop/data", 1272, prop.data)
    if not 0 <= prop.id <= 255:
        yield Finding(
            "#/operating_prop/id",
            "operating_id",
            "The id of an operation is 0 to 255.",
            "Идентификатор операции от 0 до 255.",
            1271,
            "Give 0 unless the tax service defined another id.",
        )


def _of_the_new_format(receipt: Receipt) -> Iterator[Finding]:
    named = [(f"#/customer/{name}", tag) for name, tag in identity_given(receipt.customer)]
    named += [("#/sectoral_props", 1261)] if receipt.sectoral_props else []
    named += [
        (f"#/items/{index}/sectoral_props", 1260) for index, item in enumerate(receipt.items) if item.sectoral_props
    ]
    named += [("#/operating_prop", 1270)] if receipt.operating_prop is not None else []
    for pointer, tag in named:
        yield Finding(
            pointer,
            "requisite_ffd",
            f"Tag {tag} exists in FFD 1.2 only; this kassa works with {receipt.ffd.value}.",
            f"Реквизит {tag} есть только в ФФД 1.2, а касса работает в ФФД {receipt.ffd.value}.",
            tag,
            "Leave it out, or use a kassa with FFD 1.2.",
        )
