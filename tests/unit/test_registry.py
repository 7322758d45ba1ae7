"""Plug-ins are found by walking packages; a broken one stops the program with a sentence naming its file."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from app.domain.errors import ProviderNotConfigured
from app.ports.registry import PluginError, description, discover_kassas, discover_sources

KASSA = """
from typing import ClassVar
from pydantic import BaseModel, Field, SecretStr
from app.domain.ffd import FfdVersion, Operation
from app.ports.kassa import Capabilities

class Credentials(BaseModel):
    login: str = Field(description="Логин")
    password: SecretStr

class Driver:
    code = "{code}"
    title = "Test"
    docs_url = "https://docs.example.org"
    protocol_version = "1"
    default_base_url = "https://api.example.org"
    Credentials = Credentials
    capabilities = Capabilities(
        ffd=frozenset({FfdVersion.V1_2, FfdVersion.V1_05}),
        operations=frozenset({Operation.SELL_REFUND, Operation.SELL}),
        corrections=frozenset(), dedup_seconds=3600, lookup_seconds=None, visibility_seconds=2, max_items=100,
        quantity_decimals=3, callbacks=False, marking=False, agents=False, additional_receipt_prop=False,
    )
    def group_key(self, credentials): return credentials.login
    def payload(self, provider_id, receipt, context): return {}
    async def submit(self, provider_id, receipt, context): ...
    async def poll(self, provider_id, reference, receipt, context): ...
    async def lookup(self, provider_id, receipt, context): ...
    async def check(self, context): ...
    def callback_hint(self, request): return None

PLUGIN = Driver
"""

SOURCE = """
from typing import ClassVar
from pydantic import BaseModel, SecretStr
from app.ports.source import Passive, SourceCapabilities

class Credentials(BaseModel):
    key: SecretStr

class Settings(BaseModel):
    flag: bool

class Adapter(Passive):
    code = "{code}"
    title = "Test"
    docs_url = "https://docs.example.org"
    default_base_url = None
    Credentials = Credentials
    Settings = Settings
    capabilities = SourceCapabilities(parts={"pay": "money came"})
    def verify(self, request, credentials, settings): ...
    def reply(self, request, *, stored): ...
    async def parse(self, request, context): ...

PLUGIN = Adapter
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes an importable package of given modules; forgotten again after the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def make(name: str, **modules: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").touch()
        for module, text in modules.items():
            (folder / f"{module}.py").write_text(text.replace("{code}", module), "utf-8")
        importlib.invalidate_caches()
        made.append(name)
        return name

    yield make
    for module in [m for m in sys.modules if m.partition(".")[0] in made]:
        del sys.modules[module]


def test_plugins_are_found_in_the_order_of_their_codes(package):
    found = discover_kassas(package("pk_order", zeta_kassa=KASSA, alpha_kassa=KASSA))
    assert [p.code for p in found] == sorted(p.code for p in found)
    assert {"alpha_kassa", "zeta_kassa"} <= set(found.codes)
    assert "alpha_kassa" in found
    assert found.get("zeta_kassa").group_key(found.get("zeta_kassa").Credentials(login="L", password="p")) == "L"


def test_an_unknown_code_names_the_known_ones(package):
    found = discover_kassas(package("pk_unknown", only_kassa=KASSA))
    with pytest.raises(ProviderNotConfigured, match="only_kassa") as caught:
        found.get("atoll")
    assert caught.value.facts["provider"] == "atoll"
    assert "only_kassa" in caught.value.facts["known"]


def test_the_real_packages_hold_whole_plugins():
    assert "cloudpayments" in discover_sources()
    assert all(description(plugin)["capabilities"] for plugin in (*discover_kassas(), *discover_sources()))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("PLUGIN = 1\n", "does not export a class PLUGIN"),
        ("x = 1\n", "does not export a class PLUGIN"),
        ("import nothing_like_this_exists\n", "cannot be imported: ModuleNotFoundError"),
        ("def broken(:\n", "cannot be imported: SyntaxError"),
        (KASSA.replace('code = "{code}"', 'code = "other"'), "must be the module's name 'mod'"),
        (KASSA.replace('    title = "Test"\n', ""), "it lacks title"),
        (KASSA.replace("    def group_key(self, credentials): return credentials.login\n", ""), "it lacks group_key()"),
        (KASSA.replace("async def submit", "def submit"), "submit() must be async"),
        (KASSA.replace("def payload(self, provider_id, receipt, context)", "def payload(self, receipt)"), "payload()"),
        (KASSA.replace("    Credentials = Credentials", "    Credentials = dict"), "not a pydantic model"),
        (KASSA.replace("capabilities = Capabilities(", "capabilities = dict("), "capabilities is not a Capabilities"),
        (KASSA.replace("class Driver:", "class Driver:\n    def __init__(self, key): ..."), "without arguments"),
        (SOURCE, "is not a whole kassa driver"),
    ],
)
def test_a_broken_plugin_stops_the_program_naming_its_file(package, text, complaint):
    name = package("pk_broken", mod=text)
    with pytest.raises(PluginError) as caught:
        discover_kassas(name)
    assert str(Path("pk_broken", "mod.py")) in str(caught.value)
    assert complaint in str(caught.value)


def test_a_member_inherited_from_the_protocol_is_lacking(package):
    inherits = KASSA.replace("class Driver:", "from app.ports.kassa import KassaDriver\nclass Driver(KassaDriver):")
    name = package(
        "pk_inherits", mod=inherits.replace("    async def lookup(self, provider_id, receipt, context): ...\n", "")
    )
    with pytest.raises(PluginError, match=r"it lacks lookup\(\)"):
        discover_kassas(name)


def test_all_faults_of_a_plugin_are_told_at_once(package):
    text = KASSA.replace('    title = "Test"\n', "").replace("async def check", "def check")
    with pytest.raises(PluginError, match=r"it lacks title; check\(\) must be async"):
        discover_kassas(package("pk_many", mod=text))


def test_one_code_may_exist_once_over_all_packages(package):
    first, second = package("pk_one", shop=SOURCE), package("pk_two", shop=SOURCE)
    with pytest.raises(PluginError) as caught:
        discover_sources(first, second)
    assert "pk_two" in str(caught.value)
    assert "pk_one" in str(caught.value)


def test_a_kassa_description_is_json_and_marks_secrets(package):
    told = description(discover_kassas(package("pk_told", mod=KASSA)).get("mod"))
    assert json.loads(json.dumps(told)) == told
    assert told["capabilities"]["ffd"] == ["1.05", "1.2"]
    assert told["capabilities"]["operations"] == ["sell", "sell_refund"]
    assert told["capabilities"]["lookup_class"] == "A"
    assert told["capabilities"]["lookup_seconds"] is None
    password = told["credentials"]["properties"]["password"]
    assert password["writeOnly"] is True
    assert password["format"] == "password"
    assert "writeOnly" not in told["credentials"]["properties"]["login"]
    assert told["settings"] is None


def test_a_source_description_tells_its_settings_and_parts(package):
    told = description(discover_sources(package("pk_source", mod=SOURCE)).get("mod"))
    assert json.loads(json.dumps(told)) == told
    assert told["capabilities"]["parts"] == {"pay": "money came"}
    assert told["settings"]["properties"]["flag"]["type"] == "boolean"
    assert told["default_base_url"] is None
    assert "protocol_version" not in told
