"""A short day of a language school, step by step, over all of its six sources."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from app.cli import demo_acquirers, demo_crms, demo_day
from app.cli.demo_acquirers import TBANK, YOOKASSA
from app.cli.demo_crms import BITRIX24, MOYKLASS
from app.cli.demo_day import ACQUIRER, API
from app.cli.demo_town import Town

Step = Callable[[Town], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scene:
    """One step of the day and what people read while it runs."""

    title: str
    step: Step


DAY = (
    Scene("A month is paid", demo_day.month),
    Scene("Two lessons", demo_day.two_lessons),
    Scene("A trial lesson", demo_day.trial),
    Scene("Books and club hours", demo_day.books),
    Scene("Only a telephone", demo_day.by_phone),
    Scene("The widget on the site", demo_day.widget),
    Scene("The acquirer reports twice", demo_day.repeated_notice),
    Scene("A pupil pays in the CRM", demo_crms.pupil_pays),
    Scene("An order is printed", demo_crms.order),
    Scene("YooKassa", demo_acquirers.yookassa_pays),
    Scene("T-Bank", demo_acquirers.tbank_pays),
    Scene("CRM and acquirer tell one payment", demo_acquirers.told_by_both),
    Scene("A button pressed twice", demo_day.double_press),
    Scene("The provider's answer is lost", demo_day.lost_answer),
    Scene("The provider's queue", demo_day.queued),
    Scene("One of two workbooks goes back", demo_day.refund_by_lines),
    Scene("A full refund", demo_day.refund_in_full),
    Scene("A refund in the acquirer's cabinet", demo_day.acquirer_refund),
    Scene("A refund in the CRM", demo_crms.pupil_gets_back),
    Scene("An order comes back", demo_crms.order_returned),
    Scene("A refund at YooKassa", demo_acquirers.yookassa_returns),
    Scene("A refund at T-Bank", demo_acquirers.tbank_returns),
    Scene("A payment that says nothing", demo_day.held),
    Scene("Somebody forges a payment", demo_day.forged),
)

COUNTS: Mapping[str, Counter[str]] = {
    API: Counter(sell=9, sell_refund=2),
    ACQUIRER: Counter(sell=2, sell_refund=1),
    MOYKLASS: Counter(sell=2, sell_refund=1),
    BITRIX24: Counter(sell=1, sell_refund=1),
    YOOKASSA: Counter(sell=1, sell_refund=1),
    TBANK: Counter(sell=1, sell_refund=1),
}
"""Payments and refunds of each source that have one document each when the day is over."""
