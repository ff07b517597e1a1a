"""Which addresses are never asked."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

_METADATA = ip_address("fd00:ec2::254")


def is_metadata(address: str) -> bool:
    """Whether an address is link-local: clouds hand out a machine's credentials there (169.254.169.254)."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        return found.ipv4_mapped.is_link_local
    return found.is_link_local or found == _METADATA
