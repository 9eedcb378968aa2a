"""Addresses of this machine: those to listen on, and what clients are told of them.

The latter is FSCTL_QUERY_NETWORK_INTERFACE_INFO ([MS-SMB2] 2.2.32.5).
"""

import array
import fcntl
import os
import socket
import struct
from collections.abc import Container, Mapping
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.wire.fsctl_smb2 import RDMA_CAPABLE, RSS_CAPABLE, NetworkInterface

DEFAULT_SPEED = 1_000_000_000
"""Bits per second told of an interface that does not know its own, as Samba does."""

NET = Path("/sys/class/net")

Address = IPv4Address | IPv6Address

_SIOCGIFCONF = 0x8912
_IFREQ = 40
_MAXIMUM_INTERFACES = 64
"""IPv4 addresses that are asked for; the answer to the client stays below 16 KiB."""

_MAXIMUM_DEPTH = 8
"""Interfaces upon interfaces that are followed: a VLAN of a bridge of a bond needs three."""


def network_interfaces(
    local: str,
    rdma: Mapping[str, int] | None = None,
    served: Container[Address] | None = None,
    root: Path = NET,
    rdma_served: Container[Address] | None = None,
) -> list[NetworkInterface]:
    """Return the addresses that a client may open further channels to.

    `rdma` has the speed of each interface on whose hardware SMB Direct is served, `served` the
    addresses that are listened on, `rdma_served` those by RDMA; None: all. Loopback and link-local
    addresses are left out, unless the client came by loopback itself.

    An address with RDMA comes twice: as Windows tells of it, and without RDMA, because Linux
    opens channels by TCP only to what is not RDMA-capable.
    """
    own = ip_address(local.partition("%")[0]) if local not in ("", "unix", "memory") else None
    found = []
    for name, address in addresses():
        by_rdma = bool(rdma) and (rdma_served is None or address in rdma_served)
        if served is not None and address not in served:
            continue
        if address.is_loopback and not (own is not None and own.is_loopback):
            continue
        if address.is_link_local:
            continue
        below = carriers(name, root)
        speeds = [rdma[carrier] for carrier in below if by_rdma and rdma and carrier in rdma]
        rss = RSS_CAPABLE if any(queues(carrier, root) > 1 for carrier in below) else 0
        found += [
            NetworkInterface(
                index=socket.if_nametoindex(name),
                address=address,
                link_speed=_speed(below, root) or max(speeds, default=0) or DEFAULT_SPEED,
                capability=capability,
            )
            for capability in ((RDMA_CAPABLE | rss, rss) if speeds else (rss,))
        ]
    return found


def served_addresses(config: ServerConfig) -> list[Address] | None:
    """Return the addresses to listen on (`bind interfaces only`); None: all there are."""
    if not (config.bind_interfaces_only and config.interfaces):
        return None
    chosen: dict[Address, None] = {}
    known = addresses()
    for text in config.interfaces:
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            # `eth*` as Samba has it; a name without wildcards matches itself.
            found = [a for name, a in known if fnmatchcase(name, text) and not a.is_link_local]
        else:
            found = [a for _, a in known if a in network]
            if not found and network.num_addresses == 1:
                found = [ip_address(text)]
        chosen.update(dict.fromkeys(found))
    return list(chosen)


def parse_addresses(texts: list[str] | None) -> frozenset[Address] | None:
    """Return the addresses; None for None: all."""
    return None if texts is None else frozenset(map(ip_address, texts))


def addresses() -> list[tuple[str, Address]]:
    """Return (interface, address) of all addresses; the kernel's own tables are the source."""
    found: list[tuple[str, Address]] = []
    buffer = array.array("B", bytes(_IFREQ * _MAXIMUM_INTERFACES))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("iL", len(buffer), buffer.buffer_info()[0])
        (length,) = struct.unpack_from("i", fcntl.ioctl(sock.fileno(), _SIOCGIFCONF, request))
    data = buffer.tobytes()
    for start in range(0, length, _IFREQ):
        name = data[start : start + 16].split(b"\0", 1)[0].decode()
        found.append((name.partition(":")[0], IPv4Address(data[start + 20 : start + 24])))
    try:
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    except OSError:
        return found
    for line in lines[:_MAXIMUM_INTERFACES]:
        text, *_, name = line.split()
        found.append((name, IPv6Address(bytes.fromhex(text))))
    return found


def carriers(name: str, root: Path = NET) -> list[str]:
    """Return the interface and those that carry it, upper ones first.

    A VLAN, bond or bridge lies on others, to which it has links named `lower_`.
    """
    found, layer = [name], [name]
    for _ in range(_MAXIMUM_DEPTH):
        layer = [
            link.name.removeprefix("lower_")
            for upper in layer
            for link in sorted((root / upper).glob("lower_*"))
        ]
        layer = [lower for lower in dict.fromkeys(layer) if lower not in found]
        found += layer
    return found


def queues(name: str, root: Path = NET) -> int:
    """Return how many receive queues an interface has: several cores then share its work."""
    return sum(1 for _ in (root / name / "queues").glob("rx-*"))


def _speed(names: list[str], root: Path) -> int:
    """Return the first speed that one of the interfaces knows, in bits per second; 0: none."""
    for name in names:
        try:
            speed = int((root / name / "speed").read_text())
        except (OSError, ValueError):
            continue
        if speed > 0:
            return speed * 1_000_000
    return 0


def host_name() -> str:
    """Return this machine's name for the target information of NTLM."""
    return os.uname().nodename.split(".")[0]
