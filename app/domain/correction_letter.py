"""The explanation that goes to the tax inspection after a correction, as a draft in Russian filled from the facts.

A correction made before the inspection knows of the violation releases from the fine only together with the data that
let it be checked (note to article 14.5 of the КоАП), so every document is named by its numbers.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from app.domain.correction import Case
from app.domain.ffd import CorrectionKind, FfdVersion, Operation
from app.domain.money import roubles
from app.domain.receipt import CorrectionBasis, FiscalData, Receipt

_BLANK = "________"


@dataclass(frozen=True, slots=True)
class Made:
    """A document with what is known of it by now; no fiscal data: not made yet."""

    operation: Operation
    correction: bool
    total: int
    fiscal: FiscalData | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """The facts of one correction. `wrong` is None for money without a receipt; `reason` is the seller's own words."""

    seller: str
    inn: str
    place: str
    case: Case
    basis: CorrectionBasis
    ffd: FfdVersion
    day: date
    total: int
    documents: tuple[Made, ...]
    wrong: Made | None = None
    differences: tuple[str, ...] = ()
    reason: str | None = None


def letter(facts: Letter) -> str:
    """The draft; what is not known yet stays a blank line to be filled."""
    return "\n".join(_lines(facts)) + "\n"


def differences(wrong: Receipt, right: Receipt) -> tuple[str, ...]:
    """What was wrong, in Russian, one sentence part each."""
    return tuple(_differences(wrong, right))


def _differences(wrong: Receipt, right: Receipt) -> Iterator[str]:
    before, after = _words(item.vat.ru for item in wrong.items), _words(item.vat.ru for item in right.items)
    if before != after:
        yield f"ставка НДС «{before}» вместо «{after}»"
    if wrong.total != right.total:
        yield f"сумма расчёта {_money(wrong.total)} вместо {_money(right.total)}"
    if wrong.taxation is not right.taxation:
        yield f"система налогообложения «{wrong.taxation.ru}» вместо «{right.taxation.ru}»"
    paid, should = _words(p.kind.ru for p in wrong.payments), _words(p.kind.ru for p in right.payments)
    if paid != should:
        yield f"вид оплаты «{paid}» вместо «{should}»"
    for what, one, other in (
        ("предмет расчёта", *_both(wrong, right, lambda r: (i.payment_object.ru for i in r.items))),
        ("способ расчёта", *_both(wrong, right, lambda r: (i.payment_method.ru for i in r.items))),
        ("наименование", *_both(wrong, right, lambda r: (i.name for i in r.items))),
    ):
        if one != other:
            yield f"{what} «{one}» вместо «{other}»"


def _both(wrong: Receipt, right: Receipt, read: Callable[[Receipt], Iterable[str]]) -> tuple[str, str]:
    return _words(read(wrong)), _words(read(right))


def _words(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _lines(facts: Letter) -> Iterator[str]:
    yield "ПРОЕКТ. Проверьте, заполните пропуски и подпишите."
    yield ""
    yield f"В инспекцию ФНС России {_BLANK}"
    yield f"от: {facts.seller}, ИНН {facts.inn}"
    yield ""
    yield "ПОЯСНЕНИЕ"
    yield "об исправлении при применении контрольно-кассовой техники"
    yield ""
    yield from _what_happened(facts)
    if facts.reason:
        yield f"Причина: {facts.reason.rstrip('.')}."
    yield _found(facts.basis)
    yield ""
    yield f"Сделано по ФФД {facts.ffd.value}:"
    for number, made in enumerate(facts.documents, start=1):
        yield f"{number}) {_document(made)}"
    yield ""
    if facts.basis.kind is CorrectionKind.SELF:
        yield (
            "Просим освободить от административной ответственности на основании примечания к статье 14.5 КоАП РФ: "
            "нарушение исправлено добровольно, сведения и документы достаточны для его проверки."
        )
        yield ""
    yield "Приложение: копии названных чеков."
    yield ""
    yield f"Дата {_BLANK}   Подпись {_BLANK}"


def _what_happened(facts: Letter) -> Iterator[str]:
    day, money = f"{facts.day:%d.%m.%Y}", _money(facts.total)
    if facts.wrong is None:
        yield f"{day} произведён расчёт на сумму {money} без применения ККТ (место расчётов: {facts.place})."
        return
    yield f"{day} произведён расчёт на сумму {money} (место расчётов: {facts.place})."
    yield f"Сформирован {_document(facts.wrong).rstrip(';')}."
    if facts.case is Case.DUPLICATE:
        yield "Этот чек сформирован повторно: на тот же расчёт уже есть другой чек."
    else:
        yield f"В чеке допущена ошибка: {'; '.join(facts.differences) or _BLANK}."


def _found(basis: CorrectionBasis) -> str:
    if basis.kind is CorrectionKind.INSTRUCTION:
        return f"Исправлено по предписанию № {basis.document_number or _BLANK}."
    return "Ошибка найдена и исправлена самостоятельно, до сообщения налогового органа."


def _document(made: Made) -> str:
    form = "кассовый чек коррекции" if made.correction else "кассовый чек"
    told = f"{form} «{made.operation.ru}» на сумму {_money(made.total)}"
    fiscal = made.fiscal
    if fiscal is None:
        return f"{told}: ФД № {_BLANK}, ФПД {_BLANK}, от {_BLANK};"
    register = "" if fiscal.kkt_rn is None else f"ККТ рег. № {fiscal.kkt_rn}, "
    at = fiscal.local_time[:16].replace("T", " ")
    return f"{told}: {register}ФН № {fiscal.fn}, ФД № {fiscal.fd}, ФПД {fiscal.fpd}, от {at};"


def _money(kopecks: int) -> str:
    return f"{roubles(kopecks)} руб.".replace(".", ",", 1)
