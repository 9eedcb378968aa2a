"""Clients of SMB Direct over the in-memory fabric: one that sends raw bytes, one with an engine.

Nothing moves on their side before `pump`.
"""

from collections import deque
from collections.abc import Callable, Sequence

from usmbd.transport.base import FileSpan, Part, Receiver, RemoteBuffer
from usmbd.transport.smbdirect.attributes import State
from usmbd.transport.smbdirect.engine import Engine
from usmbd.transport.smbdirect.fabric.device import FabricDevice, FabricMemory
from usmbd.transport.smbdirect.limits import Limits, ProtocolError, Role
from usmbd.transport.smbdirect.provider import Access, Completion
from usmbd.transport.smbdirect.registered_memory import Slots

SENDS = 64
LONGEST = 4096
"""Bytes of one raw message."""

BATCH = 16


class Region:
    """Memory of a client that the server may reach."""

    def __init__(self, memory: FabricMemory) -> None:
        """Wrap registered memory."""
        self.memory = memory

    @property
    def data(self) -> bytes:
        """Return what is in it."""
        return bytes(self.memory.view)

    @property
    def invalidated(self) -> bool:
        """Whether a message of the server has ended its token."""
        return self.memory.invalidated

    def remote(self, start: int = 0, length: int | None = None) -> RemoteBuffer:
        """Return the descriptor of all of it, or of `length` bytes from `start` on."""
        if length is None:
            length = len(self.memory.view) - start
        return RemoteBuffer(self.memory.address + start, self.memory.remote_key, length)


class RawClient:
    """A queue pair with receives posted, and whatever bytes a test sends."""

    def __init__(
        self,
        device: FabricDevice,
        *,
        receives: int = 300,
        receive_size: int = 2048,
        send_size: int = LONGEST,
    ) -> None:
        """Open the queue pair; `Network.connect` connects it."""
        self.device = device
        self.queue_pair = device.queue_pair(SENDS, receives)
        self._receives = Slots(device, receives, receive_size)
        self._sends = Slots(device, SENDS, send_size)
        self.reposts = True
        """Whether a receive is posted again when it has completed."""
        self.messages: deque[bytes] = deque()
        """What has arrived, raw."""
        self.failures: list[str] = []
        """How work of the queue pair failed."""
        self.disconnect: Callable[[str], None] = lambda reason: None
        """Tells the server's connection manager that this side disconnects."""
        self.closed = False
        self._regions: list[FabricMemory] = []

    def post_receives(self) -> None:
        """Post all receives; the queue pair is in INIT."""
        assert self.queue_pair.state is State.INIT
        for index, segment in enumerate(self._receives.segments):
            self.queue_pair.post_receive(index << 1, segment)

    def register(self, content: int | bytes, access: Access | None = None) -> Region:
        """Register zeros or `content`, for the server to read and write unless `access` is given.

        It is deregistered when the client is closed.
        """
        length = content if isinstance(content, int) else len(content)
        if access is None:
            access = Access.LOCAL_WRITE | Access.REMOTE_READ | Access.REMOTE_WRITE
        memory = self.device.register(length, access)
        if not isinstance(content, int):
            memory.view[:] = content
        self._regions.append(memory)
        return Region(memory)

    def post(self, message: bytes) -> bool:
        """Send raw bytes; False when the queue pair has no slot or is closed."""
        slot = None if self.closed else self._sends.take()
        if slot is None:
            return False
        self._sends.views[slot][: len(message)] = message
        self.queue_pair.post_send(slot << 1 | 1, (self._sends.part(slot, len(message)),))
        return True

    def pump(self) -> int:
        """Take what has happened; return how much that was."""
        count = 0
        while not self.closed and (completions := self.queue_pair.poll(BATCH)):
            for completion in completions:
                self._take(completion)
            count += len(completions)
        return count

    def _take(self, completion: Completion) -> None:
        """Take one completion."""
        index = completion.id >> 1
        if not completion.ok:
            self.failures.append(completion.status)
        if completion.id & 1:
            self._sends.give(index)
        elif completion.ok and not self.closed:
            data = bytes(self._receives.views[index][: completion.length])
            if self.reposts:
                self.queue_pair.post_receive(index << 1, self._receives.segments[index])
            self.arrived(data)

    def arrived(self, data: bytes) -> None:
        """Take one raw message."""
        self.messages.append(data)

    def server_disconnected(self) -> None:
        """Learn from the connection manager that the server has disconnected."""
        self.queue_pair.fail()

    def close(self, reason: str = "the client disconnects", *, tell: bool = True) -> None:
        """Go away; without `tell` as a machine that loses its power."""
        if self.closed:
            return
        self.closed = True
        self.queue_pair.fail()
        self.queue_pair.close()
        self._receives.close()
        self._sends.close()
        for memory in self._regions:
            memory.deregister()
        if tell:
            self.disconnect(reason)


class Client(RawClient):
    """A client that speaks SMB Direct: whole messages out, whole messages to its receiver."""

    def __init__(self, device: FabricDevice, limits: Limits | None = None) -> None:
        """Open the queue pair; the negotiation begins with the first `pump`."""
        self.limits = limits or Limits()
        super().__init__(
            device,
            receives=self.limits.receive_credit_max,
            receive_size=self.limits.max_receive_size,
            send_size=self.limits.max_send_size,
        )
        self.engine = Engine(Role.CLIENT, self.limits, lambda n: memoryview(bytearray(n)), 0.0)
        self.lost = ""
        """Why the connection has ended."""
        self.delivered: list[bytes] = []
        """Whole messages, while there is no receiver."""
        self._receiver: Receiver | None = None
        self._waiting: list[bytes] = []

    def post_receives(self) -> None:
        """Post all receives, and let the engine grant them."""
        super().post_receives()
        self.engine.posted(self.limits.receive_credit_max)

    def start(self, receiver: Receiver) -> None:
        """Deliver to `receiver` instead of to `delivered`."""
        self._receiver = receiver

    def send(self, parts: Sequence[Part], invalidate: int = 0) -> None:
        """Send one message, when the negotiation is over; `pump` lets it go."""
        assert not any(isinstance(part, FileSpan) for part in parts)
        message = b"".join(bytes(part) for part in parts if not isinstance(part, FileSpan))
        if self.engine.established:
            self.engine.queue([message], invalidate)
        else:
            self._waiting.append(message)

    def pump(self) -> int:
        """Take what has happened, and send what there are credits for."""
        count = super().pump()
        if not self.closed and self.queue_pair.state is State.RTS:
            if self.engine.established:
                for message in self._waiting:
                    self.engine.queue([message])
                self._waiting.clear()
            count += self._flush()
        return count

    def _flush(self) -> int:
        """Send what there are credits for; return how many messages."""
        count = 0
        while (slot := self._sends.take()) is not None:
            sent = self.engine.next_send(self._sends.views[slot], 0.0)
            if sent is None:
                self._sends.give(slot)
                break
            segment = self._sends.part(slot, sent.length)
            self.queue_pair.post_send(slot << 1 | 1, (segment,), invalidate=sent.invalidate)
            count += 1
        return count

    def arrived(self, data: bytes) -> None:
        """Hand one message to the engine."""
        try:
            whole = self.engine.received(memoryview(data), 0.0)
        except ProtocolError as error:
            self.close(str(error))
            return
        if self.reposts:
            self.engine.posted(1)
        if whole is None:
            return
        if self._receiver is None:
            self.delivered.append(bytes(whole))
        else:
            self._receiver.message_received(whole)

    def server_disconnected(self) -> None:
        """Take what came before, and go away as well."""
        RawClient.pump(self)
        self.close("the server disconnected", tell=False)

    def close(self, reason: str = "the client disconnects", *, tell: bool = True) -> None:
        """Go away, and tell the receiver why."""
        if self.closed:
            return
        super().close(reason, tell=tell)
        self.lost = reason
        if self._receiver is not None:
            self._receiver.connection_lost(reason)
