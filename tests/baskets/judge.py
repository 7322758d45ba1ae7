"""Is a basket's receipt right to the kopeck, and does the kassa take it? Recomputed here, not asked of the planner."""

from fractions import Fraction

from app.domain.basket import Adjustment, ZeroLines
from app.domain.event import PaymentEvent
from app.domain.money import line_amount
from app.domain.plan import Planned
from app.domain.planning import PlanSettings, plan_sale
from app.domain.receipt import Receipt
from app.infra.compact_json import exact_json
from app.kassas.digitalkassa import to_wire
from app.simulator.protocols._digitalkassa_schema import Refusal, parse_form, parse_json
from tests.baskets.basket import TODAY, Shape, basket

_PROVIDER_ID = "0" * 32


class Wrong(AssertionError):
    """A basket whose receipt is not what it must be."""


def judge(shape: Shape, seed: int) -> int:
    """The number of the receipt's lines; Wrong when anything is not as it must be."""
    event, settings = basket(shape, seed)
    plan = plan_sale(event, settings, TODAY)
    if not isinstance(plan, Planned):
        raise Wrong(f"no receipt: {plan}")
    (receipt,) = plan.receipts
    _sums(event, receipt)
    _shares(event, receipt, plan, settings)
    _kassa(event, receipt)
    return len(receipt.items)


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise Wrong(what)


def _sums(event: PaymentEvent, receipt: Receipt) -> None:
    _must(sum(item.amount for item in receipt.items) == event.amount, "the lines are not the amount")
    _must(sum(paid.amount for paid in receipt.payments) == event.amount, "the payments are not the amount")
    _must(all(item.amount > 0 and item.price > 0 and item.quantity > 0 for item in receipt.items), "a line at nothing")
    _must(
        all(item.amount == line_amount(item.price, item.quantity) for item in receipt.items),
        "price × quantity is not the line",
    )
    _must(len(receipt.items) <= 100, "more lines than the kassa takes")


def _shares(event: PaymentEvent, receipt: Receipt, plan: Planned, settings: PlanSettings) -> None:
    """Each line within a kopeck of its fair share, and the adjustments tell exactly what was taken from it."""
    own = [item.amount - (item.discount or 0) for item in event.items]
    off = sum(one.amount for one in event.discounts or ())
    told = {one.line: one for one in plan.adjustments}
    costs = _costs(event, receipt, told)
    kopecks = settings.defaults.zero_lines is ZeroLines.KOPECK
    for index, (item, after_own) in enumerate(zip(event.items, own, strict=True)):
        fair = after_own - Fraction(off * after_own, sum(own))
        # A kopeck that was moved onto a free line comes on top, where the settings ask for it.
        bound = 1 + (sum(cost == 1 for cost in costs) if kopecks else 0)
        _must(abs(costs[index] - fair) <= bound, f"line {index} costs {costs[index]}, its share is {fair}")
        _must(kopecks or costs[index] <= after_own, f"line {index} costs more than it did before the discounts")
        one = told.get(index)
        taken = 0 if one is None else sum(part.amount for part in one.taken)
        _must(item.amount - taken == costs[index], f"line {index}: what was taken does not explain its sum")
        _must(one is None or (one.full, one.amount) == (item.amount, costs[index]), f"line {index} is told wrongly")
    reasons = [part for one in plan.adjustments for part in one.taken]
    for kind in {one.kind.value for one in event.discounts or ()}:
        given = sum(one.amount for one in event.discounts or () if one.kind.value == kind)
        _must(sum(part.amount for part in reasons if part.reason == kind) == given, f"{kind} is not told whole")


def _costs(event: PaymentEvent, receipt: Receipt, told: dict[int, Adjustment]) -> list[int]:
    """What each line of the event costs in the receipt, read off the receipt itself."""
    costs, place = [], 0
    for index in range(len(event.items)):
        pieces = 1 if index not in told else len(told[index].items)
        _must(
            index not in told or told[index].items == tuple(range(place, place + pieces)),
            f"line {index} is not where it is told to be",
        )
        costs.append(sum(item.amount for item in receipt.items[place : place + pieces]))
        place += pieces
    _must(place == len(receipt.items), "a line of the receipt comes from nowhere")
    return costs


def _kassa(event: PaymentEvent, receipt: Receipt) -> None:
    body = exact_json(to_wire(_PROVIDER_ID, receipt, callback_url=None, at=event.occurred_at))
    try:
        form = parse_form(parse_json(body), correction=False)
    except Refusal as no:
        raise Wrong(f"the kassa refuses it: {no.errors}") from no
    _must(form.total_kopecks == event.amount, "the kassa would print another sum")
