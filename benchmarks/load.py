"""The load generator: one process, bare sockets, precomputed bytes; each connection asks again when it is answered.

The same one drives every HTTP leg. It counts every 2xx, also of the warm-up, because each of them promised a row.
"""

import asyncio
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.body import ID_DIGITS, template
from benchmarks.processes import Answer, Command, serve

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Run:
    """What one command asks for and what came of it. Times are of `time.perf_counter`."""

    def __init__(self, requests: Iterator[bytes], *, warm_up: float, seconds: float) -> None:
        self.requests = requests
        now = time.perf_counter()
        self.begins = now + warm_up
        self.ends = self.begins + seconds
        self.statuses: Counter[int] = Counter()
        self.latencies: list[float] = []
        self.last_at = now
        self.broken = 0
        self.refused = ""

    def next(self) -> bytes | None:
        """The next request while there is time and there are any."""
        return next(self.requests, None) if time.perf_counter() < self.ends else None

    def answered(self, status: int, sent_at: float, answer: bytes) -> None:
        now = self.last_at = time.perf_counter()
        self.statuses[status] += 1
        if not 200 <= status < 300 and not self.refused:
            self.refused = answer[:400].decode("utf-8", "replace")
        if self.begins <= now <= self.ends:
            self.latencies.append(now - sent_at)


class Caller(asyncio.Protocol):
    """One connection, one request in flight."""

    def __init__(self, run: Run, done: asyncio.Future[None]) -> None:
        self._run, self._done = run, done
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's has no common base
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(_END)
        if head < 0:
            return
        lower = self._buffer[:head].lower()
        at = lower.find(_LENGTH)
        length = int(lower[at + len(_LENGTH) :].split(b"\r", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < head + len(_END) + length:
            return
        answer, self._buffer = self._buffer, b""
        self._run.answered(int(answer[9:12]), self._sent_at, answer)
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._run.broken += 1
            self._run.refused = f"a connection broke: {error or 'the server hung up before its answer'}"
            self._done.set_result(None)

    def _ask(self) -> None:
        request = self._run.next()
        assert self._transport is not None
        if request is None:
            if not self._done.done():
                self._done.set_result(None)
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)


async def handle(command: Command) -> Answer:
    """`post`: events to one address for a time or a number of them; `get`: a list of paths, round and round."""
    port, key = command["port"], command.get("key", "")
    requests = _events(command, port, key) if command["do"] == "post" else _gets(command, port, key)
    run = Run(requests, warm_up=command.get("warm_up", 0.0), seconds=command["seconds"])
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    callers = []
    for _ in range(command["connections"]):
        done: asyncio.Future[None] = loop.create_future()
        callers.append(done)
        await loop.create_connection(_caller(run, done), "127.0.0.1", port)
    await asyncio.gather(*callers)
    return _summary(run, command, began)


def _caller(run: Run, done: asyncio.Future[None]) -> Callable[[], Caller]:
    return lambda: Caller(run, done)


def _events(command: Command, port: int, key: str) -> Iterator[bytes]:
    body = template(command["prefix"])
    before, after = body.before.encode(), body.after.encode()
    head = (
        f"POST {command['path']} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {body.size}\r\n\r\n"
    ).encode()
    start = head + before
    numbers = range(command["count"]) if command.get("count") else itertools.count()
    return (b"%b%0*d%b" % (start, ID_DIGITS, number, after) for number in numbers)


def _gets(command: Command, port: int, key: str) -> Iterator[bytes]:
    rest = f" HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n\r\n"
    ready = [f"GET {path}{rest}".encode() for path in command["paths"]]
    return iter(ready)


def _summary(run: Run, command: Command, began: float) -> dict[str, Any]:
    cuts = statistics.quantiles(run.latencies, n=100) if len(run.latencies) > 1 else [0.0] * 99
    bounded = bool(command.get("count") or command.get("paths"))
    seconds = run.last_at - began if bounded else command["seconds"]
    return {
        "acknowledged": sum(n for status, n in run.statuses.items() if 200 <= status < 300),
        "refused": run.broken + sum(n for status, n in run.statuses.items() if not 200 <= status < 300),
        "refusal": run.refused,
        "per_second": len(run.latencies) / seconds if seconds > 0 else 0.0,
        "p50_ms": cuts[49] * 1000,
        "p95_ms": cuts[94] * 1000,
        "p99_ms": cuts[98] * 1000,
    }


if __name__ == "__main__":
    serve(handle)
