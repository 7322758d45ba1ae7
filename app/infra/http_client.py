"""httpx's client over our transport: what is written against httpx's API runs here, at the price of an exchange."""

from base64 import b64encode
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from app.infra.http_record import RecordingTransport
from app.infra.http_transport import CONNECT_SECONDS, DEADLINE_SECONDS, Transport, Whole, first
from app.infra.http_wire import Target

_DETOURS = ("data", "files", "json", "params", "cookies")
_PLAIN = frozenset({"content", "headers", "extensions"})
_ANYWHERE = httpx.URL("https://anywhere.invalid/")


class Client(httpx.AsyncClient):
    """httpx's client without the machinery between it and its transport that we never use: no redirects, no cookies,
    no challenges. That machinery costs more than the exchange itself."""

    def __init__(self, transport: httpx.AsyncBaseTransport, timeout: httpx.Timeout) -> None:
        super().__init__(
            transport=transport,
            timeout=timeout,
            headers={"Accept-Encoding": "identity", "User-Agent": "crm-kassa"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            follow_redirects=False,
            trust_env=False,
        )
        self._habits = [(name.lower(), name, value) for name, value in self.headers.raw if name != b"Connection"]
        self._timeouts = timeout.as_dict()

    async def request(self, method: str, url: httpx.URL | str, **options: Any) -> httpx.Response:
        """A driver's call, bytes and headers to a plain address, past httpx's values; all else in httpx's own way."""
        content, headers, told = options.get("content"), options.get("headers"), options.get("extensions") or {}
        target = Target.plain(url) if isinstance(url, str) else None
        # Asked of httpx, because that is where respx steps in; nothing is mounted, so it asks for no address.
        transport = self._transport_for_url(_ANYWHERE)
        recorder = transport if isinstance(transport, RecordingTransport) else None
        direct = transport if recorder is None else recorder.inner
        plain = type(headers) is dict and (content is None or type(content) is bytes)
        detour = any(value is not None for name, value in options.items() if name not in _PLAIN)
        if target is None or detour or not plain or not isinstance(direct, Transport):
            return await super().request(method, url, **options)
        lines = self._headers_for(target.authority, headers or {})
        if content is not None:
            lines.append((b"Content-Length", b"%d" % len(content)))
        limits: dict[str, Any] = {
            "deadline": first(told.get("deadline_seconds"), self._timeouts["read"], DEADLINE_SECONDS),
            "connect": first(self._timeouts["connect"], CONNECT_SECONDS),
            "not_after": told.get("not_after"),
        }
        if recorder is None:
            answer = await direct.exchange(method, target, lines, content or b"", **limits)
        else:
            private = bool(told.get("private"))
            answer = await recorder.exchange(direct, method, target, lines, content or b"", private=private, **limits)
        return Whole(answer, (method, target.url))

    def _headers_for(self, authority: bytes, headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
        """Those that are given, and our habits where none is."""
        given = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
        named = {name.lower() for name, _ in given}
        habits = [(name, value) for lower, name, value in self._habits if lower not in named]
        return [*habits, *given] if b"host" in named else [(b"Host", authority), *habits, *given]

    @property
    def direct(self) -> Transport | None:
        """The transport itself, for whoever has no use for httpx's values; None where something stands before it."""
        return self._transport if isinstance(self._transport, Transport) else None

    def over(self, transport: httpx.AsyncBaseTransport, *, deadline: float) -> "Client":
        """The same client over another transport: a copy, because making one costs more than a whole exchange."""
        copy = object.__new__(Client)
        copy.__dict__.update(self.__dict__)
        copy._transport = transport
        copy._timeout = _timeout(deadline, CONNECT_SECONDS)
        copy._timeouts = copy._timeout.as_dict()
        return copy

    def build_request(self, method: str, url: httpx.URL | str, **options: Any) -> httpx.Request:
        """What calls of drivers are made of, bytes and headers, without the detours; all else in httpx's own way."""
        content, headers, extensions = options.get("content"), options.get("headers"), options.get("extensions")
        plain = all(options[name] is None for name in _DETOURS if name in options)
        at_default = options.get("timeout", httpx.USE_CLIENT_DEFAULT) is httpx.USE_CLIENT_DEFAULT
        target = url if isinstance(url, httpx.URL) else httpx.URL(url)
        if not (plain and at_default and type(content) is bytes and type(headers) is dict and target.is_absolute_url):
            return super().build_request(method, url, **options)
        return httpx.Request(
            method,
            target,
            headers=[*self._headers_for(target.netloc, headers), (b"Content-Length", b"%d" % len(content))],
            stream=httpx.ByteStream(content),
            extensions={"timeout": self._timeouts, **(extensions or {})},
        )

    async def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
        """Straight to the transport; with an `Auth` that may ask again, or redirects, in httpx's own way."""
        auth = options.get("auth")
        if isinstance(auth, httpx.BasicAuth):
            request = next(auth.sync_auth_flow(request))
        elif isinstance(auth, httpx.Auth | tuple) or request.url.userinfo or options.get("follow_redirects") is True:
            return await super().send(request, stream=stream, **options)
        # Asked of httpx, because that is where respx steps in.
        response = await self._transport_for_url(request.url).handle_async_request(request)
        response.request = request
        if not stream:
            await response.aread()
        return response


def basic_auth(user: str, password: str) -> str:
    """The value of an `Authorization` header (RFC 7617)."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def client_over(
    transport: httpx.AsyncBaseTransport, *, deadline: float = DEADLINE_SECONDS, connect: float = CONNECT_SECONDS
) -> Client:
    """A client with our habits over any transport: no redirects, no cookies, no environment. Builds no SSL context."""
    return Client(transport, _timeout(deadline, connect))


@lru_cache(maxsize=256)
def _timeout(deadline: float, connect: float) -> httpx.Timeout:
    return httpx.Timeout(deadline, connect=connect)
