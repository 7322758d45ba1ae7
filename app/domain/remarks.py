"""What planning noticed or put right about a receipt, in words for people.

A plan carries notes: "code", "code: pointer" or "code: pointer details". They are stored as they are and told from
this catalogue whenever somebody looks, so that the words may improve after the receipt was made.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from app.domain.errors import Finding, Severity

_WARNING, _FIXED = Severity.WARNING, Severity.FIXED


@dataclass(frozen=True, slots=True)
class Remark:
    """One code: how grave it is, the tag that it is about, the words (`{}` takes the note's details), what to do."""

    severity: Severity
    tag: int | None
    detail: str
    detail_ru: str
    fix: str | None = None


REMARKS: dict[str, Remark] = {
    "name_fitted": Remark(
        _FIXED,
        1030,
        "The name was rewritten in signs that a register prints (CP866): {}.",
        "Наименование записано знаками, которые печатает касса (CP866): {}.",
        "Nothing, or write plain quotes and dashes in the source.",
    ),
    "name_cut": Remark(
        _WARNING,
        1030,
        "The name does not fit into 128 printable characters and lost a part: {}.",
        "Наименование не поместилось в 128 печатных знаков и потеряло часть: {}.",
        "Shorten the name in the source so that the buyer still recognizes the goods.",
    ),
    "line_split": Remark(
        _FIXED,
        1043,
        "No single price gives the sum of this quantity: the line stands in two parts whose prices differ by a kopeck.",
        "Одной ценой сумму не получить: строка разделена на две, цены отличаются на копейку.",
        "Nothing.",
    ),
    "price_fitted": Remark(
        _FIXED,
        1079,
        "The price was set so that price × quantity is the sum to the kopeck.",
        "Цена подобрана так, чтобы цена × количество давала сумму до копейки.",
        "Nothing.",
    ),
    "quantity_in_name": Remark(
        _FIXED,
        1023,
        "The line is one unit at its whole sum, the real quantity stands in the name: no price, or no place for a "
        "second line, gives the sum otherwise.",
        "Строка оформлена одной единицей на всю сумму, количество указано в наименовании: иначе сумму не получить или "
        "не хватает строк чека.",
        "Nothing, or report the goods in fewer lines.",
    ),
    "free_line_dropped": Remark(
        _FIXED,
        1079,
        "The line costs nothing and is left out of the receipt.",
        "Строка ничего не стоит и в чек не включена.",
        "Nothing; to be refused or to get a kopeck instead, set zero_lines among the defaults.",
    ),
    "free_marked_line_dropped": Remark(
        _WARNING,
        2000,
        "Marked goods were given for nothing: their line is left out, so the code is not taken out of circulation.",
        "Маркированный товар отдан бесплатно: строка в чек не включена, и код из оборота не выведен.",
        "Take the code out of circulation in the marking system, or set zero_lines to kopeck.",
    ),
    "kopeck_on_free_line": Remark(
        _FIXED,
        1079,
        "The line would cost nothing; it got a kopeck of the dearest line.",
        "Строка ничего не стоила бы: на неё перенесена копейка с самой дорогой строки.",
        "Nothing; this is the setting zero_lines.",
    ),
    "discount_without_lines": Remark(
        _WARNING,
        1043,
        "A discount was told without lines to spread it over; the amount alone counts.",
        "Скидка указана без строк, по которым её распределить: учтена только сумма платежа.",
        "Name the lines at their full price.",
    ),
    "vat_by_method": Remark(
        _FIXED,
        1199,
        "The settings' VAT rate took the form that the payment method wants: {}.",
        "Ставка НДС из настроек приведена к виду для этого способа расчёта: {}.",
        "Nothing.",
    ),
    "measure_defaulted": Remark(
        _FIXED,
        2108,
        "Nothing says in what the quantity is measured; whole quantities are counted in pieces.",
        "Мера количества не указана: целые количества посчитаны в штуках.",
        "Give measure with the lines, or set it among the defaults.",
    ),
    "contact_unusable": Remark(
        _WARNING,
        1008,
        "The buyer's contact cannot stand in a receipt (an e-mail of at most 64 characters, a phone as +79990000000).",
        "Контакт покупателя не подходит для чека (e-mail до 64 символов или телефон вида +79990000000).",
        "Correct it in the source; the buyer does not get this receipt otherwise.",
    ),
    "contact_fallback": Remark(
        _WARNING,
        1008,
        "The buyer left no usable contact: the receipt goes to the merchant's own address.",
        "Годного контакта покупателя нет: чек уйдёт на адрес самой организации.",
        "Ask the buyer and send the contact later: PATCH /v1/receipts/{id}.",
    ),
    "later_today": Remark(
        _WARNING,
        1012,
        "The payment is told for a moment that has not come yet, later on this day.",
        "Время платежа ещё не наступило: событие пришло раньше, чем указано в нём самом.",
        "Check the clock and the time zone of the source.",
    ),
    "reported_late": Remark(
        _WARNING,
        1012,
        "The payment is of {} and was reported after that day: its receipt bears the day on which it is printed.",
        "Платёж от {} передан, когда его день уже прошёл: на чеке будет день печати, а не день расчёта.",
        "Money of a past day that was taken without a receipt belongs in a correction: POST /v1/corrections/batches, "
        "before it is reported as an event.",
    ),
    "prepaid_elsewhere": Remark(
        _WARNING,
        1215,
        "{} of the offset was prepaid where this program knows nothing of it, so nobody checks that it was received.",
        "Зачёт {} руб. относится к деньгам, о которых программа не знает: проверить, что они получены, нельзя.",
        "Name the order, or give the payment's own payment_id, so that its prepayment is closed here.",
    ),
    "prepaid_by_hand": Remark(
        _WARNING,
        1215,
        "{} is offset, and a receipt made by hand closes no prepayment: what was prepaid stays open in the ledger.",
        "Зачёт {} руб.: чек, сделанный вручную, не закрывает предоплату, в учёте она остаётся открытой.",
        "Report it as an event with payments of the type prepaid, so that the prepayment is closed.",
    ),
    "not_a_prepayment": Remark(
        _FIXED,
        1214,
        "Nothing of the payment was prepaid, so there is nothing to close.",
        "В платеже нет предоплаты, закрывать нечего.",
        "Nothing.",
    ),
}
"""Every code that planning notes."""


def remark(note: str) -> Finding:
    """A note of a plan in words. One that another version wrote and this one does not know is shown as it is."""
    code, _, told = note.partition(": ")
    known = REMARKS.get(code)
    pointer, _, details = told.partition(" ") if told.startswith("#") else ("#", "", told)
    if known is None:
        return Finding(pointer, code, note, note, severity=_WARNING)
    return Finding(
        pointer,
        code,
        known.detail.replace("{}", details),
        known.detail_ru.replace("{}", details),
        known.tag,
        known.fix,
        known.severity,
    )


def remarks(notes: Iterable[str]) -> list[Finding]:
    """Notes in words, the grave ones first."""
    return sorted(map(remark, notes), key=lambda one: one.severity is not _WARNING)
