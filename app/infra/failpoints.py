"""Named places where a test may kill, stop or disturb a process; in a normal start there are none.

`KASSA_FAILPOINTS="attempt.after_tx1=stop*1,provider.after_response=kill:0.05"`, read only when `KASSA_TESTING` is on.
"""

import asyncio
import os
import random
import re
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Self

NAMES: Final = (
    "api.before_insert",
    "api.after_insert_before_commit",
    "api.after_commit_before_response",
    "inbound.after_signature",
    "worker.after_claim",
    "attempt.before_tx1",
    "lease.renew",
    "attempt.after_tx1",
    "provider.after_connect",
    "provider.after_request_written",
    "provider.after_response",
    "attempt.before_tx2",
    "attempt.after_tx2",
    "readback.after_response",
    "poll.after_event",
    "poll.before_cursor",
    "report.before_commit",
    "reconcile.mid_batch",
    "callback.before_commit",
    "webhook.before_send",
    "webhook.after_send_before_commit",
    "migration.between_steps",
)
"""In the order in which a payment passes them. `attempt.*_tx1` stand around the mark (T3), `*_tx2` around the settle
(T4); `lease.renew` is the mark itself, the one statement that prolongs a lease, before its commit."""

Hook = Callable[[], Awaitable[None]]

_ENTRY = re.compile(
    r"(?P<name>[a-z_.0-9]+)=(?P<action>kill|stop|raise|sleep)(?::(?P<number>[0-9.]+))?(?:\*(?P<times>\d+))?"
)


class FailpointHit(Exception):
    """Raised where a test wants an unforeseen error."""


@dataclass(slots=True)
class _Armed:
    action: str
    number: float
    left: int | None


class Failpoints:
    """What is armed in this process. `hit` costs a dictionary look-up."""

    def __init__(self, armed: dict[str, _Armed] | None = None, seed: int | None = None) -> None:
        self._armed = armed or {}
        self._rng = random.Random(seed)  # noqa: S311

    @classmethod
    def parse(cls, text: str, seed: int | None = None) -> Self:
        """`name=action[:number][*times]`; the number is a probability, for `sleep` the seconds. ValueError names the
        entry that is wrong."""
        armed = {}
        for entry in filter(None, (part.strip() for part in text.split(","))):
            found = _ENTRY.fullmatch(entry)
            if found is None or found["name"] not in NAMES:
                raise ValueError(f"KASSA_FAILPOINTS: {entry!r} is not name=action[:number][*times] of a known point")
            number = float(found["number"]) if found["number"] else 1.0
            armed[found["name"]] = _Armed(found["action"], number, int(found["times"]) if found["times"] else None)
        return cls(armed, seed)

    @property
    def active(self) -> tuple[str, ...]:
        return tuple(self._armed)

    def hook(self, name: str) -> Hook | None:
        """`hit` of this point for whoever is built with it; None where nothing is armed, so that it costs nothing."""
        return partial(self.hit, name) if name in self._armed else None

    async def hit(self, name: str) -> None:
        """Do what a test armed here; usually nothing."""
        armed = self._armed.get(name)
        if armed is None or armed.left == 0:
            return
        if armed.action != "sleep" and self._rng.random() >= armed.number:
            return
        if armed.left is not None:
            armed.left -= 1
        match armed.action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "sleep":
                await asyncio.sleep(armed.number)
            case _:
                raise FailpointHit(name)
