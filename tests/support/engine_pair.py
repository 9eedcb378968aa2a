"""Two SMB Direct engines back to back, and the raw messages of a peer that is none."""

import struct
from collections import deque
from collections.abc import Callable

from usmbd.transport.smbdirect.engine import Engine
from usmbd.transport.smbdirect.limits import Limits, Role

HEADER = struct.Struct("<4H3I")

WINDOWS = Limits(send_credit_target=255)
"""Each side asks for as many credits as Windows does, unless something else is said."""


def allocate(size: int) -> memoryview:
    """Give memory that is not zero yet."""
    return memoryview(bytearray(b"\xee" * size))


def request(
    credits: int = 255,
    send: int = 1364,
    receive: int = 1364,
    fragmented: int = 1 << 20,
    versions: tuple[int, int] = (0x100, 0x100),
) -> bytes:
    """Build a Negotiate Request."""
    return struct.pack("<4H3I", *versions, 0, credits, send, receive, fragmented)


def response(
    requested: int = 255,
    granted: int = 255,
    status: int = 0,
    read_write: int = 1 << 20,
    send: int = 1364,
    receive: int = 1364,
    fragmented: int = 1 << 20,
    version: int = 0x100,
) -> bytes:
    """Build a Negotiate Response."""
    sizes = (status, read_write, send, receive, fragmented)
    return struct.pack("<6H5I", 0x100, 0x100, version, 0, requested, granted, *sizes)


def data(
    payload: bytes = b"", granted: int = 0, remaining: int = 0, flags: int = 0, requested: int = 255
) -> bytes:
    """Build a Data Transfer message."""
    offset = 24 if payload else 0
    header = HEADER.pack(requested, granted, flags, 0, remaining, offset, len(payload))
    return header + bytes(4) + payload if payload else header


class Side:
    """An engine, its slots, what travels to it and what it has delivered."""

    def __init__(self, role: Role, limits: Limits, posted: int | None = None) -> None:
        """Post all receives that the limits allow."""
        self.engine = Engine(role, limits, allocate, 0.0)
        self.engine.posted(limits.receive_credit_max if posted is None else posted)
        self.slot = memoryview(bytearray(limits.max_send_size))
        self.incoming: deque[bytes] = deque()
        self.delivered: list[bytes] = []
        self.sent: list[bytes] = []
        self.invalidated: list[int] = []
        self.now = 0.0

    def send(self) -> bytes | None:
        """Take one message from the engine."""
        sent = self.engine.next_send(self.slot, self.now)
        if sent is None:
            return None
        self.invalidated.append(sent.invalidate)
        self.sent.append(bytes(self.slot[: sent.length]))
        self.slot[:] = b"\xdd" * len(self.slot)
        return self.sent[-1]

    def take(self, message: bytes, *, post: bool = True) -> bytes | None:
        """Give one message to the engine."""
        received = bytearray(message)
        whole = self.engine.received(memoryview(received), self.now)
        received[:] = b"\xcc" * len(received)
        if post:
            self.engine.posted(1)
        if whole is None:
            return None
        self.delivered.append(bytes(whole))
        return self.delivered[-1]

    def drain(self) -> list[bytes]:
        """Take all that the engine wants to send."""
        messages = []
        while (message := self.send()) is not None:
            messages.append(message)
        return messages


def established(role: Role = Role.SERVER, limits: Limits | None = None, granted: int = 255) -> Side:
    """Return a side that has negotiated with a raw peer and has `granted` send credits."""
    side = Side(role, limits or WINDOWS)
    if role is Role.CLIENT:
        side.send()
        side.take(response(granted=granted))
    else:
        side.take(request())
        side.send()
        if granted:
            side.take(data(granted=granted))
    return side


Observer = Callable[["Side", bytes], None]


def pump(one: Side, other: Side, observe: Observer = lambda side, message: None) -> int:
    """Move messages until both are silent; return how many there were."""
    count = 0
    moved = True
    while moved:
        moved = False
        for side, peer in ((one, other), (other, one)):
            while (message := side.send()) is not None:
                observe(side, message)
                peer.take(message)
                count += 1
                moved = True
                assert count < 20_000, "they never fall silent"
    return count
