"""Two transactions that wait for each other: the database ends one of them, and that one is done again."""

import asyncio
from uuid import UUID

import pytest
from sqlalchemy import text

from app.db.unit_of_work import Database
from app.domain.errors import Contended
from app.infra.again import TIMES, again
from app.infra.ids import new_id
from tests.support import rows

_TOUCH = text("UPDATE merchants SET name = name || :mark WHERE id = :id")


class Both:
    """Touches two rows, with a meeting in between the first time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._met = asyncio.Barrier(2)
        self.tries = 0

    async def touch(self, first: UUID, second: UUID, mark: str) -> None:
        self.tries += 1
        async with self._database.pipeline() as tx:
            await tx.execute(_TOUCH, {"id": first, "mark": mark})
            if self.tries <= 2:
                await self._met.wait()
            await tx.execute(_TOUCH, {"id": second, "mark": mark})

    @again(Contended)
    async def again(self, first: UUID, second: UUID, mark: str) -> None:
        await self.touch(first, second, mark)


async def test_a_deadlock_is_answered_by_doing_it_again(database: Database) -> None:
    (one, _), (other, _) = await rows.merchant(database), await rows.merchant(database)
    both = Both(database)
    await asyncio.gather(both.again(one, other, "A"), both.again(other, one, "B"))
    assert both.tries == 3, "one of them was done twice"
    async with database.pipeline() as tx:
        for merchant in (one, other):
            name = (await tx.execute(text("SELECT name FROM merchants WHERE id = :id"), {"id": merchant})).scalar_one()
            assert sorted(name[-2:]) == ["A", "B"]


async def test_without_it_one_of_the_callers_would_hear_of_it(database: Database) -> None:
    (one, _), (other, _) = await rows.merchant(database), await rows.merchant(database)
    both = Both(database)
    found = await asyncio.gather(both.touch(one, other, "A"), both.touch(other, one, "B"), return_exceptions=True)
    assert [type(each) for each in found if each is not None] == [Contended]


async def test_it_is_not_tried_for_ever() -> None:
    tries: list[UUID] = []

    @again(Contended)
    async def never() -> None:
        tries.append(new_id())
        raise Contended("taken")

    with pytest.raises(Contended):
        await never()
    assert len(tries) == TIMES
