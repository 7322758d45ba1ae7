"""Refunds of one payment told by sums and by levels: what fits, and what a person is asked."""

import itertools

import pytest

from app.domain.told_twice import fits, step

PAID = 1990


@pytest.mark.parametrize(
    ("left", "told", "due", "own", "others"),
    [
        (1490, [], 500, [], []),
        (1690, [1490], 0, [500], []),
        (1490, [], 0, [], [500]),
        (990, [1490], 500, [], [500]),
        (1190, [], 0, [], [300, 500]),
        (690, [990], 300, [500], [500]),
        (0, [], 1490, [], [500]),
    ],
)
def test_what_fits(left: int, told: list[int], due: int, own: list[int], others: list[int]) -> None:
    assert fits(PAID, left, told, due, own, others)


@pytest.mark.parametrize(
    ("left", "told", "due", "own", "others"),
    [
        # A part of the step was told by another: the first notice may be late, or it was other money.
        (1490, [], 200, [], [300]),
        # What is said to be returned is no sum of receipts.
        (1690, [], 0, [], [500]),
        (1890, [], 0, [], [1] * 13 + [87]),
    ],
)
def test_what_is_asked(left: int, told: list[int], due: int, own: list[int], others: list[int]) -> None:
    assert not fits(PAID, left, told, due, own, others)


def test_the_steps_of_a_source_in_any_order_are_what_it_returned() -> None:
    levels = [1490, 990, 0]
    for order in itertools.permutations(levels):
        told = [level for level in order if level != 990]
        assert step(PAID, 990, told) == 500
    assert sum(step(PAID, level, [one for one in levels if one != level]) for level in levels) == PAID
