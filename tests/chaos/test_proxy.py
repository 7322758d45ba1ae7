"""The fault proxy does to an exchange what it says, and nothing to the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.chaos.proxy import MODES, FaultProxy


@asynccontextmanager
async def through(chances: dict[str, float], seed: str = "s") -> AsyncIterator[tuple[FaultProxy, list[bytes]]]:
    """A proxy before a server that answers each line with twenty bytes; and what reached that server."""
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            heard.append(line)
            writer.write(b"x" * 20)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    proxy = FaultProxy("p", ("127.0.0.1", server.sockets[0].getsockname()[1]), chances, seed)
    await proxy.start()
    try:
        yield proxy, heard
    finally:
        await proxy.stop()
        server.close()


async def ask(proxy: FaultProxy, seconds: float = 2.0) -> bytes:
    """What comes back of one exchange until its twenty bytes are there or the connection is gone."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    got = b""
    try:
        async with asyncio.timeout(seconds):
            writer.write(b"hello\n")
            while len(got) < 20 and (part := await reader.read(100)):
                got += part
    except ConnectionResetError:
        pass
    finally:
        writer.close()
    return got


@pytest.mark.parametrize(
    ("mode", "answer", "reached"),
    [("reset_before", 0, 0), ("drop_response", 0, 1), ("reset_mid_response", 10, 1), ("delay", 20, 1)],
)
async def test_a_fault_spoils_its_side_of_the_exchange(mode: str, answer: int, reached: int) -> None:
    async with through({mode: 1.0}) as (proxy, heard):
        assert len(await ask(proxy)) == answer
        assert len(heard) == reached
        assert proxy.played[mode] == 1


async def test_a_blackhole_is_silent() -> None:
    async with through({"blackhole": 1.0}) as (proxy, heard):
        with pytest.raises(TimeoutError):
            await ask(proxy, 0.1)
        assert heard == []


async def test_switched_off_everything_passes() -> None:
    async with through(dict.fromkeys(MODES, 0.2)) as (proxy, heard):
        proxy.on = False
        assert [len(await ask(proxy)) for _ in range(5)] == [20] * 5
        assert len(heard) == 5


def test_one_seed_draws_one_row_of_faults() -> None:
    chances = dict.fromkeys(MODES, 0.1)
    one, same, other = (FaultProxy("p", ("", 0), chances, seed) for seed in ("a", "a", "b"))
    drawn = [one.draw() for _ in range(200)]
    assert drawn == [same.draw() for _ in range(200)]
    assert drawn != [other.draw() for _ in range(200)]
    assert set(drawn) == {*MODES, "pass"}
