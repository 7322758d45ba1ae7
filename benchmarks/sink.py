"""The other side of the receipts leg: a very fast provider that prints at once, and the shop that takes the webhook.

It speaks the success answer of digitalkassa's protocol and counts what came, so that a lost or doubled one shows.
"""

import asyncio
import json
import re
import sys
from collections import Counter

import uvloop

from benchmarks.processes import Answer, Command, serving

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_MESSAGE = re.compile(rb"\r\nwebhook-id: *([^\r]+)", re.IGNORECASE)
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Sink:
    """What arrived: ids of receipts that were posted, ids of messages that were told."""

    def __init__(self) -> None:
        self.receipts: Counter[bytes] = Counter()
        self.messages: Counter[bytes] = Counter()

    def take(self, head: bytes) -> bytes:
        """The answer to one request."""
        method, path, _ = head.split(b" ", 2)
        if method == b"POST" and b"/receipts/" in path:
            self.receipts[path.rpartition(b"/")[2]] += 1
            return _printed(len(self.receipts))
        found = _MESSAGE.search(head)
        if found is not None:
            self.messages[found[1]] += 1
        return _OK

    def told(self) -> Answer:
        """Counts since the last time they were asked for, which begin anew."""
        answer = {
            "receipts": self.receipts.total(),
            "distinct_receipts": len(self.receipts),
            "messages": self.messages.total(),
            "distinct_messages": len(self.messages),
        }
        self.receipts.clear()
        self.messages.clear()
        return answer


def _printed(number: int) -> bytes:
    body = json.dumps(
        {
            "doc": {
                "reg_time": "2026-03-02T12:41:08",
                "fiscal_num": number,
                "fiscal_sign": 1_000_000 + number,
                "shift_num": 1,
                "index": number,
            },
            "cashbox": {"fn_num": "9999078902000001", "rn": "0000000001", "factory_num": "1", "ffd": "4"},
            "service": {"receipt_url": "https://receipts.example/1"},
        }
    ).encode()
    return b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Connection(asyncio.Protocol):
    """Reads whole requests, answers each at once."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = b""
        self._write: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = transport  # type: ignore[assignment]  # uvloop's has no common base

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (head := self._buffer.find(_END)) >= 0:
            length = _LENGTH.search(self._buffer, 0, head + 2)
            whole = head + len(_END) + (int(length[1]) if length else 0)
            if len(self._buffer) < whole:
                return
            request, self._buffer = self._buffer[:head], self._buffer[whole:]
            assert self._write is not None
            self._write.write(self._sink.take(request))


async def main(port: int) -> None:
    sink = Sink()

    async def handle(_: Command) -> Answer:
        return sink.told()

    server = await asyncio.get_running_loop().create_server(lambda: Connection(sink), "127.0.0.1", port)
    async with server:
        await serving(handle)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
