"""What runs in the workers, as administrators see it: sessions, connections, opens."""

from collections.abc import Sequence
from typing import Any, TypeVar

from usmbd.mountd.ipc.administration import CloseRunning, ListRunning, Outcome, Result, RunningPage
from usmbd.mountd.ipc.messages import ListKind
from usmbd.mountd.ipc.rows import ConnectionRow, OpenRow, Row, SessionRow
from usmbd.mountd.rpc.access import is_administrator
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.errors import ERROR_ACCESS_DENIED
from usmbd.mountd.rpc.pdu import Fault
from usmbd.mountd.rpc.view import View

R = TypeVar("R", SessionRow, ConnectionRow, OpenRow)
T = TypeVar("T")


def list_running(view: View, *kinds: ListKind, denied: Sequence[Any] = ()) -> Asking[list[Row]]:
    """Return the rows of all workers.

    Status(ERROR_ACCESS_DENIED, *denied) for who does not administrate.
    """
    if not (yield from is_administrator(view)):
        raise Status(ERROR_ACCESS_DENIED, *denied)
    rows: list[Row] = []
    number = 0
    while True:
        answer = yield ListRunning(view.caller.user, [*kinds], len(rows), number)
        if not isinstance(answer, RunningPage):
            raise _failure(answer, denied)
        rows += answer.rows
        number = answer.list
        if len(rows) >= answer.total or not answer.rows:
            return rows


def close_running(
    view: View, *, sessions: Sequence[int] = (), opens: Sequence[tuple[int, int]] = ()
) -> Asking[None]:
    """Have sessions ended and opens closed."""
    answer = yield CloseRunning(view.caller.user, [*sessions], [*opens])
    if not isinstance(answer, Outcome) or answer.result is not Result.DONE:
        raise _failure(answer, ())


def of_kind(rows: Sequence[Row], kind: type[R]) -> list[R]:
    """Return the rows of one kind."""
    return [row for row in rows if isinstance(row, kind)]


def _failure(answer: object, denied: Sequence[Any]) -> Exception:
    """Return what an answer that is no success ends a call with."""
    if isinstance(answer, Outcome) and answer.result is Result.DENIED:
        return Status(ERROR_ACCESS_DENIED, *denied)
    return CallError(Fault.SERVER_TOO_BUSY)


def cut(rows: Sequence[T], limit: int) -> Sequence[T]:
    """Return the first rows that fit `limit` bytes of information, and always one."""
    total = 0
    for index, row in enumerate(rows):
        total += sum(_size(value) for value in vars(row).values())
        if total > limit and index:
            return rows[:index]
    return rows


def _size(value: object) -> int:
    """Return what a number or a string takes in an answer, about."""
    return 4 + 2 * (len(value) + 1) if isinstance(value, str) else 4


def page(rows: Sequence[T], limit: int, resume: int | None) -> tuple[Sequence[T], int, int | None]:
    """Return the rows from `resume` on that fit, how many there are from there, where to go on.

    The last is 0 when that was all.
    """
    start = min(resume or 0, len(rows))
    chosen = cut(rows[start:], limit)
    end = start + len(chosen)
    following = end if end < len(rows) else 0
    return chosen, len(rows) - start, following if resume is not None or following else None
