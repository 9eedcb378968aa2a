"""What a handler waits for: calls that may block, and wake-ups.

A handler that may wait is a generator. It yields an effect; `protocol.dispatch` runs it and resumes
the handler with its result. `yield from` gives that result the type of the call::

    yield Slow(node.flush)
    stat = yield from Blocking(node.stat)

So a handler reads from top to bottom, makes no task and no future, and a CANCEL, a closed file or a
lost connection ends it by an exception at its `yield`.
"""

from collections.abc import Callable, Generator, Hashable
from typing import Generic, TypeVar, TypeVarTuple

T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)
Ts = TypeVarTuple("Ts")
R = TypeVar("R")


class Effect(Generic[T_co]):
    """Something that a handler waits for, with a result of type `T_co`."""

    __slots__ = ()

    def __iter__(self) -> "Waiting[T_co]":
        """Yield the effect itself; its result has the type that the dispatcher promises here."""
        return (yield self)  # type: ignore[misc, return-value]


class Blocking(Effect[T_co]):
    """A call that may block: run on the event loop while the volume is fast, else on a thread.

    A server whose loop is pinned runs it on a thread always.
    """

    __slots__ = ("args", "function")

    lane: Hashable = None
    """Whose part of the threads it takes, where the request has no tree connect."""

    def __init__(self, function: Callable[[*Ts], T_co], *args: *Ts) -> None:
        """Call `function(*args)` with the request's identity."""
        self.function: Callable[..., T_co] = function
        self.args: tuple[object, ...] = args


class OnDescriptor(Blocking[T_co]):
    """A call that acts on an open descriptor, where the kernel asks nobody for permission.

    So a pinned thread may make it. If it turns out to need an identity after all, it says so by
    IdentityNeededError before it has changed anything, and is made again on a thread.
    """

    __slots__ = ()


class Slow(Blocking[T_co]):
    """A call that always goes to a thread: fsync of a disk, and what waits for others by nature.

    One of `bulk` moves much data, for some milliseconds; a share has few threads for such calls,
    and others for all else (`dispatch.slices.SLICE_THREADS`).
    """

    __slots__ = ("bulk", "lane")

    def __init__(
        self,
        function: Callable[[*Ts], T_co],
        *args: *Ts,
        lane: Hashable = None,
        bulk: bool = False,
    ) -> None:
        """Call `function(*args)` in a part of the threads."""
        super().__init__(function, *args)
        self.lane = lane
        self.bulk = bulk


class Sliced(Effect[T_co]):
    """A call that returns steps: an iterator that is run in slices, with others between them.

    For what grows with what the client sends or a directory holds. Each step takes 0.5 ms at most;
    the result is what the iterator, a generator, returns.
    """

    __slots__ = ("args", "function")

    def __init__(self, function: Callable[[*Ts], Generator[None, None, T_co]], *args: *Ts) -> None:
        """Run `function(*args)` with the request's identity, to its end."""
        self.function: Callable[..., Generator[None, None, T_co]] = function
        self.args: tuple[object, ...] = args


class Resume(Generic[T_contra]):
    """Goes on with a waiting request, once; later calls do nothing."""

    __slots__ = ("_target",)

    def __init__(self, target: Callable[[T_contra | None, BaseException | None], None]) -> None:
        """Call `target(value, error)` at the first use."""
        self._target: Callable[[T_contra | None, BaseException | None], None] | None = target

    def __call__(self, value: T_contra | None = None, error: BaseException | None = None) -> None:
        """Resume with `value`, or by raising `error` at the `yield`."""
        target, self._target = self._target, None
        if target is not None:
            target(value, error)

    def forget(self) -> None:
        """Let later calls do nothing."""
        self._target = None


class Wait(Effect[T_co]):
    """Waits until somebody calls the `Resume` that `start` is given.

    `start` returns a function that undoes it (or None), called when the wait is cancelled.
    With `interim` the client is told STATUS_PENDING and may CANCEL. `keeps` is how many bytes the
    handler still has of the message, whose memory is given back if it is none.
    """

    __slots__ = ("in_compound", "interim", "keeps", "start")

    def __init__(
        self,
        start: Callable[[Resume[T_co]], Callable[[], None] | None],
        interim: bool = False,
        in_compound: bool = False,
        keeps: int = 0,
    ) -> None:
        """Keep how to begin; `in_compound` allows a wait before a compound's end."""
        self.start = start
        self.keeps = keeps
        self.interim = interim
        self.in_compound = in_compound


Waiting = Generator[Blocking[object] | Sliced[object] | Wait[object], object, R]
"""A generator that yields effects and returns an `R`: a handler, or a part of one."""
