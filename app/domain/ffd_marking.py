"""The words of marked goods in FFD 1.2: planned state, form of the code, what a check answers.

A register parses the raw code (tag 2000) into one of the forms of 1163 itself; check results stand in its answers only.
"""

from enum import nonmember

from app.domain.ffd import FfdEnum, Operation, Term


class ItemState(FfdEnum):
    """Планируемый статус товара, tag 2003. 5 and 6 are a later addition (unconfirmed): a driver may refuse them."""

    tag = nonmember(2003)

    PIECE_SOLD = Term(1, "штучный товар, реализован")
    MEASURED_IN_SALE = Term(2, "мерный товар, в стадии реализации")
    PIECE_RETURNED = Term(3, "штучный товар, возвращен")
    PART_RETURNED = Term(4, "часть товара, возвращена")
    PIECE_IN_SALE = Term(5, "штучный товар, в стадии реализации")
    MEASURED_SOLD = Term(6, "мерный товар, реализован")
    UNCHANGED = Term(255, "статус товара не изменился")

    @classmethod
    def from_tag(cls, value: int) -> "ItemState | None":
        return next((member for member in cls if member.tag_value == value), None)

    @classmethod
    def default_for(cls, operation: Operation) -> "ItemState":
        """What happens to a whole piece: sold, or returned."""
        return cls.PIECE_RETURNED if operation.is_refund else cls.PIECE_SOLD


class MarkMode(FfdEnum):
    """Режим обработки кода маркировки, tag 2102: the format knows one value."""

    tag = nonmember(2102)

    DEFAULT = Term(0, "единственный режим")


class MarkFormat(FfdEnum):
    """Код товара, tag 1163: the value is the tag inside it that carries the code."""

    tag = nonmember(1163)

    UNKNOWN = Term(1300, "нераспознанный код товара")
    EAN8 = Term(1301, "EAN-8")
    EAN13 = Term(1302, "EAN-13")
    ITF14 = Term(1303, "ITF-14")
    GS10 = Term(1304, "GS1 без маркировки")
    GS1M = Term(1305, "GS1 с маркировкой")
    SHORT = Term(1306, "короткий код маркировки")
    FUR = Term(1307, "меховые изделия")
    EGAIS20 = Term(1308, "ЕГАИС-2.0")
    EGAIS30 = Term(1309, "ЕГАИС-3.0")
    F1 = Term(1320, "Ф.1")
    F2 = Term(1321, "Ф.2")
    F3 = Term(1322, "Ф.3")
    F4 = Term(1323, "Ф.4")
    F5 = Term(1324, "Ф.5")
    F6 = Term(1325, "Ф.6")


class MarkCheck(FfdEnum):
    """Результат проверки сведений о товаре, tag 2106: bits of one byte. 15 is known to mean that all is well; what
    each bit says is unconfirmed."""

    tag = nonmember(2106)

    CODE_CHECKED = Term(1, "код маркировки проверен")
    CODE_VALID = Term(2, "проверка кода положительна")
    STATUS_CHECKED = Term(4, "статус товара проверен")
    STATUS_VALID = Term(8, "планируемый статус корректен")
    OFFLINE = Term(16, "проверка в автономном режиме")

    @classmethod
    def all_well(cls, result: int) -> bool:
        """Whether code and state were both checked and found right."""
        return result == 15
