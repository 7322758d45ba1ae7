"""What stands on a receipt that a person reads: every requisite of 54-FZ article 4.7 with its tag, term and value.

The list is the checklist of the format (order ЕД-7-20/662@); the wording of the article itself is unconfirmed (U).

Pure, and the only place that knows what is printed: HTML, PDF and JSON draw the same `Page`.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from app.domain.ffd import FfdVersion, InternetSign, Operation, PaymentKind, timezone_code
from app.domain.lifecycle import Status
from app.domain.qr import parse_qr
from app.domain.receipt import CorrectionBasis, Customer, FiscalData, Item, OperatingProp, Receipt
from app.domain.receipt_line import Line, line_of, sectoral, without_tail
from app.domain.requisites import Group, Part, Requisite, capital, grand_total, money, plain, roubles_text, term
from app.domain.vat import VAT_TOTALS, VatRate, vat_amount

TAX_SERVICE = "www.nalog.gov.ru"
"""Адрес сайта ФНС, tag 1060."""

_OFD_BY_SITE = {
    "platformaofd.ru": "Платформа ОФД",
    "1-ofd.ru": "Первый ОФД",
    "ofd.ru": "OFD.ru",
    "taxcom.ru": "Такском",
    "sbis.ru": "СБИС ОФД",
    "saby.ru": "СБИС ОФД",
    "kontur.ru": "Контур.ОФД",
    "ofd.yandex.ru": "Яндекс.ОФД",
    "ofd-ya.ru": "Ярус ОФД",
    "astralnalog.ru": "Астрал.ОФД",
}
"""Whose site the provider's link leads to; the operator's legal name (tag 1046) is in no provider's answer."""

_STOPPED = frozenset({Status.HELD, Status.REJECTED, Status.NEEDS_ATTENTION})


@dataclass(frozen=True, slots=True)
class Notice:
    """Why this is no receipt yet, for the one who reads it."""

    title: str
    text: str
    next_step: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """What stops the receipt, in Russian, and what to do next."""

    text: str
    next_step: str | None = None


@dataclass(frozen=True, slots=True)
class Related:
    """Another receipt of the same payment: the sale of a refund, the refunds of a sale. `url` is its public page."""

    operation: Operation
    correction: bool
    total: int
    fd: int | None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Seller:
    """Пользователь: name (1048) and INN (1018)."""

    name: str
    inn: str


@dataclass(frozen=True, slots=True)
class Page:
    """A receipt as a page. Sections are in the order in which they are read; empty ones are not drawn.

    Without `notice` a register has printed it; `qr` is then the text of the code.
    """

    title: str
    operation: Requisite | None
    notice: Notice | None
    seller: tuple[Part, ...]
    document: tuple[Part, ...] = ()
    basis: tuple[Part, ...] = ()
    lines: tuple[Line, ...] = ()
    total: Requisite | None = None
    payments: tuple[Part, ...] = ()
    vat: tuple[Part, ...] = ()
    buyer: tuple[Part, ...] = ()
    props: tuple[Part, ...] = ()
    register: tuple[Part, ...] = ()
    sites: tuple[Part, ...] = ()
    related: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()
    qr: str | None = None

    @property
    def printed(self) -> bool:
        return self.notice is None

    def parts(self) -> Iterator[Part]:
        """Everything with a tag or a label, in reading order; each line is a group (1059)."""
        yield from self.seller
        yield from () if self.operation is None else (self.operation,)
        yield from self.document
        yield from self.basis
        for line in self.lines:
            yield Group("Предмет расчета", 1059, line.parts)
        yield from () if self.total is None else (self.total,)
        for section in (self.payments, self.vat, self.buyer, self.props, self.register, self.sites, self.related):
            yield from section


def receipt_page(
    receipt: Receipt,
    seller: Seller,
    status: Status,
    *,
    fiscal: FiscalData | None = None,
    qr: str | None = None,
    failure: Failure | None = None,
    related: Sequence[Related] = (),
    notes: Sequence[str] = (),
) -> Page:
    """The page of a receipt for its owner; for the buyer see `buyer_page`.

    A receipt that no register has printed says so. `qr` is the stored text of the code (tag 1196). `notes` say how the
    lines came about where FFD has no word for it: a discount is in the price, no requisite tells of it.
    """
    printed = status is Status.FISCALIZED and fiscal is not None
    ffd = receipt.ffd if fiscal is None or fiscal.ffd is None else fiscal.ffd
    return Page(
        title="Кассовый чек коррекции" if receipt.correction else "Кассовый чек",
        operation=term("Признак расчета", 1054, receipt.operation),
        notice=None if printed else _notice(status, failure),
        seller=_seller(seller, receipt),
        document=tuple(_document(receipt, fiscal if printed else None, qr)),
        basis=() if receipt.correction is None else tuple(_basis(receipt.correction)),
        lines=tuple(line_of(item, ffd) for item in receipt.items),
        total=grand_total("Итого", receipt.total),
        payments=tuple(
            money(capital(kind.ru), kind.tag_value, receipt.paid(kind)) for kind in PaymentKind if receipt.paid(kind)
        ),
        vat=tuple(_vat(receipt.items)),
        buyer=tuple(_buyer(receipt.customer, ffd)),
        props=tuple(_props(receipt)),
        register=tuple(_register(fiscal, ffd)) if printed and fiscal is not None else (),
        sites=tuple(_sites(fiscal)) if printed and fiscal is not None else (),
        related=tuple(_related(one) for one in related),
        notes=(*notes, *_remarks(receipt)),
        qr=qr if printed else None,
    )


def buyer_page(
    receipt: Receipt,
    seller: Seller,
    status: Status,
    *,
    fiscal: FiscalData | None = None,
    qr: str | None = None,
    related: Sequence[Related] = (),
    notes: Sequence[str] = (),
) -> Page:
    """The same for whoever has the link; the customer is given masked.

    Until a register has printed it there is only the promise: a draft must not pass for a receipt, and why it stands
    still is nobody's business but the seller's.
    """
    if status is Status.FISCALIZED and fiscal is not None:
        items = tuple(without_tail(item) for item in receipt.items)
        shown = replace(receipt, items=items)
        return receipt_page(shown, seller, status, fiscal=fiscal, qr=qr, related=related, notes=notes)
    return promise(seller, status, total=receipt.total)


def promise(seller: Seller, status: Status, *, total: int | None = None, failure: Failure | None = None) -> Page:
    """A page without a receipt: what is wanted is not known yet, or not to be shown."""
    known = failure is not None
    return Page(
        title="Кассовый чек",
        operation=None,
        notice=_notice(status, failure) if known else _buyer_notice(status),
        seller=(plain("Продавец", 1048, seller.name), plain("ИНН", 1018, seller.inn)),
        total=None if total is None else grand_total("Сумма", total),
    )


def absent() -> Page:
    """The page behind a link that leads nowhere."""
    text = "Проверьте ссылку: возможно, она скопирована не полностью. Чек можно получить у продавца."
    return Page(title="Чек не найден", operation=None, notice=Notice("По этой ссылке чека нет", text), seller=())


def _notice(status: Status, failure: Failure | None) -> Notice:
    text = None if failure is None else failure.text
    next_step = None if failure is None else failure.next_step
    if status is Status.CANCELLED:
        return Notice("Чек отменен", text or "Чек отменен до отправки в кассу и не был оформлен.", next_step)
    if status in _STOPPED:
        return Notice("Чек не оформлен", text or "Оформление остановлено.", next_step)
    return Notice("Чек ещё оформляется", text or "Касса ещё не сообщила о фискальном документе.", next_step)


def _buyer_notice(status: Status) -> Notice:
    if status is Status.CANCELLED:
        return Notice("Чек отменен", "Этот чек отменен продавцом и не был оформлен.")
    if status in _STOPPED:
        # Nothing moves by itself, so waiting is no advice; why, is told to the seller.
        text = "Он появится здесь, когда касса его пробьет. Если чек нужен сейчас, спросите продавца."
        return Notice("Чек ещё не оформлен", text)
    return Notice("Чек ещё оформляется", "Обновите страницу позже: чек появится здесь, как только касса его пробьет.")


def _seller(seller: Seller, receipt: Receipt) -> tuple[Part, ...]:
    return (
        plain("Продавец", 1048, seller.name),
        plain("ИНН", 1018, seller.inn),
        term("СНО", 1055, receipt.taxation),
    )


def _document(receipt: Receipt, fiscal: FiscalData | None, qr: str | None) -> Iterator[Part]:
    moment = None
    if fiscal is not None:
        if fiscal.shift is not None:
            yield plain("Смена", 1038, str(fiscal.shift))
        if fiscal.number_in_shift is not None:
            yield plain("Чек за смену", 1042, str(fiscal.number_in_shift))
        moment = _moment(fiscal, qr, receipt.timezone)
        yield Requisite("Дата и время", f"{moment:%d.%m.%Y %H:%M}", 1012, f"{moment:%Y-%m-%dT%H:%M}")
        yield from _zone(receipt.timezone, moment)
    yield Requisite("Место расчетов", receipt.place, 1187, receipt.place)
    if receipt.internet:
        yield term("Расчеты в интернете", 1125, InternetSign.INTERNET)
    if receipt.cashier_name:
        yield plain("Кассир", 1021, receipt.cashier_name)
    if receipt.cashier_inn:
        yield plain("ИНН кассира", 1203, receipt.cashier_inn)


def _moment(fiscal: FiscalData, qr: str | None, zone: str) -> datetime:
    """Local time of the settlement address without a zone, as paper shows it: the register's own where it is known."""
    with suppress(ValueError):
        return datetime.fromisoformat(parse_qr(qr or "").local_time)
    return fiscal.fiscalized_at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def _zone(zone: str, moment: datetime) -> Iterator[Part]:
    offset = moment.replace(tzinfo=ZoneInfo(zone)).utcoffset()
    hours = 0 if offset is None else offset.total_seconds() / 3600
    if hours == int(hours) and 2 <= hours <= 12:
        yield Requisite("Часовая зона", f"UTC+{int(hours)}", 1011, str(timezone_code(int(hours))))


def _basis(basis: CorrectionBasis) -> Iterator[Part]:
    yield term("Тип коррекции", 1173, basis.kind)
    day = basis.corrected_date
    parts: list[Part] = [Requisite("Дата корректируемого расчета", f"{day:%d.%m.%Y}", 1178, day.isoformat())]
    if basis.document_number:
        parts.append(plain("Номер предписания", 1179, basis.document_number))
    yield Group("Основание для коррекции", 1174, tuple(parts))


def _vat(items: Sequence[Item]) -> Iterator[Part]:
    """Totals by rate. The format gives no rule of rounding; these are the sums of the lines' VAT (1200)."""
    for rate in VatRate:
        gross = [item.amount for item in items if item.vat is rate]
        if not gross:
            continue
        tag = VAT_TOTALS.get(rate)
        if not rate.rate.num:
            label = "Сумма без НДС" if rate is VatRate.NONE else "Сумма с НДС по ставке 0%"
            yield money(label, tag, sum(gross))
            continue
        amount = money(f"Сумма {rate.ru}", tag or 1120, sum(vat_amount(one, rate) for one in gross))
        if tag is not None:
            yield amount
        else:
            which = Requisite("", "", 1199, str(rate.tag_value))
            yield Group("", 1115, (Group("", 1119, (which, amount)),))


def _buyer(customer: Customer, ffd: FfdVersion) -> Iterator[Part]:
    for contact in (customer.email, customer.phone):
        if contact:
            yield plain("Эл. адрес покупателя" if "@" in contact else "Телефон покупателя", 1008, contact)
    known: list[Part] = []
    if customer.name:
        known.append(plain("Покупатель", 1227, customer.name))
    if customer.inn:
        known.append(plain("ИНН покупателя", 1228, customer.inn))
    if customer.birth_date:
        known.append(plain("Дата рождения", 1243, f"{customer.birth_date:%d.%m.%Y}"))
    for label, tag, told in (
        ("Гражданство (ОКСМ)", 1244, customer.citizenship),
        ("Код вида документа", 1245, customer.document_code),
        ("Данные документа", 1246, customer.document_data),
        ("Адрес покупателя", 1254, customer.address),
    ):
        known += [plain(label, tag, told)] if told else []
    if known and ffd is FfdVersion.V1_2:
        yield Group("Сведения о покупателе", 1256, tuple(known))
    else:
        yield from known


def _props(receipt: Receipt) -> Iterator[Part]:
    if receipt.additional_prop:
        # Of a receipt that corrects another by FFD 1.05, and of corrections: the fiscal sign of the wrong one.
        yield plain("Доп. реквизит чека", 1192, receipt.additional_prop)
    if receipt.user_prop is not None:
        name, told = receipt.user_prop
        yield Group("", 1084, (Requisite("", "", 1085, plain("", 1085, name).value), plain(name, 1086, told)))
    for prop in receipt.sectoral_props:
        yield sectoral("Отраслевой реквизит чека", 1261, prop)
    if receipt.operating_prop is not None:
        yield _operating(receipt.operating_prop, receipt.timezone)


def _operating(prop: OperatingProp, zone: str) -> Group:
    local = prop.at.astimezone(ZoneInfo(zone))
    return Group(
        "Операционный реквизит чека",
        1270,
        (
            plain("Идентификатор операции", 1271, str(prop.id)),
            plain("Данные операции", 1272, prop.data),
            Requisite("Время операции", f"{local:%d.%m.%Y %H:%M}", 1273, f"{local:%Y-%m-%dT%H:%M:%S}"),
        ),
    )


def _register(fiscal: FiscalData, ffd: FfdVersion) -> Iterator[Part]:
    if fiscal.kkt_rn:
        yield plain("РН ККТ", 1037, fiscal.kkt_rn)
    if fiscal.kkt_serial:
        yield plain("ЗН ККТ", 1013, fiscal.kkt_serial)
    yield plain("ФН", 1041, fiscal.fn)
    yield plain("ФД", 1040, str(fiscal.fd))
    yield Requisite("ФП", fiscal.fpd.rjust(10, "0"), 1077, fiscal.fpd)
    yield Requisite("ФФД", ffd.value, 1209, str(ffd.tag_value))


def _sites(fiscal: FiscalData) -> Iterator[Part]:
    url = fiscal.receipt_url
    if url is not None and url.startswith(("https://", "http://")):
        host = urlsplit(url).hostname or ""
        name = next((name for site, name in _OFD_BY_SITE.items() if f".{host}".endswith(f".{site}")), None)
        if name is not None:
            yield Requisite("ОФД", name, None, host)
        yield Requisite("Чек в интернете", host, None, url, url)
    yield Requisite("Сайт ФНС", TAX_SERVICE, 1060, TAX_SERVICE, f"https://{TAX_SERVICE}")


def _related(one: Related) -> Requisite:
    kind = "Чек коррекции" if one.correction else "Чек"
    number = "оформляется" if one.fd is None else f"ФД № {one.fd}"
    return Requisite(
        f"{kind}: {one.operation.ru}", f"{number}, {roubles_text(one.total)}", None, one.url or "", one.url
    )


def _remarks(receipt: Receipt) -> Iterator[str]:
    if any(item.vat.rate.num for item in receipt.items):
        yield "Суммы НДС посчитаны по строкам чека; касса может округлить иначе на копейку в строке."
    if any(item.agent is not None for item in receipt.items):
        yield "Часть товаров или услуг продается от имени другого лица: его данные стоят под строкой."
