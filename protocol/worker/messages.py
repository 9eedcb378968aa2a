"""What the supervisor and a worker say to each other, over a SOCK_SEQPACKET pair.

msgpack-encoded tagged structs; `Adopt` comes with the client's socket as ancillary data.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from usmbd.mountd.ipc.messages import ListKind, Row
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.state.standing import Standing

FIRST_MESSAGE_LIMIT = 32 * 1024
"""Bytes of a client's first message, which the supervisor reads to find its ClientGuid: a
NEGOTIATE with all contexts that exist stays below 2 KiB."""

FIRST_MESSAGE_SECONDS = 15.0
"""A client that has not sent its NEGOTIATE by then is closed; by RDMA, it has as long again to be
connected first."""

MESSAGE_LIMIT = 128 * 1024
"""Bytes of one message here; the kernel's default socket buffer takes 208 KiB."""

STORE_DIRECTORY = "store"
"""Below the state directory."""

ROWS = 128
"""Rows of one `Rows`: a row has at most a few hundred bytes."""

ATTRIBUTES = 144
"""Bytes of `ibv_qp_attr`."""


class Start(msgspec.Struct, tag=True):
    """To a worker, once: who it is and what it serves."""

    worker: int
    guid: bytes
    config: ServerConfig
    rdma: list[str] = []
    """Names of the RDMA devices to open."""


class Configure(msgspec.Struct, tag=True):
    """To a worker: a new configuration; listeners and the number of workers stay."""

    config: ServerConfig


class Listening(msgspec.Struct, tag=True):
    """To a worker: the addresses that TCP clients can come to; None: all."""

    addresses: list[str] | None


class Adopt(msgspec.Struct, tag=True):
    """To a worker: serve this client, whose socket comes along; `first` was read from it."""

    connection: int
    first: Annotated[bytes, Meta(max_length=FIRST_MESSAGE_LIMIT + 4)]


class Dismiss(msgspec.Struct, tag=True):
    """To a worker: close a connection that it had adopted, unless its standing is a higher one."""

    connection: int
    reason: str
    standing: Standing = Standing.USER


class Debug(msgspec.Struct, tag=True):
    """To a worker: switch debug messages."""

    areas: list[str]
    enable: bool


class Drain(msgspec.Struct, tag=True):
    """To a worker: close all connections and end."""


class List(msgspec.Struct, tag=True):
    """To a worker: send its tables; answered by `Rows` with the same cookie."""

    cookie: int
    kinds: list[ListKind]


class Close(msgspec.Struct, tag=True):
    """To a worker: end those of these sessions, close those of these opens that it has."""

    sessions: list[int]
    opens: list[tuple[int, int]]
    """(session, open)."""


class Ping(msgspec.Struct, tag=True):
    """To a worker: is its loop alive? Answered by `Pong`."""


class QueuePairState(msgspec.Struct, array_like=True):
    """What brings a queue pair to its next state: `ibv_qp_attr` and its mask."""

    attributes: Annotated[bytes, Meta(min_length=ATTRIBUTES, max_length=ATTRIBUTES)]
    mask: int


class RdmaServed(msgspec.Struct, tag=True):
    """To a worker: on which RDMA devices clients are served; `reason` if none can come (now)."""

    devices: list[str]
    reason: str
    addresses: list[str] | None = None
    """Those that RDMA clients can come to; None: all."""


class RdmaOffer(msgspec.Struct, tag=True):
    """To a worker: make a queue pair for this client.

    The answer is `RdmaAccept`, or `RdmaRefused` and `Ended`.
    `read_depth` is how many RDMA READs the client answers at a time.
    """

    connection: int
    device: str
    peer: str
    local: str
    read_depth: int
    states: list[QueuePairState]


class RdmaDisconnected(msgspec.Struct, tag=True):
    """To a worker: the client is gone."""

    connection: int
    reason: str


class RdmaClaimed(msgspec.Struct, tag=True):
    """To a worker: whether the client of an `RdmaClaim` is its own; if not, it comes again."""

    connection: int
    granted: bool


class Ready(msgspec.Struct, tag=True):
    """From a worker: it serves; `rdma` says of each device why it cannot be used, if it cannot."""

    rdma: dict[str, str] = {}


class Pong(msgspec.Struct, tag=True):
    """From a worker: it is."""


class Ended(msgspec.Struct, tag=True):
    """From a worker: a connection that it had adopted or was offered is over."""

    connection: int


class Admitted(msgspec.Struct, tag=True):
    """From a worker: somebody has logged in on a connection, or a share has let a guest in."""

    connection: int
    standing: Standing


class Rows(msgspec.Struct, tag=True):
    """From a worker: a part of its tables."""

    cookie: int
    rows: list[Row]
    more: bool


class RdmaAccept(msgspec.Struct, tag=True):
    """From a worker: the queue pair is ready, with this number of RDMA READs at a time."""

    connection: int
    qp_number: int
    read_depth: int


class RdmaClaim(msgspec.Struct, tag=True):
    """From a worker: an RDMA client's ClientGuid; answered by `RdmaClaimed`."""

    connection: int
    guid: Annotated[bytes, Meta(min_length=16, max_length=16)]


class RdmaRefused(msgspec.Struct, tag=True):
    """From a worker: why an RDMA client was never served; `Ended` comes as for any other."""

    connection: int
    reason: str


RdmaToWorker = RdmaServed | RdmaOffer | RdmaDisconnected | RdmaClaimed
RdmaFromWorker = RdmaAccept | RdmaClaim | RdmaRefused
ToWorker = (
    Start
    | Configure
    | Listening
    | Adopt
    | Dismiss
    | Debug
    | Drain
    | List
    | Close
    | Ping
    | RdmaToWorker
)
FromWorker = Ready | Pong | Ended | Admitted | Rows | RdmaFromWorker

encode = msgspec.msgpack.Encoder().encode
decode_to_worker = msgspec.msgpack.Decoder(ToWorker).decode
decode_from_worker = msgspec.msgpack.Decoder(FromWorker).decode
