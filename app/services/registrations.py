"""Registering a source at its counterpart by its own API, where the adapter can; doing it again changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.domain.errors import Conflict, ProviderNotConfigured
from app.infra.http import HttpClients
from app.infra.ids import public
from app.infra.pace import EvenPace
from app.infra.tokens import Tokens
from app.ports.registration import registers
from app.ports.registry import Registry
from app.ports.source import SourceAdapter, SourceContext
from app.services.sealed import checked
from app.services.sources import NewSource, Sources, SourceView

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Registered:
    """The source, whether it is new, and what its counterpart still wants of a person."""

    source: SourceView
    fresh: bool
    next_steps: tuple[str, ...]


class Registrations:
    """`public_url` is how the counterpart reaches this installation; without one there is nothing to register."""

    def __init__(
        self, sources: Sources, adapters: Registry[SourceAdapter], http: HttpClients, public_url: str | None
    ) -> None:
        self._sources = sources
        self._adapters = adapters
        self._http = http.client()
        self._public_url = public_url

    async def register(
        self,
        actor: str,
        merchant_id: UUID,
        code: str,
        wish: Mapping[str, Any],
        *,
        name: str,
        source_id: UUID | None = None,
        kassa_id: UUID | None = None,
        branch_id: UUID | None = None,
    ) -> Registered:
        """Create the source, or bring the one there is up to date, and enter its addresses in the counterpart.

        The secret in the addresses stays while the counterpart still has it; otherwise a new one is made. NotValid
        for a wish that the adapter refuses, Conflict where it is not clear which source is meant, RegistrationFailed
        when the counterpart does not take it: then the same call may be repeated.
        """
        adapter = self._adapters.get(code)
        if not registers(adapter):
            raise ProviderNotConfigured(f"{adapter.title} cannot be registered from here: enter the addresses by hand.")
        if self._public_url is None:
            raise Conflict("KASSA_PUBLIC_URL is not set: say under which https address this program is reached.")
        asked = checked(adapter.Registration, wish, "#")
        if source_id is None:
            source_id = await self._only(merchant_id, code)
        fresh = source_id is None
        if source_id is None:
            credentials, settings = adapter.connection(asked, None)
            new = NewSource(
                code, name, credentials, settings, {}, kassa_id=kassa_id, branch_id=branch_id, path_secret=True
            )
            view = await self._sources.create(actor, merchant_id, new)
            context = self._context(adapter, view, credentials)
        else:
            known = await self._sources.connection(merchant_id, source_id)
            credentials, settings = adapter.connection(asked, self._models(adapter, *known))
            place = {"kassa_id": kassa_id, "branch_id": branch_id}
            changes: dict[str, Any] = {member: value for member, value in place.items() if value is not None}
            changes |= {"credentials": credentials, "settings": settings}
            view = await self._sources.read(merchant_id, source_id)
            context = self._context(adapter, view, credentials, settings)
            told = await adapter.registered(asked, context) or {}
            kept = self._sources.whole_addresses(view.source, told.values())
            view = await self._sources.change(
                actor, merchant_id, source_id, changes if kept else {**changes, "path_secret": True}
            )
            view = view if kept is None else SourceView(view.source, kept, view.fallback_contact)
        steps = await adapter.register(asked, {one.part: one.url for one in view.addresses}, context)
        return Registered(view, fresh, steps)

    async def _only(self, merchant_id: UUID, code: str) -> UUID | None:
        found: list[SourceView] = []
        before = None
        while page := await self._sources.page(merchant_id, before, _PAGE):
            found += [one for one in page if one.source.kind == code]
            before = (page[-1].source.created_at, page[-1].source.id)
        if len(found) > 1:
            raise Conflict(f"There are {len(found)} sources of the kind {code}: name one by its id.")
        return found[0].source.id if found else None

    def _models(self, adapter: Any, credentials: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Any, Any]:
        return adapter.Credentials.model_validate(credentials), adapter.Settings.model_validate(settings)

    def _context(
        self,
        adapter: Any,
        view: SourceView,
        credentials: Mapping[str, Any],
        settings: Mapping[str, Any] | None = None,
    ) -> SourceContext:
        opened, known = self._models(adapter, credentials, view.source.settings if settings is None else settings)
        return SourceContext(
            http=self._http,
            base_url=view.source.base_url or adapter.default_base_url,
            credentials=opened,
            settings=known,
            timezone="Europe/Moscow",
            source_id=public("src", view.source.id),
            tokens=Tokens(),
            pace=EvenPace(adapter.capabilities.requests_per_second),
        )
