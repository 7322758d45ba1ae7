"""Traces, as the program tells them: one per event, from its report to the webhook. Here nobody listens; who does is
decided once, at the start (`tracing_otlp`).

The id of a trace is the event's own and so is that of its root, so any process goes on with it and nothing is stored.
"""

import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from enum import Enum, auto
from types import TracebackType
from typing import Final, Self
from uuid import UUID

Told = dict[str, str | int | float | bool]
Values = Mapping[str, str | int | float | bool]
"""Attributes: ids, states, codes and numbers. Never a contact, a secret or a text of somebody else's."""


class Kind(Enum):
    """What a span is to its neighbours, as OpenTelemetry has it."""

    INTERNAL = auto()
    SERVER = auto()
    CLIENT = auto()
    CONSUMER = auto()


class Span:
    """Something that takes time; as a context manager it is the `current` one. This one is told to nobody."""

    __slots__ = ()
    on = False
    traceparent: str | None = None
    """What a request made in this span carries (W3C Trace Context)."""

    def set(self, values: Values) -> None:
        """Add to what is told of it."""

    def fail(self, code: str) -> None:
        """Tell it as failed; `code` is one of few."""

    def child(self, name: str, values: Values, *, kind: Kind = Kind.INTERNAL, started: int | None = None) -> "Span":
        """A part of it, which began now or at `started` (nanoseconds since 1970)."""
        return self

    def end(self, at: int | None = None) -> None:
        """It ended now, or at `at`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None


NOTHING: Final = Span()
_current: ContextVar[Span] = ContextVar("span", default=NOTHING)


def current() -> Span:
    """The span that this code runs in."""
    return _current.get()


class Running(Span):
    """A span that is told: within the block it is the current one, an exception out of it is its failure."""

    __slots__ = ("_before",)
    on = True
    _before: Token[Span]

    def __enter__(self) -> Self:
        self._before = _current.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _current.reset(self._before)
        if kind is not None:
            self.fail(kind.__name__)
        self.end()


class Tracing:
    """Makes spans. This one makes none."""

    on = False

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
    ) -> Span:
        """A span below the root of this trace, or that root. `links` are the `traceparent` of spans elsewhere."""
        return NOTHING

    def entry(self, *, started: int | None = None, caller: str | None = None) -> "Entry":
        """A way in that opens now; `caller` is the `traceparent` of whoever calls, and is linked, not followed: the
        door is public, and a stranger decides neither our ids nor what is sampled."""
        return _SHUT

    def arrived(self, event_id: UUID, began: int, values: Values) -> Span:
        """The span of an event's intake, now that it is stored: below the way it came in by, else the root itself."""
        entry = _entry.get()
        entry.bring(event_id, fresh=True)
        return self.span(event_id, "intake", values, root=entry is _SHUT, started=began)

    async def close(self) -> None:
        """Give away what waits, within seconds."""


OFF: Final = Tracing()


class Entry:
    """How events come in: a request, or a notice. It is the root of the trace of each event that it brings, and stands
    as one more span in the trace of each that was there before."""

    def __init__(self, tracing: Tracing, started: int | None = None, caller: str | None = None) -> None:
        self._tracing = tracing
        self._started = started or time.time_ns()
        self._links = () if caller is None else (caller,)
        self.events: dict[UUID, bool] = {}

    def bring(self, event_id: UUID, *, fresh: bool) -> None:
        """This event came this way; `fresh`: for the first time."""
        self.events.setdefault(event_id, fresh)

    def tell(self, name: str, kind: Kind, values: Values, *, error: str | None = None) -> None:
        """It is over."""
        for event_id, fresh in self.events.items():
            span = self._tracing.span(
                event_id,
                name,
                {**values, "kassa.event.id": f"evt_{event_id.hex}", "kassa.event.repeated": not fresh},
                kind=kind,
                root=fresh,
                started=self._started,
                links=self._links,
            )
            if error is not None:
                span.fail(error)
            span.end()

    def __enter__(self) -> Self:
        self._before = _entry.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _entry.reset(self._before)


class _Shut(Entry):
    """The way in while nobody listens."""

    def bring(self, event_id: UUID, *, fresh: bool) -> None:
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


_SHUT: Final = _Shut(OFF)
_entry: ContextVar[Entry] = ContextVar("entry", default=_SHUT)


def entry() -> Entry:
    """The way in that this code runs in."""
    return _entry.get()


def root_of(trace: UUID) -> str:
    """The `traceparent` of a trace's root, whose id is the last half of the trace's."""
    return f"00-{trace.hex}-{trace.hex[16:]}-01"


def born(made: UUID) -> int:
    """When this UUIDv7 was made, in nanoseconds since 1970."""
    return (made.int >> 80) * 1_000_000


def http_call(method: str, scheme: str, host: str | None, port: int | None) -> Told:
    """What may be told of a request that we make. Paths and queries may hold secrets and are left out."""
    return {
        "http.request.method": method,
        "url.scheme": scheme,
        "server.address": host or "",
        "server.port": port or (443 if scheme == "https" else 80),
    }
