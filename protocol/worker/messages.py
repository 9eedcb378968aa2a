"""What the supervisor and a worker say to each other, over a SOCK_SEQPACKET pair.

msgpack-encoded tagged structs; `Adopt` comes with the client's socket as ancillary data.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from usmbd.mountd.ipc.messages import ConnectionRow, ListKind, OpenRow, SessionRow
from usmbd.mountd.ipc.settings import ServerConfig

FIRST_MESSAGE_LIMIT = 32 * 1024
"""Bytes of a client's first message, which the supervisor reads to find its ClientGuid: a
NEGOTIATE with all contexts that exist stays below 2 KiB."""

MESSAGE_LIMIT = 128 * 1024
"""Bytes of one message here; the kernel's default socket buffer takes 208 KiB."""

ROWS = 128
"""Rows of one `Rows`: a row has at most a few hundred bytes."""


class Start(msgspec.Struct, tag=True):
    """To a worker, once: who it is and what it serves."""

    worker: int
    guid: bytes
    config: ServerConfig


class Configure(msgspec.Struct, tag=True):
    """To a worker: a new configuration; listeners and the number of workers stay."""

    config: ServerConfig


class Adopt(msgspec.Struct, tag=True):
    """To a worker: serve this client, whose socket comes along; `first` was read from it."""

    connection: int
    first: Annotated[bytes, Meta(max_length=FIRST_MESSAGE_LIMIT + 4)]


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


class Ready(msgspec.Struct, tag=True):
    """From a worker: it serves."""


class Ended(msgspec.Struct, tag=True):
    """From a worker: a connection that it had adopted is over."""

    connection: int


class Rows(msgspec.Struct, tag=True):
    """From a worker: a part of its tables."""

    cookie: int
    rows: list[SessionRow | ConnectionRow | OpenRow]
    more: bool


ToWorker = Start | Configure | Adopt | Debug | Drain | List
FromWorker = Ready | Ended | Rows

encode = msgspec.msgpack.Encoder().encode
decode_to_worker = msgspec.msgpack.Decoder(ToWorker).decode
decode_from_worker = msgspec.msgpack.Decoder(FromWorker).decode
