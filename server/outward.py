"""Requests that the server makes itself: to which addresses, and never into a private network unasked."""

import fnmatch
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NotAllowed(Exception):
    """An address that the server does not ask, and why."""


@dataclass(frozen=True)
class Hosts:
    """Which hosts may be asked.

    Args:
        listed: Names, `*.example.com`, addresses, each perhaps with `:port`. A private address is asked only
            where its host is listed without a `*`.
        public: Whether any public address may be asked beside them.
        setting: What the list is called, for messages.
    """

    listed: tuple[str, ...]
    public: bool
    setting: str

    def checked(self, text: Any) -> URL:
        """A URL that may be asked, as far as that can be said without resolving its name.

        Raises:
            NotAllowed: It may not.
        """
        try:
            url = URL(text)
            host, port = url.host, url.port
        except (ValueError, TypeError) as error:
            raise NotAllowed(f"{text!r:.200} is no URL") from error
        if url.scheme not in ("http", "https") or not host or port is None:
            raise NotAllowed(f"{text!r:.200} is no http or https URL")
        if url.user or url.password:
            raise NotAllowed("a URL with a user name or password is not asked")
        if not self._matching(host, port) and not self.public:
            raise NotAllowed(f"the host {host!r} is not among the server's {self.setting}")
        if (address := _address(host)) and not (is_public(address) or self.trusts(host, port)):
            raise self._private(host)
        if host.rstrip(".").rpartition(".")[2] == "localhost" and not self.trusts(host, port):
            raise self._private(host)
        return url

    def trusts(self, host: str, port: int) -> bool:
        """Whether a host is listed by its very name, so that it may be in a private network."""
        return any(_same(entry, host, port) for entry in self.listed if "*" not in entry)

    def _matching(self, host: str, port: int) -> bool:
        return any(_same(entry, host, port) for entry in self.listed)

    def _private(self, host: str) -> NotAllowed:
        return NotAllowed(f"{host!r} is in a private network; list it in the server's {self.setting}")

    def session(self, seconds: float) -> aiohttp.ClientSession:
        """A session that connects to allowed addresses only, whatever names resolve to, and when."""
        connector = aiohttp.TCPConnector(resolver=_Resolver(self), use_dns_cache=False, limit=16)
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=seconds),
            trust_env=False,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )


class _Resolver(AbstractResolver):
    """Resolves names as the system does, and refuses those of private addresses."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts, self._system = hosts, ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._system.resolve(host, port, family)
        if not self._hosts.trusts(host, port) and not all_public(r["host"] for r in found):
            raise OSError(None, f"{host} resolves to an address in a private network")
        return found

    async def close(self) -> None:
        await self._system.close()


def all_public(addresses: Iterable[str]) -> bool:
    """Whether all of these addresses are on the public internet."""
    found = [_address(a) for a in addresses]
    return bool(found) and all(a is not None and is_public(a) for a in found)


def is_public(address: _Address) -> bool:
    """Whether an address is on the public internet, as is the one that it wraps, if it wraps one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _same(entry: str, host: str, port: int) -> bool:
    """Whether an entry of a list means this host; a port in it has to be the same."""
    name, colon, number = entry.rpartition(":")
    if not colon or not number.isdigit() or (":" in name and not entry.startswith("[")):
        name, number = entry, str(port)
    wanted = name.strip("[]").rstrip(".").lower()
    return number == str(port) and fnmatch.fnmatchcase(host.rstrip(".").lower(), wanted)
