"""The command line: help everywhere, sentences instead of tracebacks, and administration straight on the database."""

import asyncio
import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import structlog
import typer.main
from typer.testing import CliRunner

from app.cli.root import app
from app.domain.receipt import Customer
from app.infra.crypto import SecretBox
from app.infra.postgres import EmbeddedPostgres
from app.keys import Keys, generate
from app.runtime import open_runtime
from app.services.rotate_secrets import SealedStore
from app.settings import Settings
from app.simulator.server import UVICORN_OPTIONS, create_simulator
from tests.support.server import serve
from tests.support.world import open_world

KEYS = generate()
CREDENTIALS = json.dumps({"actor_id": "1", "actor_token": "t", "c_group_id": 4321})


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings of this machine, and the logging of the test process back as it was."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("KASSA_")]:
        monkeypatch.delenv(name)
    yield
    structlog.reset_defaults()


def invoke(arguments: list[str], environment: dict[str, str], stdin: str | None = None) -> Any:
    """One command as a shell would call it; the test's own logging is as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        return CliRunner().invoke(app, arguments, env=environment, input=stdin, catch_exceptions=False)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


class Cli:
    """Commands beside a running test; `environment` is what they read."""

    def __init__(self, **environment: str) -> None:
        self.environment = environment

    async def __call__(self, *arguments: str, stdin: str | None = None, code: int = 0) -> Any:
        found = await asyncio.to_thread(invoke, list(arguments), self.environment, stdin)
        assert found.exit_code == code, found.output
        return found

    async def json(self, *arguments: str, stdin: str | None = None, code: int = 0) -> Any:
        return json.loads((await self(*arguments, "--json", stdin=stdin, code=code)).stdout)


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


def is_group(path: tuple[str, ...]) -> bool:
    return path in ((), ("merchant",), ("kassa",), ("source",), ("nomenclature",), ("key",), ("privacy",))


ALL = list(commands(typer.main.get_command(app)))


def test_all_commands_of_the_design_are_there() -> None:
    wanted = (
        "up demo api worker migrate simulator doctor openapi docs prune restored privacy "
        "merchant key kassa source nomenclature"
    )
    assert {path[0] for path in ALL if path} == set(wanted.split())
    assert {("key", name) for name in ("generate", "create", "list", "revoke", "rotate-secrets")} <= set(ALL)
    assert {("kassa", name) for name in ("create", "list", "update", "check", "pause", "resume")} <= set(ALL)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_explains_itself_with_examples(path: tuple[str, ...]) -> None:
    found = invoke([*path, "--help"], {"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert found.exit_code == 0
    assert "Usage" in found.output
    if not is_group(path):
        assert "Examples:" in found.output
        assert f"crm-kassa {' '.join(path)}" in found.output.split("Examples:")[1]


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["up"], {"KASSA_PORT": "many"}, "KASSA_PORT: "),
        (["up"], {"KASSA_LOG_FORMAT": "xml"}, "KASSA_LOG_FORMAT: "),
        (["up", "--port", "0"], {"KASSA_LEASE_SECONDS": "-1", "KASSA_WORKER_SLOTS": "0"}, "KASSA_WORKER_SLOTS: "),
        (["up", "--port", "0"], {"KASSA_DATABASE_URL": "mysql://db/kassa", **KEYS}, "KASSA_DATABASE_URL: "),
        (["up", "--port", "0"], {"KASSA_DATABASE_URL": "postgresql://db/kassa"}, "KASSA_SECRET_KEYS is not set"),
        (["api"], {}, "KASSA_DATABASE_URL is not set"),
        (["worker"], {}, "KASSA_DATABASE_URL is not set"),
        (
            ["merchant", "list"],
            {"KASSA_DATABASE_URL": "postgresql://db/kassa", **KEYS, "KASSA_SECRET_KEYS": "1:short"},
            "KASSA_SECRET_KEYS: ",
        ),
        (["up", "--ready-file", "nowhere/ready.json"], {}, "--ready-file: "),
        (["privacy", "erase"], {}, "Say who: --email, --phone or both."),
        (["privacy", "erase", "--phone", "12"], {}, "The phone has too few or too many digits"),
        (["privacy", "erase", "--email", "anna"], {}, "The e-mail is not an address"),
    ],
)
def test_a_wrong_setting_is_one_sentence_that_names_it(
    arguments: list[str], environment: dict[str, str], sentence: str
) -> None:
    found = invoke(arguments, environment)
    assert found.exit_code == 2
    assert sentence in found.output
    assert "Traceback" not in found.output
    assert not any(secret in found.output for secret in KEYS.values())


def test_a_taken_port_is_told_before_anything_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        found = invoke(["up", "--port", port, "--data-dir", "data"], {})
    assert found.exit_code == 2
    assert f"Port {port}" in found.output
    assert not (tmp_path / "data").exists()


async def test_a_database_that_is_away_is_a_sentence() -> None:
    cli = Cli(KASSA_DATABASE_URL="postgresql://kassa:hidden@127.0.0.1:1/kassa", **KEYS)
    found = await cli("merchant", "list", code=1)
    assert "does not answer" in found.output
    assert "hidden" not in found.output


async def test_generated_keys_are_a_whole_set_and_never_the_same() -> None:
    cli = Cli()
    lines = (await cli("key", "generate")).stdout.splitlines()
    made = dict(line.split("=", 1) for line in lines)
    values = {name.removeprefix("KASSA_").lower(): value for name, value in made.items()}
    Keys.load(Settings(_env_file=None, **values), generate_in=None)
    assert await cli.json("key", "generate") != made


async def test_the_contract_is_written_sorted_and_compared(tmp_path: Path) -> None:
    cli = Cli()
    assert "run crm-kassa openapi" in (await cli("openapi", "--out", "made", "--check", code=1)).output
    await cli("openapi", "--out", "made")
    await cli("openapi", "--out", "made", "--check")
    file = tmp_path / "made" / "openapi.json"
    document = json.loads(file.read_text())
    assert document["openapi"].startswith("3.1")
    assert document["webhooks"]
    assert list(document["paths"]) == sorted(document["paths"])
    file.write_text(file.read_text().replace("3.1.0", "3.0.0", 1))
    await cli("openapi", "--out", "made", "--check", code=1)


async def test_the_generated_pages_are_written_and_compared(tmp_path: Path) -> None:
    cli = Cli()
    await cli("docs", "--out", "made", "--check", code=1)
    await cli("docs", "--out", "made")
    await cli("docs", "--out", "made", "--check")
    assert "fiscalized" in (tmp_path / "made" / "state-machine.md").read_text()
    assert "## digitalkassa" in (tmp_path / "made" / "providers.md").read_text()


async def test_a_merchant_is_connected_from_the_command_line(database_url: str) -> None:
    async with serve(create_simulator(), **UVICORN_OPTIONS) as simulator:
        cli = Cli(KASSA_DATABASE_URL=database_url, KASSA_EGRESS_ALLOW="127.0.0.0/8", **KEYS)
        assert "none yet" in (await cli("merchant", "list")).output
        assert "crm-kassa merchant create" in (await cli("key", "list", code=1)).output
        wrong = await cli("merchant", "create", "Школа", "--inn", "7700000000", code=1)
        assert "inn" in wrong.output
        merchant = await cli.json("merchant", "create", "Школа «Лингва»", "--inn", "7700000009")

        key = await cli.json("key", "create", "--scope", "events:write", "--name", "CRM")
        assert key["key"].startswith("ck_live_")
        assert key["merchant_id"] == merchant["id"]
        admin = await cli.json("key", "create", "--admin")
        assert (admin["merchant_id"], admin["scopes"]) == (None, ["admin"])
        listed = await cli("key", "list")
        assert key["id"] in listed.output
        assert key["key"] not in listed.output
        await cli("key", "revoke", key["id"])
        assert [one["revoked_at"] is not None for one in await cli.json("key", "list")] == [True]
        await cli("key", "create", "--admin", "--scope", "*", code=2)

        connect = ["--name", "Site", "--provider", "digitalkassa", "--ffd", "1.2", "--taxation", "usn_income"]
        connect += ["--place", "https://shop.example/", "--base-url", f"{simulator}/v2.1/", "--credentials", "-"]
        asked = await cli("kassa", "create", *connect, stdin=CREDENTIALS, code=1)
        assert all(question in asked.output for question in ("defaults/vat", "defaults/payment_method", "internet"))
        answers = ["--vat", "none", "--payment-method", "full_prepayment", "--internet"]
        kassa = await cli.json("kassa", "create", *connect, *answers, stdin=CREDENTIALS)
        assert kassa["check"]["ok"]
        assert kassa["merchant_id"] == merchant["id"]
        assert "actor_token" not in json.dumps(kassa)
        assert (await cli.json("kassa", "check", kassa["id"]))["check"]["ok"]
        assert "switched off" in (await cli("kassa", "pause", kassa["id"])).output
        assert [one["status"] for one in await cli.json("kassa", "list")] == ["off"]
        assert "works" in (await cli("kassa", "resume", kassa["id"])).output
        assert kassa["id"] in (await cli("kassa", "list")).output
        assert "kassa list" in (await cli("kassa", "check", merchant["id"].replace("mer", "kas"), code=1)).output

        assert "cloudpayments" in [one["code"] for one in await cli.json("source", "kinds")]
        site = ["--kind", "cloudpayments", "--name", "Acquiring", "--credentials", "-"]
        pair = json.dumps({"public_id": "pk_test", "api_secret": "acquirer-secret"})
        assert "acquirer_fiscalizes" in (await cli("source", "create", *site, stdin=pair, code=1)).output
        source = await cli.json("source", "create", *site, "--we-fiscalize", stdin=pair)
        assert any(one["url"].endswith(f"/in/{source['id']}/pay") for one in source["addresses"])
        assert {one["kind"] for one in await cli.json("source", "list")} == {"api", "cloudpayments"}

        found = await cli.json("doctor", code=1)
        verdicts = {one["what"].split(" ")[0]: one["verdict"] for one in found["findings"]}
        assert verdicts == {
            "database": "ok",
            "schema": "ok",
            "disk": "ok",
            "clock": "ok",
            "restore": "ok",
            "keys": "ok",
            "workers": "failed",
            "kassa": "ok",
            "source": "warning",
            "time": "ok",
            "KASSA_PUBLIC_URL": "warning",
            "KASSA_EGRESS_ALLOW": "ok",
        }
        assert not found["ok"]
        assert all(one["fix"] for one in found["findings"] if one["verdict"] != "ok")
    gone = await cli("kassa", "check", kassa["id"], code=1)
    assert "connection" in gone.output


async def test_wrong_credentials_are_replaced_and_what_waited_goes_out(database_url: str) -> None:
    wrong, cli = CREDENTIALS.replace('"t"', '"wrong"'), Cli(KASSA_DATABASE_URL=database_url, **KEYS)
    cli.environment["KASSA_EGRESS_ALLOW"] = "127.0.0.0/8"
    async with serve(create_simulator(), **UVICORN_OPTIONS) as simulator:
        await cli("merchant", "create", "Школа «Лингва»", "--inn", "7700000009")
        connect = ["--name", "Site", "--provider", "digitalkassa", "--ffd", "1.2", "--taxation", "usn_income"]
        connect += ["--place", "https://shop.example/", "--base-url", f"{simulator}/v2.1/", "--credentials", "-"]
        connect += ["--vat", "none", "--payment-method", "full_prepayment", "--internet"]
        refused = await cli("kassa", "create", *connect, stdin=wrong, code=1)
        (kassa,) = await cli.json("kassa", "list")
        assert "Enter them anew" in refused.output
        assert "do not create it again" in refused.output
        assert f"crm-kassa kassa update {kassa['id']} --credentials FILE" in refused.output

        assert "Say what to change" in (await cli("kassa", "update", kassa["id"], code=2)).output
        nobody = f"kas_{'0' * 32}"
        assert "kassa list" in (await cli("kassa", "update", nobody, "--name", "A", code=1)).output
        halves = json.dumps({"actor_id": "1"})
        update = ["kassa", "update", kassa["id"], "--credentials", "-"]
        assert "actor_token" in (await cli(*update, stdin=halves, code=1)).output
        again = await cli(*update, stdin=wrong, code=1)
        assert "actor_token is refused" in again.output
        assert "What was given is stored" in again.output
        told = await cli.json(*update, "--name", "Касса сайта", "--measure", "piece", stdin=CREDENTIALS)
        assert (told["id"], told["name"], told["check"]["ok"]) == (kassa["id"], "Касса сайта", True)
        assert told["defaults"] == {"vat": "none", "payment_method": "full_prepayment", "measure": "piece"}
        elsewhere = await cli.json("kassa", "update", kassa["id"], "--place", "https://other.example/", code=1)
        assert [one["name"] for one in elsewhere["check"]["lines"] if one["mark"] == "failed"] == ["place"]
        assert (elsewhere["name"], elsewhere["taxation"]) == ("Касса сайта", ["usn_income"])


async def test_receipts_that_waited_for_credentials_go_out_when_they_are_replaced(
    database_url: str, tmp_path: Path
) -> None:
    async with open_world(database_url, tmp_path) as world:
        mine = world.runtime.settings
        secrets = {name: getattr(mine, name) for name in ("secret_keys", "search_key", "key_pepper")}
        shared = {f"KASSA_{name.upper()}": value.get_secret_value() for name, value in secrets.items() if value}
        cli = Cli(KASSA_DATABASE_URL=database_url, KASSA_EGRESS_ALLOW="127.0.0.0/8", **shared)
        update = ["kassa", "update", f"kas_{world.kassa_id.hex}", "--credentials", "-"]
        await cli(*update, stdin=CREDENTIALS.replace('"t"', '"wrong"'), code=1)
        event = await world.pay()
        async with world.working():

            async def paused() -> bool:
                return [one["paused"] for one in await cli.json("kassa", "list")] == ["credentials_refused"]

            await world.until(paused)
            await world.status(event, "queued")
            group = CREDENTIALS.replace("4321", "4322")
            assert (await cli.json(*update, stdin=CREDENTIALS))["paused"] is None
            await world.status(event, "fiscalized")
            assert "group of registers cannot change" in (await cli(*update, stdin=group, code=1)).output


async def test_a_register_of_a_source_is_shown_sent_and_sent_again(database_url: str, tmp_path: Path) -> None:
    cli = Cli(KASSA_DATABASE_URL=database_url, KASSA_EGRESS_ALLOW="127.0.0.0/8", **KEYS)
    await cli("merchant", "create", "Школа", "--inn", "7700000009")
    pair = json.dumps({"public_id": "pk_test", "api_secret": "acquirer-secret"})
    site = ["--kind", "cloudpayments", "--name", "Acquiring", "--we-fiscalize", "--credentials", "-"]
    source = (await cli.json("source", "create", *site, stdin=pair))["id"]
    file = tmp_path / "june.csv"
    rows = ["external_id;date;amount;type;payment_id;name;vat", "1;23.11.2026;1 990,00;;;Абонемент;без НДС"]
    file.write_bytes("\n".join([*rows, "2;23.11.2026;100,50;возврат;1;;", "3;yesterday;1;;;;"]).encode("cp1251"))
    here = ["source", "import", str(file), "--source", source]
    shown = await cli(*here, "--dry-run", code=1)
    assert "wait for data" in shown.output
    assert "line 4" in shown.output
    dry = await cli.json(*here, code=1)
    assert (dry["sent"], dry["counts"]) == (False, {"held": 1, "received": 1, "unreadable": 1})
    assert "Nothing was sent" in (await cli(*here, stdin="n\n", code=1)).output
    sent = await cli.json(*here, "--yes", code=1)
    assert (sent["sent"], sent["counts"]) == (True, {"held": 1, "received": 1, "unreadable": 1})
    again = await cli.json(*here, "--yes", code=1)
    assert again["counts"] == {"known": 2, "unreadable": 1}
    file.write_text("\n".join(rows), "utf-8")
    assert (await cli.json(*here, "--yes"))["counts"] == {"known": 1}
    file.write_text("id;colour\n1;red\n", "utf-8")
    assert "not known" in (await cli(*here, code=1)).output
    nowhere = f"src_{'0' * 32}"
    assert "source list" in (await cli("source", "import", str(file), "--source", nowhere, code=1)).output


async def test_a_source_registers_itself_and_again_changes_nothing(database_url: str) -> None:
    async with serve(create_simulator(), **UVICORN_OPTIONS) as simulator:
        webhook = f"{simulator}/bitrix24/rest/1/simulated0webhook"
        cli = Cli(KASSA_DATABASE_URL=database_url, KASSA_EGRESS_ALLOW="127.0.0.0/8", **KEYS)
        command = ["source", "bitrix24", "register", "--email", "boss@example.org", "--vat-zero", "none"]
        await cli("merchant", "create", "Школа «Лингва»", "--inn", "7700000009")
        assert "KASSA_PUBLIC_URL" in (await cli(*command, stdin=f"{webhook}\n", code=1)).output
        cli.environment["KASSA_PUBLIC_URL"] = "https://kassa.example.org"
        wrong = await cli(*command, stdin="https://portal.example/made0up0code\n", code=1)
        assert "incoming webhook looks like" in wrong.output
        assert "made0up0code" not in wrong.output

        made = await cli(*command, stdin=f"{webhook}\n")
        assert "connected" in made.output
        assert "Pay a small order" in made.output
        assert "simulated0webhook" not in made.output
        first = await portal(webhook)
        assert first["print"].startswith("https://kassa.example.org/in/src_")
        assert first["print"].split("/s-")[1].endswith("/print")

        cli.environment["KASSA_BITRIX24_PORTAL_WEBHOOK"] = webhook
        cli.environment["KASSA_PUBLIC_URL"] = "https://new.example.org"
        again = await cli.json(*command, "--name", "Касса школы")
        assert again["fresh"] is False
        moved = await portal(webhook)
        assert moved["print"] == first["print"].replace("kassa.example.org", "new.example.org")
        assert (moved["token"], moved["cashbox"]) == (first["token"], "Касса школы")
        kinds = [(one["kind"], one["settings"].get("vat_zero")) for one in await cli.json("source", "list")]
        assert ("bitrix24", "none") in kinds
        assert len(kinds) == 2

        async with httpx.AsyncClient() as http:
            lost = {
                "ID": 1,
                "FIELDS": {"SETTINGS": {"PRINT_URL": "https://x.example/p", "CHECK_URL": "https://x.example/c"}},
            }
            await http.post(f"{webhook}/sale.cashbox.handler.update", json=lost)
        await cli(*command)
        assert (await portal(webhook))["print"].split("/s-")[1] != moved["print"].split("/s-")[1]
    gone = await cli(*command, code=1)
    assert "cannot be reached" in gone.output
    assert "simulated0webhook" not in gone.output
    assert "bitrix24" in invoke(["source", "--help"], {}).output
    assert "Examples:" in invoke(["source", "bitrix24", "register", "--help"], {"TERMINAL_WIDTH": "200"}).output


async def portal(webhook: str) -> dict[str, str]:
    """What the simulated portal has of its only handler and cashbox."""
    async with httpx.AsyncClient() as http:
        (handler,) = (await http.post(f"{webhook}/sale.cashbox.handler.list", json={})).json()["result"]
        (cashbox,) = (await http.post(f"{webhook}/sale.cashbox.list", json={})).json()["result"]
    return {
        "print": handler["SETTINGS"]["PRINT_URL"],
        "cashbox": cashbox["NAME"],
        "token": cashbox["SETTINGS"]["CRM_KASSA"]["TOKEN"],
    }


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("poll_failing_since = kassa_now(), poll_failure = 'the CRM answers 503'", "the CRM answers 503"),
        ("silent_since = kassa_now()", "silent for too long"),
    ],
)
async def test_doctor_names_a_source_that_is_not_heard(database_url: str, trouble: str, words: str) -> None:
    cli = Cli(KASSA_DATABASE_URL=database_url, KASSA_EGRESS_ALLOW="127.0.0.0/8", **KEYS)
    await cli("merchant", "create", "Школа", "--inn", "7700000009")
    pair = json.dumps({"public_id": "pk_test", "api_secret": "acquirer-secret"})
    await cli("source", "create", "--kind", "cloudpayments", "--name", "A", "--we-fiscalize", "--credentials", "-",
              stdin=pair)  # fmt: skip
    connection = await asyncpg.connect(database_url)
    await connection.execute(f"UPDATE sources SET {trouble} WHERE kind <> 'api'")
    await connection.close()
    (found,) = [one for one in (await cli.json("doctor", code=1))["findings"] if one["what"].startswith("source")]
    assert found["verdict"] == "failed"
    assert words in found["detail"]
    assert found["fix"]


async def test_the_nomenclature_goes_out_and_in_by_file(database_url: str, tmp_path: Path) -> None:
    cli = Cli(KASSA_DATABASE_URL=database_url, **KEYS)
    await cli("merchant", "create", "Школа", "--inn", "7700000009")
    file = tmp_path / "rules.csv"
    file.write_text("text;name;vat\nабон*;Абонемент;без НДС\nхор*;Хор;5%\n", encoding="utf-8")
    looked = await cli("nomenclature", "import", "rules.csv", "--dry-run")
    assert "2 added" in looked.output
    assert (await cli.json("nomenclature", "import", "rules.csv", "--dry-run"))["applied"] is False
    assert "Version 1" in (await cli("nomenclature", "import", "rules.csv", stdin="y\n")).output
    await cli("nomenclature", "export", "--out", "out.csv")
    told = (tmp_path / "out.csv").read_text(encoding="utf-8-sig")
    assert "абон*;Абонемент" in told
    assert told.strip() == (await cli("nomenclature", "export")).stdout.removeprefix("\ufeff").strip()
    again = await cli.json("nomenclature", "import", "out.csv", "--yes")
    assert (again["unchanged"], again["version"], again["applied"]) == (2, 1, True)
    file.write_text("text;vat\nхор;19%\n", encoding="utf-8")
    wrong = await cli("nomenclature", "import", "rules.csv", "--yes", code=1)
    assert "Line 2" in wrong.output
    assert "--yes" in (await cli("nomenclature", "import", "rules.csv", "--json", code=2)).output
    assert "nowhere.csv" in (await cli("nomenclature", "import", "nowhere.csv", code=2)).output
    assert (await cli.json("nomenclature", "diff"))["events_read"] == 0
    assert "none yet" in (await cli("nomenclature", "diff")).output


async def test_doctor_says_what_is_missing_before_there_is_a_database() -> None:
    found = await Cli().json("doctor", "--data-dir", "fresh", code=1)
    assert found["findings"][0]["what"] == "database"
    assert "crm-kassa up" in found["findings"][0]["fix"]


ADMINISTRATION = [
    ["merchant", "create", "Школа", "--inn", "7700000009"],
    ["merchant", "list"],
    ["kassa", "list"],
    ["kassa", "check", f"kas_{'0' * 32}"],
    ["source", "list"],
    ["source", "bitrix24", "register", "--email", "boss@example.org", "--vat-zero", "none"],
    ["nomenclature", "export"],
    ["key", "create", "--admin"],
    ["key", "rotate-secrets"],
    ["privacy", "erase", "--email", "anna@example.org"],
    ["prune", "--dry-run"],
    ["restored"],
    ["migrate"],
]


@pytest.mark.parametrize("arguments", ADMINISTRATION, ids=" ".join)
@pytest.mark.parametrize("folder", [None, "typo"])
def test_a_command_in_a_wrong_folder_says_where_it_looked_and_makes_nothing(
    arguments: list[str], folder: str | None, tmp_path: Path
) -> None:
    where = [] if folder is None else ["--data-dir", folder]
    found = invoke([*arguments, *where], {}, stdin="https://portal.example/rest/1/made0up0code/\n")
    assert found.exit_code == 2, found.output
    doctor = json.loads(invoke(["doctor", "--json", *where], {}).stdout)["findings"][0]
    assert f"there is none yet in {tmp_path / (folder or '.data')}" == doctor["detail"]
    assert f"{doctor['detail']}. {doctor['fix']}" in found.output
    assert all(word in doctor["fix"] for word in ("KASSA_DATABASE_URL", "--data-dir", "crm-kassa up"))
    assert list(tmp_path.iterdir()) == []


async def test_a_command_finds_the_stopped_installation_of_its_folder(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "mine", durable=False, shared_buffers="16MB"):
        pass
    assert "none yet" in (await Cli()("merchant", "list", "--data-dir", "mine")).output


async def test_keys_that_are_not_those_of_the_data_are_found(database_url: str) -> None:
    cli = Cli(KASSA_DATABASE_URL=database_url, KASSA_EGRESS_ALLOW="127.0.0.0/8", **KEYS)
    await cli("merchant", "create", "Школа", "--inn", "7700000009")
    pair = json.dumps({"public_id": "pk_test", "api_secret": "acquirer-secret"})
    site = ["--kind", "cloudpayments", "--name", "Acquiring", "--we-fiscalize", "--credentials", "-"]
    await cli("source", "create", *site, stdin=pair)
    cli.environment |= {"KASSA_SECRET_KEYS": SecretBox.generate(7)}
    found = {one["what"]: one for one in (await cli.json("doctor", code=1))["findings"]}
    assert found["keys"]["verdict"] == "failed"
    assert "key 1" in found["keys"]["detail"]


async def test_migrate_checks_and_brings_the_schema(database_url: str) -> None:
    cli = Cli(KASSA_DATABASE_URL=database_url, **KEYS)
    assert "newest" in (await cli("migrate", "--check")).output
    await cli("migrate", "--to", "head")
    assert "Epoch 2" in (await cli("restored", "--reason", "a drill")).output
    assert "closed" in (await cli("restored", "--close")).output


async def test_prune_counts_before_it_lets_go(database_url: str) -> None:
    cli = Cli(KASSA_DATABASE_URL=database_url, **KEYS)
    counted = json.loads((await cli("prune", "--dry-run", "--json")).output)
    assert (counted["dry_run"], counted["counts"]) == (True, {})
    assert counted["receipts_before"] < counted["raw_before"]
    assert "Nothing is old enough" in (await cli("prune", "--keep-receipts")).output


async def test_secrets_are_sealed_anew_with_the_first_key(database_url: str, tmp_path: Path) -> None:
    async with open_world(database_url, tmp_path) as world:
        event = await world.pay()
        held = await world.pay(items=(), customer=Customer())
        async with world.working():
            await world.status(event, "fiscalized")
            await world.status(held, "held")
        old = world.runtime.settings
        pieces = {"search_key": old.search_key, "key_pepper": old.key_pepper}
        shared = {f"KASSA_{name.upper()}": value.get_secret_value() for name, value in pieces.items() if value}
        first = old.secret_keys.get_secret_value() if old.secret_keys else ""
        before = await SealedStore(world.runtime.database, world.runtime.keys.box).key_ids()
        assert set(before) == {1}

        fresh = SecretBox.generate(2)
        cli = Cli(KASSA_DATABASE_URL=database_url, KASSA_SECRET_KEYS=f"{fresh},{first}", **shared)
        done = await cli.json("key", "rotate-secrets")
        assert done == {"resealed": before[1], "unreadable": 0, "key_ids": {"2": before[1]}}
        assert (await cli.json("key", "rotate-secrets"))["resealed"] == 0

        settings = old.model_copy(update={"secret_keys": None})
        keys = Keys(SecretBox.parse(fresh), world.runtime.keys.hasher, world.runtime.keys.pepper)
        async with open_runtime(settings, database_url=database_url, keys=keys) as runtime:
            assert await SealedStore(runtime.database, keys.box).unreadable() == []
            view = await runtime.services.reads.event(world.merchant_id, event, masked=False)
            assert view["customer"]["email"] == "anna@example.org"

        cli.environment |= {"KASSA_SECRET_KEYS": SecretBox.generate(3)}
        lost = await cli.json("key", "rotate-secrets", code=1)
        assert lost == {"resealed": 0, "unreadable": before[1], "key_ids": {"2": before[1]}}
