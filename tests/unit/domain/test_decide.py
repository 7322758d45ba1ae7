"""The rules by which nothing is printed twice, over every outcome, class, past and moment."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.domain.decide import (
    Arrival,
    Asked,
    LookupClass,
    LookupMoment,
    Past,
    after_lookup,
    after_poll,
    after_submit,
    before_send,
    class_at,
    from_evidence,
    hindrance,
    lookup_moment,
    may_be_two,
    without_asking,
)
from app.domain.ffd import Operation
from app.domain.lifecycle import TRANSITIONS, FollowUp, Happening, Status
from app.domain.outcome import (
    Accepted,
    CannotTell,
    Fiscalized,
    LookupOutcome,
    NotFound,
    Outcome,
    Pending,
    Rejected,
    Unavailable,
    Unknown,
)
from app.domain.receipt import Echo, FiscalData, Item, Receipt

NOON = datetime(2026, 11, 23, 9, tzinfo=UTC)
DOCUMENT = FiscalData(fn="9999078900000001", fd=7, fpd="123", fiscalized_at=NOON, local_time="2026-11-23T12:00:00")
OURS, OTHER = Fiscalized(DOCUMENT), Fiscalized(DOCUMENT, echo=Echo(operation=Operation.BUY))
SECOND = Fiscalized(replace(DOCUMENT, fd=8))

submits = st.sampled_from(
    [Accepted(), OURS, OTHER, Pending(), Rejected("refused_other"), Unavailable("rate_limited"), Unknown("lost")]
)
lookups = st.one_of(submits, st.sampled_from([NotFound("group answered 200"), CannotTell("HTTP 502")]))
classes = st.sampled_from(LookupClass)
pasts = st.builds(Past, unproven=st.integers(0, 3), evidence=st.booleans())
moments = st.builds(LookupMoment, visible=st.booleans(), confirmed=st.booleans())

SENDS_AGAIN = {
    pair for pair, step in TRANSITIONS.items() if pair[0] is Status.UNKNOWN and step.follow_up is FollowUp.FISCALIZE
} - {(Status.UNKNOWN, Happening.RESOLVED_SEND_AGAIN)}
"""Ways from `unknown` back to a send that no person decided."""


@pytest.fixture(scope="session")
def receipt(make_receipt: Callable[..., Receipt], make_item: Callable[..., Item]) -> Receipt:
    return make_receipt(make_item())


@given(submits, classes, pasts)
def test_what_a_submit_means_is_legal_while_sending(
    receipt: Receipt, outcome: Outcome, cls: LookupClass, past: Past
) -> None:
    assert (Status.SENDING, after_submit(outcome, receipt, cls, past)) in TRANSITIONS


@given(lookups, classes, pasts, moments)
def test_what_a_look_up_means_is_legal_while_unknown(
    receipt: Receipt, outcome: LookupOutcome, cls: LookupClass, past: Past, moment: LookupMoment
) -> None:
    assert (Status.UNKNOWN, after_lookup(outcome, receipt, cls, past, moment)) in TRANSITIONS


@given(lookups, moments)
def test_what_a_poll_means_is_legal_while_accepted_and_never_sends(
    receipt: Receipt, outcome: LookupOutcome, moment: LookupMoment
) -> None:
    step = TRANSITIONS[Status.ACCEPTED, after_poll(outcome, receipt, moment)]
    assert step.follow_up is not FollowUp.FISCALIZE


@given(classes, pasts, st.booleans())
def test_what_is_decided_without_asking_is_legal(cls: LookupClass, past: Past, overdue: bool) -> None:
    assert (Status.UNKNOWN, without_asking(cls, past, overdue=overdue)) in TRANSITIONS
    found = hindrance(cls, past)
    assert found is None or (Status.QUEUED, found) in TRANSITIONS


@given(lookups, st.booleans())
def test_what_is_found_before_a_send_is_legal_while_queued(outcome: LookupOutcome, present: bool) -> None:
    found = before_send(outcome, present=present)
    assert found in (None, Happening.CANNOT_TELL) or (Status.QUEUED, found) in TRANSITIONS
    if present:
        assert (found is None) == isinstance(outcome, NotFound)


@given(lookups, classes, pasts, moments)
def test_only_a_visible_absence_without_evidence_sends_again(
    receipt: Receipt, outcome: LookupOutcome, cls: LookupClass, past: Past, moment: LookupMoment
) -> None:
    happening = after_lookup(outcome, receipt, cls, past, moment)
    if (Status.UNKNOWN, happening) in SENDS_AGAIN:
        assert isinstance(outcome, NotFound)
        assert moment.visible
        assert not past.evidence
        assert cls.deduplicates or moment.confirmed


@given(classes, pasts, st.booleans())
def test_without_a_look_up_only_deduplication_sends_again(cls: LookupClass, past: Past, overdue: bool) -> None:
    if (Status.UNKNOWN, without_asking(cls, past, overdue=overdue)) in SENDS_AGAIN:
        assert cls.deduplicates
        assert not overdue


@given(classes, pasts)
def test_nothing_unproven_is_sent_where_ids_do_not_deduplicate(cls: LookupClass, past: Past) -> None:
    free = hindrance(cls, past) is None
    if cls is LookupClass.C:
        assert free, "its resend is its look-up, also of what is known to have arrived"
    else:
        assert free == (not past.evidence and (not past.unproven or cls.deduplicates))


@given(pasts, moments, st.booleans())
def test_class_d_is_never_sent_again_by_itself(
    receipt: Receipt, past: Past, moment: LookupMoment, overdue: bool
) -> None:
    assert after_submit(Unknown("lost"), receipt, LookupClass.D, past) is Happening.UNDECIDABLE
    decided = without_asking(LookupClass.D, past, overdue=overdue)
    assert decided is (Happening.EVIDENCE if past.evidence else Happening.UNDECIDABLE)
    if past.unproven:
        assert hindrance(LookupClass.D, past) is not None


arrivals = st.lists(
    st.builds(Arrival, st.sampled_from([Accepted("ref"), OURS, OTHER, SECOND]), sent=st.booleans()), max_size=4
)


@given(arrivals, classes)
def test_what_is_known_is_adopted_once_if_it_is_ours(receipt: Receipt, known: list[Arrival], cls: LookupClass) -> None:
    outcome, happening = from_evidence(known, receipt, cls)
    assert (Status.UNKNOWN, happening) in TRANSITIONS
    assert (Status.UNKNOWN, happening) not in SENDS_AGAIN
    named = {one.found.fiscal.fd for one in known if isinstance(one.found, Fiscalized)}
    differs = any(one.found is OTHER for one in known)
    assert (happening is Happening.DOUBLE_SUSPECTED) == may_be_two(known, cls)
    if len(named) > 1 or (not cls.deduplicates and sum(one.sent for one in known) > 1):
        assert happening is Happening.DOUBLE_SUSPECTED
    elif not known:
        assert happening is Happening.UNDECIDABLE
    elif named:
        assert happening is (Happening.MISMATCH if differs else Happening.FISCALIZED)
        assert isinstance(outcome, Fiscalized)
    else:
        assert (outcome, happening) == (Accepted("ref"), Happening.ACCEPTED)


@given(classes, pasts)
def test_a_refusal_of_one_send_is_final_only_when_no_other_is_open(
    receipt: Receipt, cls: LookupClass, past: Past
) -> None:
    final = after_submit(Rejected("refused_other"), receipt, cls, past) is Happening.REJECTED
    assert final == (not past.unproven and not past.evidence)


@given(classes, pasts, moments)
def test_a_refusal_that_was_looked_up_speaks_of_one_document(
    receipt: Receipt, cls: LookupClass, past: Past, moment: LookupMoment
) -> None:
    happening = after_lookup(Rejected("refused_other"), receipt, cls, past, moment)
    assert (happening is Happening.REJECTED) == (cls.deduplicates or past.unproven <= 1)


@given(classes, pasts)
def test_a_certain_absence_of_one_send_leaves_the_others_open(receipt: Receipt, cls: LookupClass, past: Past) -> None:
    requeued = after_submit(Unavailable("rate_limited"), receipt, cls, past) is Happening.UNAVAILABLE
    assert requeued == (not past.unproven and not past.evidence)


@given(st.sampled_from([OURS, OTHER, Accepted(), Pending()]), classes, pasts)
def test_a_second_document_is_suspected_where_ids_do_not_deduplicate(
    receipt: Receipt, outcome: Outcome, cls: LookupClass, past: Past
) -> None:
    suspected = after_submit(outcome, receipt, cls, past) is Happening.DOUBLE_SUSPECTED
    assert suspected == (past.evidence and not cls.deduplicates)


@given(classes, pasts, moments)
def test_another_document_under_our_id_is_never_adopted(
    receipt: Receipt, cls: LookupClass, past: Past, moment: LookupMoment
) -> None:
    assert after_lookup(OTHER, receipt, cls, past, moment) is Happening.MISMATCH
    assert after_poll(OTHER, receipt, moment) is Happening.MISMATCH
    assert after_submit(OTHER, receipt, cls, past) in (Happening.MISMATCH, Happening.DOUBLE_SUSPECTED)


@given(moments)
def test_a_person_is_called_for_a_vanished_receipt_only_when_it_is_confirmed(
    receipt: Receipt, moment: LookupMoment
) -> None:
    gone = after_poll(NotFound("group answered 200"), receipt, moment) is Happening.NOT_FOUND
    assert gone == (moment.visible and moment.confirmed)


seconds = st.floats(0, 1e6, allow_nan=False)
windows = st.none() | st.just(0.0) | st.floats(1, 1e6)


@given(seconds, seconds, windows, windows)
def test_windows_only_close(earlier: float, later: float, dedup: float | None, lookup: float | None) -> None:
    assume(earlier <= later)
    first, then = (class_at(s, dedup_seconds=dedup, lookup_seconds=lookup) for s in (earlier, later))
    assert first.deduplicates >= then.deduplicates
    assert first.looks_up >= then.looks_up
    assert then.deduplicates == (dedup is None or later < dedup)
    assert then.looks_up == (lookup is None or later < lookup)


@given(seconds, seconds, st.booleans(), st.floats(0, 300), st.floats(0, 300))
def test_an_absence_counts_only_after_the_delays(
    asked_after: float, now_after: float, absent: bool, wire: float, visibility: float
) -> None:
    assume(asked_after <= now_after)
    settled = wire + visibility
    asked = Asked(NOON + timedelta(seconds=asked_after), absent)
    moment = lookup_moment(
        NOON, asked, NOON + timedelta(seconds=now_after), settled_after=settled, visibility=visibility
    )
    if moment.visible:
        assert now_after >= settled - 1e-3
    if moment.confirmed:
        assert moment.visible
        assert absent
        assert asked_after >= settled - 1e-3
        assert now_after - asked_after >= visibility - 1e-3


def test_what_was_never_marked_is_never_proven_absent() -> None:
    moment = lookup_moment(None, Asked(NOON, True), NOON + timedelta(days=9), settled_after=1, visibility=1)
    assert moment == LookupMoment(visible=False, confirmed=False)
