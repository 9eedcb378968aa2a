"""The RPC process' end of the socket on which mountd answers for it."""

import asyncio
import logging
import socket
from collections.abc import Callable

from usmbd.mountd.ipc.administration import Outcome
from usmbd.mountd.ipc.codec import RECEIVE_SIZE, CodecError, directory_client
from usmbd.mountd.ipc.messages import Failed
from usmbd.mountd.ipc.outbox import Outbox
from usmbd.mountd.rpc.outside import Answered, Awaits, Question

logger = logging.getLogger("usmbd.ipc")

MAX_PENDING = 1024
"""Questions without an answer; a further one fails at once."""

SECONDS = 10.0
"""Until a question fails: mountd may wait for a name service of the network."""


class Directory:
    """Asks mountd, and tells the time to whoever waits."""

    def __init__(self, sock: socket.socket) -> None:
        """Ask by `sock`, which becomes this object's; needs a running loop."""
        self._socket = sock
        self._codec = directory_client()
        self._loop = asyncio.get_running_loop()
        self._pending: dict[int, tuple[Answered, asyncio.TimerHandle]] = {}
        self._next = 1
        self._generation = 0
        self._held: list[tuple[int, Answered, Outcome]] = []
        """Answers that hold in a configuration which is still on its way here."""
        sock.setblocking(False)
        self._outbox = Outbox(sock, self._loop)
        self._loop.add_reader(sock, self._readable)

    def ask(self, message: Question, answered: Answered) -> None:
        """Ask; `answered` follows, with `Failed` when mountd does not tell."""
        assert not isinstance(message, Awaits)  # of this process itself
        handle, self._next = self._next, self._next + 1
        try:
            if len(self._pending) >= MAX_PENDING:
                raise CodecError("too many questions wait")
            if not self._outbox.put(self._codec.encode(handle, message)):
                raise CodecError("it is gone")
        except (CodecError, UnicodeEncodeError) as error:
            logger.error("mountd cannot be asked: %s", error)
            answered(Failed("mountd cannot be asked"))
            return
        timer = self._loop.call_later(SECONDS, self._late, handle)
        self._pending[handle] = answered, timer

    def wait(self) -> float:
        """Count nothing: sessions have their own pace."""
        return 0.0

    def later(self, seconds: float, run: Callable[[], None]) -> None:
        """Run something after a time."""
        self._loop.call_later(seconds, run)

    def close(self) -> None:
        """End; who waits is told nothing."""
        self._loop.remove_reader(self._socket)
        self._outbox.close()
        self._socket.close()
        for _, timer in self._pending.values():
            timer.cancel()
        self._pending.clear()

    def _late(self, handle: int) -> None:
        """Let a question fail whose time is over."""
        answered, _ = self._pending.pop(handle)
        logger.error("mountd does not answer")
        answered(Failed("mountd does not answer"))

    def _readable(self) -> None:
        """Take one answer; mountd's end is that of this process, by its standard input."""
        try:
            data = self._socket.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._socket)
            return
        try:
            handle, message = self._codec.decode(data)
        except CodecError as error:
            logger.error("mountd's answer is none: %s", error)
            return
        found = self._pending.pop(handle, None)
        if found is not None:
            answered, timer = found
            timer.cancel()
            if isinstance(message, Outcome) and message.generation > self._generation:
                self._held.append((message.generation, answered, message))
            else:
                answered(message)

    def configured(self, generation: int) -> None:
        """Let go the answers that hold in this configuration, which is known here from now on."""
        self._generation = generation
        held, self._held = self._held, []
        for each in held:
            wanted, answered, message = each
            if wanted > generation:
                self._held.append(each)
            else:
                answered(message)
