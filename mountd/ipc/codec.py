"""Bytes to messages and back, with a limit on size; no I/O.

A socket's two ends differ only in which messages they send and which they accept::

    codec = Codec(MountdResponse)            # the engine's end
    sock.send(codec.encode(7, LoginRequest(...)))
    handle, answer = codec.decode(sock.recv(RECEIVE_SIZE))

`CodecError` is the one error: whoever sees it closes that connection and no other.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Generic, TypeVar

import msgspec

from usmbd.mountd.ipc.accounts import DirectoryRequest, DirectoryResponse
from usmbd.mountd.ipc.messages import (
    ControlRequest,
    ControlResponse,
    Envelope,
    Message,
    MountdRequest,
    MountdResponse,
    RpcAnswer,
    RpcRequest,
)

# Room for one RPC fragment (64 KiB) or 65536 groups of 3 to 5 bytes would be 320 KiB; the kernel
# sends at most the socket's buffer (212992 by default) in one SEQPACKET message. 128 KiB holds
# all that occurs: 20000 groups, or twice the largest RPC data.
MAX_MESSAGE_SIZE = 128 * 1024
# One byte more than is allowed: a longer message is seen without MSG_TRUNC.
RECEIVE_SIZE = MAX_MESSAGE_SIZE + 1

T = TypeVar("T", bound=Message, covariant=True)


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises where bytes are no message, whatever they are."""


class CodecError(ValueError):
    """A message that is too long, malformed, of an unknown kind, or out of its limits."""


class Codec(Generic[T]):
    """One end of a socket that accepts the messages of one union."""

    def __init__(self, accepted: Any) -> None:
        """Compile the decoder for `accepted`, a union of messages."""
        self._decoder: msgspec.msgpack.Decoder[Envelope[T]] = msgspec.msgpack.Decoder(
            Envelope[accepted]
        )
        self._encoder = msgspec.msgpack.Encoder()

    def encode(self, handle: int, message: Message) -> bytes:
        """Return the bytes of one message; `CodecError` when it is too long to be accepted."""
        data = self._encoder.encode(Envelope(handle, message))
        if len(data) > MAX_MESSAGE_SIZE:
            raise CodecError(f"{type(message).__name__} has {len(data)} bytes")
        return data

    def decode(self, data: bytes | bytearray | memoryview) -> tuple[int, T]:
        """Return the handle and the message; `CodecError` when it is not one that is accepted."""
        if not 0 < len(data) <= MAX_MESSAGE_SIZE:
            raise CodecError(f"a message of {len(data)} bytes or more")
        try:
            envelope = self._decoder.decode(data)
        except UNREADABLE as error:
            raise CodecError(str(error)) from error
        return envelope.handle, envelope.message


@cache
def mountd_server() -> Codec[MountdRequest]:
    """Return mountd's end of `mountd.sock`."""
    return Codec(MountdRequest)


@cache
def mountd_client() -> Codec[MountdResponse]:
    """Return the engine's end of `mountd.sock`."""
    return Codec(MountdResponse)


@cache
def rpc_server() -> Codec[RpcRequest]:
    """Return the RPC process' end of `rpc.sock`."""
    return Codec(RpcRequest)


@cache
def rpc_client() -> Codec[RpcAnswer]:
    """Return the engine's end of `rpc.sock`."""
    return Codec(RpcAnswer)


@cache
def directory_server() -> Codec[DirectoryRequest]:
    """Return mountd's end of the pair by which the RPC process asks it."""
    return Codec(DirectoryRequest)


@cache
def directory_client() -> Codec[DirectoryResponse]:
    """Return the RPC process' end of that pair."""
    return Codec(DirectoryResponse)


@cache
def control_server() -> Codec[ControlRequest]:
    """Return the supervisor's end of `control.sock`."""
    return Codec(ControlRequest)


@cache
def control_client() -> Codec[ControlResponse]:
    """Return `usmbd.control`'s end of `control.sock`."""
    return Codec(ControlResponse)


_OF_SERVERS: tuple[Callable[[], object], ...] = (
    *(mountd_server, mountd_client, rpc_server, rpc_client),
    *(directory_server, directory_client, control_server),
)


def compile_all() -> None:
    """Compile what a server's processes need, once for all that are forked from this one."""
    for codec in _OF_SERVERS:
        codec()
