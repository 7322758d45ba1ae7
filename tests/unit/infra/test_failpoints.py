"""What may be armed, what an armed point does, and that every name stands for a place in the program."""

import re
from collections import Counter
from pathlib import Path

import pytest

from app.infra.failpoints import NAMES, FailpointHit, Failpoints

APP = Path(__file__).parents[3] / "app"


def test_every_name_is_passed_at_one_place_and_no_place_has_another_name() -> None:
    places = Counter(
        name
        for path in APP.rglob("*.py")
        if path.name != "failpoints.py"
        for name in re.findall(r"\.(?:hit|hook)\(\"([a-z_.0-9]+)\"\)", path.read_text())
    )
    assert set(places) == set(NAMES)
    # Two commands migrate.
    assert places - Counter(NAMES) == Counter({"migration.between_steps": 1})


@pytest.mark.parametrize(
    "text", ["nowhere=kill", "lease.renew", "lease.renew=explode", "lease.renew=kill:x", "lease.renew=kill*", "=kill"]
)
def test_what_cannot_be_armed_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="KASSA_FAILPOINTS") as refused:
        Failpoints.parse(f"worker.after_claim=kill,{text}")
    assert repr(text) in str(refused.value)


async def test_an_armed_point_acts_as_often_as_told_and_no_other_does() -> None:
    points = Failpoints.parse(" lease.renew=raise*2, worker.after_claim=raise:0 ")
    assert points.active == ("lease.renew", "worker.after_claim")
    for _ in range(2):
        with pytest.raises(FailpointHit, match=r"lease\.renew"):
            await points.hit("lease.renew")
    for name in NAMES:
        await points.hit(name)


async def test_the_same_seed_draws_the_same_hits() -> None:
    async def hits(seed: int) -> list[bool]:
        points, seen = Failpoints.parse("lease.renew=raise:0.5", seed), []
        for _ in range(64):
            try:
                await points.hit("lease.renew")
                seen.append(False)
            except FailpointHit:
                seen.append(True)
        return seen

    first = await hits(1)
    assert first == await hits(1)
    assert first != await hits(2)
    assert 0 < sum(first) < 64


async def test_a_hook_is_there_only_where_something_is_armed() -> None:
    points = Failpoints.parse("lease.renew=raise*1")
    assert [name for name in NAMES if points.hook(name) is not None] == ["lease.renew"]
    hook = points.hook("lease.renew")
    assert hook is not None
    with pytest.raises(FailpointHit):
        await hook()
    await hook()
    assert all(Failpoints().hook(name) is None for name in NAMES)
