"""«Мой Класс» with the whole program: the worker lists it, hints only hurry it, and every payment has one receipt."""

from pathlib import Path
from typing import Any

from tests.support.street import Street, open_street


async def school(street: Street) -> None:
    await street.there("POST", "/data/users", json={"id": 300, "name": "Пётр", "email": "pupil@example.org"})
    await street.there("POST", "/data/paymentTypes", json={"id": 2, "name": "Онлайн"})


async def pays(street: Street, roubles: int) -> Any:
    row = {"userId": 300, "summa": roubles, "paymentTypeId": 2, "filialId": 1}
    return await street.there("POST", "/data/payments", json=row)


async def test_without_any_webhook_the_poller_prints_every_payment(database_url: str, tmp_path: Path) -> None:
    async with open_street(database_url, tmp_path, "moyklass") as street:
        await school(street)
        for roubles in (1000, 2000, 3000):
            await pays(street, roubles)
        async with street.world.working():
            await street.poll()
            await pays(street, 4000)
            await street.poll()
            await street.poll()
            await street.quiet()
        assert sorted(await street.printed()) == [("sell", roubles * 100) for roubles in (1000, 2000, 3000, 4000)]
        assert await street.page("notifications") == []
        assert len(await street.there("GET", "/data/userComments")) == 4


async def test_with_webhook_and_poller_there_is_one_receipt_each(database_url: str, tmp_path: Path) -> None:
    async with open_street(database_url, tmp_path, "moyklass") as street:
        await school(street)
        await street.there("PUT", "/webhook", json={"url": street.address})
        async with street.world.working():
            for roubles in (1000, 2000):
                await pays(street, roubles)
            await street.poll()
            await pays(street, 3000)
            await street.poll()
            await street.quiet()
        assert sorted(await street.printed()) == [("sell", roubles * 100) for roubles in (1000, 2000, 3000)]
        assert (await street.there("GET", "/webhook"))["answers"] == [200, 200, 200]
        assert len(await street.page("notifications")) == 3
