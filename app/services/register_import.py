"""A register of a source through the same intake as its notices: shown before it is sent, safe to be sent again."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID
from zoneinfo import ZoneInfo

from app.db.repos import events, sources
from app.db.repos.settings import SourceRow
from app.db.unit_of_work import Database
from app.domain.errors import Busy, Conflict, DuplicateEvent, Finding, Invalid, NotFound
from app.domain.register import Row, read_register
from app.services.intake import Intake
from app.services.source_contexts import SourceContexts

__all__ = ["Outcome", "Preview", "RegisterImport", "Row"]

_AT_ONCE = 32
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes, or became, of one row.

    `what`: planned (a receipt of its own), received (a refund, planned beside its payment), held, linked, ignored,
    refused, known (its id was reported before), differs (and then with another sum or content), unreadable.
    """

    row: Row
    what: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """What would become of a file. `findings` are of the file as a whole: then nothing can be sent."""

    source: SourceRow
    outcomes: tuple[Outcome, ...]
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many rows of each kind, the most first."""
        return dict(Counter(one.what for one in self.outcomes).most_common())


class RegisterImport:
    """Reads, foresees and sends registers."""

    def __init__(self, database: Database, intake: Intake, contexts: SourceContexts) -> None:
        self._database = database
        self._intake = intake
        self._contexts = contexts

    async def preview(self, merchant_id: UUID, source_id: UUID, text: str) -> Preview:
        """What would become of each row now; nothing is stored. Conflict for a source that is switched off."""
        async with self._database.pipeline() as tx:
            source = await sources.by_id(tx, merchant_id, source_id)
        if source is None:
            raise NotFound("There is no such source here.")
        if source.status != "active":
            raise Conflict("The source is switched off.", current_state=source.status)
        rows, findings = read_register(text, ZoneInfo(await self._contexts.zone(source)))
        return Preview(source, tuple([await self._foreseen(source, row) for row in rows]), findings)

    async def _foreseen(self, source: SourceRow, row: Row) -> Outcome:
        event = row.event
        if event is None:
            return Outcome(row, "unreadable", tuple(one.detail for one in row.findings))
        async with self._database.pipeline() as tx:
            known = await events.identity(tx, source.merchant_id, source.id, event.type.value, event.external_id)
        if known is not None:
            return Outcome(row, "known")
        status, words = await self._intake.foresee(source.merchant_id, source.id, event)
        return Outcome(row, status.value, words)

    async def send(self, preview: Preview, actor: str, done: Callable[[], None]) -> list[Outcome]:
        """Every readable row through intake, under the identity that a notice of it would have; `done` is called after
        each. Broken off in the middle, it is simply sent again."""
        turn = asyncio.Semaphore(_AT_ONCE)

        async def one(outcome: Outcome) -> Outcome:
            async with turn:
                sent = await self._sent(preview.source, outcome, actor)
            done()
            return sent

        # Payments first: their refunds are then planned at once.
        ordered: Sequence[Outcome] = sorted(
            preview.outcomes, key=lambda each: each.row.event is not None and each.row.event.payment_id is not None
        )
        return list(await asyncio.gather(*(one(each) for each in ordered)))

    async def _sent(self, source: SourceRow, outcome: Outcome, actor: str) -> Outcome:
        event = outcome.row.event
        if event is None:
            return outcome
        for attempt in range(_TRIES):
            try:
                answer = await self._intake.accept(source.merchant_id, source.id, event, actor, refuse=False)
            except Busy:
                if attempt == _TRIES - 1:
                    raise
                await asyncio.sleep(min(0.1 * 2**attempt, 5.0))
            except DuplicateEvent as differs:
                return Outcome(outcome.row, "differs", (differs.detail,))
            except Invalid as wrong:
                return Outcome(outcome.row, "refused", tuple(one.detail for one in wrong.findings) or (wrong.detail,))
            else:
                if not answer.fresh or answer.status is None:
                    return Outcome(outcome.row, "known")
                return Outcome(outcome.row, answer.status.value, answer.findings)
        raise AssertionError("unreachable")
