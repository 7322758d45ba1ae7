"""The cause catalogue: why a receipt stands still, in words for people: what happened, who acts, what to do next."""

from dataclasses import dataclass
from enum import StrEnum


class Who(StrEnum):
    """Who can end the trouble."""

    BUYER_DATA = "buyer_data"
    MERCHANT = "merchant"
    OPERATOR = "operator"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause. `retryable`: the same receipt may succeed later without any change to it."""

    code: str
    message: str
    message_ru: str
    who: Who
    next_step: str
    next_step_ru: str
    retryable: bool


def cause(code: str) -> Cause:
    """The cause of this code; an unknown code reads as `refused_other`."""
    return CATALOGUE.get(code, CATALOGUE["refused_other"])


_HELD = (
    Cause(
        "data_missing",
        "The receipt lacks data that neither the event nor the settings give.",
        "Для чека не хватает данных: их нет ни в сообщении о платеже, ни в настройках.",
        Who.MERCHANT,
        "Fill the listed members with PATCH, or set defaults for the source, branch or kassa.",
        "Заполните перечисленные поля или задайте значения по умолчанию для источника, филиала или кассы.",
        False,
    ),
    Cause(
        "kassa_missing",
        "No switched-on kassa belongs to this payment's branch.",
        "Для филиала этого платежа нет включённой кассы.",
        Who.OPERATOR,
        "Connect a kassa to the branch, or switch one on.",
        "Подключите кассу к филиалу или включите её.",
        False,
    ),
    Cause(
        "payment_unknown",
        "The refund or settlement names a payment that was never reported here.",
        "Возврат или закрытие ссылается на платёж, о котором сюда не сообщали.",
        Who.MERCHANT,
        "Report the payment first, or correct payment_id.",
        "Сначала передайте сам платёж или исправьте payment_id.",
        True,
    ),
    Cause(
        "sale_not_fiscalized",
        "The sale has no receipt (refused or cancelled), so there is nothing to return by a receipt.",
        "У продажи нет чека (отклонён или отменён), возвращать по чеку нечего.",
        Who.MERCHANT,
        "Correct and resend the sale's receipt, or cancel this one.",
        "Исправьте и отправьте чек продажи или отмените этот чек.",
        True,
    ),
    Cause(
        "refund_exceeds_payment",
        "More is to be returned than is left of the sale.",
        "Возвращается больше, чем осталось от продажи.",
        Who.MERCHANT,
        "Check earlier refunds of this sale and correct the sum or the lines.",
        "Проверьте прежние возвраты по этой продаже и исправьте сумму или строки.",
        False,
    ),
    Cause(
        "lines_not_found",
        "Lines of the event are not in the sale's receipt.",
        "Строк из сообщения нет в чеке продажи.",
        Who.MERCHANT,
        "Name the lines as the sale did (sku or name), or leave the lines out to go by the sum.",
        "Назовите строки так же, как в продаже (артикул или наименование), или передайте только сумму.",
        False,
    ),
    Cause(
        "settlement_exceeds_prepayment",
        "More is to be closed than is open of the prepayment.",
        "Закрывается больше, чем осталось от предоплаты.",
        Who.MERCHANT,
        "Check earlier closings and refunds of this prepayment and correct the sum.",
        "Проверьте прежние закрытия и возвраты этой предоплаты и исправьте сумму.",
        False,
    ),
    Cause(
        "contact_missing",
        "There is no e-mail or phone to send the receipt to.",
        "Некуда отправить чек: нет ни e-mail, ни телефона.",
        Who.BUYER_DATA,
        "Ask the buyer for a contact, or set a fallback contact for the kassa.",
        "Узнайте контакт покупателя или задайте запасной контакт кассы.",
        False,
    ),
)

_REFUSED = (
    Cause(
        "contact_refused",
        "The provider does not take the buyer's e-mail or phone.",
        "Оператор кассы не принимает e-mail или телефон покупателя.",
        Who.BUYER_DATA,
        "Correct the contact and send the receipt again.",
        "Исправьте контакт и отправьте чек снова.",
        False,
    ),
    Cause(
        "place_not_registered",
        "The place of settlement is not registered for this kassa.",
        "Место расчётов не зарегистрировано для этой кассы.",
        Who.OPERATOR,
        "Write the kassa's place exactly as the provider has it, to the last slash.",
        "Укажите место расчётов кассы в точности как у оператора, до последней косой черты.",
        False,
    ),
    Cause(
        "taxation_not_registered",
        "The kassa is not registered with this taxation system.",
        "Касса не зарегистрирована с этой системой налогообложения.",
        Who.MERCHANT,
        "Choose one of the kassa's taxation systems, or have the kassa registered again.",
        "Выберите одну из систем налогообложения кассы или перерегистрируйте кассу.",
        False,
    ),
    Cause(
        "field_unexpected",
        "The provider does not know a member of our request: its protocol has changed.",
        "Оператор кассы не знает поле нашего запроса: изменился протокол.",
        Who.OPERATOR,
        "Update CRM-Kassa; report the answer shown in the timeline.",
        "Обновите CRM-Kassa и сообщите разработчикам ответ из истории чека.",
        False,
    ),
    Cause(
        "field_missing",
        "The provider wants a member that the receipt does not have.",
        "Оператору кассы не хватает поля в чеке.",
        Who.MERCHANT,
        "Fill the member that the provider names and send the receipt again.",
        "Заполните поле, которое назвал оператор, и отправьте чек снова.",
        False,
    ),
    Cause(
        "value_invalid",
        "The provider refuses a value of the receipt.",
        "Оператор кассы не принимает значение в чеке.",
        Who.MERCHANT,
        "Correct the value that the provider names and send the receipt again.",
        "Исправьте значение, которое назвал оператор, и отправьте чек снова.",
        False,
    ),
    Cause(
        "value_unavailable",
        "A value of the receipt is not allowed for this kassa or its group.",
        "Значение в чеке недоступно этой кассе или группе касс.",
        Who.OPERATOR,
        "Compare the kassa's settings with its registration at the provider.",
        "Сверьте настройки кассы с её регистрацией у оператора.",
        False,
    ),
    Cause(
        "marking_refused",
        "The marking code was not accepted.",
        "Код маркировки не принят.",
        Who.MERCHANT,
        "Scan the code of the piece again; do not sell goods whose code is refused.",
        "Отсканируйте код ещё раз; товар с непринятым кодом продавать нельзя.",
        False,
    ),
    Cause(
        "agent_not_registered",
        "The kassa is not registered with this agent sign.",
        "Касса не зарегистрирована с этим признаком агента.",
        Who.MERCHANT,
        "Have the kassa registered with the agent sign, or leave it out.",
        "Перерегистрируйте кассу с признаком агента или уберите признак.",
        False,
    ),
    Cause(
        "payload_not_supported",
        "This provider cannot carry something that the receipt needs.",
        "Этот оператор кассы не может передать то, что нужно в чеке.",
        Who.OPERATOR,
        "See the provider's capabilities; use another kassa or make this receipt by hand.",
        "Посмотрите возможности оператора; возьмите другую кассу или оформите чек вручную.",
        False,
    ),
    Cause(
        "duplicate_id",
        "The provider says that it has this id already, with other content.",
        "Оператор кассы сообщает, что такой номер у него уже есть, но с другим содержанием.",
        Who.OPERATOR,
        "Look at the document in the provider's cabinet and resolve the receipt by hand.",
        "Найдите документ в кабинете оператора и примите решение по чеку вручную.",
        False,
    ),
    Cause(
        "not_printed",
        "The provider gave the receipt up unprinted: no register could print it in time.",
        "Оператор не дождался кассы и снял чек с очереди: чек не пробит.",
        Who.PROVIDER,
        "Look at the registers in the provider's cabinet; once they work, send the receipt again.",
        "Посмотрите состояние касс в кабинете оператора; когда они заработают, отправьте чек снова.",
        True,
    ),
    Cause(
        "refused_other",
        "The provider refused the receipt for a reason that is not in our catalogue.",
        "Оператор кассы отклонил чек по причине, которой нет в нашем справочнике.",
        Who.OPERATOR,
        "Read the provider's own message and correct the receipt, or ask the provider's support.",
        "Прочитайте сообщение оператора и исправьте чек или обратитесь в его поддержку.",
        False,
    ),
)

_KASSA = (
    Cause(
        "credentials_refused",
        "The provider does not accept the kassa's credentials.",
        "Оператор кассы не принимает логин или ключ.",
        Who.OPERATOR,
        "Replace the credentials; receipts wait and then go by themselves.",
        "Замените ключи доступа; чеки подождут и уйдут сами.",
        True,
    ),
    Cause(
        "account_inactive",
        "The account at the provider is switched off.",
        "Учётная запись у оператора кассы отключена.",
        Who.MERCHANT,
        "Ask the provider to activate the account; receipts wait and then go by themselves.",
        "Попросите оператора включить учётную запись; чеки подождут и уйдут сами.",
        True,
    ),
    Cause(
        "payment_required",
        "The provider's service is not paid for.",
        "Услуги оператора кассы не оплачены.",
        Who.MERCHANT,
        "Pay the provider's bill; receipts wait and then go by themselves.",
        "Оплатите счёт оператора; чеки подождут и уйдут сами.",
        True,
    ),
    Cause(
        "group_not_found",
        "The provider does not know this kassa or group, or it is not ours.",
        "Оператор не знает такой кассы или группы касс либо она не ваша.",
        Who.OPERATOR,
        "Check the group's number in the provider's cabinet; receipts wait and then go by themselves.",
        "Проверьте номер группы в кабинете оператора; чеки подождут и уйдут сами.",
        True,
    ),
    Cause(
        "ffd_not_registered",
        "The register works by another fiscal format (FFD) than the kassa is set to.",
        "Касса работает в другой версии ФФД, чем указано в настройках.",
        Who.OPERATOR,
        "Set the kassa's FFD as the provider's cabinet shows it; receipts wait and then go by themselves.",
        "Укажите версию ФФД кассы так, как в кабинете оператора; чеки подождут и уйдут сами.",
        True,
    ),
    Cause(
        "kassa_blocked",
        "The register cannot print: its shift, its fiscal storage or the link to the OFD has ended.",
        "Касса не печатает: закончилась смена, фискальный накопитель или связь с ОФД.",
        Who.PROVIDER,
        "Look at the register in the provider's cabinet and ask its support; receipts wait.",
        "Посмотрите состояние кассы в кабинете оператора и обратитесь в поддержку; чеки подождут.",
        True,
    ),
    Cause(
        "kassa_switched_off",
        "The kassa is switched off here.",
        "Касса выключена в настройках.",
        Who.OPERATOR,
        "Switch the kassa on; receipts wait and then go by themselves.",
        "Включите кассу; чеки подождут и уйдут сами.",
        True,
    ),
    Cause(
        "kassa_timeout",
        "The register did not answer its provider in time.",
        "Касса не ответила оператору вовремя.",
        Who.PROVIDER,
        "Nothing: the receipt is asked for by its number and repeated only when it is not there.",
        "Ничего: чек будет найден по номеру и повторён, только если его нет.",
        True,
    ),
    Cause(
        "provider_down",
        "The provider does not answer or reports a fault of its own.",
        "Оператор кассы не отвечает или сообщает о сбое у себя.",
        Who.PROVIDER,
        "Nothing: receipts wait in order and go when the provider is back.",
        "Ничего: чеки ждут по порядку и уйдут, когда оператор заработает.",
        True,
    ),
    Cause(
        "provider_busy",
        "The provider is overloaded or in maintenance.",
        "Оператор кассы перегружен или на обслуживании.",
        Who.PROVIDER,
        "Nothing: the receipt is sent again later.",
        "Ничего: чек будет отправлен позже.",
        True,
    ),
    Cause(
        "rate_limited",
        "The provider asks for fewer requests.",
        "Оператор кассы просит слать запросы реже.",
        Who.PROVIDER,
        "Nothing: the kassa slows down. If it stays, ask the provider for a higher limit.",
        "Ничего: касса замедлится сама. Если не проходит, попросите оператора поднять лимит.",
        True,
    ),
    Cause(
        "wire_not_sent",
        "The request certainly did not leave: no connection to the provider.",
        "Запрос точно не ушёл: нет связи с оператором кассы.",
        Who.OPERATOR,
        "Nothing at first: it is sent again. If it stays, check the network and the kassa's address.",
        "Сначала ничего: запрос повторится. Если не проходит, проверьте сеть и адрес кассы.",
        True,
    ),
)

_UNDECIDED = (
    Cause(
        "unknown_outcome",
        "The request may have arrived, the answer was lost.",
        "Запрос мог дойти, но ответ потерян.",
        Who.PROVIDER,
        "Nothing: the receipt is asked for by its number before anything is repeated.",
        "Ничего: прежде чем повторять, чек будет найден по номеру.",
        True,
    ),
    Cause(
        "lookup_impossible",
        "Nobody can tell by machine whether the receipt was made: this provider cannot be asked.",
        "Автоматически узнать, пробит ли чек, нельзя: этого оператора не спросить.",
        Who.OPERATOR,
        "Look in the provider's cabinet or at the OFD, then resolve: found, send again, or made elsewhere.",
        "Посмотрите в кабинете оператора или ОФД и решите: найден, отправить снова или оформлен иначе.",
        False,
    ),
    Cause(
        "register_failed",
        "The register failed while it worked on the receipt: it may have printed it or not.",
        "Во время печати чека на кассе произошёл сбой: чек мог пробиться, а мог и нет.",
        Who.OPERATOR,
        "Look at the register's documents in the provider's cabinet or at the OFD, then resolve: found or send again.",
        "Проверьте документы кассы в кабинете оператора или ОФД и решите: найден или отправить снова.",
        False,
    ),
    Cause(
        "lookup_failed",
        "The provider was asked for the receipt and gave no usable answer.",
        "Оператора спросили о чеке, но пригодного ответа не было.",
        Who.PROVIDER,
        "Nothing: it is asked again; nothing is repeated before it answers.",
        "Ничего: вопрос повторится, а до ответа чек не отправляется снова.",
        True,
    ),
    Cause(
        "resolved_by_person",
        "A person ended this receipt: it was made elsewhere or given up.",
        "Вопрос по чеку закрыл человек: чек оформлен иначе или от него отказались.",
        Who.OPERATOR,
        "Nothing; the timeline says who decided and why.",
        "Ничего: кто и почему так решил, видно в истории чека.",
        False,
    ),
    Cause(
        "mismatch",
        "The provider has a document under our number, but it says something else than our receipt.",
        "У оператора под нашим номером есть документ, но он отличается от нашего чека.",
        Who.OPERATOR,
        "Compare both in the timeline; adopt it or cure the wrong document, then resolve.",
        "Сравните оба в истории чека; примите документ или исправьте его, затем закройте вопрос.",
        False,
    ),
    Cause(
        "double_suspected",
        "There may be two fiscal documents for one payment.",
        "Возможно, по одному платежу пробиты два чека.",
        Who.OPERATOR,
        "Find both in the provider's cabinet; return the second by a refund receipt, then resolve.",
        "Найдите оба в кабинете оператора; второй верните чеком возврата, затем закройте вопрос.",
        False,
    ),
    Cause(
        "accepted_too_long",
        "The provider took the receipt long ago and has still not printed it.",
        "Оператор давно принял чек, но так и не пробил.",
        Who.OPERATOR,
        "Ask the provider's support with our number; do not make another receipt meanwhile.",
        "Обратитесь в поддержку оператора с нашим номером; другой чек пока не оформляйте.",
        False,
    ),
    Cause(
        "vanished",
        "The provider took the receipt and now says that it does not exist.",
        "Оператор принял чек, а теперь сообщает, что его нет.",
        Who.OPERATOR,
        "Look in the provider's cabinet and at the OFD, then resolve: found or send again.",
        "Посмотрите в кабинете оператора и в ОФД и решите: найден или отправить снова.",
        False,
    ),
    Cause(
        "restored_from_backup",
        "The database was restored from a backup, and this provider cannot say what was sent before.",
        "База восстановлена из копии, а этот оператор не может сказать, что уже отправлено.",
        Who.OPERATOR,
        "Look in the provider's cabinet, then resolve: found or send again.",
        "Посмотрите в кабинете оператора и решите: найден или отправить снова.",
        False,
    ),
)

CATALOGUE: dict[str, Cause] = {each.code: each for each in (*_HELD, *_REFUSED, *_KASSA, *_UNDECIDED)}
"""Every cause by its code."""
