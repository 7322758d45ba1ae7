"""The page about states is what the table says, and the table leaves no receipt without a way."""

from pathlib import Path

import pytest

from app.domain.lifecycle import (
    SETTLED,
    TERMINAL,
    TRANSITIONS,
    FollowUp,
    Happening,
    IllegalTransition,
    MessageType,
    Status,
    allowed,
    step,
)
from app.domain.state_chart import markdown

PAGE = Path(__file__).parents[2] / "docs" / "state-machine.md"
BIRTH = {Status.QUEUED, Status.HELD}
PERSONAL = {Status.FISCALIZED, Status.REJECTED, Status.NEEDS_ATTENTION, Status.HELD, Status.CANCELLED}


def reachable(start: set[Status]) -> set[Status]:
    found = set(start)
    while more := {after.status for (before, _), after in TRANSITIONS.items() if before in found} - found:
        found |= more
    return found


def test_the_page_is_printed_from_the_table() -> None:
    assert PAGE.read_text() == markdown(), "write it anew: python -m app.domain.state_chart > docs/state-machine.md"


def test_the_page_names_every_state_and_transition() -> None:
    page = markdown()
    assert all(f"| `{status.value}` |" in page for status in Status)
    rows = [line for line in page.splitlines() if line.startswith("| `") and line.count("|") == 6]
    assert len(rows) == len(TRANSITIONS)


def test_every_state_is_reachable() -> None:
    assert reachable(BIRTH) == set(Status)


@pytest.mark.parametrize("status", [status for status in Status if status not in TERMINAL])
def test_every_unfinished_state_leads_to_an_end(status: Status) -> None:
    assert reachable({status}) & TERMINAL


def test_every_happening_can_happen_somewhere() -> None:
    assert {happening for _, happening in TRANSITIONS} == set(Happening)


def test_only_what_is_in_the_table_is_legal() -> None:
    for status in Status:
        for happening in Happening:
            if happening in allowed(status):
                assert step(status, happening) is TRANSITIONS[status, happening]
            else:
                with pytest.raises(IllegalTransition):
                    step(status, happening)


def test_whoever_waits_for_a_person_or_an_end_is_told() -> None:
    for (before, _), after in TRANSITIONS.items():
        if after.status in PERSONAL and after.status is not before:
            assert after.message is not None
        if after.message is not None and after.status is not before:
            assert after.message is MessageType(f"receipt.{after.status.value}")
        if after.status in {Status.QUEUED, Status.SENDING, Status.UNKNOWN}:
            assert after.message is None


def test_what_moves_by_itself_has_its_job_and_what_rests_has_none() -> None:
    jobs = {
        Status.QUEUED: FollowUp.FISCALIZE,
        Status.ACCEPTED: FollowUp.POLL,
        Status.UNKNOWN: FollowUp.RECONCILE,
    }
    for after in TRANSITIONS.values():
        assert after.follow_up is jobs.get(after.status)
    assert set(Status) - SETTLED == {*jobs, Status.SENDING}


def test_a_request_that_may_have_arrived_is_repeated_only_on_proof_or_by_a_person() -> None:
    for (before, happening), after in TRANSITIONS.items():
        if before in {Status.UNKNOWN, Status.ACCEPTED, Status.NEEDS_ATTENTION} and after.status is Status.QUEUED:
            assert happening in {
                Happening.NOT_FOUND,
                Happening.RESEND_DEDUPLICATED,
                Happening.RESOLVED_SEND_AGAIN,
            }
        if after.status is Status.SENDING:
            assert (before, happening) == (Status.QUEUED, Happening.MARKED)


def test_a_printed_receipt_stays_printed() -> None:
    assert allowed(Status.FISCALIZED) == (Happening.CONTACT_ADDED, Happening.DOUBLE_SUSPECTED)
    assert step(Status.FISCALIZED, Happening.CONTACT_ADDED).status is Status.FISCALIZED
