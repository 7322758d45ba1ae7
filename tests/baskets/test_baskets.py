"""Any basket becomes a receipt that is right to the kopeck and that the kassa takes.

`KASSA_BASKETS` says how many are judged (2,000; CI takes 20,000; `make test-long` a million of the same).
"""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.basket import ZeroLines
from app.domain.planning import plan_sale
from tests.baskets import judge as judging
from tests.baskets.basket import TODAY, Shape, basket, shape_of
from tests.baskets.judge import Wrong, judge
from tests.baskets.run import judge_slice

BASKETS = int(os.environ.get("KASSA_BASKETS", "2000"))
PARTS = 20

SHAPES = st.builds(
    Shape,
    lines=st.integers(1, 100),
    order_discount=st.integers(0, 99),
    fixed=st.booleans(),
    reasons=st.integers(1, 3),
    gift_card=st.integers(0, 100),
    free_delivery=st.booleans(),
    zero_lines=st.sampled_from([ZeroLines.DROP, ZeroLines.KOPECK]),
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_basket_is_right_to_the_kopeck(part: int) -> None:
    count = -(-BASKETS // PARTS)
    found = judge_slice(part * count, count)
    assert found.wrong is None, f"{found.wrong} (python -m tests.baskets.run repeats it with --from and --count 1)"
    assert found.baskets == count
    print(f"{found.baskets:,} baskets with {found.lines:,} lines")


@given(shape=SHAPES, seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_any_shape_of_basket(shape: Shape, seed: int) -> None:
    judge(shape, seed)


def test_the_generator_reaches_what_it_is_for() -> None:
    """Without splits, full baskets, gift cards and free lines the numbers above would prove little."""
    seen: set[str] = set()
    for seed in range(400):
        event, shop = basket(shape_of(seed), seed)
        plan = plan_sale(event, shop, TODAY)
        seen |= {note.partition(":")[0] for note in plan.notes}  # type: ignore[union-attr]
        seen |= {f"{len(event.items)} lines"} if len(event.items) > 90 else set()
    assert seen >= {"line_split", "quantity_in_name", "free_line_dropped", "kopeck_on_free_line"}
    assert seen >= {"name_fitted", "prepaid_elsewhere"}
    assert any(one.endswith(" lines") for one in seen)


def test_the_judge_sees_a_lost_kopeck(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receipt with a kopeck too much on one line, or with its split told wrongly, is found."""
    from dataclasses import replace

    def spoiled(*asked: object) -> object:
        plan = plan_sale(*asked)  # type: ignore[arg-type]
        (receipt,) = plan.receipts  # type: ignore[union-attr]
        first, *rest = receipt.items
        wrong = replace(receipt, items=(replace(first, amount=first.amount + 1), *rest))
        return replace(plan, receipts=(wrong,))  # type: ignore[type-var]

    monkeypatch.setattr(judging, "plan_sale", spoiled)
    with pytest.raises(Wrong, match="not the amount"):
        judge(shape_of(1), 1)
