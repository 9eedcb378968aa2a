"""How deep a connection's queues are: what we would like, cut to what the device can do."""

from dataclasses import dataclass, replace
from typing import Self

from usmbd.transport.smbdirect.limits import MIN_CREDITS, Limits
from usmbd.transport.smbdirect.provider import Device, DeviceError, DeviceLimits, QueuePair

SENDS = 128
"""Slots for messages on their way: 170 KiB of payload, more than travels at 100 Gbit/s in the
20 us of a round trip, for 176 KiB of registered memory a connection."""

WRITES = 64
"""RDMA WRITEs on their way: one for each buffer of the client, which mostly gives one a READ."""

READS = 16
"""RDMA READs on their way, the most that any current device answers at once."""

SEGMENTS = 4
"""Pieces of memory that one RDMA WRITE gathers, where the device can: mostly there is one."""

MARKERS = 1
"""Room for what is posted last, and tells that everything before it has ended."""

LEAST_SENDS = 16
"""With a shorter send queue the device is not usable."""


@dataclass(frozen=True, slots=True)
class Depths:
    """Counts of work requests of one connection, by what they are for."""

    receives: int
    sends: int
    writes: int
    reads: int
    segments: int
    """Pieces of memory that one RDMA WRITE may gather."""

    @property
    def send_queue(self) -> int:
        """Return how deep the send queue has to be for all of them."""
        return self.sends + self.writes + self.reads + MARKERS

    @classmethod
    def fit(cls, limits: Limits, device: DeviceLimits) -> Self:
        """Return what the device can do of what we want; DeviceError when that is too little."""
        most = device.max_queue_pair_work_requests
        receives = min(limits.receive_credit_max, most, device.max_completions // 2)
        room = min(most, device.max_completions - receives)
        if receives < MIN_CREDITS or room < LEAST_SENDS:
            raise DeviceError(
                f"the device's queues are too short: {most} work requests and"
                f" {device.max_completions} completions a connection"
            )
        reads = min(READS, device.max_initiator_depth, room // 8)
        writes = min(WRITES, room // 4)
        sends = min(SENDS, room - reads - writes - MARKERS)
        return cls(receives, sends, writes, reads, min(SEGMENTS, device.max_send_segments))


def fitted(limits: Limits, depths: Depths) -> Limits:
    """Return `limits` with no more receives than the queue has room for."""
    return replace(limits, receive_credit_max=depths.receives)


def open_queue_pair(device: Device, limits: Limits) -> QueuePair:
    """Return a queue pair, in its first state, that fits a connection with these limits."""
    depths = Depths.fit(limits, device.limits)
    return device.queue_pair(depths.send_queue, depths.receives, send_segments=depths.segments)
