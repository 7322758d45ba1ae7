"""A merchant's VAT settings on the wire, and how its income stands to the bounds."""

from datetime import date
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from app.api.schemas.lines import VatName
from app.api.types import WHOLE, Day, MinorUnits, RequestModel, ResponseModel, ShortText, Timestamp
from app.domain.vat import VatRate
from app.domain.vat_settings import DatedRate, DebtRate, Regime, VatGroup, VatSettings, YearIncome

RegimeName = Literal["usn", "ausn", "other"]
DebtName = Literal["as_shipped", "none"]
GroupName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64, pattern=r"^[^\x00]+$")]
Year = Annotated[int, Field(ge=2025, le=2100), WHOLE]
Sign = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128, pattern=r"^[^\x00]+$")]


class DatedRateIn(RequestModel):
    """From this local day on sales carry this rate."""

    model_config = ConfigDict(populate_by_name=True)

    since: Day = Field(alias="from", examples=["2026-01-01"])
    vat: VatName = Field(description="The rate of the sale; a prepayment takes its calculated twin by itself.")

    def to_domain(self) -> DatedRate:
        return DatedRate(self.since, VatRate.parse(self.vat))


Rates = Annotated[list[DatedRateIn], Field(max_length=50)]


class VatGroupIn(RequestModel):
    """Goods or services with rates of their own."""

    name: GroupName = Field(description="Lines may name it as `vat_group`.", examples=["Занятия с детьми"])
    rates: Rates
    skus: Annotated[list[Sign], Field(max_length=1000)] = Field(default=[], description="Lines with one of these.")
    names: Annotated[list[Sign], Field(max_length=100)] = Field(
        default=[], description="Lines in whose name one of these stands, whatever the case."
    )
    basis: ShortText | None = Field(
        default=None,
        description="Your note of the law that it relies on.",
        examples=["ст. 149 п. 2 пп. 4 НК РФ"],
    )

    def to_domain(self) -> VatGroup:
        rates = tuple(one.to_domain() for one in self.rates)
        return VatGroup(self.name, rates, tuple(self.skus), tuple(self.names), self.basis)


class YearIncomeIn(RequestModel):
    """Income that no receipt here shows, such as money that came to the bank account."""

    year: Year
    income: MinorUnits = Field(description="Kopecks of the whole calendar year so far.")

    def to_domain(self) -> YearIncome:
        return YearIncome(self.year, self.income)


class VatSettingsIn(RequestModel):
    """All of a merchant's VAT settings; what is left out is taken away."""

    rates: Rates = Field(
        default=[],
        description="The organisation's rates by date, oldest first. They go before the undated default of a kassa and "
        "behind those of a source or branch.",
        examples=[[{"from": "2025-01-01", "vat": "none"}, {"from": "2026-11-01", "vat": "vat5"}]],
    )
    groups: Annotated[list[VatGroupIn], Field(max_length=100)] = Field(
        default=[], description="Asked first: the group that a line names, else the first that holds it."
    )
    regime: RegimeName | None = Field(
        default=None,
        description="`usn`, `ausn` (no VAT; its receipts carry the taxation `usn_income` or `usn_income_outcome` by "
        "its object), `other`. Left out: `usn` where an active kassa is registered with it.",
    )
    credit_payment: DebtName = Field(
        default="as_shipped",
        description="Rate of a receipt that pays a debt: as when the goods were given, or none. Sources of the tax "
        "service disagree.",
    )
    income_elsewhere: Annotated[list[YearIncomeIn], Field(max_length=50)] = Field(default=[])

    def to_domain(self) -> VatSettings:
        return VatSettings(
            rates=tuple(one.to_domain() for one in self.rates),
            groups=tuple(group.to_domain() for group in self.groups),
            regime=None if self.regime is None else Regime.parse(self.regime),
            debt=DebtRate.parse(self.credit_payment),
            elsewhere=tuple(one.to_domain() for one in self.income_elsewhere),
        )


class DatedRateOut(ResponseModel):
    """From this local day on sales carry this rate."""

    since: date = Field(serialization_alias="from")
    vat: str


class VatGroupOut(ResponseModel):
    """Goods or services with rates of their own."""

    name: str
    rates: list[DatedRateOut]
    skus: list[str]
    names: list[str]
    basis: str | None


class YearIncomeOut(ResponseModel):
    """Income that no receipt here shows."""

    year: int
    income: int


class BoundOut(ResponseModel):
    """A bound that the income of the year counts against."""

    kind: str = Field(
        description="`usn_exempt`: no VAT below it; `usn_vat5`, `usn_vat7`: these rates below it; `ausn`: the regime "
        "ends above it."
    )
    year: int = Field(description="The year that it decides about: this one or the next.")
    income: int = Field(description="The most that the income may be, kopecks.")
    law: str | None = Field(description="The act that the trade press names for the figure; null: none is known here.")
    confirmed: bool = Field(
        description="True: the operator set it (KASSA_VAT_BOUNDS). False: as the trade press gave it for 2026, or the "
        "last figure known, held for a later year; ask your accountant."
    )
    percent: int = Field(description="How much of it the income has used, whole per cents.")


class VatOut(ResponseModel):
    """The settings, the rate of today, and this year's income against the bounds."""

    rates: list[DatedRateOut]
    groups: list[VatGroupOut]
    regime: str = Field(description="As set, or as the kassas' taxation says.")
    credit_payment: str
    income_elsewhere: list[YearIncomeOut]
    rate_today: str | None = Field(description="Of a sale of the organisation today; null: nobody says.")
    year: int
    income: int = Field(
        description="Kopecks of this calendar year: cash and electronic of printed receipts less refunds, without "
        "offsets of prepayments and without what was sold for principals, and what came elsewhere."
    )
    counted_at: Timestamp
    bounds: list[BoundOut]
