"""What a CREATE asks for, and what it led to: what its steps hand to each other."""

import msgspec

from usmbd.protocol.commands.app_instance import AppInstance
from usmbd.protocol.commands.durable import Asked
from usmbd.protocol.commands.request import Request
from usmbd.protocol.state.fair_share import Place
from usmbd.protocol.state.open import LARGE_FILE
from usmbd.protocol.state.store.records import NO_ID, OpenRecord, file_key
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.resolve import Parent
from usmbd.protocol.vfs.streams import Stream
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.access import FILE_APPEND_DATA, FILE_WRITE_DATA
from usmbd.protocol.wire.create import (
    FILE_CREATE,
    FILE_OPEN_IF,
    FILE_OVERWRITE,
    FILE_OVERWRITE_IF,
    FILE_SUPERSEDE,
    CreateRequest,
)
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_REQUEST_LEASE,
    Contexts,
    LeaseContext,
    parse_lease,
)
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.negotiate import SMB2_DIALECT_300, SMB2_GLOBAL_CAP_LEASING

WRITES = FILE_WRITE_DATA | FILE_APPEND_DATA
TRUNCATES = (FILE_OVERWRITE, FILE_OVERWRITE_IF, FILE_SUPERSEDE)
"""Dispositions that empty an existing file."""

_CREATES = (FILE_CREATE, FILE_OPEN_IF, FILE_OVERWRITE_IF, FILE_SUPERSEDE)


class Wanted(msgspec.Struct, eq=False):
    """What a CREATE asks for: the request, what it names, and its create contexts."""

    request: Request
    body: CreateRequest
    path: str
    """On disk, below the share's root; at first with the token of `time`, if it came by one."""
    stream_name: str | None
    contexts: Contexts
    name: str = ""
    """As the client says it, with its stream."""
    lease: LeaseContext | None = None
    """What the client asks for, if its dialect has it."""
    waited: bool = False
    """Whether it has waited for what others cache."""
    awaited_deletion: bool = False
    """Whether it has waited for a file to be gone."""
    allocation: int = 0
    """Bytes to reserve for what is made or emptied (SMB2_CREATE_ALLOCATION_SIZE)."""
    durable: Asked | None = None
    create_guid: bytes = NO_ID
    """By which the client may ask again; NO_ID: it may not."""
    instance: AppInstance | None = None
    quota_file: bool = False
    """The volume's quotas, for which its root is opened."""
    posix: bool = False
    """By the POSIX extensions."""
    posix_mode: int | None = None
    """And then the permissions of a new file; None: the share's."""
    time: int | None = None
    """Of the previous version that is asked for, in seconds since 1970."""
    volume: Volume | None = None
    """Where the path is: the share's, or a snapshot's once it is open."""
    aapl: tuple[bytes, bytes] | None = None
    """What macOS is answered, if it asks."""
    parent: Parent | None = None
    """Where the name was missing when it was looked up, until it is made."""
    place: Place | None = None
    """Among the worker's descriptors, for the open that this leads to."""

    @property
    def waits_for_descriptor(self) -> bool:
        """Whether what is found may be without the descriptor that another is about to give it."""
        return self.request.tree.share.acl_xattr

    @property
    def creates(self) -> bool:
        """Whether the disposition makes a file where there is none."""
        return self.body.create_disposition in _CREATES

    @property
    def truncates(self) -> bool:
        """Whether the disposition empties the file that is there."""
        return self.body.create_disposition in TRUNCATES

    @property
    def reserves_much(self) -> bool:
        """Whether to reserve what is asked for may take long, and to give it back."""
        return self.allocation > LARGE_FILE and self.stream_name is None

    def keep_parent(self, parent: Parent | None) -> None:
        """Take over the directory of the name that is missing, or let go of it."""
        before, self.parent = self.parent, parent
        if before is not None:
            before.close()

    def keep_contexts(self) -> int:
        """Take the contexts out of the message, which may be given back; return their bytes."""
        self.contexts = {name: bytes(data) for name, data in self.contexts.items()}
        return sum(map(len, self.contexts.values()))


class Found(msgspec.Struct, eq=False):
    """What a create led to, before the store has admitted it."""

    node: Node
    stream: Stream | None
    action: int
    granted: int
    maximal: int
    prepared: FileStat | None = None
    """The stat, when its data are open as they were granted and nothing is left to do."""
    made_file: bool = False
    """Whether the file was made, not only a stream of it."""
    made_at: int = 0
    """Its change time then, by which one tells whether another has written it since."""
    record: OpenRecord | None = None
    """What the store knows of the open, once it is admitted."""
    beside: bool = False
    """Whether others had the file open when it was admitted, and may have changed it until then."""

    @property
    def key(self) -> bytes:
        """The file's or stream's key in the store."""
        stat = self.node.last_stat
        if self.stream is None:
            return file_key(stat.dev, stat.ino)
        exact = self.node.volume.options.case_sensitive
        return file_key(stat.dev, stat.ino, self.stream.name, exact=exact)


def lease_of(request: Request, contexts: Contexts) -> LeaseContext | None:
    """Return the lease that is asked for ([MS-SMB2] 3.3.5.9.8, 3.3.5.9.11); None: as for none."""
    connection = request.connection
    data = contexts.get(SMB2_CREATE_REQUEST_LEASE)
    if data is None or not connection.server_capabilities & SMB2_GLOBAL_CAP_LEASING:
        return None
    lease = parse_lease(data)
    return None if lease.version > 1 and connection.dialect < SMB2_DIALECT_300 else lease
