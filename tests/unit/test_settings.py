"""Settings: a wrong one is named in one sentence that shows no value; the example file lists them all."""

import re
from pathlib import Path

import pytest

from app.cli.configure import load_settings
from app.keys import Keys, SettingInvalid, generate
from app.runtime import open_runtime
from app.settings import Settings

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"(?:# )?(KASSA_[A-Z_]+)=(.*)")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither this machine's environment nor a developer's `.env` has a say."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"KASSA_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


def example() -> dict[str, str]:
    found = [LINE.fullmatch(line) for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()]
    pairs = [(one[1], one[2]) for one in found if one]
    assert len(pairs) == len(dict(pairs)), "a setting stands twice"
    return dict(pairs)


def test_the_example_lists_every_setting_and_nothing_else() -> None:
    assert set(example()) == {f"KASSA_{name.upper()}" for name in Settings.model_fields}


def test_the_example_shows_the_values_that_hold_when_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = Settings()
    for name, value in example().items():
        if value:
            monkeypatch.setenv(name, value)
    assert Settings() == bare
    unset = {name for name, value in example().items() if not value}
    empty = {f"KASSA_{name.upper()}" for name, value in bare if value in (None, "", ())}
    assert unset == empty


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KASSA_PORT", "eighty"),
        ("KASSA_PORT", "70000"),
        ("KASSA_LEASE_SECONDS", "0"),
        ("KASSA_LEASE_SECONDS", "soon"),
        ("KASSA_LOG_FORMAT", "xml"),
        ("KASSA_LOG_LEVEL", "loud"),
        ("KASSA_WORKER_SLOTS", "0"),
        ("KASSA_DB_POOL_SIZE", "1"),
        ("KASSA_RATE_LIMIT_PER_MINUTE", "-1"),
        ("KASSA_TESTING", "perhaps"),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingInvalid) as stopped:
        load_settings()
    said = str(stopped.value)
    assert re.fullmatch(rf"{name}: [^\n]+\.", said), said
    assert "pydantic" not in said
    if value.isalpha():
        assert value not in said, "a wrong value may be a secret in the wrong place"


def test_two_wrong_settings_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KASSA_PORT", "eighty")
    monkeypatch.setenv("KASSA_LOG_LEVEL", "loud")
    with pytest.raises(SettingInvalid, match=r"^KASSA_PORT: .*; KASSA_LOG_LEVEL: .*\.$"):
        load_settings()


def test_an_option_goes_before_the_environment_and_that_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("KASSA_PORT=1\nKASSA_HOST=0.0.0.0\n")
    monkeypatch.setenv("KASSA_PORT", "2")
    assert (load_settings().port, load_settings().host) == (2, "0.0.0.0")
    assert load_settings(port=3).port == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KASSA_SECRET_KEYS", None),
        ("KASSA_SEARCH_KEY", None),
        ("KASSA_KEY_PEPPER", None),
        ("KASSA_SECRET_KEYS", "hunter2"),
        ("KASSA_SECRET_KEYS", "1:aHVudGVyMg=="),
        ("KASSA_SEARCH_KEY", "aHVudGVyMg=="),
        ("KASSA_KEY_PEPPER", "aHVudGVyMg=="),
        ("KASSA_KEY_PEPPER", "hunter2!"),
    ],
)
def test_keys_that_lack_or_do_not_fit_are_named_and_never_shown(name: str, value: str | None) -> None:
    made = {**generate(), name: value}
    settings = Settings.model_validate({key.removeprefix("KASSA_").lower(): given for key, given in made.items()})
    with pytest.raises(SettingInvalid) as stopped:
        Keys.load(settings, generate_in=None)
    said = str(stopped.value)
    assert said.startswith(name)
    assert "\n" not in said
    assert not any(secret in said for secret in made.values() if secret)
    assert value is None or "aHVud" not in said


@pytest.mark.parametrize(
    ("name", "value", "url"),
    [
        ("KASSA_DATABASE_URL", None, "mysql://user:hunter2@db.example.org/kassa"),
        ("KASSA_DATABASE_URL", None, "postgresql://user:hunter2@db.example.org:port/kassa"),
        ("KASSA_EGRESS_ALLOW", "10.0.0.0/33", "postgresql://db.example.org/kassa"),
        ("KASSA_FAILPOINTS", "nowhere=explode", "postgresql://db.example.org/kassa"),
        ("KASSA_OTLP_ENDPOINT", "http://me:hunter2@collector", "postgresql://db.example.org/kassa"),
    ],
)
async def test_what_only_the_start_can_judge_is_named_too(name: str, value: str | None, url: str) -> None:
    given = {} if value is None else {name.removeprefix("KASSA_").lower(): value}
    settings = Settings.model_validate({"testing": True, **given})
    made = {key.removeprefix("KASSA_").lower(): text for key, text in generate().items()}
    keys = Keys.load(Settings.model_validate(made), generate_in=None)
    with pytest.raises(SettingInvalid) as stopped:
        async with open_runtime(settings, database_url=url, keys=keys):
            pass
    assert name in str(stopped.value)
    assert "\n" not in str(stopped.value)
    assert "hunter2" not in str(stopped.value)


def test_a_setting_is_never_shown_by_accident() -> None:
    made = {key.removeprefix("KASSA_").lower(): text for key, text in generate().items()}
    url = "postgresql://user:hunter2@db.example.org/kassa"
    shown = repr(Settings.model_validate({**made, "database_url": url}))
    assert "hunter2" not in shown
    assert not any(text in shown for text in made.values())
