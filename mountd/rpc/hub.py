"""The pipes that one engine worker has open: messages in, answers out, without I/O."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from usmbd.mountd.ipc.administration import Outcome, Result
from usmbd.mountd.ipc.messages import (
    MAX_PIPES_PER_WORKER,
    MAX_RPC_DATA,
    LoginResponse,
    RpcAnswer,
    RpcAsks,
    RpcClose,
    RpcOpen,
    RpcRead,
    RpcRequest,
    RpcResponse,
    RpcStatus,
    RpcTold,
    RpcTransceive,
    RpcWrite,
)
from usmbd.mountd.rpc.endpoint import Interface, Pipe, PipeBrokenError
from usmbd.mountd.rpc.groups import Groups
from usmbd.mountd.rpc.handles import Handles
from usmbd.mountd.rpc.outside import Alone, Answered, Awaits, Denied, Outside, Pace, Question
from usmbd.mountd.rpc.room import HANDLE_BYTES, Room, Who, who
from usmbd.mountd.rpc.security.association import Security
from usmbd.mountd.rpc.traffic import Traffic
from usmbd.mountd.rpc.view import Caller, Snapshot, View
from usmbd.mountd.rpc.vouched import Vouched

logger = logging.getLogger("usmbd.ipc")

MAX_PIPES_PER_SESSION = 64
"""Windows has one or two open at a time; without a limit one client could take them all."""

InterfaceFactory = Callable[[View], Interface]

_Transfer = RpcWrite | RpcRead | RpcTransceive | RpcTold


class Hub:
    """One worker's connection: its pipes by the numbers that the worker gave them."""

    def __init__(
        self,
        pipes: Mapping[str, Sequence[InterfaceFactory]],
        snapshot: Callable[[], Snapshot],
        outside: Outside | None = None,
        groups: Groups | None = None,
        room: Room | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        """Serve the named `pipes`; `snapshot` returns the configuration of the moment.

        `groups` are those of all workers, and so are the `room` and the `traffic`.
        """
        self._traffic = traffic if traffic is not None else Traffic()
        self._groups = groups if groups is not None else Groups()
        self._room = room if room is not None else Room()
        self._counted: dict[int, tuple[Who, int]] = {}
        self._joined: dict[int, tuple[int, str]] = {}
        self._outside = outside or Alone()
        self._paces: dict[int, Pace] = {}
        self._interfaces = pipes
        self._snapshot = snapshot
        self._pipes: dict[int, tuple[Pipe, int]] = {}
        self._asked: dict[int, _AskedWorker] = {}
        self._vouched: dict[int, Vouched] = {}
        self._views: dict[int, View] = {}
        self._sessions: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._pipes)

    def handle(
        self, message: RpcRequest, answered: Callable[[RpcAnswer], None] = lambda answer: None
    ) -> RpcAnswer | None:
        """Return the answer to one message of the worker, or None: `answered` takes it later."""
        if isinstance(message, RpcOpen):
            return RpcResponse(self._open(message))
        if isinstance(message, RpcClose):
            self._close(message.pipe)
            return RpcResponse(RpcStatus.OK)
        if message.pipe not in self._pipes:
            return RpcResponse(RpcStatus.BAD_HANDLE)
        pipe, _ = self._pipes[message.pipe]
        try:
            asked = self._asked[message.pipe]
            if isinstance(message, RpcTransceive | RpcWrite):
                pipe.write(message.data)
                if not self._count(message.pipe):
                    raise PipeBrokenError(pipe.name)
            elif isinstance(message, RpcTold):
                asked.told(message)
            if pipe.busy and _reads(message):
                return asked.wait(pipe, partial(self._read, pipe, message), answered)
        except PipeBrokenError:
            return RpcResponse(RpcStatus.BROKEN)
        return self._read(pipe, message)

    def _read(self, pipe: Pipe, message: _Transfer) -> RpcResponse:
        """Return what there is to read."""
        try:
            return self._transfer(pipe, message)
        except PipeBrokenError:
            return RpcResponse(RpcStatus.BROKEN)
        finally:
            self._count(message.pipe)

    def _count(self, number: int) -> bool:
        """Count what a pipe keeps; False where that is too much for its client: it ends."""
        if number not in self._pipes:
            return True
        pipe, _ = self._pipes[number]
        whose, before = self._counted[number]
        kept = pipe.kept + HANDLE_BYTES * len(self._views[number].handles)
        if kept == before:
            return True
        if self._room.change(whose, kept - before):
            self._counted[number] = whose, kept
            return True
        logger.info("pipe %s: too much that nobody reads", pipe.name, extra={"user": whose[1]})
        self._uncount(number)
        self._views[number].handles = Handles()
        pipe.close()
        return False

    def _uncount(self, number: int) -> None:
        """Count nothing for a pipe any more."""
        whose, before = self._counted[number]
        self._counted[number] = whose, 0
        self._room.change(whose, -before)

    def _transfer(self, pipe: Pipe, message: _Transfer) -> RpcResponse:
        """Read from an open pipe what a message asks for."""
        if isinstance(message, RpcWrite):
            return RpcResponse(RpcStatus.OK, waiting=pipe.waiting)
        if isinstance(message, RpcRead):
            take = pipe.peek if message.keep else pipe.read
            data, more = take(min(message.max_length, MAX_RPC_DATA))
        else:
            data, more = pipe.read(min(message.max_output, MAX_RPC_DATA))
        status = RpcStatus.MORE_DATA if more else RpcStatus.OK if data else RpcStatus.EMPTY
        return RpcResponse(status, data, pipe.waiting)

    def _open(self, message: RpcOpen) -> RpcStatus:
        """Open a pipe for the session that asks."""
        if message.pipe in self._pipes:
            return RpcStatus.ERROR
        snapshot = self._snapshot()
        config = snapshot.config
        # Level 2 means no anonymous access at all; the engine should have said so already.
        if message.anonymous and config.restrict_anonymous >= 2:
            return RpcStatus.ACCESS_DENIED
        name = message.name.casefold()
        if name not in self._interfaces:
            return RpcStatus.NO_PIPE
        if (
            len(self._pipes) >= MAX_PIPES_PER_WORKER
            or self._sessions[message.session_id] >= MAX_PIPES_PER_SESSION
        ):
            return RpcStatus.TOO_MANY
        caller = Caller(
            user=_name_of(message, snapshot),
            domain=message.domain,
            uid=message.uid,
            guest=message.guest,
            anonymous=message.anonymous,
            address=message.client_address,
            key=message.key,
            credential=message.credential,
            ticket=message.ticket,
        )
        view = View(snapshot.seen_by(caller), caller, traffic=self._traffic)
        pace = self._paces.setdefault(message.session_id, Pace(time.monotonic))
        worker = self._asked[message.pipe] = _AskedWorker(view)
        vouched = self._vouched[message.pipe] = Vouched(view, self._outside)
        pipe = Pipe(
            name,
            [factory(view) for factory in self._interfaces[name]],
            _AtPace(self._outside, pace, worker, vouched),
            Security(config.netbios_name, message.client_address, ntlmv1=config.ntlmv1),
            partial(_became, view),
            partial(self._join, message.pipe, name, view),
            self._traffic,
        )
        pipe.answered = partial(self._count, message.pipe)
        self._counted[message.pipe] = who(caller), 0
        self._pipes[message.pipe] = pipe, message.session_id
        self._views[message.pipe] = view
        self._sessions[message.session_id] += 1
        facts = {"client": message.client_address, "user": message.user}
        logger.debug("pipe %s is open", name, extra=facts)
        return RpcStatus.OK

    def _join(self, number: int, name: str, view: View, group: int) -> int | None:
        """Take a pipe into an association group; None: the client has none such."""
        joined = self._groups.join(group, name, view.caller)
        if joined is None:
            return None
        found, view.handles = joined
        self._joined[number] = found, name
        return found

    def configured(self) -> None:
        """Show the configuration of the moment on all pipes."""
        snapshot = self._snapshot()
        for vouched in self._vouched.values():
            vouched.forget()
        for view in self._views.values():
            view.snapshot = snapshot.seen_by(view.caller)
            view.changed()

    def close(self) -> None:
        """Close all pipes: the worker has gone."""
        for number in list(self._pipes):
            self._close(number)

    def _close(self, number: int) -> None:
        """Forget a pipe; one that is not open is fine."""
        if number in self._pipes:
            self._uncount(number)
            pipe, session_id = self._pipes.pop(number)
            del self._views[number], self._asked[number], self._vouched[number]
            del self._counted[number]
            pipe.close()
            if number in self._joined:
                self._groups.leave(*self._joined.pop(number))
            self._sessions[session_id] -= 1
            if not self._sessions[session_id]:
                del self._sessions[session_id], self._paces[session_id]


def _name_of(message: RpcOpen, snapshot: Snapshot) -> str:
    """Return who has opened a pipe: of who has proved nothing never the name of an account."""
    if message.anonymous:
        return ""
    return snapshot.config.guest_account if message.guest else message.user


def _reads(message: _Transfer) -> bool:
    """Tell whether a message waits for the answer of a call: a look never does."""
    return not (isinstance(message, RpcWrite) or (isinstance(message, RpcRead) and message.keep))


def _became(view: View, login: LoginResponse, key: bytes) -> None:
    """Have a view be that of who has logged in on the bind, with the key of that login.

    Another user than the session's shares no handle with the other pipes of its group.
    """
    if login.user != view.caller.user:
        view.handles = Handles()
    view.caller = replace(
        view.caller,
        user=login.user,
        uid=login.uid,
        key=key,
        credential=login.credential,
        ticket=login.ticket,
    )
    view.rights.clear()


class _AskedWorker:
    """What a pipe's call asks of the worker, which comes to hear of it where it reads."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._opened_by = view.caller.user
        self._question: RpcAsks | None = None
        self._answered: Answered | None = None
        self._waiting: list[Callable[[RpcAnswer], None]] = []

    def ask(self, message: RpcAsks, answered: Answered) -> None:
        """Ask; only for who has opened the pipe, for the worker knows no other."""
        if self._view.caller.user != self._opened_by:
            answered(Denied())  # he has logged in on the pipe alone
            return
        self._answered = answered
        if self._waiting:
            self._waiting.pop(0)(message)
        else:
            self._question = message

    def told(self, message: RpcTold) -> None:
        """Take what the worker tells; what it was not asked it does not tell."""
        answered = self._answered
        if answered is not None and self._question is None:
            self._answered = None
            answered(message)

    def wait(
        self,
        pipe: Pipe,
        read: Callable[[], RpcResponse],
        answered: Callable[[RpcAnswer], None],
    ) -> RpcAsks | None:
        """Have a message wait for the call's end, or for a question; return one that waits."""
        question, self._question = self._question, None
        if question is not None:
            return question
        self._waiting.append(answered)

        def ended() -> None:
            if answered in self._waiting:  # and has not carried a question
                self._waiting.remove(answered)
                answered(read())

        pipe.when_idle(ended)
        return None


class _AtPace:
    """What is around the pipes of one session."""

    def __init__(
        self, outside: Outside, pace: Pace, worker: _AskedWorker, vouched: Vouched
    ) -> None:
        self._vouched = vouched
        self._worker = worker
        self.later = outside.later
        self.wait = pace.wait

    def ask(self, message: Question, answered: Answered) -> None:
        """Ask the worker or mountd, or wait."""
        if isinstance(message, Awaits):
            message.listen(lambda: answered(Outcome(Result.DONE)))
        elif isinstance(message, RpcAsks):
            self._worker.ask(message, answered)
        else:
            self._vouched.ask(message, answered)
