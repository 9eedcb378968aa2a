"""What a command handler takes and gives.

A handler is a plain function, or a generator where it may have to wait::

    def close(request: Request) -> Answer: ...

    def flush(request: Request) -> Handling:
        yield Blocking(request.open.node.flush)
        return FlushResponse().pack()

The generator yields what it waits for and is resumed with the result; `protocol.dispatch` drives
it. So a handler reads from top to bottom, makes no task and no future, and a CANCEL, a closed
file or a lost connection ends it by an exception at its `yield`.
"""

from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from usmbd.protocol.wire.header import Header
from usmbd.protocol.wire.status import NtStatus
from usmbd.transport.base import Part

if TYPE_CHECKING:
    from usmbd.protocol.crypto.signing import Signer
    from usmbd.protocol.state.connection import Connection
    from usmbd.protocol.state.open import Open
    from usmbd.protocol.state.session import Session
    from usmbd.protocol.state.tree import TreeConnect


class Disconnect(Exception):
    """The client broke the protocol in a way that is answered by closing the connection."""


class Reply:
    """A body with a status other than SUCCESS, or with an effect on how it is sent."""

    __slots__ = ("parts", "status")

    def __init__(self, parts: Sequence[Part], status: NtStatus = NtStatus.SUCCESS) -> None:
        """Answer `status` with a body (not an ERROR Response)."""
        self.parts = parts
        self.status = status


class NoReply:
    """The request is answered by nothing (CANCEL), or the connection is to be closed."""


Answer = bytes | list[Part] | Reply | NoReply
"""What a handler returns: a body whole or in parts (status SUCCESS), or one of the classes."""


class Blocking:
    """A call that may block: run on the event loop while the volume is fast, else on a thread.

    A server whose loop is pinned runs it on a thread always.
    """

    __slots__ = ("args", "function")

    lane: Hashable = None
    """Whose part of the threads it takes, where the request has no tree connect."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        """Call `function(*args)` with the request's identity."""
        self.function = function
        self.args = args


class OnDescriptor(Blocking):
    """A call that acts on an open descriptor, where the kernel asks nobody for permission.

    So a pinned thread may make it. If it turns out to need an identity after all, it says so by
    IdentityNeededError before it has changed anything, and is made again on a thread.
    """

    __slots__ = ()


class Slow(Blocking):
    """A call that always goes to a thread: fsync, and what waits for others by nature."""

    __slots__ = ("lane",)

    def __init__(self, function: Callable[..., Any], *args: Any, lane: Hashable = None) -> None:
        """Call `function(*args)` in a part of the threads."""
        super().__init__(function, *args)
        self.lane = lane


class Sliced(Blocking):
    """A call that returns steps: an iterator that is run in slices, with others between them.

    For what grows with what the client sends or a directory holds. Each step takes 0.5 ms at most;
    the value is what the iterator, a generator, returns.
    """

    __slots__ = ()

    def __init__(self, function: Callable[..., Iterator[None]], *args: Any) -> None:
        """Run `function(*args)` with the request's identity, to its end."""
        super().__init__(function, *args)


class Resume:
    """Goes on with a waiting request, once; later calls do nothing."""

    __slots__ = ("_target",)

    def __init__(self, target: Callable[[Any, BaseException | None], None]) -> None:
        """Call `target(value, error)` at the first use."""
        self._target: Callable[[Any, BaseException | None], None] | None = target

    def __call__(self, value: Any = None, error: BaseException | None = None) -> None:
        """Resume with `value`, or by raising `error` at the `yield`."""
        target, self._target = self._target, None
        if target is not None:
            target(value, error)

    def forget(self) -> None:
        """Let later calls do nothing."""
        self._target = None


class Wait:
    """Waits until somebody calls the `Resume` that `start` is given.

    `start` returns a function that undoes it (or None), called when the wait is cancelled.
    With `interim` the client is told STATUS_PENDING and may CANCEL. `keeps` is how many bytes the
    handler still has of the message, whose memory is given back if it is none.
    """

    __slots__ = ("in_compound", "interim", "keeps", "start")

    def __init__(
        self,
        start: Callable[[Resume], Callable[[], None] | None],
        interim: bool = False,
        in_compound: bool = False,
        keeps: int = 0,
    ) -> None:
        """Keep how to begin; `in_compound` allows a wait before a compound's end, untold."""
        self.start = start
        self.keeps = keeps
        self.interim = interim
        self.in_compound = in_compound


Effect = Blocking | Wait
Handling = Generator[Effect, Any, Answer]


class Request:
    """One command of one message, on its way through preconditions, handler and reply.

    `message` begins at the SMB2 header and ends with this element of the compound.
    """

    __slots__ = (
        "_open",
        "_session",
        "_tree",
        "async_id",
        "cancel",
        "chain",
        "connection",
        "generator",
        "header",
        "invalidate",
        "kept",
        "message",
        "on_reply",
        "resume",
        "sealed",
        "signer",
        "waits",
    )

    def __init__(self, connection: "Connection", header: Header, message: memoryview) -> None:
        """Begin with what the wire says."""
        self.connection = connection
        self.header = header
        self.message = message
        self._session: Session | None = None
        self._tree: TreeConnect | None = None
        self._open: Open | None = None
        self.sealed: Session | None = None  # whose key encrypted it, and encrypts the reply
        self.signer: Signer | None = None  # signs the reply, as the request was signed
        self.async_id = 0
        self.generator: Handling | None = None
        self.resume: Resume | None = None
        self.cancel: Callable[[], None] | None = None
        self.chain: Any = None
        self.invalidate = 0  # token of the client's memory that the final reply gives back
        self.on_reply: Callable[..., None] | None = None  # sees the parts of the final reply
        self.kept = 0  # bytes that count as under way while it is suspended
        self.waits = -1  # bytes beside its own that count as waiting; -1: it does not wait

    def disconnect(self, reason: str) -> NoReturn:
        """End the connection instead of an answer."""
        raise Disconnect(reason)

    @property
    def session(self) -> "Session":
        """The session; the dispatch table promised that there is one."""
        assert self._session is not None
        return self._session

    @property
    def tree(self) -> "TreeConnect":
        """The tree connect; the dispatch table promised that there is one."""
        assert self._tree is not None
        return self._tree

    @property
    def open(self) -> "Open":
        """The open that FileId names; the dispatch table promised that there is one."""
        assert self._open is not None
        return self._open

    @property
    def plain(self) -> bool:
        """Whether the reply leaves as it is: neither signed nor encrypted, nor in a compound."""
        return self.signer is None and self.sealed is None and self.chain is None
