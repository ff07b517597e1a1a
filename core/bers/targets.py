"""Where requests may go: never where machines keep their credentials, and inside only where somebody said so."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias
from urllib.parse import urlsplit

import anyio

Address: TypeAlias = IPv4Address | IPv6Address

_WRAPPED = tuple(map(IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")))
"""IPv6 that ends in an IPv4 address: translated by a network, by this network alone, and of old."""
_METADATA = frozenset(
    # Amazon's by IPv6; Alibaba's; Azure's, which is none of a private network; Oracle's of old. All others are
    # link-local.
    map(ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"))
)
_CREDENTIALS = "where machines keep their credentials"
_REMEDY = "set allow_internal: true if that is meant"


class Blocked(Exception):
    """The name leads to a place where requests must not go."""


class Target:
    """One URL. Raise ValueError with the remedy where it must not be asked, as far as it shows without the network."""

    def __init__(
        self,
        url: str,
        own: Sequence[tuple[str, int]] = (),
        *,
        internal: bool,
        plain: bool = False,
        credentials: bool = False,
    ) -> None:
        """``own`` is where this node listens, for what must not tell it of itself. ``internal`` allows places that
        are not of the public internet; ``plain`` allows http to the others; ``credentials`` allows them in the URL.
        """
        if not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("the URL has characters that no URL can have; percent-encode them")
        try:
            parts = urlsplit(url)
            self.port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as exc:
            raise ValueError(f"the URL cannot be read: {exc}") from exc
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the URL is not absolute; write https://HOST/PATH")
        if (parts.username or parts.password) and not credentials:
            raise ValueError("the URL has credentials in it; put them into headers, as Authorization")
        self.host = parts.hostname
        self.scheme = parts.scheme
        userinfo, _, self.authority = parts.netloc.rpartition("@")
        self._userinfo = f"{userinfo}@" if userinfo else ""
        self.path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._own = own
        self._internal = internal
        self._plain = plain
        self._check_name()

    async def addresses(self) -> list[str]:
        """The addresses to connect to, in order. Raise Blocked if any of them is out of bounds, OSError if none."""
        found = await anyio.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        texts = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for text in texts:
            address = _address(text)
            if address is None:
                raise Blocked(f"{text!r} is no address")
            if is_metadata(address):
                raise Blocked(f"{self.host} leads to {text}, {_CREDENTIALS}")
            if self._is_own(address):
                raise Blocked(f"{self.host} leads to this monitoring itself")
            if is_internal(address):
                if not self._internal:
                    raise Blocked(f"{self.host} leads to the internal address {text}; {_REMEDY}")
            elif self.scheme == "http" and not self._plain:
                raise Blocked(f"{self.host} leads to {text}, which is not internal; use https")
        return texts

    def at(self, address: str) -> str:
        """The URL with the address in place of the name, so that nothing is looked up a second time."""
        host = f"[{address}]" if ":" in address else address
        return f"{self.scheme}://{self._userinfo}{host}:{self.port}{self.path}"

    def _check_name(self) -> None:
        name = self.host.rstrip(".").lower()
        address = ip_address("127.0.0.1") if name == "localhost" or name.endswith(".localhost") else _address(name)
        if address and is_metadata(address):
            raise ValueError(f"{self.host} is an address {_CREDENTIALS}; name another place")
        if (address and self._is_own(address)) or any(name == host and self.port == port for host, port in self._own):
            raise ValueError(
                f"{self.scheme}://{self.authority} is this monitoring itself, which would tell itself of its alerts; "
                "name the place that is to be told, or remove the channel"
            )
        if address and is_internal(address) and not self._internal:
            raise ValueError(f"{self.host} is an internal address; {_REMEDY}")
        if self.scheme == "http" and not self._plain and ((address and not is_internal(address)) or not self._internal):
            raise ValueError("http can be read on the way; write https://, or set allow_internal for a place inside")

    def _is_own(self, address: Address) -> bool:
        """Whether one of our own ports is there."""
        if self.port not in {port for _, port in self._own}:
            return False
        if address.is_loopback or address.is_unspecified or str(address) in {host for host, _ in self._own}:
            return True
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((str(address), 0))  # Only an address of this machine can be bound.
            except OSError:
                return False
        return True


def is_internal(address: Address) -> bool:
    """Whether an address is not one of the public internet; what is wrapped into IPv6 counts as what it wraps."""
    address = _unwrapped(address)
    return not address.is_global or address.is_multicast or (address.version == 6 and address.is_site_local)


def is_metadata(address: Address) -> bool:
    """Whether clouds hand out a machine's credentials there: whatever is link-local, and a few more."""
    address = _unwrapped(address)
    return address.is_link_local or address in _METADATA


def _unwrapped(address: Address) -> Address:
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and int(address) > 1 and any(address in network for network in _WRAPPED):
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return inner
    return address


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return _legacy(text)
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _legacy(text: str) -> Address | None:
    """What the system takes for an address as well: ``127.1``, ``0x7f000001``, ``2130706433``."""
    if not text[:1].isdigit():
        return None
    try:
        return IPv4Address(socket.inet_aton(text))
    except OSError:
        return None
