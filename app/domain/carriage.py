"""Requisites that a receipt may have and a provider's protocol may lack: refused before anything is queued."""

from collections.abc import Iterator

from app.domain.errors import Finding
from app.domain.receipt import Item, Receipt
from app.domain.rules_props import identity_given
from app.domain.tags import TAGS

OPTIONAL = frozenset(
    {1021, 1084, 1191, 1192, 1203, 1222, 1227, 1228, 1229, 1230, 1231}
    | {1243, 1244, 1245, 1246, 1254, 1260, 1261, 1270, 1291, 2000}
)
"""Tags without which a receipt is still one: a driver says which of them it carries."""


def carriage_findings(receipt: Receipt, carries: frozenset[int]) -> Iterator[Finding]:
    """What the receipt has and a provider that carries these tags of OPTIONAL cannot send. Nothing is dropped
    silently: a receipt without what its seller wanted on it is another receipt."""
    for pointer, tag in _optional(receipt):
        if tag not in carries:
            ru = TAGS[tag].ru
            yield Finding(
                pointer,
                "requisite_not_carried",
                f"This kassa's provider cannot carry tag {tag} (FFD {receipt.ffd.value}).",
                f"Провайдер этой кассы не передаёт реквизит {tag} «{ru}» (ФФД {receipt.ffd.value}).",
                tag,
                "Leave it out, or use a kassa whose provider carries it.",
            )


def _optional(receipt: Receipt) -> Iterator[tuple[str, int]]:
    """Every optional requisite that the receipt has, as (pointer, tag)."""
    customer = receipt.customer
    whole = (
        ("#/customer/name", 1227, customer.name),
        ("#/customer/inn", 1228, customer.inn),
        ("#/cashier_name", 1021, receipt.cashier_name),
        ("#/cashier_inn", 1203, receipt.cashier_inn),
        ("#/user_prop", 1084, receipt.user_prop),
        ("#/additional_prop", 1192, receipt.additional_prop),
        ("#/operating_prop", 1270, receipt.operating_prop),
        ("#/sectoral_props", 1261, receipt.sectoral_props),
    )
    yield from ((pointer, tag) for pointer, tag, value in whole if value)
    yield from ((f"#/customer/{name}", tag) for name, tag in identity_given(customer))
    for index, item in enumerate(receipt.items):
        yield from ((f"#/items/{index}/{member}", tag) for member, tag in _of_line(item))


def _of_line(item: Item) -> Iterator[tuple[str, int]]:
    members = (
        ("agent", 1222, item.agent is not None),
        ("excise", 1229, item.excise is not None),
        ("country", 1230, item.country is not None),
        ("declaration", 1231, item.declaration is not None),
        ("additional_props", 1191, item.additional_props is not None),
        ("sectoral_props", 1260, bool(item.sectoral_props)),
        ("marking_code", 2000, item.marking is not None),
        ("marking_code", 1291, item.marking is not None and item.marking.numerator is not None),
    )
    return ((member, tag) for member, tag, there in members if there)
