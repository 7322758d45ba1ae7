"""Nothing of a receipt is missing on its page, and everything there is what the document says."""

import base64
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from app.domain.ffd import FfdVersion, Operation, PaymentKind
from app.domain.lifecycle import Status
from app.domain.receipt import Receipt
from app.domain.receipt_page import Failure, Related, absent, buyer_page, promise, receipt_page
from app.domain.requisites import values
from app.domain.vat import VatRate, vat_amount
from tests.support.printed import CODE, CORRECTION, COURSE, EVERYTHING, FISCAL, LESSON, SELLER, TOTAL, printed

NOT_PRINTED = {
    "sku": "our own id of the goods, in no fiscal document",
    "fiscalized_at": "the same moment as local_time, in UTC",
    "local_time": "comes by way of the QR text, which the page is given",
}

OTHER: dict[str, Any] = {
    "operation": Operation.BUY,
    "ffd": FfdVersion.V1_05,
    "timezone": "Asia/Vladivostok",
    "internet": False,
    "quantity": Decimal(7),
    "fd": 7,
    "fn": "1111111111111111",
    "fpd": "7",
    "state": 255,
}


def facts(receipt: Receipt = EVERYTHING, fiscal: Any = FISCAL) -> list[tuple[str, str]]:
    return list(values(printed(receipt, fiscal).parts()))


def changed(value: Any) -> Iterator[tuple[str, Any]]:
    """The value with one member different, for each member of it and of what is inside it."""
    for member in fields(value):
        here = getattr(value, member.name)
        if is_dataclass(here):
            for name, inner in changed(here):
                yield f"{member.name}.{name}", replace(value, **{member.name: inner})
        elif isinstance(here, tuple) and here and is_dataclass(here[0]):
            for index, part in enumerate(here):
                for name, inner in changed(part):
                    parts = (*here[:index], inner, *here[index + 1 :])
                    yield f"{member.name}[{index}].{name}", replace(value, **{member.name: parts})
        else:
            other = _other(member.name, here)
            if other != here:
                yield member.name, replace(value, **{member.name: other})


def _other(name: str, value: Any) -> Any:
    if name in OTHER:
        return OTHER[name]
    match value:
        case str():
            return value + "7"
        case bool() | None:
            return value
        case int():
            return value + 1
        case tuple():
            return tuple(f"{one}7" for one in value)
        case _ if isinstance(value, PaymentKind):
            return PaymentKind.CASH
        case _:
            members = list(type(value)) if hasattr(type(value), "__members__") else []
            return next((one for one in members if one is not value), value)


def test_whatever_is_different_in_a_receipt_is_different_on_its_page() -> None:
    """A member that is added to the domain and forgotten on the page is found here."""
    silent = replace(FISCAL, ffd=None)  # else the register's own word on its format would win
    before = facts(EVERYTHING, silent)
    asked = 0
    for name, receipt in changed(EVERYTHING):
        if name.rpartition(".")[2] in NOT_PRINTED:
            continue
        asked += 1
        assert facts(receipt, silent) != before, f"{name} is not on the page"
    assert asked > 60


def test_every_member_of_a_receipt_is_given_in_the_example() -> None:
    """What is None in all examples would never be looked for."""
    never: set[str] = set()
    given: set[str] = set()

    def look(value: Any, where: str) -> None:
        for member in fields(value):
            here = getattr(value, member.name)
            name = f"{type(value).__name__}.{member.name}"
            (never if here in (None, (), "") else given).add(name)
            for part in here if isinstance(here, tuple) else (here,):
                if is_dataclass(part):
                    look(part, name)

    look(EVERYTHING, "")
    look(CORRECTION, "")
    look(FISCAL, "")
    assert never - given - {"Item.sku", "Item.vat_group"} == set()


@pytest.mark.parametrize("member", [one.name for one in fields(FISCAL) if one.name not in NOT_PRINTED])
def test_whatever_the_register_says_is_on_the_page(member: str) -> None:
    other = replace(FISCAL, **{member: _other(member, getattr(FISCAL, member))})
    before, after = printed(EVERYTHING, FISCAL), printed(EVERYTHING, other)
    assert list(before.parts()) != list(after.parts())


def test_the_checklist_of_the_law_is_complete() -> None:
    found = {path.rpartition("/")[2] for path, _ in facts()} | {"1196" if printed().qr else ""}
    wanted = "1048 1018 1055 1054 1038 1042 1012 1011 1187 1125 1021 1203 1030 1023 2108 1079 1043 1199 1200 1214 1212"
    wanted += " 1222 1225 1171 1226 1073 1074 1075 1044 1026 1005 1016 2000 2003 1292 1293 1294 1229 1230 1231 1191"
    wanted += " 1020 1081 1215 1103 1104 1105 1120 1008 1227 1228 1085 1086 1037 1013 1041 1040 1077 1209 1060 1196"
    assert set(wanted.split()) - found == set()


def test_values_are_those_of_the_document() -> None:
    told = dict(facts())
    assert told["1054"] == "1"
    assert told["1020"] == f"{TOTAL // 100}.{TOTAL % 100:02d}"
    assert told["1012"] == "2026-11-23T15:05"
    assert told["1011"] == "2"
    assert told["1084/1086"] == "A-1042"
    assert told["1256/1228"] == "7707083893"
    assert base64.b64decode(dict(facts())["1059/2000"]).decode() == CODE


@pytest.mark.parametrize(("zone", "time"), [("Europe/Moscow", "15:05"), ("Asia/Vladivostok", "22:05")])
def test_without_a_readable_code_the_time_is_that_of_the_kassas_zone(zone: str, time: str) -> None:
    page = receipt_page(replace(LESSON, timezone=zone), SELLER, Status.FISCALIZED, fiscal=FISCAL, qr=None)
    assert dict(values(page.parts()))["1012"] == f"2026-11-23T{time}"


def test_format_1_05_has_tags_of_its_own() -> None:
    told = [path for path, _ in facts(replace(EVERYTHING, ffd=FfdVersion.V1_05), replace(FISCAL, ffd=None))]
    assert {"1227", "1228", "1059/1197", "1059/1162"} <= set(told)
    assert not {"1059/2108", "1059/2000", "1256/1227"} & set(told)


def test_vat_is_told_by_rate_and_turnover_without_a_tax_by_itself() -> None:
    lines = tuple(replace(COURSE, vat=VatRate.VAT22, price=1000, amount=1000) for _ in range(3))
    told = [one for one in facts(replace(LESSON, items=lines)) if one[0].startswith("1115")]
    assert told == [("1115/1119/1199", "11"), ("1115/1119/1120", "5.40")]
    for rate in VatRate:
        (line,) = replace(LESSON, items=(replace(COURSE, vat=rate),)).items
        found = dict(facts(replace(LESSON, items=(line,))))
        own = {"vat20": "1102", "vat10": "1103", "vat0": "1104", "none": "1105", "vat120": "1106", "vat110": "1107"}
        path = own.get(rate.code, "1115/1119/1120")
        kopecks = vat_amount(line.amount, rate) if rate.rate.num else line.amount
        assert found[path] == f"{kopecks // 100}.{kopecks % 100:02d}", rate


def test_a_correction_says_why_it_is_made() -> None:
    page = printed(CORRECTION)
    assert page.title == "Кассовый чек коррекции"
    told = dict(values(page.parts()))
    assert (told["1173"], told["1174/1178"], told["1174/1179"]) == ("1", "2026-10-01", "12-3/44")


@pytest.mark.parametrize("status", [one for one in Status if one is not Status.FISCALIZED])
def test_what_no_register_has_printed_never_passes_for_a_receipt(status: Status) -> None:
    for page in (receipt_page(LESSON, SELLER, status), buyer_page(LESSON, SELLER, status), promise(SELLER, status)):
        assert not page.printed
        assert page.qr is None
        assert not {"1041", "1040", "1077", "1012"} & {path for path, _ in values(page.parts())}


def test_the_buyer_of_a_stopped_receipt_hears_only_that_it_is_not_there() -> None:
    page = buyer_page(LESSON, SELLER, Status.REJECTED)
    assert page.notice is not None
    assert page.notice.title == "Чек ещё не оформлен"
    assert "Обновите" not in page.notice.text
    moving = buyer_page(LESSON, SELLER, Status.QUEUED).notice
    assert moving is not None
    assert moving.title == "Чек ещё оформляется"
    assert page.lines == ()
    seen = receipt_page(LESSON, SELLER, Status.REJECTED, failure=Failure("Отказ.", "Исправьте."))
    assert seen.notice is not None
    assert (seen.notice.title, seen.notice.text, seen.notice.next_step) == ("Чек не оформлен", "Отказ.", "Исправьте.")


def test_the_buyers_page_keeps_the_check_code_of_the_goods_to_itself() -> None:
    page = buyer_page(EVERYTHING, SELLER, Status.FISCALIZED, fiscal=FISCAL)
    code = base64.b64decode(dict(values(page.parts()))["1059/2000"]).decode()
    assert code == CODE.split("\x1d")[0]


def test_a_refund_leads_to_its_sale() -> None:
    sale = Related(Operation.SELL, False, 1_490_000, 12, "https://kassa.example.org/r/x")
    page = receipt_page(LESSON, SELLER, Status.FISCALIZED, fiscal=FISCAL, related=[sale])
    (link,) = page.related
    assert (link.label, link.link) == ("Чек: приход", sale.url)


def test_a_link_of_a_provider_is_a_link_only_when_it_is_one() -> None:
    odd = printed(LESSON, replace(FISCAL, receipt_url="javascript:alert(1)"))
    assert [part.link for part in odd.sites] == ["https://www.nalog.gov.ru"]
    assert absent().notice is not None
