"""The fork server: a process that has imported what the children need, and forks them.

    supervisor -- Fork, descriptors --> fork server -- fork --> go-between -- fork --> child
               <------------------ Forked(pid, error) ------------ ends      -- fork --> child

A child's imports are 0.1 to 0.2 s of CPU, a fork some milliseconds: a worker that died is back at
once. The child is the supervisor's own: as its parent ends, it falls to the next subreaper
(PR_SET_CHILD_SUBREAPER of prctl(2)). The fork server holds nothing: no store, no key, no client.
"""

import codecs
import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple, Never

import msgspec
from setproctitle import setproctitle, setthreadtitle

from usmbd.mountd.confine import process as confinement
from usmbd.mountd.confine.process import confine
from usmbd.mountd.confine.profiles import DOOR, KEEPER, MOUNTD, RPC, SUPERVISOR, WORKER
from usmbd.mountd.ipc import forking
from usmbd.mountd.ipc.codec import compile_all
from usmbd.mountd.ipc.ending import leave
from usmbd.mountd.ipc.forking import Fork, Forked
from usmbd.protocol.state import descriptors
from usmbd.transport.smbdirect import sysfs, verbs
from usmbd.transport.smbdirect.provider import DeviceError

NAME = "usmbd.protocol.supervisor.fork_server"

MODULES = {
    "check": "usmbd.mountd.cli.mountd",
    "mountd": "usmbd.mountd.cli.mountd",
    "door": "usmbd.protocol.door.__main__",
    "keeper": "usmbd.protocol.keeper.__main__",
    forking.RPC: "usmbd.mountd.rpc_child",
    "mdns": "usmbd.protocol.discovery.mdns",
    "wsd": "usmbd.protocol.discovery.wsd",
    "worker": "usmbd.protocol.worker.__main__",
}
"""What can be asked for: modules with a `main(arguments)` that returns an exit status."""

IMPORTED_LATER = ("usmbd.mountd.rpc.service",)
"""What those import only when they have begun."""

OF_LIBRARIES = ("lmdb._envid",)
"""The same, of libraries of which not every version has it."""

ENCODINGS = ("utf-8-sig", "ascii")
"""What mountd reads the configuration in."""

PROFILES = (SUPERVISOR, MOUNTD, DOOR, KEEPER, RPC, WORKER)
"""What those may do that every server has."""

FORK_OPTION = "--fork-fd"
"""By which mountd is told of its socket, to ask for the RPC process."""


def import_all() -> None:
    """Import what the children need, once: the supervisor does before it forks this process."""
    gc.disable()
    for module in (*MODULES.values(), *IMPORTED_LATER):
        importlib.import_module(module)
    for module in OF_LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(module)
    for encoding in ENCODINGS:
        codecs.lookup(encoding)
    compile_all()
    import_verbs()
    confinement.prepare(PROFILES)
    # What is there now stays: a collection in a child would copy each page of it.
    gc.freeze()
    gc.enable()


def import_verbs() -> None:
    """Import what drives RDMA devices where there are some: a worker takes 0.05 s of CPU for it."""
    if sysfs.listed(sysfs.ROOT):
        with suppress(DeviceError):  # the worker says it of each device
            verbs.load()


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
    import_all()


class _Asked(NamedTuple):
    """A process to be forked, and the descriptors that it gets."""

    wanted: Fork
    given: list[int]


class _Server:
    """Forks what is asked for, in a process of one thread that has nothing of its own."""

    def __init__(self, sock: socket.socket) -> None:
        """Serve the supervisor, which has the other end of `sock`."""
        self._supervisor = os.getppid()
        self._askers = [sock]
        """Whoever may ask: the supervisor, and each mountd that it had forked."""
        self._together: list[_Asked] = []
        """What the supervisor has asked for, with more to follow."""

    def run(self) -> Never:
        """Serve until the supervisor ends."""
        while True:
            poll = select.poll()
            for asker in self._askers:
                poll.register(asker, select.POLLIN)
            ready = {descriptor for descriptor, _ in poll.poll()}
            for asker in [asker for asker in self._askers if asker.fileno() in ready]:
                self._serve(asker)

    def _serve(self, asker: socket.socket) -> None:
        """Do what one asks; it may have ended."""
        is_supervisor = asker is self._askers[0]
        received: list[int] = []
        try:
            data, received, _, _ = socket.recv_fds(
                asker, forking.MESSAGE_LIMIT, forking.MAXIMUM_DESCRIPTORS
            )
            wanted = forking.decode_fork(data) if data else None
        except (OSError, msgspec.MsgspecError):
            wanted = None
        if wanted is None and is_supervisor:
            leave(0)
        if wanted is not None and is_supervisor:
            self._together.append(_Asked(wanted, received))
            if not wanted.more:
                together, self._together = self._together, []
                self._fork(asker, together)
        elif wanted is not None and wanted.kind == forking.RPC:
            self._fork(asker, [_Asked(wanted, received)])
        else:
            self._askers.remove(asker)
            asker.close()
            _close(received)

    def _fork(self, asker: socket.socket, together: list[_Asked]) -> None:
        """Have children of the supervisor, and tell who asked; it adds to what is given."""
        for wanted, given in together:
            if wanted.kind == "mountd":
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                self._askers.append(ours)
                given.insert(len(wanted.options), theirs.detach())
                wanted.options.append(FORK_OPTION)
        between = _fork(asker, len(together))
        if between == 0:
            self._be_between(asker, together)
        if between > 0 and os.waitpid(between, 0)[1]:
            leave(1)  # it was killed: nobody answers for the rest, who ask another fork server
        for _, given in together:
            _close(given)

    def _be_between(self, asker: socket.socket, together: list[_Asked]) -> Never:
        """Fork the children, and end: then they are the supervisor's."""
        between = os.getpid()
        for wanted, given in together:
            child = _fork(asker)
            if child == 0:
                for each in self._askers:
                    each.close()
                for _, others in together:
                    if others is not given:
                        _close(others)
                _wait_for_parent(between, self._supervisor)
                become(wanted, given)
            if child > 0:
                answer = [forking.encode(Forked(pid=child))]
                # To the supervisor a number is enough: the child is its own.
                known = () if asker is self._askers[0] else (os.pidfd_open(child),)
                with suppress(OSError):  # it waits no longer: the child finds nobody, and ends
                    socket.send_fds(asker, answer, known)
        os._exit(0)


def serve(sock: socket.socket) -> Never:
    """Fork what the supervisor and its mountd ask for; this process, and each child, ends here."""
    prepare()
    _Server(sock).run()


def _close(descriptors: Iterable[int]) -> None:
    """Close what somebody else has."""
    for descriptor in descriptors:
        os.close(descriptor)


def _fork(asker: socket.socket, answers: int = 1) -> int:
    """Fork; tell who asked, by so many answers, and return -1 when that cannot be."""
    try:
        return os.fork()
    except OSError as error:
        with suppress(OSError):
            for _ in range(answers):
                asker.send(forking.encode(Forked(error=error.errno or 0)))
        return -1


def _wait_for_parent(between: int, supervisor: int) -> None:
    """Wait until this process is the supervisor's, as the go-between has ended."""
    with suppress(OSError):  # it has ended already
        pidfd = os.pidfd_open(between)
        if os.getppid() == between:  # else its number may be another's by now
            select.select([pidfd], [], [])
        os.close(pidfd)
    while os.getppid() == between:
        time.sleep(0.0005)
    if os.getppid() != supervisor:
        os._exit(1)  # it is gone


def become(wanted: Fork, received: list[int]) -> Never:
    """Be the child: show as one, run its `main`, end."""
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
    status: int | None = 1
    try:
        status = importlib.import_module(module).main(arguments)
    except Exception:
        # Here, for its callers are those of the process that it was forked from.
        sys.excepthook(*sys.exc_info())
    leave(status or 0)


def main(arguments: Iterable[str] = ()) -> Never:
    """Serve on the descriptor that the supervisor gives, where the first fork server has died."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    (number,) = arguments
    serve(socket.socket(fileno=int(number)))
