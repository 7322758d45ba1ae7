"""Notices that are replayed, reordered, doubled, another's, a test, or say what the source does not.

Each is answered with what its sender takes, none makes a second receipt or a wrong one, and the API says why.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from tests.support.street import Street, open_street

SAID = {"metadata": {"email": "anna@example.org", "item_name": "Абонемент"}}


async def notes(street: Street) -> list[tuple[str, str]]:
    """What became of the notices, oldest first."""
    return [(one["status"], one["note"] or "") for one in reversed(await street.page("notifications"))]


def heard(sent: dict[str, Any]) -> set[int]:
    return {answer["status"] for answer in sent["answers"]}


async def test_of_yookassa_only_what_is_read_back_is_printed(database_url: str, tmp_path: Path) -> None:
    async with open_street(database_url, tmp_path, "yookassa") as street, street.world.working():
        await street.listed_once()
        sent = [
            await street.send(object={"recipient": {"account_id": "999"}}),
            await street.send(object=SAID, claims={"amount": {"value": "1.00", "currency": "RUB"}}),
            await street.send(known=False),
            await street.send(event="payment.unheard_of"),
            await street.send(object={"test": True}),
        ]
        assert [heard(one) for one in sent] == [{200}] * len(sent)
        stranger = street.address.replace("/s-", "/s-x")
        assert heard(await street.send(target_url=stranger)) == {401}
        await street.quiet()
        told = await notes(street)
        assert [status for status, _ in told] == ["ignored", "ignored", "failed", "ignored", "processed"]
        for (_, note), word in zip(
            told, ("another shop", "another sum", "knows no such object", "unheard_of"), strict=False
        ):
            assert word in note
        (test,) = await street.page("events")
        assert (test["status"], test["reason"]["code"]) == ("ignored", "test_on_live_kassa")
        assert await street.printed() == []
        # The payment of which the notice lied is there: the list tells it as it is.
        await street.poll()
        await street.quiet()
        assert await street.printed() == [("sell", 199_000)]


async def test_yookassas_notices_repeated_doubled_and_in_the_wrong_order(database_url: str, tmp_path: Path) -> None:
    async with open_street(database_url, tmp_path, "yookassa") as street, street.world.working():
        await street.listed_once()
        body = {"amount": {"value": "1990.00", "currency": "RUB"}, "capture": True, **SAID}
        how: dict[str, Any] = {"headers": {"Idempotence-Key": "1"}, "auth": ("100500", "made_up_shop_key")}
        paid = await street.there("POST", "/v3/payments", json=body, **how)
        await street.there("POST", f"/payments/{paid['id']}/pay")
        refund = {"payment_id": paid["id"], "amount": {"value": "500.00", "currency": "RUB"}}
        back = await street.send(event="refund.succeeded", object=refund)
        await street.quiet()
        (early,) = await street.page("events")
        assert early["status"] == "held"
        sent = await street.send(object={"id": paid["id"], **SAID}, repeat=50, at_once=True)
        assert heard(sent) == {200}
        assert len(sent["answers"]) == 50
        again = {**refund, "id": back["id"]}
        assert heard(await street.send(event="refund.succeeded", object=again, repeat=3)) == {200}

        async def both() -> bool:
            return len(await street.printed()) == 2

        await street.world.until(both, 60)
        await street.quiet()
        assert sorted(await street.printed()) == [("sell", 199_000), ("sell_refund", 50_000)]
        assert len(await street.page("events")) == 2


async def test_of_tbank_only_what_this_terminals_password_signs_is_taken(database_url: str, tmp_path: Path) -> None:
    async with open_street(database_url, tmp_path, "tbank") as street:
        for forge in ("no_token", "bad_token", "body_changed"):
            assert heard(await street.send(forge=forge)) == {401}
        assert heard(await street.send(fields={"TerminalKey": "1700000000009"})) == {401}
        assert await street.page("notifications") == []
        payment = {"PaymentId": 7001, "Data": {"Email": "anna@example.org"}}
        sent = await street.send(fields=payment, repeat=50, at_once=True)
        assert Counter(answer["body"] for answer in sent["answers"]) == {"OK": 50}
        back = {"PaymentId": 7001, "Status": "REFUNDED", "Amount": 0}
        # The bank still says otherwise: no return on the notice's word.
        contradicted = await street.send(fields={**back, "PaymentId": 7002}, state={"Status": "CONFIRMED"})
        assert heard(contradicted) == {200}
        assert heard(await street.send(fields={"PaymentId": 7003, "Status": "UNHEARD_OF"})) == {200}
        async with street.world.working():
            await street.quiet()
            assert heard(await street.send(fields=back, repeat=3)) == {200}
            await street.quiet()
        assert await street.printed() == [("sell", 199_000), ("sell_refund", 199_000)]
        told = Counter(status for status, _ in await notes(street))
        assert told == {"processed": 3, "ignored": 1}, "what comes again to the letter is one notice"
        assert any("API says CONFIRMED" in note for _, note in await notes(street))


async def test_a_test_terminals_payment_makes_no_receipt_on_a_live_kassa(database_url: str, tmp_path: Path) -> None:
    terminal = "1700000000001DEMO"
    credentials = {"terminal_key": terminal, "password": "simulated_password"}
    async with open_street(database_url, tmp_path, "tbank", credentials=credentials) as street:
        assert heard(await street.send(fields={"TerminalKey": terminal})) == {200}
        async with street.world.working():
            await street.quiet()
        (event,) = await street.page("events")
        assert (event["status"], event["reason"]["code"]) == ("ignored", "test_on_live_kassa")
        assert await street.printed() == []


async def test_while_the_sources_api_is_down_notices_are_answered_and_verified_later(
    database_url: str, tmp_path: Path
) -> None:
    async with open_street(database_url, tmp_path, "yookassa") as street:
        # Nobody works yet, so nobody can have asked YooKassa: the answer waits for nothing but the database.
        await street.world.fault(
            "error_before", match={"provider": "yookassa", "action": "any"}, params={"status": 503}
        )
        assert heard(await street.send(object=SAID)) == {200}
        (waiting,) = await street.page("notifications")
        assert (waiting["status"], waiting["note"]) == ("received", None)
        async with street.world.working():
            await street.quiet()
        (done,) = await street.page("notifications")
        assert done["status"] == "processed"
        assert await street.printed() == [("sell", 199_000)]


async def test_a_refund_that_the_bank_cannot_be_asked_about_waits_for_its_answer(
    database_url: str, tmp_path: Path
) -> None:
    async with open_street(database_url, tmp_path, "tbank") as street, street.world.working():
        paid = {"PaymentId": 7001, "Data": {"Email": "anna@example.org"}}
        await street.send(fields=paid)
        await street.quiet()
        how = {"provider": "tbank", "action": "lookup"}
        await street.world.fault("error_before", match=how, params={"status": 503}, times=2)
        sent = await street.send(fields={**paid, "Status": "REFUNDED", "Amount": 0})
        assert [answer["body"] for answer in sent["answers"]] == ["OK"]
        await street.quiet()
        assert await street.printed() == [("sell", 199_000), ("sell_refund", 199_000)]
