"""What a command handler takes and gives.

A handler is a plain function, or a generator where it may have to wait::

    def close(request: Request) -> Answer: ...

    def flush(request: Request) -> Handling:
        yield Blocking(request.open.node.flush)
        return FlushResponse().pack()

What it may yield is in `protocol.effects`.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from usmbd.protocol.effects import Resume, Waiting
from usmbd.protocol.wire.header import Command, Header
from usmbd.protocol.wire.status import NtStatus
from usmbd.transport.base import Part

if TYPE_CHECKING:
    from usmbd.protocol.compression.transform import Payloads
    from usmbd.protocol.crypto.signing import Signer
    from usmbd.protocol.dispatch.compound import Chain
    from usmbd.protocol.state.connection import Connection
    from usmbd.protocol.state.open import Open
    from usmbd.protocol.state.replays import CreateGuid
    from usmbd.protocol.state.session import Session
    from usmbd.protocol.state.tree import TreeConnect


class Disconnect(Exception):
    """The client broke the protocol in a way that is answered by closing the connection."""


class Reply:
    """A body with a status other than SUCCESS, or with an effect on how it is sent."""

    __slots__ = ("parts", "status")

    def __init__(self, parts: Sequence[Part], status: NtStatus = NtStatus.SUCCESS) -> None:
        """Answer `status` with a body (not an ERROR Response)."""
        self.parts = parts
        self.status = status


class CompressedReply(Reply):
    """A body whose last part leaves compressed, once the whole is signed."""

    __slots__ = ("payloads",)

    def __init__(self, parts: Sequence[Part], payloads: "Payloads") -> None:
        """Answer with a body, of which `payloads` is the last part."""
        super().__init__(parts)
        self.payloads = payloads


class NoReply:
    """The request is answered by nothing (CANCEL), or the connection is to be closed."""


Answer = bytes | list[Part] | Reply | NoReply
"""What a handler returns: a body whole or in parts (status SUCCESS), or one of the classes."""


Handling = Waiting[Answer]
"""A handler that may wait: see `protocol.effects`."""


class Request:
    """One command of one message, on its way through preconditions, handler and reply.

    `message` begins at the SMB2 header and ends with this element of the compound.
    """

    create_guid: "CreateGuid"
    """Of a CREATE that can be sent again, once it has begun; other requests do not have it."""

    __slots__ = (
        "async_id",
        "cancel",
        "chain",
        "connection",
        "counted",
        "create_guid",
        "generator",
        "header",
        "invalidate",
        "kept",
        "message",
        "on_reply",
        "open",
        "resume",
        "sealed",
        "session",
        "signer",
        "tree",
        "waits",
    )

    def __init__(self, connection: "Connection", header: Header, message: memoryview) -> None:
        """Begin with what the wire says."""
        self.connection = connection
        self.header = header
        self.message = message
        # What its row of the dispatch table promises is there when its handler runs. No properties:
        # an open that is made and closed asks for its tree connect eleven times.
        self.session: Session = None  # type: ignore[assignment]
        self.tree: TreeConnect = None  # type: ignore[assignment]
        self.open: Open = None  # type: ignore[assignment]
        self.sealed: Session | None = None  # whose key encrypted it, and encrypts the reply
        self.signer: Signer | None = None  # signs the reply, as the request was signed
        self.async_id = 0
        self.generator: Handling | None = None
        self.resume: Resume[object] | None = None
        self.cancel: Callable[[], None] | None = None
        self.chain: Chain | None = None
        self.invalidate = 0  # token of the client's memory that the final reply gives back
        self.on_reply: Callable[..., None] | None = None  # sees the parts of the final reply
        self.kept = 0  # bytes that count as under way while it is suspended
        self.counted: Open | None = None  # where it counts as outstanding, once it has waited
        self.waits = -1  # bytes beside its own that count as waiting; -1: it does not wait

    def disconnect(self, reason: str) -> NoReturn:
        """End the connection instead of an answer."""
        raise Disconnect(reason)

    @property
    def signs(self) -> bool:
        """Whether `signer` signs the reply; within encryption that to a login's end alone.

        [MS-SMB2] 3.3.5.5.3; Samba's clients look for it there, too (smbtorture 4.25).
        """
        return self.sealed is None or self.header.command == Command.SESSION_SETUP

    @property
    def plain(self) -> bool:
        """Whether the reply leaves as it is: neither signed nor encrypted, nor in a compound."""
        return self.signer is None and self.sealed is None and self.chain is None
