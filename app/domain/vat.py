"""VAT rates of a receipt line: codes, arithmetic, and the dates between which each may be used."""

from dataclasses import dataclass
from datetime import date
from enum import nonmember
from typing import Self

from app.domain.ffd import FfdEnum, Term


@dataclass(frozen=True, slots=True)
class Rate(Term):
    """One row of FFD table 1199: VAT contained in gross G is G·num/den."""

    num: int
    den: int
    calculated: bool
    since: date | None = None


class VatRate(FfdEnum):
    """Ставка НДС, tag 1199. Codes 11 and 12: order ЕД-7-20/1050@ of 2025-12-08, table 8, for sales from 2026-01-01."""

    tag = nonmember(1199)

    VAT20 = Rate(1, "НДС 20%", 20, 120, calculated=False, since=date(2019, 1, 1))
    VAT10 = Rate(2, "НДС 10%", 10, 110, calculated=False)
    VAT120 = Rate(3, "НДС 20/120", 20, 120, calculated=True, since=date(2019, 1, 1))
    VAT110 = Rate(4, "НДС 10/110", 10, 110, calculated=True)
    VAT0 = Rate(5, "НДС 0%", 0, 100, calculated=False)
    NONE = Rate(6, "без НДС", 0, 100, calculated=False)
    VAT5 = Rate(7, "НДС 5%", 5, 105, calculated=False, since=date(2025, 1, 1))
    VAT7 = Rate(8, "НДС 7%", 7, 107, calculated=False, since=date(2025, 1, 1))
    VAT105 = Rate(9, "НДС 5/105", 5, 105, calculated=True, since=date(2025, 1, 1))
    VAT107 = Rate(10, "НДС 7/107", 7, 107, calculated=True, since=date(2025, 1, 1))
    VAT22 = Rate(11, "НДС 22%", 22, 122, calculated=False, since=date(2026, 1, 1))
    VAT122 = Rate(12, "НДС 22/122", 22, 122, calculated=True, since=date(2026, 1, 1))

    rate: Rate

    def __init__(self, rate: Rate) -> None:
        super().__init__(rate)
        self.rate = rate

    @property
    def calculated(self) -> bool:
        """A rate over the gross (22/122): money came before the goods."""
        return self.rate.calculated

    @property
    def prepayment_pair(self) -> "VatRate":
        """The rate of a prepayment for what will be sold at this rate (vat22 → vat122)."""
        return _PAIRS.get(self, self)

    @classmethod
    def from_tag(cls, value: int) -> Self | None:
        return next((member for member in cls if member.tag_value == value), None)


VAT_TOTALS = {
    VatRate.VAT20: 1102,
    VatRate.VAT10: 1103,
    VatRate.VAT0: 1104,
    VatRate.NONE: 1105,
    VatRate.VAT120: 1106,
    VatRate.VAT110: 1107,
}
"""Tags of the totals by rate; 1104 and 1105 are turnovers. Rates since 2025 share the container 1115 (rows 1119 of
1199 and 1120); that 9, 10 and 12 stand there too, and that FFD 1.05 has it, is by analogy (unconfirmed)."""

_PAIRS = {
    VatRate.VAT22: VatRate.VAT122,
    VatRate.VAT20: VatRate.VAT120,
    VatRate.VAT10: VatRate.VAT110,
    VatRate.VAT5: VatRate.VAT105,
    VatRate.VAT7: VatRate.VAT107,
}

TWENTY_PERCENT_ENDED = date(2026, 1, 1)
"""20 % is for refunds, corrections and goods shipped before this day (FNS letter АБ-4-20/11248@ of 2025-12-15)."""


def vat_amount(gross_kopecks: int, rate: VatRate) -> int:
    """VAT contained in a gross sum, kopecks, rounded half up; 0 for `vat0` and `none`."""
    num, den = rate.rate.num, rate.rate.den
    return (2 * gross_kopecks * num + den) // (2 * den)


def in_force(rate: VatRate, sale_day: date) -> bool:
    """Whether a new sale of this day may carry the rate. Refunds and corrections keep the rate of the original."""
    since = rate.rate.since
    if since is not None and sale_day < since:
        return False
    return not (rate in (VatRate.VAT20, VatRate.VAT120) and sale_day >= TWENTY_PERCENT_ENDED)
