"""The lines of one event under the nomenclature: which rule filled which, what none covers, what a rule did wrong."""

import re
from collections.abc import Sequence

from app.domain.defaults import Defaults, merge
from app.domain.errors import Finding
from app.domain.event import EventItem, PaymentEvent
from app.domain.ffd import PaymentKind
from app.domain.nomenclature import PERSON, Filled, FilledLine, Matcher, Unmapped, sought
from app.domain.plan import Missing

_MEMBER = re.compile(r"#/items/([0-9]+)/(\w+)")
_ELECTRONIC = frozenset({PaymentKind.ELECTRONIC.code})


def kinds_of(event: PaymentEvent) -> frozenset[str]:
    """How the money of an event came, as API names of payment kinds; an event that says nothing: electronically."""
    return frozenset(payment.kind for payment in event.payments) or _ELECTRONIC


class RuledLines:
    """Applies a matcher (None: there are no rules) to the lines of an event, by their number in it."""

    def __init__(self, matcher: Matcher | None, event: PaymentEvent) -> None:
        self._matcher = matcher
        self._delivered = event.delivered
        self._by_person = event.items_origin == PERSON
        self._kinds = _ELECTRONIC if matcher is None else kinds_of(event)
        self._lines: dict[int, FilledLine] = {}

    def line(
        self, index: int, pointer: str, item: EventItem, defaults: Defaults
    ) -> tuple[EventItem, Defaults] | Missing | Finding:
        """The line as its rule wants it, and what answers for the rest. Where no rule covers it and one must: what is
        missing, or why it is refused."""
        matcher = self._matcher
        if matcher is None:
            return item, defaults
        fill = matcher.fill(item, self._kinds, delivered=self._delivered, by_person=self._by_person)
        if fill is not None:
            self._lines[index] = fill.line
            return fill.item, merge(fill.answers, defaults)
        if self._by_person or matcher.unmapped is Unmapped.DEFAULT:
            return item, defaults
        told = sought(item.sku, item.name, self._kinds, matcher.place)
        return _refused(pointer, told) if matcher.unmapped is Unmapped.REFUSE else _missing(pointer, told)

    @property
    def named(self) -> bool:
        """Whether a rule named a line."""
        return any("name" in line.members for line in self._lines.values())

    def filled(self, origin_of: Sequence[int]) -> Filled | None:
        """What a receipt keeps of it; `origin_of` are the event's lines behind each line of the receipt."""
        if self._matcher is None or not self._lines:
            return None
        return Filled(self._matcher.version, tuple(self._lines.get(index) for index in origin_of))

    def fault(self, finding: Finding) -> Missing | None:
        """A finding about what a rule filled: the rule is to be mended, not the report. None: it is the report's."""
        place = _MEMBER.match(finding.pointer)
        line = None if place is None else self._lines.get(int(place[1]))
        if place is None or line is None:
            return None
        member = "payment_object" if finding.rule == "mark_missing" else place[2]
        return _wrong(finding, line.rule) if member in line.members else None


def _missing(pointer: str, told: str) -> Missing:
    return Missing(
        "nomenclature",
        pointer,
        f"No rule of the nomenclature covers this line: {told}. Add one, and the receipt goes on by itself.",
        f"Ни одно правило номенклатуры не подходит к строке: {told}. Добавьте его, и чек продолжится сам.",
    )


def _refused(pointer: str, told: str) -> Finding:
    return Finding(
        pointer,
        "nomenclature_unmapped",
        f"No rule of the nomenclature covers this line: {told}.",
        f"Ни одно правило номенклатуры не подходит к строке: {told}.",
        None,
        "Add a rule for it and report the payment again.",
    )


def _wrong(finding: Finding, rule: str) -> Missing:
    return Missing(
        "nomenclature",
        finding.pointer,
        f"Rule {rule} of the nomenclature fills this wrongly: {finding.detail}",
        f"Правило номенклатуры {rule} заполняет это неверно: {finding.detail_ru}",
    )
