"""Tokens of one counterpart's API in this process, forgotten when their time is over."""

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tokens:
    """What `app.ports.tokens` asks for; of one kassa or source."""

    _kept: dict[str, tuple[float, str]] = field(default_factory=dict)

    def get(self, key: str) -> str | None:
        kept = self._kept.get(key)
        return kept[1] if kept and kept[0] > time.monotonic() else None

    def put(self, key: str, token: str, seconds: float) -> None:
        self._kept[key] = (time.monotonic() + seconds, token)

    def drop(self, key: str) -> None:
        self._kept.pop(key, None)
