"""A line of a receipt as people read it: the goods, their sum, and whose they are (tags 1059, 1223, 1224, 2000)."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, replace

from app.domain.ffd import FfdVersion, Measure
from app.domain.ffd_marking import ItemState, MarkMode
from app.domain.fitting import NAME_LIMIT
from app.domain.money import quantity_text
from app.domain.receipt import Agent, Item, MarkingCode, SectoralProp
from app.domain.requisites import Group, Part, Requisite, money, plain, term
from app.domain.rules_marking import GROUP_SEPARATOR
from app.domain.vat import vat_amount


@dataclass(frozen=True, slots=True)
class Line:
    """Предмет расчета, tag 1059. `mark` is what paper shows for a marking code: «[М]» when nobody told its check."""

    name: Requisite
    mark: Requisite | None
    price: Requisite
    quantity: Requisite
    measure: Requisite
    amount: Requisite
    object: Requisite
    method: Requisite
    vat: Requisite
    vat_amount: Requisite | None
    details: tuple[Part, ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        """All of it, as a part of the document."""
        marked = () if self.mark is None else (self.mark,)
        taxed = () if self.vat_amount is None else (self.vat_amount,)
        sums = (self.price, self.quantity, self.measure, self.amount)
        return (self.name, *marked, *sums, self.object, self.method, self.vat, *taxed, *self.details)


def line_of(item: Item, ffd: FfdVersion) -> Line:
    """The line as paper of this format shows it: the measure is 2108 or 1197, the code 2000 or 1162."""
    measure = item.measure
    number = str(measure.tag_value)
    unit = "ед." if measure is Measure.ANOTHER else measure.ru
    code_tag = 2000 if ffd is FfdVersion.V1_2 else 1162
    return Line(
        name=plain("Наименование", 1030, item.name, NAME_LIMIT),
        mark=None if item.marking is None else _mark(item.marking, code_tag),
        price=money("Цена", 1079, item.price),
        quantity=Requisite(
            "Количество", quantity_text(item.quantity).replace(".", ","), 1023, quantity_text(item.quantity)
        ),
        measure=Requisite("Мера", unit, 2108, number) if ffd is FfdVersion.V1_2 else plain("Единица", 1197, unit),
        amount=money("Стоимость", 1043, item.amount),
        object=term("Предмет расчета", 1212, item.payment_object),
        method=term("Способ расчета", 1214, item.payment_method),
        vat=term("Ставка НДС", 1199, item.vat),
        vat_amount=money("Сумма НДС", 1200, vat_amount(item.amount, item.vat)) if item.vat.rate.num else None,
        details=tuple(_details(item)),
    )


def _details(item: Item) -> Iterator[Part]:
    if item.excise is not None:
        yield money("Акциз", 1229, item.excise)
    if item.country:
        yield plain("Страна происхождения (ОКСМ)", 1230, item.country)
    if item.declaration:
        yield plain("Таможенная декларация", 1231, item.declaration)
    if item.additional_props:
        yield plain("Доп. реквизит предмета расчета", 1191, item.additional_props)
    for prop in item.sectoral_props:
        yield sectoral("Отраслевой реквизит", 1260, prop)
    if item.marking is not None:
        yield from _marking(item.marking)
    if item.agent is not None:
        yield from _agent(item.agent)


def sectoral(label: str, tag: int, prop: SectoralProp) -> Group:
    """1260 of a line, 1261 of a receipt: the same structure."""
    return Group(
        label,
        tag,
        (
            plain("ФОИВ", 1262, prop.federal_id),
            plain("Документ от", 1263, f"{prop.date:%d.%m.%Y}"),
            plain("Номер документа", 1264, prop.number),
            plain("Значение", 1265, prop.value),
        ),
    )


def _mark(marking: MarkingCode, tag: int) -> Requisite:
    """Nobody tells us the result of the check (2106), so neither [М+] nor [М-] may stand here."""
    return Requisite("Код маркировки", "[М]", tag, base64.b64encode(marking.code.encode()).decode())


def _marking(marking: MarkingCode) -> Iterator[Part]:
    yield Requisite("Код товара", marking.code.split(GROUP_SEPARATOR)[0])
    state = ItemState.from_tag(marking.state)
    known = f"код {marking.state}" if state is None else state.ru
    yield Requisite("Статус товара", known, 2003, str(marking.state))
    yield Requisite("", "", MarkMode.tag, str(MarkMode.DEFAULT.tag_value))
    if marking.numerator is not None and marking.denominator is not None:
        part = f"{marking.numerator}/{marking.denominator}"
        yield Group(
            "Дробное количество",
            1291,
            (
                plain("Часть упаковки", 1292, part),
                plain("Числитель", 1293, str(marking.numerator)),
                plain("Знаменатель", 1294, str(marking.denominator)),
            ),
        )


def without_tail(item: Item) -> Item:
    """Without the check code behind the first separator: with it a stranger could present the code as his own."""
    if item.marking is None or GROUP_SEPARATOR not in item.marking.code:
        return item
    code = item.marking.code.split(GROUP_SEPARATOR)[0]
    return replace(item, marking=replace(item.marking, code=code))


def _agent(agent: Agent) -> Iterator[Part]:
    yield term("Признак агента", 1222, agent.type)
    data: list[Part] = [plain("Телефон платежного агента", 1073, phone) for phone in agent.paying_agent_phones]
    data += [plain("Телефон оператора по приему платежей", 1074, phone) for phone in agent.payment_operator_phones]
    data += [plain("Телефон оператора перевода", 1075, phone) for phone in agent.transfer_operator_phones]
    for label, tag, told in (
        ("Операция агента", 1044, agent.paying_agent_operation),
        ("Оператор перевода", 1026, agent.transfer_operator_name),
        ("Адрес оператора перевода", 1005, agent.transfer_operator_address),
        ("ИНН оператора перевода", 1016, agent.transfer_operator_inn),
    ):
        data += [plain(label, tag, told)] if told else []
    if data:
        yield Group("Данные агента", 1223, tuple(data))
    supplier = [plain("Поставщик", 1225, agent.supplier_name)]
    supplier += [plain("Телефон поставщика", 1171, phone) for phone in agent.supplier_phones]
    yield Group("Данные поставщика", 1224, tuple(supplier))
    yield plain("ИНН поставщика", 1226, agent.supplier_inn)
