"""Which kassas and sources can be connected, and what each wants and can do."""

from typing import Any

from app.domain.errors import NotFound
from app.ports.kassa import KassaDriver
from app.ports.registry import Registry, description
from app.ports.source import SourceAdapter


class Providers:
    """Read off the plug-ins once: they do not change while the program runs."""

    def __init__(self, kassas: Registry[KassaDriver], sources: Registry[SourceAdapter]) -> None:
        self._kassas = [{"kind": "kassa", **description(driver)} for driver in kassas]
        self._sources = [{"kind": "source", **description(adapter)} for adapter in sources]

    def all(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Kassas first, each kind by code; `kind` is `kassa` or `source`."""
        return [one for one in (*self._kassas, *self._sources) if kind in (None, one["kind"])]

    def read(self, code: str) -> dict[str, Any]:
        """One by its code. NotFound names nothing else: the list does."""
        found = next((one for one in self.all() if one["code"] == code), None)
        if found is None:
            raise NotFound("There is no such provider; GET /v1/providers lists them.")
        return found
