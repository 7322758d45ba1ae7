"""What a receipt's state means, in words for people: said where no cause says it better.

`GET /v1/receipts/{id}/explain` puts these beside the cause of `causes.py`.
"""

from dataclasses import dataclass

from app.domain.causes import Cause, Who
from app.domain.lifecycle import Status


@dataclass(frozen=True, slots=True)
class Meaning:
    """One state: what it says, who acts now (None: nobody has to), and what to do."""

    what: str
    what_ru: str
    who: Who | None
    next_step: str
    next_step_ru: str


_NOTHING = ("Nothing.", "Ничего делать не нужно.")
_BY_ITSELF = ("Nothing: it goes on by itself.", "Ничего: дальше всё произойдёт само.")

MEANINGS: dict[Status, Meaning] = {
    Status.HELD: Meaning(
        "The receipt waits: something must be filled or decided before it can be sent.",
        "Чек ждёт: прежде чем его отправить, нужно что-то дополнить или решить.",
        Who.MERCHANT,
        "Fill what is missing, or decide.",
        "Дополните недостающее или примите решение.",
    ),
    Status.QUEUED: Meaning(
        "The receipt is ready and waits for its turn at the kassa; this id is not registered.",
        "Чек готов и ждёт очереди на кассу; под этим номером он не пробит.",
        None,
        *_BY_ITSELF,
    ),
    Status.SENDING: Meaning(
        "The receipt is being sent to the provider at this moment.",
        "Чек прямо сейчас отправляется оператору кассы.",
        None,
        *_BY_ITSELF,
    ),
    Status.ACCEPTED: Meaning(
        "The provider has taken the receipt and has not printed it yet.",
        "Оператор кассы принял чек, но ещё не пробил его.",
        None,
        *_BY_ITSELF,
    ),
    Status.UNKNOWN: Meaning(
        "The request may have arrived, its answer was lost: the provider is asked before anything is repeated.",
        "Запрос мог дойти, но ответ потерян: прежде чем что-то повторять, программа спросит оператора.",
        None,
        *_BY_ITSELF,
    ),
    Status.FISCALIZED: Meaning(
        "The receipt is made: it stands in fiscal storage.",
        "Чек пробит и записан в фискальный накопитель.",
        None,
        *_NOTHING,
    ),
    Status.REJECTED: Meaning(
        "The provider has refused the receipt for good: this money has no receipt.",
        "Оператор кассы окончательно отклонил чек: по этим деньгам чека нет.",
        Who.MERCHANT,
        "Correct what is wrong and send it again, or cancel it.",
        "Исправьте ошибку и отправьте чек снова или отмените его.",
    ),
    Status.NEEDS_ATTENTION: Meaning(
        "Only a person can find out what became of the receipt; nothing is sent until then.",
        "Что стало с чеком, может выяснить только человек; до этого ничего не отправляется.",
        Who.OPERATOR,
        "Look into the provider's cabinet or at the OFD, then resolve.",
        "Посмотрите в кабинете оператора или у ОФД и примите решение.",
    ),
    Status.CANCELLED: Meaning(
        "The receipt was given up: nothing will be printed under it.",
        "От чека отказались: по нему ничего не будет пробито.",
        None,
        *_NOTHING,
    ),
}
"""Every state."""


def meaning(status: Status, why: Cause | None) -> Meaning:
    """What holds now: the state's words, with the actor and step of the cause where there is one."""
    plain = MEANINGS[status]
    if why is None or status in (Status.FISCALIZED, Status.CANCELLED):
        return plain
    return Meaning(plain.what, plain.what_ru, why.who, why.next_step, why.next_step_ru)
