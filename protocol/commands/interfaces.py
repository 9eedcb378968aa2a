"""What FSCTL_QUERY_NETWORK_INTERFACE_INFO tells: this machine's addresses ([MS-SMB2] 2.2.32.5)."""

import array
import fcntl
import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from usmbd.protocol.wire.fsctl_smb2 import NetworkInterface

DEFAULT_SPEED = 1_000_000_000
"""Bits per second told of an interface that does not know its own, as Samba does."""

_SIOCGIFCONF = 0x8912
_IFREQ = 40
_MAXIMUM_INTERFACES = 64
"""IPv4 addresses that are asked for; the answer to the client stays below 16 KiB."""


def network_interfaces(local: str) -> list[NetworkInterface]:
    """Return the addresses that a client may open further channels to.

    Loopback and link-local ones are left out, unless the client came by loopback itself.
    """
    own = ip_address(local.partition("%")[0]) if local not in ("", "unix", "memory") else None
    found = []
    for name, address in addresses():
        if address.is_loopback and not (own is not None and own.is_loopback):
            continue
        if address.is_link_local:
            continue
        found.append(
            NetworkInterface(
                index=socket.if_nametoindex(name), address=address, link_speed=_speed(name)
            )
        )
    return found


def addresses() -> list[tuple[str, IPv4Address | IPv6Address]]:
    """Return (interface, address) of all addresses; the kernel's own tables are the source."""
    found: list[tuple[str, IPv4Address | IPv6Address]] = []
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


def _speed(name: str) -> int:
    """Return an interface's speed in bits per second."""
    try:
        speed = int(Path(f"/sys/class/net/{name}/speed").read_text())
    except (OSError, ValueError):
        return DEFAULT_SPEED
    return speed * 1_000_000 if speed > 0 else DEFAULT_SPEED
