"""The context of a source adapter's call, for tests that make the call themselves."""

from typing import Any

import httpx

from app.infra.pace import EvenPace
from app.infra.tokens import Tokens
from app.ports.source import SourceContext


def source_context(
    http: httpx.AsyncClient, credentials: Any, settings: Any, base_url: str | None = None
) -> SourceContext:
    """Without a pace, and with no token yet."""
    return SourceContext(http, base_url, credentials, settings, "Europe/Moscow", "src_0", Tokens(), EvenPace(None))
