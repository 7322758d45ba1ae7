"""The day at the neutral API and at one acquirer: ordinary payments, and everything that usually goes wrong."""

import asyncio
from typing import Any

from app.cli.demo_town import Json, Town, expect
from app.cli.say import roubles

API, ACQUIRER = "neutral API", "CloudPayments"


async def month(town: Town) -> None:
    event = _sale(town, "month", 199_000, [_line("Абонемент, 8 занятий", "1", 199_000)], email="anna@example.org")
    answer = await town.report(event)
    await town.done("month", "Anna pays for a month", API, answer.json()["id"], 199_000)


async def two_lessons(town: Town) -> None:
    event = _sale(town, "two", 180_000, [_line("Занятие, английский", "2", 90_000)], email="boris@example.org")
    answer = await town.report(event)
    await town.done("two", "Boris pays for two lessons", API, answer.json()["id"], 180_000)


async def trial(town: Town) -> None:
    event = _sale(town, "trial", 50_000, [_line("Пробное занятие", "1", 50_000)], email="vera@example.org")
    answer = await town.report(event | {"delivered": True})
    deed = await town.done("trial", "Vera's trial lesson, given at once", API, answer.json()["id"], 50_000)
    method = deed.receipt["items"][0]["payment_method"]
    deed.remark = f"delivered: {method}"
    expect(method == "full_payment", f"a lesson given with its payment is full_payment, not {method}")


async def books(town: Town) -> None:
    lines = [
        _line("Учебник, часть 1", "1", 120_000, payment_object="commodity", payment_method="full_payment"),
        _line("Рабочая тетрадь", "2", 35_000, payment_object="commodity", payment_method="full_payment"),
        _line("Разговорный клуб, час", "1.5", 80_000, measure="hour"),
    ]
    answer = await town.report(_sale(town, "books", 310_000, lines, email="galina@example.org"))
    await town.done("books", "Galina buys books and club hours", API, answer.json()["id"], 310_000)


async def by_phone(town: Town) -> None:
    event = _sale(town, "phone", 90_000, [_line("Занятие, английский", "1", 90_000)], phone="+79990000000")
    answer = await town.report(event)
    await town.done("phone", "Denis left only a telephone", API, answer.json()["id"], 90_000)


async def widget(town: Town) -> None:
    fields = {"Amount": "2500.00", "PaymentAmount": "2500.00", "Data": _customer_receipt("Интенсив, 3 дня", 2500)}
    sent = await town.notify("pay", fields, format="form")
    _accepted(sent)
    event_id = await town.event_of(sent["transaction_id"])
    deed = await town.done("widget", "Elena pays on the site", ACQUIRER, event_id, 250_000)
    deed.remark = "lines from CustomerReceipt"


async def repeated_notice(town: Town) -> None:
    fields = {"Amount": "1990.00", "Data": _customer_receipt("Абонемент, 8 занятий", 1990)}
    sent = await town.notify("pay", fields, format="json", repeat=2)
    _accepted(sent)
    event_id = await town.event_of(sent["transaction_id"])
    remark = f"{len(sent['answers'])} deliveries, 1 receipt"
    await town.done("repeated", "Fedor's payment is reported twice", ACQUIRER, event_id, 199_000, remark=remark)


async def double_press(town: Town) -> None:
    event = _sale(town, "double", 99_000, [_line("Доступ к записям", "1", 99_000)], email="zoya@example.org")
    answers = await asyncio.gather(town.report(event), town.report(event))
    statuses = sorted(answer.status_code for answer in answers)
    replayed = [answer for answer in answers if answer.headers.get("Idempotent-Replayed") == "true"]
    expect(statuses == [200, 202] and len(replayed) == 1, f"a double press answers 202 and a replay, not {statuses}")
    expect(answers[0].json()["id"] == answers[1].json()["id"], "a double press is one event")
    event_id = answers[0].json()["id"]
    await town.done("double", "Zoya's button is pressed twice", API, event_id, 99_000, remark="202 and 200, 1 receipt")


async def lost_answer(town: Town) -> None:
    await town.fault("drop_after")
    event = _sale(town, "lost", 145_000, [_line("Курс «Путешествия»", "1", 145_000)], email="igor@example.org")
    answer = await town.report(event)
    deed = await town.done("lost", "The kassa prints, its answer is lost", API, answer.json()["id"], 145_000)
    deed.remark = "asked by id and found"
    expect("unknown" in deed.path, f"a lost answer is unknown until it is looked up, but went {deed.path}")


async def queued(town: Town) -> None:
    await town.fault("queue", seconds=1)
    event = _sale(town, "queued", 60_000, [_line("Мастер-класс", "1", 60_000)], email="kira@example.org")
    answer = await town.report(event)
    deed = await town.done("queued", "The kassa is busy and prints later", API, answer.json()["id"], 60_000)
    deed.remark = "accepted, then asked"
    expect("accepted" in deed.path, f"a queued receipt is accepted first, but went {deed.path}")


async def refund_by_lines(town: Town) -> None:
    sale = town.deeds["books"].receipt
    answer = await town.api.post(
        f"/v1/receipts/{sale['id']}/refund",
        json={"items": [{"name": "Рабочая тетрадь", "quantity": "1"}], "reason": "не подошла"},
        headers={"Idempotency-Key": town.id("refund-books")},
    )
    expect(answer.status_code == 202, f"the refund answered {answer.status_code}: {answer.text[:300]}")
    event_id = answer.json()["id"]
    await town.done("refund-books", "Galina returns one workbook", API, event_id, 35_000, refund=True)


async def refund_in_full(town: Town) -> None:
    event = {
        "type": "refund.succeeded",
        "external_id": town.id("refund-two"),
        "payment_id": town.id("two"),
        "amount": 180_000,
    }
    answer = await town.report(event)
    event_id = answer.json()["id"]
    await town.done("refund-two", "Boris gets everything back", API, event_id, 180_000, refund=True)


async def acquirer_refund(town: Town) -> None:
    paid = town.deeds["widget"].receipt["external_id"]
    sent = await town.notify("refund", {"Amount": "1000.00", "PaymentTransactionId": paid})
    _accepted(sent)
    event_id = await town.event_of(sent["transaction_id"])
    await town.done("refund-widget", "Elena gets a part back", ACQUIRER, event_id, 100_000, refund=True)


async def held(town: Town) -> None:
    answer = await town.report(
        {"type": "payment.succeeded", "external_id": town.id("held"), "amount": 75_000, "currency": "RUB"}
    )
    event_id = answer.json()["id"]
    receipt = await town.receipt_of(event_id, "held")
    missing = ", ".join(sorted({one["field"] for one in receipt["failure"]["missing"]}))
    town.now(f"held: {missing} missing; the administrator fills it in")
    filled = await town.api.patch(
        f"/v1/receipts/{receipt['id']}",
        json={"customer": {"email": "lev@example.org"}, "items": [_line("Занятие, немецкий", "1", 75_000)]},
        headers={"If-Match": f'"{receipt["sequence"]}"'},
    )
    expect(filled.status_code == 200, f"PATCH answered {filled.status_code}: {filled.text[:300]}")
    remark = f"held: no {missing}; filled in"
    await town.done("held", "Lev's payment says nothing but a sum", API, event_id, 75_000, remark=remark)


async def forged(town: Town) -> None:
    fields = {"Amount": "9999.00", "Data": _customer_receipt("Подделка", 9999)}
    sent = await town.notify("pay", fields, forge="body_changed", attempts=1)
    statuses = [answer["status"] for answer in sent["answers"]]
    expect(statuses == [401], f"a forged notice is answered 401, not {statuses}")
    town.forged.append(str(sent["transaction_id"]))


def _sale(town: Town, name: str, amount: int, items: list[Json], **customer: str) -> Json:
    """A payment as the CRM's developer writes it."""
    if sum(item["amount"] for item in items) != amount:
        raise ValueError(f"the lines are not {roubles(amount)}")
    return {
        "type": "payment.succeeded",
        "external_id": town.id(name),
        "order_id": town.id(f"order-{name}"),
        "amount": amount,
        "currency": "RUB",
        "customer": customer,
        "items": items,
    }


def _line(name: str, quantity: str, price: int, **more: Any) -> Json:
    whole, _, tenths = quantity.partition(".")
    amount = price * int(whole) + (price * int(tenths) // 10 if tenths else 0)
    return {"name": name, "quantity": quantity, "price": price, "amount": amount, "vat": "none", **more}


def _customer_receipt(label: str, price: int) -> Json:
    """The receipt as a shop describes it to the acquirer's widget."""
    line = {"label": label, "price": price, "quantity": 1, "amount": price, "vat": None, "method": 1, "object": 4}
    return {
        "CloudPayments": {
            "CustomerReceipt": {"Items": [line], "taxationSystem": 1, "email": "buyer@example.org"},
        }
    }


def _accepted(sent: Json) -> None:
    refused = [answer for answer in sent["answers"] if not answer["accepted"]]
    expect(not refused, f"the acquirer's notice was not taken: {refused}")
