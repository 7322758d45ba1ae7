"""A raw HTTP request from outside, kept as it came: signatures are checked over these bytes."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class InboundRequest:
    """Method, path part, query string, headers (lower-case names) and the body's raw bytes."""

    method: str
    part: str
    query: str
    headers: dict[str, str]
    body: bytes
    peer: str = ""


@dataclass(frozen=True, slots=True)
class InboundReply:
    """What this sender expects to hear; another answer makes it repeat itself."""

    status: int = 200
    body: bytes = b""
    media_type: str = "text/plain"
    headers: dict[str, str] = field(default_factory=dict)
