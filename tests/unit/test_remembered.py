"""A look-up is shared by those who ask at once, believed for a while, and never believed once it was forgotten."""

import asyncio

import pytest

from app.services.remembered import Remembered


class Source:
    """Answers when told to, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.value: str | None = "old"
        self.open = asyncio.Event()

    async def look_up(self, key: str) -> str | None:
        self.asked += 1
        value = self.value
        await self.open.wait()
        return value


async def test_those_who_ask_at_once_share_one_look_up() -> None:
    source, known = Source(), Remembered[str, str](60)
    callers = [asyncio.create_task(known.get("k", source.look_up)) for _ in range(5)]
    await asyncio.sleep(0)
    source.open.set()
    assert await asyncio.gather(*callers) == ["old"] * 5
    assert await known.get("k", source.look_up) == "old"
    assert source.asked == 1


async def test_what_was_asked_before_it_was_forgotten_is_not_remembered() -> None:
    source, known = Source(), Remembered[str, str](60)
    early = asyncio.create_task(known.get("k", source.look_up))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    source.value = "new"
    known.forget("k")
    late = asyncio.create_task(known.get("k", source.look_up))
    source.open.set()
    assert await asyncio.gather(early, late) == ["old", "new"]
    assert known.peek("k") == "new"


async def test_forgetting_by_value_stops_look_ups_on_their_way_too() -> None:
    source, known = Source(), Remembered[str, str](60)
    known.put("a", "bad")
    known.put("b", "good")
    early = asyncio.create_task(known.get("k", source.look_up))
    await asyncio.sleep(0)
    known.forget_where(lambda value: value == "bad")
    source.open.set()
    assert await early == "old"
    assert [known.peek(key) for key in "abk"] == [None, "good", None]


async def test_nothing_and_errors_are_not_remembered_and_a_cancelled_caller_harms_nobody() -> None:
    source, known = Source(), Remembered[str, str](60)
    source.value = None
    first, second = (asyncio.create_task(known.get("k", source.look_up)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    source.open.set()
    assert await second is None
    assert await known.get("k", source.look_up) is None
    assert source.asked == 2

    async def broken(key: str) -> str:
        raise LookupError(key)

    with pytest.raises(LookupError):
        await known.get("k", broken)
    source.value = "there"
    assert await known.get("k", source.look_up) == "there"


async def test_it_grows_old_and_stays_small() -> None:
    at_once = Remembered[str, str](0)
    at_once.put("k", "v")
    assert at_once.peek("k") is None
    small = Remembered[int, str](60, most=2)
    for number in range(3):
        small.put(number, "v")
    assert [small.peek(number) for number in range(3)] == [None, "v", "v"]
