"""What the fork server is asked for: by the supervisor for any process, by mountd for RPC's.

`Fork` goes with descriptors; to mountd `Forked` comes with one of the process, whose parent it is
not.
"""

import msgspec

MESSAGE_LIMIT = 65536
"""Bytes of a message: a worker's has two numbers, mountd's the paths of two files."""

MAXIMUM_DESCRIPTORS = 4

RPC = "rpc"
"""The one kind of process that mountd may ask for."""


class Fork(msgspec.Struct):
    """Fork a process of this kind; descriptors come with the message."""

    kind: str
    arguments: list[str]
    options: list[str] = []
    """Each is followed by the number of the next descriptor."""
    streams: list[int] = []
    """What the descriptors after those become: 0 standard input, 1 output, 2 error."""
    more: bool = False
    """The supervisor's next one is forked together with it."""


class Forked(msgspec.Struct):
    """The process is there; or `error` says (errno) why not."""

    pid: int = 0
    error: int = 0


encode = msgspec.msgpack.Encoder().encode
decode_fork = msgspec.msgpack.Decoder(Fork).decode
decode_forked = msgspec.msgpack.Decoder(Forked).decode
