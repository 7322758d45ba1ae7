"""Inbound: raw notifications of sources and callbacks of providers.

What can be checked without the network is checked first; then the raw request is stored, answered as its sender
expects, and acted on by a job. A callback is a hint to ask the provider now, and nothing else.
"""

import hashlib
import hmac
import json
from base64 import b64decode, b64encode
from typing import Any
from uuid import UUID

import structlog

from app.db.repos import notifications, sources
from app.db.repos.notifications import Notification
from app.db.repos.settings import SourceRow
from app.db.unit_of_work import Database
from app.domain.backoff import retry_delay
from app.domain.contact import mask_contacts
from app.domain.errors import Busy, Conflict, DuplicateEvent, Invalid, NotFound, SignatureInvalid
from app.infra.crypto import SecretBox, aad
from app.infra.failpoints import Failpoints
from app.infra.http import HttpClients
from app.infra.ids import new_id, parse, public
from app.infra.metrics import Metrics
from app.infra.pace import EvenPace
from app.infra.tokens import Tokens
from app.ports.inbound import InboundReply, InboundRequest
from app.ports.kassa import KassaDriver
from app.ports.registry import Registry
from app.ports.source import Estimate, Parsed, ReadBackFailed, SourceAdapter, SourceContext, Verdict
from app.queue import work
from app.queue.jobs import Job, JobKind
from app.services.intake import Intake
from app.services.known import KnownEvents

log = structlog.get_logger(__name__)


class Inbound:
    """Receives at the edge, acts in the worker."""

    def __init__(
        self,
        *,
        database: Database,
        sources: Registry[SourceAdapter],
        kassas: Registry[KassaDriver],
        intake: Intake,
        http: HttpClients,
        box: SecretBox,
        metrics: Metrics,
        failpoints: Failpoints,
        retry_base_seconds: float = 5.0,
        retry_cap_seconds: float = 600.0,
    ) -> None:
        self._database = database
        self._sources = sources
        self._kassas = kassas
        self._intake = intake
        self._http = http.client()
        self._box = box
        self._metrics = metrics
        self._failpoints = failpoints
        self._base = retry_base_seconds
        self._cap = retry_cap_seconds
        self._tokens: dict[UUID, Tokens] = {}
        self._paces: dict[UUID, EvenPace] = {}

    async def receive(self, source_id: str, part: str, secret: str | None, request: InboundRequest) -> InboundReply:
        """Verify, store, answer. NotFound for an unknown address, SignatureInvalid for what its source cannot have
        sent; when the database is away the sender hears what makes it come again."""
        source = await self._source(source_id)
        adapter = self._sources.get(source.kind)
        if part not in adapter.capabilities.parts:
            raise NotFound("no such address")
        self._check_path(source, secret)
        match adapter.verify(request, self._credentials(source, adapter), self._settings(source, adapter)):
            case Verdict.Forged(reason=reason):
                self._metrics.notifications_received.labels(source.kind, "forged").inc()
                log.warning("inbound.forged", source_id=source_id, part=part, reason=reason)
                raise SignatureInvalid("the signature does not match")
            case _:
                self._metrics.notifications_received.labels(source.kind, "genuine").inc()
        await self._failpoints.hit("inbound.after_signature")
        try:
            await self._store(source, part, request)
        except Busy:
            return adapter.reply(request, stored=False)
        return adapter.reply(request, stored=True)

    async def callback(self, kassa_id: str, secret: str, request: InboundRequest) -> None:
        """Make the poll of the named receipt due; the body is not believed. NotFound for a wrong secret, too."""
        try:
            found = parse("kas", kassa_id)
        except ValueError:
            raise NotFound("no such address") from None
        async with self._database.pipeline() as tx:
            kassa = await notifications.kassa(tx, found)
            digest = hashlib.sha256(secret.encode()).digest()
            if kassa is None or not hmac.compare_digest(kassa.callback_secret_hash, digest):
                raise NotFound("no such address")
            hint = self._kassas.get(kassa.provider).callback_hint(request)
            if hint is not None:
                await notifications.hint(tx, kassa.merchant_id, kassa.id, hint)
                await self._failpoints.hit("callback.before_commit")

    async def run(self, job: Job) -> None:
        """Act on a stored notification."""
        async with self._database.pipeline() as tx:
            notification = await notifications.by_id(tx, job.ref)
            source = None if notification is None else await notifications.source(tx, notification.source_id)
        if notification is None or source is None or notification.status != "received":
            async with self._database.pipeline() as tx:
                await work.finish(tx, job)
            return
        adapter = self._sources.get(source.kind)
        parsed = await adapter.parse(self._request(notification), self._context(source, adapter))
        if isinstance(parsed, ReadBackFailed) and not parsed.final:
            # The sender was told that we have it, so it is asked until it answers, however long it is away.
            async with self._database.pipeline() as tx:
                await work.snooze(tx, job, retry_delay(job.attempt, 0.5, base=self._base, cap=self._cap))
            return
        status, note = await self._act(source, parsed)
        async with self._database.pipeline() as tx:
            if await work.finish(tx, job):
                # A note may quote the notice, and is kept in the open.
                await notifications.finish(tx, notification, status, note and mask_contacts(note))

    async def estimate(self, merchant_id: UUID, source_id: UUID, days: int) -> Estimate:
        """What closing the prepayments of a source would have made in the last `days`, read from the source itself.

        NotFound for anybody else's source, Conflict for one that closes none; SourceUnreachable.
        """
        async with self._database.tenant(merchant_id) as tx:
            source = await sources.by_id(tx, merchant_id, source_id)
        if source is None:
            raise NotFound("There is no such source here.")
        found = None
        if source.kind in self._sources:
            adapter = self._sources.get(source.kind)
            found = await adapter.estimate(days, self._context(source, adapter))
        if found is None:
            raise Conflict("This source closes no prepayments, so there is nothing to estimate.")
        return found

    async def _act(self, source: SourceRow, parsed: Parsed | ReadBackFailed) -> tuple[str, str | None]:
        if isinstance(parsed, ReadBackFailed):
            return "failed", parsed.reason
        if not parsed.events:
            return "ignored", parsed.note
        notes = [*parsed.warnings]
        for event in parsed.events:
            try:
                await self._intake.accept(source.merchant_id, source.id, event, "source", refuse=False)
            except DuplicateEvent as conflict:
                notes.append(f"{event.external_id}: {conflict.detail}")
            except Invalid as wrong:
                notes.append(f"{event.external_id}: {wrong.detail}")
        return "processed", "; ".join(notes) or parsed.note

    async def _source(self, source_id: str) -> SourceRow:
        try:
            found = parse("src", source_id)
        except ValueError:
            raise NotFound("no such address") from None
        async with self._database.pipeline() as tx:
            source = await notifications.source(tx, found)
        if source is None or source.kind == "api" or source.status != "active":
            raise NotFound("no such address")
        return source

    def _check_path(self, source: SourceRow, secret: str | None) -> None:
        if source.path_secret_hash is None:
            if secret is not None:
                raise NotFound("no such address")
            return
        digest = hashlib.sha256((secret or "").encode()).digest()
        if not hmac.compare_digest(source.path_secret_hash, digest):
            raise SignatureInvalid("the secret of the address does not match")

    async def _store(self, source: SourceRow, part: str, request: InboundRequest) -> None:
        raw = json.dumps(
            {
                "method": request.method,
                "query": request.query,
                "headers": {k: v for k, v in request.headers.items() if k not in _NOT_KEPT},
                "body": b64encode(request.body).decode(),
            }
        ).encode()
        row_id = new_id()
        digest = hashlib.sha256(b"\n".join((request.method.encode(), request.query.encode(), request.body))).digest()
        sealed = self._box.seal(raw, aad("notifications", "raw", source.merchant_id, row_id))
        async with self._database.pipeline() as tx:
            stored = await notifications.add(tx, row_id, source, part, digest, sealed)
            if stored is not None:
                await work.enqueue(tx, JobKind.INBOUND, source.id, stored)

    def _request(self, notification: Notification) -> InboundRequest:
        stored: dict[str, Any] = json.loads(
            self._box.open(notification.raw, aad("notifications", "raw", notification.merchant_id, notification.id))
        )
        return InboundRequest(
            method=stored["method"],
            part=notification.part,
            query=stored["query"],
            headers=stored["headers"],
            body=b64decode(stored["body"]),
        )

    def _context(self, source: SourceRow, adapter: SourceAdapter) -> SourceContext:
        return SourceContext(
            http=self._http,
            base_url=source.base_url or adapter.default_base_url,
            credentials=self._credentials(source, adapter),
            settings=self._settings(source, adapter),
            timezone="Europe/Moscow",
            source_id=public("src", source.id),
            tokens=self._tokens.setdefault(source.id, Tokens()),
            pace=self._paces.setdefault(source.id, EvenPace(adapter.capabilities.requests_per_second)),
            known=KnownEvents(self._database, source.merchant_id, source.id),
        )

    def _credentials(self, source: SourceRow, adapter: SourceAdapter) -> Any:
        if source.credentials is None:
            return None
        opened = self._box.open(source.credentials, aad("sources", "credentials", source.merchant_id, source.id))
        return adapter.Credentials.model_validate_json(opened)

    def _settings(self, source: SourceRow, adapter: SourceAdapter) -> Any:
        return adapter.Settings.model_validate(source.settings)


_NOT_KEPT = frozenset({"authorization", "cookie"})
