"""Addresses that are read without httpx are read as httpx reads them."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.infra.http import Target

HOSTS = st.from_regex(r"[a-zA-Z0-9.:\[\]-]{1,20}", fullmatch=True) | st.sampled_from(["127.0.0.1", "api.example.org"])
PATHS = st.from_regex(r"(/[a-zA-Z0-9._~%?#@:;, -]{0,6}){0,4}", fullmatch=True)


@given(st.sampled_from(["http", "https", "HTTP"]), HOSTS, st.none() | st.integers(0, 99_999), PATHS)
def test_a_plain_address_is_read_as_httpx_reads_it(scheme: str, host: str, port: int | None, path: str) -> None:
    url = f"{scheme}://{host}{'' if port is None else f':{port}'}{path}"
    plain = Target.plain(url)
    if plain is not None:
        assert plain == Target.of(httpx.URL(url))


@pytest.mark.parametrize(
    "url",
    [
        "https://api.digitalkassa.ru/v2.1/c_groups/1/receipts/a1",
        "https://online.atol.ru/possystem/v5/group/sell",
        "http://127.0.0.1:51234/v2.1/c_groups/1",
    ],
)
def test_what_drivers_call_is_plain(url: str) -> None:
    assert Target.plain(url) == Target.of(httpx.URL(url))
