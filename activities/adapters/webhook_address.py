"""Which addresses a customer's webhook may lead to: the public internet, not our own network.

Owns the check at save (`check_url`) and the one at connect time (`resolve`), so that neither a literal address nor a
name that is pointed elsewhere later (DNS rebinding) reaches a private service.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import httpx

from activities.ports import UrlRefused

LONGEST_URL = 2048
_NAT64 = IPv6Network("64:ff9b::/96")
_LOOKUPS = ThreadPoolExecutor(16, thread_name_prefix="webhook-dns")
"""Threads of their own: a customer's slow name server must not hold up the loop's other thread work."""
Address = IPv4Address | IPv6Address


class NameUnknown(Exception):
    """The host name does not resolve at the moment."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart for one delivery."""

    url: httpx.URL
    host: str
    port: int
    addresses: tuple[str, ...]


async def check_url(url: str, allow_private: bool = False) -> None:
    """The check when an endpoint is saved. `allow_private` (a setting, for development) also allows `http`.

    A name that does not resolve right now passes: it may be created later, and the check at connect time counts.
    Raises `UrlRefused`.
    """
    parsed = _parse(url, allow_private)
    try:
        await resolve(parsed, allow_private)
    except NameUnknown:
        return


async def resolve_url(url: str, allow_private: bool) -> Target:
    """The addresses to connect to, all of them acceptable. Raises `UrlRefused`, `NameUnknown`."""
    return await resolve(_parse(url, allow_private), allow_private)


async def resolve(url: httpx.URL, allow_private: bool) -> Target:
    """Look the host up once; one address that is not public refuses the whole name."""
    host, port = url.raw_host.decode(), url.port or (443 if url.scheme == "https" else 80)
    lookup = partial(socket.getaddrinfo, host.strip("[]"), port, type=socket.SOCK_STREAM)
    try:
        found = await asyncio.get_running_loop().run_in_executor(_LOOKUPS, lookup)
    except (socket.gaierror, UnicodeError) as unknown:
        raise NameUnknown(f"the host name {host!r} does not resolve: {unknown}") from unknown
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if not allow_private and not is_public(ip_address(address.partition("%")[0])):
            raise UrlRefused(f"url leads to {host} = {address}: only addresses on the public internet are called")
    return Target(url, host, port, addresses)


def is_public(address: Address) -> bool:
    """Whether the address is on the public internet; one that only carries an IPv4 address is judged by that."""
    inner = _embedded(address) if isinstance(address, IPv6Address) else None
    if inner is not None:
        return is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


def _embedded(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _parse(url: str, allow_private: bool) -> httpx.URL:
    if len(url) > LONGEST_URL:
        raise UrlRefused(f"url has {len(url)} characters: {LONGEST_URL} at most")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as broken:
        raise UrlRefused(f"url is not a URL: {broken}") from broken
    schemes = ("https", "http") if allow_private else ("https",)
    if parsed.scheme not in schemes:
        raise UrlRefused(
            f"url begins with {parsed.scheme or 'nothing'!r}: it must begin with {' or '.join(schemes)}://"
        )
    if not parsed.host:
        raise UrlRefused("url names no host")
    if parsed.userinfo:
        raise UrlRefused("url contains a user name or password: leave them out, the signature proves who is calling")
    return parsed
