"""What sysfs knows of an RDMA device's ports and verbs do not tell: their network interfaces."""

from ipaddress import IPv6Address
from pathlib import Path

from usmbd.transport.smbdirect.provider import Gid

ROOT = Path("/sys/class/infiniband")


def gids(device: str, port: int, root: Path = ROOT) -> tuple[Gid, ...]:
    """Return the addresses of a port, in the order of their indexes; empty if it has none.

    A port has one entry for each address and each version of RoCE.
    """
    directory = root / device / "ports" / str(port)
    found = []
    for entry in listed(directory / "gids"):
        address = read(directory / "gids" / entry)
        if address and entry.isdecimal() and (number := int(address.replace(":", ""), 16)):
            interface = read(directory / "gid_attrs" / "ndevs" / entry)
            found.append(Gid(int(entry), str(IPv6Address(number)), interface))
    return tuple(sorted(found, key=lambda gid: gid.index))


def listed(directory: Path) -> list[str]:
    """Return the names in a directory, none if it is not there."""
    try:
        return [path.name for path in directory.iterdir()]
    except OSError:
        return []


def read(path: Path) -> str:
    """Return a file's text; empty when the kernel has nothing to say there (EINVAL)."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
