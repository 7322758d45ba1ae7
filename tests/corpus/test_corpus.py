"""Bad input, written down with what each piece is answered: one file a group, one world a group.

Nothing here may be answered 5xx, and every refusal of the API is a problem document with the code that the file names.
`@1000` in a text stands for that many letters.
"""

import asyncio
import base64
import copy
import hmac
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.infra.ids import parse, public
from app.main import create_app
from tests.support import rows
from tests.support.server import serve
from tests.support.world import World, open_world

FOLDER = Path(__file__).parent
GROUPS = ("json", "headers", "strings", "money", "inbound", "urls", "provider_answers")
SECRET = "hmac-secret"
SALE: dict[str, Any] = {
    "type": "payment.succeeded",
    "amount": 5000,
    "customer": {"email": "anna@example.org"},
    "items": [{"name": "Абонемент", "quantity": "1", "price": 5000, "amount": 5000, "vat": "none"}],
}
BY_HAND = {"operation": "sell", **{name: SALE[name] for name in ("amount", "customer", "items")}}

Case = dict[str, Any]


@dataclass
class Lab:
    """The program with one merchant, asked over ASGI (`http`) and over a real socket (`url`)."""

    world: World
    http: httpx.AsyncClient
    url: str
    key: str
    number: int = 0

    @property
    def next(self) -> str:
        self.number += 1
        return f"c-{self.number}"


@pytest.fixture
async def lab(database_url: str, tmp_path: Path) -> AsyncIterator[Lab]:
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(open_world(database_url, tmp_path))
        access = world.runtime.services.access
        app = create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        http = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="https://kassa.example"))
        made = await access.create(world.principal, merchant_id=world.merchant_id, name="corpus", scopes=["*"])
        http.headers["Authorization"] = f"Bearer {made.text}"
        yield Lab(world, http, await stack.enter_async_context(serve(app)), made.text)


def cases(group: str) -> list[Case]:
    found: list[Case] = json.loads((FOLDER / f"{group}.json").read_text(encoding="utf-8"))
    return found


def grown(value: Any) -> Any:
    """`@1000` in a text as that many letters, wherever it stands."""
    if isinstance(value, str):
        return re.sub(r"@(\d{2,})", lambda found: "я" * int(found[1]), value)
    if isinstance(value, dict):
        return {name: grown(member) for name, member in value.items()}
    return value


def put(document: Any, path: str, value: Any) -> None:
    """Set a member named by its dotted path; what is not there yet is made."""
    *above, last = path.split(".")
    for name in above:
        document = document[int(name)] if name.isdigit() else document.setdefault(name, {})
    document[last] = value


def got(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document[int(name)] if name.isdigit() else document[name]
    return document


def told(status: int, content: bytes, media_type: str) -> list[Any]:
    """[status, code]; a refusal that is no problem document has None and shows."""
    if media_type.partition(";")[0] != "application/problem+json":
        return [status, None]
    return [status, json.loads(content)["code"]]


def heard(answer: httpx.Response) -> list[Any]:
    return told(answer.status_code, answer.content, answer.headers.get("content-type", ""))


async def of_json(lab: Lab, case: Case) -> list[Any]:
    body: bytes
    if "hex" in case:
        body = bytes.fromhex(case["hex"])
    elif "repeat" in case:
        before, times, middle, after = case["repeat"]
        body = (before * times + middle + after * times).encode()
        if "within" in case:
            body = case["within"].encode().replace(b"%s", body)
    elif "pad" in case:
        body = b'{"a":"' + b"x" * (case["pad"] - 8) + b'"}'
    else:
        body = case["body"].replace("9" * 60, "9" * case.get("digits", 60)).encode()
    headers = {"Content-Type": "application/json", **case.get("headers", {})}
    return heard(await lab.http.post("/v1/events", content=body, headers=headers))


async def of_headers(lab: Lab, case: Case) -> list[Any]:
    """Byte for byte over a socket: no client would write these."""
    body = json.dumps(BY_HAND).encode()
    long = [re.sub(r"@(\d+)", lambda found: "x" * int(found[1]), line) for line in case["lines"]]
    key = re.sub(r"@(\d+)", lambda found: "x" * int(found[1]), case.get("authorization", f"Bearer {lab.key}"))
    lines = ["POST /v1/receipts HTTP/1.1", "Host: kassa.example.org", f"Authorization: {key}", *long]
    if (media_type := case.get("type", "application/json")) is not None:
        lines.append(f"Content-Type: {media_type}")
    if (length := case.get("length", str(len(body)))) is not None:
        lines.append(f"Content-Length: {length}")
    head = "\r\n".join([*lines, "Connection: close", "", ""]).encode()
    host, _, port = lab.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(head + body)
        await writer.drain()
        raw = await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()
    first, _, rest = raw.partition(b"\r\n")
    fields, _, content = rest.partition(b"\r\n\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in fields.split(b"\r\n") if b": " in line)
    assert b"x-evil" not in headers
    return told(int(first.split()[1]), content, headers.get(b"content-type", b"").decode())


async def of_strings(lab: Lab, case: Case) -> list[Any]:
    body = copy.deepcopy(SALE) | {"external_id": lab.next}
    value = grown(case["value"])
    put(body, case["field"], value)
    if case["field"] == "customer.phone":
        body["customer"].pop("email")
    answer = await lab.http.post("/v1/events", json=body)
    if answer.is_success:
        read = (await lab.http.get(f"/v1/events/{answer.json()['id']}")).json()
        kept = got(read, case["field"])
        assert kept == case.get("kept", value), f"{case['name']}: kept as {kept!r}"
    return heard(answer)


async def of_money(lab: Lab, case: Case, sold: dict[str, str]) -> list[Any]:
    to = case["to"].format(**sold)
    by_hand = to.startswith("/v1/receipts")
    body = case.get("body") or copy.deepcopy(BY_HAND if by_hand else SALE | {"external_id": lab.next})
    for path, value in case.get("set", {}).items():
        put(body, path, value)
    for name in case.get("drop", ()):
        del body[name]
    if "lines" in case:
        body["items"] *= case["lines"]
    headers = {"Idempotency-Key": lab.next} if by_hand else {}
    return heard(await lab.http.post(to, json=body, headers=headers))


async def sold(lab: Lab) -> dict[str, str]:
    """A sale and a refund of a part of it, both printed."""
    world = lab.world
    sale = await world.pay("sold", 5000)
    refund = await world.refund("returned", "sold", 1000)
    async with world.working():
        made = [await world.status(event, "fiscalized") for event in (sale, refund)]
        await world.idle()
    return dict(zip(("sale", "refund"), (public("rcpt", one.id) for one in made), strict=True))


async def of_inbound(lab: Lab, case: Case, source: str) -> list[Any]:
    body = case["body"].replace("{n}", str(7000 + int(lab.next.removeprefix("c-")))).encode()
    body += b"x" * (case.get("pad", len(body)) - len(body))
    signs = {
        "right": lambda: hmac.digest(SECRET.encode(), body, "sha256"),
        "other": lambda: hmac.digest(SECRET.encode(), body + b" ", "sha256"),
        "secret": lambda: hmac.digest(b"another", body, "sha256"),
    }
    sign = case["sign"]
    signed = base64.b64encode(signs[sign]()).decode() if sign in signs else sign
    headers = {b"Content-Type": b"application/x-www-form-urlencoded"}
    if signed is not None:
        headers[b"Content-HMAC"] = signed.encode()
    path = f"/in/{case.get('source', source)}/{case.get('part', 'pay')}"

    async def post() -> httpx.Response:
        return await lab.http.request(case.get("method", "POST"), path, content=body, headers=headers)

    count = "SELECT count(*) FROM notifications"
    before = await rows.scalar(lab.world.runtime.database, count)
    answers = await asyncio.gather(*(post() for _ in range(case.get("times", 1))))
    after = await rows.scalar(lab.world.runtime.database, count)
    assert isinstance(before, int)
    assert after == before + case["stored"], f"{case['name']}: {after} notifications, {before} before"
    (status,) = {one.status_code for one in answers}
    return [status]


async def of_urls(lab: Lab, case: Case) -> list[Any]:
    return heard(await lab.http.post("/v1/webhook-endpoints", json={"url": case["url"], "types": ["*"]}))


async def of_provider(lab: Lab, case: Case) -> list[Any]:
    """The provider's first answer to a sale is this; however it goes on, one document is printed."""
    given = dict(case["with"])
    if "repeat" in given:
        given["body"] = "x" * given.pop("repeat")
    await lab.world.fault("answer", match={"action": "submit"}, params={**given, "register": case["printed"]})
    event: UUID = await lab.world.pay(lab.next)
    row = await lab.world.status(event, "fiscalized", seconds=90)
    documents = [one for one in await lab.world.tape() if one.get("provider_id") == row.provider_id]
    return [len(documents)]


async def answers(lab: Lab, group: str) -> AsyncIterator[tuple[Case, list[Any]]]:
    """Each case of a group with what it was really answered."""
    ask: Callable[[Lab, Case], Awaitable[list[Any]]]
    match group:
        case "json":
            ask = of_json
        case "headers":
            ask = of_headers
        case "strings":
            ask = of_strings
        case "money":
            made = await sold(lab)
            ask = lambda lab, case: of_money(lab, case, made)  # noqa: E731
        case "inbound":
            pair = {"public_id": "pk", "api_secret": SECRET}
            body = {"kind": "cloudpayments", "name": "Эквайринг", "credentials": pair, "acquirer_fiscalizes": False}
            answer = await lab.http.post("/v1/sources", json=body)
            source = public("src", parse("src", answer.json()["id"]))
            ask = lambda lab, case: of_inbound(lab, case, source)  # noqa: E731
        case "urls":
            ask = of_urls
        case _:
            ask = of_provider
    async with AsyncExitStack() as stack:
        if group == "provider_answers":
            await stack.enter_async_context(lab.world.working())
        for case in cases(group):
            yield case, await ask(lab, case)


def wanted(case: Case) -> list[Any]:
    answer = case.get("answer", 1)
    return answer if isinstance(answer, list) else [answer]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("group", GROUPS)
async def test_bad_input_is_answered_as_it_is_written_down(lab: Lab, group: str) -> None:
    wrong = []
    async for case, answer in answers(lab, group):
        if answer != wanted(case):
            wrong.append(f"{case['name']}: answered {answer}, written down {wanted(case)}")
    assert not wrong, "\n".join(wrong)


def names() -> Iterator[tuple[str, str]]:
    for group in GROUPS:
        for case in cases(group):
            yield group, case["name"]


def test_every_case_has_a_name_of_its_own_and_no_5xx_is_wanted() -> None:
    assert len(set(names())) == len(list(names())) >= 200
    assert {f.stem for f in FOLDER.glob("*.json")} == set(GROUPS)
    assert not [
        case for group in GROUPS for case in cases(group) if isinstance(wanted(case)[0], int) and wanted(case)[0] >= 500
    ]
