"""The RPC process: `python -m usmbd.mountd.rpc.service --listen-fd 3 --config FILE`.

It serves the pipes of the engine's workers over SOCK_SEQPACKET and reads the configuration for
its share list, again on SIGHUP. Once that is read it runs as nobody: NDR, the part of a file
server that parses the most intricate input, runs without the right to read the password file. A
configuration that nobody may read is therefore read at the start only; SIGHUP then says so.

One thread and an event loop: a call takes a millisecond, and nothing waits.
"""

import argparse
import asyncio
import logging
import os
import pwd
import signal
import socket
from collections import deque
from pathlib import Path

from usmbd.mountd import log as logs
from usmbd.mountd.config.load import Configuration, load
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.homes import home_of
from usmbd.mountd.identity import Accounts
from usmbd.mountd.ipc.codec import RECEIVE_SIZE, CodecError, rpc_server
from usmbd.mountd.ipc.peer import peer_uid
from usmbd.mountd.ipc.settings import ServerConfig, ShareConfig
from usmbd.mountd.rpc.hub import Hub
from usmbd.mountd.rpc.view import Snapshot

logger = logging.getLogger("usmbd.ipc")

MAX_UNSENT = 64
"""Answers that wait for a worker to read: with more, its requests wait as well."""

PROCESS = "rpc"
"""What the log calls it."""

UNPRIVILEGED_USER = "nobody"
UNPRIVILEGED_ID = 65534
"""Where there is no account nobody: the number that Linux shows for users it cannot map."""


def drop_privileges() -> None:
    """Become nobody for good, when the process is root."""
    if os.geteuid() != 0:
        return
    try:
        entry = pwd.getpwnam(UNPRIVILEGED_USER)
        uid, gid = entry.pw_uid, entry.pw_gid
    except KeyError:
        uid, gid = UNPRIVILEGED_ID, UNPRIVILEGED_ID
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def snapshot_of(configuration: Configuration) -> Snapshot:
    """Return what the interfaces may know of a configuration."""
    homes, accounts = configuration.homes, Accounts()

    def home(user: str) -> ShareConfig | None:
        directory = accounts.home(user)
        return home_of(homes, user, directory).config if homes and directory else None

    shares = [share.config for share in configuration.shares.values()]
    if homes is not None:
        shares.append(homes.config)
    return Snapshot(configuration.server, tuple(shares), home=home)


class WorkerConnection:
    """One worker's socket: messages to its hub, answers back in the order of the requests."""

    def __init__(self, sock: socket.socket, service: "Service") -> None:
        """Serve `sock`, which becomes this object's."""
        self._sock = sock
        self._service = service
        self._hub = Hub(service.pipes, lambda: service.snapshot)
        self._codec = rpc_server()
        self._unsent: deque[bytes] = deque()
        self._reading = True
        sock.setblocking(False)
        service.loop.add_reader(sock, self._readable)

    def close(self) -> None:
        """Close the socket; the worker's pipes go with it."""
        self._service.loop.remove_reader(self._sock)
        self._service.loop.remove_writer(self._sock)
        self._sock.close()
        self._service.connections.discard(self)

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
            self._unsent.append(self._codec.encode(handle, self._hub.handle(message)))
        except CodecError as error:
            logger.error("a worker sent what is no message: %s", error)
            self.close()
            return
        self._flush()

    def _flush(self) -> None:
        """Send what the worker takes; wait for it with the rest."""
        try:
            while self._unsent:
                self._sock.send(self._unsent[0])
                self._unsent.popleft()
        except BlockingIOError:
            self._service.loop.add_writer(self._sock, self._flush)
        except OSError as error:
            logger.info("a worker's connection failed: %s", error)
            self.close()
            return
        else:
            self._service.loop.remove_writer(self._sock)
        reading = len(self._unsent) < MAX_UNSENT
        if reading != self._reading:
            self._reading = reading
            if reading:
                self._service.loop.add_reader(self._sock, self._readable)
            else:
                self._service.loop.remove_reader(self._sock)


class Service:
    """The listening socket, the workers' connections, and the configuration of the moment."""

    def __init__(self, listener: socket.socket, config: Path) -> None:
        """Read the configuration (`ConfigError`) and serve `listener`; needs a running loop."""
        # Here and not above: importing scapy takes a second or two, in which SIGHUP must already
        # be ignored. The configuration is read afterwards, so that none is missed.
        from usmbd.mountd.rpc.interfaces import PIPES

        self.pipes = PIPES
        self._listener = listener
        self._config = config
        self._trusted = 0, os.getuid()  # before this process becomes somebody else
        self.snapshot = self._read()
        self.loop = asyncio.get_running_loop()
        self.connections: set[WorkerConnection] = set()
        listener.setblocking(False)
        self.loop.add_reader(listener, self._accept)

    def _read(self) -> Snapshot:
        """Return what the configuration says, and have the log as it says; ConfigError."""
        configuration = load(self._config)
        server = configuration.server
        logs.set_up(PROCESS, server.log_level, as_json=server.log_json)
        return snapshot_of(configuration)

    def reload(self) -> None:
        """Read the configuration again; one that cannot be used leaves the old one in place."""
        try:
            self.snapshot = self._read()
        except ConfigError as error:
            logger.error("the configuration is kept as it was: %s", error)
        else:
            logger.info("configuration read: %d shares", len(self.snapshot.shares))

    def close(self) -> None:
        """Close the listening socket and all connections."""
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


async def serve(listener: socket.socket, config: Path) -> None:
    """Serve until SIGTERM or SIGINT; `ConfigError` when the configuration cannot be used."""
    service = Service(listener, config)
    drop_privileges()
    logs.start()
    stop = asyncio.Event()
    service.loop.add_signal_handler(signal.SIGHUP, service.reload)
    for number in (signal.SIGTERM, signal.SIGINT):
        service.loop.add_signal_handler(number, stop.set)
    await stop.wait()
    service.close()


def main(arguments: list[str] | None = None) -> int:
    """Run the process; returns the exit code: 1 when the configuration cannot be used."""
    parser = argparse.ArgumentParser(prog="usmbd.mountd.rpc", description=__doc__.splitlines()[0])
    parser.add_argument("--listen-fd", type=int, required=True, help="listening SOCK_SEQPACKET")
    parser.add_argument("--config", type=Path, required=True, help="the configuration file")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    logs.set_up(PROCESS, ServerConfig().log_level)  # until the configuration says
    try:
        asyncio.run(serve(socket.socket(fileno=options.listen_fd), options.config))
    except ConfigError as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
