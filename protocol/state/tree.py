"""TreeConnect: a session's use of one share ([MS-SMB2] 3.3.1.9)."""

import time
from typing import TYPE_CHECKING, Final

from usmbd.mountd.ipc.settings import ShareConfig, ShareType
from usmbd.protocol.state.fair_share import Place
from usmbd.protocol.state.speed import VolumeSpeed
from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.vfs.machine_domain import MachineDomain
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_ALL_ACCESS,
    FILE_APPEND_DATA,
    FILE_DELETE_CHILD,
    FILE_WRITE_ATTRIBUTES,
    FILE_WRITE_DATA,
    FILE_WRITE_EA,
    WRITE_DAC,
    WRITE_OWNER,
)

if TYPE_CHECKING:
    from usmbd.protocol.state.session import Session

MOST: Final = 65_536
"""Tree connects of a worker, of 1.6 KiB each: all of them are 100 MiB."""

WRITING = (
    FILE_WRITE_DATA
    | FILE_APPEND_DATA
    | FILE_WRITE_EA
    | FILE_WRITE_ATTRIBUTES
    | FILE_DELETE_CHILD
    | DELETE
    | WRITE_DAC
    | WRITE_OWNER
)
"""The rights that change something: nobody has them on a share that he may only read."""


class TreeConnect:
    """One tree connect; names as in [MS-SMB2] 3.3.1.9.

    `volume` is None for IPC$. File operations run as `identity` (after `force user`).
    """

    __slots__ = (
        "aapl",
        "asked_name",
        "audits",
        "closed",
        "copies_files",
        "created",
        "domain",
        "durable_owner",
        "identity",
        "lists_finder_info",
        "nfs_aces",
        "place",
        "posix_renames",
        "revoked",
        "server_name",
        "session",
        "share",
        "speed",
        "tree_id",
        "volume",
        "writable",
        "zero_file_ids",
    )

    def __init__(
        self,
        session: "Session",
        tree_id: int,
        share: ShareConfig,
        volume: Volume | None,
        speed: VolumeSpeed,
        identity: Identity,
        writable: bool,
        server_name: str,
        asked_name: str,
        place: Place | None = None,
    ) -> None:
        """Keep what the connect decided, and the place that it has among the worker's."""
        self.session = session
        self.tree_id = tree_id
        self.share = share
        self.volume = volume
        self.speed = speed
        self.identity = identity
        self.writable = writable
        self.server_name = server_name
        self.asked_name = asked_name  # of the share, as the client has it: `homes` is many shares
        self.audits = False  # its user holds SeSecurityPrivilege
        self.place = place
        self.closed = False  # ended, perhaps while a request of it waited
        self.revoked = False  # ended because its user may not any more
        self.durable_owner = b""  # of its durable opens, once there is one
        self.created = time.time()
        self.domain: MachineDomain | None = None
        self.aapl = False  # a macOS client has said by AAPL that it is one
        self.copies_files = False  # a COPYCHUNK without chunks copies a file with its streams
        self.nfs_aces = False  # DACLs tell owner, group and mode, and set the mode
        self.posix_renames = False  # a directory is renamed while files below it are open
        self.zero_file_ids = False  # and is not told FileIds
        self.lists_finder_info = False  # and wants listings to tell what Finder shows

    def use(self, share: ShareConfig, volume: Volume | None, speed: VolumeSpeed) -> None:
        """Have other settings of its share hold for what it opens from now on."""
        self.share, self.volume, self.speed = share, volume, speed
        self.durable_owner = b""  # which may survive no more

    def end(self) -> None:
        """Let no request find it any more, and others have its place."""
        self.closed = True
        if self.place is not None:
            self.place.give_back()

    def disk_path(self, path: str) -> str:
        """Return where a path below the share is on the machine."""
        return f"{self.share.path}/{path}"

    @property
    def maximal_access(self) -> int:
        """What may be granted on this share at most ([MS-SMB2] 3.3.1.9 MaximalAccess)."""
        return FILE_ALL_ACCESS if self.writable else FILE_ALL_ACCESS & ~WRITING

    @property
    def administers(self) -> bool:
        """Whether its user is root here (`admin users`)."""
        return self.identity.uid == 0

    @property
    def is_pipe(self) -> bool:
        """Whether this is IPC$."""
        return self.share.type is ShareType.PIPE
