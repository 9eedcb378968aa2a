"""A queue pair of the in-memory fabric: the rules of a reliable connection.

Work leaves the send queue in order. A READ is a request and, later, its answer: work after it
may move in between, but completions keep the order of posting (InfiniBand Architecture
Specification, volume 1, 10.8.3.3).
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from usmbd.transport.smbdirect.attributes import Mask, State, decode
from usmbd.transport.smbdirect.fabric.completions import FabricCompletions
from usmbd.transport.smbdirect.provider import (
    Access,
    Completion,
    DeviceError,
    Opcode,
    QueueFull,
    Segment,
    Status,
)

if TYPE_CHECKING:
    from usmbd.transport.smbdirect.fabric.device import FabricDevice

RETRY_FOR_EVER = 7
"""The `rnr_retry` that never gives up (InfiniBand volume 1, 9.7.5.2.8)."""

_FAIL_BOTH = frozenset({Status.REMOTE_REQUEST, Status.REMOTE_ACCESS, Status.REMOTE_OPERATION})
"""A responder that refuses an operation goes to its error state as well."""


@dataclass(slots=True)
class _Work:
    """One posted work request of the send queue; `done` once it awaits its turn to complete."""

    id: int
    opcode: Opcode
    segments: tuple[Segment, ...]
    length: int
    remote_address: int = 0
    remote_key: int = 0
    invalidate: int = 0
    signaled: bool = True
    attempts: int = 0
    done: bool = False


class FabricQueuePair:
    """Queues and completion channel of one side; `state` is public for tests and status."""

    def __init__(
        self, device: "FabricDevice", send_depth: int, receive_depth: int, send_segments: int
    ) -> None:
        """Begin in the state RESET."""
        self.device = device
        self.fabric = device.fabric
        self.number = self.fabric.next_number()
        self.state = State.RESET
        self.destination = 0
        self.closed = False
        self._send_depth = send_depth
        self._receive_depth = receive_depth
        self._send_segments = send_segments
        self._reads_allowed = 0
        self._reads_answered = 0
        self._rnr_retry = 0
        self._chain: list[_Work] = []
        """What was posted with `more` and waits for the next."""
        self._waiting: deque[_Work] = deque()
        self._issued: deque[_Work] = deque()
        self._receives: deque[tuple[int, Segment]] = deque()
        self._faults: deque[tuple[int, Status]] = deque()
        self._severed = False
        self._completions = FabricCompletions()

    # What tests look at.

    @property
    def posted_sends(self) -> int:
        """Return how many sends, writes and reads have not ended."""
        waiting = len(self._chain) + len(self._waiting)
        return waiting + sum(not work.done for work in self._issued)

    @property
    def posted_receives(self) -> int:
        """Return how many receives are posted."""
        return len(self._receives)

    @property
    def reads_under_way(self) -> int:
        """Return how many READs are requested and not answered."""
        return sum(work.opcode is Opcode.READ and not work.done for work in self._issued)

    def refers_to(self, local_key: int) -> bool:
        """Return whether posted work uses the region of `local_key`."""
        if any(segment.local_key == local_key for _, segment in self._receives):
            return True
        works = [*self._chain, *self._waiting, *(work for work in self._issued if not work.done)]
        return any(part.local_key == local_key for work in works for part in work.segments)

    # Faults on demand.

    def fail_next(self, status: Status, skip: int = 0) -> None:
        """Let the next operation but `skip` of the send queue fail with `status`."""
        self._faults.append((skip, status))

    def withhold(self) -> None:
        """Keep completions back until `release`: those of other queue pairs overtake them."""
        self._completions.withhold()

    def release(self, limit: int | None = None) -> None:
        """Hand out what was withheld; with `limit` so many, and go on withholding."""
        self._completions.release(limit)

    def sever(self) -> None:
        """Cut the connection: neither side reaches the other any more, and is not told."""
        self._severed = True
        peer = self.fabric.find(self.destination)
        if peer is not None and peer.destination == self.number:
            peer._severed = True
        self.fabric.kick()

    # The interface of provider.QueuePair.

    def modify(self, attributes: bytes, mask: int) -> None:
        """Change the state as `rdma_init_qp_attr` says; DeviceError on a wrong order."""
        self._check_open()
        wanted = decode(attributes)
        if not mask & Mask.STATE:
            raise DeviceError("only changes of the state are known")
        state = State(wanted.qp_state)
        if state is State.ERR:
            self.fail()
            return
        if state != self.state + 1:
            raise DeviceError(f"queue pair {self.number}: {self.state.name} to {state.name}")
        if state is State.RTR:
            if not mask & Mask.DEST_QPN:
                raise DeviceError(f"queue pair {self.number}: ready to receive from nobody")
            self.destination = wanted.dest_qp_num
            self._reads_answered = wanted.max_dest_rd_atomic
            self._check_depth(wanted.max_dest_rd_atomic, self.device.limits.max_responder_resources)
        elif state is State.RTS:
            self._rnr_retry = wanted.rnr_retry
            self._reads_allowed = wanted.max_rd_atomic
            self._check_depth(wanted.max_rd_atomic, self.device.limits.max_initiator_depth)
        self.state = state
        self.fabric.kick()

    def post_receive(self, id: int, segment: Segment) -> None:
        """Post memory for a message; QueueFull beyond the depth."""
        self._check_open()
        if self.state is State.RESET:
            raise DeviceError(f"queue pair {self.number} takes no receives before INIT")
        if self._completions.receives_used >= self._receive_depth:
            raise QueueFull(f"queue pair {self.number}: {self._receive_depth} receives are posted")
        self._completions.receives_used += 1
        if self.state is State.ERR:
            self._completions.add_receive(_failed(id, Status.FLUSHED))
            return
        self._receives.append((id, segment))
        if len(self._receives) == 1:  # a sender waits for the first alone
            self.fabric.kick()

    def post_send(
        self,
        id: int,
        segments: Sequence[Segment],
        *,
        invalidate: int = 0,
        signaled: bool = True,
        more: bool = False,
    ) -> None:
        """Post a message; QueueFull beyond the depth, ValueError beyond the segments."""
        parts = self._check_segments(segments, self._send_segments)
        length = sum(part.length for part in parts)
        work = _Work(id, Opcode.SEND, parts, length, 0, 0, invalidate, signaled)
        self._post(work, more)

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
        """Post a write of the peer's memory; errors as `post_send`."""
        parts = self._check_segments(segments, self._send_segments)
        length = sum(part.length for part in parts)
        self._post(
            _Work(id, Opcode.WRITE, parts, length, remote_address, remote_key, 0, signaled),
            more,
        )

    def post_read(
        self,
        id: int,
        segments: Sequence[Segment],
        remote_address: int,
        remote_key: int,
        *,
        more: bool = False,
    ) -> None:
        """Post a read of the peer's memory; errors as `post_send`."""
        most = min(self._send_segments, self.device.limits.max_read_segments)
        parts = self._check_segments(segments, most)
        length = sum(part.length for part in parts)
        self._post(_Work(id, Opcode.READ, parts, length, remote_address, remote_key), more)

    def submit(self) -> None:
        """Post what waits because of `more`."""
        self._check_open()
        self._submit()

    def fileno(self) -> int:
        """Return the eventfd that stands for the completion channel."""
        return self._completions.fileno()

    def arm(self) -> None:
        """Take the event, and be told of the next completion."""
        self._check_open()
        self._completions.arm()

    def poll(self, limit: int) -> list[Completion]:
        """Return up to `limit` completions; each frees its slot."""
        self._check_open()
        return self._completions.poll(limit)

    def fail(self) -> None:
        """Go to the error state and flush; the peer is not told."""
        if self.closed:
            return
        failed, self.state = self.state is State.ERR, State.ERR
        self._submit()
        if not failed:
            self.fabric.kick()

    def close(self) -> None:
        """Free the queues and the channel."""
        if self.closed:
            return
        self.closed = True
        self.state = State.ERR
        self._chain.clear()
        self._waiting.clear()
        self._issued.clear()
        self._receives.clear()
        self._completions.close()
        self.device.queue_pairs.remove(self)
        self.fabric.detach(self)
        self.fabric.kick()

    # How work moves.

    def advance(self) -> bool:
        """Move one operation: the next request if it may go, else the answer to a READ."""
        if self.state is not State.RTS:
            return False
        if self._waiting and self._may_issue(self._waiting[0]) and self._issue():
            if self._faults and self.state is State.RTS:
                skip, status = self._faults[0]
                self._faults[0] = (skip - 1, status)
            return True
        return self._answer_read()

    def _may_issue(self, work: _Work) -> bool:
        return work.opcode is not Opcode.READ or self.reads_under_way < self._reads_allowed

    def _issue(self) -> bool:
        """Carry out the first waiting request; False when the peer is not ready yet."""
        work = self._waiting[0]
        peer = self._peer()
        if self._faults and self._faults[0][0] == 0:
            self._break(self._faults.popleft()[1])
        elif peer is None:
            self._break(Status.RETRY_EXCEEDED)
        elif peer.state is State.INIT:
            return False
        elif work.opcode is Opcode.READ:
            if self.reads_under_way >= peer._reads_answered:
                self._break(Status.REMOTE_REQUEST)
            else:
                self._issued.append(self._waiting.popleft())
        elif (data := self._gather(work.segments)) is None:
            self._break(Status.LOCAL_PROTECTION)
        elif work.opcode is Opcode.WRITE:
            self._end(work, peer._written(work, data))
        elif peer._receives:
            self._end(work, peer._received(work, data))
        elif self._rnr_retry == RETRY_FOR_EVER or work.attempts < self._rnr_retry:
            work.attempts += 1
            return False
        else:
            self._break(Status.RECEIVER_NOT_READY)
        return True

    def _end(self, work: _Work, status: Status) -> None:
        """End the first waiting request, which has been carried out."""
        if status is not Status.SUCCESS:
            self._break(status)
            return
        self._issued.append(self._waiting.popleft())
        work.done = True
        self._retire()

    def _answer_read(self) -> bool:
        """Carry out the oldest requested READ; False when there is none."""
        work = next((work for work in self._issued if not work.done), None)
        if work is None:
            return False
        peer = self._peer()
        if peer is None:
            self._break(Status.RETRY_EXCEEDED, work)
            return True
        data = peer._remote(work, Access.REMOTE_READ)
        if data is None:
            self._break(Status.REMOTE_ACCESS, work)
        elif not self._scatter(work.segments, data, self._sink):
            self._break(Status.LOCAL_PROTECTION, work)
        else:
            work.done = True
            self._retire()
        return True

    def _remote(self, work: _Work, access: Access) -> memoryview | None:
        """Return our memory that the peer's `work` means, None if it may not use it so."""
        memory = self.device.by_remote_key.get(work.remote_key)
        if memory is None or memory.invalidated or not memory.access & access:
            return None
        return memory.slice(work.remote_address, work.length)

    def _written(self, work: _Work, data: bytes) -> Status:
        """Take a WRITE of the peer; return how it ended for the peer.

        One of no bytes reaches no memory, and no key is looked at (InfiniBand volume 1, C9-88).
        """
        if not work.length:
            return Status.SUCCESS
        view = self._remote(work, Access.REMOTE_WRITE)
        if view is None:
            return Status.REMOTE_ACCESS
        view[:] = data
        return Status.SUCCESS

    def _received(self, work: _Work, data: bytes) -> Status:
        """Take a message into the oldest posted receive; return how it ended for the peer."""
        id, segment = self._receives.popleft()
        theirs = ours = Status.SUCCESS
        if len(data) > segment.length:
            ours, theirs = Status.LOCAL_LENGTH, Status.REMOTE_REQUEST
        elif not self._scatter((segment,), data):
            ours, theirs = Status.LOCAL_PROTECTION, Status.REMOTE_OPERATION
        elif work.invalidate:
            memory = self.device.by_remote_key.get(work.invalidate)
            if memory is None or memory.invalidated:
                ours, theirs = Status.LOCAL_ACCESS, Status.REMOTE_ACCESS
            else:
                memory.invalidated = True
        if ours is Status.SUCCESS:
            done = Completion(id, True, Opcode.RECEIVE, len(data), ours)
        else:
            done = _failed(id, ours)
        self._completions.add_receive(done)
        return theirs

    def _gather(self, segments: tuple[Segment, ...]) -> bytes | None:
        """Return the segments' bytes, None when one is not registered memory."""
        parts = []
        for address, length, key in segments:
            memory = self.device.local.get(key)
            part = None if memory is None else memory.slice(address, length)
            if part is None:
                return None
            parts.append(part)
        return b"".join(parts)

    @property
    def _sink(self) -> Access:
        """Return what memory has to allow for the data of a READ."""
        exposed = self.device.limits.exposes_read_sinks
        return Access.READ_SINK if exposed else Access.LOCAL_WRITE

    def _scatter(
        self,
        segments: tuple[Segment, ...],
        data: bytes | memoryview,
        access: Access = Access.LOCAL_WRITE,
    ) -> bool:
        """Put `data` into the segments; False when one does not allow `access`."""
        taken = 0
        for address, length, key in segments:
            length = min(length, len(data) - taken)
            memory = self.device.local.get(key)
            view = None if memory is None else memory.slice(address, length)
            if memory is None or view is None or not memory.access & access:
                return False
            view[:] = data[taken : taken + length]
            taken += length
        return True

    def _peer(self) -> "FabricQueuePair | None":
        """Return the other side if it can be reached."""
        peer = None if self._severed else self.fabric.find(self.destination)
        if peer is None or peer.state in (State.RESET, State.ERR):
            return None
        if peer.state is not State.INIT and peer.destination != self.number:
            return None
        return peer

    # How work ends.

    def _break(self, status: Status, work: _Work | None = None) -> None:
        """Fail `work` (or the first waiting request) with `status`, and all after it."""
        if work is None:
            work = self._waiting[0]
            # The peer answers in order: what was requested before succeeds or fails first.
            while self.state is State.RTS and self._answer_read():
                pass
        if self.state is State.ERR:
            return
        self.state = State.ERR
        self._flush(work, status)
        peer = self._peer()
        if status in _FAIL_BOTH and peer is not None:
            peer.fail()

    def _flush(self, failed: _Work | None = None, status: Status = Status.FLUSHED) -> None:
        """Complete everything posted, `failed` with `status`."""
        for work in (*self._issued, *self._waiting):
            if work.done:
                self._succeed(work)
            else:
                cause = status if work is failed else Status.FLUSHED
                self._completions.add_send(_failed(work.id, cause))
        self._issued.clear()
        self._waiting.clear()
        while self._receives:
            id, _ = self._receives.popleft()
            self._completions.add_receive(_failed(id, Status.FLUSHED))

    def _retire(self) -> None:
        """Complete what is done, in the order of posting."""
        while self._issued and self._issued[0].done:
            self._succeed(self._issued.popleft())

    def _succeed(self, work: _Work) -> None:
        """Complete one work request that went well."""
        if not work.signaled:
            self._completions.skip_send()
            return
        length = work.length if work.opcode is Opcode.READ else 0
        self._completions.add_send(Completion(work.id, True, work.opcode, length, Status.SUCCESS))

    # What is checked.

    def _post(self, work: _Work, more: bool = False) -> None:
        self._check_open()
        if self.state not in (State.RTS, State.ERR):
            raise DeviceError(f"queue pair {self.number} takes no sends in {self.state.name}")
        if self._completions.sends_used >= self._send_depth:
            raise QueueFull(f"queue pair {self.number}: {self._send_depth} sends are posted")
        self._completions.sends_used += 1
        self._chain.append(work)
        if not more:
            self._submit()

    def _submit(self) -> None:
        """Let go of what waits for more."""
        self._waiting += self._chain
        self._chain.clear()
        if self.state is State.ERR:
            self._flush()
        else:
            self.fabric.kick()

    def _check_segments(self, segments: Sequence[Segment], most: int) -> tuple[Segment, ...]:
        if len(segments) > most:
            raise ValueError(f"{len(segments)} segments, at most {most}")
        return tuple(segments)

    def _check_depth(self, depth: int, most: int) -> None:
        if depth > most:
            raise DeviceError(f"queue pair {self.number}: {depth} reads at once, at most {most}")

    def _check_open(self) -> None:
        if self.closed:
            raise DeviceError(f"queue pair {self.number} is closed")


def _failed(id: int, status: Status) -> Completion:
    """Return the completion of a work request that failed."""
    return Completion(id, False, None, 0, status)
