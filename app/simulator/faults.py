"""Scripted faults: what the simulator does wrong, to which call, how many times.

A fault belongs to the first call that it matches, first in, first out. Kinds that spoil the wire are played here for
every protocol; kinds that are answers in a provider's own words are played by its protocol front.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Message, Receive, Scope, Send

Kind = Literal[
    "refuse",
    "queue",
    "queue_forever",
    "unauthorized",
    "rate_limited",
    "error_before",
    "error_after",
    "drop_before",
    "drop_after",
    "hang",
    "half_body",
    "slow",
    "answer",
    "lose_callback",
    "duplicate_callback",
]
"""refuse: finally refused (params: the provider's own words). queue: accepted, printed after `polls` look-ups or
`seconds`. unauthorized: `status` 401, 402 or 403. rate_limited: 429 with `retry_after`. error_before, error_after:
`status` without or after printing. drop_before, drop_after: connection cut without an answer, without or after
printing. hang: printed (unless `register` is false), no answer for `seconds`. half_body: printed, half the answer.
slow: right, after `seconds`. answer: `status`, `body`, `headers` as given, printed only when `register` is true.
"""

Action = Literal["submit", "lookup", "check", "callback", "other"]


class Match(BaseModel):
    """Which calls a fault is for; what is not named matches all. `path` may hold * and ?."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: str | None = None
    provider_id: str | None = None
    operation: str | None = None
    path: str | None = None
    action: Action | Literal["any"] | None = None


class FaultRequest(BaseModel):
    """One scripted fault. `times` null: until cleared."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    times: int | None = Field(default=1, ge=1)
    match: Match = Match()
    params: dict[str, Any] = Field(default_factory=dict)


class MixRequest(BaseModel):
    """Random faults for calls that no script claims: chance per kind, repeatable by the seed."""

    model_config = ConfigDict(extra="forbid")

    mix: dict[Kind, float]
    seed: int = 1
    match: Match = Match()
    params: dict[str, dict[str, Any]] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a client (or, for `callback`, of ours) as a fault sees it; `operation` is our name of it."""

    provider: str
    action: Action
    path: str
    provider_id: str | None = None
    operation: str | None = None


@dataclass(slots=True)
class Fault:
    """A fault that is due. `left` counts down; None never ends."""

    id: int
    kind: Kind
    match: Match
    params: dict[str, Any]
    left: int | None

    def seconds(self, default: float) -> float:
        return float(self.params.get("seconds", default))


@dataclass(slots=True)
class Faults:
    """What is scripted, what is random, and what was played."""

    scripted: list[Fault] = field(default_factory=list)
    played: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=10_000))
    _mix: MixRequest | None = None
    _random: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 - repeatable, not secret
    _next: int = 1

    def add(self, request: FaultRequest) -> Fault:
        """Put a fault at the end of the script."""
        fault = Fault(self._next, request.kind, request.match, request.params, request.times)
        self._next += 1
        self.scripted.append(fault)
        return fault

    def set_mix(self, request: MixRequest) -> None:
        """Replace the random mix; the same seed gives the same faults to the same calls."""
        self._mix = request
        self._random = random.Random(request.seed)  # noqa: S311 - repeatable, not secret

    def clear(self) -> None:
        """Nothing goes wrong from now on; the record of what was played is emptied."""
        self.scripted.clear()
        self.played.clear()
        self._mix = None

    def take(self, call: Call) -> Fault | None:
        """The fault of this call, used up by it."""
        for fault in self.scripted:
            if _matches(fault.kind, fault.match, call):
                if fault.left is not None:
                    fault.left -= 1
                    if fault.left == 0:
                        self.scripted.remove(fault)
                return self._note(fault, call)
        return self._draw(call)

    def report(self) -> dict[str, Any]:
        """What is due and what was played, for people and tests."""
        return {
            "scripted": [
                {"id": f.id, "kind": f.kind, "times": f.left, "match": f.match.model_dump(exclude_none=True)}
                | {"params": f.params}
                for f in self.scripted
            ],
            "mix": None if self._mix is None else self._mix.model_dump(exclude_none=True),
            "played": list(self.played),
        }

    def _draw(self, call: Call) -> Fault | None:
        if self._mix is None:
            return None
        eligible = {kind: chance for kind, chance in self._mix.mix.items() if _matches(kind, self._mix.match, call)}
        if not eligible:
            return None
        point = self._random.random()
        for kind, chance in eligible.items():
            point -= chance
            if point < 0:
                return self._note(Fault(0, kind, self._mix.match, self._mix.params.get(kind, {}), 1), call)
        return None

    def _note(self, fault: Fault, call: Call) -> Fault:
        self.played.append(
            {"id": fault.id, "kind": fault.kind, "provider": call.provider, "action": call.action}
            | {"provider_id": call.provider_id, "path": call.path}
        )
        return fault


def _matches(kind: Kind, match: Match, call: Call) -> bool:
    """A fault is for submits unless it says otherwise: look-ups are how a client finds out what happened."""
    wanted = match.action or ("callback" if kind in ("lose_callback", "duplicate_callback") else "submit")
    return (
        wanted in ("any", call.action)
        and match.provider in (None, call.provider)
        and match.provider_id in (None, call.provider_id)
        and match.operation in (None, call.operation)
        and (match.path is None or fnmatchcase(call.path, match.path))
    )


async def play(fault: Fault | None, request: Request, act: Callable[[], Awaitable[Response]]) -> Response:
    """Answer a call through its fault. `act` does the work and makes the right answer; kinds that are not the wire's
    were handled by the caller before and pass straight through."""
    if fault is None:
        return await act()
    match fault.kind:
        case "drop_before":
            return await cut(request)
        case "drop_after":
            await act()
            return await cut(request)
        case "error_before":
            return Response(status_code=int(fault.params.get("status", 500)))
        case "error_after":
            await act()
            return Response(status_code=int(fault.params.get("status", 500)))
        case "hang":
            if fault.params.get("register", True):
                await act()
            await _until_gone(request, fault.seconds(60))
            return await cut(request)
        case "half_body":
            return _Half(await act())
        case "slow":
            await asyncio.sleep(fault.seconds(1))
            return await act()
        case "answer":
            if fault.params.get("register", False):
                await act()
            return Response(
                content=str(fault.params.get("body", "")).encode(),
                status_code=int(fault.params.get("status", 200)),
                headers={str(k): str(v) for k, v in fault.params.get("headers", {}).items()},
            )
        case _:
            return await act()


ABORT, HANG_UP = "crm_kassa.abort", "crm_kassa.hang_up"
"""Scope keys under which the server puts what cuts this connection: at once, or after what was written has left."""


async def cut(request: Request) -> Response:
    """Abort the TCP connection; the returned answer goes nowhere."""
    request.scope[ABORT]()
    await _gone(request.receive)
    return Response()


async def _until_gone(request: Request, seconds: float) -> None:
    """Wait until the client hangs up, at most so long."""
    try:
        async with asyncio.timeout(seconds):
            await _gone(request.receive)
    except TimeoutError:
        return


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Half(Response):
    """The first half of an answer that promised its whole length, then the end of the connection."""

    def __init__(self, whole: Response) -> None:
        super().__init__(status_code=whole.status_code, media_type=whole.media_type)
        self._promised = bytes(whole.body) or b"{}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = str(len(self._promised)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        start: Message = {"type": "http.response.start", "status": self.status_code, "headers": headers}
        await send(start)
        half = self._promised[: len(self._promised) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        scope[HANG_UP]()
        await _gone(receive)


def router(faults: Faults) -> APIRouter:
    """`/faults`: script them, list them, clear them."""
    api = APIRouter()

    @api.post("/faults", status_code=201)
    async def script(request: FaultRequest | MixRequest) -> dict[str, Any]:
        if isinstance(request, MixRequest):
            faults.set_mix(request)
            return {"mix": request.mix, "seed": request.seed}
        return {"id": faults.add(request).id}

    @api.get("/faults")
    async def listed() -> dict[str, Any]:
        return faults.report()

    @api.delete("/faults", status_code=204)
    async def cleared() -> None:
        faults.clear()

    return api
