"""What a refund notification of T-Bank proves, told as a level: "so much is left of the payment".

It carries no id of the refund, and its document (API v1.80) does not say what `Amount` means in it. Why levels need no
memory of their own, and what they promise, is proven at `claim`.
"""

from dataclasses import dataclass
from typing import Final, Literal

from app.acquirers.tbank.client import State

REFUNDS: Final = ("REFUNDED", "PARTIAL_REFUNDED")
ON_THE_WAY: Final = ("REFUNDING", "ASYNC_REFUNDING")


@dataclass(frozen=True, slots=True)
class Left:
    """The payment has this much left, kopecks."""

    amount: int

    @property
    def key(self) -> str:
        return f"left:{self.amount}"


@dataclass(frozen=True, slots=True)
class Returned:
    """The buyer got this much back, kopecks."""

    amount: int

    @property
    def key(self) -> str:
        return f"returned:{self.amount}"


@dataclass(frozen=True, slots=True)
class NotYet:
    """The bank has not finished what its notice says: ask again later."""

    status: str


@dataclass(frozen=True, slots=True)
class AskPerson:
    """The sum cannot be established; it is not guessed."""

    reason: str
    reason_ru: str


Claim = Left | Returned | NotYet | AskPerson


def claim(status: str, amount: int, state: State, partial: Literal["ask", "left", "returned"]) -> Claim:
    """What a genuine notice (`status` one of REFUNDS, `amount` in kopecks) and the state read after it prove.

    Let a payment of S kopecks be brought by its refunds to the levels S > m1 > m2 > … > mk >= 0, and let every report
    say one of them. A report's identity is (payment, level), its content is nothing else, and planning it returns
    max(0, L - m), where L is what the receipts made so far have left of the payment (`refund_receipt`, under the
    payment's lock). Then, for whatever reports arrive, in whatever order, however often:

    1. After each report L = min(L, m). By induction L = min(S, all levels reported so far).
    2. min is commutative, associative and idempotent: neither order nor repeats change L. A repeat is moreover the
       same identity with the same content, and is planned once.
    3. Every level reported is a true one, so L >= mk: never is more returned than the bank returned.
    4. When the last level has been reported, L = mk: all of it was returned, also where earlier reports were lost.

    No sum per report could do this. Without memory the adapter would have to give each level a fixed set of refunds,
    such that the sets of all possible histories add up to their last level. The sets of m and of m' < m must then be
    one inside the other, for all m: one refund a kopeck. The memory that it takes is the chain of the payment's
    receipts.

    Where the levels come from: REFUNDED means by its documented name that nothing is left, whatever `Amount` says; so
    do PARTIAL_REFUNDED notices that are read after the full refund. The level of a partial refund is `Amount` only
    where the operator found out that it is (setting `partial_refunds`). With `returned` the sum is that of the notice
    and its identity is (payment, sum): two equal partial refunds of one payment are then one, until the payment is
    returned whole.
    """
    if state.status == "REFUNDED":
        return Left(0)
    if state.status in ON_THE_WAY or (state.status == "PARTIAL_REFUNDED" and status == "REFUNDED"):
        return NotYet(state.status)
    if state.status != "PARTIAL_REFUNDED":
        return AskPerson(
            f"the notice says {status}, and the bank's API says {state.status or 'nothing'}",
            f"в уведомлении {status}, а API банка отвечает {state.status or 'пусто'}",
        )
    if amount <= 0 or partial == "ask":
        return AskPerson(
            "a part was returned, and the notice does not tell reliably how much",
            "возвращена часть, но по уведомлению нельзя надёжно узнать сумму",
        )
    if partial == "returned":
        return Returned(amount)
    if state.amount is not None and state.amount > amount:
        return AskPerson(
            "the setting partial_refunds says that Amount is what is left, but the bank's API shows that more is left",
            "в настройке partial_refunds указано, что Amount — остаток, но по данным API банка остаток больше",
        )
    return Left(amount)
