"""What one READ or WRITE by SMB Direct costs the worker: CPU, calls, verbs and wake-ups.

    python lab/bench/smbdirect.py [--profile] [REQUESTS]

The engine, store and files are real, the device and the client are in memory. The clock runs only
while the server's loop would: not while the client works or the fabric moves data. What the server
posts has its effect two moments later, where a moment is one of its polls or an idle loop: so with
four requests under way the next one arrives while it serves another. Best of five runs.

    us      CPU of the worker for one request
    ops     bytecodes of Python for one request: other load does not change this number
    calls   function calls for one request, of Python and of C
    wakes   wake-ups of the loop by the completion channel, each epoll_wait, read and req_notify
    then    calls of the provider; what is posted in one list is one doorbell
"""

import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time
from types import CodeType, FrameType
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from smbdirect.client import Client as SmbDirectClient
from smbengine import requests
from smbengine.rdma import V1_INVALIDATE, Session
from smbengine.server import Engine

from usmbd.protocol.wire.header import Command
from usmbd.transport.smbdirect.connection import SmbDirectTransport
from usmbd.transport.smbdirect.fabric.queue_pair import FabricQueuePair
from usmbd.transport.smbdirect.provider import Completion, Segment
from usmbd.transport.smbdirect.verbs_requests import CHAIN

RUNS = 5
LATENCY = 2
"""Moments from a post to its effect, and from a reply to the client's next request."""

CREDIT = 1 << 16
LARGE, SMALL = 1 << 16, 1 << 12
DEPTHS = (1, 4)
VERBS = ("post_send", "post_receive", "poll", "arm", "doorbells")


class Meter(Protocol):
    """What is measured while the server works."""

    total: float

    def start(self) -> None:
        """Go on measuring."""

    def stop(self) -> None:
        """Stop, as what follows is not the server's."""


class Clock:
    """CPU time in seconds."""

    total = 0.0

    def start(self) -> None:
        """Go on."""
        self._began = process_time()

    def stop(self) -> None:
        """Stop."""
        self.total += process_time() - self._began


class Calls:
    """Function calls, without those of the stand-in for the device."""

    total = 0.0

    def _count(self, frame: FrameType, event: str, argument: Any) -> None:
        self.total += event in ("call", "c_call") and frame.f_code.co_filename != __file__

    def start(self) -> None:
        """Go on."""
        sys.setprofile(self._count)

    def stop(self) -> None:
        """Stop."""
        sys.setprofile(None)


class Bytecodes:
    """Bytecodes of Python, without those of the stand-in for the device."""

    total = 0.0

    def __init__(self) -> None:
        """Begin with none."""
        self.functions: Counter[CodeType] = Counter()

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename == __file__:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            self.total += 1
            self.functions[frame.f_code] += 1
        return self._trace

    def start(self) -> None:
        """Go on; frames that run already are traced where they were."""
        sys.settrace(self._trace)

    def stop(self) -> None:
        """Stop."""
        sys.settrace(None)

    def show(self, count: int) -> None:
        """Print the functions that have most, by request."""
        for code, total in self.functions.most_common(45):
            place = f"{Path(code.co_filename).name}:{code.co_firstlineno}"
            print(f"{total / count:8.1f} {place:28}{code.co_qualname}")


class Device:
    """The server's queue pair: what is posted goes to the fabric later, outside of the clock."""

    def __init__(self, real: FabricQueuePair, moved: Callable[[], None]) -> None:
        """Stand in for `real`; `moved` lets the client work."""
        self._real = real
        self._moved = moved
        self._posts: deque[tuple[int, Callable[..., None], tuple[Any, ...], dict[str, Any]]] = (
            deque()
        )
        self._ready: list[Completion] = []
        self.meter: Meter = Clock()
        self.moment = 0
        self.armed = True
        self._chained = 0
        self.counts: Counter[str] = Counter()

    def move(self) -> None:
        """Let one moment pass."""
        self.moment += 1
        posts = self._posts
        while posts and posts[0][0] <= self.moment:
            _, post, arguments, named = posts.popleft()
            post(*arguments, **named)
        self._moved()
        self._ready += self._real.poll(64)

    @property
    def awake(self) -> bool:
        """Whether the completion channel is readable."""
        return self.armed and bool(self._ready)

    def _post(self, post: Callable[..., None], arguments: tuple[Any, ...], **named: Any) -> None:
        self._posts.append((self.moment + LATENCY, post, arguments, named))

    # The interface of provider.QueuePair.

    def post_receive(self, id: int, segment: Segment) -> None:
        """Post later."""
        self.counts["post_receive"] += 1
        self._post(self._real.post_receive, (id, segment))

    def _send(self, post: Callable[..., None], *arguments: Any, **named: Any) -> None:
        self.counts["post_send"] += 1
        self._chained += 1
        if not named.pop("more", False) or self._chained == CHAIN:
            self.submit()
        self._post(post, arguments, **named)

    def post_send(self, id: int, segments: Sequence[Segment], **named: Any) -> None:
        """Post later."""
        self._send(self._real.post_send, id, segments, **named)

    def post_write(
        self, id: int, segments: Sequence[Segment], address: int, key: int, **named: Any
    ) -> None:
        """Post later."""
        self._send(self._real.post_write, id, segments, address, key, **named)

    def post_read(
        self, id: int, segments: Sequence[Segment], address: int, key: int, **named: Any
    ) -> None:
        """Post later."""
        self._send(self._real.post_read, id, segments, address, key, **named)

    def submit(self) -> None:
        """Count the call of the device that posts all since the last."""
        self.counts["doorbells"] += self._chained > 0
        self._chained = 0

    def arm(self) -> None:
        """Be told of the next completion, also of one that is there already: nobody polls it."""
        self.counts["arm"] += 1
        self.armed = True

    def poll(self, limit: int) -> list[Completion]:
        """Let a moment pass, and return what has completed."""
        self.counts["poll"] += 1
        self.meter.stop()
        self.move()
        taken, self._ready = self._ready[:limit], self._ready[limit:]
        self.meter.start()
        return taken

    def __getattr__(self, name: str) -> Any:
        """Give what is not measured from the real one."""
        return getattr(self._real, name)


class Bench:
    """One session whose client has `depth` requests under way."""

    def __init__(self, folder: Path) -> None:
        """Log in, on the loop of a worker with RDMA."""
        self.engine = Engine(folder, transport="smbdirect")
        (self.engine.files / "file").write_bytes(bytes(LARGE * 16))
        self.session = Session(self.engine)
        self.client = self.session.client
        self.client.signs = False
        self.engine.server.pinned = True
        assert self.engine.network is not None
        self.transport: SmbDirectTransport = self.engine.network.transports[0]
        self.loop = self.engine.network.loop
        self.rdma: SmbDirectClient = self.session.rdma
        real = self.transport.queue_pair
        assert isinstance(real, FabricQueuePair)
        self.device = Device(real, self._client_works)
        self.transport.queue_pair = self.device  # type: ignore[assignment]
        self.transport._work.queue_pair = self.device  # type: ignore[assignment]
        self._ready = self.loop.readers.pop(real.fileno())
        self.regions = [self.session.register(16 * LARGE) for _ in range(max(DEPTHS))]
        self._idle: deque[tuple[int, int]] = deque()
        self._left = 0
        self._build: Callable[[int], bytes] = lambda slot: b""
        self._slots: dict[int, int] = {}

    def row(self, name: str) -> Callable[[int], bytes]:
        """Return what builds a request for one of the client's slots."""
        way, command, kib = name.split()
        size = int(kib) << 10
        session, client = self.session, self.client

        def build(slot: int) -> bytes:
            region = self.regions[slot]
            region.memory.invalidated = False
            info = requests.descriptors(region.remote(0, size))
            if way == "inline" and command == "READ":
                body = requests.read(session.file, size)
            elif way == "inline":
                body = requests.write(session.file, bytes(size))
            elif command == "READ":
                body = requests.read_remote(session.file, size, info, V1_INVALIDATE)
            else:
                body = requests.write_remote(session.file, size, info, V1_INVALIDATE)
            charge = max(1, -(-size // CREDIT))
            self._slots[client.message_id] = slot
            return client.pack(Command[command], body, credit_charge=charge)

        return build

    def _client_works(self) -> None:
        """Send one request in answer to an earlier reply, and take replies."""
        if self._idle and self._left and self._idle[0][0] <= self.device.moment:
            self._left -= 1
            self.client.send(self._build(self._idle.popleft()[1]))
        self.rdma.pump()
        for reply in self.client.replies:
            assert not reply.header.status
            slot = self._slots.pop(reply.header.message_id)
            self._idle.append((self.device.moment + LATENCY, slot))
        self.client.replies.clear()

    def run(self, name: str, depth: int, count: int, meter: Meter) -> tuple[float, Counter[str]]:
        """Return what `meter` shows for one of `count` requests, and the counts of all."""
        device, loop = self.device, self.loop
        device.meter, device.counts = meter, Counter()
        self._build = self.row(name)
        self._idle, self._left = deque((0, slot) for slot in range(depth)), count
        meter.total = 0
        idle = 0
        while idle < 4 * LATENCY:
            idle += 1
            device.move()
            if not device.awake and not loop._soon:
                continue
            idle = 0
            if device.awake:
                device.armed = False
                device.counts["wakes"] += 1
                loop._soon.append(self._ready)
            calls = list(loop._soon)
            loop._soon.clear()
            meter.start()
            for call in calls:
                call()
            meter.stop()
        assert not self._slots
        assert not self._left
        return meter.total / count, device.counts

    def close(self) -> None:
        """End all of it."""
        real = self.device._real
        self.transport.queue_pair = self.transport._work.queue_pair = real
        self.loop.readers[real.fileno()] = self._ready
        self.device.moment += 100
        self.device.move()
        self.engine.close()


ROWS = (
    "RDMA READ 64",
    "RDMA WRITE 64",
    "RDMA READ 1024",
    "RDMA WRITE 1024",
    "RDMA READ 4",
    "RDMA WRITE 4",
    "inline READ 4",
    "inline WRITE 4",
)


def main() -> None:
    """Print one row a measurement, or which functions have most bytecodes."""
    arguments = [a for a in sys.argv[1:] if a != "--profile"]
    count = int(arguments[0]) if arguments else 500
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        if "--profile" in sys.argv:
            for name in (*ROWS[:2], *ROWS[-2:]):
                print(name)
                codes = Bytecodes()
                bench.run(name, 1, count, codes)
                codes.show(count)
            bench.close()
            return
        titles = ("us", "ops", "calls", "wakes", *VERBS)
        print(f"{'KiB, requests under way':26}" + "".join(f"{title:>13}" for title in titles))
        for name in ROWS:
            for depth in DEPTHS:
                few = max(50, count * 64 // 1024) if name.endswith("1024") else count
                best = min(bench.run(name, depth, few, Clock())[0] for _ in range(RUNS)) * 1e6
                calls, _ = bench.run(name, depth, 100, Calls())
                ops, counts = bench.run(name, depth, 100, Bytecodes())
                numbers = [f"{counts[title] / 100:13.2f}" for title in titles[3:]]
                print(f"{name:22}{depth:4}{best:13.1f}{ops:13.0f}{calls:13.1f}", *numbers, sep="")
        bench.close()


if __name__ == "__main__":
    main()
