"""Connections of a process: made to the judged addresses of a name, handed out one request at a time, kept a while."""

import asyncio
import contextlib
import socket
import ssl
from ipaddress import ip_address

from aiohappyeyeballs import AddrInfoType, start_connection
from aiohttp.abc import AbstractResolver

from app.infra.http_wire import Connection, NoAddress, NoConnection, Origin

_RESOLVED_SECONDS = 10.0
_EYEBALLS_SECONDS = 0.25
_CLOSING_SECONDS = 1.0


class Pool:
    """The connections of a process for one kind of use: at most `limit` at work, idle ones kept for `keep` seconds."""

    def __init__(self, resolver: AbstractResolver, trust: ssl.SSLContext, *, limit: int, keep: float) -> None:
        self._resolver, self._trust, self._keep = resolver, trust, keep
        self.slots = asyncio.Semaphore(limit)
        self._idle: dict[Origin, list[Connection]] = {}
        self._live: set[Connection] = set()
        self._resolved: dict[tuple[str, int], tuple[float, list[AddrInfoType]]] = {}
        self._asking: dict[tuple[str, int], asyncio.Task[list[AddrInfoType]]] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def keeps(self) -> bool:
        return self._keep > 0

    def idle(self, origin: Origin) -> Connection | None:
        """A kept connection that can take a request at this moment, the one last used first."""
        kept = self._idle.get(origin)
        while kept:
            connection = kept.pop()
            if not kept:
                del self._idle[origin]
            if connection.ready and self._fresh(connection):
                return connection
            connection.close()
        return None

    async def connect(self, origin: Origin) -> Connection:
        """A new connection. NoAddress, ForbiddenUrl, or what connecting and TLS raise."""
        if self._closed:
            raise NoConnection
        scheme, host, port = origin
        loop = asyncio.get_running_loop()
        sock = await start_connection(
            await self._addresses(host, port), happy_eyeballs_delay=_EYEBALLS_SECONDS, loop=loop
        )
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secure = scheme == "https"
        _, connection = await loop.create_connection(
            lambda: Connection(loop, self._forget),
            sock=sock,
            ssl=self._trust if secure else None,
            server_hostname=host.rstrip(".") if secure else None,
        )
        self._live.add(connection)
        return connection

    def give(self, origin: Origin, connection: Connection) -> None:
        """After a whole answer: kept for the next request, or closed."""
        if not self.keeps or self._closed or not connection.kept:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.setdefault(origin, []).append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(self._keep, self._sweep_idle)

    async def close(self) -> None:
        """End everything, also what is under way; return when the kernel has let go of it."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for task in self._asking.values():
            task.cancel()
        for connection in tuple(self._live):
            connection.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                while self._live:  # noqa: ASYNC110 - it empties within a turn or two of the loop
                    await asyncio.sleep(0)

    def _fresh(self, connection: Connection) -> bool:
        return asyncio.get_running_loop().time() - connection.idle_since < self._keep

    def _forget(self, connection: Connection) -> None:
        self._live.discard(connection)

    def _sweep_idle(self) -> None:
        """An idle connection is closed by us, in time: a server that does it first may do it just as we write."""
        self._sweep = None
        for origin, kept in list(self._idle.items()):
            still = [one for one in kept if one.ready and self._fresh(one)]
            for one in kept:
                if one not in still:
                    one.close()
            if still:
                self._idle[origin] = still
            else:
                del self._idle[origin]
        if self._idle:
            self._sweep = asyncio.get_running_loop().call_later(self._keep / 2, self._sweep_idle)

    async def _addresses(self, host: str, port: int) -> list[AddrInfoType]:
        """What the host's name leads to, asked for once for all who want it, and again after ten seconds."""
        if (literal := _literal(host, port)) is not None:
            return [literal]
        key, now = (host, port), asyncio.get_running_loop().time()
        known = self._resolved.get(key)
        if known is not None and now < known[0]:
            return known[1]
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(host, port), name="resolve")
            task.add_done_callback(lambda done: self._asked(key, done))
        return await asyncio.shield(task)

    async def _ask(self, host: str, port: int) -> list[AddrInfoType]:
        try:
            found = await self._resolver.resolve(host, port, socket.AF_UNSPEC)
        except OSError as error:
            raise NoAddress from error
        return [_info(one["family"], one["host"], one["port"]) for one in found]

    def _asked(self, key: tuple[str, int], task: "asyncio.Task[list[AddrInfoType]]") -> None:
        self._asking.pop(key, None)
        now = asyncio.get_running_loop().time()
        for old in [old for old, (until, _) in self._resolved.items() if until <= now]:
            del self._resolved[old]
        if not task.cancelled() and task.exception() is None:
            self._resolved[key] = (now + _RESOLVED_SECONDS, task.result())


def _literal(host: str, port: int) -> AddrInfoType | None:
    """The host when it is an address itself."""
    try:
        version = ip_address(host).version
    except ValueError:
        return None
    return _info(socket.AF_INET if version == 4 else socket.AF_INET6, host, port)


def _info(family: int, host: str, port: int) -> AddrInfoType:
    address = (host, port) if family == socket.AF_INET else (host, port, 0, 0)
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)
