"""What a kassa's driver can carry, judged before anything is queued: what is beyond it would be refused later."""

from dataclasses import dataclass, field

from app.domain.errors import Finding
from app.domain.ffd import FfdVersion, Operation
from app.domain.money import QUANTITY_DECIMALS
from app.domain.receipt import Item, Receipt


@dataclass(frozen=True, slots=True)
class DriverLimits:
    """The bounds of one driver; as they stand here they are those of the format with the usual 100 lines.

    `ffd` are the formats in which it prints, `corrections` those in which it prints correction receipts; `carries` are
    the optional tags that it can send (`carriage.py` judges them); None: `marking` and `agents` say it of those two.
    """

    max_items: int = 100
    quantity_decimals: int = QUANTITY_DECIMALS
    ffd: frozenset[FfdVersion] = field(default=frozenset(FfdVersion))
    operations: frozenset[Operation] = field(default=frozenset(Operation))
    corrections: frozenset[FfdVersion] = field(default=frozenset(FfdVersion))
    marking: bool = True
    agents: bool = True
    carries: frozenset[int] | None = None


def limit_findings(found: list[Finding], receipt: Receipt, limits: DriverLimits) -> None:
    """Add to `found` whatever of the receipt this driver does not carry."""
    if len(receipt.items) > limits.max_items:
        found.append(
            Finding(
                "#/items",
                "too_many_items",
                f"The receipt has {len(receipt.items)} lines; this kassa takes at most {limits.max_items}.",
                f"В чеке {len(receipt.items)} строк, касса принимает не больше {limits.max_items}.",
                1059,
                "Merge equal lines, or report the payment in parts.",
            )
        )
    if receipt.operation not in limits.operations:
        found.append(
            Finding(
                "#/operation",
                "operation_not_supported",
                f"This kassa's provider makes no receipts of the kind {receipt.operation.code}.",
                f"Оператор этой кассы не пробивает чеки «{receipt.operation.ru}».",
                1054,
                "Use a kassa whose provider does; GET /v1/providers shows what each can do.",
            )
        )
    formats = limits.ffd if receipt.correction is None else limits.corrections
    if receipt.ffd not in formats:
        what, what_ru = "correction receipts", "чеки коррекции"
        if receipt.correction is None:
            what, what_ru = "receipts", "чеки"
        found.append(
            Finding(
                "#/ffd",
                "ffd_not_supported" if receipt.correction is None else "correction_not_supported",
                f"This kassa's provider makes no {what} in FFD {receipt.ffd.value}.",
                f"Оператор этой кассы не пробивает {what_ru} в ФФД {receipt.ffd.value}.",
                1209,
                "Connect the kassa anew in a format that its provider prints.",
            )
        )
    for index, item in enumerate(receipt.items):
        _line(found, index, item, limits)


def _line(found: list[Finding], index: int, item: Item, limits: DriverLimits) -> None:
    pointer = f"#/items/{index}"
    # An exact fraction of a power of ten has at most as many decimals as its power.
    if limits.quantity_decimals < QUANTITY_DECIMALS and item.quantity.is_finite():
        decimals = item.quantity * 10**limits.quantity_decimals
        if decimals != int(decimals):
            found.append(
                Finding(
                    f"{pointer}/quantity",
                    "quantity_decimals",
                    f"The quantity has more than {limits.quantity_decimals} decimals, which this kassa does not take.",
                    f"У количества больше {limits.quantity_decimals} знаков после запятой: касса столько не принимает.",
                    1023,
                    "Round the quantity, or report one unit with the real quantity in the name.",
                )
            )
    if limits.carries is None and item.marking is not None and not limits.marking:
        found.append(
            Finding(
                f"{pointer}/marking_code",
                "marking_not_supported",
                "This kassa's provider carries no marking codes.",
                "Оператор этой кассы не передаёт коды маркировки.",
                2000,
                "Sell marked goods through a kassa whose provider carries them.",
            )
        )
    if limits.carries is None and item.agent is not None and not limits.agents:
        found.append(
            Finding(
                f"{pointer}/agent",
                "agents_not_supported",
                "This kassa's provider carries no agent data.",
                "Оператор этой кассы не передаёт признак агента.",
                1222,
                "Sell on another's behalf through a kassa whose provider carries it.",
            )
        )
