"""Lessons held, grouped into closings of prepayments, and what of each group is not closed yet; pure.

A group's receipts close together what the CRM charged for it, whatever is charged later: the rest is another receipt
of the same group. What was charged and is no longer is for a person.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from app.crms.moyklass.payments import account_of, moment_of
from app.crms.moyklass.settings import NOT_FISCALIZED, Settings
from app.crms.moyklass.wire import Charge, UserSubscription
from app.domain.event import EventItem, EventType, PaymentEvent
from app.domain.money import roubles
from app.ports.source import Alarm

PER_DAY, MONTH_END, SUBSCRIPTION_END, OFF = "per_day", "month_end", "subscription_end", "off"

_MONTHS = (
    "январь",
    "февраль",
    "март",
    "апрель",
    "май",
    "июнь",
    "июль",
    "август",
    "сентябрь",
    "октябрь",
    "ноябрь",
    "декабрь",
)


@dataclass(frozen=True, slots=True)
class Group:
    """What is closed together: `key` is its identity, `due` the local day of its closing, `burned` the kopecks of
    lessons that ran out untaken."""

    key: str
    account: int
    due: date
    charges: tuple[Charge, ...] = ()
    burned: int = 0
    kind: int | None = None

    @property
    def amount(self) -> int:
        return sum(one.amount for one in self.charges) + self.burned


@dataclass(slots=True)
class _Growing:
    account: int
    due: date
    charges: list[Charge] = field(default_factory=list)


def first_day(schedule: str, today: date, days_back: int) -> date:
    """From which day charges are read, so that no group is seen in part."""
    start = today - timedelta(days=days_back)
    return start.replace(day=1) if schedule == MONTH_END else start


def closed_until(now: datetime, zone: ZoneInfo, settings: Settings) -> date:
    """The last local day whose lessons are over."""
    here = now.astimezone(zone)
    return here.date() if here.hour >= settings.settle_hour else here.date() - timedelta(days=1)


def counted(charges: Iterable[Charge], settings: Settings) -> list[Charge]:
    """Charges that close a prepayment of ours."""
    start = settings.settle_from
    return [
        one
        for one in charges
        if one.kind not in settings.delivered_subscriptions
        and settings.branches.get(str(one.filial_id)) != NOT_FISCALIZED
        and (start is None or (one.day >= start and (one.sold is None or one.sold >= start)))
    ]


def groups(charges: Iterable[Charge], schedule: str) -> list[Group]:
    """All groups of lessons under a schedule, oldest first.

    Under `subscription_end` only what belongs to no subscription is here, day by day; the rest waits for `ended`.
    """
    growing: dict[str, _Growing] = {}
    for one in sorted(charges, key=lambda charge: (charge.day, charge.bill_id)):
        if schedule == OFF or (schedule == SUBSCRIPTION_END and one.user_subscription_id is not None):
            continue
        key, due = f"day:{one.account}:{one.day.isoformat()}", one.day
        if schedule == MONTH_END:
            key, due = f"month:{one.account}:{one.day:%Y-%m}", _month_end(one.day)
        growing.setdefault(key, _Growing(one.account, due)).charges.append(one)
    return [Group(key, one.account, one.due, tuple(one.charges)) for key, one in growing.items()]


def ended(owned: UserSubscription, charges: Sequence[Charge], schedule: str) -> Group | None:
    """What the end of a subscription closes: its burned lessons, and under `subscription_end` all that it was charged.

    `burned` is what the CRM charged beyond the lessons held. Whether `totalBilled` holds it is unconfirmed: where it
    does not, the money stays open in the ledger and is not closed by a guess.
    """
    if owned.over is None or owned.user_id is None:
        return None
    mine = tuple(one for one in charges if one.user_subscription_id == owned.id)
    lessons = sum(one.amount for one in mine)
    burned = max(owned.billed - lessons, 0) if owned.burned else 0
    whole = schedule == SUBSCRIPTION_END
    found = Group(
        f"{'subscription' if whole else 'burned'}:{owned.id}",
        owned.user_id,
        owned.over,
        mine if whole else (),
        burned,
        owned.kind,
    )
    return found if found.amount else None


def next_key(key: str, number: int) -> str:
    """The identity of a group's receipt: the first has the group's own, a later one its number."""
    return key if number == 1 else f"{key}:{number}"


def owed(
    group: Group, told: Mapping[str, int | None], names: Mapping[int, str], settings: Settings, zone: ZoneInfo,
    now: datetime,
) -> PaymentEvent | Alarm | None:  # fmt: skip
    """What is to be reported of a group after what was `told` of it before (kopecks by identity)."""
    number, before = 1, 0
    while (key := next_key(group.key, number)) in told:
        amount = told[key]
        if amount is None:
            # Ignored, or too old to be remembered: there is nothing to compare with.
            return None
        before += amount
        number += 1
    rest = group.amount - before
    if rest == 0:
        return None
    if rest < 0:
        return _reversed(group, before)
    return PaymentEvent(
        type=EventType.ORDER_SETTLED,
        external_id=key,
        amount=rest,
        occurred_at=moment_of(group.due, zone, now),
        order_id=account_of(group.account, settings),
        items=tuple(_lines(group, rest, names, settings)),
        items_origin="readback",
        metadata={"user_id": group.account},
    )


def estimate(charges: Sequence[Charge]) -> dict[str, int]:
    """How many closing receipts these charges make under each schedule."""
    subscriptions = {one.user_subscription_id for one in charges if one.user_subscription_id is not None}
    return {
        PER_DAY: len(groups(charges, PER_DAY)),
        MONTH_END: len(groups(charges, MONTH_END)),
        SUBSCRIPTION_END: len(groups(charges, SUBSCRIPTION_END)) + len(subscriptions),
        OFF: 0,
    }


def _lines(group: Group, rest: int, names: Mapping[int, str], settings: Settings) -> list[EventItem]:
    """One line per kind of subscription, so that each is drawn from what was prepaid for it."""
    newest = _newest(group, rest)
    if newest is None:
        last = group.charges[-1].kind if group.charges else group.kind
        return [_line(last, rest, _when(group), names, settings)]
    sums: dict[int | None, int] = defaultdict(int)
    for one in newest:
        sums[one.kind] += one.amount
    lines = [_line(kind, amount, _when(group), names, settings) for kind, amount in sums.items()]
    burned = rest - sum(sums.values())
    return [*lines, _line(group.kind, burned, "неиспользованные занятия", names, settings)] if burned else lines


def _newest(group: Group, rest: int) -> list[Charge] | None:
    """The charges that make up the rest: all of them, or those that came last; None where none do."""
    if rest == group.amount:
        return list(group.charges)
    found: list[Charge] = []
    for one in sorted(group.charges, key=lambda charge: charge.bill_id, reverse=True):
        found.append(one)
        if sum(charge.amount for charge in found) == rest:
            return found
    return None


def _line(kind: int | None, amount: int, when: str, names: Mapping[int, str], settings: Settings) -> EventItem:
    name = names.get(kind) if kind is not None else None
    return EventItem(
        name=f"{name}, {when}" if name else f"{settings.lesson_item_name}, {when}",
        quantity=Decimal(1),
        price=amount,
        amount=amount,
        sku=None if kind is None else str(kind),
        payment_object="service",
        measure="piece",
    )


def _when(group: Group) -> str:
    if group.key.startswith("month:"):
        return f"занятия за {_MONTHS[group.due.month - 1]} {group.due.year}"
    if group.key.startswith("day:"):
        return f"занятие {group.due:%d.%m.%Y}"
    return "занятия" if group.charges else "неиспользованные занятия"


def _reversed(group: Group, before: int) -> Alarm:
    return Alarm(
        EventType.ORDER_SETTLED,
        group.key,
        "charge_reversed",
        f"{roubles(before)} was closed, but the CRM charges only {roubles(group.amount)} for it now: decide whether a "
        "closing is to be undone.",
        f"Закрыто {roubles(before)} руб., а в CRM за это списано только {roubles(group.amount)} руб.: решите, нужно ли "
        "отменить зачёт предоплаты.",
    )


def _month_end(day: date) -> date:
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
