"""By when a payment needs its receipt under a merchant's settings: the law's rule for how the money came."""

from datetime import datetime
from typing import Any

from app.db.repos.settings import BranchRow, KassaRow, SourceRow
from app.domain.deadline import (
    Deadline,
    Limits,
    SettlementKind,
    Workdays,
    contact_until,
    day_missed,
    deadline,
    first_alarm,
    local_day,
)
from app.domain.event import EventType, PaymentEvent

_WHERE_NOTHING_IS_SAID = "Europe/Moscow"
_CASH = "cash"


class DeadlinePolicy:
    """Used at intake and by planning; holds the production calendar."""

    def __init__(self, works: Workdays, limits: Limits) -> None:
        self._works = works
        self._limits = limits

    def of(
        self,
        source: SourceRow,
        branch: BranchRow | None,
        kassa: KassaRow | None,
        event: PaymentEvent,
        received_at: datetime,
    ) -> Deadline:
        """The deadline of a reported payment, refund or closing."""
        return deadline(
            kind_of(source, branch, kassa, event),
            event.occurred_at,
            received_at,
            _zone(branch, kassa),
            self._works,
            delivered=event.delivered,
            limits=self._limits,
        )

    def notes(
        self, found: Deadline, branch: BranchRow | None, kassa: KassaRow | None, event: PaymentEvent, at: datetime
    ) -> tuple[str, ...]:
        """What its receipt should say of a payment that is told at `at`, after the day of its receipt was over."""
        zone = _zone(branch, kassa)
        if not day_missed(found, at, zone):
            return ()
        return (f"reported_late: #/occurred_at {local_day(event.occurred_at, zone):%d.%m.%Y}",)

    def times(self, found: Deadline, received_at: datetime) -> dict[str, Any]:
        """The members of a new receipt that the clock sets."""
        return {"due_at": found.due_at, "limit_at": found.limit_at, "alarm_at": first_alarm(found, received_at)}

    def contact_until(self, found: Deadline, received_at: datetime) -> datetime | None:
        """Until when a missing contact is waited for although there is a fallback; None: not at all."""
        if not self._limits.contact_seconds:
            return None
        until = contact_until(found, received_at, self._limits)
        return until if until > received_at else None


def _zone(branch: BranchRow | None, kassa: KassaRow | None) -> str:
    return (branch and branch.timezone) or (kassa and kassa.timezone) or _WHERE_NOTHING_IS_SAID


def kind_of(source: SourceRow, branch: BranchRow | None, kassa: KassaRow | None, event: PaymentEvent) -> SettlementKind:
    """How the money came: a closing is an offset, cash is face to face; else what source, branch or kassa answer
    (`defaults.settlement`), else by the Internet sign (tag 1125) of the payment or the kassa."""
    if event.type is EventType.ORDER_SETTLED:
        return SettlementKind.OFFSET
    if any(paid.kind == _CASH for paid in event.payments):
        return SettlementKind.IN_PERSON
    for level in (source, branch, kassa):
        if level is not None and (said := level.defaults.get("settlement")) is not None:
            return SettlementKind(said)
    said = None if event.requisites is None else event.requisites.internet
    online = said if said is not None else kassa is None or kassa.internet
    return SettlementKind.ONLINE if online else SettlementKind.IN_PERSON
