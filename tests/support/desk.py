"""A desk that remembers in memory what a live part accepts, and says of each report what a test wants."""

from dataclasses import replace
from datetime import UTC, datetime

from app.domain.codec import event_to_json
from app.domain.errors import Busy, Invalid
from app.domain.event import EventType, PaymentEvent
from app.domain.identity import fingerprint
from app.domain.receipt import FiscalData
from app.ports.source import Standing

PRINTED = FiscalData(
    fn="9999078900001234",
    fd=41,
    fpd="3456789012",
    fiscalized_at=datetime(2026, 11, 23, 8, 16, tzinfo=UTC),
    local_time="2026-11-23T11:16:00",
    kkt_rn="0000000001012345",
    shift=7,
    number_in_shift=3,
)


class MemoryDesk:
    """`app.ports.source.Desk`; `away` plays a database that is not there, `invalid` a report that is refused."""

    def __init__(self) -> None:
        self.events: dict[tuple[EventType, str], PaymentEvent] = {}
        self.standings: dict[tuple[EventType, str], Standing] = {}
        self.tried_again: list[str] = []
        self.away = False
        self.invalid: Invalid | None = None

    async def accept(self, event: PaymentEvent) -> Standing:
        self._must_be_there()
        if self.invalid is not None:
            raise self.invalid
        key = (event.type, event.external_id)
        if key not in self.events:
            self.events[key] = event
            self.standings[key] = Standing("evt_1", "rcpt_1", "queued")
            return self.standings[key]
        differs = fingerprint(event_to_json(event)) != fingerprint(event_to_json(self.events[key]))
        return replace(self.standings[key], content_differs=differs)

    async def standing(self, type: EventType, external_id: str) -> Standing | None:
        self._must_be_there()
        return self.standings.get((type, external_id))

    async def again(self, type: EventType, external_id: str) -> Standing | None:
        self._must_be_there()
        key = (type, external_id)
        if key in self.standings and self.standings[key].status == "rejected":
            self.tried_again.append(external_id)
            self.standings[key] = Standing("evt_1", "rcpt_1", "queued")
        return self.standings.get(key)

    def ends(
        self, status: str, *, fiscal: FiscalData | None = None, failure_ru: str | None = None, linked: bool = False
    ) -> None:
        """The only report's receipt comes to this state."""
        (key,) = self.events
        self.standings[key] = Standing("evt_1", None if linked else "rcpt_1", status, fiscal, failure_ru)

    def _must_be_there(self) -> None:
        if self.away:
            raise Busy("the database is away")
