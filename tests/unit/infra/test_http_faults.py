"""The fault matrix of the transport, against real sockets: what was certainly not sent, what was maybe sent.

How plug-ins are tested without a network is shown at the end (`test_a_driver_*`): respx's default mocker patches
httpcore, which our transport does not use, so either give the client `httpx.MockTransport(router.async_handler)` or
patch httpx itself with `respx.mock(using="httpx")`.
"""

import asyncio
import contextlib
import datetime
import gzip
import os
import signal
import socket
import ssl
import struct
import sys
import textwrap
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import respx
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.infra.clock import boottime
from app.infra.egress import EgressPolicy, Lookup
from app.infra.http import (
    HttpClients,
    MaybeSent,
    NotSent,
    RecordingTransport,
    Transport,
    basic_auth,
    client_over,
    open_http,
)
from app.infra.http_pool import Pool
from app.infra.http_wire import Connection

LOOPBACK = EgressPolicy.parse("127.0.0.0/8")
MARK = b"receipt-4711"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
BYE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
METHODS = ["GET", "PUT", "POST", "DELETE"]


# --- a server that misbehaves on purpose


class Peer:
    """Counts what really arrived: connections, bytes, complete requests. Its hooks say how it misbehaves."""

    def __init__(self) -> None:
        self.connections: list[PeerProtocol] = []
        self.requests: list[bytes] = []
        self.on_connect: Callable[[PeerProtocol], None] = lambda conn: None
        self.on_data: Callable[[PeerProtocol], None] = lambda conn: None
        self.on_request: Callable[[PeerProtocol], None] = lambda conn: conn.send(OK)
        self.port = 0
        self.changed = asyncio.Event()

    @property
    def received(self) -> bytes:
        return b"".join(bytes(conn.received) for conn in self.connections)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/receipts"

    def note(self) -> None:
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


class PeerProtocol(asyncio.Protocol):
    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.received = bytearray()
        self.taken = 0
        self.lost = False
        self.lost_by: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        self.peer.connections.append(self)
        self.peer.on_connect(self)
        self.peer.note()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.peer.on_data(self)
        while (size := self.complete()) is not None:
            self.peer.requests.append(bytes(self.received[self.taken : self.taken + size]))
            self.taken += size
            self.peer.on_request(self)
        self.peer.note()

    def complete(self) -> int | None:
        head, found, rest = bytes(self.received[self.taken :]).partition(b"\r\n\r\n")
        if not found:
            return None
        lengths = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = lengths[0] if lengths else 0
        return len(head) + 4 + length if len(rest) >= length else None

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost, self.lost_by = True, exc
        self.peer.note()

    def send(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    def close(self) -> None:
        self.transport.close()

    def reset(self) -> None:
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def drip(self, data: bytes) -> None:
        if data and not self.transport.is_closing():
            self.transport.write(data[:1])
            asyncio.get_running_loop().call_later(0.02, self.drip, data[1:])


StartPeer = Callable[..., Awaitable[Peer]]


@contextlib.asynccontextmanager
async def peers() -> AsyncIterator[StartPeer]:
    async with contextlib.AsyncExitStack() as stack:

        async def start(tls: ssl.SSLContext | None = None, receive_buffer: int | None = None) -> Peer:
            peer = Peer()
            listener = socket.create_server(("127.0.0.1", 0))
            if receive_buffer:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            peer.port = listener.getsockname()[1]
            loop = asyncio.get_running_loop()
            server = await loop.create_server(lambda: PeerProtocol(peer), sock=listener, ssl=tls)

            async def stop() -> None:
                server.close()
                for conn in peer.connections:
                    conn.transport.abort()
                await peer.until(lambda: all(conn.lost for conn in peer.connections))

            stack.push_async_callback(stop)
            return peer

        yield start


@pytest.fixture
async def start_peer() -> AsyncIterator[StartPeer]:
    async with peers() as start:
        yield start


@pytest.fixture
async def peer(start_peer: StartPeer) -> Peer:
    return await start_peer()


@pytest.fixture
async def clients() -> AsyncIterator[HttpClients]:
    async with open_http(LOOPBACK, ssl_context=NO_TRUST) as opened:
        yield opened


def heard(monkeypatch: pytest.MonkeyPatch, method: str) -> asyncio.Event:
    """Set when our own end of a connection has noticed something: `data_received` or `connection_lost`."""
    event = asyncio.Event()
    original = getattr(Connection, method)

    def noticed(self: Connection, *args: Any) -> None:
        original(self, *args)
        event.set()

    monkeypatch.setattr(Connection, method, noticed)
    return event


def finding(*addresses: str) -> Lookup:
    async def lookup(host: str, port: int) -> Sequence[str]:
        return addresses

    return lookup


async def post(clients: HttpClients, url: str, **extensions: Any) -> httpx.Response:
    reuse = extensions.pop("reuse", True)
    method = extensions.pop("method", "POST")
    return await clients.client(reuse=reuse).request(method, url, content=MARK, extensions=extensions)


async def not_sent(call: Awaitable[object], reason: str, *peers: Peer) -> NotSent:
    """The call ends in NotSent, and no peer ever saw a byte of the request."""
    with pytest.raises(NotSent) as caught:
        await call
    assert caught.value.reason == reason
    await asyncio.sleep(0)
    for peer in peers:
        assert MARK not in peer.received
        assert not peer.requests
    return caught.value


async def maybe_sent(call: Awaitable[object], reason: str, peer: Peer, arrived: int = 1) -> MaybeSent:
    """The call ends in MaybeSent; `arrived` complete requests reached the peer."""
    with pytest.raises(MaybeSent) as caught:
        await call
    assert caught.value.reason == reason
    await peer.until(lambda: len(peer.requests) >= arrived)
    assert len(peer.requests) == arrived
    return caught.value


# --- TLS material


def self_signed() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kassa.example.org")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("kassa.example.org"), x509.IPAddress(ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem), private


NO_TRUST = ssl.create_default_context(cadata=self_signed()[0].decode())


class Tls:
    def __init__(self, folder: Path) -> None:
        certificate, key = self_signed()
        self.certificate = folder / "certificate.pem"
        self.certificate.write_bytes(certificate)
        (folder / "key.pem").write_bytes(key)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(self.certificate, folder / "key.pem")
        self.trusting = ssl.create_default_context(cafile=str(self.certificate))


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return Tls(tmp_path_factory.mktemp("tls"))


# --- the good case


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reuse", [True, False])
async def test_an_answer(clients: HttpClients, peer: Peer, method: str, reuse: bool) -> None:
    for _ in range(3):
        response = await post(clients, peer.url + "?a=%20b", method=method, reuse=reuse)
        assert (response.status_code, response.text) == (200, "hello")
    assert len(peer.requests) == 3
    assert len(peer.connections) == (1 if reuse else 3)
    head, body = peer.requests[0].split(b"\r\n\r\n")
    assert head.startswith(f"{method} /v1/receipts?a=%20b HTTP/1.1\r\n".encode())
    assert body == MARK
    names = [line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
    assert len(names) == len(set(names)), "each header once"
    assert b"accept-encoding: identity" in head.lower()


async def test_no_body_and_head(clients: HttpClients, peer: Peer) -> None:
    client = clients.client()
    assert (await client.get(peer.url)).text == "hello"
    peer.on_request = lambda conn: conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
    head = await client.head(peer.url)
    assert (head.headers["content-length"], head.content) == ("99", b"")
    peer.on_request = lambda conn: conn.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (await client.post(peer.url)).status_code == 204
    assert b"Content-Length: 0" in peer.requests[-1]


async def test_tls_answer(tls: Tls, start_peer: StartPeer) -> None:
    peer = await start_peer(tls.server)
    async with open_http(LOOPBACK, ssl_context=tls.trusting, lookup=finding("127.0.0.1")) as clients:
        for host in ("127.0.0.1", "kassa.example.org", "kassa.example.org."):
            assert (await post(clients, f"https://{host}:{peer.port}/")).text == "hello"
    assert len(peer.requests) == 3


# --- certainly not sent


async def test_refused(clients: HttpClients) -> None:
    with socket.socket() as bound:  # bound, not listening: nobody else gets the port
        bound.bind(("127.0.0.1", 0))
        error = await not_sent(post(clients, f"http://127.0.0.1:{bound.getsockname()[1]}/"), "refused")
    assert "127.0.0.1: the connection was refused" in str(error)


async def test_refused_on_every_address() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with open_http(LOOPBACK, ssl_context=NO_TRUST, lookup=finding("127.0.0.1", "127.0.0.2")) as clients:
            await not_sent(post(clients, f"http://kassa.example:{bound.getsockname()[1]}/"), "refused")


async def test_unknown_name() -> None:
    async def lookup(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with open_http(LOOPBACK, ssl_context=NO_TRUST, lookup=lookup) as clients:
        await not_sent(post(clients, "https://nowhere.invalid/"), "dns")


async def silent_lookup(host: str, port: int) -> Sequence[str]:
    await asyncio.Event().wait()
    return ()


@pytest.mark.parametrize("extensions", [{"timeout": {"connect": 0.05}}, {"deadline_seconds": 0.05}])
async def test_silent_name_server(extensions: dict[str, Any]) -> None:
    async with open_http(LOOPBACK, ssl_context=NO_TRUST, lookup=silent_lookup) as clients:
        await not_sent(post(clients, "https://nowhere.invalid/", **extensions), "connect_timeout")


@pytest.fixture
def full_backlog() -> Iterator[int]:
    """A listening port whose queue is full: the kernel drops further SYNs, as an unreachable host would."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_connect_timeout(clients: HttpClients, full_backlog: int) -> None:
    call = post(clients, f"http://127.0.0.1:{full_backlog}/", timeout={"connect": 0.1})
    await not_sent(call, "connect_timeout")


async def test_deadline_while_connecting(clients: HttpClients, full_backlog: int) -> None:
    await not_sent(post(clients, f"http://127.0.0.1:{full_backlog}/", deadline_seconds=0.1), "connect_timeout")


async def test_tls_handshake_never_answered(clients: HttpClients, peer: Peer) -> None:
    call = post(clients, f"https://127.0.0.1:{peer.port}/", timeout={"connect": 0.1})
    await not_sent(call, "connect_timeout", peer)
    assert peer.received.startswith(b"\x16\x03"), "it was a TLS hello"


async def test_tls_to_a_plain_server(clients: HttpClients, peer: Peer) -> None:
    peer.on_data = lambda conn: conn.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await not_sent(post(clients, f"https://127.0.0.1:{peer.port}/"), "tls", peer)


async def test_tls_with_an_untrusted_certificate(clients: HttpClients, start_peer: StartPeer, tls: Tls) -> None:
    peer = await start_peer(tls.server)
    await not_sent(post(clients, f"https://127.0.0.1:{peer.port}/"), "tls", peer)


async def test_tls_with_another_hosts_certificate(start_peer: StartPeer, tls: Tls) -> None:
    peer = await start_peer(tls.server)
    async with open_http(LOOPBACK, ssl_context=tls.trusting, lookup=finding("127.0.0.1")) as clients:
        await not_sent(post(clients, f"https://other.example.org:{peer.port}/"), "tls", peer)


@pytest.mark.parametrize("hang_up", [PeerProtocol.close, PeerProtocol.reset])
async def test_tls_handshake_broken_off(
    clients: HttpClients, peer: Peer, hang_up: Callable[[PeerProtocol], None]
) -> None:
    peer.on_data = hang_up
    await not_sent(post(clients, f"https://127.0.0.1:{peer.port}/"), "connect", peer)


async def test_no_free_connection(peer: Peer) -> None:
    peer.on_request = lambda conn: None
    async with open_http(LOOPBACK, ssl_context=NO_TRUST, limit=1) as clients:
        first = asyncio.create_task(post(clients, peer.url))
        await peer.until(lambda: len(peer.requests) == 1)
        with pytest.raises(NotSent) as caught:
            await post(clients, peer.url, timeout={"connect": 0.05})
        assert caught.value.reason == "pool"
        assert len(peer.requests) == 1
        waiting = asyncio.create_task(post(clients, peer.url))
        peer.connections[0].send(OK)
        peer.on_request = lambda conn: conn.send(OK)
        assert (await first).text == (await waiting).text == "hello"


async def test_a_server_that_speaks_first(clients: HttpClients, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    peer.on_connect = lambda conn: conn.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
    connect = Pool.connect
    spoken = heard(monkeypatch, "data_received")

    async def slowly(*args: Any, **kwargs: Any) -> Any:
        conn = await connect(*args, **kwargs)
        await spoken.wait()
        return conn

    monkeypatch.setattr(Pool, "connect", slowly)
    await not_sent(post(clients, peer.url), "connect", peer)


async def test_what_http_cannot_carry(clients: HttpClients, peer: Peer) -> None:
    client = clients.client()
    await not_sent(client.post(peer.url, content=MARK, headers={"X-Order": "1\r\nX-Evil: 2"}), "unsupported", peer)
    await not_sent(client.request("PO ST", peer.url, content=MARK), "unsupported", peer)


async def test_after_shutdown(peer: Peer) -> None:
    async with open_http(LOOPBACK, ssl_context=NO_TRUST) as clients:
        pass
    await not_sent(post(clients, peer.url), "connect", peer)


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("http://127.0.0.1:{port}/", []),
        ("https://127.0.0.1:{port}/", []),
        ("http://[::ffff:127.0.0.1]:{port}/", []),
        ("http://2130706433:{port}/", []),
        ("http://0x7f.1:{port}/", []),
        ("http://localhost:{port}/", ["127.0.0.1"]),
        ("http://user:pass@10.0.0.1/", []),
        ("ftp://10.0.0.1/", []),
        ("http://crm.example:{port}/", ["127.0.0.1"]),
        ("https://crm.example/", ["127.0.0.1"]),
        ("https://crm.example/", ["10.0.0.1", "127.0.0.1"]),
        ("https://crm.example/", ["::ffff:127.0.0.1"]),
        ("https://crm.example/", ["fe80::1%lo"]),
    ],
)
async def test_forbidden_targets(peer: Peer, url: str, addresses: list[str]) -> None:
    policy = EgressPolicy.parse("10.0.0.0/8")
    async with open_http(policy, ssl_context=NO_TRUST, lookup=finding(*addresses)) as clients:
        await not_sent(post(clients, url.format(port=peer.port)), "forbidden", peer)
    assert not peer.connections


async def test_the_connected_address_is_judged_once_more(clients: HttpClients, peer: Peer) -> None:
    """Even if a resolver let a denied address through, the connection itself is refused before the first byte."""
    elsewhere = EgressPolicy.parse("10.0.0.0/8")
    async with open_http(LOOPBACK, ssl_context=NO_TRUST, lookup=finding("127.0.0.1")) as trusting:
        transport = Transport(trusting.transport()._pool, elsewhere)
        call = client_over(transport).post(f"http://crm.example:{peer.port}/", content=MARK)
        await not_sent(call, "forbidden", peer)


async def test_names_in_an_allowed_network_work(peer: Peer) -> None:
    async with open_http(LOOPBACK, ssl_context=NO_TRUST, lookup=finding("127.0.0.1")) as clients:
        assert (await post(clients, f"http://crm.example:{peer.port}/")).text == "hello"
    assert f"Host: crm.example:{peer.port}".encode() in peer.requests[0]


# --- the freshness bound


class SteppingClock:
    """Stands at 0 for the first `readings`, then jumps: the process was frozen in between."""

    def __init__(self, readings: int) -> None:
        self.left = readings

    def __call__(self) -> float:
        self.left -= 1
        return 0.0 if self.left >= 0 else 100.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("body", [b"", MARK])
async def test_frozen_between_connecting_and_writing(peer: Peer, method: str, body: bytes) -> None:
    async with open_http(LOOPBACK, ssl_context=NO_TRUST, clock=SteppingClock(1)) as clients:
        call = clients.client().request(method, peer.url, content=body, extensions={"not_after": 5.0})
        await not_sent(call, "stale", peer)
        await peer.until(lambda: len(peer.connections) == 1)
        await peer.until(lambda: peer.connections[0].lost)
    assert not peer.received


async def test_frozen_before_connecting(peer: Peer) -> None:
    async with open_http(LOOPBACK, ssl_context=NO_TRUST, clock=SteppingClock(0)) as clients:
        await not_sent(post(clients, peer.url, not_after=5.0), "stale", peer)
    assert not peer.connections


async def test_frozen_before_writing_on_a_reused_connection(peer: Peer) -> None:
    async with open_http(LOOPBACK, ssl_context=NO_TRUST, clock=SteppingClock(3)) as clients:
        assert (await post(clients, peer.url, not_after=5.0)).text == "hello"
        with pytest.raises(NotSent) as caught:
            await post(clients, peer.url, not_after=5.0)
        assert caught.value.reason == "stale"
    assert (len(peer.requests), len(peer.connections)) == (1, 1)


async def test_in_time(clients: HttpClients, peer: Peer) -> None:
    assert (await post(clients, peer.url, not_after=boottime() + 5)).text == "hello"
    with pytest.raises(NotSent) as caught:
        await post(clients, peer.url, not_after=boottime() - 0.001)
    assert caught.value.reason == "stale"
    assert len(peer.requests) == 1


async def test_a_process_really_stopped_during_the_handshake(start_peer: StartPeer, tls: Tls) -> None:
    """A child is stopped by SIGSTOP between TCP connect and the end of the TLS handshake, and wakes up too late."""
    peer = await start_peer(tls.server)
    bound = 0.3
    child: asyncio.subprocess.Process | None = None

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while (data := await reader.read(65536)) and not writer.is_closing():
                writer.write(data)
        writer.close()

    async def freeze_then_relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = await reader.read(65536)
        assert child is not None
        os.kill(child.pid, signal.SIGSTOP)
        await asyncio.sleep(bound)  # the child took its bound before this moment
        onward, back = await asyncio.open_connection("127.0.0.1", peer.port)
        back.write(hello)
        os.kill(child.pid, signal.SIGCONT)
        await asyncio.gather(pump(reader, back), pump(onward, writer))
        relayed.set()

    relayed = asyncio.Event()
    relay = await asyncio.start_server(freeze_then_relay, "127.0.0.1", 0)
    program = f"""
        import asyncio, ssl
        from app.infra.egress import EgressPolicy
        from app.infra.clock import boottime
        from app.infra.http import NotSent, open_http

        async def main():
            trust = ssl.create_default_context(cafile={str(tls.certificate)!r})
            async with open_http(EgressPolicy.parse("127.0.0.0/8"), ssl_context=trust) as clients:
                try:
                    await clients.client().post(
                        "https://127.0.0.1:{relay.sockets[0].getsockname()[1]}/",
                        content=b"x", extensions={{"not_after": boottime() + {bound}}},
                    )
                except NotSent as error:
                    print(error.reason)

        asyncio.run(main())
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(program),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    output, _ = await child.communicate()
    await relayed.wait()
    relay.close()
    assert output.decode().strip() == "stale"
    await peer.until(lambda: len(peer.connections) == 1)
    assert not peer.received, "the handshake was completed, and nothing was said"


# --- maybe sent


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("hang_up", [PeerProtocol.close, PeerProtocol.reset])
async def test_dropped_after_the_request(
    clients: HttpClients, peer: Peer, method: str, reuse: bool, hang_up: Callable[[PeerProtocol], None]
) -> None:
    peer.on_request = hang_up
    await maybe_sent(post(clients, peer.url, method=method, reuse=reuse), "disconnected", peer)
    assert len(peer.connections) == 1, "nothing is repeated"


@pytest.mark.parametrize("hang_up", [PeerProtocol.close, PeerProtocol.reset])
async def test_dropped_right_after_accept(
    clients: HttpClients, peer: Peer, hang_up: Callable[[PeerProtocol], None]
) -> None:
    """Whether the news arrives before the first byte is a race; whatever is said must be true."""
    peer.on_connect = hang_up
    for _ in range(20):
        with pytest.raises((NotSent, MaybeSent)) as caught:
            await post(clients, peer.url)
        assert caught.value.reason == ("connect" if isinstance(caught.value, NotSent) else "disconnected")
    assert not peer.requests


async def test_reset_in_the_middle_of_the_request(clients: HttpClients, peer: Peer) -> None:
    peer.on_data = PeerProtocol.reset
    call = clients.client().post(peer.url, content=MARK * 80_000)
    await maybe_sent(call, "disconnected", peer, arrived=0)
    assert peer.received


ANSWERS: list[tuple[str, bytes, str]] = [
    ("half answer", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf", "disconnected"),
    ("half head", b"HTTP/1.1 200 OK\r\nContent-Le", "disconnected"),
    ("half chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf", "disconnected"),
    ("junk", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "protocol"),
    ("binary junk", bytes(range(256)) * 4, "protocol"),
    ("bad length", b"HTTP/1.1 200 OK\r\nContent-Length: minus one\r\n\r\n", "protocol"),
    ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "protocol"),
    ("endless head", b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 20_000, "protocol"),
    ("many headers", b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 500 + b"\r\n", "protocol"),
    ("only 100", b"HTTP/1.1 100 Continue\r\n\r\n", "disconnected"),
]


@pytest.mark.parametrize(("answer", "reason"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
async def test_broken_answers(clients: HttpClients, peer: Peer, answer: bytes, reason: str) -> None:
    def answer_and_close(conn: PeerProtocol) -> None:
        conn.send(answer)
        conn.close()

    peer.on_request = answer_and_close
    await maybe_sent(post(clients, peer.url), reason, peer)


async def test_an_answer_cut_after_every_byte(clients: HttpClients, peer: Peer) -> None:
    for size in range(len(BYE) + 1):

        def cut(conn: PeerProtocol, size: int = size) -> None:
            conn.send(BYE[:size])
            conn.close()

        peer.on_request = cut
        before = len(peer.requests)
        if size == len(BYE):
            assert (await post(clients, peer.url)).text == "hello"
        else:
            await maybe_sent(post(clients, peer.url), "disconnected", peer, arrived=before + 1)
    assert len(peer.requests) == len(BYE) + 1


async def test_hangs_past_the_deadline(clients: HttpClients, peer: Peer) -> None:
    peer.on_request = lambda conn: None
    error = await maybe_sent(post(clients, peer.url, deadline_seconds=0.1), "timeout", peer)
    assert "127.0.0.1: no complete answer came in time" in str(error)
    await peer.until(lambda: peer.connections[0].lost)


async def test_the_clients_own_timeout_is_the_deadline(clients: HttpClients, peer: Peer) -> None:
    peer.on_request = lambda conn: None
    await maybe_sent(clients.client(deadline=0.1).post(peer.url, content=MARK), "timeout", peer)


async def test_slow_drip_past_the_deadline(clients: HttpClients, peer: Peer) -> None:
    peer.on_request = lambda conn: conn.drip(OK)
    started = time.monotonic()
    await maybe_sent(post(clients, peer.url, deadline_seconds=0.2), "timeout", peer)
    assert time.monotonic() - started < 1


def gzipped(size: int) -> bytes:
    body = gzip.compress(b"\0" * size)
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"a" * 1001,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"64\r\n" + b"a" * 100 + b"\r\n") * 1000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 100_000,
        gzipped(50_000_000),
    ],
    ids=["length", "chunked", "until close", "gzip bomb"],
)
async def test_too_large(clients: HttpClients, peer: Peer, answer: bytes) -> None:
    peer.on_request = lambda conn: conn.send(answer)
    call = clients.client(max_body=1000).post(peer.url, content=MARK)
    await maybe_sent(call, "too_large", peer)


async def test_the_limit_itself_is_allowed_and_packed_answers_are_unpacked(clients: HttpClients, peer: Peer) -> None:
    for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"\0" * 1000, gzipped(1000)):
        peer.on_request = partial(lambda answer, conn: conn.send(answer), answer)
        response = await clients.client(max_body=1000).post(peer.url, content=MARK)
        assert response.content == b"\0" * 1000
        assert "content-encoding" not in response.headers
        assert response.headers["content-length"] == "1000"


async def test_a_packed_answer_of_rubbish(clients: HttpClients, peer: Peer) -> None:
    body = zlib.compress(b"hello")[:-3] + b"???"
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    peer.on_request = lambda conn: conn.send(answer)
    with pytest.raises(MaybeSent):
        await post(clients, peer.url)
    assert len(peer.requests) == 1


async def test_an_exception_nobody_foresaw(clients: HttpClients, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unheard(Exception):
        pass

    def broken(self: Connection) -> None:
        raise Unheard

    monkeypatch.setattr(Connection, "answer", broken)
    await maybe_sent(post(clients, peer.url), "other", peer)


async def test_cancelled_by_the_caller(clients: HttpClients, peer: Peer) -> None:
    peer.on_request = lambda conn: None
    task = asyncio.create_task(post(clients, peer.url))
    await peer.until(lambda: len(peer.requests) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await peer.until(lambda: peer.connections[0].lost)
    assert len(peer.requests) == 1


# --- kept connections, redirects, cookies


@pytest.mark.parametrize("method", METHODS)
async def test_a_connection_closed_while_idle_is_not_used(
    clients: HttpClients, peer: Peer, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = heard(monkeypatch, "connection_lost")
    for _ in range(5):
        lost.clear()
        assert (await post(clients, peer.url, method=method)).text == "hello"
        peer.connections[-1].close()
        await lost.wait()
    assert (len(peer.requests), len(peer.connections)) == (5, 5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("hang_up", [PeerProtocol.close, PeerProtocol.reset])
async def test_a_kept_connection_closed_just_then(
    clients: HttpClients, peer: Peer, method: str, hang_up: Callable[[PeerProtocol], None]
) -> None:
    """The server hangs up while our next request is under way: maybe sent, and sent once."""
    assert (await post(clients, peer.url, method=method)).text == "hello"
    peer.on_request = hang_up
    await maybe_sent(post(clients, peer.url, method=method), "disconnected", peer, arrived=2)
    assert len(peer.connections) == 1


async def test_unasked_words_on_an_idle_connection_are_no_answer(
    clients: HttpClients, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken = heard(monkeypatch, "data_received")
    assert (await post(clients, peer.url)).text == "hello"
    spoken.clear()
    peer.connections[0].send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    await spoken.wait()
    response = await post(clients, peer.url)
    assert (response.status_code, response.text) == (200, "hello")
    assert (len(peer.requests), len(peer.connections)) == (2, 2)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_answers(clients: HttpClients, peer: Peer, status: int) -> None:
    answer = f"HTTP/1.1 {status} Moved\r\nLocation: http://127.0.0.1:{peer.port}/else\r\nContent-Length: 0\r\n\r\n"
    peer.on_request = lambda conn: conn.send(answer.encode())
    assert (await post(clients, peer.url)).status_code == status
    assert len(peer.requests) == 1


async def test_cookies_are_not_kept(clients: HttpClients, peer: Peer) -> None:
    peer.on_request = lambda conn: conn.send(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b; Path=/\r\n\r\n"))
    client = clients.client()
    await client.get(peer.url)
    await client.get(peer.url)
    assert not any(b"cookie" in request.lower() for request in peer.requests)


async def test_the_environment_is_not_asked(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with open_http(LOOPBACK) as clients:  # with the real trust store
        assert (await post(clients, peer.url)).text == "hello"


async def test_errors_do_not_tell_secrets(clients: HttpClients, peer: Peer) -> None:
    peer.on_request = PeerProtocol.close
    secret = "s3cr3t-token"
    with pytest.raises(MaybeSent) as caught:
        await post(clients, f"{peer.url}/{secret}?AuthToken={secret}")
    assert secret not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# --- the other event loop

CASES: list[Callable[[HttpClients, Peer], Awaitable[None]]] = [
    partial(test_an_answer, method="POST", reuse=True),
    partial(test_dropped_after_the_request, method="PUT", reuse=True, hang_up=PeerProtocol.close),
    partial(test_dropped_after_the_request, method="POST", reuse=False, hang_up=PeerProtocol.reset),
    partial(test_dropped_right_after_accept, hang_up=PeerProtocol.close),
    partial(test_a_kept_connection_closed_just_then, method="GET", hang_up=PeerProtocol.close),
    test_reset_in_the_middle_of_the_request,
    test_hangs_past_the_deadline,
    test_tls_handshake_never_answered,
    test_in_time,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: getattr(case, "func", case).__name__)
def test_the_promise_holds_on_uvloop(case: Callable[[HttpClients, Peer], Awaitable[None]]) -> None:
    """uvloop writes at the end of a loop's turn and closes sockets by its own rules."""

    async def run() -> None:
        async with peers() as start, open_http(LOOPBACK, ssl_context=NO_TRUST) as clients:
            await case(clients, await start())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("cancelled", [False, True], ids=["deadline", "cancelled"])
@pytest.mark.parametrize("size", [900_000, 16_000_000], ids=["kernel buffer", "our buffer"])
@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
def test_nothing_leaves_after_the_end(
    loop: Callable[[], asyncio.AbstractEventLoop], cancelled: bool, size: int
) -> None:
    """What waits in our own and the kernel's buffers is thrown away, or a look-up after the deadline could lie."""

    async def run() -> None:
        async with peers() as start, open_http(LOOPBACK, ssl_context=NO_TRUST) as clients:
            peer = await start(receive_buffer=4096)
            peer.on_data = lambda conn: conn.transport.pause_reading()
            body = MARK.ljust(size, b".")
            call = clients.client().post(
                peer.url, content=body, extensions={"deadline_seconds": 5 if cancelled else 0.2}
            )
            if cancelled:
                task = asyncio.create_task(call)
                await peer.until(lambda: bool(peer.received))
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                await maybe_sent(call, "timeout", peer, arrived=0)
            had = len(peer.received)
            peer.on_data = lambda conn: None
            peer.connections[0].transport.resume_reading()
            await peer.until(lambda: peer.connections[0].lost)
            assert isinstance(peer.connections[0].lost_by, ConnectionResetError)
            assert not peer.requests
            assert len(peer.received) - had < 500_000, "no more than its own receive buffer held"

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


# --- the record of an attempt


async def test_the_record_keeps_every_exchange_without_credentials(clients: HttpClients, peer: Peer) -> None:
    recording = RecordingTransport(clients.transport(), secrets=["hunter2", "abc"])
    client = client_over(recording)
    headers = {"Authorization": "Bearer t0ken", "X-Api-Key": "k3y", "X-Order": "hunter2 abc"}
    peer.on_request = lambda conn: conn.send(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: s3ss\r\n\r\n"))
    response = await client.post(peer.url + "?AuthToken=t0ken&q=1", content=b'{"pass": "hunter2"}', headers=headers)
    assert response.text == "hello"
    peer.on_request = PeerProtocol.close
    with pytest.raises(MaybeSent):
        await client.get(peer.url)
    with pytest.raises(NotSent):
        await client.get("http://10.0.0.1/")
    good, lost, held = recording.exchanges
    assert (good.method, good.status, good.response_body, good.error) == ("POST", 200, b"hello", None)
    assert good.request_body == b'{"pass": "[redacted]"}'
    sent = dict(good.request_headers)
    assert (sent["authorization"], sent["x-api-key"], sent["x-order"]) == ("[redacted]", "[redacted]", "[redacted] abc")
    assert dict(good.response_headers)["set-cookie"] == "[redacted]"
    assert not any(secret in repr(good) for secret in ("t0ken", "k3y", "s3ss", "hunter2"))
    assert good.url == peer.url + "?AuthToken=%5Bredacted%5D&q=1"
    assert good.seconds > 0
    assert (lost.status, lost.error) == (None, "MaybeSent: disconnected")
    assert (held.status, held.error) == (None, "NotSent: forbidden")


async def test_a_plain_call_is_sent_and_kept_as_httpx_would(clients: HttpClients, peer: Peer) -> None:
    """Bytes to a plain address go past httpx's values, to an address of httpx's they do not."""
    peer.on_request = lambda conn: conn.send(OK.replace(b"\r\n\r\n", b"\r\nX-Note: \xd0\xb4\r\n\r\n"))
    records, heads, answers = [], [], []
    for url in (peer.url, httpx.URL(peer.url)):
        recording = RecordingTransport(clients.transport(), secrets=["hunter2"])
        extensions = {"deadline_seconds": 5.0, "private": True}
        answer = await client_over(recording).request(
            "POST", url, content=b"{}", headers={"Authorization": basic_auth("me", "hunter2")}, extensions=extensions
        )
        (kept,) = recording.exchanges
        records.append(replace(kept, seconds=0))
        heads.append(peer.requests[-1])
        answers.append((answer.status_code, answer.content, answer.headers.multi_items(), str(answer.request.url)))
    assert records[0] == records[1]
    assert heads[0] == heads[1]
    assert answers[0] == answers[1]
    assert (records[0].request_body, records[0].response_body) == (b"[redacted]", b"[redacted]")


# --- how plug-ins are tested without a network


async def test_a_driver_over_a_respx_router() -> None:
    router = respx.Router()
    route = router.post("https://api.example.org/receipts").respond(202, json={"id": "1"})
    recording = RecordingTransport(httpx.MockTransport(router.async_handler))
    response = await client_over(recording).post("https://api.example.org/receipts", json={"total": 100})
    assert (response.status_code, response.json(), route.call_count) == (202, {"id": "1"}, 1)
    assert recording.exchanges[0].response_body == response.content


async def test_a_driver_over_the_real_client_with_respx_patching_httpx(clients: HttpClients) -> None:
    with respx.mock(using="httpx") as router:
        router.get("https://api.example.org/receipts/1").mock(
            side_effect=NotSent("refused", "api.example.org: refused")
        )
        with pytest.raises(NotSent):
            await clients.client().get("https://api.example.org/receipts/1")
