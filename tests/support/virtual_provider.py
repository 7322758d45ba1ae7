"""A provider without a wire: its ledger is the truth that the pure pipeline (`office.py`) is judged by."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from app.domain.outcome import Accepted, Fiscalized, LookupOutcome, NotFound, Outcome, Pending, Rejected
from app.domain.receipt import Echo, FiscalData

_START = datetime(2026, 11, 23, tzinfo=UTC)


@dataclass
class Document:
    """One entry of the provider's ledger."""

    provider_id: str
    amount: int
    at: float
    shows_at: float
    state: str

    @property
    def outcome(self) -> LookupOutcome:
        match self.state:
            case "done":
                fiscal = FiscalData("9999078900000001", 1, "1", _START, "2026-11-23T03:00:00")
                return Fiscalized(fiscal, echo=Echo(total=self.amount))
            case "failed":
                return Rejected("provider_refused")
            case _:
                return Pending()


@dataclass
class Provider:
    """A provider with windows in seconds (0 = not offered, None = for ever); it prints at once or later."""

    dedup: float | None
    lookup: float | None
    prints_at_once: bool = True
    ledger: list[Document] = field(default_factory=list)

    def under(self, provider_id: str) -> list[Document]:
        return [one for one in self.ledger if one.provider_id == provider_id]

    def arrives(
        self, provider_id: str, amount: int, now: float, shows_after: float = 0.0, *, refuse: bool = False
    ) -> Outcome:
        """A request reaches the provider."""
        known = self.under(provider_id)
        if known and (self.dedup is None or now - known[0].at < self.dedup):
            found = known[0].outcome
            return Accepted() if isinstance(found, Pending) else found  # type: ignore[return-value]
        if refuse:
            return Rejected("provider_refused")
        state = "done" if self.prints_at_once else "queued"
        self.ledger.append(Document(provider_id, amount, now, now + shows_after, state))
        return Accepted() if state == "queued" else self.ledger[-1].outcome  # type: ignore[return-value]

    def asked(self, provider_id: str, now: float) -> LookupOutcome:
        """A document that is not visible yet, or no longer, is `NotFound`: the falsest answer a provider may give."""
        for one in self.under(provider_id):
            if now >= one.shows_at and (self.lookup is None or now - one.at < self.lookup):
                return one.outcome
        return NotFound("no such id")

    def polled(self, provider_id: str) -> LookupOutcome:
        found = self.under(provider_id)
        return found[0].outcome if found else NotFound("no such id")
