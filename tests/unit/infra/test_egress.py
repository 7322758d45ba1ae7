"""The SSRF guard: what may be called, judged by text, by resolved address and by the address of the connection."""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.infra.egress import EgressPolicy, ForbiddenUrl, GuardedResolver, Lookup

PUBLIC = EgressPolicy()
INSIDE = EgressPolicy.parse("127.0.0.0/8, 10.1.2.0/24")


def finding(*addresses: str) -> Lookup:
    async def lookup(host: str, port: int) -> Sequence[str]:
        return addresses

    return lookup


def failing(error: Exception) -> Lookup:
    async def lookup(host: str, port: int) -> Sequence[str]:
        raise error

    return lookup


# --- the setting


def test_setting_names_networks() -> None:
    assert EgressPolicy.parse("").allow == ()
    assert EgressPolicy.parse(" , ").allow == ()
    assert EgressPolicy.parse("10.1.2.0/24,fd00::/8, 192.168.1.7").allow == (
        ip_network("10.1.2.0/24"),
        ip_network("fd00::/8"),
        ip_network("192.168.1.7/32"),
    )


@pytest.mark.parametrize(
    ("text", "hint"),
    [("10.1.2.3/24", "write that network"), ("intranet", "write it like"), ("10.0.0.0/33", "write it like")],
)
def test_wrong_setting_says_how_to_write_it(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        EgressPolicy.parse(f"127.0.0.0/8,{text}")


# --- addresses

DENIED = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1",
    "2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "5f00::1", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0",
    "fec0::1", "ff02::1", "ff0e::1",
    "", "example.org", "1.2.3", "0x7f.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("ip", DENIED)
def test_private_and_special_addresses_are_denied(ip: str) -> None:
    assert not PUBLIC.permits(ip)


@pytest.mark.parametrize(
    "ip", ["93.184.216.34", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"]
)
def test_public_addresses_are_permitted(ip: str) -> None:
    assert PUBLIC.permits(ip)
    assert PUBLIC.permits(ip_address(ip))


@pytest.mark.parametrize("ip", ["127.0.0.1", "10.1.2.255", "::ffff:127.0.0.1", "::ffff:10.1.2.3"])
def test_named_networks_are_permitted_also_in_mapped_form(ip: str) -> None:
    assert INSIDE.permits(ip)
    assert INSIDE.names(ip)


@pytest.mark.parametrize("ip", ["10.1.3.1", "::1", "169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::"])
def test_naming_a_network_opens_nothing_else(ip: str) -> None:
    assert not INSIDE.permits(ip)


@given(st.ip_addresses(v=4))
def test_an_address_and_its_mapped_form_are_judged_alike(ip: object) -> None:
    assert PUBLIC.permits(str(ip)) == PUBLIC.permits(f"::ffff:{ip}")
    assert INSIDE.permits(str(ip)) == INSIDE.permits(f"::ffff:{ip}")
    # Tunnels to IPv4 are closed whatever they lead to.
    embedded = int(ip_address(str(ip)))
    assert not PUBLIC.permits(f"64:ff9b::{embedded >> 16:x}:{embedded & 0xFFFF:x}")
    assert not PUBLIC.permits(f"2002:{embedded >> 16:x}:{embedded & 0xFFFF:x}::")


# --- the text of a URL


@pytest.mark.parametrize(
    "url",
    [
        "https://crm.example.org/hook",
        "https://crm.example.org:443/hook",
        "https://crm.example.org:8443/hook?a=1",
        "https://crm.example.org./hook",
        "https://CRM.Example.ORG/",
        "https://касса.example.org/путь",
        "https://a_b.example.org/",
        "https://1.example.org/",
    ],
)
def test_ordinary_urls_pass(url: str) -> None:
    PUBLIC.check_url(url)
    PUBLIC.check_url(httpx.URL(url))


REFUSED = [
    ("ftp://crm.example.org/", "scheme"),
    ("file:///etc/passwd", "scheme"),
    ("//crm.example.org/", "scheme"),
    ("crm.example.org", "scheme"),
    ("http://crm.example.org/", "scheme"),
    ("https://user:pass@crm.example.org/", "credentials"),
    ("https://user@crm.example.org/", "credentials"),
    ("https://crm.example.org\\@127.0.0.1/", "credentials"),
    ("https://crm.example.org:22/", "port"),
    ("https://crm.example.org:80/", "port"),
    ("https://crm.example.org:0/", "port"),
    ("https://crm.example.org:99999/", "port"),
    ("https://crm.example.org/#part", "host"),
    ("https://crm.example.org/" + "a" * 2048, "length"),
    ("https:///path", "host"),
    ("https://", "host"),
    ("https://a b.example.org/", "host"),
    ("https://a..example.org/", "host"),
    ("https://example.org../", "host"),
    ("https://" + "a" * 64 + ".org/", "host"),
    ("https://xn--/", "host"),
    ("https://[::1/", "host"),
    ("https://%31%32%37.0.0.1/", "host"),
    ("https://crm.example.org%00.evil.example/", "host"),
    ("https://crm.example.org\n/", "host"),
    ("https://ⓛocalhost/", "host"),
    ("https://１２７.0.0.1/", "host"),
    # The forms in which C libraries also read addresses.
    ("https://2130706433/", "host"),
    ("https://0x7f.1/", "host"),
    ("https://0x7f000001/", "host"),
    ("https://127.1/", "host"),
    ("https://0177.0.0.1/", "host"),
    ("https://127.0.0.1./", "host"),
    # Addresses, also public ones.
    ("https://127.0.0.1/", "address"),
    ("https://127。0。0。1/", "address"),
    ("https://[::ffff:127.0.0.1]/", "address"),
    ("https://[::1]:8443/", "address"),
    ("https://[fe80::1]/", "address"),
    ("https://[fe80::1%25eth0]/", "address"),
    ("https://[fe80::1%eth0]/", "address"),
    ("https://169.254.169.254/latest/meta-data", "address"),
    ("https://93.184.216.34/", "address"),
    ("https://localhost/", "address"),
    ("https://LOCALHOST./", "address"),
    ("https://crm.localhost/", "address"),
]


@pytest.mark.parametrize(("url", "reason"), REFUSED)
def test_refused_by_text(url: str, reason: str) -> None:
    with pytest.raises(ForbiddenUrl) as caught:
        PUBLIC.check_url(url)
    assert caught.value.reason == reason
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(("url", "reason"), [row for row in REFUSED if row[1] in ("credentials", "length", "host")])
def test_an_allowed_network_does_not_open_malformed_urls(url: str, reason: str) -> None:
    with pytest.raises(ForbiddenUrl) as caught:
        INSIDE.check_url(url)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/", "https://10.1.2.3:22/", "http://[::ffff:127.0.0.1]/", "http://localhost:8000/"]
)
def test_named_networks_may_use_http_and_any_port(url: str) -> None:
    INSIDE.check_url(url)


# --- resolution


@pytest.mark.parametrize("url", ["http://crm.example:8000/", "http://crm.example/", "https://crm.example:22/"])
async def test_a_name_inside_a_named_network_may_use_http_and_any_port(url: str) -> None:
    await INSIDE.resolve_and_check(url, finding("10.1.2.3"))


@pytest.mark.parametrize(
    ("url", "addresses", "reason"),
    [
        ("https://crm.example/", ["127.0.0.2", "10.0.0.1"], "address"),
        ("https://crm.example/", ["93.184.216.34", "169.254.169.254"], "address"),
        ("http://crm.example/", ["93.184.216.34"], "scheme"),
        ("http://crm.example:443/", ["93.184.216.34"], "scheme"),
        ("https://crm.example:22/", ["93.184.216.34"], "port"),
        ("https://crm.example:22/", ["10.1.2.3", "93.184.216.34"], "port"),
        ("https://crm.example/", [], "dns"),
    ],
)
async def test_refused_by_resolved_address(url: str, addresses: list[str], reason: str) -> None:
    with pytest.raises(ForbiddenUrl) as caught:
        await INSIDE.resolve_and_check(url, finding(*addresses))
    assert caught.value.reason == reason
    assert not any(address in str(caught.value) for address in addresses), "the address is nobody's business"


async def test_public_name_passes() -> None:
    await PUBLIC.resolve_and_check("https://crm.example.org/", finding("93.184.216.34", "2606:4700::1111"))


async def test_an_address_is_not_resolved() -> None:
    await INSIDE.resolve_and_check("http://127.0.0.1:1/", failing(AssertionError("resolved")))


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError("label too long")])
async def test_a_name_that_does_not_resolve(error: Exception) -> None:
    with pytest.raises(ForbiddenUrl) as caught:
        await PUBLIC.resolve_and_check("https://nowhere.invalid/", failing(error))
    assert caught.value.reason == "dns"


async def test_a_silent_name_server_does_not_hold_up_registration() -> None:
    async def silent(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    with pytest.raises(ForbiddenUrl) as caught:
        await PUBLIC.resolve_and_check("https://crm.example.org/", silent, seconds=0.01)
    assert caught.value.reason == "dns"


# --- the resolver of the connector


async def test_resolver_returns_exactly_the_judged_addresses() -> None:
    resolver = GuardedResolver(PUBLIC, finding("93.184.216.34", "2606:4700::1111"))
    found = await resolver.resolve("crm.example.org", 443)
    assert [(one["host"], one["port"], one["family"]) for one in found] == [
        ("93.184.216.34", 443, socket.AF_INET),
        ("2606:4700::1111", 443, socket.AF_INET6),
    ]
    only_v4 = await resolver.resolve("crm.example.org", 443, socket.AF_INET)
    assert [one["host"] for one in only_v4] == ["93.184.216.34"]
    await resolver.close()


@pytest.mark.parametrize(
    ("addresses", "port", "reason"),
    [(["93.184.216.34", "10.0.0.1"], 443, "address"), (["127.0.0.1"], 443, "address"), (["93.184.216.34"], 80, "port")],
)
async def test_resolver_refuses_the_whole_name_for_one_denied_address(
    addresses: list[str], port: int, reason: str
) -> None:
    resolver = GuardedResolver(PUBLIC, finding(*addresses))
    with pytest.raises(ForbiddenUrl) as caught:
        await resolver.resolve("crm.example.org", port)
    assert caught.value.reason == reason
    await resolver.close()


async def test_rebinding_is_judged_at_each_look_up() -> None:
    answers = [["93.184.216.34"], ["127.0.0.1"]]

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    resolver = GuardedResolver(PUBLIC, rebinding)
    assert [one["host"] for one in await resolver.resolve("evil.example", 443)] == ["93.184.216.34"]
    with pytest.raises(ForbiddenUrl):
        await resolver.resolve("evil.example", 443)
    await resolver.close()


@pytest.mark.parametrize("lookup", [finding(), failing(UnicodeError("label")), failing(socket.gaierror(-2, "unknown"))])
async def test_resolver_fails_with_an_os_error_as_aiohttp_expects(lookup: Lookup) -> None:
    resolver = GuardedResolver(PUBLIC, lookup)
    with pytest.raises(OSError, match=r"address|name|unknown"):
        await resolver.resolve("nowhere.invalid", 443)
    await resolver.close()


async def test_this_machine_is_refused_through_the_real_resolver() -> None:
    resolver = GuardedResolver(PUBLIC)
    with pytest.raises(ForbiddenUrl) as caught:
        await resolver.resolve("localhost", 443)
    assert caught.value.reason == "address"
    await resolver.close()
    with pytest.raises(ForbiddenUrl):
        await EgressPolicy.parse("10.0.0.0/8").resolve_and_check("http://localhost/")
    await EgressPolicy.parse("127.0.0.0/8,::1").resolve_and_check("http://localhost:8000/")
