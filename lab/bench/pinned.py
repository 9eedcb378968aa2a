"""What a pinned loop costs (RDMA workers): time of a request on real threads, in microseconds.

    sudo python lab/bench/pinned.py [REQUESTS]

`alone`: each request waits for the reply before; `16`: sixteen clients' worth at once. Wall time,
and the CPU time of all threads. The engine, store, files and thread pool are real, the user is not
root, the client is one function. Best of three runs.
"""

import struct
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter, process_time

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.dispatch import dispatcher
from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.wire.access import FILE_EXECUTE, FILE_READ_DATA
from usmbd.protocol.wire.create import FILE_CREATE, FILE_DELETE_ON_CLOSE, FILE_OPEN, CreateResponse
from usmbd.protocol.wire.header import HEADER_SIZE, Command
from usmbd.protocol.worker.threads import ThreadPool
from usmbd.transport.loop import EpollLoop

RUNS = 3
CREDITS = 8000
SIZE = 4096
USER = Identity(31001, 31001)

Made = Callable[[int], tuple[int, bytes]]


class Load:
    """Requests that are sent when the reply to another one has come."""

    def __init__(self, client: Client, loop: EpollLoop) -> None:
        """Stand for the client of a connection."""
        self._client = client
        self._loop = loop
        self._chains: dict[int, int] = {}  # MessageId -> chain
        client.connection.transport.send = self._answered  # type: ignore[method-assign]

    def run(self, count: int, depth: int, make: Made, close: bool) -> tuple[float, float]:
        """Answer wall and CPU time of one of `count` requests; `close` follows each CREATE."""
        self._left, self._make, self._close = count, make, close
        self._going = depth
        began, began_cpu = perf_counter(), process_time()
        for chain in range(depth):
            self._loop.call_soon(self._next, chain)
        self._loop.run_forever()
        wall, cpu = perf_counter() - began, process_time() - began_cpu
        return wall / count * 1e6, cpu / count * 1e6

    def _next(self, chain: int) -> None:
        """Send a chain's next request."""
        if not self._left:
            self._going -= 1
            if not self._going:
                self._loop.stop()
            return
        self._left -= 1
        self._send(chain, *self._make(self._left))

    def _send(self, chain: int, command: int, body: bytes) -> None:
        """Hand a request to the engine."""
        client = self._client
        self._chains[client.message_id] = chain
        client.dispatcher.message_received(memoryview(bytearray(client.pack(command, body))))

    def _answered(self, parts: list[bytes]) -> None:
        """Take a reply."""
        message = b"".join(parts)
        status, command = struct.unpack_from("<IH", message, 8)
        assert not status, hex(status)
        chain = self._chains.pop(int.from_bytes(message[24:32], "little"))
        if command == Command.CREATE and self._close:
            created = CreateResponse.parse(message, HEADER_SIZE)
            file = created.persistent, created.volatile
            self._loop.call_soon(self._send, chain, Command.CLOSE, requests.close(file))
        else:
            self._loop.call_soon(self._next, chain)


def loads(file: FileId) -> dict[str, tuple[Made, bool]]:
    """Return what is measured, and whether a CLOSE belongs to it."""
    existing = requests.create("file", FILE_READ_DATA, FILE_OPEN)
    temporary = partial(requests.create, disposition=FILE_CREATE, options=FILE_DELETE_ON_CLOSE)
    read, write = requests.read(file, SIZE), requests.write(file, bytes(SIZE))
    facts = requests.query_info(file, 4)
    return {
        "READ 4 KiB": (lambda n: (Command.READ, read), False),
        "WRITE 4 KiB": (lambda n: (Command.WRITE, write), False),
        "QUERY_INFO FileBasicInformation": (lambda n: (Command.QUERY_INFO, facts), False),
        "CREATE + CLOSE": (lambda n: (Command.CREATE, existing), True),
        "CREATE + CLOSE, made and deleted": (
            lambda n: (Command.CREATE, temporary(f"new{n}")),
            True,
        ),
    }


def measure(folder: str, count: int, pinned: bool) -> dict[str, list[float]]:
    """Measure one mode in `folder`, on a thread that ends with it: it is another user's then."""
    rows: dict[str, list[float]] = {}
    loop = EpollLoop()
    engine = Engine(Path(folder))
    engine.mountd.identities["alice"] = USER
    engine.files.chmod(0o777)
    (engine.files / "file").write_bytes(bytes(SIZE))
    (engine.files / "file").chmod(0o666)
    client = Client(engine).ready()
    client.signs = False
    client.call(Command.ECHO, requests.EMPTY, credits=CREDITS)
    file = client.open("file", requests.READ_WRITE_DELETE & ~FILE_EXECUTE)
    engine.server.threads = ThreadPool(loop)
    load = Load(client, loop)
    if pinned:
        engine.server.pin()
    for name, (make, close) in loads(file).items():
        rows[name] = []
        for depth in (1, 16):
            rows[name] += min(load.run(count, depth, make, close) for _ in range(RUNS))
    return rows


def main() -> None:
    """Print one row a measurement: unpinned and pinned."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    dispatcher.SLOW_CALL = float("inf")  # a busy machine's pauses make no volume slow here
    modes = []
    for mode in (False, True):
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as executor:
            modes.append(executor.submit(measure, folder, count, mode).result())
    plain, pinned = modes
    print(f"{'':34}{'unpinned':28}pinned")
    print(f"{'':34}" + f"{'alone':>6}{'CPU':>6}{'16':>7}{'CPU':>6}   " * 2)
    for name, figures in plain.items():
        print(f"{name:34}" + "   ".join(
            "".join(f"{figure:6.1f} " for figure in row) for row in (figures, pinned[name])
        ))  # fmt: skip


if __name__ == "__main__":
    main()
