"""A register through intake: previewed, sent, sent again; one payment with the notice that names the same id."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.domain.receipt import Customer
from app.ports.source import Parsed
from app.services.register_import import RegisterImport
from tests.support.sources import Town, open_town
from tests.support.world import payment

FILE = """external_id;date;amount;type;payment_id;name;vat;email
p-1;{today};1 990,00;;;Абонемент;без НДС;anna@example.org
p-2;{today};500;;;Урок;без НДС;anna@example.org
r-1;{today};100,50;возврат;p-1;;;
p-3;yesterday;1;;;;;
"""


def register(**changes: str) -> str:
    return FILE.format(**{"today": "2026-11-23", **changes})


def counts(outcomes: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in outcomes:
        found[one.what] = found.get(one.what, 0) + 1
    return found


async def test_it_is_shown_sent_and_safe_to_send_again(database_url: str, tmp_path: Path) -> None:
    async with open_town(database_url, tmp_path) as town:
        service = RegisterImport(
            town.world.runtime.database, town.world.runtime.services.intake, town.world.runtime.contexts
        )
        preview = await service.preview(town.world.merchant_id, town.source_id, register())
        assert preview.counts == {"planned": 2, "received": 1, "unreadable": 1}
        assert await town.scalar("SELECT count(*) FROM events") == 0
        seen: list[int] = []
        sent = await service.send(preview, "import:test", lambda: seen.append(1))
        assert counts(sent) == {"planned": 2, "received": 1, "unreadable": 1}
        assert len(seen) == 4
        again = await service.preview(town.world.merchant_id, town.source_id, register())
        assert again.counts == {"known": 3, "unreadable": 1}
        assert counts(await service.send(again, "import:test", lambda: None)) == {"known": 3, "unreadable": 1}
        async with town.world.working():
            await town.until("SELECT count(*) FROM receipts WHERE status = 'fiscalized'", 3)
        assert len(town.crm.told) == 3


async def test_a_row_and_a_notice_are_one_payment(database_url: str, tmp_path: Path) -> None:
    async with open_town(database_url, tmp_path) as town:
        await imported(town, register())
        await notice(town, payment("p-1", 1990_00, customer=Customer(email="anna@example.org", name="Анна")))
        assert await town.scalar("SELECT count(*) FROM alarms") == 0
        await notice(town, payment("p-2", 400_00))
        assert await town.scalar("SELECT code FROM alarms") == "amount_changed"
        assert await town.scalar("SELECT count(*) FROM events WHERE type = 'payment.succeeded'") == 2
        # And the other way round.
        await notice(town, payment("p-9", 700_00))
        service = await imported(town, "external_id;date;amount\np-9;2026-11-23;700\n")
        assert counts(service) == {"differs": 1}
        assert await town.scalar("SELECT count(*) FROM receipts WHERE external_id = 'p-9'") == 1


async def imported(town: Town, text: str) -> Any:
    service = RegisterImport(
        town.world.runtime.database, town.world.runtime.services.intake, town.world.runtime.contexts
    )
    preview = await service.preview(town.world.merchant_id, town.source_id, text)
    return await service.send(preview, "import:test", lambda: None)


async def notice(town: Town, event: Any) -> None:
    town.crm.parsed = Parsed(events=(event,))
    async with town.world.working():
        await town.call("notice", event.external_id)
        await town.until("SELECT count(*) FROM notifications WHERE status = 'received'", 0)


async def test_the_preview_says_what_is_ignored_held_or_refused(database_url: str, tmp_path: Path) -> None:
    async with open_town(database_url, tmp_path) as town:
        await town.change(starts_at=datetime(2026, 11, 1, tzinfo=UTC))
        service = RegisterImport(
            town.world.runtime.database, town.world.runtime.services.intake, town.world.runtime.contexts
        )
        text = "external_id;date;amount;name;vat\nold;2026-10-01;1;Урок;нет\nbare;2026-11-23;1;Урок;нет\n"
        preview = await service.preview(town.world.merchant_id, town.source_id, text)
        assert [one.what for one in preview.outcomes] == ["ignored", "held"]
        assert "older than" in preview.outcomes[0].words[0]
        assert "mail" in preview.outcomes[1].words[0]
