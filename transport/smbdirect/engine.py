"""SMB Direct without devices: messages and completed receives in, wire messages out.

[MS-SMBD] 3.1 for both roles. It knows neither verbs nor sockets nor a clock: whoever owns the
queue pair tells it what was received and the time, and asks for what to send.

    upper layer  -> queue ------> fragments, credits granted --> next_send -> posted send
    posted receive completes ---> received -> reassembly ------> a whole upper message
    time passes  -> tick -------> keep-alive, or ProtocolError

Credits, where the document leaves freedom or would stall:
* Only posted receives are granted, as many as the peer asks for. One is kept in reserve for a
  message that needs the last send credit: such a message must grant (3.1.5.1, 3.1.5.9), or both
  sides would wait for ever.
* An empty message that only grants is sent when the peer is down to a quarter of what it asked
  for. To grant after every message received, as 3.1.5.8 has it, would be answered by a grant
  each time.
* A peer that asks for one credit is granted two, for the same reason.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import NamedTuple

from usmbd.transport.smbdirect.limits import Limits, Negotiated, ProtocolError, Role
from usmbd.transport.smbdirect.negotiation import (
    build_request,
    build_response,
    read_request,
    read_response,
)
from usmbd.transport.smbdirect.pdu import (
    DATA_OFFSET,
    DATA_TRANSFER_SIZE,
    RESPONSE_REQUESTED,
    STATUS_INSUFFICIENT_RESOURCES,
    STATUS_NOT_SUPPORTED,
    STATUS_SUCCESS,
    NegotiateResponse,
    pack_data_header,
    pack_empty,
    unpack_data_transfer,
)
from usmbd.transport.smbdirect.reassembly import Reassembly
from usmbd.transport.smbdirect.sendqueue import SendQueue

NEGOTIATION_TIMEOUT = {Role.SERVER: 5.0, Role.CLIENT: 120.0}
"""Seconds, [MS-SMBD] 3.1.7.2 and 3.1.4.1."""

_LEAST_TARGET = 2
"""A peer that may have one credit alone and one that has to grant it again and again would
keep each other busy for nothing."""


class Send(NamedTuple):
    """A wire message that was written to a slot."""

    length: int
    """Bytes at the beginning of the slot."""

    invalidate: int
    """The peer's memory token that the send invalidates; 0: none."""

    more: bool = False
    """Whether there may be another message to send at once: not behind the last fragment, which
    has granted all that there was to grant."""


# A named tuple's constructor is a function of Python; this takes half of its time.
_make_send: Callable[[tuple[int, int, bool]], Send] = partial(tuple.__new__, Send)


class _Phase(Enum):
    """How far the connection is."""

    REQUEST = 1  # a client that has not asked yet
    WAITING = 2  # for the peer's Negotiate message
    RESPONSE = 3  # a server that has to answer
    REFUSED = 4  # a server that has answered with a failure
    DONE = 5


class _Keepalive(Enum):
    """`Connection.KeepaliveRequested`."""

    NONE = 0
    PENDING = 1
    SENT = 2


# Looking these up in their class costs more than all else that is done for an idle timer.
_NONE, _PENDING, _SENT = _Keepalive


class Engine:
    """One SMB Direct connection. Times are seconds of any one monotonic clock.

    Attributes without an underscore are for reading, but `message_limit` and `room`, which the
    owner sets.
    """

    __slots__ = (
        "_answer",
        "_deadline",
        "_keepalive",
        "_max_receive_size",
        "_phase",
        "_queue",
        "_reassembly",
        "_status",
        "_target",
        "_whole",
        "established",
        "limits",
        "message_limit",
        "negotiated",
        "posted_receives",
        "receive_credit_target",
        "receive_credits",
        "role",
        "room",
        "send_credits",
    )

    def __init__(
        self, role: Role, limits: Limits, allocate: Callable[[int], memoryview], now: float
    ) -> None:
        """Start the negotiation timer; `allocate` gives writable memory of the size asked for."""
        self.role = role
        self.limits = limits
        self.negotiated: Negotiated | None = None
        """None until the peer's Negotiate message has been accepted."""
        self.established = False
        """Whether messages can go both ways."""
        self.message_limit: Callable[[], int] = lambda: limits.max_fragmented_size
        """How long a message of the peer may be now; asked where it has several fragments."""
        self.room: Callable[[int], bool] = lambda size: True
        """Whether there is memory for such a message."""
        self.send_credits = 0
        """`Connection.SendCredits`: messages that may be sent."""
        self.receive_credits = 0
        """`Connection.ReceiveCredits`: messages that the peer may send."""
        self.receive_credit_target = 0
        """`Connection.ReceiveCreditTarget`: what the peer last asked for."""
        self.posted_receives = 0
        """Receives that are posted, granted or not."""
        self._target = 0  # what is granted of what the peer asked for
        self._answer = False  # the peer wants a message at once (`Connection.SendImmediate`)
        self._keepalive = _NONE
        self._phase = _Phase.REQUEST if role is Role.CLIENT else _Phase.WAITING
        self._status = STATUS_SUCCESS
        self._max_receive_size = limits.max_receive_size
        self._queue = SendQueue()
        self._reassembly = Reassembly(allocate)
        self._whole = Send(0, 0, True)  # a full fragment, which is most of them
        timeout = limits.negotiation_timeout
        self._deadline = now + (NEGOTIATION_TIMEOUT[role] if timeout is None else timeout)

    @property
    def negotiation_refused(self) -> bool:
        """Whether a failure was handed out by `next_send`: when it is sent, disconnect."""
        return self._phase is _Phase.REFUSED

    @property
    def queued_bytes(self) -> int:
        """Bytes of upper messages that `next_send` has not taken yet."""
        return self._queue.queued_bytes

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that a message of the peer has which is not complete."""
        return self._reassembly.held

    @property
    def missing_bytes(self) -> int:
        """Bytes of that message that are still to come."""
        return self._reassembly.remaining

    def posted(self, count: int) -> None:
        """Learn that `count` more receives are posted, each of `Limits.max_receive_size` bytes.

        Never have more than `Limits.receive_credit_max` posted. Post again what was received
        before asking for `next_send`: then its message grants it again.
        """
        self.posted_receives += count

    def queue(self, parts: Sequence[bytes | bytearray | memoryview], invalidate: int = 0) -> None:
        """Queue one upper message; `invalidate` goes with its last fragment ([MS-SMBD] 3.1.4.2).

        Several parts are joined, as a second copy costs less than to look for each fragment's
        parts; one part is kept. ValueError if there is nothing in them, if it is more than the
        peer puts together again, or before the negotiation.
        """
        message: bytes | memoryview
        message = memoryview(parts[0]).cast("B") if len(parts) == 1 else b"".join(parts)
        self.check_size(len(message))
        self._queue.append(message, invalidate)

    def check_size(self, size: int) -> None:
        """Raise the ValueError of `queue` for a message of `size` bytes."""
        agreed = self.negotiated
        if agreed is None:
            raise ValueError("nothing is negotiated yet")
        if not 0 < size <= agreed.max_fragmented_send_size:
            raise ValueError(
                f"a message of {size} bytes: the peer takes 1 to {agreed.max_fragmented_send_size}"
            )

    def received(self, data: memoryview, now: float) -> memoryview | None:
        """Take one completed receive; return the upper message that it completes, if it does.

        The payload is copied: `data` can be posted again. Raises ProtocolError; the connection
        is then to be ended.
        """
        self.posted_receives -= 1
        if not self.established:
            self._received_negotiation(data, now)
            return None
        size = len(data)
        if size < DATA_TRANSFER_SIZE or size > self._max_receive_size:
            raise ProtocolError(f"a Data Transfer message of {size} bytes")
        if not self.receive_credits:
            raise ProtocolError("a message without a credit")
        requested, granted, flags, _, remaining, offset, length = unpack_data_transfer(data)
        if not requested:
            raise ProtocolError("the peer asks for no credits")
        # Where there is payload it begins behind the header; the document allows it inside.
        if offset & 7 or offset + length > size or (length and offset < DATA_OFFSET):
            raise ProtocolError(f"{length} bytes at offset {offset} of a message of {size}")
        self._keepalive = _NONE
        self._deadline = now + self.limits.keepalive_interval
        self.receive_credits -= 1
        if requested != self.receive_credit_target:
            self._aim(requested)
        self.send_credits += granted
        if flags & RESPONSE_REQUESTED:
            self._answer = True
        reassembly = self._reassembly
        # A message in one fragment is no longer than the receive that was posted for it.
        limit = length
        if remaining and not reassembly.remaining:
            limit = self.message_limit()
            if length + remaining <= limit and not self.room(length + remaining):
                raise ProtocolError("it begins a message that there is no memory for")
        return reassembly.add(data, offset, length, remaining, limit)

    def next_send(self, slot: memoryview, now: float) -> Send | None:
        """Write the next wire message to `slot`, of at least `Limits.max_send_size` bytes.

        None: there is nothing to send, or no credit for it. Call it again after `received`,
        `posted`, `queue` and `tick`, until it returns None or a `Send` without `more`.
        """
        if not self.established:
            return self._send_negotiation(slot, now)
        credits = self.send_credits
        if not credits:
            return None
        data = self._queue.queued_bytes
        pending = self._keepalive is _PENDING
        held = self.receive_credits
        cap = self.posted_receives - 1
        if cap > self._target:
            cap = self._target
        grant = cap - held
        if not (data or self._answer or pending) and (grant <= 0 or held > cap >> 2):
            return None
        if grant <= 0:
            grant = 0
            if credits == 1:
                if self.posted_receives <= held:
                    return None
                grant = 1
        self.send_credits = credits - 1
        self.receive_credits = held + grant
        self._answer = False
        flags = 0
        if pending:
            flags = RESPONSE_REQUESTED
            self._keepalive = _SENT
            self._deadline = now + self.limits.keepalive_timeout
        target = self.limits.send_credit_target
        if not data:
            pack_empty(slot, 0, target, grant, flags, 0, 0, 0, 0)
            return Send(DATA_TRANSFER_SIZE, 0)
        whole = self._whole
        length, remaining, invalidate = self._queue.fill(slot, DATA_OFFSET, whole.length)
        pack_data_header(slot, 0, target, grant, flags, 0, remaining, DATA_OFFSET, length)
        length += DATA_OFFSET
        if length == whole.length and not invalidate:
            return whole
        return _make_send((length, invalidate, self._queue.queued_bytes > 0))

    def deadline(self) -> float:
        """Return when `tick` has something to do; it moves with every message received."""
        return self._deadline

    def tick(self, now: float) -> None:
        """Run the timers, [MS-SMBD] 3.1.6; raises ProtocolError when the peer was too slow.

        An idle connection is asked for an answer: `next_send` gives the message.
        """
        if now < self._deadline:
            return
        if not self.established:
            raise ProtocolError("the negotiation took too long")
        if self._keepalive is not _NONE:
            raise ProtocolError("the peer does not answer")
        self._keepalive = _PENDING
        # A peer that grants no credit to ask it with is as dead as one that does not answer.
        self._deadline = now + self.limits.keepalive_timeout

    def _aim(self, requested: int) -> None:
        """Set how many credits the peer shall have, [MS-SMBD] 3.1.5.9."""
        self.receive_credit_target = requested
        self._target = min(max(requested, _LEAST_TARGET), self.limits.receive_credit_max)

    def _received_negotiation(self, data: memoryview, now: float) -> None:
        """Take the peer's Negotiate message, [MS-SMBD] 3.1.5.6 and 3.1.5.7."""
        if self._phase is not _Phase.WAITING:
            raise ProtocolError("a message before the end of the negotiation")
        if self.role is Role.SERVER:
            request, self.negotiated = read_request(self.limits, data)
            if self.negotiated is None:
                self._status = STATUS_NOT_SUPPORTED
            else:
                self._aim(request.credits_requested)
            self._phase = _Phase.RESPONSE
            return
        response, self.negotiated = read_response(self.limits, data)
        self._aim(response.credits_requested)
        self.send_credits = response.credits_granted
        self._establish(self.negotiated, now)

    def _send_negotiation(self, slot: memoryview, now: float) -> Send | None:
        """Write our Negotiate message, [MS-SMBD] 3.1.5.2 and 3.1.5.3."""
        if self._phase is _Phase.REQUEST:
            self._phase = _Phase.WAITING
            return Send(build_request(self.limits).pack_into(slot), 0)
        if self._phase is not _Phase.RESPONSE:
            return None
        agreed = self.negotiated
        grant = 0
        if agreed is not None:
            # Never more than was asked for: until now the client may have no memory for more.
            grant = min(self.receive_credit_target, self._target, self.posted_receives - 1)
            if grant <= 0:
                self._status = STATUS_INSUFFICIENT_RESOURCES
        if agreed is None or grant <= 0:
            self._phase = _Phase.REFUSED
            return Send(NegotiateResponse(status=self._status).pack_into(slot), 0)
        self.receive_credits = grant
        self._establish(agreed, now)
        return Send(build_response(self.limits, agreed, grant).pack_into(slot), 0)

    def _establish(self, agreed: Negotiated, now: float) -> None:
        """Begin with Data Transfer messages."""
        self._phase = _Phase.DONE
        self.established = True
        self._whole = Send(agreed.max_send_size, 0, True)
        self._max_receive_size = agreed.max_receive_size
        self._deadline = now + self.limits.keepalive_interval
