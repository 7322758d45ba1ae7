"""One receipt with all that its provider's protocol carries: each requisite goes in by the API and is read back.

`TABLE` is the only list: what was sent, what the register got, what the API, the view's JSON and a real browser show.
"""

import base64
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zxingcpp
from PIL import Image

from app.domain.qr import parse_qr
from tests.support.browser import needs_browser, open_browser
from tests.support.printed import CODE
from tests.support.receipt_shop import ReceiptShop, receipt_shop

Json = dict[str, Any]

CODE_BASE64 = base64.b64encode(CODE.encode()).decode()
ADDRESS = "Москва, ул. Ленина, 1"
SUPPLIER = {"supplier_inn": "7702203276", "supplier_name": "ООО «Поставщик»", "supplier_phones": ["+74951234567"]}
BODY: Json = {
    "type": "payment.succeeded",
    "external_id": "p-1",
    "order_id": "A-1042",
    "amount": 3861_00,
    "currency": "RUB",
    "taxation": "usn_income",
    "customer": {"email": "anna@example.org", "phone": "+79990000000", "name": "ООО «Ромашка»", "inn": "7707083893"},
    "payments": [
        {"type": "electronic", "amount": 2861_00},
        {"type": "prepaid", "amount": 1000_00, "elsewhere": True},
    ],
    "discounts": [{"type": "coupon", "amount": 39_00, "name": "ЛЕТО"}],
    "internet": True,
    "place": "https://shop.example/",
    "cashier": {"name": "Иванова А. П.", "inn": "500100732259"},
    "user_prop": {"name": "Заказ", "value": "A-1042"},
    "items": [
        {
            "name": "Кроссовки «Лето»",
            "sku": "S-42",
            "quantity": "1",
            "price": 1100_00,
            "amount": 1100_00,
            "discount": 100_00,
            "vat": "vat22",
            "payment_method": "full_payment",
            "payment_object": "commodity_with_marking",
            "measure": "piece",
            "marking_code": {"code_base64": CODE_BASE64, "state": 1},
            "excise": 15_00,
            "country": "643",
            "declaration": "10702030/060520/0013422",
            "additional_props": "серия 12",
        },
        {
            "name": "Мастер-класс",
            "quantity": "2",
            "price": 500_00,
            "amount": 1000_00,
            "vat": "vat10",
            "payment_method": "full_payment",
            "payment_object": "service",
            "measure": "hour",
            "agent": {"type": "attorney", **SUPPLIER},
        },
        {
            "name": "Перевод",
            "quantity": "1",
            "price": 1000_00,
            "amount": 1000_00,
            "vat": "none",
            "payment_method": "full_payment",
            "payment_object": "service",
            "measure": "another",
            "agent": {
                "type": "bank_paying_agent",
                **SUPPLIER,
                "paying_agent_operation": "перевод",
                "paying_agent_phones": ["+74950000001"],
                "transfer_operator_name": "Оператор",
                "transfer_operator_inn": "7707083893",
                "transfer_operator_address": ADDRESS,
                "transfer_operator_phones": ["+74950000002"],
            },
        },
        {
            "name": "Сыр весовой",
            "quantity": "0.5",
            "price": 1800_00,
            "amount": 900_00,
            "vat": "vat0",
            "payment_method": "full_payment",
            "payment_object": "commodity",
            "measure": "kilogram",
            "agent": {
                "type": "paying_agent",
                **SUPPLIER,
                "paying_agent_phones": ["+74950000003"],
                "payment_operator_phones": ["+74950000004"],
            },
        },
    ],
}
"""1000.00, 1000.00, 1000.00 and 900.00 after the first line's own discount; the coupon takes a hundredth of each."""


@dataclass(frozen=True)
class Row:
    """One requisite.

    `sent` is its place in `BODY` (None: the program or the register adds it), `tag` the path of its tags, `value` what
    the document carries. `text` is what a person sees (None: it is not drawn, because what stands beside it says it).
    `wire` is its place in the provider's body (None: it goes masked to the tape, or is not sent). `again` is what the
    API answers where that is not what was sent; at `at`, else at the same place.
    """

    sent: str | None
    tag: str
    value: str
    text: str | None
    wire: str | None = None
    again: Any = None
    at: str | None = None
    line: int | None = None


def _lines(index: int, *rows: Row) -> Iterator[Row]:
    """Rows of one line: their places are within it."""
    inside = f"items/{index}/"
    for row in rows:
        yield replace(
            row,
            sent=row.sent and inside + row.sent,
            wire=row.wire and inside + row.wire,
            at=row.at and inside + row.at,
            line=index,
        )


def _supplier() -> Iterator[Row]:
    yield Row("agent/supplier_name", "1224/1225", 'ООО "Поставщик"', "ООО «Поставщик»", "agent/supplier/name")
    yield Row("agent/supplier_phones/0", "1224/1171", "+74951234567", "+74951234567")
    yield Row("agent/supplier_inn", "1226", "7702203276", "7702203276", "agent/supplier/tin")


TABLE: tuple[Row, ...] = (
    Row(None, "1054", "1", "ПРИХОД", "type", "sell", "operation"),
    Row("taxation", "1055", "2", "УСН доход", "taxation"),
    Row("amount", "1020", "3861.00", "3 861,00 ₽", None, 3861_00, "total"),
    Row("payments/0/amount", "1081", "2861.00", "2 861,00", "amount/cashless"),
    Row("payments/1/amount", "1215", "1000.00", "1 000,00", "amount/prepayment"),
    Row("internet", "1125", "1", "да", "is_internet"),
    Row("place", "1187", "https://shop.example/", "https://shop.example/", "loc/billing_place"),
    Row(None, "1011", "2", "UTC+3", "timezone", "Europe/Moscow", "timezone"),
    Row("cashier/name", "1021", "Иванова А. П.", "Иванова А. П.", "cashier/name"),
    Row("cashier/inn", "1203", "500100732259", "500100732259", "cashier/tin"),
    Row("user_prop/name", "1084/1085", "Заказ", None, "additional_attribute/name"),
    Row("user_prop/value", "1084/1086", "A-1042", "A-1042", "additional_attribute/value"),
    Row("customer/email", "1008", "anna@example.org", "anna@example.org"),
    Row("customer/phone", "1008", "+79990000000", "+79990000000"),
    Row("customer/name", "1256/1227", 'ООО "Ромашка"', "ООО «Ромашка»", "customer/name"),
    Row("customer/inn", "1256/1228", "7707083893", "7707083893", "customer/tin"),
    Row(None, "1209", "4", "1.2", None, "1.2", "ffd"),
    # 990.00 at 22 % hold 178.52, at 10 % 90.00; turnovers without a tax are told by themselves.
    Row(None, "1115/1119/1199", "11", None),
    Row(None, "1115/1119/1120", "178.52", "178,52"),
    Row(None, "1103", "90.00", "90,00"),
    Row(None, "1104", "891.00", "891,00"),
    Row(None, "1105", "990.00", "990,00"),
    *_lines(
        0,
        Row("name", "1030", 'Кроссовки "Лето"', 'Кроссовки "Лето"', "name", 'Кроссовки "Лето"'),
        Row("quantity", "1023", "1", "1", "quantity"),
        Row("measure", "2108", "0", "шт", "unit"),
        Row("price", "1079", "990.00", "990,00", "price", 990_00),
        Row("amount", "1043", "990.00", "990,00", "amount", 990_00),
        Row("payment_object", "1212", "33", "ТМ", "type"),
        Row("payment_method", "1214", "4", "полный расчет", "payment_method"),
        Row("vat", "1199", "11", "НДС 22%", "vat"),
        Row(None, "1200", "178.52", "178,52"),
        Row("marking_code/code_base64", "2000", CODE_BASE64, "[М]", "marking/code", CODE, "marking_code/code"),
        Row("marking_code/state", "2003", "1", "штучный товар, реализован", "marking/item_status"),
        Row(None, "2102", "0", None),
        Row("excise", "1229", "15.00", "15,00", "excise"),
        Row("country", "1230", "643", "643", "country_code"),
        Row("declaration", "1231", "10702030/060520/0013422", "10702030/060520/0013422", "declaration_number"),
        Row("additional_props", "1191", "серия 12", "серия 12", "additional_props"),
    ),
    *_lines(
        1,
        Row("name", "1030", "Мастер-класс", "Мастер-класс", "name"),
        Row("quantity", "1023", "2", "2", "quantity"),
        Row("measure", "2108", "71", "час", "unit"),
        Row("price", "1079", "495.00", "495,00", "price", 495_00),
        Row("amount", "1043", "990.00", "990,00", "amount", 990_00),
        Row("payment_object", "1212", "4", "услуга", "type"),
        Row("payment_method", "1214", "4", "полный расчет", "payment_method"),
        Row("vat", "1199", "2", "НДС 10%", "vat"),
        Row(None, "1200", "90.00", "90,00"),
        Row("agent/type", "1222", "16", "поверенный", "agent/type"),
        *_supplier(),
    ),
    *_lines(
        2,
        Row("name", "1030", "Перевод", "Перевод", "name"),
        Row("quantity", "1023", "1", "1", "quantity"),
        Row("measure", "2108", "255", "ед.", "unit"),
        Row("price", "1079", "990.00", "990,00", "price", 990_00),
        Row("amount", "1043", "990.00", "990,00", "amount", 990_00),
        Row("payment_object", "1212", "4", "услуга", "type"),
        Row("payment_method", "1214", "4", "полный расчет", "payment_method"),
        Row("vat", "1199", "6", "без НДС", "vat"),
        Row("agent/type", "1222", "1", "банковский платежный агент", "agent/type"),
        Row("agent/paying_agent_operation", "1223/1044", "перевод", "перевод", "agent/paying_agent/operation"),
        Row("agent/paying_agent_phones/0", "1223/1073", "+74950000001", "+74950000001"),
        Row("agent/transfer_operator_name", "1223/1026", "Оператор", "Оператор", "agent/money_transfer_operator/name"),
        Row(
            "agent/transfer_operator_inn", "1223/1016", "7707083893", "7707083893", "agent/money_transfer_operator/tin"
        ),
        Row("agent/transfer_operator_address", "1223/1005", ADDRESS, ADDRESS, "agent/money_transfer_operator/address"),
        Row("agent/transfer_operator_phones/0", "1223/1075", "+74950000002", "+74950000002"),
        *_supplier(),
    ),
    *_lines(
        3,
        Row("name", "1030", "Сыр весовой", "Сыр весовой", "name"),
        Row("quantity", "1023", "0.5", "0,5", "quantity"),
        Row("measure", "2108", "11", "кг", "unit"),
        Row("price", "1079", "1782.00", "1 782,00", "price", 1782_00),
        Row("amount", "1043", "891.00", "891,00", "amount", 891_00),
        Row("payment_object", "1212", "1", "товар", "type"),
        Row("payment_method", "1214", "4", "полный расчет", "payment_method"),
        Row("vat", "1199", "5", "НДС 0%", "vat"),
        Row("agent/type", "1222", "4", "платежный агент", "agent/type"),
        Row("agent/paying_agent_phones/0", "1223/1073", "+74950000003", "+74950000003"),
        Row("agent/payment_operator_phones/0", "1223/1074", "+74950000004", "+74950000004"),
        *_supplier(),
    ),
)

PRINTED_NOWHERE = {
    "type",
    "external_id",
    "order_id",
    "currency",
    "payments/0/type",
    "payments/1/type",
    "payments/1/elsewhere",
    "discounts/0/type",
    "discounts/0/amount",
    "discounts/0/name",
    "items/0/sku",
    "items/0/discount",
}
"""Of what was sent: no requisites, or said by another row's tag; discounts are in the prices, and in `adjustments`."""

OF_THE_REGISTER = {
    "1013": "kkt_serial",
    "1037": "kkt_rn",
    "1038": "shift",
    "1040": "fd",
    "1041": "fn",
    "1042": "number_in_shift",
    "1077": "fpd",
}
"""What the register adds, by its name on the simulator's tape and in the API's `fiscal`."""

OF_THE_SELLER = {("1048", "Школа", "Школа"), ("1018", "7707083893", "7707083893")}
OF_THE_PAGE = {("1060", "www.nalog.gov.ru", "www.nalog.gov.ru")}

READ = """() => [...document.querySelectorAll('data[data-tag]')].map(one => {
  let path = one.dataset.in || '', line = null;
  for (let at = one.parentElement; at; at = at.parentElement) {
    if (at.dataset.tag === '1059') line = [...at.parentElement.children].indexOf(at);
    else if (at.dataset.tag) path = at.dataset.tag + '/' + path;
  }
  const box = one.getBoundingClientRect();
  const seen = box.width > 0 && box.height > 0 && getComputedStyle(one).visibility === 'visible';
  return [line, path + one.dataset.tag, one.value, seen ? one.innerText.replaceAll('\\u00a0', ' ') : null];
})"""

SLOW = 120_000
"""Milliseconds for a page: the suite may share its machine."""

Fact = tuple[int | None, str, str, str | None]


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[ReceiptShop]:
    async with AsyncExitStack() as stack:
        yield await receipt_shop(stack, database_url, tmp_path)


def at(body: Any, path: str) -> Any:
    for step in path.split("/"):
        body = body[int(step) if step.isdigit() else step]
    return body


def leaves(body: Any, path: str = "") -> Iterator[str]:
    match body:
        case dict():
            for name, inner in body.items():
                yield from leaves(inner, f"{path}/{name}" if path else name)
        case list():
            for index, inner in enumerate(body):
                yield from leaves(inner, f"{path}/{index}")
        case _:
            yield path


def facts(parts: list[Json]) -> list[Fact]:
    """The view's JSON as (line, path of tags within it, value, text)."""
    lines = [part for part in parts if part["tag"] == 1059]
    others = [part for part in parts if part["tag"] != 1059]
    found = [(index, *fact) for index, line in enumerate(lines) for fact in _facts(line["parts"])]
    return [*found, *((None, *fact) for fact in _facts(others))]


def _facts(parts: list[Json], above: str = "") -> Iterator[tuple[str, str, str | None]]:
    for part in parts:
        if part["parts"]:
            yield from _facts(part["parts"], f"{above}{part['tag']}/")
        elif part["tag"] is not None:
            yield f"{above}{part['tag']}", part["value"], part["text"].replace("\u00a0", " ") or None


def wanted(document: Json, receipt: Json) -> list[Fact]:
    """All that must be read, and nothing beside it: the table, and what register and seller add."""
    moment = datetime.fromisoformat(document["local_time"])
    return [
        *((row.line, row.tag, row.value, row.text) for row in TABLE),
        *((None, tag, str(document[name]), str(document[name])) for tag, name in OF_THE_REGISTER.items()),
        *((None, *one) for one in OF_THE_SELLER | OF_THE_PAGE),
        (None, "1012", f"{moment:%Y-%m-%dT%H:%M}", f"{moment:%d.%m.%Y %H:%M}"),
    ]


def by_tag(found: list[Fact]) -> list[Fact]:
    return sorted(found, key=lambda one: (-1 if one[0] is None else one[0], one[1], one[2]))


def of_wire(value: Any) -> Any:
    """A number of the provider's body as a fiscal document has it: 990 and 990.00 are one."""
    return Decimal(str(value)) if isinstance(value, (int, float)) else value


def of_value(row: Row, told: Any) -> Any:
    if row.tag == "2000":
        return base64.b64decode(row.value).decode()
    return Decimal(row.value) if isinstance(told, (int, float)) else row.value


def test_the_table_knows_everything_that_is_sent() -> None:
    in_table = [row.sent for row in TABLE if row.sent is not None]
    assert len(in_table) == len(set(in_table))
    assert sorted([*in_table, *PRINTED_NOWHERE]) == sorted(leaves(BODY))


@needs_browser
@pytest.mark.timeout(300)
async def test_every_requisite_that_was_sent_reads_back(shop: ReceiptShop) -> None:
    answer = await shop.api.post("/v1/events", json=BODY, headers={"Prefer": "wait=20"})
    assert answer.status_code == 200, answer.text
    receipt = (await shop.api.get(f"/v1/receipts/{answer.json()['receipts'][0]['id']}")).json()
    assert receipt["status"] == "fiscalized", receipt["failure"]
    (document,) = await shop.world.tape()
    for row in TABLE:
        # What the register was told …
        if row.wire is not None:
            told = at(document["body"], row.wire)
            assert of_wire(told) == of_value(row, told), row
        # … and what the API says of it.
        if row.sent is not None or row.at is not None:
            here = row.at or row.sent or ""
            assert at(receipt, here) == (at(BODY, here) if row.again is None else row.again), row
    assert [(one["type"], one["amount"]) for one in receipt["payments"]] == [
        (one["type"], one["amount"]) for one in BODY["payments"]
    ]
    assert (receipt["external_id"], receipt["order_id"], receipt["items"][0]["sku"]) == ("p-1", "A-1042", "S-42")
    taken = [(part["reason"], part["name"], part["amount"]) for one in receipt["adjustments"] for part in one["taken"]]
    assert taken == [
        ("line_discount", None, 100_00),
        ("coupon", "ЛЕТО", 10_00),
        ("coupon", "ЛЕТО", 10_00),
        ("coupon", "ЛЕТО", 10_00),
        ("coupon", "ЛЕТО", 9_00),
    ]
    for name in OF_THE_REGISTER.values():
        assert str(receipt["fiscal"][name]) == str(document[name])

    view = await shop.requisites(receipt["id"])
    expected = by_tag(wanted(document, receipt))
    # In the JSON a text is as it is written; capitals are the page's.
    in_json = [
        (line, tag, value, "ПРИХОД" if tag == "1054" else text) for line, tag, value, text in facts(view["requisites"])
    ]
    assert by_tag(in_json) == expected
    assert any("скидка на строку 100,00, купон ЛЕТО 10,00" in note for note in view["notes"])

    async with open_browser() as browser:
        page = await browser.new_page(viewport={"width": 794, "height": 700}, device_scale_factor=2)
        await page.set_extra_http_headers({"Authorization": shop.api.headers["Authorization"]})
        await page.goto(f"{shop.url}/v1/receipts/{receipt['id']}/view", timeout=SLOW)
        shown: list[Fact] = [tuple(one) for one in await page.evaluate(READ)]
        assert by_tag(shown) == expected
        assert "купон ЛЕТО 10,00" in await page.inner_text("main")
        # The buyer's page, as a stranger opens it: its code says what is stored.
        public = await browser.new_page(viewport={"width": 390, "height": 700}, device_scale_factor=2)
        await public.goto(shop.here(receipt["receipt_page_url"]), timeout=SLOW)
        screen = Image.open(io.BytesIO(await public.locator(".qr").screenshot()))
        (code,) = zxingcpp.read_barcodes(screen)
        assert await public.locator('[data-tag="1196"]').get_attribute("data-value") == code.text
    assert code.text == receipt["fiscal"]["qr"] == document["qr"] == view["qr"]
    found, fiscal = parse_qr(code.text), receipt["fiscal"]
    assert (found.fn, found.fd, found.fpd) == (fiscal["fn"], fiscal["fd"], fiscal["fpd"])
    assert (found.total, found.operation.code) == (receipt["total"], receipt["operation"])
    assert fiscal["local_time"][:16] == found.local_time[:16]  # the code tells minutes
