"""How the money came, as events and settings say it, and the settings of the clock."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from app.configured import deadline_policy_of
from app.domain.deadline import Limits, SettlementKind
from app.domain.event import EventPayment, EventRequisites, EventType, PaymentEvent
from app.keys import SettingInvalid
from app.services.deadline_policy import DeadlinePolicy, kind_of
from app.services.defaults import check_defaults
from app.settings import Settings

AT = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


def event(type: EventType = EventType.PAYMENT_SUCCEEDED, **changes: Any) -> PaymentEvent:
    return PaymentEvent(type=type, external_id="p-1", amount=100, occurred_at=AT, **changes)


def level(settlement: str | None = None, **members: Any) -> Any:
    return SimpleNamespace(defaults={} if settlement is None else {"settlement": settlement}, timezone=None, **members)


@pytest.mark.parametrize(
    ("source", "branch", "kassa", "wanted"),
    [
        (level(), None, None, SettlementKind.ONLINE),
        (level(), None, level(internet=True), SettlementKind.ONLINE),
        (level(), None, level(internet=False), SettlementKind.IN_PERSON),
        (level(), level(), level("transfer", internet=True), SettlementKind.TRANSFER),
        (level(), level("online"), level("transfer", internet=True), SettlementKind.ONLINE),
        (level("transfer"), level("online"), level(internet=True), SettlementKind.TRANSFER),
    ],
)
def test_source_goes_before_branch_and_branch_before_kassa(
    source: Any, branch: Any, kassa: Any, wanted: SettlementKind
) -> None:
    assert kind_of(source, branch, kassa, event()) is wanted
    assert kind_of(source, branch, kassa, event(EventType.REFUND_SUCCEEDED)) is wanted


def test_a_closing_is_an_offset_and_cash_is_in_person_whatever_the_settings_say() -> None:
    cash = event(payments=(EventPayment("cash", 40), EventPayment("electronic", 60)))
    assert kind_of(level("transfer"), None, None, cash) is SettlementKind.IN_PERSON
    assert kind_of(level("transfer"), None, None, event(EventType.ORDER_SETTLED)) is SettlementKind.OFFSET


def test_the_payments_own_internet_sign_goes_before_the_kassas() -> None:
    for sign, kind in ((True, SettlementKind.ONLINE), (False, SettlementKind.IN_PERSON)):
        said = event(requisites=EventRequisites(internet=sign))
        assert kind_of(level(), None, level(internet=not sign), said) is kind


def test_the_branchs_zone_goes_before_the_kassas() -> None:
    policy = DeadlinePolicy(lambda day: True, Limits())
    branch, kassa = level(internet=True), level(internet=True)
    branch.timezone, kassa.timezone = "Asia/Kamchatka", "Europe/Moscow"
    assert policy.of(level(), branch, kassa, event(), AT).limit_at == datetime(2026, 11, 20, 11, 59, 59, tzinfo=UTC)
    branch.timezone = None
    found = policy.of(level(), branch, kassa, event(), AT)
    assert found.limit_at == datetime(2026, 11, 20, 20, 59, 59, tzinfo=UTC)
    assert policy.times(found, AT) == {
        "due_at": AT,
        "limit_at": found.limit_at,
        "alarm_at": AT + timedelta(minutes=5),
    }
    assert policy.contact_until(found, AT) == AT + timedelta(minutes=15)
    assert DeadlinePolicy(lambda day: True, Limits(contact_seconds=0)).contact_until(found, AT) is None


def test_settings_of_the_clock_reach_it_and_a_wrong_day_is_named() -> None:
    made = deadline_policy_of(
        Settings(_env_file=None, working_days="2026-11-23=off", operational_limit_seconds=7200)  # type: ignore[call-arg]
    )
    transfer = made.of(level("transfer"), None, None, event(), AT)
    assert transfer.due_at == datetime(2026, 11, 24, 20, 59, 59, tzinfo=UTC), "Friday → Tuesday, Monday being off"
    assert made.of(level(), None, None, event(), AT).limit_at == AT + timedelta(hours=2)
    with pytest.raises(SettingInvalid, match="KASSA_WORKING_DAYS"):
        deadline_policy_of(Settings(_env_file=None, working_days="soon"))  # type: ignore[call-arg]


def test_a_settlement_that_does_not_exist_is_refused_in_settings() -> None:
    assert [one.rule for one in check_defaults({"settlement": "barter"}, AT)] == ["settlement_unknown"]
    assert list(check_defaults({"settlement": "transfer"}, AT)) == []
