"""What system calls the worker makes for one READ or WRITE over TCP, counted by their callers.

    python lab/bench/tcp_calls.py [REQUESTS]

Engine, store, files, loop and sockets are real; the client is another process, which has 1, 4 or 16
requests under way as so many threads would. The wrappers that count cost nothing beside a call, so
requests come as they do without them; under strace they do not.

    us      CPU of the worker for one request, user and system
    epoll   waits of the loop: its turns
    recv    of the socket, and in parentheses those that found nothing
    send    of the socket: send, sendmsg
    file    of the file: preadv2, pwrite, sendfile, fstat
    clock   readings of the clock and settings of the loop's timer
    beside  all of them but one of the file

The files lie in $TMPDIR. What epoll is told, when a socket takes no more, is not counted.
"""

import os
import resource
import signal
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from smbengine import requests
from smbengine.client import Client
from smbengine.server import Engine

from usmbd.protocol.dispatch import calls
from usmbd.protocol.wire.header import HEADER_SIZE, Command
from usmbd.protocol.wire.read import pack_read_response
from usmbd.protocol.wire.write import pack_write_response
from usmbd.transport import loop as loop_module
from usmbd.transport.loop import EpollLoop
from usmbd.transport.tcp import FRAME, TcpTransport
from usmbd.transport.turns import Turns

SIZES = (1 << 20, 64 << 10, 4 << 10)
DEPTHS = (1, 4, 16)
SPREAD = 32
"""Blocks of the file that are read and written in turn."""

CREDIT = 1 << 16
OF_FILES = ("preadv", "pwrite", "sendfile", "fstat")
OF_CLOCKS = (
    (time, "monotonic", "clock"),
    (calls, "perf_counter", "clock"),
    (loop_module, "_set_timerfd", "clock"),
)


class Counted:
    """An object some of whose methods are counted."""

    def __init__(self, real: Any, counts: Counter[str], **names: str) -> None:
        """Count the methods of `real` that are keys of `names` as its values."""
        self._real = real
        for method, name in names.items():
            setattr(self, method, counted(getattr(real, method), counts, name))

    def __getattr__(self, name: str) -> Any:
        """Pass the rest on."""
        return getattr(self._real, name)


def counted(function: Callable[..., Any], counts: Counter[str], name: str) -> Callable[..., Any]:
    """Return a function that counts its calls, and apart those that find nothing."""

    def call(*args: Any) -> Any:
        counts[name] += 1
        try:
            return function(*args)
        except BlockingIOError:
            counts[f"{name} for nothing"] += 1
            raise

    return call


@contextmanager
def counting(counts: Counter[str]) -> Iterator[None]:
    """Count the calls that are not of an object."""
    named = [(os, name, "file") for name in OF_FILES] + list(OF_CLOCKS)
    before = [(where, name, getattr(where, name)) for where, name, _ in named]
    for where, name, kind in named:
        setattr(where, name, counted(getattr(where, name), counts, kind))
    try:
        yield
    finally:
        for where, name, function in before:
            setattr(where, name, function)


def drive(sock: socket.socket, heads: list[bytes], data: bytes, reply: int, depth: int) -> None:
    """Send the requests, `depth` at once, the next when a reply of `reply` bytes has come."""
    left = iter(heads)
    for _, head in zip(range(depth), left, strict=False):
        sock.sendmsg([head, data])
    memory = bytearray(max(reply, 1 << 20))
    taken = 0
    for _ in heads:
        while taken < reply:
            count = sock.recv_into(memory)
            if not count:
                raise ConnectionError
            taken += count
        taken -= reply
        head = next(left, None)
        if head is not None:
            sock.sendmsg([head, data])


def serve(client: Client, ours: socket.socket, counts: Counter[str], driver: int) -> float:
    """Serve until the driver has ended; return the CPU seconds of it."""
    loop = EpollLoop()
    turns = Turns(loop, counted(time.perf_counter, counts, "clock"))
    transport = TcpTransport(ours, loop, turns=turns)
    transport._sock = Counted(  # type: ignore[assignment]
        ours, counts, recv_into="recv", send="send", sendmsg="send"
    )
    loop._epoll = Counted(loop._epoll, counts, poll="epoll")  # type: ignore[assignment]
    client.connection.transport = transport
    client.engine.server.pulse._clock = loop
    lost = client.dispatcher.connection_lost
    client.dispatcher.connection_lost = lambda reason: loop.stop()  # type: ignore[method-assign]
    with counting(counts):
        began = resource.getrusage(resource.RUSAGE_SELF)
        transport.start(client.dispatcher)
        loop.run_forever()
        ended = resource.getrusage(resource.RUSAGE_SELF)
    client.dispatcher.connection_lost = lost  # type: ignore[method-assign]
    if os.waitpid(driver, 0)[1]:
        raise RuntimeError("the client has failed")
    loop.close()
    return ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime


def measure(folder: Path, command: Command, size: int, depth: int, total: int) -> None:
    """Print one row."""
    engine = Engine(folder)
    client = Client(engine).ready()
    charge = -(-size // CREDIT)
    while client.credits < 2 * depth * charge + 64:
        client.call(Command.ECHO, requests.EMPTY, credits=512)
    client.signs = False
    file = client.open("file")
    client.open_of(file).data.truncate(SPREAD * size)
    data = os.urandom(size) if command == Command.WRITE else b""
    if command == Command.WRITE:
        reply = FRAME + HEADER_SIZE + len(pack_write_response(0))
    else:
        reply = FRAME + HEADER_SIZE + len(pack_read_response(0)) + size
    heads = []
    for n in range(total):
        offset = n % SPREAD * size
        body = (
            requests.write(file, data, offset)
            if command == Command.WRITE
            else requests.read(file, size, offset)
        )
        message = client.pack(command, body, credit_charge=charge, credits=charge)
        head = message[: len(message) - len(data)]
        heads.append(struct.pack(">I", len(message)) + head)
    theirs, ours = connected()
    driver = os.fork()
    if not driver:
        ours.close()
        signal.alarm(120)
        try:
            drive(theirs, heads, data, reply, depth)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    theirs.close()
    counts: Counter[str] = Counter()
    seconds = serve(client, ours, counts, driver)
    print_row(command, size, depth, total, counts, seconds)
    engine.close()


def print_row(
    command: Command, size: int, depth: int, total: int, counts: Counter[str], seconds: float
) -> None:
    """Print what one request took."""
    each = {name: count / total for name, count in counts.items()}
    beside = sum(each.get(name, 0) for name in ("epoll", "recv", "send", "file", "clock")) - 1
    print(
        f"{command.name:5} {size >> 10:5} KiB {depth:3}  {seconds / total * 1e6:6.0f}"
        f"{each.get('epoll', 0):7.2f}{each.get('recv', 0):7.2f}"
        f" ({each.get('recv for nothing', 0):.2f}){each.get('send', 0):6.2f}"
        f"{each.get('file', 0):6.2f}{each.get('clock', 0):7.3f}{beside:8.2f}",
        flush=True,
    )


def connected() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return theirs, ours


def main() -> None:
    """Print one row a measurement."""
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print("             under way   us  epoll   recv         send  file  clock  beside")
    for command in (Command.READ, Command.WRITE):
        for size in SIZES:
            for depth in DEPTHS:
                with tempfile.TemporaryDirectory() as folder:
                    measure(Path(folder), command, size, depth, total)


if __name__ == "__main__":
    main()
