"""What an RDMA device gives to a connection: memory, queue pairs, completions.

`verbs.py` implements it on a real device, `fabric/` in memory. Everything here is used by
one thread and nothing blocks. The model is that of InfiniBand's verbs ("work requests" are
posted to a "queue pair", "completions" are polled), reduced to what SMB Direct needs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, IntFlag, StrEnum
from functools import partial
from typing import NamedTuple, Protocol


class DeviceError(Exception):
    """The device, or the software that drives it, refused; the text says what and why."""


class RegistrationError(DeviceError):
    """Memory could not be registered; the text says the reason and what raises the limit."""


class Unavailable(DeviceError):
    """There is no RDMA on this machine (no library, no device, no right); the text says why."""


class QueueFull(DeviceError):
    """More was posted than the queue pair was made for: a fault of the caller's counting."""


class Access(IntFlag):
    """What registered memory may be used for; reading it locally is always allowed."""

    NONE = 0
    LOCAL_WRITE = 1
    REMOTE_WRITE = 2
    REMOTE_READ = 4
    READ_SINK = 8
    """Data of our RDMA READs may be placed in it. Only iWARP tells this from LOCAL_WRITE: there
    the answer to a READ is a write by the peer, and the key of the memory travels to it. The peer
    may then write all of the region whenever it wants: see `DeviceLimits.exposes_read_sinks`."""


class Opcode(Enum):
    """What a completion was about."""

    SEND = "send"
    RECEIVE = "receive"
    WRITE = "RDMA write"
    READ = "RDMA read"


class Status(StrEnum):
    """How a work request ended, in the order (and nearly the words) of `ibv_wc_status`."""

    SUCCESS = "success"
    LOCAL_LENGTH = "local length error"
    LOCAL_QUEUE_PAIR = "local queue pair operation error"
    LOCAL_END_TO_END = "local EE context operation error"
    LOCAL_PROTECTION = "local protection error"
    FLUSHED = "flushed"
    MEMORY_WINDOW = "memory window bind error"
    BAD_RESPONSE = "bad response"
    LOCAL_ACCESS = "local access error"
    REMOTE_REQUEST = "remote invalid request"
    REMOTE_ACCESS = "remote access error"
    REMOTE_OPERATION = "remote operation error"
    RETRY_EXCEEDED = "transport retries exceeded: the peer does not answer"
    RECEIVER_NOT_READY = "receiver not ready: the peer had posted no receive"
    LOCAL_DOMAIN = "local RDD violation"
    REMOTE_DATAGRAM = "remote invalid RD request"
    ABORTED = "aborted"
    BAD_CONTEXT_NUMBER = "invalid EE context number"
    BAD_CONTEXT_STATE = "invalid EE context state"
    FATAL = "fatal device error"
    RESPONSE_TIMEOUT = "response timeout"
    GENERAL = "general error"


class Segment(NamedTuple):
    """A stretch of registered local memory."""

    address: int
    length: int
    local_key: int


class Completion(NamedTuple):
    """One work request has ended.

    `opcode` is None unless `ok`, as a device does not say what failed; `length` counts bytes of
    a RECEIVE or READ and is 0 otherwise. After the first failure the queue pair is in its error
    state, and all else that was posted comes back as `Status.FLUSHED`.
    """

    id: int
    ok: bool
    opcode: Opcode | None
    length: int
    status: Status


# A named tuple's constructor is a function of Python; these take half of its time.
make_segment: Callable[[tuple[int, int, int]], Segment] = partial(tuple.__new__, Segment)
"""(address, length, local key) -> Segment."""

make_completion: Callable[[tuple[int, bool, Opcode | None, int, Status]], Completion] = partial(
    tuple.__new__, Completion
)
"""The fields as above -> Completion."""


class LinkType(StrEnum):
    """What carries RDMA on a port; SMB Direct listens on port 445, on iWARP on 5445."""

    INFINIBAND = "InfiniBand"
    ROCE = "RoCE"
    IWARP = "iWARP"


@dataclass(frozen=True, slots=True)
class Gid:
    """One address of a port: its index, IPv6 notation, network interface ("" if unknown)."""

    index: int
    address: str
    interface: str


@dataclass(frozen=True, slots=True)
class Port:
    """One port of a device: `speed` in bits a second (0 unknown), `mtu` in bytes of payload."""

    number: int
    link_type: LinkType
    active: bool
    speed: int
    mtu: int
    gids: tuple[Gid, ...]

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Return the network interfaces whose addresses the port carries, each once."""
        return tuple(dict.fromkeys(gid.interface for gid in self.gids if gid.interface))


@dataclass(frozen=True, slots=True)
class DeviceLimits:
    """What a device can do at most; nothing is taken for granted (some have 3 segments).

    `max_initiator_depth` counts the RDMA READs that a queue pair may have under way,
    `max_responder_resources` those that it answers at once. Regions are in bytes.
    """

    max_queue_pair_work_requests: int
    max_send_segments: int
    max_read_segments: int
    max_completions: int
    max_memory_region: int
    max_initiator_depth: int
    max_responder_resources: int
    exposes_read_sinks: bool = False
    """Whether a peer whose memory is read can write the region that its data goes to (iWARP)."""


class Memory(Protocol):
    """Registered memory: the device reaches it by address and key until `deregister`."""

    view: memoryview
    """All of it, writable, format `B`."""
    address: int
    local_key: int
    remote_key: int

    def deregister(self) -> None:
        """Take it back from the device; no posted work may refer to it. Twice does nothing."""


class QueuePair(Protocol):
    """One reliable connection's queues, with a completion channel of its own.

    Ids of work requests are chosen by the caller (0 to 2^64 - 1). A slot of a queue is free
    again when its completion, or for an unsignaled send that of a later one, has been polled.
    Work with `more` may wait for the next post of the send queue, or for `submit`:
    what is posted together costs one call of the device, and is refused by that one.
    """

    number: int

    def modify(self, attributes: bytes, mask: int) -> None:
        """Change the state by an `ibv_qp_attr` as `rdma_init_qp_attr` fills it (144 bytes)."""

    def post_receive(self, id: int, segment: Segment) -> None:
        """Give memory for one message of the peer; allowed from the state INIT on."""

    def post_send(
        self,
        id: int,
        segments: Sequence[Segment],
        *,
        invalidate: int = 0,
        signaled: bool = True,
        more: bool = False,
    ) -> None:
        """Send one message; `invalidate` is the peer's key that ends with it (0 is none).

        Failures complete even when unsignaled.
        """

    def post_write(
        self,
        id: int,
        segments: Sequence[Segment],
        remote_address: int,
        remote_key: int,
        *,
        signaled: bool = True,
        more: bool = False,
    ) -> None:
        """Write the peer's memory; what is sent afterwards arrives after the data."""

    def post_read(
        self,
        id: int,
        segments: Sequence[Segment],
        remote_address: int,
        remote_key: int,
        *,
        more: bool = False,
    ) -> None:
        """Read the peer's memory; its data is there when it completes, not earlier."""

    def submit(self) -> None:
        """Post what waits because of `more`."""

    def fileno(self) -> int:
        """Return the completion channel: readable once after `arm` when a completion came."""

    def arm(self) -> None:
        """Take what the channel tells, and ask to be told of the next completion.

        Only completions that come later make it readable: poll until empty after it.
        """

    def poll(self, limit: int) -> list[Completion]:
        """Return up to `limit` completions, oldest first; empty when there are none."""

    def fail(self) -> None:
        """Go to the error state: everything posted completes, flushed, also what waits for more."""

    def close(self) -> None:
        """Free all of it, without completions for what is still posted. Twice does nothing."""


class Device(Protocol):
    """One opened RDMA device."""

    name: str
    limits: DeviceLimits

    def ports(self) -> tuple[Port, ...]:
        """Return the device's ports as they are now."""

    def register(self, length: int, access: Access) -> Memory:
        """Return `length` bytes of zeroed registered memory, or raise `RegistrationError`."""

    def queue_pair(
        self, send_depth: int, receive_depth: int, *, send_segments: int = 1
    ) -> QueuePair:
        """Return a queue pair in its first state (RESET) whose work has up to `send_segments`."""

    def close(self) -> None:
        """Close the device with all that is left of it. Twice does nothing."""
