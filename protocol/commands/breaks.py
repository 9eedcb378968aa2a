"""Waiting for other clients to give up what they cache ([MS-FSA] 2.1.4.12)."""

from collections.abc import Callable
from functools import partial

from usmbd.protocol.commands.request import Request
from usmbd.protocol.effects import Resume, Wait, Waiting
from usmbd.protocol.state.caching.needed import Break, BreakNeededError
from usmbd.protocol.state.caching.notices import BREAK_SECONDS
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.server import Server
from usmbd.protocol.wire.status import NtStatus, SmbError

ROUNDS = 4
"""How often the handles of a file are broken for one request: whoever opens it again each time is
in the way as anybody who has it open."""

LET_GO_SECONDS = 1.0
"""Until a change is answered whose old data others may still cache: Linux answers within
milliseconds, and who does not is asleep or gone."""

LATE_SECONDS = 0.1
"""Who has waited longer for others to let go waits for nobody `LATE_FACTOR` times as long: a reader
that takes a lease for each of its writes, and is slow to answer, does not make it slow as well."""
LATE_FACTOR = 10

LOST_SECONDS = BREAK_SECONDS + 5.0
"""After that a break has ended in any case, and what should have told us was lost: try again."""


def wait_for_break(
    server: Server, needed: BreakNeededError, resume: Resume[None], open_: Open | None = None
) -> Callable[[], None]:
    """Have what others cache broken and wait until it is, or their opens are closed.

    Where a file goes with the last of them, in whatever worker, until it is gone.
    The wait of a request on `open_` ends with that, by SmbError(FILE_CLOSED).
    """
    key = needed.key

    def go_on(error: SmbError | None = None) -> None:
        undo()
        resume(None, error)

    def end(_error: SmbError) -> None:
        go_on(SmbError(NtStatus.FILE_CLOSED))

    def undo() -> None:
        give_up()
        if open_ is not None:
            open_.waiting.discard(end)

    give_up = _at_a_change(server, key, LOST_SECONDS, go_on)
    if open_ is not None:
        open_.waiting.add(end)
    server.caching.request_breaks(key, needed.breaks)
    held = server.caching.still_held(key, needed.breaks)
    if not held and not server.store.is_being_deleted(key):
        go_on()  # it ended before anybody knew that we wait
    return undo


def _at_a_change(
    server: Server, key: bytes, seconds: float, go_on: Callable[[], None]
) -> Callable[[], None]:
    """Call `go_on` when a file's opens or caches change, or by then; return how to give that up."""
    server.store.add_waiter(key)
    forget = server.wait_for(key, go_on)
    alarm = server.clock.call_later(seconds, go_on)

    def give_up() -> None:
        forget()
        alarm.cancel()

    return give_up


def let_go(server: Server, open_: Open, breaks: list[Break]) -> Waiting[None]:
    """Wait until others have let go of what they cached of data that `open_` has changed.

    As ksmbd does. Windows answers at once ([MS-FSA] 2.1.4.12), and so whoever hears from the writer
    may still read what was there before, and Linux write it back with the rest of its page. Not
    for long, as nothing depends on it; and not while this client is asked for the same: Linux
    answers no break of a file that it writes to, so two writers would wait for each other.
    Where nothing more may wait, nobody does.
    """
    began = now = server.clock.time()
    if began < open_.waits_again:
        return
    while server.caching.still_held(open_.key, breaks):
        left = began + LET_GO_SECONDS - now
        if left <= 0 or (open_.lease is not None and open_.lease.notice):
            break
        start = partial(_wait_for_change, server, open_, breaks, left)
        try:
            yield Wait(start, in_compound=True)
        except SmbError as error:
            if error.status is NtStatus.INSUFFICIENT_RESOURCES:
                return  # the change is made all the same
            raise
        now = server.clock.time()
    if now - began > LATE_SECONDS:
        open_.waits_again = now + (now - began) * LATE_FACTOR


def _wait_for_change(
    server: Server, open_: Open, breaks: list[Break], seconds: float, resume: Resume[None]
) -> Callable[[], None]:
    """Wait until a client has answered, this one is asked as well, or the time is over."""
    key, lease = open_.key, open_.lease

    def go_on() -> None:
        undo()
        resume()

    def undo() -> None:
        give_up()
        if lease is not None:
            lease.on_asked.pop(go_on, None)

    give_up = _at_a_change(server, key, seconds, go_on)
    if lease is not None:
        lease.on_asked[go_on] = None
    if not server.caching.still_held(key, breaks):
        go_on()  # they answered before anybody knew that we wait
    return undo


def handles_given_up(request: Request, key: bytes, open_: Open | None) -> Waiting[None]:
    """Wait until nobody else has a file open only because its client caches the handle.

    For what such opens would be in the way of; `open_` is by which it is done, if it is one of the
    file's.
    """
    server = request.connection.server
    for _ in range(ROUNDS):
        try:
            server.caching.check_others(key, open_)
        except BreakNeededError as needed:
            yield Wait(
                partial(wait_for_break, server, needed, open_=request.open),
                in_compound=True,
            )
        else:
            return
