"""`kernel oplocks`: an oplock stands with a lease of the kernel's, or does not stand.

So local programs and NFS break it as another client does, and wait until the client has answered.
As with smbd only exclusive and batch oplocks are had, by a write lease: a read lease is not given
for a file that is open for writing, by this server's own clients either, so nobody has level II or
an SMB2 lease on such a share.

A lease breaks its own process's opens too, which is no matter: an open that comes by SMB has broken
the oplock, and with it the lease, before it opens the file.
"""

import logging
from collections.abc import Callable
from contextlib import suppress

from usmbd.protocol.state.open import Open
from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.vfs.kernel_lease import LeaseSignals, give_back

log = logging.getLogger("usmbd.oplock")


class KernelOplocks:
    """The kernel's leases on files that clients of this worker have oplocks on."""

    def __init__(self, broken: Callable[[int], None]) -> None:
        """`broken(open)` breaks what an open of this worker has."""
        self._broken = broken
        self._signals: LeaseSignals | None = None
        self._opens: dict[int, int] = {}
        """By descriptor."""
        self._owners: dict[int, tuple[int, Identity]] = {}
        """Descriptor and the file's owner, by open."""
        self.listen: Callable[[int], None] = lambda fd: None
        """Told of the descriptor that is readable when `read` has something to do."""

    def __contains__(self, open_: Open) -> bool:
        """Tell whether an open's oplock stands with a lease."""
        return open_.persistent_id in self._owners

    def place(self, open_: Open) -> bool:
        """Take a lease for an open that has an oplock; False when there is none to be had."""
        node = open_.node
        owner = Identity(node.last_stat.uid, node.last_stat.gid)
        try:
            if self._signals is None:
                self._signals = LeaseSignals()
                self.listen(self._signals.fileno())
            self._signals.take(node.fd, owner)
        except OSError as error:
            log.debug("no kernel lease: %s", error, extra={"path": open_.path})
            return False
        self._opens[node.fd] = open_.persistent_id
        self._owners[open_.persistent_id] = node.fd, owner
        return True

    def lift(self, open_: Open) -> None:
        """Let local programs go on that wait for an open's file: its oplock is lost."""
        fd, owner = self._forget(open_)
        if fd >= 0 and not open_.closed:
            with suppress(OSError):
                give_back(fd, owner)

    def closed(self, open_: Open) -> None:
        """Forget an open, whose lease ends with its descriptor."""
        if self._owners:
            self._forget(open_)

    def _forget(self, open_: Open) -> tuple[int, Identity]:
        """Take an open out of the tables."""
        fd, owner = self._owners.pop(open_.persistent_id, (-1, Identity(0, 0)))
        self._opens.pop(fd, None)
        return fd, owner

    def read(self) -> None:
        """Break the oplocks whose leases the kernel wants back; all, where it lost count."""
        if self._signals is None:
            return
        wanted = self._signals.read()
        for fd in list(self._opens) if wanted is None else wanted:
            open_id = self._opens.get(fd)
            if open_id is not None:
                self._broken(open_id)

    def close(self) -> None:
        """Listen no more."""
        if self._signals is not None:
            self._signals.close()
