"""Short-lived tokens of a counterpart's API, kept between calls for the plug-in that fetched them."""

from typing import Protocol


class TokenCache(Protocol):
    """Shared by the calls of one kassa or source in one process; a token counts for `seconds` from now."""

    def get(self, key: str) -> str | None: ...

    def put(self, key: str, token: str, seconds: float) -> None: ...

    def drop(self, key: str) -> None: ...
