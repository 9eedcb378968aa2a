"""The pipes that one engine worker has open: messages in, answers out, without I/O."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from usmbd.mountd.ipc.messages import (
    MAX_PIPES_PER_WORKER,
    MAX_RPC_DATA,
    LoginResponse,
    RpcClose,
    RpcOpen,
    RpcRead,
    RpcRequest,
    RpcResponse,
    RpcStatus,
    RpcTransceive,
    RpcWrite,
)
from usmbd.mountd.rpc.endpoint import Interface, Pipe, PipeBrokenError
from usmbd.mountd.rpc.outside import Alone, Outside, Pace
from usmbd.mountd.rpc.security.association import Security
from usmbd.mountd.rpc.view import Caller, Snapshot, View

logger = logging.getLogger("usmbd.ipc")

MAX_PIPES_PER_SESSION = 64
"""Windows has one or two open at a time; without a limit one client could take them all."""

InterfaceFactory = Callable[[View], Interface]


def pipe_name(name: str) -> str:
    """Return a pipe's name as the table has it: folded, without the prefix `pipe`."""
    folded = name.casefold().replace("/", "\\").lstrip("\\")
    return folded.removeprefix("pipe\\")


class Hub:
    """One worker's connection: its pipes by the numbers that the worker gave them."""

    def __init__(
        self,
        pipes: Mapping[str, Sequence[InterfaceFactory]],
        snapshot: Callable[[], Snapshot],
        outside: Outside | None = None,
    ) -> None:
        """Serve the named `pipes`; `snapshot` returns the configuration of the moment."""
        self._outside = outside or Alone()
        self._paces: dict[int, Pace] = {}
        self._interfaces = pipes
        self._snapshot = snapshot
        self._pipes: dict[int, tuple[Pipe, int]] = {}
        self._views: dict[int, View] = {}
        self._sessions: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._pipes)

    def handle(
        self, message: RpcRequest, answered: Callable[[RpcResponse], None] = lambda answer: None
    ) -> RpcResponse | None:
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
            if isinstance(message, RpcTransceive | RpcWrite):
                pipe.write(message.data)
            if pipe.busy and _reads(message):
                pipe.when_idle(lambda: answered(self._read(pipe, message)))
                return None
        except PipeBrokenError:
            return RpcResponse(RpcStatus.BROKEN)
        return self._read(pipe, message)

    def _read(self, pipe: Pipe, message: RpcWrite | RpcRead | RpcTransceive) -> RpcResponse:
        """Return what there is to read."""
        try:
            return self._transfer(pipe, message)
        except PipeBrokenError:
            return RpcResponse(RpcStatus.BROKEN)

    def _transfer(self, pipe: Pipe, message: RpcWrite | RpcRead | RpcTransceive) -> RpcResponse:
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
        # Level 2 means no anonymous access at all; the engine should have said so already.
        if message.anonymous and snapshot.config.restrict_anonymous >= 2:
            return RpcStatus.ACCESS_DENIED
        name = pipe_name(message.name)
        if name not in self._interfaces:
            return RpcStatus.NO_PIPE
        if (
            len(self._pipes) >= MAX_PIPES_PER_WORKER
            or self._sessions[message.session_id] >= MAX_PIPES_PER_SESSION
        ):
            return RpcStatus.TOO_MANY
        caller = Caller(
            user=message.user,
            domain=message.domain,
            uid=message.uid,
            guest=message.guest,
            anonymous=message.anonymous,
            address=message.client_address,
            key=message.key,
        )
        view = View(snapshot.seen_by(caller), caller)
        pace = self._paces.setdefault(message.session_id, Pace(time.monotonic))
        pipe = Pipe(
            name,
            [factory(view) for factory in self._interfaces[name]],
            _AtPace(self._outside, pace),
            Security(snapshot.config.netbios_name, message.client_address),
            partial(_became, view),
        )
        self._pipes[message.pipe] = pipe, message.session_id
        self._views[message.pipe] = view
        self._sessions[message.session_id] += 1
        facts = {"client": message.client_address, "user": message.user}
        logger.debug("pipe %s is open", name, extra=facts)
        return RpcStatus.OK

    def configured(self) -> None:
        """Show the configuration of the moment on all pipes."""
        snapshot = self._snapshot()
        for view in self._views.values():
            view.snapshot = snapshot.seen_by(view.caller)

    def close(self) -> None:
        """Close all pipes: the worker has gone."""
        for number in list(self._pipes):
            self._close(number)

    def _close(self, number: int) -> None:
        """Forget a pipe; one that is not open is fine."""
        if number in self._pipes:
            pipe, session_id = self._pipes.pop(number)
            del self._views[number]
            pipe.close()
            self._sessions[session_id] -= 1
            if not self._sessions[session_id]:
                del self._sessions[session_id], self._paces[session_id]


def _reads(message: RpcWrite | RpcRead | RpcTransceive) -> bool:
    """Tell whether a message waits for the answer of a call: a look never does."""
    return not (isinstance(message, RpcWrite) or (isinstance(message, RpcRead) and message.keep))


def _became(view: View, login: LoginResponse, key: bytes) -> None:
    """Have a view be that of who has logged in on the bind, with the key of that login."""
    view.caller = replace(view.caller, user=login.user, uid=login.uid, key=key)
    view.rights.clear()


class _AtPace:
    """What is around the pipes of one session."""

    def __init__(self, outside: Outside, pace: Pace) -> None:
        self.ask = outside.ask
        self.later = outside.later
        self.wait = pace.wait
