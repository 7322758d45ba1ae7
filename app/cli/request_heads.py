"""Heads of requests that have an end: uvicorn waits for one for ever and keeps all of it, whoever sends it."""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_BYTES: Final = 64 * 1024
SECONDS: Final = 30.0


class BoundedHeads(HttpToolsProtocol):
    """A connection whose request's head is longer than `most_bytes`, or not there after `seconds`, is ended.

    What comes whole in one read of the socket is never counted: the price of a usual request stays what it is.
    """

    most_bytes = MOST_BYTES
    seconds = SECONDS

    _size = 0
    _wanted = True
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.seconds, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._wanted or self.transport.is_closing():
            return
        self._size += len(data)
        if self._size > self.most_bytes:
            self.send_400_response("The head of the request is too large.")
        elif self._timer is None:
            self._timer = self.loop.call_later(self.seconds, self._late)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._size, self._wanted = 0, True

    def on_headers_complete(self) -> None:
        self._wanted = False
        self._in_time()
        super().on_headers_complete()

    def _in_time(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        self.transport.close()
