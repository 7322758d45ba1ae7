"""What talking to the database may raise, what each of it means, and what this process was refused so far."""

import time
from collections.abc import Callable
from enum import StrEnum

import asyncpg
import structlog
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from app.domain.errors import Busy

log = structlog.get_logger(__name__)

_RETRYABLE = {"40001", "40P01", "55P03"}
_LOST_CLASSES = ("08", "53", "57")
READ_ONLY, _IO_ERROR = "25006", "58030"

_AWAY = (OSError, asyncpg.InterfaceError, InterfaceError, DBAPIError, asyncpg.InternalClientError, PoolExhausted)
"""Without an SQLSTATE: the connection broke, or none became free in time."""
TROUBLE = (*_AWAY, asyncpg.PostgresError)
"""All that talking to the database may raise, InternalClientError for one that is just being started included."""

DISK_FULL_ADVICE = (
    "the database's disk is full: make room on it, everything goes on by itself then (docs/operations.md, section 11)"
)
_TOLD_EVERY_SECONDS = 60.0


class Refusal(StrEnum):
    """Why the database cannot work for us at the moment; a label of `/metrics`."""

    DISK_FULL = "disk_full"
    OUT_OF_MEMORY = "out_of_memory"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    READ_ONLY = "read_only"
    STARTING = "starting"
    AWAY = "away"


_REFUSALS = {
    "53100": Refusal.DISK_FULL,
    "53200": Refusal.OUT_OF_MEMORY,
    "53300": Refusal.TOO_MANY_CONNECTIONS,
    READ_ONLY: Refusal.READ_ONLY,
    "57P03": Refusal.STARTING,
}
"""SQLSTATE → what it means (PostgreSQL, appendix A); all others are AWAY."""

_SAID = {
    Refusal.DISK_FULL: "the database has no room to store anything at the moment",
    Refusal.OUT_OF_MEMORY: "the database has no memory left at the moment",
    Refusal.TOO_MANY_CONNECTIONS: "the database takes no more connections at the moment",
    Refusal.READ_ONLY: "the database can only be read at the moment",
    Refusal.STARTING: "the database is being started",
    Refusal.AWAY: "the database is not reachable at the moment",
}


def sqlstate(error: BaseException) -> str | None:
    """SQLSTATE behind an error of asyncpg or SQLAlchemy; None when the connection itself broke."""
    seen: BaseException | None = error
    while seen is not None:
        state = getattr(seen, "sqlstate", None)
        if isinstance(state, str):
            return state
        seen = getattr(seen, "orig", None) or seen.__cause__
    return None


def is_lost(error: BaseException) -> bool:
    """The connection or the server went away, or the machine under it has nothing left to give: whether the
    transaction committed is not known."""
    state = sqlstate(error)
    if state is None:
        return isinstance(error, _AWAY)
    return state.startswith(_LOST_CLASSES) or state in (READ_ONLY, _IO_ERROR)


def is_retryable(error: BaseException) -> bool:
    """A deadlock or lock timeout: nothing was committed and the same work may be tried again."""
    return sqlstate(error) in _RETRYABLE


def refusal_of(error: BaseException) -> Refusal:
    """What is behind an error for which `is_lost` is true."""
    return _REFUSALS.get(sqlstate(error) or "", Refusal.AWAY)


def busy(refusal: Refusal, then: str = "repeat the same request") -> Busy:
    """The same for a caller who cannot do anything about it. A full disk is not emptied within a second."""
    return Busy(f"{_SAID[refusal]}; {then}", retry_after_seconds=10 if refusal is Refusal.DISK_FULL else 1)


class Refusals:
    """Counts what this process was refused; tells of a full disk once a minute and remembers it as long.

    `count` is called with the label of each.
    """

    def __init__(self, count: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._clock = clock
        self._full_at: float | None = None
        self._told_at: float | None = None

    def note(self, error: BaseException) -> Refusal:
        """Of an error for which `is_lost` is true."""
        refusal = refusal_of(error)
        if self.disk_full and (sqlstate(error) or "08").startswith(("08", "57P")):
            # A server that cannot write its own log (WAL) ends without a word: it is gone for the same reason.
            refusal = Refusal.DISK_FULL
        self._count(refusal.value)
        if refusal is Refusal.DISK_FULL:
            now = self._full_at = self._clock()
            if self._told_at is None or now - self._told_at >= _TOLD_EVERY_SECONDS:
                self._told_at = now
                log.error("database.disk_full", what_to_do=DISK_FULL_ADVICE)
        return refusal

    @property
    def disk_full(self) -> bool:
        """Whether something could not be stored for want of room within the last minute, or the server went away after
        that and did not come back."""
        return self._full_at is not None and self._clock() - self._full_at < _TOLD_EVERY_SECONDS
