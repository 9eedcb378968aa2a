"""The door as the supervisor sees it: a child that accepts clients and hands them over.

What it says of a client is not believed further than it goes: the address is asked of the socket,
and what the client has sent is for the worker to parse.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import socket
from collections.abc import Callable

from usmbd.mountd import log as logs
from usmbd.mountd.ipc.codec import UNREADABLE
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.door import messages
from usmbd.protocol.supervisor.channel import Channel
from usmbd.protocol.supervisor.children import Child, Kept
from usmbd.protocol.supervisor.hanging import what_hangs
from usmbd.protocol.supervisor.processes import Processes, start_controlled
from usmbd.transport.base import host_text

log = logging.getLogger("usmbd.conn")

ASK_SECONDS = 1.0
"""Between two questions how it is."""

ANSWER_SECONDS = 4.0
"""A door that has not answered by then is replaced: each of its turns takes milliseconds."""

FIRST_ANSWER_SECONDS = 180.0
"""The same after its start: it imports first, on an emulated machine for a minute."""

PassOn = Callable[[socket.socket, str, bytes, bytes], None]


class Door:
    """Keeps the process at the door, which gets all listening sockets."""

    def __init__(
        self, processes: Processes, config: Callable[[], ServerConfig], pass_on: PassOn
    ) -> None:
        """Give each client to `pass_on(socket, address, guid, bytes)`."""
        self._processes = processes
        self._config = config
        self._pass_on = pass_on
        self._loop = asyncio.get_running_loop()
        self._listeners: dict[socket.socket, int] = {}
        self._numbers = itertools.count(1)
        self._channel: Channel | None = None
        self._answered = asyncio.Event()
        self.kept = Kept(self._start, self._end_when_silent)
        self.state = messages.State(places=0, used=0, displaced=0)
        """As it was when it was last asked."""

    async def ready(self) -> None:
        """Wait until it stands there."""
        self._send(messages.Ask())
        await self._answered.wait()

    def serve(self, listener: socket.socket) -> None:
        """Have clients accepted from a listening socket."""
        self._listeners[listener] = next(self._numbers)
        self._send_listener(listener)

    def leave(self, listener: socket.socket) -> None:
        """Have none accepted there any more; who waits for his first message there goes on."""
        self._send(messages.Leave(self._listeners.pop(listener)))

    def tell_log(self) -> None:
        """Have its log as the configuration, and the debugging of areas, say."""
        config = self._config()
        self._send(messages.Log(config.log_level, config.log_json, logs.debugged()))

    def close(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _send(self, message: messages.ToDoor, sock: socket.socket | None = None) -> None:
        if self._channel is not None:
            self._channel.send(messages.encode(message), sock)

    def _send_listener(self, listener: socket.socket) -> None:
        if self._channel is not None:  # else it is sent to the next one
            self._send(messages.Serve(self._listeners[listener]), listener.dup())

    # -- the child -----------------------------------------------------------------------

    async def _start(self) -> Child:
        """Start a process, and have it accept where the last one did."""
        process, ours = await start_controlled(self._processes, "door")
        self.close()
        self._answered.clear()
        self._channel = Channel(
            "the door", ours, self._loop, self._said, messages.MESSAGE_LIMIT, descriptors=1
        )
        self.tell_log()
        for listener in self._listeners:
            self._send_listener(listener)
        return Child("the door", process)

    async def _end_when_silent(self, child: Child) -> None:
        """Kill a process that does not answer: nobody could connect."""
        seconds = FIRST_ANSWER_SECONDS
        with contextlib.suppress(TimeoutError):
            while True:
                await asyncio.wait_for(self.ready(), seconds)
                await asyncio.sleep(ASK_SECONDS)
                self._answered.clear()
                seconds = ANSWER_SECONDS
        what = what_hangs(child.process.pid)
        log.error("the door has not answered for %d s and is ended: %s", seconds, what)
        await child.kill()

    def _said(self, data: bytes, descriptors: list[int]) -> None:
        """Take a message from the door."""
        try:
            message = messages.decode_from_door(data)
        except UNREADABLE as error:
            log.error("the door says what is no message: %s", error)
            message = None
        if isinstance(message, messages.Client):
            if not descriptors:
                log.error("a client is lost: there are too many open files")
            for descriptor in descriptors:
                self._take(descriptor, message)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        if message is not None:
            self.state = message
            self._answered.set()

    def _take(self, descriptor: int, client: messages.Client) -> None:
        """Pass a client on, if it is one."""
        try:
            sock = socket.socket(fileno=descriptor)
        except OSError:
            os.close(descriptor)
            return
        try:
            address = sock.getpeername()
        except OSError:
            sock.close()  # gone already
            return
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            sock.close()
            return
        self._pass_on(sock, host_text(str(address[0])), client.guid, client.first)
