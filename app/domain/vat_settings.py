"""Which VAT rate a merchant's sales carry, from when, and for which goods: an organisation's answer with dates.

A rate is the straight one of a sale; a prepayment takes its calculated twin (`rates.py`). The day that counts is that
of the money for a prepayment, else that on which goods or service were given: 2025 closed in 2026 is 22 %, shipped in
2025 and paid in 2026 is 20 % (FNS letter АБ-4-20/11248@ of 2025-12-15).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from app.domain.errors import Finding
from app.domain.ffd import FfdEnum, Term
from app.domain.rates import succeeding
from app.domain.vat import VatRate, in_force


class Regime(FfdEnum):
    """How the merchant is taxed, as far as VAT asks; the numbers stand in no document.

    АУСН has no code in tag 1055: its receipts say `usn_income` or `usn_income_outcome` by its object, VAT `none`.
    """

    USN = Term(1, "УСН")
    AUSN = Term(2, "АУСН")
    OTHER = Term(3, "другая система")


class DebtRate(FfdEnum):
    """Rate of a receipt that pays a debt (`credit_payment`). Sources disagree, so it is the merchant's choice (U):
    as shipped (FNS, 2026-02-13) or "без НДС" (older practice)."""

    AS_SHIPPED = Term(1, "как при передаче")
    NONE = Term(2, "без НДС")


@dataclass(frozen=True, slots=True)
class DatedRate:
    """From this local day on sales carry this rate."""

    since: date
    vat: VatRate


@dataclass(frozen=True, slots=True)
class VatGroup:
    """Goods or services with rates of their own, such as lessons for minors.

    A line belongs here when it names the group (`vat_group`), has one of the `skus`, or one of `names` stands in its
    name, whatever the case. Such lessons may be exempt (Tax Code art. 149 p. 2 pp. 4; the authorities want a licence):
    nothing is assumed, `basis` is the merchant's own note of the law that it relies on.
    """

    name: str
    rates: tuple[DatedRate, ...]
    skus: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    basis: str | None = None

    def holds(self, sku: str | None, name: str) -> bool:
        called = name.casefold()
        return (sku is not None and sku in self.skus) or any(part.casefold() in called for part in self.names)


@dataclass(frozen=True, slots=True)
class YearIncome:
    """Income of a calendar year in kopecks that no receipt of this program shows."""

    year: int
    income: int


@dataclass(frozen=True, slots=True)
class VatSettings:
    """A merchant's answer. Without `rates` the undated defaults of source, branch and kassa speak."""

    rates: tuple[DatedRate, ...] = ()
    groups: tuple[VatGroup, ...] = ()
    regime: Regime | None = None
    debt: DebtRate = DebtRate.AS_SHIPPED
    elsewhere: tuple[YearIncome, ...] = ()

    def group(self, named: str | None, sku: str | None, name: str) -> VatGroup | None:
        """The group of a line: the one that it names, else the first that holds it."""
        if named is not None:
            return next((group for group in self.groups if group.name == named), None)
        return next((group for group in self.groups if group.holds(sku, name)), None)

    def income_elsewhere(self, year: int) -> int:
        return sum(one.income for one in self.elsewhere if one.year == year)


NOTHING = VatSettings()


@dataclass(frozen=True, slots=True)
class VatPolicy:
    """The answer for one place of sale: the merchant's groups, then the nearest undated default of source or branch,
    then the merchant's dated rates, then the kassa's undated default."""

    settings: VatSettings = field(default=NOTHING)
    nearest: VatRate | None = None
    kassa: VatRate | None = None

    def rate(self, day: date, sku: str | None = None, name: str = "", named: str | None = None) -> VatRate | None:
        """The straight rate of a line whose source did not say one; None where nobody answers for this day."""
        group = self.settings.group(named, sku, name)
        if group is not None:
            return on_day(group.rates, day)
        if named is not None:
            return None
        if self.nearest is not None:
            return self.nearest
        return on_day(self.settings.rates, day) if self.settings.rates else self.kassa


def on_day(rates: Sequence[DatedRate], day: date) -> VatRate | None:
    """The rate of the last entry that has begun by this day."""
    begun = [entry for entry in rates if entry.since <= day]
    return max(begun, key=lambda entry: entry.since).vat if begun else None


def check_vat_settings(settings: VatSettings, today: date) -> Iterator[Finding]:
    """Everything wrong with the settings, each with a sentence: rates by date, their form, groups, АУСН."""
    yield from _check_rates("#/rates", settings.rates, today)
    seen: set[str] = set()
    for index, group in enumerate(settings.groups):
        pointer = f"#/groups/{index}"
        if group.name in seen:
            yield Finding(
                f"{pointer}/name",
                "vat_group_twice",
                "Two groups have this name.",
                "Группа с таким названием уже есть.",
                1199,
                "Give each group a name of its own.",
            )
        seen.add(group.name)
        if not group.rates:
            yield _unanswered(f"{pointer}/rates")
        yield from _check_rates(f"{pointer}/rates", group.rates, today)
    if settings.regime is Regime.AUSN:
        yield from _no_vat(settings)
    years = [one.year for one in settings.elsewhere]
    if len(set(years)) < len(years):
        yield Finding(
            "#/income_elsewhere",
            "vat_year_twice",
            "A year stands here twice.",
            "Один год указан дважды.",
            fix="Give the whole income of a year in one entry.",
        )


def _check_rates(pointer: str, rates: Sequence[DatedRate], today: date) -> Iterator[Finding]:
    if not rates:
        return
    days = [entry.since for entry in rates]
    if days != sorted(set(days)):
        yield Finding(
            pointer,
            "vat_dates_order",
            "The entries are not in the order of their dates, each on a day of its own.",
            "Ставки идут по порядку дат, на каждую дату одна.",
            1199,
            "Sort the entries by from.",
        )
        return
    if days[0] > today:
        yield _unanswered(pointer)
    for index, entry in enumerate(rates):
        here = f"{pointer}/{index}/vat"
        if entry.vat.calculated:
            yield Finding(
                here,
                "vat_calculated_rate",
                f"{entry.vat.code} is the form of a prepayment; the settings name the rate of the sale.",
                f"«{entry.vat.ru}» это ставка предоплаты; в настройках указывают ставку продажи.",
                1199,
                "Give the straight rate; receipts of prepayments take the calculated one by themselves.",
            )
            continue
        last = rates[index + 1].since - timedelta(days=1) if index + 1 < len(rates) else max(today, entry.since)
        for day in dict.fromkeys((entry.since, last)):
            if not in_force(entry.vat, day):
                yield _not_in_force(here, entry.vat, day)
                break


def _not_in_force(pointer: str, rate: VatRate, day: date) -> Finding:
    instead = succeeding(rate, day)
    end_of_year = date(2026, 1, 1)
    advice = "Let the entry begin on the day on which the rate came into force."
    if instead is not rate:
        advice = f"Add an entry from {end_of_year.isoformat()} with {instead.code}; the older one stays for older days."
    return Finding(
        pointer,
        "vat_not_in_force",
        f"A sale of {day.isoformat()} cannot carry {rate.code}, and by these entries it would.",
        f"Ставка «{rate.ru}» не действует {day.strftime('%d.%m.%Y')}, а по этим записям применялась бы.",
        1199,
        advice,
    )


def _unanswered(pointer: str) -> Finding:
    return Finding(
        pointer,
        "vat_unanswered",
        "No entry says which rate holds today.",
        "Ни одна запись не говорит, какая ставка действует сегодня.",
        1199,
        "Add the entry of the rate that holds now, from the day on which it began.",
    )


def _no_vat(settings: VatSettings) -> Iterator[Finding]:
    lists: Iterable[tuple[str, Sequence[DatedRate]]] = [
        ("#/rates", settings.rates),
        *((f"#/groups/{index}/rates", group.rates) for index, group in enumerate(settings.groups)),
    ]
    for pointer, rates in lists:
        for index, entry in enumerate(rates):
            if entry.vat is not VatRate.NONE and entry is rates[-1]:
                yield Finding(
                    f"{pointer}/{index}/vat",
                    "ausn_without_vat",
                    f"Under АУСН no VAT is paid; {entry.vat.code} cannot be.",
                    f"На АУСН НДС не платят, ставки «{entry.vat.ru}» быть не может.",
                    1199,
                    "Use none, or another regime.",
                )
