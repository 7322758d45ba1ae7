"""A return whose source names no sale: the sale that it stands for, read from its own lines."""

from dataclasses import replace
from datetime import date, timedelta

from app.domain.event import EventType, PaymentEvent
from app.domain.planning import Plan, PlanSettings, plan_sale
from app.domain.vat import TWENTY_PERCENT_ENDED, VatRate, in_force


def sale_behind(event: PaymentEvent, settings: PlanSettings, today: date) -> Plan:
    """What was sold, paid and taxed as the return says; the same holds and refusals as for a sale.

    A return keeps the rate of its sale: lines at a rate that has ended are judged on the last day of that rate.
    """
    named = {item.vat for item in event.items}
    ended = any(rate.code in named and not in_force(rate, today) for rate in VatRate)
    day = TWENTY_PERCENT_ENDED - timedelta(days=1) if ended else today
    return plan_sale(replace(event, type=EventType.PAYMENT_SUCCEEDED), settings, day)
