"""The words of the fiscal format (FFD 1.05 and 1.2): every enumeration with its tag, number and Russian term.

Numbers are those of FNS order ЕД-7-20/662@ with its amendments up to ЕД-7-20/1050@ of 2025-12-08. Members are the
gateway's own names, which drivers map to what each provider calls them; VAT rates live in `vat.py`.
"""

from dataclasses import dataclass
from enum import Enum, nonmember
from functools import cache
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Term:
    """What a fiscal tag says: the number on the wire and the Russian term on paper."""

    value: int
    ru: str


class FfdEnum(Enum):
    """An enumeration of the format: `tag` carries it, `code` is our name, `tag_value` the number in the document."""

    code: str
    tag_value: int
    ru: str

    def __init__(self, term: Term) -> None:
        self.code = self.name.lower()
        self.tag_value = term.value
        self.ru = term.ru

    # Members are single objects: their identity hashes them, and Enum's own way over the name costs ten times that.
    __hash__ = object.__hash__

    @classmethod
    def parse(cls, code: str) -> Self:
        """The member with this API name; ValueError names the legal ones."""
        member: Self | None = _by_code(cls).get(code)
        if member is None:
            raise ValueError(f"unknown {cls.__name__} {code!r}; one of: {', '.join(m.code for m in cls)}")
        return member


@cache
def _by_code(kind: type[FfdEnum]) -> dict[str, Any]:
    return {member.code: member for member in kind}


class Operation(FfdEnum):
    """Признак расчета, tag 1054."""

    tag = nonmember(1054)

    SELL = Term(1, "приход")
    SELL_REFUND = Term(2, "возврат прихода")
    BUY = Term(3, "расход")
    BUY_REFUND = Term(4, "возврат расхода")

    is_refund: bool

    def __init__(self, term: Term) -> None:
        super().__init__(term)
        self.is_refund = self.name in ("SELL_REFUND", "BUY_REFUND")

    @property
    def reverse(self) -> "Operation":
        return _REVERSE[self]


_REVERSE = {
    Operation.SELL: Operation.SELL_REFUND,
    Operation.SELL_REFUND: Operation.SELL,
    Operation.BUY: Operation.BUY_REFUND,
    Operation.BUY_REFUND: Operation.BUY,
}


class Taxation(FfdEnum):
    """Применяемая система налогообложения, tag 1055: a bit mask, exactly one bit in a receipt.

    АУСН has no code of its own: `usn_income` or `usn_income_outcome` by its object of taxation.
    ЕНВД (bit 3) was abolished on 2021-01-01 and is left out: a new receipt cannot carry it.
    """

    tag = nonmember(1055)

    OSN = Term(1, "общая")
    USN_INCOME = Term(2, "УСН доход")
    USN_INCOME_OUTCOME = Term(4, "УСН доход - расход")
    ESN = Term(16, "ЕСХН")
    PATENT = Term(32, "ПСН")


class PaymentMethod(FfdEnum):
    """Признак способа расчета, tag 1214."""

    tag = nonmember(1214)

    FULL_PREPAYMENT = Term(1, "предоплата 100%")
    PREPAYMENT = Term(2, "предоплата")
    ADVANCE = Term(3, "аванс")
    FULL_PAYMENT = Term(4, "полный расчет")
    PARTIAL_PAYMENT = Term(5, "частичный расчет и кредит")
    CREDIT = Term(6, "передача в кредит")
    CREDIT_PAYMENT = Term(7, "оплата кредита")

    before_handing_over: bool
    """Money comes before goods: VAT is calculated (22/122), and 1215/1216 may not pay for it."""

    def __init__(self, term: Term) -> None:
        super().__init__(term)
        self.before_handing_over = self.name in ("FULL_PREPAYMENT", "PREPAYMENT", "ADVANCE")


class PaymentObject(FfdEnum):
    """Признак предмета расчета, tag 1212. 27 and 30-33 exist in FFD 1.2 only."""

    tag = nonmember(1212)

    COMMODITY = Term(1, "товар")
    EXCISE = Term(2, "подакцизный товар")
    JOB = Term(3, "работа")
    SERVICE = Term(4, "услуга")
    GAMBLING_BET = Term(5, "ставка азартной игры")
    GAMBLING_PRIZE = Term(6, "выигрыш азартной игры")
    LOTTERY = Term(7, "лотерейный билет")
    LOTTERY_PRIZE = Term(8, "выигрыш лотереи")
    INTELLECTUAL_ACTIVITY = Term(9, "предоставление РИД")
    PAYMENT = Term(10, "платеж")
    AGENT_COMMISSION = Term(11, "агентское вознаграждение")
    AWARD = Term(12, "выплата")
    ANOTHER = Term(13, "иной предмет расчета")
    PROPERTY_RIGHT = Term(14, "имущественное право")
    NON_OPERATING_GAIN = Term(15, "внереализационный доход")
    INSURANCE_PREMIUM = Term(16, "иные платежи и взносы")
    SALES_TAX = Term(17, "торговый сбор")
    RESORT_FEE = Term(18, "туристический налог")
    DEPOSIT = Term(19, "залог")
    EXPENSE = Term(20, "расход")
    PENSION_INSURANCE_IP = Term(21, "взносы на ОПС ИП")
    PENSION_INSURANCE = Term(22, "взносы на ОПС")
    MEDICAL_INSURANCE_IP = Term(23, "взносы на ОМС ИП")
    MEDICAL_INSURANCE = Term(24, "взносы на ОМС")
    SOCIAL_INSURANCE = Term(25, "взносы на ОСС")
    CASINO_PAYMENT = Term(26, "платеж казино")
    AGENT_WITHDRAWAL = Term(27, "выдача денежных средств")
    EXCISE_WITHOUT_MARKING = Term(30, "АТНМ")
    EXCISE_WITH_MARKING = Term(31, "АТМ")
    COMMODITY_WITHOUT_MARKING = Term(32, "ТНМ")
    COMMODITY_WITH_MARKING = Term(33, "ТМ")

    ffd12_only: bool
    needs_marking_code: bool

    def __init__(self, term: Term) -> None:
        super().__init__(term)
        self.ffd12_only = term.value >= 27
        self.needs_marking_code = self.name in ("EXCISE_WITH_MARKING", "COMMODITY_WITH_MARKING")


class PaymentKind(FfdEnum):
    """How the receipt was paid: the value is the tag that carries the sum (1031, 1081, 1215, 1216, 1217)."""

    CASH = Term(1031, "наличными")
    ELECTRONIC = Term(1081, "безналичными")
    PREPAID = Term(1215, "предоплатой (зачет аванса)")
    CREDIT = Term(1216, "постоплатой (в кредит)")
    OTHER = Term(1217, "встречным предоставлением")


class AgentType(FfdEnum):
    """Признак агента, tag 1222 on the item (one bit)."""

    tag = nonmember(1222)

    BANK_PAYING_AGENT = Term(1, "банковский платежный агент")
    BANK_PAYING_SUBAGENT = Term(2, "банковский платежный субагент")
    PAYING_AGENT = Term(4, "платежный агент")
    PAYING_SUBAGENT = Term(8, "платежный субагент")
    ATTORNEY = Term(16, "поверенный")
    COMMISSION_AGENT = Term(32, "комиссионер")
    ANOTHER = Term(64, "иной агент")


class Measure(FfdEnum):
    """Мера количества предмета расчета, tag 2108 (FFD 1.2); FFD 1.05 carries the short text in tag 1197."""

    tag = nonmember(2108)

    PIECE = Term(0, "шт")
    GRAM = Term(10, "г")
    KILOGRAM = Term(11, "кг")
    TON = Term(12, "т")
    CENTIMETER = Term(20, "см")
    DECIMETER = Term(21, "дм")
    METER = Term(22, "м")
    SQUARE_CENTIMETER = Term(30, "кв. см")
    SQUARE_DECIMETER = Term(31, "кв. дм")
    SQUARE_METER = Term(32, "кв. м")
    MILLILITER = Term(40, "мл")
    LITER = Term(41, "л")
    CUBIC_METER = Term(42, "куб. м")
    KILOWATT_HOUR = Term(50, "кВт·ч")
    GIGACALORIE = Term(51, "Гкал")
    DAY = Term(70, "сутки")
    HOUR = Term(71, "час")
    MINUTE = Term(72, "мин")
    SECOND = Term(73, "с")
    KILOBYTE = Term(80, "Кбайт")
    MEGABYTE = Term(81, "Мбайт")
    GIGABYTE = Term(82, "Гбайт")
    TERABYTE = Term(83, "Тбайт")
    ANOTHER = Term(255, "иные")

    @property
    def unit_text(self) -> str:
        """Единица измерения, tag 1197 of FFD 1.05; of "another" there is nothing to print."""
        return "" if self is Measure.ANOTHER else self.ru


class CorrectionKind(FfdEnum):
    """Тип коррекции, tag 1173."""

    tag = nonmember(1173)

    SELF = Term(0, "самостоятельно")
    INSTRUCTION = Term(1, "по предписанию")


class FfdVersion(Enum):
    """Номер версии ФФД, tag 1209: the API name is the version itself."""

    tag = nonmember(1209)

    V1_05 = "1.05"
    V1_1 = "1.1"
    V1_2 = "1.2"

    @property
    def tag_value(self) -> int:
        return {FfdVersion.V1_05: 2, FfdVersion.V1_1: 3, FfdVersion.V1_2: 4}[self]

    @classmethod
    def from_tag(cls, value: int) -> "FfdVersion | None":
        return _VERSIONS.get(value)


_VERSIONS = {version.tag_value: version for version in FfdVersion}


class InternetSign(FfdEnum):
    """Признак расчета в сети Интернет, tag 1125: left out of a payment in person (order ЕД-7-20/236@)."""

    tag = nonmember(1125)

    INTERNET = Term(1, "да")


class TimeZone(FfdEnum):
    """Часовая зона, tag 1011: Russia's zones from Kaliningrad (UTC+2) to Kamchatka (UTC+12)."""

    tag = nonmember(1011)

    UTC_PLUS_2 = Term(1, "UTC+2")
    UTC_PLUS_3 = Term(2, "UTC+3")
    UTC_PLUS_4 = Term(3, "UTC+4")
    UTC_PLUS_5 = Term(4, "UTC+5")
    UTC_PLUS_6 = Term(5, "UTC+6")
    UTC_PLUS_7 = Term(6, "UTC+7")
    UTC_PLUS_8 = Term(7, "UTC+8")
    UTC_PLUS_9 = Term(8, "UTC+9")
    UTC_PLUS_10 = Term(9, "UTC+10")
    UTC_PLUS_11 = Term(10, "UTC+11")
    UTC_PLUS_12 = Term(11, "UTC+12")


def timezone_code(utc_offset_hours: int) -> int:
    """Часовая зона, tag 1011: 1 = UTC+2 … 11 = UTC+12 (Moscow is 2). ValueError outside Russia's zones."""
    if not 2 <= utc_offset_hours <= 12:
        raise ValueError(f"UTC{utc_offset_hours:+d} has no code in tag 1011 (UTC+2 … UTC+12)")
    return TimeZone[f"UTC_PLUS_{utc_offset_hours}"].tag_value
