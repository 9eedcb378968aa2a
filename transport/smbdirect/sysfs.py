"""What sysfs knows of an RDMA device's ports and verbs do not tell: their network interfaces."""

import os
from ipaddress import IPv6Address
from pathlib import Path

from usmbd.transport.smbdirect.provider import Gid

ROOT = Path("/sys/class/infiniband")

_NONE = ":".join(["0000"] * 8)
"""What is in an entry that is free."""

_ENTRY_LIMIT = 64
"""Bytes of a file: an address has 40 with its end of line."""


def gids(device: str, port: int, root: Path = ROOT) -> tuple[Gid, ...]:
    """Return the addresses of a port, in the order of their indexes; empty if it has none.

    A port has one entry for each address and each version of RoCE.
    """
    directory = root / device / "ports" / str(port)
    found = []
    for entry, address in _filled(directory / "gids"):
        if entry.isdecimal():
            interface = read(directory / "gid_attrs" / "ndevs" / entry)
            number = int(address.replace(":", ""), 16)
            found.append(Gid(int(entry), str(IPv6Address(number)), interface))
    return tuple(sorted(found, key=lambda gid: gid.index))


def _filled(directory: Path) -> list[tuple[str, str]]:
    """Return the entries of a table of addresses that are not free.

    soft-RoCE's has 1,024, of which a few are filled, anywhere; a worker reads it when a client asks
    for the server's interfaces. So each costs three system calls here, and not `read`'s ten.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return []
    found = []
    try:
        for entry in os.listdir(descriptor):
            try:
                file = os.open(entry, os.O_RDONLY, dir_fd=descriptor)
            except OSError:
                continue  # the device has gone
            try:
                address = os.read(file, _ENTRY_LIMIT).decode().strip()
            except OSError:
                continue  # older kernels say so of a free one
            finally:
                os.close(file)
            if address and address != _NONE:
                found.append((entry, address))
    finally:
        os.close(descriptor)
    return found


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
