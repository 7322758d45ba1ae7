"""What single settings say, read and judged before anything is opened: SettingInvalid names the variable."""

import re
from urllib.parse import unquote

from app.domain.deadline import Limits as DeadlineLimits
from app.infra.calendar import ProductionCalendar, parse_exceptions
from app.infra.failpoints import Failpoints
from app.infra.tracing import OFF, Tracing
from app.keys import SettingInvalid
from app.services.deadline_policy import DeadlinePolicy
from app.settings import Settings

_TRACES = "/v1/traces"
_ADDRESS = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(:[0-9]{1,5})?(/[^?#@\s]*)?")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def failpoints_of(settings: Settings) -> Failpoints:
    """What a test armed; without KASSA_TESTING nothing. SettingInvalid names the entry that is wrong."""
    try:
        return Failpoints.parse(settings.failpoints if settings.testing else "")
    except ValueError as wrong:
        raise SettingInvalid(str(wrong)) from None


def deadline_policy_of(settings: Settings) -> DeadlinePolicy:
    """The deadline clock with its calendar. SettingInvalid names the day that cannot be read."""
    try:
        exceptions = parse_exceptions(settings.working_days)
    except ValueError as wrong:
        raise SettingInvalid(f"KASSA_WORKING_DAYS: {wrong}") from None
    limits = DeadlineLimits(settings.operational_limit_seconds, settings.contact_wait_seconds)
    return DeadlinePolicy(ProductionCalendar(exceptions), limits)


def tracing_of(settings: Settings) -> Tracing:
    """Traces to the collector of KASSA_OTLP_ENDPOINT; without it none, and nothing is loaded that could make them."""
    if not settings.otlp_endpoint:
        return OFF
    url = traces_url(settings.otlp_endpoint)
    headers = headers_of("" if settings.otlp_headers is None else settings.otlp_headers.get_secret_value())
    try:
        from app.infra.tracing_otlp import OtlpTracing
    except ModuleNotFoundError as missing:
        raise SettingInvalid(
            f"KASSA_OTLP_ENDPOINT is set, and {missing.name} is not installed: pip install 'crm-kassa[otel]'."
        ) from None
    return OtlpTracing(url, headers, settings.otlp_sample_ratio)


def traces_url(endpoint: str) -> str:
    """The collector's address with the path that OTLP/HTTP has for traces, unless it stands there already."""
    if not _ADDRESS.fullmatch(endpoint):
        raise SettingInvalid(
            "KASSA_OTLP_ENDPOINT: give the collector's address, such as http://collector:4318; what it wants to know "
            "of us belongs into KASSA_OTLP_HEADERS."
        )
    return endpoint.rstrip("/").removesuffix(_TRACES) + _TRACES


def headers_of(text: str) -> dict[str, str]:
    """`name=value,name=value`, values with percent signs as in URLs: the form of OTEL_EXPORTER_OTLP_HEADERS."""
    found = {}
    for pair in text.split(","):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not (name or equals):
            continue
        value = unquote(value)
        if not (equals and _HEADER.fullmatch(name) and value.isascii() and value.isprintable()):
            raise SettingInvalid("KASSA_OTLP_HEADERS: write name=value, several with commas between them.")
        found[name] = value
    return found
