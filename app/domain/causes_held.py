"""Causes of receipts that wait for data, for a person or for their turn: nothing was refused, nothing is unknown."""

from app.domain.cause import Cause, Who

HELD = (
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
        "Send the buyer's e-mail or phone with PATCH; after the time in `until` the receipt goes to the fallback "
        "contact of the source.",
        "Передайте e-mail или телефон покупателя запросом PATCH; после времени в `until` чек уйдёт на запасной "
        "контакт источника.",
        True,
    ),
    Cause(
        "settlement_conflict",
        "Another report has the same settlement key and contradicts: another sum, or a second payment of one source.",
        "Другое сообщение о платеже имеет тот же ключ расчёта и не сходится: другая сумма или второй платёж того же "
        "источника.",
        Who.MERCHANT,
        "Look at `first_event`. Resolve with other_money if it is other money and needs its own receipt, with "
        "made_elsewhere if it is the same.",
        "Сравните с `first_event`. Если это другие деньги, решите запросом resolve: other_money, если те же самые: "
        "made_elsewhere.",
        False,
    ),
    Cause(
        "refund_unclear",
        "Two sources tell refunds of this payment, and it is not clear whether this one has its receipt already.",
        "О возвратах по этому платежу сообщают два источника, и неясно, есть ли уже чек на этот возврат.",
        Who.MERCHANT,
        "Compare the CRM with the acquirer's cabinet. Resolve with other_money if this refund has no receipt yet, with "
        "made_elsewhere if it has. When a later report makes it clear, it goes on by itself.",
        "Сравните CRM с кабинетом эквайера. Если чека на этот возврат ещё нет, решите запросом resolve: other_money, "
        "если уже есть: made_elsewhere. Если следующее сообщение внесёт ясность, чек продолжится сам.",
        False,
    ),
    Cause(
        "nomenclature_missing",
        "No rule of the nomenclature covers what was paid for.",
        "Ни одно правило номенклатуры не подходит к тому, за что заплатили.",
        Who.MERCHANT,
        "Add a rule for the listed lines (POST /v1/nomenclature); held receipts go on by themselves. Or give the lines "
        "of this receipt with PATCH.",
        "Добавьте правило для перечисленных строк (POST /v1/nomenclature), задержанные чеки продолжатся сами. Или "
        "передайте строки этого чека запросом PATCH.",
        False,
    ),
    Cause(
        "deadline_passed",
        "The receipt is late: it could not be made before its deadline, and certainly was never made.",
        "Чек просрочен: до срока его пробить не удалось, и он точно не пробит.",
        Who.MERCHANT,
        "Decide, for one or for many at once: print it now as an ordinary receipt, or make a correction receipt of it.",
        "Решите, по одному или сразу по многим: пробить сейчас обычным чеком или оформить чеком коррекции.",
        False,
    ),
)
