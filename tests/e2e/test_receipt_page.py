"""A receipt with agents, marking, a discount and two kinds of payment: through the API to a register, and read back."""

import base64
import io
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pypdfium2
import pytest
import zxingcpp
from PIL import Image

from app.domain.qr import parse_qr
from app.infra.ids import new_id, parse
from tests.support.browser import needs_browser, open_browser
from tests.support.printed import CODE, read_back
from tests.support.receipt_shop import PUBLIC, SALE, ReceiptShop, flat, receipt_shop


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[ReceiptShop]:
    async with AsyncExitStack() as stack:
        yield await receipt_shop(stack, database_url, tmp_path)


def of_wire(body: dict[str, Any]) -> list[tuple[str, str]]:
    """What the register was told, in the words of the format: written here once more, from the provider's document."""
    found = [("1054", f"{body['type']}"), ("1055", f"{body['taxation']}"), ("1125", f"{body['is_internet']}")]
    found += [("1187", body["loc"]["billing_place"]), ("1011", f"{body['timezone']}")]
    found += [("1081", money(body["amount"]["cashless"])), ("1215", money(body["amount"]["prepayment"]))]
    for item in body["items"]:
        line = {
            "1030": item["name"],
            "1079": money(item["price"]),
            "1043": money(item["amount"]),
            "1023": f"{item['quantity']}",
            "2108": f"{item['unit']}",
            "1199": f"{item['vat']}",
            "1212": f"{item['type']}",
            "1214": f"{item['payment_method']}",
        }
        if "marking" in item:
            code = item["marking"]["code"].encode()
            line |= {"2000": base64.b64encode(code).decode(), "2003": f"{item['marking']['item_status']}"}
        if "agent" in item:
            agent = item["agent"]
            line |= {
                "1222": f"{agent['type']}",
                "1226": agent["supplier"]["tin"],
                "1224/1225": agent["supplier"]["name"],
            }
        if "money_transfer_operator" in item.get("agent", {}):
            agent, operator = item["agent"], item["agent"]["money_transfer_operator"]
            line |= {"1223/1044": agent["paying_agent"]["operation"], "1223/1026": operator["name"]}
            line |= {"1223/1016": operator["tin"], "1223/1005": operator["address"]}
        found += [(f"1059/{tag}", value) for tag, value in line.items()]
    return found


async def test_what_the_provider_cannot_carry_is_refused_before_anything_is_queued(shop: ReceiptShop) -> None:
    prop = {"federal_id": "030", "date": "2023-11-21", "number": "1944", "value": "UUID=1&Time=2"}
    customer = {"email": "anna@example.org", "birth_date": "1990-05-17"}
    wrong = {**SALE, "sectoral_props": [prop], "customer": customer}
    answer = await shop.api.post("/v1/events", json=wrong)
    assert answer.status_code == 422
    found = {(one["pointer"], one["code"]) for one in answer.json()["errors"]}
    assert found == {
        ("#/sectoral_props", "requisite_not_carried"),
        ("#/customer/birth_date", "requisite_not_carried"),
    }
    assert (await shop.api.get("/v1/receipts")).json()["data"] == []


def money(roubles: Any) -> str:
    return f"{roubles:.2f}"


async def test_every_requisite_reads_back_on_the_page_and_in_the_json(shop: ReceiptShop) -> None:
    receipt = await shop.sold()
    (document,) = await shop.world.tape()
    told = await shop.requisites(receipt["id"])
    in_json = flat(told["requisites"])
    for one in of_wire(document["body"]):
        assert one in in_json, one
    # The tape keeps no phone in clear.
    phones = [("1224/1171", "+74950000000"), ("1223/1073", "+74950000001"), ("1223/1075", "+74950000002")]
    assert {(f"1059/{tag}", phone) for tag, phone in phones} <= set(in_json)
    named = dict(in_json)
    assert named["1041"] == document["fn"] == receipt["fiscal"]["fn"]
    assert named["1040"] == str(document["fd"]) == str(receipt["fiscal"]["fd"])
    assert named["1077"] == str(document["fpd"])
    assert named["1037"] == document["kkt_rn"]
    assert named["1013"] == document["kkt_serial"]
    assert (named["1038"], named["1042"]) == (str(document["shift"]), str(document["number_in_shift"]))
    assert (named["1048"], named["1018"]) == ("Школа", "7707083893")
    assert (named["1020"], named["1105"]) == ("3050.00", "3050.00")
    assert (named["1256/1227"], named["1256/1228"]) == ('ООО "Ромашка"', "7707083893")
    assert [value for tag, value in in_json if tag == "1008"] == ["anna@example.org", "+79990000000"]
    assert told["printed"]
    assert told["qr"] == receipt["fiscal"]["qr"] == document["qr"]

    page = await shop.api.get(f"/v1/receipts/{receipt['id']}/view", params={"paper": "58"})
    assert page.status_code == 200
    assert sorted(read_back(page.text)) == sorted(in_json)
    assert "[М]" in page.text


async def test_the_receipt_and_every_message_about_it_bring_the_link(shop: ReceiptShop) -> None:
    receipt = await shop.sold()
    url = receipt["receipt_page_url"]
    assert url.startswith(f"{PUBLIC}/r/")
    assert (await shop.api.get(f"/v1/receipts/{receipt['id']}")).json()["receipt_page_url"] == url
    feed = (await shop.api.get("/v1/messages")).json()["data"]
    assert feed
    assert all(f'"receipt_page_url":"{url}"' in message["body"] for message in feed)


async def test_the_buyers_page_shows_no_contact_and_asks_not_to_be_found(shop: ReceiptShop) -> None:
    url = shop.here((await shop.sold())["receipt_page_url"])
    async with httpx.AsyncClient() as anybody:
        answer = await anybody.get(url)
        file = await anybody.get(f"{url}/pdf", params={"paper": "a4"})
    assert answer.status_code == 200
    assert "anna@example.org" not in answer.text
    assert "+79990000000" not in answer.text
    told = dict(read_back(answer.text))
    assert told["1008"] == "+7******0000"
    assert base64.b64decode(told["1059/2000"]).decode() == CODE.split("\x1d")[0]
    for one in (answer, file):
        assert one.headers["x-robots-tag"] == "noindex, nofollow, noarchive"
        assert one.headers["referrer-policy"] == "no-referrer"
        assert one.headers["cache-control"] == "private, no-cache"
        assert "frame-ancestors 'none'" in one.headers["content-security-policy"]
        assert one.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert file.headers["content-type"] == "application/pdf"
    assert file.content.startswith(b"%PDF-")


async def test_a_wrong_link_says_nothing_and_is_counted(shop: ReceiptShop) -> None:
    url = shop.here((await shop.sold())["receipt_page_url"])
    links = shop.world.runtime.links
    wrong = [url[:-1] + ("A" if url[-1] != "A" else "B"), f"{shop.url}/r/x", url[:-3]]
    unknown = f"{shop.url}/r/{links.token(shop.world.merchant_id, new_id())}"
    stranger = f"{shop.url}/r/{links.token(new_id(), new_id())}"
    async with httpx.AsyncClient() as anybody:
        answers = [await anybody.get(one) for one in (*wrong, unknown, stranger)]
        metrics = (await anybody.get(f"{shop.url}/metrics")).text
    assert {one.status_code for one in answers} == {404}
    assert len({one.text for one in answers}) == 1
    assert "По этой ссылке чека нет" in answers[0].text
    counted = dict(re.findall(r'kassa_receipt_pages_total\{result="(\w+)"\} (\d+)', metrics))
    assert counted == {"refused": "3", "gone": "2"}


async def test_another_merchants_receipt_is_not_shown_under_ones_own_name(shop: ReceiptShop) -> None:
    receipt = await shop.sold()
    other = await shop.world.runtime.services.merchants.create("test", name="Чужой", inn="7707083893")
    receipt_id = next(iter(await shop.world.receipts(await _event_id(shop)))).id
    crossed = f"{shop.url}/r/{shop.world.runtime.links.token(other.id, receipt_id)}"
    async with httpx.AsyncClient() as anybody:
        assert (await anybody.get(crossed)).status_code == 404
        assert (await anybody.get(f"{shop.url}/v1/receipts/{receipt['id']}/view")).status_code == 401


async def _event_id(shop: ReceiptShop) -> Any:
    (event,) = (await shop.api.get("/v1/events")).json()["data"]
    return parse("evt", event["id"])


async def test_switched_off_there_are_neither_links_nor_pages(database_url: str, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        shop = await receipt_shop(stack, database_url, tmp_path, receipt_pages=False)
        receipt = await shop.sold()
        assert receipt["receipt_page_url"] is None
        token = shop.world.runtime.links.token(shop.world.merchant_id, new_id())
        assert (await shop.api.get(f"/r/{token}")).status_code == 404
        own = await shop.api.get(f"/v1/receipts/{receipt['id']}/view.pdf")
        assert own.content.startswith(b"%PDF-")


async def test_a_refund_and_its_sale_lead_to_each_other(shop: ReceiptShop) -> None:
    sale = await shop.sold()
    refund = {"type": "refund.succeeded", "external_id": "r-1", "payment_id": "p-1", "amount": 305_000}
    answer = await shop.api.post("/v1/events", json=refund, headers={"Prefer": "wait=20"})
    (back,) = answer.json()["receipts"]
    async with httpx.AsyncClient() as anybody:
        sold = (await anybody.get(shop.here(sale["receipt_page_url"]))).text
        returned = (await anybody.get(shop.here(back["receipt_page_url"]))).text
    assert back["receipt_page_url"] in sold
    assert sale["receipt_page_url"] in returned
    assert dict(read_back(returned))["1054"] == "2"


async def test_a_receipt_that_waits_says_so_to_both(shop: ReceiptShop) -> None:
    answer = await shop.api.post("/v1/events", json={**SALE, "customer": None}, headers={"Prefer": "wait=20"})
    (held,) = answer.json()["receipts"]
    assert held["status"] == "held"
    own = (await shop.api.get(f"/v1/receipts/{held['id']}/view")).text
    assert "Чек не оформлен" in own
    assert held["failure"]["message_ru"] in own
    async with httpx.AsyncClient() as anybody:
        public = await anybody.get(shop.here(held["receipt_page_url"]))
        file = await anybody.get(shop.here(held["receipt_page_url"]) + "/pdf")
    assert public.status_code == 200
    assert "Чек ещё не оформлен" in public.text
    assert held["failure"]["message_ru"] not in public.text
    assert file.status_code == 404


READ = """() => [...document.querySelectorAll('data[data-tag]')].map(one => {
  let path = '', at = one.parentElement;
  for (; at; at = at.parentElement) if (at.dataset.tag) path = at.dataset.tag + '/' + path;
  return [path + (one.dataset.in || '') + one.dataset.tag, one.value];
})"""

SCREENS = [("58", 219), ("80", 302), ("80", 390), ("a4", 794), ("a4", 360)]
"""Paper and the width of the window in CSS pixels: the roll itself (96 px an inch), a phone, a sheet."""


@needs_browser
async def test_a_browser_shows_all_of_it_at_every_width(shop: ReceiptShop) -> None:
    receipt = await shop.sold()
    in_json = flat((await shop.requisites(receipt["id"]))["requisites"])
    url = shop.here(receipt["receipt_page_url"])
    async with open_browser() as browser:
        for paper, width in SCREENS:
            page = await browser.new_page(viewport={"width": width, "height": 700}, device_scale_factor=2)
            complaints: list[str] = []
            page.on("console", lambda message, into=complaints: into.append(message.text))
            await page.goto(f"{url}?paper={paper}")
            for media in ("screen", "print"):
                await page.emulate_media(media=media)
                inner = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
                assert inner <= 0, f"{paper} at {width} scrolls sideways on {media}"
                outside = await page.evaluate(
                    "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > "
                    "document.querySelector('main').getBoundingClientRect().right + 0.5).map(e => e.outerHTML)"
                )
                assert outside == [], f"{paper} at {width} on {media}"
            read = [tuple(one) for one in await page.evaluate(READ)]
            shown = {"1008", "1059/2000"}  # masked, and without its check code
            assert sorted(one for one in read if one[0] not in shown) == sorted(
                one for one in in_json if one[0] not in shown
            )
            await page.emulate_media(media="screen")
            picture = Image.open(io.BytesIO(await page.screenshot(full_page=True)))
            (code,) = zxingcpp.read_barcodes(picture)
            found = parse_qr(code.text)
            fiscal = receipt["fiscal"]
            assert (found.fn, found.fd, found.fpd) == (fiscal["fn"], fiscal["fd"], fiscal["fpd"])
            assert (found.total, found.operation.code) == (receipt["total"], receipt["operation"])
            assert fiscal["local_time"].startswith(found.local_time[:16])
            # The style was let in by its hash, and nothing was refused.
            assert await page.evaluate("getComputedStyle(document.querySelector('.total')).fontWeight") == "700"
            assert complaints == []
            await page.close()


@needs_browser
async def test_it_prints_on_the_paper_that_was_asked_for(shop: ReceiptShop) -> None:
    url = shop.here((await shop.sold())["receipt_page_url"])
    async with open_browser() as browser:
        for paper, width in (("58", 58), ("80", 80), ("a4", 210)):
            page = await browser.new_page()
            await page.goto(f"{url}?paper={paper}")
            sheets = pypdfium2.PdfDocument(await page.pdf(prefer_css_page_size=True))
            assert sheets[0].get_size()[0] == pytest.approx(width * 72 / 25.4, abs=1)
            codes = [
                found.text
                for number in range(len(sheets))
                for found in zxingcpp.read_barcodes(sheets[number].render(scale=4).to_pil())
            ]
            assert len(codes) == 1, f"the code on {paper} is cut or lost"
            text = "".join(sheets[number].get_textpage().get_text_bounded() for number in range(len(sheets)))
            assert "Для печати" not in text
            await page.close()
