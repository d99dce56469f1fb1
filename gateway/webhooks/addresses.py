"""Where webhooks may go. A merchant's URL must not reach into our own network (SSRF).

A URL is checked when it is given, and its host is resolved before every attempt: all addresses must be public, and
the connection goes to the very address that was checked, so a name cannot change its mind in between. In
development a switch allows this machine itself, also without TLS.
"""

import asyncio
import re
import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

import httpx
import msgspec

URL_LENGTH_MAX: Final = 2048
PARSED_MAX: Final = 1_000
"""URLs whose parts are kept in mind: an endpoint's is taken apart for every attempt, at the price of a request to it.
What is asked anew each time is where its host is."""
TRANSLATED: Final = (
    IPv6Network("64:ff9b::/96"),
    IPv6Network("64:ff9b:1::/48"),
    IPv6Network("2002::/16"),
    IPv6Network("::ffff:0:0:0/96"),
    IPv6Network("::/96"),
)
"""Prefixes that carry an IPv4 address to be reached by translation (NAT64, 6to4, SIIT, IPv4-compatible)."""
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_NAME: Final = re.compile(rf"(?:{_LABEL}\.)*(?![0-9]){_LABEL}\.?")
"""A host name. Its last label begins with no digit, for 127.1 and 0x7f000001 are addresses in disguise."""
_NAME_LENGTH_MAX: Final = 253
_PORT_MAX: Final = 65_535

Address = IPv4Address | IPv6Address


class AddressRefused(Exception):
    """A webhook may not go there."""

    code = "webhook_url_not_allowed"
    retryable = False


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A checked destination.

    Attributes:
        url: with the address in place of the host; host: what goes into the Host header and into TLS.
    """

    url: str
    host: str
    server_name: str


def check_url(url: str, *, allow_loopback: bool) -> None:
    """Check what can be known of a URL without resolving it.

    Raises:
        AddressRefused: not https, credentials or a fragment in it, too long, or a literal address that is not public.
    """
    parsed = _parsed(url)
    if parsed.userinfo or parsed.fragment:
        raise AddressRefused("the URL must not hold credentials or a fragment")
    if parsed.port is not None and not 1 <= parsed.port <= _PORT_MAX:
        raise AddressRefused("the URL's port must be from 1 to 65535")
    host = _host(parsed)
    literal = _literal(host)
    local = host == "localhost" or (literal is not None and literal.is_loopback)
    if local and allow_loopback:
        return
    if parsed.scheme != "https":
        raise AddressRefused("the URL must begin with https://")
    if local or (literal is not None and not is_public(literal)):
        raise AddressRefused("the URL must be reachable from the public internet")
    if literal is None and (len(host) > _NAME_LENGTH_MAX or not _NAME.fullmatch(host)):
        raise AddressRefused("the URL must name a host as the internet's names are written")


async def resolve(url: str, *, allow_loopback: bool) -> Target:
    """The checked address to connect to.

    Raises:
        AddressRefused: as `check_url`, or one of the host's addresses is not public.
        OSError: the host cannot be resolved now.
    """
    check_url(url, allow_loopback=allow_loopback)
    parsed = _parsed(url)
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    found = await asyncio.get_running_loop().getaddrinfo(_host(parsed), port, type=socket.SOCK_STREAM)
    addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    for address in addresses:
        # Plain http is for this machine only, whatever the name's owner says today.
        allowed = address.is_loopback and allow_loopback
        if not allowed and (parsed.scheme != "https" or not is_public(address)):
            raise AddressRefused(f"{_host(parsed)} is not only at public addresses")
    return _target(url, str(addresses[0]), port)


def is_public(address: Address) -> bool:
    """Whether the address is one of the public internet, also when it is an IPv4 address in IPv6 dress."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if any(address in network for network in TRANSLATED):
            return False
    return address.is_global and not address.is_multicast


@lru_cache(maxsize=PARSED_MAX)
def _parsed(url: str) -> httpx.URL:
    if len(url) > URL_LENGTH_MAX or not url.isascii() or not url.isprintable():
        raise AddressRefused(f"the URL must be printable ASCII, at most {URL_LENGTH_MAX} characters")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise AddressRefused(str(error)) from None
    if parsed.scheme not in {"http", "https"} or not parsed.raw_host:
        raise AddressRefused("the URL must begin with https:// and name a host")
    return parsed


@lru_cache(maxsize=PARSED_MAX)
def _target(url: str, address: str, port: int) -> Target:
    parsed = _parsed(url)
    return Target(
        url=str(parsed.copy_with(host=address, port=port)), host=parsed.netloc.decode(), server_name=_host(parsed)
    )


def _host(parsed: httpx.URL) -> str:
    """The host as it goes over the wire; `httpx` would decode `xn--…`, and raises where that cannot be."""
    return parsed.raw_host.decode("ascii")


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
