"""`hosts allow` and `hosts deny`: which addresses may connect.

Written as in smb.conf: addresses, networks (`10.0.0.0/8`, `10.0.0.0/255.0.0.0`), prefixes
(`127.`), names, `ALL`, and `EXCEPT` between a list and its exceptions. Names are resolved when
the configuration is read, not looked up backwards: the owner of an address could name it as he
likes. This machine itself (127.0.0.1, ::1) is allowed unless `hosts deny` names it, as in Samba.
"""

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class HostList:
    """Networks, and the exceptions from them."""

    networks: tuple[Network, ...] = ()
    exceptions: tuple[Network, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.networks)

    def matches(self, address: Address) -> bool:
        """Return whether the address is meant."""
        return _within(address, self.networks) and not _within(address, self.exceptions)


EMPTY = HostList()
_THIS_MACHINE = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))


def _within(address: Address, networks: tuple[Network, ...]) -> bool:
    """Return whether the address is in one of the networks."""
    return any(address in network for network in networks)


def parse_address(text: str) -> Address:
    """Return the address without its scope, an IPv4 one when it is mapped; ValueError if none."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def resolve(name: str) -> list[Address]:
    """Return the addresses of a name; ValueError when it has none now."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{name!r} is no address, and no host of this name is known") from error
    return [parse_address(str(entry[4][0])) for entry in found]


def _prefix(word: str) -> list[Network]:
    """Return the network of a prefix such as `10.` or `192.168.7.`."""
    parts = word[:-1].split(".")
    if len(parts) > 3:
        raise ValueError(f"{word!r} is no prefix of an address")
    padded = ".".join([*parts, *["0"] * (4 - len(parts))])
    return [ipaddress.ip_network(f"{padded}/{8 * len(parts)}")]


def networks(word: str, resolver: Callable[[str], list[Address]] = resolve) -> list[Network]:
    """Return what one word of a list means; ValueError when it means nothing."""
    if word.upper() == "ALL":
        return [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    if word[0] in "@.":
        raise ValueError(f"{word!r}: usmbd has neither netgroups nor domains in host lists")
    if word[-1] == "." and word[0].isdigit():
        return _prefix(word)
    if "/" in word:
        return [ipaddress.ip_network(word, strict=False)]
    try:
        addresses = [parse_address(word)]
    except ValueError:
        addresses = resolver(word)
    return [ipaddress.ip_network(address) for address in addresses]


def parse_hosts(words: list[str], resolver: Callable[[str], list[Address]] = resolve) -> HostList:
    """Return the list that the words mean; ValueError when one of them means nothing."""
    upper = [word.upper() for word in words]
    if upper.count("EXCEPT") > 1:
        raise ValueError("EXCEPT occurs twice")
    split = upper.index("EXCEPT") if "EXCEPT" in upper else len(words)
    listed, excepted = words[:split], words[split + 1 :]
    if split < len(words) and not (listed and excepted):
        raise ValueError("EXCEPT stands between two lists")
    return HostList(
        tuple(network for word in listed for network in networks(word, resolver)),
        tuple(network for word in excepted for network in networks(word, resolver)),
    )


def is_allowed(client: str, allow: HostList, deny: HostList) -> bool:
    """Return whether a client may connect: allowed before denied, as in Samba.

    With `hosts allow` alone all others are denied; without either list nobody is.
    """
    if not allow and not deny:
        return True
    try:
        address = parse_address(client)
    except ValueError:
        # Not an internet address (a test's memory transport): only lists can keep it out.
        return False
    if allow and allow.matches(address):
        return True
    if address in _THIS_MACHINE:
        return not deny.matches(address)
    if deny:
        return not deny.matches(address)
    return False
