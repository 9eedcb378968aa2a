"""Who is at the other end of a Unix socket: what its mode allows is not asked."""

import os
import socket
import struct
from collections.abc import Iterable

CREDENTIALS = struct.Struct("3i")
"""struct ucred (unix(7)): pid, uid, gid."""

CREDENTIALS_SPACE = socket.CMSG_SPACE(CREDENTIALS.size)
"""Bytes of ancillary data of a datagram's sender; descriptors that come along find no room."""


def peer(connection: socket.socket) -> tuple[int, int]:
    """Return pid and uid of the process at the other end, or of the one that listened there."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, uid, _ = CREDENTIALS.unpack(data)
    return pid, uid


def peer_uid(connection: socket.socket) -> int:
    """Return the uid of that process."""
    return peer(connection)[1]


def sender_uid(ancillary: Iterable[tuple[int, int, bytes]]) -> int | None:
    """Return the uid of a datagram's sender (SO_PASSCRED); None where the kernel did not say it."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            return int(CREDENTIALS.unpack(data)[1])
    return None


def is_ours(uid: int | None) -> bool:
    """Tell whether the uid is root's or this process's, whom alone the server's processes trust."""
    return uid is not None and uid in (0, os.getuid())
