"""The answers to what administrators ask and wish by DCE/RPC (`ipc.administration`)."""

import logging
from collections.abc import Callable
from typing import Protocol

from usmbd.mountd.admin.running import Answered, Lists
from usmbd.mountd.ipc.accounts import DirectoryResponse
from usmbd.mountd.ipc.administration import (
    PAGE_ROWS,
    AdministrationRequest,
    CloseRunning,
    ListRunning,
    Outcome,
    Result,
    RunningPage,
)
from usmbd.mountd.ipc.messages import ControlClose, ControlList, Message, Row

log = logging.getLogger("usmbd.auth")

Reply = Callable[[DirectoryResponse], None]


class Host(Protocol):
    """What administration needs of mountd."""

    def administrates(self, user: str) -> bool:
        """Tell whether a user administrates the server."""


class Asked(Protocol):
    """Who tells what runs: `running.Running`."""

    def ask(self, message: Message, answered: Answered) -> None:
        """Ask, and say what came of it."""


class Administration:
    """Answers what administrators ask, at once or later."""

    def __init__(self, host: Host, running: Asked) -> None:
        """Serve the administrators whom `host` knows."""
        self._host = host
        self._running = running
        self._lists = Lists()
        self._handlers: dict[type, Callable[..., None]] = {
            ListRunning: self._list,
            CloseRunning: self._close,
        }

    def answer(self, message: AdministrationRequest, reply: Reply) -> None:
        """Answer one question."""
        if not self._host.administrates(message.by):
            reply(Outcome(Result.DENIED))
            return
        self._handlers[type(message)](message, reply)

    # -- what runs -------------------------------------------------------------------------

    def _list(self, message: ListRunning, reply: Reply) -> None:
        if message.list:
            rows = self._lists.get(message.list)
            if rows is None:  # others' lists took its place
                reply(Outcome(Result.FAILED))
            else:
                self._page(message.list, rows, message.start, reply)
            return

        def told(rows: list[Row] | None) -> None:
            if rows is None:
                reply(Outcome(Result.FAILED))
            elif len(rows) <= PAGE_ROWS:
                reply(RunningPage(rows, len(rows), 0))
            else:
                self._page(self._lists.add(rows), rows, 0, reply)

        self._running.ask(ControlList(message.kinds), told)

    def _page(self, number: int, rows: list[Row], start: int, reply: Reply) -> None:
        """Tell a part of a list; with its last part it is forgotten."""
        if start + PAGE_ROWS >= len(rows):
            self._lists.drop(number)
        reply(RunningPage(rows[start : start + PAGE_ROWS], len(rows), number))

    def _close(self, message: CloseRunning, reply: Reply) -> None:
        log.info(
            "an administrator ends %d sessions and closes %d files",
            len(message.sessions), len(message.opens), extra={"user": message.by},
        )  # fmt: skip
        self._running.ask(
            ControlClose(message.sessions, message.opens),
            lambda rows: reply(Outcome(Result.FAILED if rows is None else Result.DONE)),
        )
