"""What runs in the workers, by the supervisor's `control.sock`: told, and closed."""

import asyncio
import contextlib
import logging
import socket
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from usmbd.mountd.ipc.codec import RECEIVE_SIZE, CodecError, control_client
from usmbd.mountd.ipc.messages import ControlDone, ControlRows, Message, Row
from usmbd.mountd.ipc.peer import is_ours, peer_uid

log = logging.getLogger("usmbd.ipc")

SECONDS = 8.0
"""Until a question fails: less than the RPC process waits, more than a busy worker needs."""

MAX_QUESTIONS = 16
"""Questions under way: each is a connection, and may hold all rows there are."""

MAX_TOLD = 100_000
"""Rows of one list: some 30 MB. Who has more is told that it failed."""

MAX_LISTS = 4
"""Lists that are kept until their last page is asked for; one more lets the oldest go."""

Answered = Callable[[list[Row] | None], None]
"""Takes the rows, none for what was done; None: it failed."""


class Running:
    """Asks the supervisor, one connection a question."""

    def __init__(self, path: Path) -> None:
        """Ask by the socket at `path`; needs a running loop."""
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._questions: set[_Question] = set()

    def ask(self, message: Message, answered: Answered) -> None:
        """Ask, and say what came of it."""
        if len(self._questions) >= MAX_QUESTIONS:
            log.error("too many questions to the supervisor wait")
            answered(None)
            return
        try:
            question = _Question(self._path, message, self._loop)
        except OSError as error:
            log.error("the supervisor cannot be asked: %s", error)
            answered(None)
            return
        self._questions.add(question)

        def over(rows: list[Row] | None) -> None:
            self._questions.discard(question)
            answered(rows)

        question.over = over

    def close(self) -> None:
        """End all questions; nobody is told."""
        for question in self._questions:
            question.close()
        self._questions.clear()


class _Question:
    """One question under way."""

    def __init__(self, path: Path, message: Message, loop: asyncio.AbstractEventLoop) -> None:
        self._codec = control_client()
        self._loop = loop
        self._rows: list[Row] = []
        self.over: Answered = lambda rows: None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.setblocking(False)
            self._socket.connect(str(path))
            if not is_ours(peer_uid(self._socket)):
                raise PermissionError(f"{path} is another user's")
            self._socket.send(self._codec.encode(1, message))
        except BaseException:
            self._socket.close()
            raise
        loop.add_reader(self._socket, self._readable)
        self._timer = loop.call_later(SECONDS, self._end, None, "no answer")

    def _readable(self) -> None:
        """Take a part of the answer."""
        try:
            data = self._socket.recv(RECEIVE_SIZE)
            if not data:
                raise ConnectionResetError("the supervisor ended the connection")
            _, answer = self._codec.decode(data)
        except BlockingIOError:
            return
        except (OSError, CodecError) as error:
            self._end(None, str(error))
            return
        if isinstance(answer, ControlRows):
            self._rows += answer.rows
            if len(self._rows) > MAX_TOLD:
                self._end(None, f"there are more than {MAX_TOLD} rows")
            elif not answer.more:
                self._end(self._rows, "")
        elif isinstance(answer, ControlDone):
            self._end([], "")
        else:
            self._end(None, f"a {type(answer).__name__}")

    def _end(self, rows: list[Row] | None, reason: str) -> None:
        if rows is None:
            log.error("the supervisor was asked in vain: %s", reason)
        self.close()
        self.over(rows)

    def close(self) -> None:
        """End the connection."""
        self._timer.cancel()
        self._loop.remove_reader(self._socket)
        with contextlib.suppress(OSError):
            self._socket.close()


class Lists:
    """The lists that are told page by page: a later page is of the same moment as the first."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lists: OrderedDict[int, list[Row]] = OrderedDict()
        self._next = 1

    def add(self, rows: list[Row]) -> int:
        """Keep a list; return its number."""
        number, self._next = self._next, self._next + 1
        self._lists[number] = rows
        if len(self._lists) > MAX_LISTS:
            self._lists.popitem(last=False)
        return number

    def get(self, number: int) -> list[Row] | None:
        """Return a list that is kept."""
        return self._lists.get(number)

    def drop(self, number: int) -> None:
        """Forget a list whose last page was told."""
        self._lists.pop(number, None)
