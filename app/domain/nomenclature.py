"""Nomenclature: a merchant's rules from what sources send to what receipts say, and which of them fills a line.

One rule fills a line: the one with the highest priority, of those the most specific, of those the oldest. What it
leaves open comes from the settings, as if there were no rule.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from app.domain.contact import mask_contacts
from app.domain.defaults import Defaults
from app.domain.event import EventItem
from app.domain.ffd import PaymentKind
from app.domain.receipt import Agent

ANY = "*"
"""In a rule's text: any characters, none included."""

PERSON = "person"
"""`items_origin` of lines that a person typed: rules fill what they lack, but neither rename them, nor make somebody
else's of them, nor hold them."""

_SPACES = re.compile(r"\s+")
_TWINS = str.maketrans(
    dict.fromkeys("«»“”„‟‹›″", '"') | dict.fromkeys("‐‑‒–—―−", "-") | dict.fromkeys("‘’‚‛′`´", "'") | {"ё": "е"}
)
_SHOWN = 128


class Unmapped(Enum):
    """What becomes of a line that no rule covers: filled from the settings alone, held for a rule, or refused."""

    DEFAULT = "default"
    HOLD = "hold"
    REFUSE = "refuse"


def folded(text: str) -> str:
    """The text as rules compare it: without case, `ё` as `е`, typographic quotes and dashes as plain ones, spaces
    once."""
    return _SPACES.sub(" ", text.casefold().translate(_TWINS)).strip()


class Glob:
    """A rule's text: the whole text it must be, where each `*` stands for any characters."""

    __slots__ = ("_parts", "exact", "length", "stars")

    def __init__(self, text: str) -> None:
        self._parts = folded(text).split(ANY)
        self.stars = len(self._parts) - 1
        self.length = sum(map(len, self._parts))
        self.exact = self._parts[0] if not self.stars else None

    def matches(self, text: str) -> bool:
        """Whether this is it; `text` is folded. Takes time in proportion to the text, whatever the stars."""
        first, *middle = self._parts
        if not middle:
            return text == first
        last = middle.pop()
        if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        for part in middle:
            at = text.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a line must be like, all of it at once; None asks nothing. `source` and `branch` are ids.

    `payment_type`: some of the money came this way (an event that says nothing was paid electronically).
    """

    source: str | None = None
    branch: str | None = None
    payment_type: PaymentKind | None = None
    sku: str | None = None
    text: str | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for rules that ask the same: only one of them could ever win."""
        text = None if self.text is None else folded(self.text)
        return self.source, self.branch, self.payment_type, self.sku, text


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `answers.item_name` is the line's name; a rule without answers says that a line is right as it is.

    The name replaces the reported one; the rest fills what the event leaves open, or, with `override`, goes before
    what the event says.
    """

    id: str
    when: Conditions
    answers: Defaults = field(default_factory=Defaults)
    agent: Agent | None = None
    override: bool = False
    priority: int = 0


def rank(rule: Rule) -> tuple[object, ...]:
    """Sorts rules by precedence, the first wins. A rule that asks all that another asks, and more, comes before it
    unless a priority says otherwise."""
    when = rule.when
    glob = None if when.text is None else Glob(when.text)
    text = (0, 0, 0) if glob is None else (2 if glob.exact is not None else 1, glob.length, -glob.stars)
    narrowed = (when.branch is not None, when.payment_type is not None, when.source is not None)
    return (
        -rule.priority,
        when.sku is None,
        *(-each for each in text),
        -sum(narrowed),
        *(not each for each in narrowed),
        rule.id,
    )


@dataclass(frozen=True, slots=True)
class FilledLine:
    """What a rule did to a line: the members it gave, and the reported name where it gave another."""

    rule: str
    members: tuple[str, ...] = ()
    reported: str | None = None


@dataclass(frozen=True, slots=True)
class Filled:
    """By which version of the rules a receipt's lines were filled, line by line; None: by no rule."""

    version: int
    lines: tuple[FilledLine | None, ...]


@dataclass(frozen=True, slots=True)
class Fill:
    """A line with what its rule says. `answers` are the rule's, for what the line still leaves open."""

    item: EventItem
    answers: Defaults
    line: FilledLine


class Matcher:
    """The rules of one source and branch, indexed; `unmapped` is the policy there."""

    __slots__ = ("_anything", "_by_id", "_by_sku", "_by_text", "_patterns", "place", "unmapped", "version")

    def __init__(self, version: int, ranked: Iterable[Rule], unmapped: Unmapped, **place: str | None) -> None:
        self.version = version
        self.unmapped = unmapped
        self.place = place
        self._by_id: dict[str, Rule] = {}
        self._by_sku: dict[str, list[tuple[int, Rule, Glob | None]]] = {}
        self._by_text: dict[str, list[tuple[int, Rule, Glob | None]]] = {}
        self._patterns: list[tuple[int, Rule, Glob | None]] = []
        self._anything: list[tuple[int, Rule, Glob | None]] = []
        for number, rule in enumerate(ranked):
            glob = None if rule.when.text is None else Glob(rule.when.text)
            self._by_id[rule.id] = rule
            self._shelf(rule, glob).append((number, rule, glob))

    def _shelf(self, rule: Rule, glob: Glob | None) -> list[tuple[int, Rule, Glob | None]]:
        if rule.when.sku is not None:
            return self._by_sku.setdefault(rule.when.sku, [])
        if glob is None:
            return self._anything
        return self._patterns if glob.exact is None else self._by_text.setdefault(glob.exact, [])

    def __bool__(self) -> bool:
        """Whether it changes anything."""
        return bool(self._by_id) or self.unmapped is not Unmapped.DEFAULT

    def rule(self, rule_id: str) -> Rule | None:
        """The rule as it is in this version, if it is still there."""
        return self._by_id.get(rule_id)

    def find(self, sku: str | None, text: str, kinds: frozenset[str]) -> Rule | None:
        """The rule that wins for a line; `kinds` are API names of the payment kinds of its event."""
        text = folded(text)
        best: tuple[int, Rule] | None = None
        for shelf in (
            self._by_sku.get(sku, ()) if sku is not None else (),
            self._by_text.get(text, ()),
            self._patterns,
            self._anything,
        ):
            for place, rule, glob in shelf:
                if best is not None and place > best[0]:
                    break
                kind = rule.when.payment_type
                if (kind is None or kind.code in kinds) and (glob is None or glob.matches(text)):
                    best = (place, rule)
                    break
        return None if best is None else best[1]

    def fill(
        self, item: EventItem, kinds: frozenset[str], *, delivered: bool | None = None, by_person: bool = False
    ) -> Fill | None:
        """The line as its rule wants it; None when no rule covers it."""
        rule = self.find(item.sku, item.name, kinds)
        if rule is None:
            return None
        answers, override = rule.answers, rule.override and not by_person
        members: list[str] = []
        changes: dict[str, object] = {}
        if answers.item_name is not None and not by_person:
            changes["name"] = answers.item_name
            members.append("name")
        for name in ("payment_object", "vat", "measure"):
            if getattr(answers, name) is not None and (override or getattr(item, name) is None):
                changes[name] = None
                members.append(name)
        if (method := answers.payment_method) is not None:
            if override:
                changes["payment_method"] = method.code
                members.append("payment_method")
            elif item.payment_method is None and (
                delivered is None or (delivered is False and method.before_handing_over)
            ):
                members.append("payment_method")
        if rule.agent is not None and (override or (item.agent is None and not by_person)):
            changes["agent"] = rule.agent
            members.append("agent")
        said = replace(item, **changes)  # type: ignore[arg-type]  # members of an EventItem by name
        reported = item.name if "name" in members and item.name and said.name != item.name else None
        if by_person:
            answers = replace(answers, item_name=None)
        return Fill(said, answers, FilledLine(rule.id, tuple(members), reported))


class RuleSet:
    """All rules of a merchant in one version; matchers are made once per source, branch and policy."""

    __slots__ = ("_matchers", "_ranked", "version")

    def __init__(self, version: int, rules: Iterable[Rule]) -> None:
        self.version = version
        self._ranked = sorted(rules, key=rank)
        self._matchers: dict[tuple[str, str | None, Unmapped], Matcher] = {}

    def at(self, source: str, branch: str | None, unmapped: Unmapped) -> Matcher:
        """The rules that can hold for events of this source and branch (None: of no branch)."""
        place = (source, branch, unmapped)
        made = self._matchers.get(place)
        if made is None:
            here = [
                rule
                for rule in self._ranked
                if rule.when.source in (None, source) and (rule.when.branch is None or rule.when.branch == branch)
            ]
            made = Matcher(self.version, here, unmapped, source=source, branch=branch)
            self._matchers[place] = made
        return made


def sought(sku: str | None, text: str, kinds: frozenset[str], place: Mapping[str, str | None]) -> str:
    """What a missing rule would have to match, for a person: the text and code, how it was paid, where it came from."""
    told = [f"text «{mask_contacts(_SPACES.sub(' ', text).strip())[:_SHOWN]}»"]
    if sku is not None:
        told.append(f"sku {mask_contacts(sku)}")
    told.append(f"payment_type {', '.join(sorted(kinds))}")
    told += [f"{name} {value}" for name, value in place.items() if value is not None]
    return "; ".join(told)


def as_printed(items: Sequence[EventItem], sales: Iterable[tuple[Filled, Sequence[str]]]) -> tuple[EventItem, ...]:
    """Lines that a source names as it named them in the sale, under the names that the sale's receipt printed.

    `sales` are what rules did to each sale, with the names of its lines. A reported name that became several printed
    ones stays as it is.
    """
    printed: dict[str, set[str]] = {}
    for filled, names in sales:
        for line, name in zip(filled.lines, names, strict=False):
            if line is not None and line.reported is not None:
                printed.setdefault(folded(line.reported), set()).add(name)
    renamed = []
    for item in items:
        found = printed.get(folded(item.name), set())
        renamed.append(replace(item, name=next(iter(found))) if len(found) == 1 else item)
    return tuple(renamed)
