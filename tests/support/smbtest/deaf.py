"""A TCP client whose network is cut, as its server sees it, without a network to cut."""

import ctypes
import socket
import struct

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27


def make_deaf(sock: socket.socket, *, deaf: bool = True) -> None:
    """Have the kernel drop each packet that comes for a socket, unacknowledged, from now on.

    By a socket filter of one instruction, "return 0"; whoever has the socket may set one.
    """
    if not deaf:
        sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        return
    program = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))
    sock.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(program))
    )
