"""Settings of the traces: what is wrong is named and not shown, what is missing is told with its cure."""

import sys

import pytest

from app.configured import headers_of, traces_url, tracing_of
from app.infra.tracing import OFF
from app.keys import SettingInvalid
from app.settings import Settings


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://otel.example.org/team/a", "https://otel.example.org/team/a/v1/traces"),
        ("https://otel.example.org/v1/traces", "https://otel.example.org/v1/traces"),
        ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
    ],
)
def test_the_path_of_the_protocol_is_put_behind_the_address(endpoint: str, url: str) -> None:
    assert traces_url(endpoint) == url


@pytest.mark.parametrize(
    "endpoint", ["collector:4318", "grpc://collector:4317", "http://me:hunter2@collector", "http://c?key=hunter2", "x"]
)
def test_an_address_that_is_none_is_named_and_not_shown(endpoint: str) -> None:
    with pytest.raises(SettingInvalid) as stopped:
        tracing_of(Settings(_env_file=None, otlp_endpoint=endpoint))
    assert str(stopped.value).startswith("KASSA_OTLP_ENDPOINT: ")
    assert "hunter2" not in str(stopped.value)


def test_headers_are_read_as_the_standard_writes_them() -> None:
    assert headers_of("") == {}
    assert headers_of(" authorization = Basic%20YTpi , x-key=a=b,") == {"authorization": "Basic YTpi", "x-key": "a=b"}


@pytest.mark.parametrize("text", ["hunter2", "a b=hunter2", "=hunter2", "a=hunter2%0d%0ab: c", "a=hunter2%D0%B6"])
def test_headers_that_cannot_be_sent_are_named_and_not_shown(text: str) -> None:
    with pytest.raises(SettingInvalid) as stopped:
        tracing_of(Settings(_env_file=None, otlp_endpoint="http://collector:4318", otlp_headers=text))
    assert str(stopped.value).startswith("KASSA_OTLP_HEADERS: ")
    assert "hunter2" not in str(stopped.value)


def test_the_setting_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "app.infra.tracing_otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingInvalid, match=r"pip install 'crm-kassa\[otel\]'"):
        tracing_of(Settings(_env_file=None, otlp_endpoint="http://collector:4318"))
    assert tracing_of(Settings(_env_file=None)) is OFF
