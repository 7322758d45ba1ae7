"""What is left of a sale, line by line, after the receipts that took from it (refunds, and closings of a prepayment).

Receipts carry no links between lines, so every line taken is laid to the line it names; sums are conserved exactly:
what fits no line is laid over all of them, and nothing is ever taken below zero. A closing moves money from a prepaid
line to the line it handed over: what was given is returned as given (full_payment), what is open as it was prepaid,
which no source that we could read confirms (U); a refund paid by `prepaid` undoes its closing instead.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from app.domain.ffd import Measure, PaymentKind
from app.domain.money import allocate, fit_line, line_amount
from app.domain.receipt import Item, Receipt


@dataclass(slots=True)
class LedgerLine:
    """One commercial line: lines of one thing whose prices differ by a split kopeck at most count as one.

    `reduced` says that money was returned on it without a quantity (a lower price afterwards).
    """

    items: tuple[Item, ...]
    amount_left: int
    quantity_left: Decimal
    reduced: bool = False

    @property
    def item(self) -> Item:
        return self.items[0]

    @property
    def prepaid(self) -> bool:
        """Still money before handing over: open, to be closed or returned as a prepayment."""
        return self.item.payment_method.before_handing_over

    @property
    def untouched(self) -> bool:
        return self.amount_left == sum(item.amount for item in self.items)

    def pieces(self, amount: int, quantity: Decimal) -> list[Item] | None:
        """Lines at the sale's own prices for this much; None when it is no return of a quantity."""
        if not 0 < quantity <= self.quantity_left or not 0 < amount <= self.amount_left:
            return None
        prices = {item.price for item in self.items}
        for price in sorted(prices, reverse=True):
            if line_amount(price, quantity) == amount:
                return [self._part(quantity, price, amount)]
        parts = fit_line(amount, quantity)
        if sum(part[0] for part in parts) == quantity and all(part[1] in prices for part in parts):
            return [self._part(*part) for part in parts]
        return None

    def rest(self) -> list[Item]:
        """Everything that is left: the very lines of the sale, or what remains of them."""
        if self.untouched:
            return list(self.items)
        if not self.reduced and (found := self.pieces(self.amount_left, self.quantity_left)):
            return found
        return [self.share(self.amount_left)]

    def share(self, amount: int) -> Item:
        """A sum of money on this line: quantity 1, everything else as sold."""
        part = self._part(Decimal(1), amount, amount)
        return part if part.measure is Measure.PIECE else replace(part, measure=Measure.ANOTHER)

    def take(self, amount: int, quantity: Decimal | None) -> None:
        """Note a return of a quantity, or of money alone (None)."""
        self.amount_left -= amount
        if quantity is None:
            self.reduced = True
        else:
            self.quantity_left -= quantity
        if self.amount_left == 0:
            self.quantity_left = Decimal(0)

    def _part(self, quantity: Decimal, price: int, amount: int) -> Item:
        excise = self.item.excise and self.item.excise * amount // self.item.amount
        return replace(self.item, quantity=quantity, price=price, amount=amount, excise=excise)


Matches = Callable[[Item, Item], bool]


@dataclass(slots=True)
class Ledger:
    """The lines of a sale with what is left of each."""

    lines: list[LedgerLine] = field(default_factory=list)

    @classmethod
    def of(cls, items: Iterable[Item]) -> "Ledger":
        """Lines of a sale; those that say the same at the same price are one."""
        ledger = cls()
        for item in items:
            same = (line for line in ledger.lines if same_thing(line.item, item))
            line = next((each for each in same if abs(each.item.price - item.price) <= 1), None)
            if line is None:
                ledger.lines.append(LedgerLine((item,), item.amount, item.quantity))
            else:
                line.items = (*line.items, item)
                line.amount_left += item.amount
                line.quantity_left += item.quantity
        return ledger

    @classmethod
    def of_sale(
        cls, sale: Receipt, later: Iterable[Receipt], moved: Sequence[Receipt] = (), moved_back: int = 0
    ) -> "Ledger":
        """A sale after `later`: its refunds and, of a prepayment, its closings (every receipt that is no refund).

        With closings the prepaid lines come first, then what was given. `left` is what can still be returned. A
        closing that was undone (`undoes_closing`) moves its money back to the prepaid lines.

        `moved` are the parts that other payments of the buyer offset: they close the prepaid lines, and what was given
        for them belongs to those payments and is returned there. `moved_back` kopecks of them are open again.
        """
        receipts = list(later)
        closings = [receipt for receipt in receipts if not receipt.operation.is_refund]
        undone = [receipt for receipt in receipts if closings and undoes_closing(receipt)]
        refunds = [receipt for receipt in receipts if receipt.operation.is_refund and receipt not in undone]
        if not closings and not moved:
            ledger = cls.of(sale.items)
        else:
            ledger = cls.of(item for item in sale.items if item.payment_method.before_handing_over)
            paid_before = ledger.left
            reopened = sum(receipt.total for receipt in undone)
            ledger._take_in_turn(closings, reopened)
            given = cls.of(item for closing in closings for item in closing.items)
            given.take_all(undone)
            # A closing gives no more than it took from the prepayment: money that came with it is another payment's.
            given.take_money(given.left - (paid_before - ledger.left))
            at_once = cls.of(item for item in sale.items if not item.payment_method.before_handing_over)
            ledger._take_in_turn(moved, moved_back)
            ledger.lines += at_once.lines + given.lines
        ledger.take_all(refunds)
        return ledger

    @property
    def left(self) -> int:
        return sum(line.amount_left for line in self.lines)

    @property
    def open(self) -> "Ledger":
        """The prepaid lines alone: what can still be closed."""
        return Ledger([line for line in self.lines if line.prepaid])

    @property
    def handed_over(self) -> "Ledger":
        """The lines that were given to the buyer."""
        return Ledger([line for line in self.lines if not line.prepaid])

    def take_all(self, receipts: Iterable[Receipt]) -> None:
        """Note what these receipts took, oldest first."""
        for receipt in receipts:
            used = set[int]()
            unlaid = {True: 0, False: 0}
            for item in receipt.items:
                unlaid[item.payment_method.before_handing_over] += self._lay(item, used)
            for prepaid, amount in unlaid.items():
                phase = self.open if prepaid else self.handed_over
                rest = amount - phase.left
                phase.take_money(amount)
                self.take_money(max(rest, 0))

    def take_money(self, amount: int) -> None:
        """Note a sum that names no line; more than is left takes everything."""
        amount = min(amount, self.left)
        for line, part in zip(self.lines, self.spread(amount), strict=True):
            if part:
                line.take(part, None)

    def _take_in_turn(self, receipts: Iterable[Receipt], reopened: int) -> None:
        """Note what these took, `reopened` kopecks of which came back.

        They come without their order: one that finds too little came after one that was undone.
        """
        for receipt in receipts:
            short = min(max(receipt.total - self.left, 0), reopened)
            self._reopen(short)
            reopened -= short
            self.take_all([receipt])
        self._reopen(reopened)

    def _reopen(self, amount: int) -> None:
        """Money of undone closings is prepaid again, on the lines that they were taken from."""
        taken = [sum(item.amount for item in line.items) - line.amount_left for line in self.lines]
        for line, part in zip(self.lines, allocate(min(amount, sum(taken)), taken), strict=True):
            if part > 0:
                line.amount_left += part
                line.reduced = True

    def spread(self, amount: int) -> list[int]:
        """A sum laid over what is left, by the largest remainder."""
        return allocate(amount, [line.amount_left for line in self.lines])

    def shares(self, amount: int) -> list[Item]:
        """Lines that carry this sum: everything that is left, or a share of each line."""
        if amount == self.left:
            return [item for line in self.lines if line.amount_left for item in line.rest()]
        return [line.share(part) for line, part in zip(self.lines, self.spread(amount), strict=True) if part]

    def _lay(self, item: Item, used: set[int]) -> int:
        """Lay one taken line to the lines of the sale; the answer is what found no place."""
        rest = item.amount
        for matches in _TIERS:
            named = [(n, line) for n, line in enumerate(self.lines) if line.amount_left and matches(line.item, item)]
            rest = _lay_on(named, item, rest, used)
            if not rest:
                break
        return rest


@dataclass(slots=True)
class Draw:
    """Takes lines from several payments' ledgers at once: from the line that they name, else from the oldest."""

    ledgers: Sequence[Ledger]

    def take(self, item: Item) -> list[tuple[int, Item]]:
        """The parts of one line with the number of the payment that each comes from; they sum to the line.

        ValueError when the payments do not hold it.
        """
        parts: list[tuple[int, Item]] = []
        rest = item.amount
        for matches in (*_TIERS, _anything):
            for owner, ledger in enumerate(self.ledgers):
                for line in ledger.lines:
                    part = min(rest, line.amount_left) if matches(line.item, item) else 0
                    if part:
                        line.take(part, None)
                        parts.append((owner, part_of(item, part)))
                        rest -= part
        if rest:
            raise ValueError("more is drawn than the payments hold")
        return parts


def part_of(item: Item, amount: int) -> Item:
    """A sum of money out of a line, or the line itself when it is all of it."""
    return item if amount == item.amount else replace(item, quantity=Decimal(1), price=amount, amount=amount)


def undoes_closing(receipt: Receipt) -> bool:
    """A return that moves no money: paid by offset (tag 1215), it undoes a closing, and the money is open again (U)."""
    return receipt.operation.is_refund and receipt.paid(PaymentKind.PREPAID) == receipt.total > 0


@dataclass(frozen=True, slots=True)
class Balance:
    """A prepayment in kopecks: received = closed + returned + open, always.

    `returned` is what went back as it had been prepaid; money for what was given already opens nothing and is
    `returned_later`. Closings that were undone do not count as closed.
    """

    received: int
    closed: int
    returned: int
    open: int
    returned_later: int = 0


def balance(
    sale: Receipt,
    closings: Sequence[Receipt],
    refunds: Sequence[Receipt],
    moved: Sequence[Receipt] = (),
    moved_back: int = 0,
) -> Balance:
    """Where the money of a prepayment is; all zero when nothing of the sale was prepaid. `moved` as in `of_sale`."""
    received = sum(item.amount for item in sale.items if item.payment_method.before_handing_over)
    undone = [refund for refund in refunds if undoes_closing(refund)]
    left = Ledger.of_sale(sale, [*closings, *undone], moved, moved_back).open.left if received else 0
    still_open = Ledger.of_sale(sale, [*closings, *refunds], moved, moved_back).open.left if received else 0
    returned = left - still_open
    refunded = sum(refund.total for refund in refunds if refund not in undone) if received else 0
    return Balance(received, received - left, returned, still_open, refunded - returned)


def _lay_on(named: Sequence[tuple[int, LedgerLine]], item: Item, rest: int, used: set[int]) -> int:
    if rest == item.amount:
        for number, line in named:
            if item.price in {each.price for each in line.items} and line.pieces(item.amount, item.quantity):
                line.take(item.amount, item.quantity)
                used.add(number)
                return 0
    # A refund by sum names each line of the sale once, in its order: a line already used comes last.
    for number, line in sorted(named, key=lambda each: (each[0] in used, each[1].amount_left < rest)):
        part = min(rest, line.amount_left)
        if part:
            line.take(part, None)
            used.add(number)
            rest -= part
    return rest


def same_thing(sold: Item, other: Item) -> bool:
    """Whether two lines say the same of what was sold; price and quantity may differ."""
    return (
        _same_name(sold, other)
        and (sold.vat, sold.payment_method, sold.payment_object)
        == (other.vat, other.payment_method, other.payment_object)
        and sold.agent == other.agent
        and (sold.marking and sold.marking.code) == (other.marking and other.marking.code)
    )


def _same_name(sold: Item, other: Item) -> bool:
    return sold.name == other.name and sold.sku == other.sku


def _same_name_and_phase(sold: Item, other: Item) -> bool:
    phases = (sold.payment_method.before_handing_over, other.payment_method.before_handing_over)
    return _same_name(sold, other) and phases[0] is phases[1]


def _same_sku_or_name(sold: Item, other: Item) -> bool:
    return sold.name == other.name or (sold.sku is not None and sold.sku == other.sku)


def _anything(sold: Item, other: Item) -> bool:
    return True


_TIERS: tuple[Matches, ...] = (same_thing, _same_name_and_phase, _same_name, _same_sku_or_name)
