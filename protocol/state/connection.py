"""Connection: one transport connection of a client ([MS-SMB2] 3.3.1.7)."""

import itertools
import time
from typing import TYPE_CHECKING

from usmbd.mountd.ipc.network import network
from usmbd.protocol.compression.transform import Compression
from usmbd.protocol.crypto.preauth import PreauthHash
from usmbd.protocol.state.memory import ConnectionMemory
from usmbd.protocol.state.sequence import SequenceWindow
from usmbd.protocol.state.standing import Standing
from usmbd.transport.base import RdmaTransport, Transport

if TYPE_CHECKING:
    from usmbd.protocol.commands.request import Request
    from usmbd.protocol.crypto.signing import Signer
    from usmbd.protocol.state.server import Server
    from usmbd.protocol.state.session import Session

UNAUTHENTICATED_LIMIT = 128 * 1024
"""Bytes a client may send in one message before a user has logged in, or a share with files let a
stranger in: a NEGOTIATE with all its contexts is below 1 KiB, a Kerberos ticket with a large PAC
below 64 KiB."""

MAXIMUM_ENDED = 16
"""Ended sessions of a connection whose refusals are signed: their clients ask soon, or never."""

HALF_OPEN_SIZE = 8 * 1024
"""Bytes that a login under way counts for beside what any waiting request does: its messages, which
have up to 6 KiB after the first step, and what is known of the session."""

MESSAGE_SLACK = 128 * 1024
"""Bytes of a message beside its payload: headers, compounded requests, create contexts."""

MAXIMUM_COMPOUND_REPLY = 15 << 20
"""Bytes of the replies of one compound: a frame holds 16 MiB. A longer one (60 READs of 8 MiB would
be possible) gets INSUFFICIENT_RESOURCES in its place."""

COMPOUND_SLACK = 64 * 1024
"""Bytes of a message by RDMA that are left for the headers and small replies of a compound: 512
errors take 40 KiB of at least 128 KiB."""

REPLY_SLACK = 256
"""Bytes of one reply beside its payload, and more: a transform header, a header, a fixed part."""

READ_SLACK = 52 + 64 + 16
"""Bytes of the reply to a READ beside its data. No more: a Linux client that signs or seals asks
for all that it can put together but the 164 bytes of a WRITE."""

SEGMENT_SLACK = 256 + 16
"""Bytes of a compressed part beside its payload ([MS-SMB2] 3.3.5.2.1.2)."""

CREDIT_SIZE = 65536
"""Bytes that one credit stands for: sizes that are announced are multiples of it."""


class Connection:
    """What the server knows of one connection; names as in [MS-SMB2] 3.3.1.7."""

    __slots__ = (
        "__weakref__",
        "_counted",
        "_requests_noted",
        "acknowledges",
        "async_command_list",
        "async_ids",
        "cipher_id",
        "client_capabilities",
        "client_guid",
        "client_security_mode",
        "closed",
        "compression",
        "created",
        "credit_window",
        "dialect",
        "dialects",
        "ended_signers",
        "half_open",
        "last_request",
        "max_compound_reply",
        "max_inline_read",
        "max_read_size",
        "max_transact_size",
        "max_write_size",
        "memory",
        "multi_protocol",
        "negotiated",
        "network",
        "posix_extensions",
        "preauth",
        "preauth_sessions",
        "rdma",
        "rdma_transform_ids",
        "requests",
        "server",
        "server_capabilities",
        "server_security_mode",
        "session_table",
        "signing_algorithm_id",
        "supports_multi_credit",
        "transport",
    )

    def __init__(self, server: "Server", transport: Transport) -> None:
        """Begin a connection that has negotiated nothing."""
        self.server = server
        self.transport = transport
        self.rdma = transport if isinstance(transport, RdmaTransport) else None
        """The transport where it is RDMA: the one place that asks which it is."""
        self.network = network(transport.peer)  # what limits count it by
        self.dialect = 0
        self.dialects: tuple[int, ...] = ()
        self.negotiated = False
        self.posix_extensions = False  # negotiated: a CREATE may ask for them
        self.multi_protocol = False  # answered "SMB 2.???": a second NEGOTIATE follows
        self.client_guid = bytes(16)
        self.client_capabilities = 0
        self.client_security_mode = 0
        self.server_capabilities = 0
        self.server_security_mode = 0
        self.cipher_id = 0
        self.compression: Compression | None = None  # what is negotiated, if anything
        self.signing_algorithm_id = 0
        self.supports_multi_credit = False
        self.max_transact_size = self.max_read_size = self.max_write_size = CREDIT_SIZE
        self.max_inline_read = CREDIT_SIZE  # a READ's, if its data comes in the reply
        self.max_compound_reply = MAXIMUM_COMPOUND_REPLY
        self.rdma_transform_ids: tuple[int, ...] = ()
        self.preauth = PreauthHash()
        self.preauth_sessions: dict[int, PreauthHash] = {}
        self.credit_window = SequenceWindow(server.config.smb2_max_credits)
        self.session_table: dict[int, Session] = {}
        self.ended_signers: dict[int, Signer] = {}  # of sessions that were valid here
        self.half_open: dict[int, Session] = {}  # whose login has begun, the oldest first
        self._counted: set[int] = set()  # those that count as memory
        self.async_command_list: dict[int, Request] = {}  # AsyncId -> the waiting request
        self.async_ids = itertools.count(1)
        self.memory = transport.meter = ConnectionMemory(server.memory, self.network)
        self.acknowledges = True  # False: a test has it taken for a network that is cut
        self.requests = self._requests_noted = 0
        self.created = self.last_request = time.time()
        self.closed = False

    def set_sizes(self, read: int, write: int, transact: int) -> None:
        """Set the sizes that are announced, as far as the transport admits them.

        By RDMA a READ or WRITE moves as much as one direct transfer does. What comes in a reply
        must fit the message that the peer puts together ([MS-SMBD] 3.1.4.2): else it could not
        be sent. A READ for more than that without a channel is refused like one above
        MaxReadSize, never cut short: clients take less than they asked for as the file's end.
        """
        rdma = self.rdma
        if rdma is not None:
            read = min(read, rdma.max_remote_length)
            write = min(write, rdma.max_remote_length)
            room = rdma.max_message - REPLY_SLACK
            transact = min(transact, room - room % CREDIT_SIZE)
            self.max_inline_read = min(read, rdma.max_message - READ_SLACK)
            self.max_compound_reply = rdma.max_message - COMPOUND_SLACK
        else:
            self.max_inline_read = read
        self.max_read_size, self.max_write_size, self.max_transact_size = read, write, transact

    def keep_reads_inline(self) -> None:
        """Announce what a READ can bring in a reply, where data may not go by RDMA.

        That is where the server insists on encryption and the client has no transform for data
        by RDMA. Linux then asks for MaxReadSize inline, and does not ask for less when refused.
        """
        if self.max_inline_read < self.max_read_size:
            self.max_read_size = self.max_inline_read - self.max_inline_read % CREDIT_SIZE

    def begin_login(self, session: "Session") -> bool:
        """Keep a session whose login begins; False when too much of this client's waits.

        Strangers' are bounded by their number: who has begun many must not keep others out.
        """
        if self.admitted:
            if not self.memory.wait(HALF_OPEN_SIZE):
                return False
            self._counted.add(session.session_id)
        self.half_open[session.session_id] = session
        self.session_table[session.session_id] = session
        return True

    def session_ended(self, session_id: int, signer: "Signer | None") -> None:
        """Forget a session, but not the key of its channel: its client would believe no refusal.

        As Samba does; the document has no key for what is not there ([MS-SMB2] 3.3.5.2.9).
        """
        self.session_table.pop(session_id, None)
        self.preauth_sessions.pop(session_id, None)
        self.end_login(session_id)
        if signer is not None:
            if len(self.ended_signers) >= MAXIMUM_ENDED:
                del self.ended_signers[next(iter(self.ended_signers))]
            self.ended_signers[session_id] = signer

    def end_login(self, session_id: int) -> None:
        """Count a session no more as half-open: its login has ended, in whatever way."""
        self.half_open.pop(session_id, None)
        if session_id in self._counted:
            self._counted.discard(session_id)
            self.memory.waited(HALF_OPEN_SIZE)

    def admit(self, standing: Standing) -> None:
        """Be a stranger's no more: a user has logged in, or a share has let a stranger in."""
        if standing > self.memory.standing:
            self.memory.rise(standing)
            self.server.connection_admitted(self)

    @property
    def standing(self) -> Standing:
        """As whom limits know it."""
        return self.memory.standing

    @property
    def admitted(self) -> bool:
        """Whether a user has logged in here, or a share with files has let a stranger in."""
        return self.memory.standing > Standing.STRANGER

    @property
    def message_limit(self) -> int:
        """The longest message that the client may send now."""
        if not self.admitted:
            return UNAUTHENTICATED_LIMIT
        return max(self.max_write_size, self.max_transact_size) + MESSAGE_SLACK

    @property
    def segment_limit(self) -> int:
        """The most that the compressed part of a message may stand for (3.3.5.2.1.2)."""
        largest = max(self.max_read_size, self.max_write_size, self.max_transact_size)
        return largest + SEGMENT_SLACK

    @property
    def facts(self) -> dict[str, str]:
        """Whose connection it is, for the log."""
        return {"client": self.transport.peer}

    def note_activity(self) -> None:
        """Set `last_request` if requests came since the last call; no request pays for a clock."""
        if self.requests != self._requests_noted:
            self._requests_noted = self.requests
            self.last_request = time.time()
