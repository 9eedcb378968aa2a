"""Two connected queue pairs of a fabric, each with one region, for the tests."""

from usmbd.transport.smbdirect.fabric.device import LIMITS, Fabric, FabricDevice, FabricMemory
from usmbd.transport.smbdirect.fabric.queue_pair import FabricQueuePair
from usmbd.transport.smbdirect.provider import Access, Completion, DeviceLimits, Segment

ALL = Access.LOCAL_WRITE | Access.REMOTE_WRITE | Access.REMOTE_READ
REGION = 65536


class Side:
    """One device, its region and its queue pair."""

    def __init__(self, device: FabricDevice, send_depth: int, receive_depth: int) -> None:
        """Open all of it; the queue pair is not connected."""
        self.device = device
        self.memory: FabricMemory = device.register(REGION, ALL)
        self.queue_pair: FabricQueuePair = device.queue_pair(
            send_depth, receive_depth, send_segments=device.limits.max_send_segments
        )

    def segment(self, offset: int, length: int) -> Segment:
        """Return a stretch of the region."""
        return Segment(self.memory.address + offset, length, self.memory.local_key)

    def put(self, offset: int, data: bytes) -> Segment:
        """Write `data` into the region and return where."""
        self.memory.view[offset : offset + len(data)] = data
        return self.segment(offset, len(data))

    def get(self, offset: int, length: int) -> bytes:
        """Return bytes of the region."""
        return bytes(self.memory.view[offset : offset + length])

    def poll(self) -> list[Completion]:
        """Return all completions."""
        return self.queue_pair.poll(1000)

    def close(self) -> None:
        """Close it in the order that a connection uses."""
        self.queue_pair.fail()
        self.queue_pair.close()
        self.memory.deregister()


class Pair:
    """A fabric with two sides, `server` and `client`, connected."""

    def __init__(
        self,
        *,
        limits: DeviceLimits = LIMITS,
        send_depth: int = 16,
        receive_depth: int = 16,
        rnr_retry: int = 0,
        reads: int = 4,
    ) -> None:
        """Open and connect both; `rnr_retry` and `reads` as `Fabric.connect`."""
        self.fabric = Fabric()
        self.server = Side(self.fabric.device("server", limits), send_depth, receive_depth)
        self.client = Side(self.fabric.device("client", limits), send_depth, receive_depth)
        self.fabric.connect(
            self.server.queue_pair, self.client.queue_pair, rnr_retry=rnr_retry, reads=reads
        )

    def close(self) -> None:
        """Close both sides; nothing is left."""
        self.server.close()
        self.client.close()
        assert self.fabric.leaks() == []
