"""The VAT rate of a line whose source did not name one: from the merchant's answer and the dates of money and goods.

| what happens | day that counts | form |
|---|---|---|
| prepayment, advance | of the money | calculated (22/122) |
| goods or service given with the money | of the money | straight |
| given earlier (`shipped_on`), paid now | of the handing over | straight |
| a prepayment is closed | of the service, never that of the prepayment | straight |
| a debt is paid (`credit_payment`) | of the handing over | straight, or none by the merchant's choice (U) |
| refund, correction | – | the rate of the original |

Source: FNS letter АБ-4-20/11248@ of 2025-12-15; for a debt also FNS of 2026-02-13.
"""

from dataclasses import dataclass
from datetime import date

from app.domain.ffd import PaymentMethod
from app.domain.rates import for_method
from app.domain.vat import VatRate, in_force
from app.domain.vat_settings import DebtRate, VatPolicy


@dataclass(frozen=True, slots=True)
class Goods:
    """What the settings may tell a line by."""

    name: str = ""
    sku: str | None = None
    vat_group: str | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """The answer of the settings (`rate`, straight), and the rate in the form that the line takes.

    `rate` None: nobody answers for this day. `formed` None: the answer is not in force on `day`.
    """

    day: date
    rate: VatRate | None
    formed: VatRate | None


def choose(
    policy: VatPolicy, goods: Goods, method: PaymentMethod, settled_on: date, shipped_on: date | None = None
) -> Choice:
    """The rate of a sale's line; both days are local ones of the place of sale."""
    day = settled_on if shipped_on is None or method.before_handing_over else shipped_on
    paying_debt = method is PaymentMethod.CREDIT_PAYMENT
    rate = policy.rate(day, goods.sku, goods.name, goods.vat_group)
    if paying_debt and policy.settings.debt is DebtRate.NONE:
        rate = VatRate.NONE
    if rate is None:
        return Choice(day, None, None)
    formed = for_method(rate, method)
    # When a debt is paid and nobody says when the goods were given, any rate may be right.
    judged = not (paying_debt and shipped_on is None)
    return Choice(day, rate, formed if not judged or in_force(formed, day) else None)
