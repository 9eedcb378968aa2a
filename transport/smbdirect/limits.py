"""What an SMB Direct connection is given and what it has negotiated ([MS-SMBD] 3.1.1.1)."""

from dataclasses import dataclass
from enum import Enum

MIN_RECEIVE_SIZE = 128
"""No peer may take less in one message, [MS-SMBD] 3.1.5.6: a smaller result is raised to it."""

MIN_FRAGMENTED_SIZE = 131072
"""No peer may take less in one fragmented message, [MS-SMBD] 3.1.5.6 and 3.1.5.7."""

MIN_CREDITS = 3
"""With fewer receives than two credits and one in reserve, two idle peers would answer each
other's grants for ever: every grant uses up a credit itself."""

FIRST_RECEIVE_SIZE = 512
"""Receives are posted before the negotiation and have to be so long, [MS-SMBD] 3.1.7.2."""

MAX_U16 = 0xFFFF
MAX_U32 = 0xFFFFFFFF


class ProtocolError(Exception):
    """The connection has to be ended; the text says why."""


class Role(Enum):
    """Which side of the connection this is (`Connection.Role` before it is ESTABLISHED)."""

    CLIENT = "ACTIVE"
    SERVER = "PASSIVE"


@dataclass(frozen=True, slots=True)
class Limits:
    """What is asked for and allowed on a connection: sizes in bytes, times in seconds.

    The defaults are Windows' ([MS-SMBD] 7, <3> and <8>) but for `send_credit_target` and
    `max_receive_size`. Values that the protocol cannot carry raise ValueError.
    """

    receive_credit_max: int = 255
    """`Connection.ReceiveCreditMax`: receives the peer may be granted; post no more than these."""

    send_credit_target: int = 253
    """`Connection.SendCreditTarget`: send credits that the peer is asked for in every message.

    Windows asks for 255. Linux 6.12 posts as many receives, to a completion queue of 255 entries:
    when it disconnects, all of them and one more to wait for come back, and if none is taken off
    meanwhile the queue overflows and the umount hangs (seen on soft-RoCE: "rxe_cq_post: queue
    full", then cifsd in ib_drain_rq for ever). 254 would just fit, and one is left free."""

    max_send_size: int = 1364
    """`Connection.MaxSendSize`: what fits into one InfiniBand or RoCE packet beside its headers."""

    max_receive_size: int = 1364
    """`Connection.MaxReceiveSize`. Windows takes 8192, but neither it nor Linux sends more than
    1364, and 255 receives are registered for each connection: 340 KiB instead of 2 MiB."""

    max_fragmented_size: int = 1 << 20
    """`Connection.MaxFragmentedRecvSize`: memory that one message of the peer may take."""

    max_read_write_size: int = 8 << 20
    """`Connection.MaxReadWriteSize`: bytes of one direct transfer."""

    keepalive_interval: float = 120.0
    """`Connection.KeepaliveInterval`: a peer that has been silent for so long is asked."""

    keepalive_timeout: float = 5.0
    """How long it then has to answer ([MS-SMBD] 7 <4>)."""

    negotiation_timeout: float | None = None
    """How long the negotiation may take; None: 5 s for a server ([MS-SMBD] 3.1.7.2), 120 s for a
    client (3.1.4.1)."""

    def __post_init__(self) -> None:
        """Refuse what could not be sent, or what would stall a connection."""
        for name, least, most in (
            ("receive_credit_max", MIN_CREDITS, MAX_U16),
            ("send_credit_target", 1, MAX_U16),
            ("max_send_size", MIN_RECEIVE_SIZE, MAX_U32),
            ("max_receive_size", FIRST_RECEIVE_SIZE, MAX_U32),
            ("max_fragmented_size", MIN_FRAGMENTED_SIZE, MAX_U32),
            ("max_read_write_size", 1, MAX_U32),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} is {value}, which is not from {least} to {most}")


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What both sides agreed on ([MS-SMBD] 3.1.4.7); sizes in bytes."""

    max_send_size: int
    """Longest message that may be sent, header and payload."""

    max_receive_size: int
    """Longest message that the peer may send."""

    max_fragmented_send_size: int
    """Longest upper message that the peer puts together again."""

    max_fragmented_receive_size: int
    """Longest upper message that the peer may send."""

    max_read_write_size: int
    """Longest direct transfer: a server's own limit, for a client the smaller of both."""
