"""The one HTTP client for everything that calls out: the httpx API over connections of our own.

It ends in an answer, in `NotSent` (certainly not sent) or in `MaybeSent` (everything else); `http_gate` decides which.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from app.infra.clock import boottime
from app.infra.egress import EgressPolicy, GuardedResolver, Lookup
from app.infra.http_client import Client, basic_auth, client_over
from app.infra.http_gate import Clock, MaybeSent, NotSent, WireStops
from app.infra.http_pool import Pool
from app.infra.http_record import Exchange, RecordingTransport
from app.infra.http_transport import CONNECT_SECONDS, DEADLINE_SECONDS, MAX_BODY, Transport
from app.infra.http_wire import Answer, Target

__all__ = [
    "Answer",
    "Client",
    "Exchange",
    "HttpClients",
    "MaybeSent",
    "NotSent",
    "RecordingTransport",
    "Target",
    "Transport",
    "WireStops",
    "basic_auth",
    "client_over",
    "open_http",
]

# Below the idle time after which common servers hang up (5 s), so that a reused connection is seldom a dead one.
KEEP_ALIVE_SECONDS = 2.0


class HttpClients:
    """The outgoing connections of a process. Transports and clients made from it are cheap and share them."""

    def __init__(
        self,
        policy: EgressPolicy,
        kept: Pool,
        fresh: Pool,
        clock: Clock,
        stops: WireStops | None = None,
    ) -> None:
        self._policy, self._kept, self._fresh, self._clock = policy, kept, fresh, clock
        self._stops = stops

    def stopping(self, stops: WireStops) -> "HttpClients":
        """The same connections for exchanges that a test stops in the middle; others are not touched."""
        if stops == WireStops():
            return self
        return HttpClients(self._policy, self._kept, self._fresh, self._clock, stops)

    def transport(self, *, reuse: bool = True, max_body: int = MAX_BODY) -> Transport:
        """`reuse=False` opens a connection per request: half as fast, but no server can be hanging up on it just then.

        It suits submits whose unknown outcome is dear (no deduplication at the provider) and customers' webhooks.
        """
        pool = self._kept if reuse else self._fresh
        return Transport(pool, self._policy, self._clock, max_body, self._stops)

    def client(
        self,
        *,
        reuse: bool = True,
        max_body: int = MAX_BODY,
        deadline: float = DEADLINE_SECONDS,
        connect: float = CONNECT_SECONDS,
    ) -> Client:
        """A client for one purpose; `max_body` in bytes, `deadline` in seconds for a whole exchange."""
        return client_over(self.transport(reuse=reuse, max_body=max_body), deadline=deadline, connect=connect)


@asynccontextmanager
async def open_http(
    policy: EgressPolicy,
    *,
    ssl_context: ssl.SSLContext | None = None,
    limit: int = 200,
    clock: Clock = boottime,
    lookup: Lookup | None = None,
) -> AsyncIterator[HttpClients]:
    """Opens the process's connections: at most `limit` kept and `limit` fresh ones at work.

    `policy` judges every look-up (kept for 10 s) and every connection. Tests pass `ssl_context`, `clock`, `lookup`.
    """
    resolver, trust = GuardedResolver(policy, lookup), ssl_context or _trust()
    kept = Pool(resolver, trust, limit=limit, keep=KEEP_ALIVE_SECONDS)
    fresh = Pool(resolver, trust, limit=limit, keep=0.0)
    try:
        yield HttpClients(policy, kept, fresh, clock)
    finally:
        await kept.close()
        await fresh.close()
        await resolver.close()


def _trust() -> ssl.SSLContext:
    """Mozilla's roots and the machine's own, where an operator adds a national or company root."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    context.set_alpn_protocols(["http/1.1"])
    return context
