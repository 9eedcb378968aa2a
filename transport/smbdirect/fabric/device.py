"""RDMA in memory: devices, queue pairs and registered memory without hardware or kernel.

It stands in for a device where there is none (tests, CI) and is stricter than one: every key,
bound and access is checked, and data of a READ is taken as late as the rules of InfiniBand
(Architecture Specification, volume 1, chapters 9.5 and 10.8) allow.

Work moves as soon as it is posted; after `pause` it moves only by `step`. There is no clock
and no thread.
"""

from itertools import count

from usmbd.transport.smbdirect.attributes import Attributes, Mask, State
from usmbd.transport.smbdirect.fabric.queue_pair import FabricQueuePair
from usmbd.transport.smbdirect.provider import (
    Access,
    DeviceError,
    DeviceLimits,
    Gid,
    LinkType,
    Port,
    RegistrationError,
)

LIMITS = DeviceLimits(
    max_queue_pair_work_requests=1024,
    max_send_segments=4,
    max_read_segments=4,
    max_completions=4096,
    max_memory_region=1 << 30,
    max_initiator_depth=16,
    max_responder_resources=16,
)
"""Modest on purpose: what works here works on every device of the last fifteen years."""

_FIRST_ADDRESS = 0x7000_0000_0000
_GUARD = 1 << 20
"""Unregistered addresses between two regions: a stray offset never lands in the next one."""

_FIRST_QUEUE_PAIR = 0x11
_MASKS: dict[State, Mask] = {
    State.INIT: Mask.STATE | Mask.PORT | Mask.PKEY_INDEX | Mask.ACCESS_FLAGS,
    State.RTR: Mask.STATE | Mask.AV | Mask.PATH_MTU | Mask.DEST_QPN | Mask.MAX_DEST_RD_ATOMIC,
    State.RTS: Mask.STATE | Mask.RNR_RETRY | Mask.MAX_QP_RD_ATOMIC | Mask.TIMEOUT,
}


class FabricMemory:
    """A registered region of a fabric's device; `invalidated` once a SEND has ended its key."""

    def __init__(
        self, device: "FabricDevice", address: int, key: int, length: int, access: Access
    ) -> None:
        """Take `length` zeroed bytes at `address`, known by `key` (local) and `key` + 1."""
        self._device = device
        self.view = memoryview(bytearray(length))
        self.address = address
        self.local_key = key
        self.remote_key = key + 1
        self.access = access
        self.invalidated = False
        self.registered = True

    def slice(self, address: int, length: int) -> memoryview | None:
        """Return the bytes at `address`, or None when they are not all in the region."""
        start = address - self.address
        if start < 0 or start + length > len(self.view):
            return None
        return self.view[start : start + length]

    def deregister(self) -> None:
        """Take it back; RuntimeError while posted work refers to it."""
        if self.registered:
            self._device.forget(self)
            self.registered = False


class FabricDevice:
    """A device of a fabric; its regions are reached through its own queue pairs alone."""

    def __init__(
        self, fabric: "Fabric", name: str, limits: DeviceLimits, registration_limit: int | None
    ) -> None:
        """Attach to `fabric`; `registration_limit` bounds the registered bytes (RLIMIT_MEMLOCK)."""
        self.fabric = fabric
        self.name = name
        self.limits = limits
        self.registration_limit = registration_limit
        self.closed = False
        self.queue_pairs: list[FabricQueuePair] = []
        self.local: dict[int, FabricMemory] = {}
        """Registered regions by local key."""
        self.by_remote_key: dict[int, FabricMemory] = {}
        """Registered regions by remote key."""

    @property
    def registered_bytes(self) -> int:
        """Return how much memory is registered."""
        return sum(len(memory.view) for memory in self.local.values())

    def ports(self) -> tuple[Port, ...]:
        """Return one active port without addresses."""
        gid = Gid(0, "::", "")
        return (Port(1, LinkType.ROCE, True, 10_000_000_000, 4096, (gid,)),)

    def register(self, length: int, access: Access) -> FabricMemory:
        """Return `length` bytes of registered memory, or raise RegistrationError."""
        self.check_open()
        if not 0 < length <= self.limits.max_memory_region:
            most = self.limits.max_memory_region
            raise RegistrationError(f"{self.name}: a region has 1 to {most} bytes, not {length}")
        limit = self.registration_limit
        if limit is not None and self.registered_bytes + length > limit:
            raise RegistrationError(
                f"{self.name}: {length} bytes more than the {self.registered_bytes} registered"
                f" pass the limit of {limit}"
            )
        if self.limits.exposes_read_sinks and access & Access.READ_SINK:
            access |= Access.LOCAL_WRITE | Access.REMOTE_WRITE
        address, key = self.fabric.reserve(length)
        memory = FabricMemory(self, address, key, length, access)
        self.local[memory.local_key] = memory
        self.by_remote_key[memory.remote_key] = memory
        return memory

    def forget(self, memory: FabricMemory) -> None:
        """Drop a region; RuntimeError while posted work refers to it."""
        for queue_pair in self.queue_pairs:
            if queue_pair.refers_to(memory.local_key):
                raise RuntimeError(
                    f"{self.name}: queue pair {queue_pair.number} still has work in the region"
                )
        self.local.pop(memory.local_key, None)
        self.by_remote_key.pop(memory.remote_key, None)

    def queue_pair(
        self, send_depth: int, receive_depth: int, *, send_segments: int = 1
    ) -> FabricQueuePair:
        """Return a queue pair in the state RESET, or raise DeviceError beyond the limits."""
        self.check_open()
        limits = self.limits
        if not 0 < max(send_depth, receive_depth) <= limits.max_queue_pair_work_requests:
            raise DeviceError(
                f"{self.name}: {send_depth} sends and {receive_depth} receives, at most"
                f" {limits.max_queue_pair_work_requests} of each"
            )
        if send_depth + receive_depth > limits.max_completions:
            raise DeviceError(
                f"{self.name}: {send_depth + receive_depth} completions pass the limit of"
                f" {limits.max_completions}"
            )
        if not 0 < send_segments <= limits.max_send_segments:
            raise DeviceError(
                f"{self.name}: {send_segments} segments, at most {limits.max_send_segments}"
            )
        queue_pair = FabricQueuePair(self, send_depth, receive_depth, send_segments)
        self.queue_pairs.append(queue_pair)
        self.fabric.attach(queue_pair)
        return queue_pair

    def check_open(self) -> None:
        """Raise DeviceError when the device is closed."""
        if self.closed:
            raise DeviceError(f"{self.name}: the device is closed")

    def close(self) -> None:
        """Close its queue pairs, drop its regions."""
        for queue_pair in list(self.queue_pairs):
            queue_pair.close()
        for memory in list(self.local.values()):
            memory.deregister()
        self.closed = True


class Fabric:
    """Devices that reach each other."""

    def __init__(self) -> None:
        """Begin without devices, moving work at once."""
        self.devices: list[FabricDevice] = []
        self.paused = False
        self._queue_pairs: dict[int, FabricQueuePair] = {}
        self._numbers = count(_FIRST_QUEUE_PAIR)
        self._keys = count(0x1000, 0x100)
        self._address = _FIRST_ADDRESS
        self._turn: list[FabricQueuePair] = []
        self._moving = False

    def device(
        self,
        name: str = "",
        limits: DeviceLimits = LIMITS,
        registration_limit: int | None = None,
    ) -> FabricDevice:
        """Return a new device."""
        name = name or f"fabric{len(self.devices)}"
        device = FabricDevice(self, name, limits, registration_limit)
        self.devices.append(device)
        return device

    def connect(
        self,
        first: FabricQueuePair,
        second: FabricQueuePair,
        *,
        rnr_retry: int = 0,
        reads: int = 16,
    ) -> None:
        """Bring both queue pairs from RESET to ready to send, connected to each other.

        `rnr_retry` is how often a SEND tries again without a posted receive (7 = for ever; the
        Linux client asks for 0), `reads` how many RDMA READs each side may have under way.
        """
        for state in (State.INIT, State.RTR, State.RTS):
            for one, other in ((first, second), (second, first)):
                if one.state < state:
                    change = self.attributes(state, other.number, rnr_retry=rnr_retry, reads=reads)
                    one.modify(*change)

    @staticmethod
    def attributes(
        state: State, destination: int = 0, *, rnr_retry: int = 0, reads: int = 16
    ) -> tuple[bytes, int]:
        """Return what `rdma_init_qp_attr` would give for `state`: the structure and its mask."""
        attributes = Attributes(
            qp_state=state,
            dest_qp_num=destination,
            rnr_retry=rnr_retry,
            max_rd_atomic=reads,
            max_dest_rd_atomic=reads,
        )
        return bytes(attributes), int(_MASKS.get(state, Mask.STATE))

    def pause(self) -> None:
        """Let nothing move but by `step`."""
        self.paused = True

    def resume(self) -> None:
        """Move what waits, and from now on whatever is posted."""
        self.paused = False
        self.kick()

    def step(self, steps: int = 1, queue_pair: FabricQueuePair | None = None) -> int:
        """Move up to `steps` operations, of `queue_pair` or of all in turn; return how many.

        One operation is a message or WRITE, the request of a READ, or the answer to one.
        """
        for moved in range(steps):
            if not (queue_pair.advance() if queue_pair else self._advance_next()):
                return moved
        return steps

    def kick(self) -> None:
        """Move all that can move, unless paused."""
        if self.paused or self._moving:
            return
        self._moving = True
        try:
            while self._advance_next():
                pass
        finally:
            self._moving = False

    def leaks(self) -> list[str]:
        """Return what is still open, registered or posted, a line each; empty is clean."""
        found = []
        for device in self.devices:
            for queue_pair in device.queue_pairs:
                found.append(
                    f"{device.name}: queue pair {queue_pair.number} is open with"
                    f" {queue_pair.posted_sends} sends and {queue_pair.posted_receives} receives"
                )
            for memory in device.local.values():
                found.append(f"{device.name}: {len(memory.view)} bytes are registered")
        return found

    def find(self, number: int) -> FabricQueuePair | None:
        """Return the queue pair `number`, None when there is none (any more)."""
        return self._queue_pairs.get(number)

    def reserve(self, length: int) -> tuple[int, int]:
        """Return a fresh address for `length` bytes and a fresh local key."""
        address = self._address
        self._address += -(-(length + _GUARD) // _GUARD) * _GUARD
        return address, next(self._keys)

    def next_number(self) -> int:
        """Return a queue pair number never used before."""
        return next(self._numbers)

    def attach(self, queue_pair: FabricQueuePair) -> None:
        """Make a queue pair reachable."""
        self._queue_pairs[queue_pair.number] = queue_pair
        self._turn.append(queue_pair)

    def detach(self, queue_pair: FabricQueuePair) -> None:
        """Make a queue pair unreachable."""
        if self._queue_pairs.pop(queue_pair.number, None):
            self._turn.remove(queue_pair)

    def _advance_next(self) -> bool:
        """Let the next queue pair that can move do so; it goes to the end of the turn."""
        turn = self._turn
        for index, queue_pair in enumerate(turn):
            if queue_pair.advance():
                turn.append(turn.pop(index))
                return True
        return False
