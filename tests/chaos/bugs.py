"""Mistakes that people make, planted on purpose: each of them must turn a run red.

Planted by `tests.chaos.nursery` into a process of a test; the program itself knows nothing of them.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx

BUGS: dict[str, tuple[str, Callable[[], None]]] = {}
"""Name → what is wrong, and how it is planted."""

SCHEMA = {
    "select_then_insert": (
        "ALTER TABLE event_identities DROP CONSTRAINT pk_event_identities",
        "ALTER TABLE receipts DROP CONSTRAINT uq_receipts_provider_id",
    )
}
"""What such code would not have in its database either."""


def plant(name: str) -> None:
    """Make this process wrong. KeyError for a bug that is none of ours."""
    BUGS[name][1]()


async def prepare(name: str, database_url: str) -> None:
    """The database as it would be under this bug."""
    connection = await asyncpg.connect(database_url)
    try:
        for statement in SCHEMA.get(name, ()):
            await connection.execute(statement)
    finally:
        await connection.close()


def _replace(owner: Any, name: str, other: Any) -> None:
    """AttributeError where the program has changed and there is nothing to replace: a bug must not miss in silence."""
    getattr(owner, name)
    setattr(owner, name, other)


def _bug(what: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def register(planting: Callable[[], None]) -> Callable[[], None]:
        BUGS[planting.__name__] = (what, planting)
        return planting

    return register


@_bug("an unknown outcome is sent again without asking")
def resend_without_lookup() -> None:
    from app.domain.decide import LookupClass
    from app.services import fiscalize, reconcile

    for module in (reconcile, fiscalize):  # the second one asks once more before it sends
        _replace(module, "lookup_class", lambda *_, **__: LookupClass.C)


@_bug("every attempt has a provider id of its own")
def new_id_per_attempt() -> None:
    from app.infra.ids import new_id
    from app.kassas.digitalkassa import DigitalkassaDriver

    submit = DigitalkassaDriver.submit

    async def with_new_id(self: Any, provider_id: str, receipt: Any, context: Any) -> Any:
        return await submit(self, new_id().hex, receipt, context)

    _replace(DigitalkassaDriver, "submit", with_new_id)


@_bug("a repeat is looked for first and then stored, without a constraint")
def select_then_insert() -> None:
    from app.db.group_commit import GroupCommitter
    from app.db.records import Accepted
    from app.queue import accept

    submit = GroupCommitter.submit
    known = (
        "SELECT event_id, content_hash FROM event_identities"
        " WHERE merchant_id = $1 AND source_id = $2 AND type = $3 AND external_id = $4"
    )

    async def looked_up_first(self: Any, row: Any) -> Any:
        if self.name != "intake":
            return await submit(self, row)
        event = row.event
        async with self._database.raw() as connection:
            found = await connection.fetchrow(known, event.merchant_id, event.source_id, event.type, event.external_id)
        if found is not None:
            same = found["content_hash"] == event.content_hash
            return Accepted(found["event_id"], fresh=False, same_content=same)
        return await submit(self, row)

    _replace(GroupCommitter, "submit", looked_up_first)
    _replace(accept, "_identity", lambda event: (event.id,))


@_bug("the answer goes out before the commit")
def answer_before_commit() -> None:
    from app.db.group_commit import GroupCommitter
    from app.db.records import Accepted

    submit = GroupCommitter.submit
    kept: set[asyncio.Task[Any]] = set()

    async def answered_at_once(self: Any, row: Any) -> Any:
        if self.name != "intake":
            return await submit(self, row)

        async def later() -> None:
            await asyncio.sleep(0.3)
            await submit(self, row)

        task = asyncio.create_task(later())
        kept.add(task)
        task.add_done_callback(kept.discard)
        return Accepted(row.event.id, fresh=True, linked=False)

    _replace(GroupCommitter, "submit", answered_at_once)


@_bug("the webhook is sent inside the transaction")
def webhook_in_transaction() -> None:
    from app import runtime
    from app.infra.crypto import aad
    from app.keys import Keys
    from app.outbound.signing import sign
    from app.queue.settle import settle
    from app.settings import Settings

    box = Keys.load(Settings(), generate_in=None).box
    addressed = (
        "SELECT w.id, w.merchant_id, w.url, w.secret FROM message_endpoints e"
        " JOIN webhook_endpoints w ON w.id = e.endpoint_id WHERE e.message_id = $1"
    )

    async def settle_and_tell(connection: asyncpg.Connection, batch: Sequence[Any]) -> Any:
        verdicts = await settle(connection, batch)
        async with httpx.AsyncClient(timeout=1) as http:
            for one in batch:
                for row in await connection.fetch(addressed, one.message_id):
                    where = aad("webhook_endpoints", "secret", row["merchant_id"], row["id"])
                    secret = box.open(row["secret"], where).decode()
                    name, at = f"msg_{one.message_id.hex}", int(datetime.now(UTC).timestamp())
                    headers = {"webhook-id": name, "webhook-timestamp": str(at)}
                    headers["webhook-signature"] = sign([secret], name, at, one.message_body)
                    try:
                        await http.post(row["url"], content=one.message_body, headers=headers)
                    except httpx.HTTPError:
                        continue
        return verdicts

    _replace(runtime, "settle", settle_and_tell)


@_bug("a worker that lost its lease still writes")
def no_lease_fence() -> None:
    from app.queue import settle

    fenced = settle._SETTLE
    free = fenced.replace(" AND locked.lease_token IS NOT DISTINCT FROM j.lease_token", "")
    free = free.replace("\n    AND r.status = s.expected_status AND r.sequence = s.expected_sequence", "")
    assert len(free) < len(fenced) - 80, "the statement has changed: the fence was not found"
    _replace(settle, "_SETTLE", free)


@_bug("a 5xx is taken for a final refusal")
def server_error_is_final() -> None:
    from app.domain.outcome import Rejected, Unknown
    from app.kassas.digitalkassa import DigitalkassaDriver

    submit = DigitalkassaDriver.submit

    async def judged(self: Any, provider_id: str, receipt: Any, context: Any) -> Any:
        outcome = await submit(self, provider_id, receipt, context)
        if isinstance(outcome, Unknown) and outcome.reason.startswith("HTTP 5"):
            return Rejected("refused_other")
        return outcome

    _replace(DigitalkassaDriver, "submit", judged)


@_bug("a refusal is tried again")
def refusal_is_retried() -> None:
    from app.domain.outcome import Rejected, Unavailable
    from app.kassas.digitalkassa import DigitalkassaDriver

    submit = DigitalkassaDriver.submit

    async def judged(self: Any, provider_id: str, receipt: Any, context: Any) -> Any:
        outcome = await submit(self, provider_id, receipt, context)
        return Unavailable("wire_not_sent") if isinstance(outcome, Rejected) else outcome

    _replace(DigitalkassaDriver, "submit", judged)


@_bug('one "not found" is enough, at once')
def absence_at_once() -> None:
    from app.domain.decide import LookupMoment
    from app.services import reconcile

    _replace(reconcile, "lookup_moment", lambda *_, **__: LookupMoment(visible=True, confirmed=True))


@_bug("a callback's body is believed")
def callback_is_believed() -> None:
    from app.services.inbound import Inbound

    callback = Inbound.callback
    believed = (
        "UPDATE receipts SET status = 'fiscalized', fn = $2, fd = $3, fpd = $4"
        " WHERE provider_id = $1 AND status IN ('queued', 'sending', 'accepted', 'unknown')"
    )

    async def trusting(self: Any, kassa_id: str, secret: str, request: Any) -> None:
        await callback(self, kassa_id, secret, request)
        told = json.loads(request.body)
        hint = httpx.QueryParams(request.query).get("receipt")
        doc = told["doc"]
        async with self._database.raw() as connection:
            await connection.execute(
                believed, hint, told["cashbox"]["fn_num"], doc["fiscal_num"], str(doc["fiscal_sign"])
            )

    _replace(Inbound, "callback", trusting)


@_bug("the outbox row is closed before the webhook was taken")
def closed_before_delivery() -> None:
    from app.db.repos import outbox
    from app.outbound.sender import send
    from app.queue import work
    from app.services.deliver import Deliver

    async def run(self: Any, job: Any, parcel: Any) -> None:
        async with self._database.pipeline() as tx:
            if not await work.finish(tx, job):
                return
            await outbox.set_status(tx, parcel, "delivered", parcel.attempts + 1)
        name = f"msg_{parcel.message_id.hex}"
        await send(
            self._http,
            parcel.url,
            name,
            parcel.body,
            self._secrets(parcel),
            self._clock.now(),
            timeout=self._timeout,
        )

    _replace(Deliver, "run", run)


@_bug("a repeat under one key is answered by writing the answer anew")
def replay_writes_anew() -> None:
    from dataclasses import replace

    from app.services.idempotency import Idempotency

    replay = Idempotency._replay

    def anew(self: Any, *about: Any) -> Any:
        answer = replay(self, *about)
        return replace(answer, body=json.dumps(json.loads(answer.body)).encode())

    _replace(Idempotency, "_replay", anew)
