"""What a kassa, branch or source answers for events that are silent: checked, and explained where it is missing.

VAT, payment method and the Internet sign have no default of ours: a wrong one is somebody's tax fault. Whoever leaves
them out is told what the choice is.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from app.domain.basket import ZeroLines
from app.domain.errors import Finding
from app.domain.ffd import FfdEnum, FfdVersion, Measure, PaymentMethod, PaymentObject, Taxation, timezone_code
from app.domain.rates import succeeding
from app.domain.vat import VatRate, in_force

VAT_CHOICE = Finding(
    "#/defaults/vat",
    "vat_unanswered",
    "Say which VAT rate your sales carry; nothing is assumed, because a wrong rate is a tax fault. "
    "none: you pay no VAT (АУСН, ПСН; УСН while the income of 2025 and of 2026 to date is at most 20 million roubles; "
    "services that are exempt, as lessons for minors may be by article 149 of the Tax Code). "
    "vat5 or vat7: УСН above that bound (5 % up to 272.5 million, 7 % up to 490.5 million). "
    "vat22: the general rate since 2026-01-01; vat10: the reduced one; vat0: export. "
    "Money taken before the goods or service are given carries the calculated twin (vat105, vat107, vat122, vat110), "
    "the closing receipt the straight one.",
    "Укажите ставку НДС: по умолчанию она не подставляется, ошибка в ставке становится налоговым нарушением. "
    "none: НДС не платите (АУСН, ПСН; УСН при доходах не выше 20 млн руб. за 2025 год и за 2026 год на сегодня; "
    "освобождённые услуги, какими по ст. 149 НК могут быть занятия с детьми). "
    "vat5 или vat7: УСН с доходами выше этого порога (5 % до 272,5 млн, 7 % до 490,5 млн). "
    "vat22: общая ставка с 01.01.2026; vat10: пониженная; vat0: экспорт. "
    "В чеке предоплаты стоит расчётная ставка (vat105, vat107, vat122, vat110), в закрывающем чеке прямая.",
    1199,
    "Ask your accountant, then send one of: none, vat5, vat7, vat10, vat22, vat0, vat105, vat107, vat110, vat122.",
)

METHOD_CHOICE = Finding(
    "#/defaults/payment_method",
    "payment_method_unanswered",
    "Say what a payment is for you; nothing is assumed. "
    "full_prepayment: the whole price of a known course, subscription or thing is paid before it is given (a paid "
    "subscription is this, FNS letter АБ-4-20/13041@, and its closing receipt is obligatory). "
    "prepayment: a part of such a price. "
    "advance: it is not yet known what the money is for, such as a top-up of a balance or a gift card. "
    "full_payment: the goods or service are given with the payment, such as a single visit. "
    "An event may answer for itself with delivered or with the lines' payment_method.",
    "Укажите, чем для вас является оплата: по умолчанию признак не подставляется. "
    "full_prepayment: известный курс, абонемент или товар оплачен целиком до передачи (оплата абонемента именно это, "
    "письмо ФНС АБ-4-20/13041@, закрывающий чек обязателен). "
    "prepayment: оплачена часть такой цены. "
    "advance: ещё не известно, за что деньги, например пополнение баланса или подарочный сертификат. "
    "full_payment: товар или услуга переданы вместе с оплатой, например разовое посещение. "
    "Событие может ответить само: полем delivered или способом расчёта в строке.",
    1214,
    "Send one of: full_prepayment, prepayment, advance, full_payment.",
)

INTERNET_CHOICE = Finding(
    "#/internet",
    "internet_unanswered",
    "Say whether this kassa's buyers pay over the Internet; nothing is assumed. "
    "true: by card or СБП on a site, by a link or in an application, without meeting you; the receipt then carries "
    "tag 1125, its place is the site's address and a buyer's contact is obligatory. false: they pay in person.",
    "Укажите, платят ли через интернет: по умолчанию признак не подставляется. "
    "true: картой или по СБП на сайте, по ссылке или в приложении, без личной встречи; тогда в чеке стоит тег 1125, "
    "место расчётов это адрес сайта, а контакт покупателя обязателен. false: платят лично.",
    1125,
    "Send internet: true or false.",
)

_PARSED: Mapping[str, tuple[type[FfdEnum], int]] = {
    "vat": (VatRate, 1199),
    "payment_method": (PaymentMethod, 1214),
    "payment_object": (PaymentObject, 1212),
    "measure": (Measure, 2108),
    "taxation": (Taxation, 1055),
}


def given(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The answers there are; None takes one away."""
    return {name: value for name, value in defaults.items() if value is not None}


def check_kassa_answers(
    defaults: Mapping[str, Any], internet: bool | None, *, vat_answered: bool = False
) -> Iterator[Finding]:
    """The three questions that a kassa is not created without; a merchant's dated rates answer the first of them."""
    if defaults.get("vat") is None and not vat_answered:
        yield VAT_CHOICE
    if defaults.get("payment_method") is None:
        yield METHOD_CHOICE
    if internet is None:
        yield INTERNET_CHOICE


def check_defaults(
    defaults: Mapping[str, Any], now: datetime, *, zone: str | None = None, ffd: FfdVersion | None = None
) -> Iterator[Finding]:
    """Names that exist and a rate in force on this day; what is None is no answer."""
    parsed: dict[str, FfdEnum] = {}
    for name, (kind, tag) in _PARSED.items():
        code = defaults.get(name)
        if code is None:
            continue
        try:
            parsed[name] = kind.parse(code)
        except ValueError as error:
            yield Finding(f"#/defaults/{name}", f"{name}_unknown", str(error), f"Нет такого значения: {name}.", tag)
    if defaults.get("settlement") not in (None, "in_person", "online", "transfer"):
        yield Finding(
            "#/defaults/settlement",
            "settlement_unknown",
            "There is no such way of settlement.",
            "Такого способа расчёта нет.",
            fix="Use one of: in_person, online, transfer.",
        )
    if defaults.get("zero_lines") not in (None, *ZeroLines):
        yield Finding(
            "#/defaults/zero_lines",
            "zero_lines_unknown",
            "There is no such way to treat a line that costs nothing.",
            "Такого способа обращаться с бесплатной строкой нет.",
            fix="Use one of: drop, refuse, kopeck.",
        )
    rate = parsed.get("vat")
    if isinstance(rate, VatRate):
        yield from _rate(rate, now, zone)
    wanted = parsed.get("payment_object")
    if isinstance(wanted, PaymentObject) and wanted.ffd12_only and ffd not in (None, FfdVersion.V1_2):
        yield Finding(
            "#/defaults/payment_object",
            "object_ffd",
            f"{wanted.code} exists in FFD 1.2 only.",
            f"Признак «{wanted.ru}» есть только в ФФД 1.2.",
            1212,
            "Choose another object, or a kassa with FFD 1.2.",
        )


def check_timezone(name: str | None, now: datetime) -> Iterator[Finding]:
    """A zone of the IANA list whose offset a receipt can carry (tag 1011: UTC+2 … UTC+12)."""
    if name is None:
        return
    if name not in _zones():
        yield Finding(
            "#/timezone",
            "timezone_unknown",
            "The time zone is not a name of the IANA list.",
            "Такого часового пояса нет в списке IANA.",
            1011,
            "For example Europe/Moscow or Asia/Yekaterinburg.",
        )
        return
    offset = now.astimezone(ZoneInfo(name)).utcoffset()
    try:
        timezone_code(-1 if offset is None or offset.seconds % 3600 else offset.seconds // 3600)
    except ValueError:
        yield Finding(
            "#/timezone",
            "timezone_foreign",
            "A receipt can carry the zones UTC+2 to UTC+12 only: give the one in which the business sells.",
            "В чеке возможны зоны от UTC+2 до UTC+12: укажите зону, в которой идёт торговля.",
            1011,
            "For example Europe/Moscow or Asia/Yekaterinburg.",
        )


def check_place(place: str, internet: bool | None) -> Iterator[Finding]:
    """Tag 1187: over the Internet the site's address."""
    if internet and ("." not in place or " " in place):
        yield Finding(
            "#/place",
            "place_missing",
            "For payments over the Internet the place of settlement is the address of the site.",
            "При оплате в интернете место расчётов это адрес сайта.",
            1187,
            "Write it exactly as it is registered with the provider, for example https://shop.example.",
        )


def _rate(rate: VatRate, now: datetime, zone: str | None) -> Iterator[Finding]:
    day = (now.astimezone(ZoneInfo(zone)) if zone in _zones() else now).date()
    if in_force(rate, day):
        return
    instead = succeeding(rate, day)
    yield Finding(
        "#/defaults/vat",
        "vat_not_in_force",
        f"A sale of {day.isoformat()} cannot carry {rate.code}. Refunds and corrections of older receipts take their "
        "rate from the original, not from here.",
        f"Ставка «{rate.ru}» не действует для продажи {day.strftime('%d.%m.%Y')}. Возвраты и коррекции прежних чеков "
        "берут ставку из исходного чека, а не отсюда.",
        1199,
        f"Use {instead.code}." if instead is not rate else "Use a rate that is in force.",
    )


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
