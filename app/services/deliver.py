"""Deliver: sign one message, post it, record what came of it, and decide when it is posted again."""

import random

import structlog

from app.db.repos import outbox
from app.db.repos.outbox import Parcel, Try
from app.db.unit_of_work import Database, Tx
from app.domain.backoff import delivery_delay
from app.domain.contact import mask_contacts
from app.infra.clock import DatabaseClock
from app.infra.crypto import SecretBox, aad
from app.infra.failpoints import Failpoints
from app.infra.http import HttpClients
from app.infra.ids import new_id
from app.infra.metrics import Metrics, labelled
from app.infra.tracing import Tracing
from app.outbound.sender import Delivered, Gone, Retry, SendResult, send
from app.queue import work
from app.queue.endings import Posted
from app.queue.jobs import Job
from app.services import traces
from app.services.alerts import endpoint_disabled
from app.services.endings import Endings

log = structlog.get_logger(__name__)

DISABLE_AFTER_SECONDS = 5 * 86_400.0
"""An endpoint that took nothing for five days is switched off and its merchant told."""


class Deliver:
    """Runs deliver jobs."""

    def __init__(
        self,
        *,
        database: Database,
        http: HttpClients,
        box: SecretBox,
        clock: DatabaseClock,
        failpoints: Failpoints,
        timeout_seconds: float,
        metrics: Metrics,
        endings: Endings,
        tracing: Tracing,
        rng: random.Random | None = None,
    ) -> None:
        self._database = database
        self._endings = endings
        self._tracing = tracing
        self._http = http.client(max_body=64 * 1024, deadline=timeout_seconds)
        self._box = box
        self._clock = clock
        self._metrics = metrics
        self._failpoints = failpoints
        self._timeout = timeout_seconds
        self._rng = rng or random.Random()  # noqa: S311

    async def run(self, job: Job, parcel: Parcel) -> None:
        """One post. At least once: a worker that dies after it posts again, under the same message id."""
        if parcel.endpoint_status != "active" or parcel.status in ("delivered", "exhausted"):
            async with self._database.pipeline() as tx:
                if await work.finish(tx, job) and parcel.status == "pending":
                    await outbox.set_status(tx, parcel, "skipped", parcel.attempts)
            return
        await self._failpoints.hit("webhook.before_send")
        with traces.delivery(self._tracing, parcel) as span:
            result = await send(
                self._http,
                parcel.url,
                f"msg_{parcel.message_id.hex}",
                parcel.body,
                self._secrets(parcel),
                self._clock.now(),
                timeout=self._timeout,
                traceparent=span.traceparent,
            )
            traces.tell_delivery(span, result)
        await self._failpoints.hit("webhook.after_send_before_commit")
        labelled(self._metrics.webhook_deliveries, type(result).__name__.lower()).inc()
        self._metrics.webhook_delivery_seconds.observe(result.seconds)
        await self._settle(job, parcel, result)

    def _secrets(self, parcel: Parcel) -> list[str]:
        """The present secret first; the previous one too while the merchant changes over."""
        where = ("webhook_endpoints", "secret")
        secrets = [self._box.open(parcel.secret, aad(*where, parcel.merchant_id, parcel.endpoint_id)).decode()]
        until = parcel.previous_secret_until
        if parcel.previous_secret is not None and until is not None and until > self._clock.now():
            old = self._box.open(
                parcel.previous_secret,
                aad("webhook_endpoints", "previous_secret", parcel.merchant_id, parcel.endpoint_id),
            )
            secrets.append(old.decode())
        return secrets

    async def _settle(self, job: Job, parcel: Parcel, result: SendResult) -> None:
        match result:
            case Delivered(status=status):
                await self._endings.post(
                    self._posted(job, parcel, result.seconds, "delivered", "delivered", status=status)
                )
            case Gone(status=status):
                async with self._database.pipeline() as tx:
                    if not await work.finish(tx, job):
                        return
                    await outbox.record(tx, parcel, Try("gone", status, "410 Gone", None, round(result.seconds * 1000)))
                    await outbox.set_status(tx, parcel, "exhausted", parcel.attempts + 1)
                    await self._disable(tx, parcel, "gone")
            case _:
                await self._failed(job, parcel, result)

    async def _failed(self, job: Job, parcel: Parcel, result: Retry) -> None:
        delay = delivery_delay(parcel.attempts + 1, self._rng.random())
        again = None if delay is None else max(delay, result.retry_after_seconds or 0.0)
        ended = await self._endings.post(
            self._posted(
                job,
                parcel,
                result.seconds,
                "failed",
                "pending" if again is not None else "exhausted",
                again=again,
                status=result.status,
                reason=result.reason,
                # Their error page may repeat the order's buyer; the log of deliveries is kept in the open.
                head=mask_contacts(result.response_head),
            )
        )
        if ended.failing_seconds > DISABLE_AFTER_SECONDS:
            async with self._database.pipeline() as tx:
                await self._disable(tx, parcel, "failing_for_5_days")

    @staticmethod
    def _posted(
        job: Job,
        parcel: Parcel,
        seconds: float,
        outcome: str,
        state: str,
        *,
        again: float | None = None,
        status: int | None = None,
        reason: str | None = None,
        head: str | None = None,
    ) -> Posted:
        return Posted(
            job_id=job.id,
            lease_token=job.lease_token,
            attempt=job.attempt,
            again_seconds=again,
            delivery_id=new_id(),
            parcel_id=parcel.id,
            merchant_id=parcel.merchant_id,
            message_id=parcel.message_id,
            endpoint_id=parcel.endpoint_id,
            status=state,
            attempts=parcel.attempts + 1,
            outcome=outcome,
            response_status=status,
            reason=reason,
            response_head=head,
            duration_ms=round(seconds * 1000),
            failed=outcome == "failed",
            recovered=outcome == "delivered" and parcel.failing_since is not None,
        )

    async def _disable(self, tx: Tx, parcel: Parcel, reason: str) -> None:
        if await outbox.disable(tx, parcel.endpoint_id, reason):
            log.warning("endpoint.disabled", endpoint_id=str(parcel.endpoint_id), reason=reason)
            await endpoint_disabled(tx, parcel.merchant_id, parcel.endpoint_id, parcel.url, reason)
