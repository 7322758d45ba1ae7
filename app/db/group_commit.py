"""Group commit: callers that arrive while one commit is in flight form the next batch; no timer.

One long-lived connection, one transaction per batch, and each caller is answered after its commit. With the unit of
work this is the only place that commits.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import asyncpg

from app.db.trouble import Refusal, is_lost, is_retryable, sqlstate
from app.db.unit_of_work import Database, Kept
from app.domain.errors import Busy

Row = TypeVar("Row")
Result = TypeVar("Result")

_Entry = tuple[Row, asyncio.Future[Result], bool]
"""A row, who waits for it, and whether it is stored also when they wait no longer."""

_ROW_ERRORS = ("22", "23")


class CommitUnknown(Exception):
    """The connection broke around the commit: the rows may or may not be stored."""

    def __init__(self, committer: str, refusal: Refusal) -> None:
        super().__init__(f"{committer}: the commit is not known ({refusal.value})")
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Stops:
    """Where a test may end or hold up a batch; in a normal start nowhere."""

    before_write: Callable[[], Awaitable[None]] | None = None
    before_commit: Callable[[], Awaitable[None]] | None = None
    after_commit: Callable[[], Awaitable[None]] | None = None


class GroupCommitter(Generic[Row, Result]):
    """Batches rows into one statement over one connection borrowed from the engine.

    `write` gets a raw connection and a batch and returns one result per row, in order; it runs inside a transaction,
    or, with `one_statement`, in autocommit, which saves two round trips. An error that a row can cause (SQLSTATE 22,
    23) sends the batch through again row by row, so that everybody gets only their own error. A lost connection fails
    the whole batch with `CommitUnknown`. Beyond `max_waiting` callers hear `Busy`. `note` hears of each batch that was
    stored: rows and seconds. `at_a_turn` callers go on in one turn of the loop: where each has much to do, a whole
    batch would hold up all others, the next claim among them.
    """

    def __init__(
        self,
        name: str,
        database: Database,
        write: Callable[[asyncpg.Connection, Sequence[Row]], Awaitable[Sequence[Result]]],
        *,
        one_statement: bool = False,
        by_index: bool = False,
        max_batch: int = 256,
        max_waiting: int = 4096,
        at_a_turn: int = 1 << 30,
        stops: Stops | None = None,
        note: Callable[[int, float], None] = lambda rows, seconds: None,
    ) -> None:
        self.name = name
        self._database = database
        self._write = write
        self._kept = Kept(database, by_index=by_index)
        # Behind a pooler the plan's settings last as long as a transaction.
        self._autocommit = one_statement and not (by_index and database.pooled)
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._at_a_turn = at_a_turn
        self._stops = stops or Stops()
        self._note = note
        self._waiting: deque[_Entry[Row, Result]] = deque()
        self._flusher: asyncio.Task[None] | None = None
        self._closed = False

    async def submit(self, row: Row) -> Result:
        """Store one row and return its result once it is committed.

        Raises `Busy` when the queue is full or closed, or others kept changing the same rows; `CommitUnknown` when
        the connection broke. The row of a caller that is cancelled is left out, or stored all the same when it is on
        its way; every statement given to a committer is therefore idempotent.
        """
        return await self._queue(row, sure=False)

    def put(self, row: Row) -> asyncio.Future[Result]:
        """The same, and the row is stored also when its caller is cancelled meanwhile."""
        return self._queue(row, sure=True)

    def _queue(self, row: Row, *, sure: bool) -> asyncio.Future[Result]:
        if self._closed or len(self._waiting) >= self._max_waiting:
            raise Busy("too much is waiting to be stored; repeat the same request in a second")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, future, sure))
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush(), name=f"group-commit-{self.name}")
        return future

    async def close(self) -> None:
        """Refuse new rows, write what waits, give the connection back."""
        self._closed = True
        if self._flusher is not None:
            await self._flusher
        await self._kept.give_back()

    async def _flush(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(0)
                size = min(len(self._waiting), self._max_batch)
                batch = [self._waiting.popleft() for _ in range(size)]
                await self._store([entry for entry in batch if entry[2] or not entry[1].cancelled()])
        finally:
            self._flusher = None

    async def _store(self, batch: "list[_Entry[Row, Result]]") -> None:
        if not batch:
            return
        began = time.monotonic()
        try:
            results = await self._commit([row for row, _, _ in batch])
            if self._stops.after_commit is not None:
                await self._stops.after_commit()
        except Exception as error:
            if (sqlstate(error) or "").startswith(_ROW_ERRORS) and len(batch) > 1:
                for entry in batch:
                    await self._store([entry])
                return
            if is_lost(error):
                await self._kept.give_back(broken=True)
                failure: Exception = CommitUnknown(self.name, self._database.refusals.note(error))
                failure.__cause__ = error
            elif is_retryable(error):
                failure = Busy("somebody else is changing the same thing; repeat the same request")
                failure.__cause__ = error
            else:
                failure = error
            for _, future, _ in batch:
                if not future.done():
                    future.set_exception(failure)
            return
        self._note(len(batch), time.monotonic() - began)
        for number, ((_, future, _), result) in enumerate(zip(batch, results, strict=True), start=1):
            if not future.done():
                future.set_result(result)
            if number % self._at_a_turn == 0:
                await asyncio.sleep(0)

    async def _commit(self, rows: Sequence[Row]) -> Sequence[Result]:
        for last in (False, False, True):
            connection = await self._kept.driver()
            try:
                if self._stops.before_write is not None:
                    await self._stops.before_write()
                # A single statement has nothing between itself and its commit, except where a test wants to stop there.
                if self._autocommit and self._stops.before_commit is None:
                    return await self._write(connection, rows)
                async with connection.transaction():
                    results = await self._write(connection, rows)
                    if self._stops.before_commit is not None:
                        await self._stops.before_commit()
                    return results
            except Exception as error:
                if last or not is_retryable(error):
                    raise
        raise AssertionError("unreachable")
