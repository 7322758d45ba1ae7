"""What an adapter is handed for a call: client, opened credentials, settings, zone; tokens and pace of each source."""

from typing import Any
from uuid import UUID

from app.db.repos.settings import SourceRow
from app.db.unit_of_work import Database
from app.domain.errors import Busy
from app.infra.crypto import SecretBox, aad
from app.infra.http import HttpClients
from app.infra.ids import public
from app.infra.pace import EvenPace
from app.infra.tokens import Tokens
from app.ports.registry import Registry
from app.ports.source import SourceAdapter, SourceContext
from app.services.catalog import Catalog
from app.services.known import KnownEvents

_ZONE = "Europe/Moscow"


class SourceContexts:
    """One of a process: all calls of one source share its tokens and keep its pace."""

    def __init__(
        self,
        database: Database,
        adapters: Registry[SourceAdapter],
        catalog: Catalog,
        http: HttpClients,
        box: SecretBox,
    ) -> None:
        self.adapters = adapters
        self._database = database
        self._catalog = catalog
        self._http = http.client()
        self._box = box
        self._tokens: dict[UUID, Tokens] = {}
        self._paces: dict[UUID, EvenPace] = {}

    async def of(self, source: SourceRow, *, present: bool = True) -> SourceContext:
        """The context of a call. `present` false: the database is away and not asked; then the zone is Moscow's."""
        adapter = self.adapters.get(source.kind)
        return SourceContext(
            http=self._http,
            base_url=source.base_url or adapter.default_base_url,
            credentials=self.credentials(source),
            settings=self.settings(source),
            timezone=await self.zone(source) if present else _ZONE,
            source_id=public("src", source.id),
            tokens=self._tokens.setdefault(source.id, Tokens()),
            pace=self._paces.setdefault(source.id, EvenPace(adapter.capabilities.requests_per_second)),
            known=KnownEvents(self._database, source.merchant_id, source.id),
        )

    def credentials(self, source: SourceRow) -> Any:
        """As the adapter's model knows them; None where there are none."""
        if source.credentials is None:
            return None
        opened = self._box.open(source.credentials, aad("sources", "credentials", source.merchant_id, source.id))
        return self.adapters.get(source.kind).Credentials.model_validate_json(opened)

    def settings(self, source: SourceRow) -> Any:
        """The same for its settings."""
        return self.adapters.get(source.kind).Settings.model_validate(source.settings)

    async def zone(self, source: SourceRow) -> str:
        """Of the source's branch, else of the kassa that its receipts go to."""
        try:
            known = await self._catalog.merchant(source.merchant_id)
        except Busy:
            return _ZONE
        branch = known.branches.get(source.branch_id) if source.branch_id else None
        if branch is not None and branch.timezone is not None:
            return branch.timezone
        kassa = known.route(source, branch)
        return _ZONE if kassa is None else kassa.timezone
