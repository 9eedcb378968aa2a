"""The RPC process: `python -m usmbd.mountd.rpc_child --listen-fd 3`, with mountd at its stdin.

It serves the pipes of the engine's workers over SOCK_SEQPACKET. NDR is the part of a file server
that parses the most intricate input: so once all is imported this process is a user of its own,
opens no file and makes no socket. What it must know of the configuration mountd writes to it.

One thread and an event loop: a call takes a millisecond, or waits for what it asks mountd while
others are served.
"""

import argparse
import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Collection, Mapping, Sequence

from usmbd.mountd import log as logs
from usmbd.mountd.confine.process import confine
from usmbd.mountd.confine.profiles import RPC
from usmbd.mountd.ipc.codec import RECEIVE_SIZE, CodecError, rpc_server
from usmbd.mountd.ipc.messages import RpcAnswer
from usmbd.mountd.ipc.outbox import Outbox
from usmbd.mountd.ipc.peer import peer_uid
from usmbd.mountd.ipc.signals import handled
from usmbd.mountd.rpc.asking import Directory
from usmbd.mountd.rpc.configuration import Frames, RpcConfiguration
from usmbd.mountd.rpc.groups import Groups
from usmbd.mountd.rpc.hub import Hub, InterfaceFactory
from usmbd.mountd.rpc.interfaces import PIPES
from usmbd.mountd.rpc.room import Room
from usmbd.mountd.rpc.traffic import Traffic

logger = logging.getLogger("usmbd.ipc")

MAX_UNSENT = 64
"""Answers that wait for a worker to read: with more, its requests wait as well."""

STDIN = 0

PROCESS = "rpc"
"""What the log calls it."""


class WorkerConnection:
    """One worker's socket: messages to its hub, answers back in the order of the requests."""

    def __init__(self, sock: socket.socket, service: "Service") -> None:
        """Serve `sock`, which becomes this object's."""
        self._sock = sock
        self._service = service
        around = service.directory, service.groups, service.room, service.traffic
        self._hub = Hub(service.pipes, lambda: service.snapshot, *around)
        self._codec = rpc_server()
        self._reading = True
        sock.setblocking(False)
        self._outbox = Outbox(sock, service.loop, self._moved)
        service.loop.add_reader(sock, self._readable)

    def configured(self) -> None:
        """Show a new configuration to the worker's pipes."""
        self._hub.configured()

    def close(self) -> None:
        """Close the socket; the worker's pipes go with it."""
        self._service.loop.remove_reader(self._sock)
        self._outbox.close()
        self._sock.close()
        self._service.connections.discard(self)
        self._hub.close()

    def _readable(self) -> None:
        """Take one message; whoever breaks the format loses its connection and no other does."""
        try:
            data = self._sock.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            logger.info("a worker's connection failed: %s", error)
            self.close()
            return
        if not data:
            self.close()
            return
        try:
            handle, message = self._codec.decode(data)
        except CodecError as error:
            logger.error("a worker sent what is no message: %s", error)
            self.close()
            return
        answer = self._hub.handle(message, lambda answer: self._answer(handle, answer))
        if answer is not None:
            self._answer(handle, answer)

    def _answer(self, handle: int, answer: RpcAnswer) -> None:
        """Send an answer, unless the worker has gone meanwhile."""
        if self in self._service.connections:
            self._outbox.put(self._codec.encode(handle, answer))

    def _moved(self, error: OSError | None) -> None:
        """Read on when little waits; end with a worker that is gone."""
        if error is not None:
            logger.info("a worker's connection failed: %s", error)
            self.close()
            return
        reading = len(self._outbox) < MAX_UNSENT
        if reading != self._reading:
            self._reading = reading
            if reading:
                self._service.loop.add_reader(self._sock, self._readable)
            else:
                self._service.loop.remove_reader(self._sock)


class Service:
    """The listening socket, the workers' connections, and the configuration of the moment."""

    def __init__(
        self,
        listener: socket.socket,
        trusted: Collection[int],
        pipes: Mapping[str, Sequence[InterfaceFactory]],
        configuration: RpcConfiguration,
        frames: Frames,
        directory: Directory,
    ) -> None:
        """Serve `listener` to processes of the `trusted` uids; needs a running loop.

        What mountd says later comes by `frames`; what it is asked, by `directory`.
        """
        self.directory = directory
        self.groups = Groups()
        self.room = Room()
        self.traffic = Traffic()
        self.pipes = pipes
        self._listener = listener
        self._trusted = trusted
        self._frames = frames
        self.snapshot = configuration.snapshot()
        directory.configured(configuration.generation)
        self.loop = asyncio.get_running_loop()
        self.connections: set[WorkerConnection] = set()
        self.ended = asyncio.Event()
        listener.setblocking(False)
        self.loop.add_reader(listener, self._accept)
        self.loop.add_reader(frames.descriptor, self._mountd_says)
        self._take_frames()  # what came with the first

    def _mountd_says(self) -> None:
        """Take what mountd says; its end is that of this process."""
        self._frames.read()
        self._take_frames()

    def _take_frames(self) -> None:
        for told in self._frames.complete():
            if isinstance(told, RpcConfiguration):
                self.snapshot = told.snapshot()
                for connection in self.connections:
                    connection.configured()
                self.directory.configured(told.generation)
                set_up_log(told)
                logger.info("configuration read: %d shares", len(self.snapshot.shares))
            else:
                logs.debug_only(told.areas)
        if self._frames.ended:
            self.ended.set()
            self.loop.remove_reader(self._frames.descriptor)

    def close(self) -> None:
        """Close the listening socket and all connections."""
        self.loop.remove_reader(self._frames.descriptor)
        self.loop.remove_reader(self._listener)
        self._listener.close()
        for connection in list(self.connections):
            connection.close()

    def _accept(self) -> None:
        """Take one worker's connection."""
        try:
            sock, _ = self._listener.accept()
        except OSError as error:
            # The worker went away, or descriptors are short: the next one may succeed.
            logger.warning("a worker could not be accepted: %s", error)
            return
        if peer_uid(sock) not in self._trusted:
            logger.error("a process of uid %d is no worker", peer_uid(sock))
            sock.close()
            return
        self.connections.add(WorkerConnection(sock, self))


def set_up_log(configuration: RpcConfiguration) -> None:
    """Have the log as the configuration says."""
    logs.set_up(PROCESS, configuration.log_level, as_json=configuration.server.log_json)


async def serve(
    listener: socket.socket,
    trusted: Collection[int],
    pipes: Mapping[str, Sequence[InterfaceFactory]],
    configuration: RpcConfiguration,
    frames: Frames,
    asking: socket.socket,
) -> None:
    """Serve until SIGTERM, SIGINT, or mountd's end."""
    directory = Directory(asking)
    service = Service(listener, trusted, pipes, configuration, frames, directory)
    with handled(dict.fromkeys((signal.SIGTERM, signal.SIGINT), service.ended.set)):
        await service.ended.wait()
    service.close()
    directory.close()
    logger.info("the RPC process ends")


PARSER = argparse.ArgumentParser(prog="usmbd.mountd.rpc", description=__doc__.splitlines()[0])
"""Made before children are forked: each would write to memory that they have in common."""
PARSER.add_argument("--listen-fd", type=int, required=True, help="listening SOCK_SEQPACKET")
PARSER.add_argument("--ask-fd", type=int, required=True, help="mountd's end answers there")


def main(arguments: list[str] | None = None) -> int:
    """Run the process; return the exit code."""
    options = PARSER.parse_args(arguments)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    listener = socket.socket(fileno=options.listen_fd)
    asking = socket.socket(fileno=options.ask_fd)
    frames = Frames(STDIN)
    configuration = frames.first()
    if configuration is None:
        return 0
    set_up_log(configuration)
    time.localtime()  # reads the time zone
    trusted = {0, os.getuid()}
    missing = confine(RPC)
    logs.start()
    for each in missing:
        logger.info("this process runs without %s", each)
    asyncio.run(serve(listener, trusted, PIPES, configuration, frames, asking))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
