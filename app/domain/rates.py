"""Which form of a VAT rate a line takes: calculated while money waits for goods, straight once they are given."""

from datetime import date

from app.domain.ffd import PaymentMethod
from app.domain.vat import VatRate, in_force

_STRAIGHT = {rate.prepayment_pair: rate for rate in VatRate if rate.prepayment_pair is not rate}
_SUCCESSOR = {VatRate.VAT20: VatRate.VAT22, VatRate.VAT120: VatRate.VAT122}


def straight(rate: VatRate) -> VatRate:
    """The rate of the sale behind a calculated one (vat122 → vat22); the others stay."""
    return _STRAIGHT.get(rate, rate)


def for_method(rate: VatRate, method: PaymentMethod) -> VatRate:
    """The rate in the form that this payment method wants (prepayment: calculated; handing over: straight)."""
    return rate.prepayment_pair if method.before_handing_over else straight(rate)


def succeeding(rate: VatRate, day: date) -> VatRate:
    """The rate that took the place of one no longer in force on this day (20 % of 2025 is 22 % in 2026)."""
    return rate if in_force(rate, day) else _SUCCESSOR.get(rate, rate)
