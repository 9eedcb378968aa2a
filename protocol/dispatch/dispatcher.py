"""From a message to its reply: the one way that every request goes ([MS-SMB2] 3.3.5.2).

    message -> [decrypt] -> [decompress] -> header -> credits -> signature
            -> session, tree, open (by the table) -> handler -> reply parts -> credits granted
            -> [sign] -> [compress] -> [encrypt] -> transport

Three rules: the table (table.py) says what a command needs, and handlers never check it again;
`failure` is the one place where exceptions become NTSTATUS; a request that waits is a
suspended generator, resumed by `resumed`.
"""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from types import GeneratorType

from usmbd.protocol.commands import smbtorture
from usmbd.protocol.commands.rdma_data import invalidated_token
from usmbd.protocol.commands.request import (
    Answer,
    CompressedReply,
    Disconnect,
    NoReply,
    Reply,
    Request,
)
from usmbd.protocol.dispatch import channel_sequence, keeping
from usmbd.protocol.dispatch.calls import on_loop, on_thread
from usmbd.protocol.dispatch.compound import SUSPENDED, Chain, Outcome, Suspended
from usmbd.protocol.dispatch.preconditions import (
    find_open,
    find_optional_session,
    refuse_without_session,
)
from usmbd.protocol.dispatch.replies import Replies, buffers, reply_to_smb1, to_protect
from usmbd.protocol.dispatch.slices import SLICE_THREADS, Slices
from usmbd.protocol.dispatch.table import TABLE, Row
from usmbd.protocol.dispatch.transforms import take_compressed, take_encrypted
from usmbd.protocol.effects import Blocking, OnDescriptor, Resume, Sliced, Slow, Wait
from usmbd.protocol.state.connection import UNAUTHENTICATED_LIMIT, Connection
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.session import Session, SessionState
from usmbd.protocol.state.tree import TreeConnect
from usmbd.protocol.state.turns import in_turns
from usmbd.protocol.vfs.errors import is_refusal, status_of
from usmbd.protocol.vfs.identity import IdentityNeededError
from usmbd.protocol.vfs.pace import LongCallError
from usmbd.protocol.wire.error import build_error_response
from usmbd.protocol.wire.header import (
    HEADER_SIZE,
    SMB2_FLAGS_ASYNC_COMMAND,
    SMB2_FLAGS_SERVER_TO_REDIR,
    SMB2_FLAGS_SIGNED,
    SMB2_PROTOCOL_ID,
    Command,
    Header,
)
from usmbd.protocol.wire.negotiate import is_smb1_negotiate
from usmbd.protocol.wire.status import MalformedError, NtStatus, SmbError
from usmbd.transport.base import Transport

log = logging.getLogger("usmbd.smb")

MAXIMUM_ASYNC = 512
"""Requests of one connection that wait after STATUS_PENDING: Samba's `smb2 max async credits`."""

_NEGOTIATE, _CANCEL = int(Command.NEGOTIATE), int(Command.CANCEL)


class Dispatcher:
    """The receiver of one connection's messages."""

    def __init__(self, server: Server, transport: Transport) -> None:
        """Begin a connection on `transport`."""
        self.connection = Connection(server, transport)
        self.replies = Replies(self.connection)
        self.server = server
        server.connections.add(self.connection)

    @property
    def message_limit(self) -> int:
        """The longest message that the client may send now."""
        connection = self.connection
        return connection.message_limit if connection.session_table else UNAUTHENTICATED_LIMIT

    def connection_lost(self, reason: str) -> None:
        """Close what the client had open on this connection ([MS-SMB2] 3.3.7.1)."""
        connection = self.connection
        log.debug("connection ended: %s", reason, extra=connection.facts)
        connection.closed = True
        self.server.closing += 1
        in_turns(self.server.turns, connection.transport, self._cancel_all(), self._over)

    def _over(self) -> None:
        """Take the connection out of its sessions."""
        self.server.closing -= 1
        self.server.connection_lost(self.connection)

    def _cancel_all(self) -> Iterator[None]:
        """End a request that waits in each step, but those that go on without this channel."""
        for request in list(self.connection.async_command_list.values()):
            if not self.server.replays.outlives(request):
                self.cancel(request, SmbError(NtStatus.CANCELLED))
            yield

    # -- in ------------------------------------------------------------------------------

    def message_received(self, message: memoryview) -> None:
        """Answer one message; a client that does not speak SMB2 is disconnected."""
        connection = self.connection
        connection.requests += 1
        try:
            kind = message[0] if message else 0
            if kind == 0xFE:
                self.take(message, None)
            elif kind == 0xFD:
                take_encrypted(self, message)
            elif kind == 0xFC:
                take_compressed(self, message, None)
            elif is_smb1_negotiate(message) and not connection.negotiated:
                self.replies.send([reply_to_smb1(connection, message)])
            else:
                raise Disconnect("not an SMB2 message")
        except Exception as error:
            self._fault(error)

    def _fault(self, error: Exception) -> None:
        """End the connection for what no reply can say."""
        connection = self.connection
        if isinstance(error, Disconnect):
            log.info("disconnected: %s", error, extra=connection.facts)
            connection.transport.close(str(error))
        elif isinstance(error, MalformedError):
            connection.transport.close(f"a message that has no form: {error}")
        else:
            # Never expected. The state of this client is unknown, the others' is not touched.
            log.error("a message could not be handled", exc_info=error, extra=connection.facts)
            connection.transport.close("an internal error")

    def take(self, message: memoryview, sealed: Session | None) -> None:
        """Take up one request, or a compound of them."""
        header = Header.parse(message)
        if header.protocol_id != SMB2_PROTOCOL_ID or header.structure_size != HEADER_SIZE:
            raise Disconnect("a malformed header")
        if header.next_command:
            Chain(self, message, sealed).run()
            return
        request = Request(self.connection, header, message)
        request.sealed = sealed
        answer = self.begin(request, sealed)
        if answer is not SUSPENDED:
            self._finish(request, answer)

    # -- one request ---------------------------------------------------------------------

    def begin(self, request: Request, sealed: Session | None) -> Outcome:
        """Check what the table asks for and run the handler; `SUSPENDED` when it waits."""
        connection, header = self.connection, request.header
        command = header.command
        if header.flags & SMB2_FLAGS_SERVER_TO_REDIR:
            raise Disconnect("a response, not a request")
        if not connection.dialect and command != _NEGOTIATE:
            raise Disconnect("a request before NEGOTIATE")
        if command != _CANCEL:
            charge = header.credit_charge if connection.supports_multi_credit else 1
            if not connection.credit_window.use(header.message_id, charge or 1):
                raise Disconnect(f"message id {header.message_id} is not in the window")
        try:
            if command >= len(TABLE):
                raise SmbError(NtStatus.INVALID_PARAMETER)
            row = TABLE[command]
            if row.session:
                self._find_session(request, row, sealed)
            else:
                find_optional_session(request)
            if command == _CANCEL:
                self._cancel_command(request)
                return NoReply()
            if row.file_id:
                find_open(request, row)
            answer = row.handler(request)
            if isinstance(answer, GeneratorType):
                request.generator = answer
                return self._drive(request, None, None)
            # mypy would understand the abstract Generator, which takes 0.7 us to ask.
            return answer  # type: ignore[return-value]
        except Disconnect:
            raise
        except smbtorture.AnsweredError as answered:
            return answered.parts
        except Exception as error:
            return self.failure(request, error)

    def _find_session(self, request: Request, row: Row, sealed: Session | None) -> None:
        """Find session and tree and check the protection ([MS-SMB2] 3.3.5.2.4, .9, .11)."""
        header = request.header
        session = self.connection.session_table.get(header.session_id)
        channel = session.channel_list.get(self.connection) if session is not None else None
        if session is None or not session.valid or channel is None:
            # Or its binding to this connection is not finished: nobody has proved anything here.
            refuse_without_session(request)
        request.session = session
        if sealed is not None:
            if sealed is not session:
                # An element of a compound names another session than the one whose key sealed it.
                raise SmbError(NtStatus.USER_SESSION_DELETED)
        elif header.flags & SMB2_FLAGS_SIGNED:
            signer = channel.signer
            if signer is None:
                if not (session.guest or session.anonymous):
                    raise SmbError(NtStatus.USER_SESSION_DELETED)
            elif signer.verify(request.message):
                request.signer = signer
            else:
                raise SmbError(NtStatus.ACCESS_DENIED)
        elif session.signing_required and header.command != Command.CANCEL:
            request.signer = channel.signer
            raise SmbError(NtStatus.ACCESS_DENIED)
        if session.encrypt_data and sealed is None:
            raise SmbError(NtStatus.ACCESS_DENIED)
        if session.state is not SessionState.VALID:
            row.check_state(session.state)
        if row.tree:
            tree = session.tree_connect_table.get(header.tree_id)
            if tree is None:
                raise SmbError(NtStatus.NETWORK_NAME_DELETED)
            if tree.share.encryption_required and sealed is None:
                raise SmbError(NtStatus.ACCESS_DENIED)
            request.tree = tree

    def failure(self, request: Request, error: BaseException) -> Reply:
        """Turn an exception into the ERROR Response: the one place that does.

        What is wrong with a message is an SmbError (MalformedError: it cannot be read), and what
        the kernel refuses an OSError. Anything else is a mistake of ours, whoever called for it.
        """
        if isinstance(error, SmbError):
            status, data = error.status, error.error_data
        elif isinstance(error, OSError) and is_refusal(error):
            status, data = status_of(error), b""
        else:
            log.error("%s failed", _name(request), exc_info=error, extra=self.connection.facts)
            status, data = NtStatus.INTERNAL_ERROR, b""
        if self.connection.rdma is not None and not request.invalidate:
            # Whatever the error, and however early: a client whose memory stays registered
            # cannot register it again.
            request.invalidate = invalidated_token(request)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s: %s", _name(request), status.name, extra=self.connection.facts)
        return Reply([build_error_response(data)], status)

    # -- waiting -------------------------------------------------------------------------

    def _drive(self, request: Request, value: object, error: BaseException | None) -> Outcome:
        """Run a handler until it answers or waits; exceptions are those of the handler."""
        generator = request.generator
        assert generator is not None
        server = self.server
        while True:
            try:
                effect = generator.send(value) if error is None else generator.throw(error)
            except StopIteration as stop:
                request.generator = error = None
                return stop.value  # type: ignore[no-any-return]
            except BaseException:
                error = None  # it refers to this frame: files and memory would wait for the GC
                raise
            value = error = None
            if isinstance(effect, Wait):
                try:
                    return self._wait(request, effect)
                except Exception as failure:
                    error = failure
                    continue
            kind = type(effect)
            if isinstance(effect, Sliced):
                slices = Slices(self, request, effect)
                if not slices.go_on():
                    channel_sequence.wait(request)
                    keeping.keep_call(request)
                    return SUSPENDED
                value, error = slices.take()
                continue
            tree = request.tree  # another for a while, where a pipe asks for a file
            if (
                kind is Slow
                or (server.pinned and kind is not OnDescriptor)
                or (tree is not None and not tree.speed.fast())
            ):
                return self._offload(request, effect)
            try:
                value = on_loop(server, tree, effect.function, effect.args)
            except LongCallError:
                return self._offload(request, effect, long=True)
            except IdentityNeededError as failure:
                if kind is OnDescriptor:
                    return self._offload(request, effect)
                error = failure
            except Exception as failure:
                error = failure

    def later(
        self, work: Callable[[], None], keeps: int, drop: Callable[[], None] | None = None
    ) -> None:
        """Go on with this client's work, which keeps some bytes, when others had their turn.

        Where the client has gone meanwhile, `drop()` is called instead.
        """
        self.connection.memory.keep(keeps)

        def go_on() -> None:
            self.connection.memory.keep(-keeps)
            if not self.connection.closed:
                try:
                    work()
                except Exception as error:
                    self._fault(error)
            elif drop is not None:
                drop()

        self.server.turns.later(self.connection.transport, go_on)

    def _offload(
        self, request: Request, effect: Blocking[object], *, long: bool = False
    ) -> Suspended:
        """Let a thread make a call that may block; the reply follows without an interim one.

        One that is `long` computes, and shares few threads with its like; those that move data too.

        Nothing cancels it: what the call opens has to come back to the handler, and the thread
        has to let go of the open that it uses.
        """
        open_: Open | None = request.open
        target = partial(self.resumed, request)
        kind: object = None  # of those that share few threads with their like
        if long:
            kind = Slices
        elif isinstance(effect, Slow) and effect.bulk:
            kind = Slow
        if open_ is not None:
            open_.in_use += 1
            closed = open_.closed  # then this is its CLOSE, which goes on whatever ends meanwhile
            target = partial(self._released, request, open_, closed)
            if not closed:
                effect = Blocking(_unless_over, open_, effect.function, *effect.args)
        tree: TreeConnect | None = request.tree
        lane = effect.lane if tree is None else tree.speed
        places = 0
        if kind is not None:
            lane = kind, lane
            places = SLICE_THREADS
        channel_sequence.wait(request)
        keeping.keep_call(request)
        on_thread(self.server, tree, effect.function, effect.args, target, lane, places)
        return SUSPENDED

    def _wait(self, request: Request, effect: Wait[object]) -> Suspended:
        """Suspend a request; tell the client where the wait may be long ([MS-SMB2] 3.3.4.2)."""
        chain = request.chain
        interim = effect.interim
        if interim and not effect.in_compound and chain is not None and not chain.last:
            # Only the last of a compound may go on alone ([MS-SMB2] 3.3.5.2.7).
            raise SmbError(NtStatus.INTERNAL_ERROR)
        if interim and len(self.connection.async_command_list) >= MAXIMUM_ASYNC:
            # An interim reply gives the credits back: they do not bound what waits.
            raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
        if effect.interim or effect.in_compound:
            keeping.wait(request, effect)
        else:
            keeping.keep_question(request, effect)
        channel_sequence.wait(request)
        resume = request.resume = Resume(partial(self.resumed, request))
        undo = effect.start(resume)
        if request.resume is not resume:
            return SUSPENDED  # it has gone on already, and perhaps waits for something else now
        request.cancel = undo
        if interim and not request.async_id:
            self._send_interim(request)
        return SUSPENDED

    def _released(
        self,
        request: Request,
        open_: Open,
        was_closed: bool,
        value: object,
        error: BaseException | None,
    ) -> None:
        """Go on after a thread used an open, unless its tree connect is over meanwhile.

        A CLOSE that came meanwhile does not matter: it waits until this is done.
        """
        if open_.tree.closed and not was_closed:
            value, error = None, SmbError(NtStatus.FILE_CLOSED)
        try:
            self.resumed(request, value, error)
        finally:
            open_.release()

    def resumed(self, request: Request, value: object, error: BaseException | None) -> None:
        """Go on with a suspended request, and with the compound that it is part of."""
        request.resume = request.cancel = None
        keeping.give_back(request)
        try:
            answer = self._drive(request, value, error)
        except Exception as failure:
            answer = self.failure(request, failure)
        if error is not None:
            # It refers to the handler's frames, and its thrower's to it: the request's memory
            # would wait for the GC.
            error.__traceback__ = None
        if answer is SUSPENDED:
            return
        if request.counted is not None:
            channel_sequence.over(request, request.counted)
        try:
            if request.chain is not None:
                self.connection.async_command_list.pop(request.async_id, None)
                request.chain.go_on(request, answer)
            else:
                self._finish(request, answer)
        except Exception as failure:
            self._fault(failure)

    def cancel(self, request: Request, error: SmbError) -> None:
        """End a waiting request by raising `error` in its handler."""
        if request.resume is None:
            return
        request.resume.forget()
        if request.cancel is not None:
            request.cancel()
        self.resumed(request, None, error)

    def _cancel_command(self, request: Request) -> None:
        """CANCEL: find the request that waits and end it ([MS-SMB2] 3.3.5.16)."""
        header = request.header
        waiting = self.connection.async_command_list
        if header.flags & SMB2_FLAGS_ASYNC_COMMAND:
            target = waiting.get(header.async_id)
        else:
            target = next(
                (r for r in waiting.values() if r.header.message_id == header.message_id), None
            )
        if target is not None:
            self.cancel(target, SmbError(NtStatus.CANCELLED))

    # -- out -----------------------------------------------------------------------------

    def _finish(self, request: Request, answer: Answer) -> None:
        """Send the reply to a request that is not (or no longer) part of a compound."""
        if request.async_id:
            self.connection.async_command_list.pop(request.async_id, None)
        if (size := to_protect(request, answer)) and self.server.turns.over():
            self.later(partial(self._finish, request, answer), size)
            return
        parts = self.replies.reply(request, answer)
        if parts is None:
            return
        if type(answer) is CompressedReply:
            parts = self.replies.compress(parts, answer.payloads)
        if request.on_reply is not None:
            request.on_reply(*buffers(parts))
        if request.sealed is not None:
            self.replies.seal(request.sealed, parts, request.invalidate)
        else:
            self.replies.send(parts, request.invalidate)

    def _send_interim(self, request: Request) -> None:
        """Send STATUS_PENDING, with what a compound has answered so far.

        The last of a compound goes on alone; what stands before others is answered with them.
        """
        parts = self.replies.interim(request)
        chain = request.chain
        if chain is not None:
            if chain.last:
                request.chain = None
            chain.replies.append((request, parts, False))
            chain.send()
        elif request.sealed is not None:
            self.replies.seal(request.sealed, parts)
        else:
            self.replies.send(parts)


def _unless_over(open_: Open, function: Callable[..., object], *args: object) -> object:
    """Call on a thread, unless the client went away while thousands of others were called."""
    if open_.tree.closed:
        raise SmbError(NtStatus.FILE_CLOSED)
    return function(*args)


def _name(request: Request) -> str:
    """Return a request for the log."""
    command = request.header.command
    known = command < len(TABLE)
    name = Command(command).name if known else f"command {command}"
    return f"{name} {request.header.message_id}"
