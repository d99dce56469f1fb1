"""What a merchant's URL may not reach (SSRF)."""

import asyncio
import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

import pytest

from gateway.webhooks.addresses import AddressRefused, check_url, is_public, resolve


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/hook",
        "ftp://shop.example/hook",
        "https://",
        "hook",
        "",
        "https://user:password@shop.example/hook",
        "https://shop.example/hook#part",
        "https://shop.example/" + "x" * 2048,
        "https://shop.example/\n",
        "https://localhost/hook",
        "https://127.0.0.1/hook",
        "https://[::1]/hook",
        "https://[::ffff:127.0.0.1]/hook",
        "https://10.1.2.3/hook",
        "https://172.16.0.1/hook",
        "https://192.168.1.1/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://100.64.0.1/hook",
        "https://0.0.0.0/hook",
        "https://224.0.0.1/hook",
        "https://[fd00::1]/hook",
        "https://[fe80::1]/hook",
        "https://[64:ff9b::a01:203]/hook",
        "https://[2002:a01:203::1]/hook",
        "https://[::ffff:0:a01:203]/hook",
        "https://[::a01:203]/hook",
        "https://127.1/hook",
        "https://2130706433/hook",
        "https://0x7f000001/hook",
        "https://0/hook",
        "https://a b/hook",
        "https://xn--/hook",
        "https://%31%32%37.0.0.1/hook",
        "https://-shop.example/hook",
        "https://shop..example/hook",
        "https://" + "x" * 64 + ".example/hook",
        "https://" + "shop." * 60 + "example/hook",
        "https://shop.example:0/hook",
        "https://shop.example:65536/hook",
    ],
)
def test_url_is_refused(url: str):
    with pytest.raises(AddressRefused):
        check_url(url, allow_loopback=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:0/hook", "http://localhost:65536/hook"])
def test_port_that_is_none_is_refused_on_this_machine_too(url: str):
    with pytest.raises(AddressRefused):
        check_url(url, allow_loopback=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example/hook?a=1",
        "https://shop.example:8443/",
        "https://8.8.8.8/",
        "https://xn--o3cw4h.example/",
        "https://xn--a.example/",
        "https://a_b.shop-1.example./",
    ],
)
def test_public_url_is_taken(url: str):
    check_url(url, allow_loopback=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000/hook", "http://localhost:9000/hook", "http://[::1]/hook"])
def test_loopback_is_taken_in_development_only(url: str):
    check_url(url, allow_loopback=True)
    with pytest.raises(AddressRefused):
        check_url(url, allow_loopback=False)


@pytest.mark.parametrize("url", ["http://10.0.0.1/hook", "https://192.168.0.1/hook", "http://shop.example/hook"])
def test_development_switch_opens_nothing_else(url: str):
    with pytest.raises(AddressRefused):
        check_url(url, allow_loopback=True)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("::ffff:8.8.8.8", True),
        ("::ffff:10.0.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("255.255.255.255", False),
        ("198.18.0.1", False),
        ("ff02::1", False),
        ("::", False),
    ],
)
def test_address_is_public(address: str, public: bool):
    assert is_public(ip_address(address)) is public


def _names(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    async def getaddrinfo(self, host, port, **_: object):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)


async def test_connection_goes_to_the_checked_address_under_the_given_name(monkeypatch: pytest.MonkeyPatch):
    _names(monkeypatch, "8.8.8.8")
    target = await resolve("https://shop.example:8443/hook?a=1", allow_loopback=False)
    assert target.url == "https://8.8.8.8:8443/hook?a=1"
    assert (target.host, target.server_name) == ("shop.example:8443", "shop.example")


@pytest.mark.parametrize("addresses", [("10.0.0.1",), ("8.8.8.8", "10.0.0.1"), ("127.0.0.1",), ("::1",)])
async def test_name_of_a_private_address_is_refused(monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]):
    _names(monkeypatch, *addresses)
    with pytest.raises(AddressRefused):
        await resolve("https://shop.example/hook", allow_loopback=False)


async def test_name_of_a_private_address_is_refused_in_development(monkeypatch: pytest.MonkeyPatch):
    _names(monkeypatch, "10.0.0.1")
    with pytest.raises(AddressRefused):
        await resolve("https://shop.example/hook", allow_loopback=True)


async def test_loopback_is_reached_in_development():
    target = await resolve("http://localhost:9000/hook", allow_loopback=True)
    assert target.host == "localhost:9000"
    assert urlsplit(target.url).hostname in {"127.0.0.1", "::1"}
