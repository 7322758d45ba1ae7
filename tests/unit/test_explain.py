"""A receipt explained: plain in both languages, true to the transitions, with calls that can be copied."""

import json
import shlex
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.api.schemas.explain import ExplanationOut
from app.domain.lifecycle import Happening, Status, allowed
from app.services.explain import explained, possible
from app.services.views import failure_json
from tests.unit.test_views import row

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

NEEDS = {
    "cancel": Happening.CANCELLED,
    "print_now": Happening.CONFIRMED_LATE,
    "as_correction": Happening.CONFIRMED_LATE,
    "resolve:found": Happening.RESOLVED_FOUND,
    "resolve:send_again": Happening.RESOLVED_SEND_AGAIN,
    "resolve:made_elsewhere": Happening.RESOLVED_MADE_ELSEWHERE,
    "resolve:abandon": Happening.RESOLVED_ABANDON,
}


def one(status: Status, code: str | None = None, **changes: Any) -> Any:
    failure = None if code is None else failure_json(code, at=AT)
    return row(status=status.value, failure=failure, due_at=AT, limit_at=AT + timedelta(hours=9), **changes)


@pytest.mark.parametrize("status", Status)
def test_every_state_fits_the_contract_and_offers_only_what_is_legal(status: Status) -> None:
    told = explained(one(status), AT + timedelta(hours=1), unproven=0)
    ExplanationOut.model_validate(told)
    assert told["text"]
    assert told["text_ru"]
    for action in told["actions"]:
        happening = NEEDS.get(action["action"])
        assert happening is None or happening in allowed(status)


def test_a_late_one_offers_the_two_ways_and_nothing_that_would_be_refused() -> None:
    told = explained(one(Status.HELD, "deadline_passed"), AT + timedelta(days=2), unproven=0)
    assert [each["action"] for each in told["actions"]] == ["print_now", "as_correction", "cancel"]
    assert (told["overdue"], told["who"]) == (True, "merchant")
    assert "Просрочен с 24.11.2026 00:00 (UTC+0300)" in told["text_ru"]
    assert "It is late since 24.11.2026 00:00 (UTC+0300)." in told["text"]


def test_what_may_be_printed_already_says_so() -> None:
    told = explained(one(Status.UNKNOWN, "unknown_outcome"), AT + timedelta(hours=1), unproven=1)
    assert "may be registered already" in told["text"]
    assert "Возможно, чек уже пробит" in told["text_ru"]
    assert told["sends_unproven"] == 1


def test_a_finished_one_has_no_deadline_any_more() -> None:
    told = explained(one(Status.FISCALIZED), AT + timedelta(days=9), unproven=0)
    assert (told["overdue"], told["next_alarm_at"], told["who"]) == (False, None, None)
    assert [each["action"] for each in told["actions"]] == ["refund"]


def test_the_buyers_address_is_asked_for_where_the_shops_was_printed() -> None:
    (first, _) = possible(one(Status.FISCALIZED, contact_fallback=True))
    assert (first.method, first.name) == ("PATCH", "update")


@pytest.mark.parametrize("status", Status)
def test_a_copied_call_says_what_the_action_says(status: Status) -> None:
    for action in explained(one(status), AT, unproven=0)["actions"]:
        words = shlex.split(action["curl"])
        assert words[:3] == ["curl", "-X", action["method"]]
        assert words[3] == f"$KASSA_URL{action['path']}"
        for name, value in action["headers"].items():
            assert f"{name}: {value}" in words
        assert ("-d" in words) == (action["body"] is not None)
        if action["body"] is not None:
            assert json.loads(words[words.index("-d") + 1]) == action["body"]


def test_a_waiting_one_says_why_its_kassa_stands_still() -> None:
    told = explained(one(Status.QUEUED), AT, unproven=0, pause="credentials_refused")
    assert (told["cause"], told["who"]) == ("credentials_refused", "operator")
    assert "логин" in told["text_ru"]
