"""VAT of a line: the portal sends the id of its own VAT record, never a rate."""

import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from app.crms.bitrix24.portal import Answered, Denied, NoAnswer, call
from app.domain.vat import VatRate
from app.ports.source import SourceContext

_KEPT_SECONDS: Final = 600.0
_RATES: Final = {22: VatRate.VAT22, 20: VatRate.VAT20, 10: VatRate.VAT10, 7: VatRate.VAT7, 5: VatRate.VAT5}
_NONE: Final = re.compile(r"(без\s+ндс|не\s+облагается|no\s+vat|without\s+vat)", re.IGNORECASE)
_ZERO: Final = re.compile(r"(?<![0-9.,])0(?:[.,]0+)?\s*%")


async def rate_of(record: str, context: SourceContext) -> VatRate:
    """The rate of a VAT record, straight. ValueError, in Russian for the portal's manager, where nobody knows it.

    0 is a rate of its own setting: the portal sends it for delivery and for goods without a record, whatever their
    rate. Others come from the setting `vat`, else from the portal, which is asked once in ten minutes.
    """
    settings, credentials = context.settings, context.credentials
    if record in ("", "0"):
        if settings.vat_zero is None:
            raise ValueError(
                "портал передал ставку НДС 0, а это и доставка, и товар без ставки: "
                "задайте ставку для таких строк (vat_zero) в настройках источника CRM-Kassa"
            )
        return VatRate.parse(settings.vat_zero)
    if record in settings.vat:
        return VatRate.parse(settings.vat[record])
    if not (record.isascii() and record.isdigit() and len(record) <= 10):
        raise ValueError("номер ставки НДС не число")
    kept = context.tokens.get(f"vat:{record}")
    if kept is not None:
        return VatRate.parse(kept)
    if credentials.portal_webhook is None:
        raise ValueError(f"ставка НДС с номером {record} не сопоставлена: добавьте её в vat в настройках источника")
    match await call(context, credentials.portal_webhook, "catalog.vat.get", {"id": int(record)}):
        case Answered(result=result):
            rate = read_record(result)
        case Denied():
            raise ValueError(
                f"портал не дал прочитать ставку НДС с номером {record}: добавьте её в vat в настройках источника "
                "или дайте вебхуку право catalog"
            )
        case NoAnswer():
            raise ValueError(f"ставка НДС с номером {record} сейчас не читается: повторите печать позже")
    if rate is None:
        raise ValueError(
            f"по записи о ставке НДС с номером {record} не понять ставку: добавьте её в vat в настройках источника"
        )
    context.tokens.put(f"vat:{record}", rate.code, _KEPT_SECONDS)
    return rate


def read_record(result: Any) -> VatRate | None:
    """The rate that `catalog.vat.get` tells (`name`, `rate`); None where name and number do not say the same one.

    A number of 0 is 0 % or "without VAT" by its name alone.
    """
    record = result.get("vat") if isinstance(result, dict) else None
    if not isinstance(record, dict):
        return None
    name, told = str(record.get("name") or ""), record.get("rate")
    try:
        number = Decimal(str(told)) if told not in (None, "") else Decimal(0)
    except InvalidOperation:
        return None
    if number:
        rate = _RATES.get(int(number)) if number.is_finite() and number == int(number) else None
        return None if _NONE.search(name) else rate
    if _NONE.search(name):
        return VatRate.NONE
    return VatRate.VAT0 if _ZERO.search(name) and told not in (None, "") else None
