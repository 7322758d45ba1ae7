"""Traces over OTLP/HTTP by the OpenTelemetry SDK: a bounded queue and a thread of its own, which drop rather than wait.

Imported only where an endpoint is set: it comes with the extra `otel`.
"""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Final
from uuid import UUID

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace import Span as SdkSpan
from opentelemetry.trace import Tracer as SdkTracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import Attributes

from app import __version__
from app.infra.tracing import Entry, Kind, Running, Tracing, Values

_CLOSE_SECONDS: Final = 3.0
_QUIET_SECONDS: Final = 60.0
_RANDOM_BITS: Final = 32
"""Of a UUIDv7 only the last bits differ at random within a millisecond; before them a counter may run."""

_propagator = TraceContextTextMapPropagator()
_root: ContextVar[UUID | None] = ContextVar("root", default=None)


class OtlpTracing(Tracing):
    """Tells every span of the sampled traces to one collector."""

    on = True

    def __init__(self, url: str, headers: Mapping[str, str], ratio: float) -> None:
        """`url` is the whole address of the traces; `ratio` of the events are traced, the same ones in all processes.

        What stands in OpenTelemetry's own variables (OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_…) holds too.
        """
        own = Resource.create({"service.name": "crm-kassa", "service.version": __version__})
        self._provider = TracerProvider(
            sampler=ByTraceId(ratio),
            resource=own.merge(OTELResourceDetector().detect()),
            id_generator=_EventIds(),
            shutdown_on_exit=False,
        )
        self._exporter = OTLPSpanExporter(endpoint=url, headers=dict(headers))
        logging.getLogger(OTLPSpanExporter.__module__).addFilter(OnceAMinute())
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("crm-kassa", __version__)

    def span(
        self,
        trace: UUID,
        name: str,
        values: Values,
        *,
        kind: Kind = Kind.INTERNAL,
        root: bool = False,
        started: int | None = None,
        links: Sequence[str] = (),
    ) -> "_Traced":
        token = _root.set(trace if root else None)
        try:
            span = self._tracer.start_span(
                name,
                context=Context() if root else _within(_root_span(trace)),
                kind=SpanKind[kind.name],
                attributes=values,
                links=[Link(found) for text in links if (found := _read(text)).is_valid],
                start_time=started,
            )
        finally:
            _root.reset(token)
        return _Traced(self._tracer, span)

    def entry(self, *, started: int | None = None, caller: str | None = None) -> Entry:
        return Entry(self, started, caller)

    async def close(self) -> None:
        """What a collector does not take within seconds is dropped: nobody waits for it at the end either."""
        done, loop = asyncio.Event(), asyncio.get_running_loop()

        def shut() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop did not wait
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut, name="traces-close", daemon=True).start()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await done.wait()
        except TimeoutError:
            # Without it the exporter's thread would go on trying for half a minute.
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # of the SDK


class _Traced(Running):
    """A span of the SDK, sampled or not."""

    __slots__ = ("_span", "_tracer")

    def __init__(self, tracer: SdkTracer, span: SdkSpan) -> None:
        self._tracer = tracer
        self._span = span

    @property
    def traceparent(self) -> str | None:  # type: ignore[override]
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, _within(self._span))
        return carrier.get("traceparent")

    def set(self, values: Values) -> None:
        self._span.set_attributes(dict(values))

    def fail(self, code: str) -> None:
        self._span.set_attribute("error.type", code)
        self._span.set_status(Status(StatusCode.ERROR))

    def child(self, name: str, values: Values, *, kind: Kind = Kind.INTERNAL, started: int | None = None) -> "_Traced":
        made = self._tracer.start_span(
            name, context=_within(self._span), kind=SpanKind[kind.name], attributes=values, start_time=started
        )
        return _Traced(self._tracer, made)

    def end(self, at: int | None = None) -> None:
        self._span.end(at)


class _EventIds(IdGenerator):
    """The root of a trace has the event's id, and its own from that; every other span an id at random."""

    def generate_trace_id(self) -> int:
        root = _root.get()
        return random.getrandbits(128) if root is None else root.int

    def generate_span_id(self) -> int:
        root = _root.get()
        return random.getrandbits(64) or 1 if root is None else _root_id(root)


class ByTraceId(Sampler):
    """The same verdict about a trace in every process. The SDK's own asks bits that are the same in every UUID."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._below = round(ratio * (1 << _RANDOM_BITS))

    def takes(self, trace_id: int) -> bool:
        return trace_id & ((1 << _RANDOM_BITS) - 1) < self._below

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        taken = self.takes(trace_id)
        return SamplingResult(Decision.RECORD_AND_SAMPLE if taken else Decision.DROP, attributes if taken else None)

    def get_description(self) -> str:
        return f"ByTraceId{{{self._ratio}}}"


class OnceAMinute(logging.Filter):
    """Of a collector that is away the exporter would tell with each batch: the first line of a minute says it."""

    def __init__(self) -> None:
        super().__init__()
        self._said_at = -_QUIET_SECONDS

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._said_at < _QUIET_SECONDS:
            return False
        self._said_at = now
        return True


def _within(span: SdkSpan) -> Context:
    return set_span_in_context(span, Context())


def _root_id(trace: UUID) -> int:
    """The last half of the trace's id, which is never zero in a UUID."""
    return trace.int & ((1 << 64) - 1)


def _root_span(trace: UUID) -> SdkSpan:
    """The root as whoever goes on with the trace knows it; whether it is sampled, each decides by the id."""
    sampled = TraceFlags(TraceFlags.SAMPLED)
    return NonRecordingSpan(SpanContext(trace.int, _root_id(trace), is_remote=True, trace_flags=sampled))


def _read(traceparent: str) -> SpanContext:
    """What a `traceparent` names; not valid where it cannot be read."""
    return get_current_span(_propagator.extract({"traceparent": traceparent}, Context())).get_span_context()
