"""What happened to a settlement, and the documents that put it right: one or two, in order, by the kassa's format.

FFD 1.2 and 1.1 correct by correction receipts with lines: the wrong one is reversed, then the right one is made (FNS
guide on corrections, letter АБ-4-20/11248@ of 2025-12-15). FFD 1.05 has correction receipts for unregistered money
only: a wrong receipt is returned and sold again by ordinary receipts which name its fiscal sign in tag 1192.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum

from app.domain.errors import Finding
from app.domain.ffd import FfdVersion, Operation
from app.domain.limits import DriverLimits
from app.domain.money import roubles
from app.domain.plan import Refused
from app.domain.rates import for_method
from app.domain.receipt import CorrectionBasis, Item, Receipt
from app.domain.rules import findings
from app.domain.vat import VatRate


class Case(Enum):
    """What happened, in the words of the one who found it."""

    NOT_REGISTERED = "not_registered"
    WRONG_RATE = "wrong_rate"
    WRONG_SUM = "wrong_sum"
    WRONG_OTHER = "wrong_other"
    DUPLICATE = "duplicate"

    @property
    def needs_right(self) -> bool:
        """The right receipt has to be told; a duplicate has none, and of missing money there is nothing else."""
        return self is not Case.DUPLICATE


class Role(Enum):
    """What a document of a correction does."""

    MISSING = "missing"
    REVERSAL = "reversal"
    RIGHT = "right"


@dataclass(frozen=True, slots=True)
class Means:
    """What a kassa's driver can carry: correction receipts by format, operations, tag 1192."""

    corrections: frozenset[FfdVersion]
    operations: frozenset[Operation]
    additional_prop: bool
    max_items: int = 100
    carries: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Printed:
    """The receipt that is wrong: its content, its fiscal sign (tag 1077), and the local day of its settlement."""

    receipt: Receipt
    fpd: str
    day: date


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a correction. `description` is the text of tag 1177, which FFD 1.2 does not want."""

    role: Role
    receipt: Receipt
    description: str

    @property
    def totals_only(self) -> bool:
        """The correction form of FFD 1.05 has no lines: its sums are those of the lines that are given here."""
        return self.receipt.correction is not None and self.receipt.ffd is FfdVersion.V1_05


@dataclass(frozen=True, slots=True)
class CorrectionPlan:
    """Documents in the order in which they go: the second only when the first is fiscalized. `notes` are codes."""

    documents: tuple[Document, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be put right, under which basis; `without_link` is a person's word that 1192 may be left out."""

    case: Case
    basis: CorrectionBasis
    ffd: FfdVersion
    wrong: Printed | None = None
    right: Receipt | None = None
    without_link: bool = False


def plan_correction(asked: Asked, means: Means, today: date) -> CorrectionPlan | Refused:
    """The documents that put it right, or every reason why they cannot be made.

    `asked.wrong` is None for money that has no receipt; `asked.right` is None for a duplicate. The rates of every
    document are judged by the day of the settlement, never by `today`, so that the VAT of the original is kept.
    Raises ValueError when the receipts that the case needs are not given.
    """
    found = list(_asked_wrongly(asked, today))
    documents = tuple(_documents(asked))
    found += _beyond(asked, documents, means)
    if not found:
        for document in documents:
            # Tag 1192 is the planner's own: what becomes of it where it cannot be carried is judged above.
            carries = None if means.carries is None else means.carries | {1192}
            limits = DriverLimits(max_items=means.max_items, carries=carries)
            found += [one for one in findings(document.receipt, _day(asked), limits) if one not in found]
    if found:
        return Refused(tuple(found))
    return CorrectionPlan(documents, tuple(_notes(asked, documents, means)))


def with_rate(receipt: Receipt, rate: VatRate) -> Receipt:
    """The same receipt at another rate, in the form that each line's payment method wants (22 % or 22/122)."""
    return replace(
        receipt, items=tuple(replace(item, vat=for_method(rate, item.payment_method)) for item in receipt.items)
    )


def _documents(asked: Asked) -> Iterator[Document]:
    wrong, right = asked.wrong, asked.right
    if asked.case is Case.NOT_REGISTERED:
        if right is None or wrong is not None:
            raise ValueError("money without a receipt is told by its right receipt alone")
        yield Document(Role.MISSING, _missing(right, asked), _told(asked))
        return
    if wrong is None or (right is None) is asked.case.needs_right:
        raise ValueError("a wrong receipt is told with its right one, a duplicate without")
    yield Document(Role.REVERSAL, _repair(_reversed(wrong.receipt), asked, wrong.fpd), _told(asked))
    if right is not None:
        yield Document(Role.RIGHT, _repair(right, asked, wrong.fpd), _told(asked))


def _missing(right: Receipt, asked: Asked) -> Receipt:
    """Money that came or went without a receipt. FFD 1.05 knows no returned sale: money paid out is a purchase."""
    operation = right.operation
    if asked.ffd is FfdVersion.V1_05 and operation is Operation.SELL_REFUND:
        operation = Operation.BUY
    if asked.ffd is FfdVersion.V1_05 and operation is Operation.BUY_REFUND:
        operation = Operation.SELL
    return replace(right, operation=operation, ffd=asked.ffd, correction=asked.basis)


def _repair(receipt: Receipt, asked: Asked, fpd: str) -> Receipt:
    correction = None if asked.ffd is FfdVersion.V1_05 else asked.basis
    return replace(receipt, ffd=asked.ffd, correction=correction, additional_prop=fpd)


_TURNED = {1: 3, 2: 4, 3: 1, 4: 2}
"""Planned state of a marked piece (tag 2003): what was sold comes back, what came back is sold."""


def _reversed(receipt: Receipt) -> Receipt:
    """The wrong receipt turned around: same lines, sums, rates and ways of payment."""
    return replace(receipt, operation=receipt.operation.reverse, items=tuple(_turned(item) for item in receipt.items))


def _turned(item: Item) -> Item:
    if item.marking is None:
        return item
    return replace(item, marking=replace(item.marking, state=_TURNED.get(item.marking.state, item.marking.state)))


def _day(asked: Asked) -> date:
    return asked.basis.corrected_date if asked.wrong is None else asked.wrong.day


def _asked_wrongly(asked: Asked, today: date) -> Iterator[Finding]:
    if asked.basis.corrected_date > today:
        yield _FUTURE
    wrong, right = asked.wrong, asked.right
    if wrong is None or right is None:
        return
    if right.operation is not wrong.receipt.operation:
        yield _OTHER_OPERATION
    match asked.case:
        case Case.WRONG_RATE:
            if right.total != wrong.receipt.total:
                yield _other_sum(wrong.receipt.total, right.total)
            elif _rates(right) == _rates(wrong.receipt):
                yield _nothing("#/vat", 1199)
        case Case.WRONG_SUM:
            if right.total == wrong.receipt.total:
                yield _nothing("#/items", 1020)
        case _:
            if _content(right) == _content(wrong.receipt):
                yield _nothing("#/items", 1059)


def _rates(receipt: Receipt) -> list[VatRate]:
    return [item.vat for item in receipt.items]


def _content(receipt: Receipt) -> Receipt:
    """What is printed, without what the repair itself adds."""
    return replace(receipt, correction=None, additional_prop=None, ffd=FfdVersion.V1_2)


def _beyond(asked: Asked, documents: tuple[Document, ...], means: Means) -> Iterator[Finding]:
    """What the kassa's driver cannot carry."""
    receipts = [document.receipt for document in documents]
    if any(one.correction is not None for one in receipts) and asked.ffd not in means.corrections:
        yield Finding(
            "#/correction",
            "correction_not_supported",
            f"This kassa's provider takes no correction receipts of FFD {asked.ffd.value}.",
            f"Провайдер этой кассы не принимает чеки коррекции ФФД {asked.ffd.value}.",
            1173,
            "Make it in the provider's cabinet, or use a kassa whose provider can.",
        )
    for one in dict.fromkeys(one.operation for one in receipts if one.operation not in means.operations):
        yield Finding(
            "#/operation",
            "correction_operation_not_supported",
            f"This kassa's provider makes no receipts of the operation {one.code}.",
            f"Провайдер этой кассы не делает чеков «{one.ru}».",
            1054,
            "Make it in the provider's cabinet, or use a kassa whose provider can.",
        )
    linked_only = any(one.additional_prop and one.correction is None for one in receipts)
    if linked_only and not (means.additional_prop or asked.without_link):
        yield Finding(
            "#/without_link",
            "additional_prop_not_supported",
            "In FFD 1.05 a repair names the wrong receipt in tag 1192, and this kassa's provider cannot carry it.",
            "По ФФД 1.05 исправление называет фискальный признак ошибочного чека в реквизите 1192, а провайдер этой "
            "кассы его не передаёт.",
            1192,
            "Make the repair in the provider's cabinet; or send without_link=true and give the explanation to the "
            "tax service.",
        )


def _notes(asked: Asked, documents: tuple[Document, ...], means: Means) -> Iterator[str]:
    if any(document.receipt.additional_prop for document in documents) and not means.additional_prop:
        yield "link_kept_here"
    if any(document.totals_only for document in documents):
        yield "totals_only"
    if asked.right is not None and asked.case is Case.NOT_REGISTERED:
        if documents[0].receipt.operation is not asked.right.operation:
            yield "refund_as_purchase"
    elif len(documents) > 1:
        yield "second_after_first"


def carried(plan: CorrectionPlan, means: Means) -> tuple[Receipt, ...]:
    """The receipts as this driver takes them: tag 1192 only where it can be carried; the link stays in our books."""
    return tuple(
        document.receipt if means.additional_prop else replace(document.receipt, additional_prop=None)
        for document in plan.documents
    )


_TEXTS = {
    Case.NOT_REGISTERED: "Расчёт без применения ККТ",
    Case.WRONG_RATE: "Исправление ставки НДС",
    Case.WRONG_SUM: "Исправление суммы расчёта",
    Case.WRONG_OTHER: "Исправление реквизитов чека",
    Case.DUPLICATE: "Повторно сформированный чек",
}


def _told(asked: Asked) -> str:
    """Описание коррекции, tag 1177, at most 256 characters."""
    text = f"{_TEXTS[asked.case]}, расчёт от {asked.basis.corrected_date:%d.%m.%Y}"
    return text if asked.wrong is None else f"{text}, ФПД {asked.wrong.fpd}"


_FUTURE = Finding(
    "#/correction/corrected_date",
    "correction_date",
    "The corrected settlement lies in the future.",
    "Дата корректируемого расчёта ещё не наступила.",
    1178,
    "Give the day on which the money was taken or returned.",
)
_OTHER_OPERATION = Finding(
    "#/operation",
    "correction_other_operation",
    "A repair keeps the operation of the wrong receipt.",
    "Исправление не меняет признак расчёта ошибочного чека.",
    1054,
    "Correct a receipt of the wrong operation as a duplicate, then make the right one as not registered.",
)


def _other_sum(before: int, after: int) -> Finding:
    return Finding(
        "#/items",
        "correction_sum_differs",
        f"The receipt was for {roubles(before)}, its right form for {roubles(after)}: that is no wrong rate alone.",
        f"Чек был на {roubles(before)} руб., а исправленный на {roubles(after)} руб.: ошибка не только в ставке.",
        1020,
        "Give the same lines with the right rate, or name the case wrong_sum.",
    )


def _nothing(pointer: str, tag: int) -> Finding:
    return Finding(
        pointer,
        "correction_changes_nothing",
        "The right receipt differs in nothing from the wrong one.",
        "Исправленный чек ничем не отличается от ошибочного.",
        tag,
        "Say what is right: the rate, the lines, the sum, the taxation or the ways of payment.",
    )
