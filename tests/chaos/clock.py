"""A worker whose wall clock is wrong: what Python code reads of it is shifted by the number in a file.

The monotonic clocks are left alone, as they are by a real step of the wall clock.
"""

import mmap
import struct
import sys
import time
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

READERS = ("app.infra.clock", "app.kassas.digitalkassa")
"""The modules of a worker that ask `datetime` for the present; everybody else gets it from them or from `time`."""

_SHIFT = struct.Struct("d")


def step(path: Path, seconds: float) -> None:
    """Whoever follows this file is so many seconds ahead from now on."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.write(_SHIFT.pack(seconds))


def follow(path: Path) -> None:
    """From now on this process's wall clock is ahead by what stands in `path`, whenever that changes."""
    with path.open("rb") as file:
        shared = mmap.mmap(file.fileno(), _SHIFT.size, access=mmap.ACCESS_READ)

    def shift() -> float:
        return float(_SHIFT.unpack_from(shared)[0])

    right, right_ns, uuid7 = time.time, time.time_ns, sys.modules["app.infra.ids"].__dict__["uuid7"]

    class _Kind(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, datetime)

    class Shifted(datetime, metaclass=_Kind):
        """Makes plain datetimes; only its `now` differs."""

        def __new__(cls, *values: Any, **named: Any) -> Any:
            return datetime(*values, **named)  # noqa: DTZ001

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.fromtimestamp(right() + shift(), tz)

    def ids() -> Any:
        ahead = shift()
        return uuid7(nanoseconds=right_ns() + int(ahead * 1e9)) if ahead else uuid7()

    for name in READERS:
        module = sys.modules[name]
        assert module.__dict__["datetime"] is datetime, f"{name} reads the clock in another way now"
        module.__dict__["datetime"] = Shifted
    sys.modules["app.infra.ids"].__dict__["uuid7"] = ids
    time.time = lambda: right() + shift()
    time.time_ns = lambda: right_ns() + int(shift() * 1e9)
