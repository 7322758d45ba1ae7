"""Inbound: raw notifications of sources and callbacks of providers.

What can be checked without the network is checked first; then the raw request is stored, answered as its sender
expects, and acted on by a job, or, where it wants to hear what stands now, acted on at once. A callback is a hint to
ask the provider now, and nothing else.
"""

import contextlib
import hashlib
import hmac
import json
import time
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
from app.domain.event import EventStatus
from app.infra.crypto import SecretBox, aad
from app.infra.failpoints import Failpoints
from app.infra.ids import new_id, parse, public
from app.infra.metrics import Metrics
from app.ports.inbound import InboundReply, InboundRequest
from app.ports.kassa import KassaDriver
from app.ports.registry import Registry
from app.ports.source import Estimate, Parsed, ReadBackFailed, SourceAdapter, Verdict
from app.queue import work
from app.queue.jobs import Job, JobKind
from app.services.actions import Actions
from app.services.alarms import contradicted, raise_alarm
from app.services.desk import SourceDesk
from app.services.intake import Intake
from app.services.known_sources import KnownSources
from app.services.source_contexts import SourceContexts

log = structlog.get_logger(__name__)


class Inbound:
    """Receives at the edge, acts in the worker."""

    def __init__(
        self,
        *,
        database: Database,
        contexts: SourceContexts,
        known: KnownSources,
        kassas: Registry[KassaDriver],
        intake: Intake,
        actions: Actions,
        box: SecretBox,
        metrics: Metrics,
        failpoints: Failpoints,
        retry_base_seconds: float = 5.0,
        retry_cap_seconds: float = 600.0,
    ) -> None:
        self._database = database
        self._contexts = contexts
        self._known = known
        self._kassas = kassas
        self._intake = intake
        self._actions = actions
        self._box = box
        self._metrics = metrics
        self._failpoints = failpoints
        self._base = retry_base_seconds
        self._cap = retry_cap_seconds
        # By source; only those that exist come so far.
        self._forgeries: dict[UUID, tuple[float, int]] = {}

    async def receive(self, source_id: str, part: str, secret: str | None, request: InboundRequest) -> InboundReply:
        """Verify; then store and answer, or answer what stands now.

        NotFound for an unknown address, SignatureInvalid for what its source cannot have sent, unless its adapter says
        no in words of its own. When the database is away the sender hears what makes it come again; Busy where even
        the kind of the source is not known.
        """
        source, present = await self._source(source_id)
        adapter = self._contexts.adapters.get(source.kind)
        if part not in adapter.capabilities.parts:
            raise NotFound("no such address")
        reason = self._forged(source, adapter, secret, request)
        if reason is not None:
            self._metrics.notifications_received.labels(source.kind, "forged").inc()
            self._tell_forged(source, part, reason)
            refusal = adapter.refuse(request, reason)
            if refusal is None:
                raise SignatureInvalid("the signature does not match")
            return refusal
        self._metrics.notifications_received.labels(source.kind, "genuine").inc()
        await self._failpoints.hit("inbound.after_signature")
        if part in adapter.capabilities.live_parts:
            return await self._answer(source, adapter, request, present=present)
        try:
            await self._store(source, part, request)
        except Busy:
            return adapter.reply(request, stored=False)
        return adapter.reply(request, stored=True)

    def _tell_forged(self, source: SourceRow, part: str, reason: str) -> None:
        """One line a minute for each source: a flood of which nothing is stored must not fill the disk with lines."""
        now = time.monotonic()
        told_at, more = self._forgeries.get(source.id, (-_QUIET_SECONDS, 0))
        if now - told_at < _QUIET_SECONDS:
            self._forgeries[source.id] = told_at, more + 1
            return
        self._forgeries[source.id] = now, 0
        log.warning("inbound.forged", source_id=public("src", source.id), part=part, reason=reason, untold=more)

    def _forged(
        self, source: SourceRow, adapter: SourceAdapter, secret: str | None, request: InboundRequest
    ) -> str | None:
        """Why it is not believed; None: it is, or will be when it is read back."""
        if not self._right_path(source, secret):
            return "the secret of the address does not match"
        match adapter.verify(request, self._contexts.credentials(source), self._contexts.settings(source)):
            case Verdict.Forged(reason=reason):
                return reason
            case _:
                return None

    async def _answer(
        self, source: SourceRow, adapter: SourceAdapter, request: InboundRequest, *, present: bool
    ) -> InboundReply:
        """An adapter that fails is a bug; its sender hears the answer that claims nothing."""
        desk = SourceDesk(self._database, self._intake, self._actions, source)
        try:
            reply = await adapter.answer(request, desk, await self._contexts.of(source, present=present))
        except Exception:
            log.exception("inbound.answer_failed", kind=source.kind, part=request.part)
            nothing = adapter.away(request.part)
            if nothing is None:
                raise
            return nothing
        if present:
            await self._heard(source)
        return reply

    async def _heard(self, source: SourceRow) -> None:
        with contextlib.suppress(Busy):
            async with self._database.pipeline() as tx:
                await notifications.heard(tx, source)

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
        adapter = self._contexts.adapters.get(source.kind)
        parsed = await adapter.parse(self._request(notification), await self._contexts.of(source))
        if isinstance(parsed, ReadBackFailed) and not parsed.final:
            # The sender was told that we have it, so it is asked until it answers, however long it is away.
            async with self._database.pipeline() as tx:
                await work.snooze(tx, job, retry_delay(job.attempt, 0.5, base=self._base, cap=self._cap))
                await notifications.waits(tx, notification, mask_contacts(parsed.reason))
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
        if source.kind in self._contexts.adapters:
            adapter = self._contexts.adapters.get(source.kind)
            found = await adapter.estimate(days, await self._contexts.of(source))
        if found is None:
            raise Conflict("This source closes no prepayments, so there is nothing to estimate.")
        return found

    async def _act(self, source: SourceRow, parsed: Parsed | ReadBackFailed) -> tuple[str, str | None]:
        """Status and note of the notice: `processed` if any of its events was taken, `refused` if none could be."""
        if isinstance(parsed, ReadBackFailed):
            return "failed", parsed.reason
        taken, notes = 0, [*parsed.warnings]
        for event in parsed.events:
            try:
                answer = await self._intake.accept(source.merchant_id, source.id, event, "source", refuse=False)
            except DuplicateEvent as conflict:
                notes.append(f"{event.external_id}: {conflict.detail}")
                async with self._database.pipeline() as tx:
                    await contradicted(tx, source.merchant_id, source.id, event)
            except Invalid as wrong:
                notes.append(f"{event.external_id}: {wrong.detail}")
            else:
                if answer.status is EventStatus.REFUSED:
                    notes.append(f"{event.external_id}: {'; '.join(answer.findings)}")
                else:
                    taken += 1
        for alarm in parsed.alarms:
            notes.append(f"{alarm.external_id}: {alarm.reason}")
            async with self._database.pipeline() as tx:
                await raise_alarm(tx, source.merchant_id, source.id, alarm)
        note = "; ".join(notes) or parsed.note
        if parsed.events and not taken:
            return "refused", note
        return ("processed" if parsed.events or parsed.alarms else "ignored"), note

    async def _source(self, source_id: str) -> tuple[SourceRow, bool]:
        try:
            found = parse("src", source_id)
        except ValueError:
            raise NotFound("no such address") from None
        source, present = await self._known.get(found)
        if source is None or source.kind == "api" or source.status != "active":
            raise NotFound("no such address")
        return source, present

    def _right_path(self, source: SourceRow, secret: str | None) -> bool:
        """NotFound for a secret in the address of a source that has none."""
        if source.path_secret_hash is None:
            if secret is not None:
                raise NotFound("no such address")
            return True
        digest = hashlib.sha256((secret or "").encode()).digest()
        return hmac.compare_digest(source.path_secret_hash, digest)

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


_QUIET_SECONDS = 60.0
_NOT_KEPT = frozenset({"authorization", "cookie"})
