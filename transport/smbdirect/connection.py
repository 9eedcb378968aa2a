"""SMB over SMB Direct: one connection's queue pair, memory and timers, on the event loop.

    completions -> engine.received -> Receiver.message_received -> send -> engine -> posted sends
                                                write_remote, read_remote -> posted pieces

All of it runs on the loop's thread, without tasks and futures. `prepare` posts receives, `start`
begins to look at them, the peer is accepted after that. It is OPEN until someone ends it, CLOSING
while what was sent may still arrive, FAILED until the device has given all back, FINISHED then.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum

from usmbd.transport.base import Part, RdmaTransport, Receiver, RemoteBuffer
from usmbd.transport.buffer_pool import POOL
from usmbd.transport.loop import Cancellable, EventLoop
from usmbd.transport.smbdirect.backlog import TRANSFERS_HIGH, Backlog
from usmbd.transport.smbdirect.batches import BATCH, FLUSH_SIZE, HELD_POLLS, HELD_SIZE, ROUNDS
from usmbd.transport.smbdirect.depths import Depths, fitted
from usmbd.transport.smbdirect.engine import Engine
from usmbd.transport.smbdirect.kept import Kept
from usmbd.transport.smbdirect.limits import Limits, ProtocolError, Role
from usmbd.transport.smbdirect.pdu import DATA_OFFSET
from usmbd.transport.smbdirect.posted_work import PostedWork
from usmbd.transport.smbdirect.provider import (
    Access,
    Completion,
    Device,
    DeviceError,
    QueuePair,
    RegistrationError,
)
from usmbd.transport.smbdirect.registered_memory import Pool, Sinks, Slots
from usmbd.transport.smbdirect.send_order import SendOrder
from usmbd.transport.smbdirect.tidying import Tidying
from usmbd.transport.smbdirect.transfer_queue import TransferQueue
from usmbd.transport.smbdirect.transfers import Done, Read, Write, whole
from usmbd.transport.smbdirect.turn import Turn
from usmbd.transport.turns import Turns

log = logging.getLogger("usmbd.rdma")

LINGER_SECONDS = 0.25
"""How long what was sent last may take to arrive before the connection is cut."""

DRAIN_SECONDS = 5.0
"""A device that has not given everything back by then gets its queue pair taken away."""


class State(Enum):
    """How far the connection is."""

    OPEN = "open"
    CLOSING = "closing"
    FAILED = "failed"
    FINISHED = "finished"


# Looking these up in their class costs more than the comparison.
_OPEN, _CLOSING, _FAILED, _FINISHED = State


class SmbDirectTransport(RdmaTransport):
    """One accepted SMB Direct connection on the running event loop."""

    def __init__(
        self,
        device: Device,
        pool: Pool,
        queue_pair: QueuePair,
        limits: Limits,
        loop: EventLoop,
        *,
        peer: str,
        local: str,
        disconnect: Callable[[], None],
        reads: int,
        turns: Turns | None = None,
    ) -> None:
        """Take over a queue pair of `open_queue_pair(device, limits)`.

        `reads` is how many RDMA READs the peer answers at once (the connection request's
        initiator depth). `disconnect` is called once, when the connection manager's side may
        end; this side may still wait for the device then. `turns` divides the loop's time where
        requests come in floods. RegistrationError leaves the queue pair to the caller.
        """
        depths = Depths.fit(limits, device.limits)
        limits = fitted(limits, depths)
        self.peer, self.local = peer, local
        self.queue_pair = queue_pair
        self.max_remote_length = limits.max_read_write_size
        self._pool, self._loop = pool, loop
        self._disconnect = disconnect
        self._receives = Slots(device, depths.receives, limits.max_receive_size)
        try:
            self._sends = Slots(device, depths.sends, limits.max_send_size, Access.NONE)
        except BaseException:
            self._receives.close()
            raise
        self._now = loop.time()
        self.engine = Engine(Role.SERVER, limits, POOL.message, self._now)
        """For its numbers alone: status and tests look at them."""
        self._sinks = Sinks(device, pool)
        self._work = PostedWork(queue_pair, self._sends, pool, self._sinks, depths)
        self._send_order = SendOrder(self.engine)
        self._transfers = TransferQueue(
            self._work, self._send_order, loop, min(reads, depths.reads), self._lose, self._retry
        )
        self._posted_receives = 0
        self._backlog = Backlog(self, self._serve_backlog, turns)
        self._kept = Kept(self, self.engine, self._send_order)
        self._withheld: list[int] = []
        self._stopped = self._corked = False
        self._receiver: Receiver | None = None
        self._fd = -1
        self._timer: Cancellable | None = None
        self._tidying = Tidying(self._work, loop, self._lose)
        self._turn = Turn(loop, self._ready, self, turns)
        self.state = State.OPEN

    # -- life ----------------------------------------------------------------------------

    def prepare(self, *states: tuple[bytes, int]) -> None:
        """Post all receives: in the first of the queue pair's `states`, then go to the others.

        They are what `rdma_init_qp_attr` gives for INIT, RTR and RTS; none if the caller
        brought the queue pair to INIT already. DeviceError when one is refused.
        """
        for index, (attributes, mask) in enumerate(states):
            self.queue_pair.modify(attributes, mask)
            if index == 0:
                self._post_all()
        if not states:
            self._post_all()

    def start(self, receiver: Receiver) -> None:
        """Begin to deliver messages to `receiver`; they may come from now on."""
        self._receiver = receiver
        most = self.engine.limits.max_fragmented_size
        self.engine.message_limit = lambda: min(receiver.message_limit, most)
        self.engine.room = self._kept.room
        self._watch()
        self._timer = self._loop.call_later(self.engine.deadline() - self._loop.time(), self._tick)
        self._ready()

    def _watch(self) -> None:
        """Be told of completions: also when it ends before its start."""
        if self._fd < 0:
            self._fd = self.queue_pair.fileno()
            self._loop.add_reader(self._fd, self._ready)

    def disconnected(self, reason: str) -> None:
        """Learn from the connection manager that the connection has ended."""
        self._lose(reason)

    def close(self, reason: str) -> None:
        """Send what the peer has given credits for, let it arrive, then end the connection."""
        if self.state is _OPEN:
            self._flush(last=True)
            self._shut(reason)

    # -- out -----------------------------------------------------------------------------

    @property
    def saturated(self) -> bool:
        """Return whether transfers alone stop the client."""
        return self._transfers.under_way >= TRANSFERS_HIGH

    @property
    def progress(self) -> object:
        """What changes with every 64 KiB that arrive or leave; None when no memory is kept."""
        return self._kept.progress

    @property
    def max_message(self) -> int:
        """Return how many bytes a message to the peer may have; 0 before the negotiation."""
        agreed = self.engine.negotiated
        return agreed.max_fragmented_send_size if agreed is not None else 0

    def buffer(self, size: int) -> memoryview:
        """Return writable memory, registered unless the pool has none: then it costs a copy."""
        try:
            return self._pool.take(size)
        except (RegistrationError, ValueError):
            return POOL.view(size)

    def send(self, parts: Sequence[Part], invalidate: int = 0) -> None:
        """Queue one message and send as much as there are credits for."""
        if self.state is not _OPEN:
            return
        self._send_order.message(parts, invalidate)
        if not self._corked:
            self._flush()

    def write_remote(self, data: Sequence[memoryview], remote: Sequence[RemoteBuffer]) -> None:
        """Write the peer's memory, before what is sent later."""
        entry = whole(data, remote, self._pool) or Write(data, remote)
        self._check_length(entry.length)
        if self.state is _OPEN and entry.length:
            self.bytes_written += entry.length
            self._transfers.write(entry)
            if not self._corked:
                self._flush()

    def read_remote(self, data: memoryview, remote: Sequence[RemoteBuffer], done: Done) -> None:
        """Read the peer's memory; `done` is called from the loop."""
        transfer = Read(data, remote, done)
        self._check_length(transfer.left)
        if self.state is not _OPEN:
            self._loop.call_soon(done, ConnectionError("the connection has ended"))
        elif not transfer.left:
            self._loop.call_soon(done, None)
        else:
            self.bytes_read += transfer.left
            self._transfers.read(transfer)
            if not self._corked:
                self._flush()

    def _check_length(self, length: int) -> None:
        """Refuse more than was negotiated."""
        if length > self.max_remote_length:
            raise ValueError(f"{length} bytes, where {self.max_remote_length} were negotiated")

    def _retry(self) -> None:
        """Let transfers ask the pool again."""
        if self.state is _OPEN:
            self._transfers.advance()
            self._flush()

    def _flush(self, last: bool = False) -> None:
        """Send what there are credits and slots for; `last`: to be waited for."""
        if self.state is not _OPEN:
            return
        engine, slots, work, now = self.engine, self._sends, self._work, self._now
        views = slots.views
        negotiating = not engine.established
        last = last or negotiating
        try:
            while (index := slots.take()) is not None:
                sent = engine.next_send(views[index], now)
                if sent is None:
                    slots.give(index)
                    break
                length, invalidate, more = sent
                work.send(index, length, invalidate, last)
                if not more:
                    break
            work.submit()
        except DeviceError as error:
            self._lose(str(error))
            return
        if negotiating and engine.negotiation_refused:
            self._shut("the negotiation failed")

    # -- in ------------------------------------------------------------------------------

    def _post_all(self) -> None:
        """Post every receive."""
        for index, segment in enumerate(self._receives.segments):
            self.queue_pair.post_receive(index << 1, segment)
        self._posted_receives = len(self._receives)
        self.engine.posted(self._posted_receives)

    def _post_receive(self, index: int) -> None:
        """Post a receive again; what comes after it still counts if the device refuses."""
        try:
            self.queue_pair.post_receive(index << 1, self._receives.segments[index])
        except DeviceError as error:
            self._lose(str(error))
            return
        self._posted_receives += 1
        self.engine.posted(1)

    def _ready(self) -> None:
        """Take the completions that there are, and do what has become possible by them."""
        if self._turn.due or self.state is _FINISHED or self._turn.gives_way(self.engine):
            return
        self._now = self._backlog.begin() or self._loop.time()
        queue_pair, armed, held = self.queue_pair, False, 0
        try:
            for _ in range(ROUNDS):
                completions = queue_pair.poll(BATCH)
                if completions:
                    self._handle(completions)
                    held += 1
                    if self._turn.is_over(self.engine, self._backlog.waits):
                        break
                    if held < HELD_POLLS:
                        continue
                if held:
                    held = 0
                    self._go_on()
                elif armed:
                    break
                else:
                    queue_pair.arm()
                    armed = True
            else:
                self._turn.ask()
            if held:
                self._go_on()
        except DeviceError as error:
            self._lose(str(error))
            # Or the channel would stay readable.
            with suppress(DeviceError):
                queue_pair.arm()
        if self.state is _CLOSING and not self._work.pending:
            self._fail()
        if self.state is _FAILED and not self._work.pending and not self._posted_receives:
            self._finish()

    def _go_on(self) -> None:
        """Do what completions have made possible, and post what waits."""
        if self.state is not _OPEN:
            return
        if self._transfers.waiting:
            self._transfers.advance()
        self._flush()
        if self._stopped:
            self._serve_backlog()
        self._kept.count()
        self._tidying.look()

    def _handle(self, completions: list[Completion]) -> None:
        """Take completions in their order; what answers them waits for `_go_on`, if it is small."""
        engine, views, work = self.engine, self._receives.views, self._work
        self._corked = True
        answered = False
        for id, ok, _, length, status in completions:
            if answered:
                self._flush()  # before the next is served; what answers the last goes out anyway
                answered = False
            if id & 1:
                if not ok:
                    self._lose(f"RDMA: {status}")
                ended = work.reap(id, ok)
                if ended is not None:
                    try:
                        self._transfers.ended(ended)
                    except Exception:
                        self._fault()
                continue
            self._posted_receives -= 1
            if not ok:
                self._lose(f"RDMA: {status}")
                continue
            if self.state is not _OPEN:
                continue
            index = id >> 1
            try:
                message = engine.received(views[index][:length], self._now)
            except ProtocolError as error:
                self._lose(str(error))
                continue
            if self._stopped and length > DATA_OFFSET and self._backlog.needs_no_receive(engine):
                self._withheld.append(index)
            else:
                self._post_receive(index)
            if message is None or self.state is not _OPEN:
                continue
            self._stopped = self._stopped or self._backlog.begins_later(len(message))
            if not self._stopped:
                self._deliver(message)
                answered = work.waiting >= HELD_SIZE
            elif not self._kept.hand_over(message, self._backlog):
                self._lose("it goes on asking and does not take its answers")
        self._corked = False

    def _deliver(self, message: memoryview) -> None:
        """Hand a message over; stop when its replies, or those before it, do not go out."""
        receiver = self._receiver
        assert receiver is not None
        try:
            receiver.message_received(message)
        except Exception:
            self._fault()
        if self.state is not _OPEN:
            return
        queued = self._send_order.queued_bytes
        if queued >= FLUSH_SIZE:
            self._flush()
            queued = self._send_order.queued_bytes
        self._stopped = self._backlog.stops(queued, self._transfers.under_way)

    def _serve_backlog(self) -> None:
        """Take up a stopped client's requests again when what it was sent has gone."""
        self._corked = True
        while self.state is _OPEN and self._backlog.goes_on(
            self._send_order.queued_bytes, self._transfers.under_way
        ):
            message = self._backlog.take()
            if message is None:
                self._stopped = False
                break
            self._deliver(message)
            self._flush()
            # What is held comes before what arrives meanwhile.
            self._stopped = True
        self._corked = False
        if self.state is _OPEN and not self._stopped and self._withheld:
            withheld, self._withheld = self._withheld, []
            for index in withheld:
                self._post_receive(index)
            self._flush()
        self._kept.count()

    def _tick(self) -> None:
        """Run the engine's timers."""
        self._now = self._loop.time()
        try:
            self.engine.tick(self._now)
        except ProtocolError as error:
            self._lose(str(error))
            return
        self._flush()
        if self.state is _OPEN:
            self._timer = self._loop.call_later(self.engine.deadline() - self._now, self._tick)

    # -- end -----------------------------------------------------------------------------

    def _fault(self) -> None:
        """End the connection after an exception of the upper layer; other completions count."""
        log.exception("a fault of the server", extra={"client": self.peer})
        self._lose("a fault of the server")

    def _lose(self, reason: str) -> None:
        """End the connection at once: nothing more arrives."""
        if self.state is _OPEN or self.state is _CLOSING:
            was_open = self.state is _OPEN
            self._fail()
            if was_open:
                self._tell(reason)

    def _shut(self, reason: str) -> None:
        """End the connection when what was sent has arrived, or soon."""
        if self.state is not _OPEN:
            return
        self.state = State.CLOSING
        self._set_timer(LINGER_SECONDS, self._fail)
        if not self._work.pending:
            self._fail()
        self._tell(reason)

    def _tell(self, reason: str) -> None:
        """Forget what waits, and tell everyone who does, once."""
        self._transfers.cancel(reason)
        self._backlog.clear()
        self._kept.clear()
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            try:
                receiver.connection_lost(reason)
            except Exception:
                log.exception("a fault of the server", extra={"client": self.peer})

    def _fail(self) -> None:
        """Have the device give everything back."""
        self.state = State.FAILED
        self._tidying.cancel()
        self._set_timer(DRAIN_SECONDS, self._finish)
        self._watch()
        try:
            self.queue_pair.fail()
            if self._work.pending:
                self._work.mark_end()
            self._turn.ask()
        except DeviceError as error:
            log.warning("%s", error, extra={"client": self.peer})
            self._loop.call_soon(self._finish)
        self._disconnect()

    def _finish(self) -> None:
        """Free everything; the device uses none of it any more."""
        if self.state is _FINISHED:
            return
        self.state = State.FINISHED
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
        if self._timer is not None:
            self._timer.cancel()
        try:
            self.queue_pair.close()
        except DeviceError as error:
            log.warning("%s", error, extra={"client": self.peer})
            self._work.keep()
        for part in (self._receives, self._sends, self._sinks):
            try:
                part.close()
            except DeviceError as error:
                log.warning("%s", error, extra={"client": self.peer})
        self._work.forget()

    def _set_timer(self, seconds: float, call: Callable[[], None]) -> None:
        """Have the one timer call something else."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, call)
