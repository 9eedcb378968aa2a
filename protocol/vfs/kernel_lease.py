"""fcntl(2) leases: the kernel says when a local program opens a file, which waits meanwhile.

A write lease is to be had while nobody else has the file open. Who opens or truncates it then waits
until the lease is given back, /proc/sys/fs/lease-break-time seconds at most (45), and its holder
gets a signal. The signals are sent to the thread that made `LeaseSignals`, blocked there, and read
from a descriptor: no handler runs anywhere, and no other thread can be ended by one.
"""

import ctypes
import fcntl
import os
import signal
import struct
import threading
from typing import Final

from usmbd.protocol.vfs.identity import Identity, call_as

SIGNAL: Final = signal.SIGRTMIN + 1
"""With a queue of its own, which says of which descriptor it is; so Samba uses it."""

_FULL: Final = signal.SIGIO
"""Sent instead when that queue has no room; it names no descriptor."""

_F_SETOWN_EX: Final = 15
_F_OWNER_TID: Final = 0
_SIGSET_SIZE: Final = 128
_FLAGS: Final = os.O_CLOEXEC | os.O_NONBLOCK
_INFO: Final = struct.Struct("=I16xi104x")  # ssi_signo, ssi_fd of signalfd_siginfo
_AT_ONCE: Final = 64

_libc = ctypes.CDLL(None, use_errno=True)


class LeaseSignals:
    """Takes leases for one thread, and reads which of them the kernel wants back."""

    def __init__(self) -> None:
        """Block the signals in this thread, and read them by a descriptor; OSError."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {SIGNAL, _FULL})
        bits = 1 << SIGNAL - 1 | 1 << _FULL - 1
        mask = ctypes.create_string_buffer(bits.to_bytes(_SIGSET_SIZE, "little"), _SIGSET_SIZE)
        self._fd: int = _libc.signalfd(-1, mask, _FLAGS)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._owner = struct.pack("=ii", _F_OWNER_TID, threading.get_native_id())

    def fileno(self) -> int:
        """Return the descriptor that is readable when a lease has to be given back."""
        return self._fd

    def take(self, fd: int, owner: Identity) -> None:
        """Take a write lease on an open file; OSError (EAGAIN when it is open elsewhere).

        The kernel gives one to the file's owner alone, or to CAP_LEASE, which workers do not have.
        """
        fcntl.fcntl(fd, fcntl.F_SETSIG, SIGNAL)
        fcntl.fcntl(fd, _F_SETOWN_EX, self._owner)
        call_as(owner, fcntl.fcntl, fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)

    def read(self) -> list[int] | None:
        """Return the descriptors whose leases are wanted back; None when some are not known."""
        found: list[int] = []
        unknown = False
        while True:
            try:
                data = os.read(self._fd, _INFO.size * _AT_ONCE)
            except BlockingIOError:
                return None if unknown else found
            for number, fd in _INFO.iter_unpack(data):
                found.append(fd)
                unknown |= number == _FULL

    def close(self) -> None:
        """Read no more."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def give_back(fd: int, owner: Identity) -> None:
    """Give a lease back: who waits to open the file does so; OSError."""
    call_as(owner, fcntl.fcntl, fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
