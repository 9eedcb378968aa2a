"""What stands for one client where limits are counted by address."""

from ipaddress import IPv6Address

IPV6_NETWORK = 64
"""Bits of an IPv6 address that tell clients apart: the rest is free to choose (RFC 4291, 2.5.1)."""


def network(address: str) -> str:
    """Return an IPv4 address, the /64 of an IPv6 address, and what is neither as it is."""
    if ":" not in address:
        return address
    try:
        bits = int(IPv6Address(address.partition("%")[0]))
    except ValueError:
        return address
    return str(IPv6Address(bits >> (128 - IPV6_NETWORK) << (128 - IPV6_NETWORK)))
