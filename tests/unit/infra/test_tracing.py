"""What every process must derive alike from an event's id: its trace, the root's span, when it was made, and whether it
is sampled."""

import logging
from uuid import UUID

from app.infra.ids import new_id
from app.infra.tracing import NOTHING, OFF, born, current, entry, root_of
from app.infra.tracing_otlp import ByTraceId, OnceAMinute, OtlpTracing

EXAMPLE = UUID("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")  # RFC 9562, appendix A.6


def test_an_id_tells_when_it_was_made() -> None:
    assert born(EXAMPLE) == 1_645_557_742_000 * 1_000_000


async def test_the_root_has_the_ids_that_everybody_derives() -> None:
    tracing = OtlpTracing("http://127.0.0.1:9/v1/traces", {}, 1.0)
    try:
        root = tracing.span(EXAMPLE, "root", {}, root=True)
        assert root.traceparent == root_of(EXAMPLE) == "00-017f22e279b07cc398c4dc0c0c07398f-98c4dc0c0c07398f-01"
        other = tracing.span(EXAMPLE, "other", {})
        assert (other.traceparent or "")[:35] == (root.traceparent or "")[:35]
        assert other.traceparent != root.traceparent
        with other:
            assert current() is other
        assert current() is NOTHING
    finally:
        await tracing.close()


def test_the_same_events_are_sampled_everywhere_and_as_many_as_asked() -> None:
    ids = [new_id().int for _ in range(20_000)]
    for ratio in (0.0, 0.1, 0.5, 0.9, 1.0):
        taken = [ByTraceId(ratio).takes(one) for one in ids]
        assert abs(sum(taken) / len(ids) - ratio) < 0.02
    fewer, more = ByTraceId(0.1), ByTraceId(0.5)
    assert all(more.takes(one) for one in ids if fewer.takes(one)), "a process with a larger share lacks none"


def test_a_collector_that_is_away_is_told_of_once_a_minute() -> None:
    quiet, line = OnceAMinute(), logging.makeLogRecord({})
    assert [quiet.filter(line) for _ in range(3)] == [True, False, False]


def test_while_nobody_listens_nothing_is_kept() -> None:
    with OFF.entry(caller="00-x") as shut, OFF.span(EXAMPLE, "any", {}) as span:
        entry().bring(EXAMPLE, fresh=True)
        assert (span, span.child("part", {}), current(), span.traceparent) == (NOTHING, NOTHING, NOTHING, None)
    assert OFF.arrived(EXAMPLE, 0, {}) is NOTHING
    assert shut.events == {}
