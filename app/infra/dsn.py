"""The database URL a person writes, read once and handed to asyncpg without surprises.

Accepts the usual spellings (several hosts, unix sockets, TLS options), refuses what would fail later or mean
something else, and never lets the password into a log line or an error.
"""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import quote, unquote

_DEFAULT_PORT = 5432
_SCHEMES = frozenset({"postgresql", "postgres", "postgresql+asyncpg", "postgres+asyncpg"})
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_WRITABLE = ("any", "primary", "read-write")
_READ_ONLY = ("standby", "prefer-standby", "read-only")
# Anything else would travel to the server as a run-time parameter, so that a misspelt `sslmod=require`
# connects without TLS or fails with a message about the server.
_PASSED_ON = frozenset(
    {
        "application_name",
        "gsslib",
        "krbsrvname",
        "options",
        "passfile",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslnegotiation",
        "sslpassword",
        "sslrootcert",
    }
)
_SECRET = frozenset({"sslpassword"})
_HOST_NAME = re.compile(r"[\w.-]+")
_SHAPE = "postgresql://user:password@host:5432/database"
_ENCODE = "write / ? # % of a user name or password percent-encoded, for example # as %23"


@dataclass(frozen=True, slots=True)
class Host:
    """One place to connect to: a host name, an IP address, or a socket directory (starts with `/`)."""

    name: str
    port: int = _DEFAULT_PORT

    @property
    def is_socket(self) -> bool:
        return self.name.startswith("/")

    @property
    def _written(self) -> str:
        return f"[{self.name}]" if ":" in self.name and not self.is_socket else self.name


@dataclass(frozen=True, slots=True, repr=False)
class Dsn:
    """A checked database URL. `str()` and `repr()` hide the password; only `asyncpg_dsn` carries it."""

    user: str | None
    password: str | None
    hosts: tuple[Host, ...]
    database: str
    ssl_mode: str = "prefer"
    target_session_attrs: str = "any"
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `postgresql://`, `postgres://` or `postgresql+asyncpg://` with one or several hosts.

        With several hosts and no `target_session_attrs` the primary is asked for: a write must never land on a
        standby. Raises `ValueError` with one sentence; it never repeats the text, which holds the password.
        """
        authority, path, query = _split(text.strip())
        userinfo, _, hostlist = authority.rpartition("@")
        user, _, password = (_decode(part) for part in userinfo.partition(":"))
        options = _options(query)

        hostlist = _one("host", _decode(hostlist), ",".join(options.pop("host", [])))
        if not hostlist:
            raise ValueError(f"The database URL names no host; write {_SHAPE}, or ?host=/directory for a unix socket.")
        hosts = _with_ports(list(_hosts(hostlist)), ",".join(options.pop("port", [])))

        single = {name: _one(name, *values) for name, values in options.items()}
        user = _one("user", user, single.pop("user", ""))
        password = _one("password", password, single.pop("password", ""))
        database = _one("database", path, single.pop("dbname", ""), single.pop("database", ""))
        if not database:
            raise ValueError(f"The database URL names no database; write it as {_SHAPE}.")

        ssl_mode = single.pop("sslmode", "disable" if all(host.is_socket for host in hosts) else "prefer")
        if ssl_mode not in _SSL_MODES:
            raise ValueError(f"sslmode in the database URL must be one of {', '.join(_SSL_MODES)}.")
        session = single.pop("target_session_attrs", "primary" if len(hosts) > 1 else "any")
        if session in _READ_ONLY:
            raise ValueError(
                f"target_session_attrs={session} in the database URL asks for a server that cannot be written to; "
                "use primary."
            )
        if session not in _WRITABLE:
            raise ValueError(f"target_session_attrs in the database URL must be one of {', '.join(_WRITABLE)}.")
        for name in single:
            if name not in _PASSED_ON:
                raise ValueError(f"The parameter {_shown(name)} of the database URL is not supported; remove it.")
        return cls(
            user=user or None,
            password=password or None,
            hosts=hosts,
            database=database,
            ssl_mode=ssl_mode,
            target_session_attrs=session,
            options=tuple(sorted(single.items())),
        )

    @property
    def asyncpg_dsn(self) -> str:
        """The URL for `asyncpg.connect`; also understood by libpq programs (psql, pg_dump). Holds the password."""
        userinfo = quote(self.user or "", safe="")
        if self.password is not None:
            userinfo += ":" + quote(self.password, safe="")
        # Hosts go into the query: urllib refuses several bracketed IPv6 hosts, and sockets fit only there.
        pairs = [
            ("host", ",".join(host._written for host in self.hosts)),
            ("port", ",".join(str(host.port) for host in self.hosts)),
            *self._parameters(),
        ]
        return f"postgresql://{userinfo}@/{quote(self.database, safe='')}?{_query(pairs)}"

    @property
    def connect_kwargs(self) -> dict[str, str]:
        """Arguments for `asyncpg.connect` beside `asyncpg_dsn`: they keep PGSSLMODE and PGTARGETSESSIONATTRS of the
        environment from changing what the URL says."""
        return {"ssl": self.ssl_mode, "target_session_attrs": self.target_session_attrs}

    @property
    def redacted(self) -> str:
        """The URL for logs and messages: every secret is `***`."""
        userinfo = quote(self.user or "", safe="") + (":***" if self.password is not None else "")
        tcp = ",".join(f"{host._written}:{host.port}" for host in self.hosts if not host.is_socket)
        pairs = [("host", f"{host.name}:{host.port}") for host in self.hosts if host.is_socket]
        pairs += [(name, "***" if name in _SECRET else value) for name, value in self._parameters()]
        return f"postgresql://{userinfo}{'@' if userinfo else ''}{tcp}/{quote(self.database, safe='')}?{_query(pairs)}"

    def with_database(self, name: str) -> Self:
        """The same server, another database."""
        if not name:
            raise ValueError("The name of a database must not be empty.")
        return replace(self, database=name)

    def _parameters(self) -> list[tuple[str, str]]:
        return [("sslmode", self.ssl_mode), ("target_session_attrs", self.target_session_attrs), *self.options]

    def __str__(self) -> str:
        return self.redacted

    def __repr__(self) -> str:
        return f"Dsn({self.redacted!r})"


def _split(text: str) -> tuple[str, str, str]:
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise ValueError(f"The database URL has no scheme; write it as {_SHAPE}.")
    if scheme.lower() not in _SCHEMES:
        if scheme.lower().startswith("postgres"):
            raise ValueError(f"The database URL names another driver; write it as {_SHAPE}.")
        raise ValueError(f"The database must be PostgreSQL; write its URL as {_SHAPE}.")
    if re.search(r"[\s\x00-\x1f\x7f]", rest):
        raise ValueError("The database URL holds a space or control character; write a space as %20.")
    if "#" in rest:
        raise ValueError(f"The database URL holds a #; {_ENCODE}.")
    before_query, _, query = rest.partition("?")
    authority, _, path = before_query.partition("/")
    if "/" in path or "@" in path:
        raise ValueError(f"The name of the database in the database URL holds a / or @; {_ENCODE}.")
    return authority, _decode(path), query


def _decode(text: str) -> str:
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("A percent-encoded part of the database URL is not UTF-8.") from None
    if "\x00" in decoded:
        raise ValueError("The database URL holds a NUL character.")
    return decoded


def _options(query: str) -> dict[str, list[str]]:
    options: dict[str, list[str]] = {}
    for pair in filter(None, query.split("&")):
        name, separator, value = pair.partition("=")
        if not separator:
            raise ValueError(
                "A parameter of the database URL has no value; write name=value, and a ? in a password as %3F."
            )
        options.setdefault(_decode(name), []).append(_decode(value))
    return options


def _one(name: str, *values: str) -> str:
    """The one value that was written, empty when none was."""
    written = [value for value in values if value]
    if len(written) > 1:
        raise ValueError(f"The database URL gives {_shown(name)} twice; keep one.")
    return written[0] if written else ""


def _shown(name: str) -> str:
    """A name that may be repeated in a message: what stands there can also be a piece of a password."""
    return f"'{name}'" if re.fullmatch(r"[a-z_]{1,40}", name) else "(not shown)"


def _hosts(hostlist: str) -> Iterator[tuple[str, int | None]]:
    """Split `h1:5432,[::1],/run/postgresql`; a part that is no host is never repeated, it may be a password."""
    for part in hostlist.split(","):
        if part.startswith("/"):
            name, _, port = part.rpartition(":") if re.search(r":[0-9]+$", part) else (part, "", "")
        elif part.startswith("["):
            name, bracket, port = part[1:].partition("]")
            try:
                ipaddress.IPv6Address(name)
            except ValueError:
                raise ValueError("A host in brackets of the database URL is not an IPv6 address.") from None
            if not bracket or (port and not port.startswith(":")):
                raise ValueError("A host in brackets of the database URL is not written as [address]:port.")
            port = port.removeprefix(":")
        else:
            name, _, port = part.partition(":")
            if not _HOST_NAME.fullmatch(name):
                raise ValueError(f"A host of the database URL is empty or not a host name; {_ENCODE}.")
        yield name, _port(port) if port else None


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise ValueError(f"A port of the database URL is not a number from 1 to 65535; {_ENCODE}.")
    return int(text)


def _with_ports(hosts: list[tuple[str, int | None]], written: str) -> tuple[Host, ...]:
    if not written:
        return tuple(Host(name, port or _DEFAULT_PORT) for name, port in hosts)
    if any(port is not None for _, port in hosts):
        raise ValueError("The database URL names its ports twice, with the hosts and in port=; keep one.")
    ports = [_port(text) for text in written.split(",")]
    if len(ports) == 1:
        ports *= len(hosts)
    if len(ports) != len(hosts):
        raise ValueError(f"The database URL names {len(ports)} ports for {len(hosts)} hosts.")
    return tuple(Host(name, port) for (name, _), port in zip(hosts, ports, strict=True))


def _query(pairs: list[tuple[str, str]]) -> str:
    return "&".join(f"{name}={quote(value, safe='/:,[]*')}" for name, value in pairs)
