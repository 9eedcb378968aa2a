"""One opened named pipe: the server side of a DCE/RPC association, without I/O.

Bytes that the client writes go in, fragments that it reads come out (C706 9.3, [MS-RPCE] 3.3.1).
The pipe is in message mode: one fragment is one message, and a read that is too small for it
gets a part and is told that there is more (STATUS_BUFFER_OVERFLOW at the SMB layer).

A call runs as soon as its request is there. One that asks mountd makes the pipe busy: what is
written meanwhile is kept, and whoever reads waits (`when_idle`).
"""

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

from usmbd.mountd.ipc.messages import Failed, LoginResponse, RpcTold
from usmbd.mountd.rpc import pdu
from usmbd.mountd.rpc.contexts import Contexts
from usmbd.mountd.rpc.outside import Alone, Denied, Outside, Question, Told
from usmbd.mountd.rpc.pdu import Fault, NakReason, PduType, Syntax
from usmbd.mountd.rpc.security.association import RefusedError, Security
from usmbd.mountd.rpc.security.exchange import Step
from usmbd.mountd.rpc.traffic import Traffic

logger = logging.getLogger("usmbd.ipc")

MAX_FRAGMENT = 4280
"""Largest fragment sent or taken: the value that Windows and Samba offer on named pipes."""

MIN_FRAGMENT = 1432
"""MustRecvFragSize: what every implementation takes (C706 12.6.3.1)."""

MAX_REQUEST_STUB = 64 * 1024
"""Largest request put together from fragments; the calls served here need a few hundred bytes."""

MAX_WRITTEN = 64 * 1024
"""Most bytes kept of PDUs that are not complete; one fragment is at most 65535 by its length."""

MAX_PENDING_OUTPUT = 1024 * 1024
"""Unread answers after which a client that only writes loses its pipe."""


class PipeBrokenError(Exception):
    """The association ended by a protocol error: the client must open the pipe anew."""


class CallError(Exception):
    """A call that ends in a fault PDU with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"fault {status:#010x}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the stub of a call is encoded: the transfer syntax and the byte order."""

    ndr64: bool
    endian: Literal["<", ">"]


Asking = Generator[Question, Told, bytes]

Stub = bytes | Asking
"""The stub of an answer, or what asks before it has one."""


@dataclass(frozen=True, slots=True)
class Interface:
    """An RPC interface: what a client binds to, and its calls by number.

    A call takes the stub and its encoding and returns the stub of the answer (always
    little-endian, in the same transfer syntax), or raises `CallError`.
    """

    syntax: Syntax
    calls: Mapping[int, Callable[[bytes, Encoding], Stub]]


@dataclass(slots=True)
class _PartialCall:
    """A request whose last fragment has not come."""

    call_id: int
    context_id: int
    opnum: int
    stub: bytearray


class Pipe:
    """One open of a named pipe, with the interfaces that can be bound on it."""

    def __init__(
        self,
        name: str,
        interfaces: Sequence[Interface],
        outside: Outside | None = None,
        security: Security | None = None,
        became: Callable[[LoginResponse, bytes], None] = lambda login, key: None,
        joins: Callable[[int], int | None] = lambda number: number or 1,
        traffic: Traffic | None = None,
    ) -> None:
        """Serve the interfaces; `became` is told who binds with security of his own.

        `joins` takes the pipe into an association group, a new one for 0, and returns its number.
        """
        self._joins = joins
        self._traffic = traffic or Traffic()
        self._group = 0
        self._security = security or Security("", "")
        self._became = became
        self.name = name
        self._outside = outside or Alone()
        self._idle: list[Callable[[], None]] = []
        self.answered: Callable[[], object] = lambda: None
        """Called when a call has ended that had to wait."""
        self.busy = False
        """A call is under way that waits for mountd, or for its turn."""
        self._input = bytearray()
        self._output: deque[bytes] = deque()
        self._pending_output = 0
        self._contexts = Contexts(interfaces)
        self._call: _PartialCall | None = None
        self._max_xmit_frag = MIN_FRAGMENT
        self._max_recv_frag = MAX_FRAGMENT
        self._bound = False
        self._broken = False

    @property
    def waiting(self) -> int:
        """Bytes of answers that the client has not read."""
        return self._pending_output

    @property
    def kept(self) -> int:
        """Bytes that it keeps: answers, and what has come of requests that are not whole."""
        begun = 0 if self._call is None else len(self._call.stub)
        return self._pending_output + len(self._input) + begun

    def write(self, data: bytes) -> None:
        """Take bytes from the client; they may hold a part of a PDU, or several.

        Raises `PipeBrokenError` once the association has ended by an error of the protocol.
        """
        if self._broken:
            raise PipeBrokenError(self.name)
        self._input += data
        self._take()

    def _take(self) -> None:
        """Take the PDUs that are whole, until one makes the pipe busy."""
        try:
            while len(self._input) >= pdu.HEADER_SIZE and not self._broken and not self.busy:
                header = pdu.Header.parse(self._input)
                # Before the bind nothing is agreed, and the bind itself may be of any size that
                # a client must be able to send; the ack then names the limit.
                if header.frag_length > (MAX_WRITTEN if not self._bound else self._max_recv_frag):
                    raise pdu.PduError(f"a fragment of {header.frag_length} bytes")
                if len(self._input) < header.frag_length:
                    break
                if self._pending_output > MAX_PENDING_OUTPUT:
                    raise pdu.PduError("a client that does not read its answers")
                message = bytes(self._input[: header.frag_length])
                del self._input[: header.frag_length]
                self._handle(header, message)
            if len(self._input) > MAX_WRITTEN:
                raise pdu.PduError("the bytes of a PDU that does not end")
        except pdu.PduError as error:
            logger.info("pipe %s: %s", self.name, error)
            self._fail()

    def read(self, size: int) -> tuple[bytes, bool]:
        """Return up to `size` bytes of the first unread message, and whether it has more.

        Empty when nothing waits: the client has to write a request first. Raises
        `PipeBrokenError` when the association ended and all its answers are read.
        """
        if not self._output:
            if self._broken:
                raise PipeBrokenError(self.name)
            return b"", False
        message = self._output.popleft()
        part = message[:size]
        self._pending_output -= len(part)
        if len(part) < len(message):
            self._output.appendleft(message[len(part) :])
            return part, True
        return part, False

    def peek(self, size: int) -> tuple[bytes, bool]:
        """Return what `read` would, and leave it."""
        if not self._output and self._broken:
            raise PipeBrokenError(self.name)
        message = self._output[0] if self._output else b""
        return message[:size], len(message) > size

    def when_idle(self, run: Callable[[], None]) -> None:
        """Run something as soon as no call is under way."""
        if self.busy:
            self._idle.append(run)
        else:
            run()

    def close(self) -> None:
        """End the association; whoever waits for a call learns that it is broken."""
        self._fail()
        self._output.clear()
        self._pending_output = 0
        self._rest()

    def _rest(self) -> None:
        """Be idle: take what was written meanwhile, and let go who waited."""
        self.busy = False
        self._take()
        self.answered()
        if not self.busy:
            waiting, self._idle = self._idle, []
            for run in waiting:
                run()

    def transceive(self, data: bytes, size: int) -> tuple[bytes, bool]:
        """Write and read in one step (FSCTL_PIPE_TRANSCEIVE, [MS-FSCC] 2.3.49)."""
        self.write(data)
        return self.read(size)

    def _fail(self) -> None:
        """End the association: forget what is half done; the answers made so far stay readable."""
        self._broken = True
        self._input.clear()
        self._call = None
        self._contexts.clear()

    def _send(self, *messages: bytes) -> None:
        """Queue messages for the client to read."""
        self._output.extend(messages)
        self._traffic.sent += len(messages)
        self._pending_output += sum(len(message) for message in messages)

    def _handle(self, header: pdu.Header, message: bytes) -> None:
        """Dispatch one whole PDU by its type; types that a server never receives are errors."""
        self._traffic.received += 1
        if header.ptype == PduType.BIND:
            self._bind(header, message)
        elif not self._bound:
            raise pdu.PduError(f"PDU type {header.ptype} before the bind")
        elif header.ptype == PduType.ALTER_CONTEXT:
            self._alter_context(header, message)
        elif header.ptype == PduType.AUTH3:
            self._log_in(header, message)
        elif header.ptype == PduType.REQUEST:
            self._request(header, message)
        elif header.ptype in (PduType.ORPHANED, PduType.CO_CANCEL):
            # Calls run to their end when their last fragment comes: only one that is not
            # complete can still be dropped, and only an orphaned one is.
            if header.ptype == PduType.ORPHANED and self._call is not None:
                self._call = None
        else:
            raise pdu.PduError(f"PDU type {header.ptype} from a client")

    def _bind(self, header: pdu.Header, message: bytes) -> None:
        """Answer a bind with bind_ack, or bind_nak when it cannot be served at all."""
        if self._bound:
            self._nak(header, NakReason.NOT_SPECIFIED)
            return
        bind = pdu.parse_bind(message, header)
        group = self._joins(bind.assoc_group_id)
        if group is None:
            self._nak(header, NakReason.NOT_SPECIFIED)
            return
        self._group = group
        step: Step = b""
        if header.auth_length:
            try:
                step = self._security.bind(message, header)
            except RefusedError as error:
                # The session is authenticated by SMB, so that clients need none.
                logger.info("pipe %s: %s", self.name, error)
                self._nak(header, NakReason.AUTHENTICATION_TYPE_NOT_RECOGNIZED)
                return
        self._max_xmit_frag = max(min(bind.max_recv_frag, MAX_FRAGMENT), MIN_FRAGMENT)
        self._max_recv_frag = max(min(bind.max_xmit_frag, MAX_FRAGMENT), MIN_FRAGMENT)
        self._bound = True
        address = b"\\PIPE\\" + self.name.encode() + b"\0"
        self._secure(
            step,
            partial(self._acknowledge, PduType.BIND_ACK, header, bind, address),
            lambda: self._nak(header, NakReason.AUTHENTICATION_TYPE_NOT_RECOGNIZED),
        )

    def _log_in(self, header: pdu.Header, message: bytes) -> None:
        """Take the last message of a login, which nothing answers; mountd is asked meanwhile."""
        try:
            step = self._security.go_on(message, header)
        except RefusedError as error:
            logger.info("pipe %s: %s", self.name, error)
            return
        self._secure(step, lambda token: None, lambda: None)

    def _alter_context(self, header: pdu.Header, message: bytes) -> None:
        """Add presentation contexts to the association, or go on with its login (C706 12.6.4.1)."""
        bind = pdu.parse_bind(message, header)

        def refuse() -> None:
            self._send(pdu.build_fault(header.call_id, 0, Fault.ACCESS_DENIED))

        step: Step = b""
        if header.auth_length:
            try:
                step = self._security.go_on(message, header)
            except RefusedError as error:
                logger.info("pipe %s: %s", self.name, error)
                refuse()
                return
        self._secure(
            step,
            partial(self._acknowledge, PduType.ALTER_CONTEXT_RESP, header, bind, b""),
            refuse,
        )

    def _secure(
        self, step: Step, told: Callable[[bytes], None], refused: Callable[[], None]
    ) -> None:
        """Answer a token of the login: at once, or when mountd has said what it is worth.

        Of who is refused no call is answered.
        """
        if isinstance(step, bytes):
            told(step)
            return

        def answered(answer: Told) -> None:
            # A login is asked of mountd, and in nobody's name.
            assert not isinstance(answer, RpcTold | Denied)
            try:
                token = self._security.answered(answer, self._became)
            except RefusedError as error:
                logger.info("pipe %s: %s", self.name, error)
                token = None
            self.busy = False
            if self._broken:
                return
            if token is None:
                refused()
            else:
                told(token)
            self._rest()

        self.busy = True
        self._outside.ask(step, answered)

    def _nak(self, header: pdu.Header, reason: NakReason) -> None:
        """Refuse a bind and end the association."""
        self._send(pdu.build_bind_nak(header.call_id, reason))
        self._fail()

    def _acknowledge(
        self,
        ptype: PduType,
        header: pdu.Header,
        bind: pdu.Bind,
        address: bytes,
        token: bytes = b"",
    ) -> None:
        """Decide every context of `bind` and answer with one result for each."""
        try:
            results = self._contexts.decide(bind)
        except pdu.PduError as error:
            logger.info("pipe %s: %s", self.name, error)
            self._send(pdu.build_fault(header.call_id, 0, Fault.PROTO_ERROR))
            self._fail()
            return
        self._send(
            pdu.build_bind_ack(
                ptype,
                header.call_id,
                self._max_xmit_frag,
                self._max_recv_frag,
                self._group,
                address,
                results,
                token,
                signs_headers=bool(header.flags & pdu.PFC_SUPPORT_HEADER_SIGN),
            )
        )

    def _request(self, header: pdu.Header, message: bytes) -> None:
        """Take one fragment of a request; the last one runs the call."""
        try:
            message = self._security.opened(message, header)
        except RefusedError as error:
            logger.info("pipe %s: %s", self.name, error)
            self._send(pdu.build_fault(header.call_id, 0, Fault.ACCESS_DENIED))
            self._call = None
            if self._security.wanted:  # what follows could not be told from what was changed
                self._fail()
            return
        fragment = pdu.parse_request(message, header)
        call = self._call
        if header.flags & pdu.PFC_FIRST_FRAG:
            if call is not None:
                raise pdu.PduError("a second request inside one that is not complete")
            call = _PartialCall(
                header.call_id, fragment.context_id, fragment.opnum, bytearray(fragment.stub)
            )
        elif call is None or call.call_id != header.call_id:
            self._send(pdu.build_fault(header.call_id, fragment.context_id, Fault.PROTO_ERROR))
            raise pdu.PduError("a fragment of a request that was never begun")
        else:
            call.stub += fragment.stub
        if len(call.stub) > MAX_REQUEST_STUB:
            self._send(pdu.build_fault(call.call_id, call.context_id, Fault.REMOTE_NO_MEMORY))
            raise pdu.PduError(f"a request of more than {MAX_REQUEST_STUB} bytes")
        self._call = None if header.flags & pdu.PFC_LAST_FRAG else call
        if self._call is None:
            self._run(call, header.endian)

    def _run(self, call: _PartialCall, endian: Literal["<", ">"]) -> None:
        """Run a complete call in its turn."""
        seconds = self._outside.wait()
        if seconds:
            self.busy = True
            self._outside.later(seconds, lambda: self._turn(call, endian))
        else:
            self._execute(call, endian)

    def _turn(self, call: _PartialCall, endian: Literal["<", ">"]) -> None:
        """Run a call whose turn has come, unless the pipe was closed meanwhile."""
        if self._broken:
            return
        self.busy = False
        self._execute(call, endian)
        if not self.busy:
            self._rest()

    def _execute(self, call: _PartialCall, endian: Literal["<", ">"]) -> None:
        """Run a call and queue its response, or the fault that it ends in."""
        self._traffic.calls += 1
        with self._faults(call):
            found = self._contexts.get(call.context_id)
            if found is None:
                raise CallError(Fault.UNK_IF)
            interface, ndr64 = found
            if call.opnum not in interface.calls:
                raise CallError(Fault.OP_RNG_ERROR)
            stub = interface.calls[call.opnum](bytes(call.stub), Encoding(ndr64, endian))
            if isinstance(stub, bytes):
                self._respond(call, stub)
            else:
                self._go_on(call, stub, None)

    def _go_on(self, call: _PartialCall, asking: Asking, answer: Told | None) -> None:
        """Let a call go on to its end, or to what it has to ask."""
        if isinstance(answer, Denied):
            raise CallError(Fault.ACCESS_DENIED)
        if isinstance(answer, Failed):
            raise CallError(Fault.SERVER_TOO_BUSY)
        try:
            message = next(asking) if answer is None else asking.send(answer)
        except StopIteration as end:
            self.busy = False
            self._respond(call, end.value)
        else:
            self.busy = True
            self._outside.ask(message, lambda answer: self._answered(call, asking, answer))

    def _answered(self, call: _PartialCall, asking: Asking, answer: Told) -> None:
        """Go on with a call that has asked."""
        self.busy = False
        if self._broken:
            asking.close()
            return
        with self._faults(call):
            self._go_on(call, asking, answer)
        if not self.busy:
            self._rest()

    def _respond(self, call: _PartialCall, stub: bytes) -> None:
        """Queue the response of a call."""
        room = self._max_xmit_frag - self._security.overhead
        fragments = pdu.build_response(call.call_id, call.context_id, stub, room)
        self._send(*map(self._security.closed, fragments))

    @contextmanager
    def _faults(self, call: _PartialCall) -> Iterator[None]:
        """Answer with a fault what is raised inside."""
        try:
            yield
        except CallError as error:
            logger.debug("pipe %s: operation %d: %s", self.name, call.opnum, error)
            self._send(pdu.build_fault(call.call_id, call.context_id, error.status))
        except Exception:
            # A defect here: it costs this call, not the pipes of all other clients.
            logger.exception("pipe %s: operation %d failed", self.name, call.opnum)
            self._send(pdu.build_fault(call.call_id, call.context_id, Fault.UNSPECIFIED))
