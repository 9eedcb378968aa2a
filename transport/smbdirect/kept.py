"""The memory that a connection keeps for its peer: a message that has begun, replies that wait."""

from usmbd.transport.base import Transport
from usmbd.transport.smbdirect.backlog import Backlog
from usmbd.transport.smbdirect.engine import Engine
from usmbd.transport.smbdirect.send_order import SendOrder

UNMETERED_SIZE = 1 << 16
"""Bytes of each that are not counted, as by TCP: most messages are smaller."""


class Kept:
    """Tells the transport's meter what is kept, so that what never ends has a bound."""

    __slots__ = ("_bytes", "_engine", "_meter", "_send_order", "_transport")

    def __init__(self, transport: Transport, engine: Engine, send_order: SendOrder) -> None:
        """Begin with nothing."""
        self._transport = transport
        self._engine = engine
        self._send_order = send_order
        self._meter = transport.meter
        self._bytes = 0

    def room(self, size: int) -> bool:
        """Tell whether there is memory for a message that begins."""
        return size <= UNMETERED_SIZE or self._transport.meter.room(size)

    def hand_over(self, message: memoryview, backlog: Backlog) -> bool:
        """Have a whole message wait, where it counts from now on; False when that is too much."""
        self.count()
        return backlog.add(message)

    def count(self) -> None:
        """Count what is kept now."""
        held, queued = self._engine.held_bytes, self._send_order.queued_bytes
        kept = 0
        if held > UNMETERED_SIZE:
            kept = held
        if queued > UNMETERED_SIZE:
            kept += queued
        if kept != self._bytes:
            self._count(kept)

    def clear(self) -> None:
        """Keep nothing any more."""
        if self._bytes:
            self._count(0)

    def _count(self, kept: int) -> None:
        """Count by the meter, which is another once the upper layer knows the connection."""
        self._meter.keep(-self._bytes)
        self._meter, self._bytes = self._transport.meter, kept
        self._meter.keep(kept)

    @property
    def progress(self) -> tuple[int, int] | None:
        """What changes with every 64 KiB that arrive or leave; None when nothing is kept."""
        if not self._bytes:
            return None
        return self._engine.missing_bytes >> 16, self._send_order.queued_bytes >> 16
