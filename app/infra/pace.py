"""At most so many calls a second, spread evenly, for the callers of one process."""

import asyncio
import time


class EvenPace:
    """Gives turns `1 / per_second` apart, in the order of asking; None: at once."""

    def __init__(self, per_second: float | None) -> None:
        self._gap = 0.0 if per_second is None else 1.0 / per_second
        self._next = 0.0

    async def turn(self) -> None:
        """Wait until one more call may be made."""
        now = time.monotonic()
        mine = max(now, self._next)
        self._next = mine + self._gap
        if mine > now:
            await asyncio.sleep(mine - now)
