"""The portal's words for what a receipt says, and ours: types of checks, payments, objects, measures."""

from dataclasses import dataclass
from typing import Final

from app.domain.ffd import Measure, PaymentKind, PaymentMethod, PaymentObject


@dataclass(frozen=True, slots=True)
class CheckType:
    """What a type of check says of the whole: a return or not, and the method (tag 1214) where a line has none."""

    method: PaymentMethod
    returns: bool = False


TYPES: Final = {
    "sell": CheckType(PaymentMethod.FULL_PAYMENT),
    "sellreturn": CheckType(PaymentMethod.FULL_PAYMENT, returns=True),
    "sellreturncash": CheckType(PaymentMethod.FULL_PAYMENT, returns=True),
    "advancepayment": CheckType(PaymentMethod.ADVANCE),
    "advancereturn": CheckType(PaymentMethod.ADVANCE, returns=True),
    "advancereturncash": CheckType(PaymentMethod.ADVANCE, returns=True),
    "prepayment": CheckType(PaymentMethod.PREPAYMENT),
    "prepaymentreturn": CheckType(PaymentMethod.PREPAYMENT, returns=True),
    "prepaymentreturncash": CheckType(PaymentMethod.PREPAYMENT, returns=True),
    "fullprepayment": CheckType(PaymentMethod.FULL_PREPAYMENT),
    "fullprepaymentreturn": CheckType(PaymentMethod.FULL_PREPAYMENT, returns=True),
    "fullprepaymentreturncash": CheckType(PaymentMethod.FULL_PREPAYMENT, returns=True),
    "credit": CheckType(PaymentMethod.CREDIT),
    "creditreturn": CheckType(PaymentMethod.CREDIT, returns=True),
    "creditpayment": CheckType(PaymentMethod.CREDIT_PAYMENT),
    "creditpaymentreturn": CheckType(PaymentMethod.CREDIT_PAYMENT, returns=True),
    "creditpaymentreturncash": CheckType(PaymentMethod.CREDIT_PAYMENT, returns=True),
}
"""`operation` and `calculated_sign` are not read: the portal says `consumption` of a return of income."""

METHODS: Final = {
    "full_payment": PaymentMethod.FULL_PAYMENT,
    "advance": PaymentMethod.ADVANCE,
    "prepayment": PaymentMethod.PREPAYMENT,
    "full_prepayment": PaymentMethod.FULL_PREPAYMENT,
    "credit": PaymentMethod.CREDIT,
    "credit_payment": PaymentMethod.CREDIT_PAYMENT,
}
PAYMENTS: Final = {
    "cash": PaymentKind.CASH,
    "cashless": PaymentKind.ELECTRONIC,
    "advance": PaymentKind.PREPAID,
    "credit": PaymentKind.CREDIT,
}
OBJECTS: Final = {member.code: member for member in PaymentObject} | {
    "commodity_marking": PaymentObject.COMMODITY_WITH_MARKING,
    "commodity_marking_no_marking": PaymentObject.COMMODITY_WITHOUT_MARKING,
    "commodity_marking_excise": PaymentObject.EXCISE_WITH_MARKING,
    "commodity_marking_no_marking_excise": PaymentObject.EXCISE_WITHOUT_MARKING,
    # The format has no composite goods any more, and its number means something else today.
    "composite": PaymentObject.ANOTHER,
}
"""Also with hyphens in place of underscores (`non-operating_gain`)."""

MEASURES: Final = {
    "796": Measure.PIECE,
    "163": Measure.GRAM,
    "166": Measure.KILOGRAM,
    "168": Measure.TON,
    "4": Measure.CENTIMETER,
    "5": Measure.DECIMETER,
    "6": Measure.METER,
    "51": Measure.SQUARE_CENTIMETER,
    "53": Measure.SQUARE_DECIMETER,
    "55": Measure.SQUARE_METER,
    "111": Measure.MILLILITER,
    "112": Measure.LITER,
    "113": Measure.CUBIC_METER,
    "245": Measure.KILOWATT_HOUR,
    "233": Measure.GIGACALORIE,
    "359": Measure.DAY,
    "356": Measure.HOUR,
    "355": Measure.MINUTE,
    "354": Measure.SECOND,
}
"""By code of OKEI without leading zeros; what is not here is left to the defaults of the source."""
