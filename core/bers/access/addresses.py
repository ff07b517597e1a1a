"""Where a request comes from: addresses as they are meant, networks, and what proxies say of those behind them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

HOPS = 20
"""So many proxies in a row are believed; who writes more wants to be looked at for long."""

_MAPPED = 96
"""The bits before an IPv4 address in `::ffff:0:0/96`."""

_FOR = re.compile(r'(?:^|[;,])\s*for\s*=\s*("(?:[^"\\]|\\.)*"|[^;,\s]*)', re.IGNORECASE)


def address(text: str) -> Address | None:
    """The address that text means: IPv4 within IPv6 is itself, and a zone says nothing; None where it is none."""
    try:
        found = ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def networks(texts: Sequence[str], path: str) -> list[Network]:
    """Read networks and single addresses; raise ValueError that begins with the place of the one that is wrong."""
    found: list[Network] = []
    for n, text in enumerate(texts):
        try:
            network = ip_network(text.strip())
        except ValueError as exc:
            raise ValueError(f"{path}[{n}]: {text!r} is no network; {_meant(text)}") from exc
        mapped = isinstance(network, IPv6Network) and network.network_address.ipv4_mapped
        if mapped and network.prefixlen >= _MAPPED:
            network = IPv4Network((mapped, network.prefixlen - _MAPPED))
        found.append(network)
    return found


def within(one: Address, nets: Sequence[Network]) -> bool:
    return any(one.version == net.version and one in net for net in nets)


def client(peer: str, forwarded_for: Sequence[str], forwarded: Sequence[str], proxies: Sequence[Network]) -> str:
    """The address of who asks: the peer's own, or, where that is a trusted proxy, the last before the proxies.

    The headers are those of the request, in their order. Empty where a trusted proxy says nothing that is understood,
    or the two headers name different addresses: one of them then was written by the client itself.
    """
    own = address(peer)
    if own is None:
        return peer
    if not within(own, proxies):
        return str(own)
    told = [
        _last(own, hops, proxies)
        for hops in (
            [hop for line in forwarded_for for hop in line.split(",")],
            [found[1] for line in forwarded for found in _FOR.finditer(line)],
        )
        if hops
    ]
    if not told:
        return str(own)
    return str(told[0]) if told[0] is not None and all(one == told[0] for one in told) else ""


def _last(peer: Address, hops: Sequence[str], proxies: Sequence[Network]) -> Address | None:
    """The rightmost hop that is no trusted proxy: what stands left of it, anybody may have written."""
    current = peer
    for hop in reversed(hops[-HOPS:]):
        found = _hop(hop)
        if found is None:
            return None
        current = found
        if not within(current, proxies):
            break
    return current


def _hop(text: str) -> Address | None:
    """The address in a hop, without the quotes, brackets and port that it may have."""
    text = text.strip().strip('"')
    if text.startswith("["):
        return address(text[1:].partition("]")[0])
    return address(text.partition(":")[0] if text.count(":") == 1 else text)


def group(text: str) -> str:
    """Whom an address stands for where requests are counted: an IPv6 host has a whole /64 to choose from."""
    found = address(text)
    return str(IPv6Network((found, 64), strict=False)) if isinstance(found, IPv6Address) else text


def is_loopback(text: str) -> bool:
    found = address(text)
    return found is not None and found.is_loopback


def _meant(text: str) -> str:
    try:
        return f"did you mean '{ip_network(text.strip(), strict=False)}'?"
    except ValueError:
        return "write it as in 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32"
