"""Idempotency keys: the first request with a key is carried out, every later one hears the same answer again.

The key's row is held by an open transaction while the work runs; the work itself is idempotent by an identity derived
from the key, so that a crash between the two repeats it without doing it twice.
"""

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import rfc8785

from app.db.repos import idempotency as repo
from app.db.unit_of_work import Database
from app.domain.errors import Busy, KassaError, KeyReused, RequestInProgress
from app.infra.crypto import CannotOpen, SecretBox, aad
from app.infra.metrics import Metrics

RETENTION_SECONDS = 7 * 86_400.0
"""How long an answer is replayed. The work's own identity never expires."""

_CANONICAL = re.compile(r"[A-Za-z0-9_\-.:~+/=]{1,255}")
_QUOTED = re.compile(r'"([^"]*)"\s*(?:;.*)?')
_PATIENCE_SECONDS = 5.0


class KeyMissing(KassaError):
    """This request needs an Idempotency-Key."""

    code = "idempotency-key-missing"


class KeyInvalid(KassaError):
    """An Idempotency-Key that is not one."""

    code = "idempotency-key-invalid"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer as bytes; `replayed` when it was given before. Headers are those that belong to the answer."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    replayed: bool = False


class Idempotency:
    """Runs a request once per (merchant, key).

    Answers are kept sealed, for they show the buyer. `at_once` bounds how many run at the same time in this process:
    each holds a connection while its work needs others, so together they must not take the whole pool.
    """

    def __init__(self, database: Database, box: SecretBox, *, at_once: int = 4, metrics: Metrics | None = None) -> None:
        self._database = database
        self._box = box
        self._metrics = metrics
        self._turn = asyncio.Semaphore(at_once)

    async def once(
        self, merchant_id: UUID, key: str, fingerprint: bytes, handler: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """The handler's answer, or the stored one, byte for byte.

        What the handler raises is not stored: the same key may then try again. KeyReused for other content under the
        key, RequestInProgress while the first request still runs, Busy when the outcome of the commit is not known.
        """
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            raise Busy("too many requests of this kind at once; repeat the same request in a second") from None
        try:
            async with self._database.pipeline() as tx:
                if not await repo.claim(tx, merchant_id, key, fingerprint, RETENTION_SECONDS):
                    with contextlib.suppress(CannotOpen):
                        return self._replay(await repo.read(tx, merchant_id, key), merchant_id, key, fingerprint)
                    # Its secret key is gone: the work is idempotent by itself and does nothing a second time.
                answer = await handler()
                sealed = self._box.seal(answer.body, _where(merchant_id, key))
                await repo.store(tx, merchant_id, key, answer.status, answer.headers, sealed)
            return answer
        finally:
            self._turn.release()

    async def prune(self, limit: int = 1000) -> int:
        """Delete keys whose time is over; returns how many. Safe to run in several processes."""
        async with self._database.pipeline() as tx:
            return await repo.prune(tx, limit)

    def _replay(self, stored: repo.KeyRow | None, merchant_id: UUID, key: str, fingerprint: bytes) -> Answer:
        if stored is not None and stored.fingerprint != fingerprint:
            raise KeyReused("this Idempotency-Key was used with other content; use a new key for a new request")
        if stored is None or stored.status_code is None or stored.body is None:
            raise RequestInProgress("the first request with this Idempotency-Key is still running")
        body = self._box.open(stored.body, _where(merchant_id, key))
        if self._metrics is not None:
            self._metrics.idempotent_replays.inc()
        return Answer(stored.status_code, body, dict(stored.headers or {}), replayed=True)


def _where(merchant_id: UUID, key: str) -> bytes:
    return aad("idempotency_keys", "body", merchant_id, key)


def canonical_key(lines: Sequence[str]) -> str:
    """The key of a request from its `Idempotency-Key` header lines: quoted or bare is the same key.

    KeyMissing without a line; KeyInvalid for several lines, or for other than 1 to 255 characters that are letters,
    digits or one of `_-.:~+/=`.
    """
    if not lines:
        raise KeyMissing("this request needs an Idempotency-Key with a value of your own", header="Idempotency-Key")
    if len(lines) > 1:
        raise KeyInvalid("a request has one Idempotency-Key, not several")
    text = lines[0].strip()
    quoted = _QUOTED.fullmatch(text)
    key = quoted[1] if quoted else text
    if not _CANONICAL.fullmatch(key):
        raise KeyInvalid("an Idempotency-Key has 1 to 255 characters: letters, digits and _ - . : ~ + / =")
    return key


def fingerprint(method: str, path: str, query: str, body: bytes) -> bytes:
    """SHA-256 over what was asked: method, path, sorted query and the body as canonical JSON (RFC 8785).

    Over the received JSON, never the validated model: a new default in a later version is no other request. A body
    that has no canonical form (no JSON, integers beyond 2^53) counts byte for byte.
    """
    asked = f"{method.upper()}\n{path}?{'&'.join(sorted(filter(None, query.split('&'))))}\n"
    return hashlib.sha256(asked.encode() + _canonical(body)).digest()


def _canonical(body: bytes) -> bytes:
    try:
        return rfc8785.dumps(json.loads(body))
    except (ValueError, RecursionError):
        return body
