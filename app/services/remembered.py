"""Look-ups believed for some seconds: those who ask for the same at once share one, and what was forgotten stays so."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Remembered(Generic[Key, Value]):
    """At most `most` values by key, each for `seconds`; the one not asked for longest gives way."""

    def __init__(self, seconds: float, most: int = 10_000) -> None:
        self._seconds = seconds
        self._most = most
        self._known: OrderedDict[Key, tuple[float, Value]] = OrderedDict()
        self._asking: dict[Key, asyncio.Task[Value | None]] = {}

    async def get(self, key: Key, look_up: Callable[[Key], Awaitable[Value | None]]) -> Value | None:
        """The value, looked up when it is not known or too old; what the look-up raises, all who wait for it hear.

        None (there is no such thing) is not remembered.
        """
        known = self.peek(key)
        if known is not None:
            return known
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._ask(key, look_up), name="look-up")
        # One caller that is cancelled takes the answer from nobody else.
        return await asyncio.shield(asking)

    def peek(self, key: Key) -> Value | None:
        """The value if it is known and not too old."""
        known = self._known.get(key)
        return known[1] if known is not None and known[0] > time.monotonic() else None

    def put(self, key: Key, value: Value) -> None:
        """What was just read."""
        self._known[key] = (time.monotonic() + self._seconds, value)
        self._known.move_to_end(key)
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def forget(self, key: Key) -> None:
        """The next one who asks looks it up anew; a look-up that is on its way is not remembered."""
        self._known.pop(key, None)
        self._asking.pop(key, None)

    def forget_where(self, wrong: Callable[[Value], bool]) -> None:
        """Forget every value of which this is true, and every look-up that is on its way: it may be such a one."""
        for key in [key for key, (_, value) in self._known.items() if wrong(value)]:
            del self._known[key]
        self._asking.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.forget_where(lambda _: True)

    async def _ask(self, key: Key, look_up: Callable[[Key], Awaitable[Value | None]]) -> Value | None:
        me = asyncio.current_task()
        try:
            value = await look_up(key)
            if value is not None and self._asking.get(key) is me:
                self.put(key, value)
            return value
        finally:
            if self._asking.get(key) is me:
                del self._asking[key]
