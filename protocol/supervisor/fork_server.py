"""The fork server: a process that has imported what the children need, and forks them.

    supervisor -- Fork, descriptors --> fork server -- fork --> go-between -- fork --> child
               <------------------ Forked(pid, error) ------------ ends

A child's imports are 0.1 to 0.2 s of CPU, a fork some milliseconds: a worker that died is back at
once. The child is the supervisor's own: as its parent ends, it falls to the next subreaper
(PR_SET_CHILD_SUBREAPER of prctl(2)). The fork server holds nothing: no store, no key, no client.
"""

import gc
import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable

import msgspec
from setproctitle import setproctitle, setthreadtitle

from usmbd.mountd.confine.process import confine
from usmbd.mountd.confine.profiles import SUPERVISOR
from usmbd.protocol.state import descriptors

NAME = "usmbd.protocol.supervisor.fork_server"

MODULES = {
    "check": "usmbd.mountd.cli.mountd",
    "mountd": "usmbd.mountd.cli.mountd",
    "door": "usmbd.protocol.door.__main__",
    "keeper": "usmbd.protocol.keeper.__main__",
    "mdns": "usmbd.protocol.discovery.mdns",
    "wsd": "usmbd.protocol.discovery.wsd",
    "worker": "usmbd.protocol.worker.__main__",
}
"""What can be asked for: modules with a `main(arguments)` that returns an exit status."""

MESSAGE_LIMIT = 65536
"""Bytes of a message: a worker's has two numbers, mountd's the paths of two files."""

MAXIMUM_DESCRIPTORS = 4


class Fork(msgspec.Struct):
    """Fork a process of this kind; descriptors come with the message."""

    kind: str
    arguments: list[str]
    options: list[str] = []
    """Each is followed by the number of the next descriptor."""
    streams: list[int] = []
    """What the descriptors after those become: 1 standard output, 2 standard error."""


class Forked(msgspec.Struct):
    """The process is there; or `error` says (errno) why not."""

    pid: int = 0
    error: int = 0


encode = msgspec.msgpack.Encoder().encode
decode_fork = msgspec.msgpack.Decoder(Fork).decode
decode_forked = msgspec.msgpack.Decoder(Forked).decode


def prepare() -> None:
    """Become what all children start from: without input, confined, everything imported."""
    os.setpgid(0, 0)  # a terminal's ^C reaches the supervisor alone, which ends the children
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.umask(0o077)
    descriptors.raise_limit()
    confine(SUPERVISOR)  # which has what any of them has; the supervisor's log says what is missing
    setproctitle(f"{sys.executable} -m {NAME}")
    for module in MODULES.values():
        importlib.import_module(module)
    # What is there now stays: a collection in a child would copy each page of it.
    gc.collect()
    gc.freeze()


def serve(sock: socket.socket) -> int:
    """Fork what the supervisor asks for until it ends; return the exit status, in a child its own.

    The process has one thread, and nothing on the way out of here that children must not do.
    """
    supervisor = os.getppid()
    prepare()
    while True:
        data, received, _, _ = socket.recv_fds(sock, MESSAGE_LIMIT, MAXIMUM_DESCRIPTORS)
        if not data:
            return 0
        wanted = decode_fork(data)
        between = _fork(sock)
        if between == 0:
            child = _fork(sock)
            if child == 0:
                sock.close()
                _wait_for_parent(supervisor)
                return _become(wanted, received)
            if child > 0:
                sock.send(encode(Forked(pid=child)))
            os._exit(0)
        for descriptor in received:
            os.close(descriptor)
        if between > 0:
            os.waitpid(between, 0)


def _fork(sock: socket.socket) -> int:
    """Fork; tell the supervisor and return -1 when that cannot be."""
    try:
        return os.fork()
    except OSError as error:
        sock.send(encode(Forked(error=error.errno or 0)))
        return -1


def _wait_for_parent(supervisor: int) -> None:
    """Wait until this process is the supervisor's, as the go-between has ended."""
    between = os.getppid()
    while os.getppid() == between != supervisor:
        time.sleep(0.0005)
    if os.getppid() != supervisor:
        os._exit(1)  # it is gone


def _become(wanted: Fork, received: list[int]) -> int:
    """Be the child: show as one, and run its `main`."""
    os.setpgid(0, 0)
    arguments = list(wanted.arguments)
    for option, descriptor in zip(wanted.options, received, strict=False):
        arguments += [option, str(descriptor)]
    for stream, descriptor in zip(wanted.streams, received[len(wanted.options) :], strict=True):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    module = MODULES[wanted.kind]
    sys.argv = [module, *arguments]
    # As if it had been executed: that is what people look for with ps and pkill.
    setproctitle(" ".join([sys.executable, "-m", module.removesuffix(".__main__"), *arguments]))
    setthreadtitle(f"usmbd-{wanted.kind}")  # what top, and `rdma resource`, call it
    status: int | None = importlib.import_module(module).main(arguments)
    return status or 0


def main(arguments: Iterable[str] = ()) -> int:
    """Serve on the descriptor that the supervisor gives, where the first fork server has died."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    (number,) = arguments
    return serve(socket.socket(fileno=int(number)))
