"""No secret and no buyer's contact survives in a log, whichever way it came in."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import pytest
import structlog
from pydantic import SecretStr

from app.domain.contact import mask_contacts
from app.infra.ids import new_api_key
from app.infra.logging import bind_request_id, set_up
from app.outbound.signing import new_secret

EMAIL, PHONE = "anna@example.org", "+79990000000"


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """Logs of this test; the process's logging is put back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    kept = {
        name: (log.level, log.disabled, list(log.handlers), log.propagate)
        for name in ("httpx", "aiohttp", "asyncio", "sqlalchemy.engine", "uvicorn", "uvicorn.error", "uvicorn.access")
        if (log := logging.getLogger(name))
    }
    stream = io.StringIO()
    set_up(scrub=mask_contacts, level="DEBUG", stream=stream)
    yield stream
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, (was, disabled, own, propagate) in kept.items():
        log = logging.getLogger(name)
        log.setLevel(was)
        log.disabled, log.handlers[:], log.propagate = disabled, own, propagate


def line(out: io.StringIO) -> dict[str, object]:
    (text,) = out.getvalue().splitlines()
    found: dict[str, object] = json.loads(text)
    return found


def log(name: str = "test") -> structlog.stdlib.BoundLogger:
    made: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return made


def test_an_event_is_one_json_line(out):
    log().info("receipt.fiscalized", receipt_id="rcpt_1", duration_ms=12, name="Чек", ratio=0.5, none=None, ok=True)
    found = line(out)
    assert datetime.fromisoformat(str(found.pop("timestamp"))).tzinfo == UTC
    assert found == {
        "event": "receipt.fiscalized",
        "level": "info",
        "receipt_id": "rcpt_1",
        "duration_ms": 12,
        "name": "Чек",
        "ratio": 0.5,
        "none": None,
        "ok": True,
    }
    assert "Чек" in out.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        *(
            "authorization",
            "Authorization",
            "api_key",
            "API-Key",
            "secret",
            "password",
            "token",
            "cookie",
            "Set-Cookie",
        ),
        *("webhook-signature", "api_secret", "client_secret", "access_token", "db_password", "KASSA_SECRET_KEYS"),
        *("credentials", "X-Content-HMAC", "pepper", "_access_token"),
    ],
)
def test_members_that_are_secrets_by_name(out, name):
    log().info("x", **{name: "hunter2-value"}, inner={"deep": [{name: {"any": "hunter2-value"}}]})
    assert "hunter2" not in out.getvalue()
    assert line(out)[name] == "[redacted]"


@pytest.mark.parametrize("name", ["email", "phone", "Phone", "customer", "buyer_contact", "customer_name", "buyer_inn"])
def test_members_that_are_personal_by_name(out, name):
    log().info("x", **{name: "Анна Примерова"}, inner={name: {"name": "Анна", "email": EMAIL}})
    assert "Анна" not in out.getvalue()
    assert EMAIL not in out.getvalue()
    assert line(out)[name] == "[masked]"


@dataclass
class Buyer:
    """Something whose repr shows a contact."""

    email: str


class Unprintable:
    """Something that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError(f"no: {EMAIL}")


@pytest.mark.parametrize(
    "value",
    [
        EMAIL,
        f"sent to {EMAIL} and {PHONE}",
        [EMAIL, {"x": (PHONE,)}],
        {EMAIL: 1},
        Buyer(EMAIL),
        ValueError(f"cannot send to {EMAIL}"),
        EMAIL.encode(),
        {"8 (999) 000-00-00"},
        79990000000,
        Unprintable(),
    ],
)
def test_contacts_anywhere_are_masked(out, value):
    log().info(f"said {PHONE}", value=value)
    text = json.dumps(line(out), ensure_ascii=False)
    assert EMAIL not in text
    for digits in ("9990000000", "000-00-00"):
        assert digits not in text


def test_fiscal_numbers_and_ids_stay(out):
    about = {
        "fn": "9999078900012345",
        "inn": "7700000009",
        "fpd": 3456789012,
        "id": UUID(int=7),
        "at": "2026-11-23T11:00:00Z",
    }
    log().info("receipt.fiscalized", **about)
    found = line(out)
    assert {name: found[name] for name in about} == about | {"id": str(UUID(int=7))}


def test_secrets_inside_text_are_removed(out):
    key, signing = new_api_key(live=True), new_secret()
    secrets = [
        key,
        signing.removeprefix("whsec_"),
        "cGs6c2VjcmV0",
        "pa55word",
        "pathsecret",
        "cbsecret",
        "q-token",
        "j-secret",
    ]
    log().info(
        f"Bearer {key}; signed with {signing}; Authorization: Basic cGs6c2VjcmV0; "
        "postgresql://kassa:pa55word@db/kassa; POST /in/src_1/s-pathsecret/pay; /callbacks/kas_1/cbsecret; "
        "GET https://api.example.org/x?access_token=q-token&a=1; "
        """{"api_secret": "j-secret"}""",
        model=SecretStr("j-secret"),
    )
    for secret in secrets:
        assert secret not in out.getvalue(), secret
    event = str(line(out)["event"])
    for kept in ("/in/src_1/s-", "/pay", "/callbacks/kas_1/", "@db/kassa", "&a=1", "whsec_"):
        assert kept in event


def test_an_exception_is_scrubbed_and_shows_no_locals(out):
    def fail(password: str) -> None:
        raise RuntimeError(f"no answer for {EMAIL} with token=abc123")

    hidden = "hunter2"
    try:
        fail(hidden)
    except RuntimeError:
        log().exception("delivery.failed")
    found = line(out)
    assert "RuntimeError" in str(found["exception"])
    for secret in (EMAIL, "abc123", '"hunter2"'):
        assert secret not in str(found["exception"])


@pytest.mark.parametrize("render", ["json", "console"])
def test_the_standard_librarys_records_take_the_same_way(out, render):
    set_up(scrub=mask_contacts, level="INFO", render=render, stream=out)
    logging.getLogger("uvicorn.error").warning("client %s sent Bearer %s", EMAIL, "abc.def.ghi", extra={"x": PHONE})
    logging.getLogger("anything").info("order of %(phone)s", {"phone": PHONE})
    log().info("own.line", email=EMAIL)
    hidden = "hunter2"
    try:
        raise ValueError(PHONE)
    except ValueError:
        logging.getLogger("sqlalchemy").exception("broken")
    log().warning("with.stack", stack_info=True, password=hidden)
    text = out.getvalue()
    for secret in (EMAIL, "9990000000", "abc.def.ghi"):
        assert secret not in text
    assert text.count("hunter2") == text.count('hidden = "hunter2"')
    for wanted in ("uvicorn.error", "order of", "own.line", "ValueError", "broken", "with.stack"):
        assert wanted in text


def test_a_second_handler_sees_no_more_than_ours(out, caplog):
    log().warning("x", email=EMAIL, password="hunter2", text=f"for {PHONE}")
    assert caplog.records
    seen = repr([vars(record) for record in caplog.records])
    for secret in (EMAIL, "hunter2", "9990000000"):
        assert secret not in seen


def test_loud_libraries_are_quiet_and_access_lines_are_off(out):
    logging.getLogger("httpx").info("HTTP Request: POST https://crm.example.org/s-secret")
    logging.getLogger("aiohttp.access").info("GET /")
    logging.getLogger("uvicorn.access").warning("GET /in/src/s-secret/pay")
    logging.getLogger("sqlalchemy.engine").info("SELECT 1")
    assert out.getvalue() == ""


def test_the_level_holds_for_both_kinds(out):
    set_up(scrub=mask_contacts, level="WARNING", stream=out)
    log().info("quiet")
    logging.getLogger("other").info("quiet")
    log().warning("loud")
    assert line(out)["event"] == "loud"


def test_setting_up_twice_logs_once(out):
    set_up(scrub=mask_contacts, level="INFO", stream=out)
    log().info("once")
    assert line(out)["event"] == "once"


async def test_the_request_id_is_on_every_line_within(out):
    async def work() -> None:
        log().info("inside")

    with bind_request_id("req_1"):
        await asyncio.create_task(work())
        logging.getLogger("other").warning("foreign")
    log().info("outside")
    lines = [json.loads(text) for text in out.getvalue().splitlines()]
    assert [found.get("request_id") for found in lines] == ["req_1", "req_1", None]
