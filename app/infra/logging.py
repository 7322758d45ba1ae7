"""Structured logs: one line per event for a program or a person, in which no secret and no buyer's contact survives.

Records of the standard library (uvicorn, SQLAlchemy, aiohttp) take the same way, so one scrubber sees everything.
"""

import contextlib
import logging
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, Literal, TextIO
from uuid import UUID

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

Scrub = Callable[[str], str]
"""Text in, text without e-mails and phones out; handed in, because what a contact looks like is the domain's word."""

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

REDACTED: Final = "[redacted]"
MASKED: Final = "[masked]"

_SECRET_NAMES = frozenset(
    {
        "authorization",
        "proxy_authorization",
        "api_key",
        "credentials",
        "secret",
        "secrets",
        "password",
        "pass",
        "token",
        "cookie",
        "set_cookie",
        "webhook_signature",
        "pepper",
        "private_key",
        "dsn",
        "database_url",
    }
)
_SECRET_ENDINGS = ("_secret", "_secrets", "_password", "_token", "_api_key", "secret_key", "secret_keys", "_hmac")
_PERSONAL_NAMES = frozenset(
    {"email", "phone", "buyer_contact", "contact", "customer", "customer_name", "buyer_name", "buyer_inn"}
)

# Secrets that travel inside text: our keys, signing secrets, HTTP credentials, and the addresses that carry one.
_IN_TEXT: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\bck_(live|test)_[0-9A-Za-z]+"), rf"ck_\1_{REDACTED}"),
    (re.compile(r"\b(whsec|whsk)_[0-9A-Za-z+/=_-]+"), rf"\1_{REDACTED}"),
    (re.compile(r"\b(Bearer|Basic)\s+[^\s\"',]+", re.IGNORECASE), rf"\1 {REDACTED}"),
    (re.compile(r"(://)[^/\s@\"']+@"), rf"\1{REDACTED}@"),
    (re.compile(r"(/in/[^/\s]+/s-)[^/\s?#\"']+"), rf"\1{REDACTED}"),
    (re.compile(r"(/callbacks/[^/\s]+/)[^/\s?#\"']+"), rf"\1{REDACTED}"),
    (
        re.compile(
            r"((?:secret|password|passwd|token|api[_-]?key|hmac)[\w-]{0,32}(?:=|[\"']\s{0,4}[:=]\s{0,4})[\"']?)"
            r"[^\s&\"',;)}]+",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
)
# No expression above matches a plain text without one of these, in small letters.
_HINTS = re.compile("ck_|whs|bearer|basic|://|/in/|/callbacks/|secret|passw|token|api|hmac")

_QUIET = ("alembic", "httpx", "httpcore", "aiohttp", "asyncio", "sqlalchemy.engine", "sqlalchemy.pool", "multipart")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_INTERNAL = frozenset({"_record", "_from_structlog"})  # structlog's own, taken out before rendering
_OWN_LINES = ("uvicorn", "uvicorn.error", "uvicorn.access")


def set_up(
    *,
    scrub: Scrub,
    level: Level = "INFO",
    render: Literal["json", "console"] = "json",
    stream: TextIO | None = None,
) -> None:
    """Routes all logs of the process through one scrubbed handler on `stream` (standard error unless given).

    May be called again; the last call counts. Uvicorn must be started with `log_config=None`.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        # Last, so that it sees exception text too; before the record exists, so that no other handler sees more.
        Scrubber(scrub),
    ]
    renderer: Processor
    if render == "json":
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        # Pretty tracebacks would print local variables, and with them credentials.
        renderer = structlog.dev.ConsoleRenderer(
            colors=(stream or sys.stderr).isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    # Nothing shows them, and finding them out is a part of every line's price.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    # As the root logger is: one for the process, and the last call counts.
    global _plain
    _plain = _Plain(handler, renderer, Scrubber(scrub))
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _OWN_LINES:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
    # The API writes its own access line; uvicorn's would carry whole URLs.
    logging.getLogger("uvicorn.access").disabled = True


def enabled(level: Literal["debug", "info", "warning", "error"]) -> bool:
    """Whether a line of this level is written: saves collecting what it would say."""
    return logging.getLogger().isEnabledFor(_LEVELS[level])


@dataclass(frozen=True, slots=True)
class _Plain:
    """What a line of known members passes: the form and the place of every other line."""

    handler: logging.StreamHandler[TextIO]
    renderer: Processor
    scrubber: "Scrubber"


_plain: _Plain | None = None


def served(given_id: str | None, members: dict[str, Any]) -> None:
    """The line about a request at level info, in the same form as all lines, for a fifth of their price.

    Nothing in `members` may need scrubbing: names of our own, numbers, ids that we made. Only the request's id may be
    the caller's (`given_id`), and is scrubbed.
    """
    plain = _plain
    if plain is None or not enabled("info"):
        return
    if given_id is not None:
        members.update(plain.scrubber(None, "info", {"request_id": given_id}))
    members["event"] = "request.served"
    members["level"] = "info"
    members["timestamp"] = f"{datetime.now(UTC).isoformat()[:-6]}Z"
    text = str(plain.renderer(None, "info", members))
    handler = plain.handler
    with handler.lock or contextlib.nullcontext():
        handler.stream.write(f"{text}{handler.terminator}")
        handler.flush()


class bind_request_id:
    """Within it every line carries `request_id`, also in tasks started there."""

    __slots__ = ("_before", "_request_id")

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id

    def __enter__(self) -> None:
        self._before = structlog.contextvars.bind_contextvars(request_id=self._request_id)

    def __exit__(self, *_: object) -> None:
        structlog.contextvars.reset_contextvars(**self._before)


class Scrubber:
    """Processor that removes secrets (by name and by shape) and masks buyers' data, at any depth."""

    def __init__(self, scrub: Scrub) -> None:
        self._scrub = scrub

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        return {key: value if key in _INTERNAL else self._safe_member(key, value) for key, value in event.items()}

    def _safe_member(self, key: str, value: Any) -> Any:
        """A value that cannot be shown must not break the line, nor reach logging's own, unscrubbed error report."""
        try:
            return self._member(key, value)
        except Exception as error:
            return f"[unprintable: {type(error).__name__}]"

    def _member(self, key: str, value: Any) -> Any:
        name = key.lower().replace("-", "_")
        if name in _SECRET_NAMES or name.endswith(_SECRET_ENDINGS):
            return REDACTED
        if name in _PERSONAL_NAMES and value is not None and not isinstance(value, bool):
            return self._personal(value)
        return self._value(value)

    def _value(self, value: Any) -> Any:
        match value:
            case None | bool() | float():
                return value
            case int():
                text = str(value)
                clean = self._scrub(text)
                return value if clean == text else clean
            case str():
                return self._text(value)
            case bytes() | bytearray() | memoryview():
                return f"[{len(value)} bytes]"  # bodies belong into the attempt's record, encrypted
            case Mapping():
                return {self._text(str(key)): self._member(str(key), member) for key, member in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._value(member) for member in value]
            case BaseException():
                return self._text(f"{type(value).__name__}: {value}")
            case UUID() | Decimal() | date():
                return self._text(str(value))
            case _:
                return self._text(repr(value))

    def _personal(self, value: Any) -> Any:
        """E-mails and phones keep their recognisable rest; what has no such form disappears."""
        if isinstance(value, Mapping):
            return {str(key): self._personal(member) for key, member in value.items()}
        text = str(value)
        clean = self._scrub(text)
        return MASKED if clean == text else clean

    def _text(self, text: str) -> str:
        # Outside ASCII several signs count as one letter for an expression: there every one is tried.
        if not text.isascii() or _HINTS.search(text.lower()):
            for pattern, put in _IN_TEXT:
                text = pattern.sub(put, text)
        return self._scrub(text)
