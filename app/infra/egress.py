"""Decides where we may call: a URL given by a customer must not lead into our own network.

The transport asks for every request, the resolver for every name, so the judged address is the one connected to.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal, Self

import httpx
from aiohttp.abc import AbstractResolver, ResolveResult

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""Name and port to numeric addresses; raises OSError when the name cannot be resolved."""
Reason = Literal["scheme", "credentials", "port", "address", "dns", "length", "host"]

MAX_URL_LENGTH = 2048
TLS_PORTS = frozenset({443, 8443})
_LOOKUP_THREADS = 16

# `is_global` alone calls NAT64, 6to4, multicast and IPv4-compatible forms of private addresses global.
_DENY: tuple[Network, ...] = (
    *map(
        IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
            *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        ),
    ),
    *map(
        IPv6Network,
        (
            *("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:db8::/32", "2002::/16"),
            *("3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
        ),
    ),
)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# What C libraries read as (part of) an IPv4 address: 2130706433, 0x7f.1, 017700000001.
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")

_ASK_OPERATOR = "an operator can permit a network of the company in KASSA_EGRESS_ALLOW"


class ForbiddenUrl(ValueError):
    """This URL may not be called. `reason` is stable; the text names the cure and never the resolved address."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """Public hosts by https on port 443 or 8443; the networks in `allow` by http or https on any port."""

    allow: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `127.0.0.0/8,10.1.2.0/24`; empty text permits no private network. ValueError says what is wrong."""
        networks: list[Network] = []
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            try:
                networks.append(ip_network(part))
            except ValueError:
                raise ValueError(f"{part!r} is not a network{_suggestion(part)}.") from None
        return cls(tuple(networks))

    def permits(self, ip: str | Address) -> bool:
        """Whether a connection to this address is permitted: public, or in a network named by the operator."""
        address = _plain(ip)
        if address is None:
            return False
        return self.names(address) or (
            address.is_global and not address.is_multicast and not any(address in network for network in _DENY)
        )

    def names(self, ip: str | Address) -> bool:
        """Whether the operator named a network with this address."""
        address = _plain(ip)
        return address is not None and any(address in network for network in self.allow)

    def check_address(self, ip: str | Address, port: int, scheme: str | None = None) -> None:
        """Judges one numeric address; without a scheme (a resolver does not know it) the port alone decides."""
        if self.names(ip):
            return
        if not self.permits(ip):
            raise ForbiddenUrl("address", f"The host leads to an address that may not be called; {_ASK_OPERATOR}.")
        if scheme == "http":
            raise ForbiddenUrl("scheme", f"Public hosts are called by https only; {_ASK_OPERATOR}.")
        if port not in TLS_PORTS:
            raise ForbiddenUrl("port", f"Public hosts are called on port 443 or 8443 only; {_ASK_OPERATOR}.")

    def check_url(self, url: str | httpx.URL) -> None:
        """Refuses by what the URL alone shows; the limit of length is for one given as text.

        A name with http or another port passes only while some network is allowed: its addresses then decide, in
        `resolve_and_check` at registration and in the resolver at every connect.
        """
        parsed = _parse(url)
        host = parsed.raw_host.decode("ascii")
        if address := _literal(host):
            if not self.names(address):
                raise ForbiddenUrl("address", f"Give a host name, not an IP address; {_ASK_OPERATOR}.")
            return
        _check_name(host)
        if host.rstrip(".").rpartition(".")[2] == "localhost" and not (self.names("127.0.0.1") or self.names("::1")):
            raise ForbiddenUrl("address", f"This machine itself may not be called; {_ASK_OPERATOR}.")
        if self.allow:
            return
        if parsed.scheme != "https":
            raise ForbiddenUrl("scheme", f"The URL must begin with https://; {_ASK_OPERATOR}.")
        if _port(parsed) not in TLS_PORTS:
            raise ForbiddenUrl("port", f"The port must be 443 or 8443; {_ASK_OPERATOR}.")

    async def resolve_and_check(self, url: str | httpx.URL, lookup: Lookup | None = None, seconds: float = 5.0) -> None:
        """Early feedback when a URL is registered; every later connect is judged again by its own look-up."""
        self.check_url(url)
        parsed = _parse(url)
        host, port = parsed.raw_host.decode("ascii"), _port(parsed)
        if _literal(host):
            return
        try:
            async with asyncio.timeout(seconds):
                found = await (lookup or _lookup_in_thread)(host, port)
        except (OSError, UnicodeError):  # TimeoutError is an OSError
            found = ()
        if not found:
            raise ForbiddenUrl("dns", "The host name has no address; check its spelling.")
        for ip in found:
            self.check_address(ip, port, parsed.scheme)


class GuardedResolver(AbstractResolver):
    """aiohttp resolver that fails when any address of the name is denied and else returns exactly the judged ones."""

    def __init__(self, policy: EgressPolicy, lookup: Lookup | None = None) -> None:
        self._policy = policy
        self._lookup = lookup or self._lookup_in_pool
        # Threads of our own: a customer's dead name server must not hold up the loop's shared executor.
        self._pool = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises ForbiddenUrl for a denied address, OSError when there is none."""
        try:
            found = await self._lookup(host, port)
        except UnicodeError as error:
            raise OSError(f"{host!r} is not a host name") from error
        for ip in found:
            self._policy.check_address(ip, port)
        if not found:
            raise OSError(f"{host!r} has no address")
        return [
            ResolveResult(
                hostname=host,
                host=ip,
                port=port,
                family=socket.AF_INET6 if ":" in ip else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for ip in found
            if family in (socket.AF_UNSPEC, socket.AF_INET6 if ":" in ip else socket.AF_INET)
        ]

    async def close(self) -> None:
        """Drops look-ups that have not begun; does not wait for running ones."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _lookup_in_pool(self, host: str, port: int) -> Sequence[str]:
        return await asyncio.get_running_loop().run_in_executor(self._pool, _getaddrinfo, host, port)


async def _lookup_in_thread(host: str, port: int) -> Sequence[str]:
    return await asyncio.to_thread(_getaddrinfo, host, port)


def _getaddrinfo(host: str, port: int) -> list[str]:
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in infos))


def _parse(url: str | httpx.URL) -> httpx.URL:
    """The one reading of a URL that both the check and the transport use, so that two parsers cannot disagree."""
    if isinstance(url, str) and len(url) > MAX_URL_LENGTH:
        raise ForbiddenUrl("length", f"The URL is longer than {MAX_URL_LENGTH} characters.")
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):  # idna raises bare UnicodeError for malformed punycode
        raise ForbiddenUrl("host", "The URL cannot be read; write it as https://host/path.") from None
    if parsed.scheme not in ("http", "https"):
        raise ForbiddenUrl("scheme", "The URL must begin with https://.")
    if parsed.userinfo:
        raise ForbiddenUrl("credentials", "The URL must not contain a user name or password.")
    if parsed.fragment:
        raise ForbiddenUrl("host", "The URL must not contain a fragment (the part after #).")
    if not parsed.raw_host:
        raise ForbiddenUrl("host", "The URL has no host.")
    if not 0 < _port(parsed) < 65536:
        raise ForbiddenUrl("port", "The port must be a number from 1 to 65535.")
    return parsed


def _port(url: httpx.URL) -> int:
    return url.port if url.port is not None else (443 if url.scheme == "https" else 80)


def _check_name(host: str) -> None:
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ForbiddenUrl("host", "The host is not a valid name.")
    if _NUMERIC.fullmatch(labels[-1]):
        raise ForbiddenUrl("host", "The host is a number; write an address as four decimal numbers.")


def _literal(host: str) -> Address | None:
    """The address when the host is one in its usual form, with no zone; a zone only names a link of this machine."""
    if "%" in host and ":" in host:
        raise ForbiddenUrl("address", "An address with a zone may not be called.")
    try:
        return ip_address(host)
    except ValueError:
        return None


def _plain(ip: str | Address) -> Address | None:
    """Without zone, and IPv4 out of its IPv6-mapped form; None when it is no address."""
    try:
        address = ip_address(str(ip).partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def _suggestion(part: str) -> str:
    try:
        return f": it names one host inside {ip_network(part, strict=False)}; write that network"
    except ValueError:
        return "; write it like 10.1.2.0/24"
