"""What the supervisor and the door say to each other, over a SOCK_SEQPACKET pair.

msgpack-encoded tagged structs. `Serve` comes with a listening socket as ancillary data, `Client`
with the client's.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from usmbd.protocol.worker.messages import FIRST_MESSAGE_LIMIT

GUID_SIZE = 16
MESSAGE_LIMIT = FIRST_MESSAGE_LIMIT + 1024
"""Bytes of one message."""


class Log(msgspec.Struct, tag=True):
    """To the door: how much to log, and in which form."""

    level: int
    as_json: bool
    debug: list[str]
    """The areas whose debug messages are wanted."""


class Serve(msgspec.Struct, tag=True):
    """To the door: accept from this listening socket, known by a number from now on."""

    listener: int


class Leave(msgspec.Struct, tag=True):
    """To the door: accept from it no more."""

    listener: int


class Ask(msgspec.Struct, tag=True):
    """To the door, now and then: say how it is there."""


class State(msgspec.Struct, tag=True):
    """From the door: how many clients are there, of how many that may be."""

    places: int
    used: int
    displaced: int


class Client(msgspec.Struct, tag=True):
    """From the door: a client whose first message is complete."""

    guid: Annotated[bytes, Meta(min_length=GUID_SIZE, max_length=GUID_SIZE)]
    first: Annotated[bytes, Meta(max_length=FIRST_MESSAGE_LIMIT + 4)]


ToDoor = Log | Serve | Leave | Ask
FromDoor = State | Client

_encoder = msgspec.msgpack.Encoder()
_to_door: msgspec.msgpack.Decoder[ToDoor] = msgspec.msgpack.Decoder(ToDoor)
_from_door: msgspec.msgpack.Decoder[FromDoor] = msgspec.msgpack.Decoder(FromDoor)


def encode(message: ToDoor | FromDoor) -> bytes:
    """Return the bytes of a message."""
    return _encoder.encode(message)


def decode_to_door(data: bytes) -> ToDoor:
    """Read what the supervisor sent; `codec.UNREADABLE`."""
    return _to_door.decode(data)


def decode_from_door(data: bytes) -> FromDoor:
    """Read what the door sent, which parses what strangers sent; `codec.UNREADABLE`."""
    return _from_door.decode(data)
