"""The machine's RDMA devices as sysfs shows them, without opening any or having a library."""

from dataclasses import dataclass
from pathlib import Path

from usmbd.transport.smbdirect.provider import LinkType
from usmbd.transport.smbdirect.sysfs import ROOT, gids, listed, read

_RNIC = "4"
"""`node_type` of an iWARP device (RDMA_NODE_RNIC)."""

_ACTIVE = "4"
"""`state` of an active port (IB_PORT_ACTIVE)."""


@dataclass(frozen=True, slots=True)
class FoundPort:
    """One port: `speed` in bits a second (0 unknown), the network interfaces that it carries."""

    number: int
    link_type: LinkType
    active: bool
    speed: int
    interfaces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """One device."""

    name: str
    ports: tuple[FoundPort, ...]

    @property
    def iwarp(self) -> bool:
        """Return whether it is an iWARP device."""
        return any(port.link_type is LinkType.IWARP for port in self.ports)


def devices(root: Path = ROOT, *, interfaces: bool = True) -> list[Found]:
    """Return all devices by name; none where no driver is loaded.

    Without `interfaces` none are looked for, which takes 3,000 system calls with soft-RoCE.
    """
    return [Found(name, _ports(root, name, interfaces)) for name in sorted(listed(root))]


def _ports(root: Path, device: str, interfaces: bool) -> tuple[FoundPort, ...]:
    iwarp = read(root / device / "node_type").startswith(_RNIC)
    ports = root / device / "ports"
    numbers = sorted(int(entry) for entry in listed(ports) if entry.isdecimal())
    return tuple(_port(root, device, number, iwarp, interfaces) for number in numbers)


def _port(root: Path, device: str, number: int, iwarp: bool, interfaces: bool) -> FoundPort:
    directory = root / device / "ports" / str(number)
    if iwarp:
        link_type = LinkType.IWARP
    elif read(directory / "link_layer") == "Ethernet":
        link_type = LinkType.ROCE
    else:
        link_type = LinkType.INFINIBAND
    return FoundPort(
        number=number,
        link_type=link_type,
        active=read(directory / "state").startswith(_ACTIVE),
        speed=_speed(read(directory / "rate")),
        interfaces=_interfaces(root, device, number) if interfaces else (),
    )


def _interfaces(root: Path, device: str, number: int) -> tuple[str, ...]:
    """Return the interfaces that a port carries."""
    found = [gid.interface for gid in gids(device, number, root) if gid.interface]
    return tuple(dict.fromkeys(found or _of_parent(root / device, number)))


def _of_parent(device: Path, number: int) -> list[str]:
    """Return the interfaces of the same hardware's port: InfiniBand's addresses name none."""
    interfaces = device / "device" / "net"
    return [
        name
        for name in sorted(listed(interfaces))
        if read(interfaces / name / "dev_port") == str(number - 1)
    ]


def _speed(rate: str) -> int:
    """Return bits a second of a text such as `2.5 Gb/sec (1X SDR)`."""
    word = rate.partition(" ")[0]
    try:
        return round(float(word) * 1_000_000_000)
    except ValueError:
        return 0
