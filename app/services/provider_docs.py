"""The page about providers, printed from what the drivers declare: what each can do, and how an unknown outcome ends.

Nothing here is written by hand about one provider: a new driver is on the page when `crm-kassa docs` is run again.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from app.domain.carriage import OPTIONAL
from app.domain.decide import LookupClass
from app.domain.ffd import FfdVersion, Operation
from app.domain.tags import TAGS
from app.ports.kassa import Capabilities, KassaDriver

_HEAD = """# Providers

This page is printed from the capabilities that the drivers in `app/kassas/` declare, and compared with them by a test.
After a change there, write it anew: `crm-kassa docs --out docs`. How to add a provider:
[adding-a-kassa.md](adding-a-kassa.md).
"""

_CLASSES = """## What the class decides

A request may have arrived although its answer was lost. How such an `unknown` ends depends on what the provider offers
at that moment; windows run from the first time the receipt was sent, and the class is computed anew each time.

| class | our id deduplicates | can be asked by our id | after an unknown outcome |
|---|---|---|---|
| A | yes | yes | ask; if it is not there, send again with the same id |
| B | no | yes | ask twice, at least the visibility delay apart; then send again |
| C | yes | no | send again with the same id: the repeat is the question |
| D | no | no | `needs_attention`: a person decides, nothing is sent by itself |
"""

_ENDLESS, _UNLIMITED = "without limit", "no limit is known"


def markdown(drivers: Iterable[KassaDriver]) -> str:
    """The whole page, ending with a newline; providers in the order given."""
    listed = list(drivers)
    return "\n".join([_HEAD, _overview(listed), _CLASSES, *map(_provider, listed)])


def _overview(drivers: Sequence[KassaDriver]) -> str:
    heads = ("provider", "FFD", "operations", "corrections", "class", "callbacks", "marking", "agents")
    return _table(
        heads,
        (
            (
                f"[{driver.title}](#{driver.code})",
                _formats(can.ffd),
                _operations(can),
                _formats(can.corrections),
                " → ".join(cls.value for _, cls in windows(can)),
                _yes(can.callbacks),
                _yes(can.marking),
                _yes(can.agents),
            )
            for driver in drivers
            for can in (driver.capabilities,)
        ),
    )


def windows(can: Capabilities) -> list[tuple[float, LookupClass]]:
    """(seconds since the first send, class from then on), beginning with 0; neighbors differ."""
    edges = sorted({0.0, *(edge for edge in (can.dedup_seconds, can.lookup_seconds) if edge is not None)})
    found: list[tuple[float, LookupClass]] = []
    for edge in edges:
        cls = can.lookup_class(edge)
        if not found or found[-1][1] is not cls:
            found.append((edge, cls))
    return found


def _provider(driver: KassaDriver) -> str:
    can = driver.capabilities
    schedule = ", ".join(map(_span, can.poll_schedule_seconds))
    rows = (
        ("FFD", _formats(can.ffd)),
        ("operations", _operations(can)),
        ("correction receipts", _formats(can.corrections)),
        ("class of an unknown outcome", _classes(can)),
        ("our id deduplicates", _window(can.dedup_seconds)),
        ("can be asked by our id", _window(can.lookup_seconds)),
        ("visibility delay: a printed receipt may stay unseen for", _span(can.visibility_seconds)),
        ("callbacks (a hint to ask now, never believed)", _yes(can.callbacks)),
        ("marked goods", _yes(can.marking)),
        ("agents", _yes(can.agents)),
        ("additional receipt property (tag 1192)", _yes(can.additional_receipt_prop)),
        *((f"not carried by FFD {ffd.value}", _not_carried(can, ffd)) for ffd in FfdVersion if ffd in can.ffd),
        ("lines of a receipt, at most", str(can.max_items)),
        ("decimals of a quantity, at most", str(can.quantity_decimals)),
        ("receipts in flight, by default", str(can.max_in_flight)),
        ("requests per second", _UNLIMITED if can.requests_per_second is None else f"{can.requests_per_second:g}"),
        ("deadline of one exchange", _span(can.wire_seconds)),
        ("an accepted receipt is asked for after", schedule),
    )
    parts = [
        f"## {driver.code}\n",
        f"{driver.title}, protocol {driver.protocol_version} ([the provider's document]({driver.docs_url})),",
        f"called at `{driver.default_base_url}` unless the kassa names another base URL.\n",
        _table(("what", "declared"), rows),
        "Credentials:\n",
        _table(("member", "meaning", "form", "secret", "required"), _credentials(driver)),
    ]
    if can.notes:
        parts += ["Notes:\n", *(f"- {note}" for note in can.notes), ""]
    return "\n".join(parts)


def _not_carried(can: Capabilities, ffd: FfdVersion) -> str:
    """Optional requisites that are refused before a receipt is queued; those that the format itself lacks too."""
    carried = can.carried(ffd)
    if carried is None or carried >= OPTIONAL:
        return "–"
    return ", ".join(f"{tag} {TAGS[tag].ru}" for tag in sorted(OPTIONAL - carried))


def _credentials(driver: KassaDriver) -> Iterator[tuple[str, ...]]:
    schema = driver.Credentials.model_json_schema()
    required = schema.get("required", ())
    for name, member in schema.get("properties", {}).items():
        meaning = member.get("description") or member.get("title") or ""
        secret = _yes(bool(member.get("writeOnly")))
        yield f"`{name}`", str(meaning), _form(member, schema.get("$defs", {})), secret, _yes(name in required)


def _form(member: dict[str, Any], known: dict[str, Any]) -> str:
    """A JSON schema in a few words: its type or its allowed values."""
    if "$ref" in member:
        return _form(known.get(str(member["$ref"]).rpartition("/")[2], {}), known)
    if "anyOf" in member:
        return " or ".join(form for each in member["anyOf"] if (form := _form(each, known)) != "null")
    if "enum" in member or "const" in member:
        return ", ".join(f"`{value}`" for value in member.get("enum", [member.get("const")]))
    return str(member.get("type", "any"))


def _classes(can: Capabilities) -> str:
    steps = windows(can)
    if len(steps) == 1:
        return f"{steps[0][1].value}, for good"
    told = [f"{cls.value} until {_span(end)}" for (_, cls), (end, _) in pairwise(steps)]
    return f"{', '.join(told)} after the first send, then {steps[-1][1].value}"


def _window(seconds: float | None) -> str:
    if seconds is None:
        return _ENDLESS
    return f"for {_span(seconds)} after the first send" if seconds else "no"


def _span(seconds: float) -> str:
    """Seconds as a person says them, without losing any."""
    for size, unit, least in ((86_400, "days", 2 * 86_400), (3600, "h", 3600), (60, "min", 120)):
        if seconds >= least and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def _formats(versions: Iterable[FfdVersion]) -> str:
    return ", ".join(version.value for version in FfdVersion if version in set(versions)) or "no"


def _operations(can: Capabilities) -> str:
    if can.operations == frozenset(Operation):
        return "all four"
    return ", ".join(f"`{operation.code}`" for operation in Operation if operation in can.operations)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(map(_cell, cells))} |" for cells in (heads, *rows)]
    return "\n".join([lines[0], "|---" * len(heads) + "|", *lines[1:], ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
