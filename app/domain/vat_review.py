"""Whether a merchant's VAT answer may soon be wrong: its income of a year against the bounds of that year and the next.

The figures are those that the trade press gave for 2026; none was read in the law itself, so each says that it is
unconfirmed and can be set by the operator (KASSA_VAT_BOUNDS). Of a year without a figure the last one before is held.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.domain.vat import VatRate
from app.domain.vat_settings import Regime

PERCENTS = (80, 100)
"""At these shares of a bound a person is told, once each."""

_MILLION = 100_000_000


class BoundKind(StrEnum):
    """What ends when income passes the bound."""

    EXEMPT = "usn_exempt"
    FIVE = "usn_vat5"
    SEVEN = "usn_vat7"
    AUSN = "ausn"


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that a year's income may be, kopecks. `year` is the one that it decides, not that of the income.

    `law` is the act that the press names for the figure; None: it names none. `confirmed`: by the operator.
    """

    kind: BoundKind
    year: int
    income: int
    law: str | None = None
    confirmed: bool = False


_EXEMPT = "law 425-ФЗ"

BOUNDS: tuple[Bound, ...] = (
    Bound(BoundKind.EXEMPT, 2026, 20 * _MILLION, _EXEMPT),
    Bound(BoundKind.EXEMPT, 2027, 15 * _MILLION, _EXEMPT),
    Bound(BoundKind.EXEMPT, 2028, 10 * _MILLION, _EXEMPT),
    Bound(BoundKind.FIVE, 2026, 27_250_000_000),
    Bound(BoundKind.SEVEN, 2026, 49_050_000_000),
    Bound(BoundKind.AUSN, 2026, 60 * _MILLION),
)
"""УСН 2026: no VAT while the income of 2025 and of 2026 to date is at most 20 M; for 2027 the income of 2026 counts
against 15 M, for 2028 that of 2027 against 10 M. Above: 5 % up to 272.5 M, 7 % up to 490.5 M, else 22 %. АУСН ends
above 60 M. All unconfirmed (U)."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A share of a bound that the income of `year` has reached."""

    year: int
    income: int
    bound: Bound
    percent: int

    @property
    def next_year(self) -> bool:
        return self.bound.year > self.year


@dataclass(frozen=True, slots=True)
class Standing:
    """A bound that this merchant has to watch, and how much of it the income of `year` has used."""

    year: int
    income: int
    bound: Bound

    @property
    def percent(self) -> int:
        """Whole per cents, rounded down."""
        return self.income * 100 // self.bound.income


def parse_bounds(text: str) -> dict[tuple[BoundKind, int], int]:
    """Figures that an operator set, such as `usn_exempt:2029=1000000000, usn_vat5:2027=28000000000` (kopecks).

    ValueError says which part cannot be read.
    """
    found = {}
    for part in (one.strip() for one in text.split(",") if one.strip()):
        name, _, income = part.partition("=")
        kind, _, year = name.partition(":")
        try:
            found[BoundKind(kind.strip()), int(year)] = int(income)
        except ValueError:
            kinds = ", ".join(BoundKind)
            raise ValueError(f"{part!r} is no bound: write kind:year=kopecks, kind one of {kinds}") from None
    return found


def bound_of(kind: BoundKind, year: int, set_by_operator: Mapping[tuple[BoundKind, int], int] | None = None) -> Bound:
    """The bound that decides for this year; of a year without a figure the last one before.

    ValueError for a year before all that are known.
    """
    known = {one.year: one for one in BOUNDS if one.kind is kind}
    for (set_kind, set_year), income in (set_by_operator or {}).items():
        if set_kind is kind:
            known[set_year] = Bound(kind, set_year, income, confirmed=True)
    before = [one for one in known if one <= year]
    if not before:
        raise ValueError(f"no bound of {kind} is known for {year}")
    last = known[max(before)]
    return last if last.year == year else Bound(kind, year, last.income, last.law)


def watched(regime: Regime, rate: VatRate) -> BoundKind | None:
    """The bound behind a VAT answer; None where no income changes it."""
    if regime is Regime.AUSN:
        return BoundKind.AUSN
    if regime is not Regime.USN:
        return None
    return {
        VatRate.NONE: BoundKind.EXEMPT,
        VatRate.VAT5: BoundKind.FIVE,
        VatRate.VAT7: BoundKind.SEVEN,
    }.get(rate)


def standings(
    regime: Regime,
    rate: VatRate,
    year: int,
    income: int,
    set_by_operator: Mapping[tuple[BoundKind, int], int] | None = None,
) -> tuple[Standing, ...]:
    """The bounds of this year and the next that the income of `year` counts against; equal ones count once."""
    kind = watched(regime, rate)
    if kind is None:
        return ()
    found: list[Standing] = []
    for decides in (year, year + 1):
        try:
            bound = bound_of(kind, decides, set_by_operator)
        except ValueError:
            # Before the first year that is known nothing is said, rather than something wrong.
            continue
        if all(one.bound.income != bound.income for one in found):
            found.append(Standing(year, income, bound))
    return tuple(found)


def reached(found: Sequence[Standing]) -> Iterator[Reached]:
    """The shares of these bounds that are reached, lowest bound first."""
    for one in sorted(found, key=lambda each: each.bound.income):
        for percent in PERCENTS:
            if one.income * 100 >= one.bound.income * percent:
                yield Reached(one.year, one.income, one.bound, percent)
