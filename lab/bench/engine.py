"""What the engine alone takes for one request: microseconds of CPU, and bytecodes.

    python lab/bench/engine.py [REQUESTS [ROW BESIDE]]

The requests are built before the clock starts and handed to the dispatcher one by one; what the
transport is given is dropped: there is neither a socket nor a client. Best of fifty slices; rows
that are compared come in turn, so that other work on the machine meets all of them. Bytecodes
depend on the version of Python, not on the machine; of two rows it is told in which functions
they differ.
"""

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import process_time
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from smbengine import requests
from smbengine.client import Client
from smbengine.durable import V1, v2
from smbengine.server import Engine

from usmbd.protocol.state.caching.rules import RWH
from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_BATCH as BATCH
from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_II, SMB2_OPLOCK_LEVEL_LEASE
from usmbd.protocol.wire.create_contexts import SMB2_CREATE_REQUEST_LEASE, LeaseV2
from usmbd.protocol.wire.header import HEADER_SIZE, SMB2_FLAGS_RELATED_OPERATIONS, Command

RUNS = 5
SLICES = 10
"""Turns of all rows in a run."""
CREDITS = 8000
SIZE = 4096
OTHERS = 300
"""Opens of a crowded file, whose clients cache it."""


Build = Callable[[], list[bytes]]


def measure(
    client: Client, count: int, rows: dict[str, Build]
) -> dict[str, tuple[float, Counter[str]]]:
    """Return time and bytecodes of each row's requests, from `count` rounds of what it builds."""
    best = dict.fromkeys(rows, float("inf"))
    transport = client.connection.transport
    send, transport.send = transport.send, lambda parts: None  # type: ignore[method-assign]
    take = client.dispatcher.message_received
    each = max(count // SLICES, 1)
    for _ in range(RUNS * SLICES):
        for name, build in rows.items():
            messages = [memoryview(bytearray(m)) for _ in range(each) for m in build()]
            began = process_time()
            for message in messages:
                take(message)
            best[name] = min(best[name], (process_time() - began) / each * 1e6)
    result = {name: (best[name], count_bytecodes(take, build)) for name, build in rows.items()}
    transport.send = send  # type: ignore[method-assign]
    assert not client.connection.closed
    return result


def count_bytecodes(take: Callable[[memoryview], None], build: Build) -> Counter[str]:
    """Return how many instructions of Python a row's requests take, by function."""
    counted: Counter[str] = Counter()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        frame.f_trace_opcodes = True
        if event == "opcode":
            counted[f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_qualname}"] += 1
        return trace

    messages = [memoryview(bytearray(m)) for m in build()]
    sys.settrace(trace)
    for message in messages:
        take(message)
    sys.settrace(None)
    return counted


def main() -> None:
    """Print one row a measurement."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    compared = sys.argv[2:4]
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(Path(folder))
        for name in ("file", "another", "crowded"):
            (engine.files / name).write_bytes(bytes(SIZE))
        others = Client(engine).ready()
        for _ in range(OTHERS):
            others.open("crowded", oplock=SMB2_OPLOCK_LEVEL_II)
        for protection in ("plain", "signed", "sealed"):
            client = Client(engine).ready()
            client.call(Command.ECHO, requests.EMPTY, credits=CREDITS)
            client.signs, client.seals = protection == "signed", protection == "sealed"
            file = client.open("file")

            def one(command: int, body: bytes, client: Client = client) -> list[bytes]:
                message = client.pack(command, body)
                if client.seals:
                    assert client.sealer is not None
                    message = b"".join(client.sealer.seal([message], client.session_id))
                return [message]

            def pair(name: str, client: Client = client, **options: Any) -> list[bytes]:
                body = requests.create(name, **options)
                body += bytes(-len(body) % 8)
                following = HEADER_SIZE + len(body)
                create = client.pack(Command.CREATE, body, next_command=following)
                flags = SMB2_FLAGS_RELATED_OPERATIONS
                close = client.pack(Command.CLOSE, requests.close(requests.RELATED), flags=flags)
                if client.seals:
                    assert client.sealer is not None
                    return [b"".join(client.sealer.seal([create, close], client.session_id))]
                return [create + close]

            lease = LeaseV2(lease_key=b"k" * 16, lease_state=RWH).pack()
            leased = {
                "oplock": SMB2_OPLOCK_LEVEL_LEASE,
                "contexts": [(SMB2_CREATE_REQUEST_LEASE, lease)],
            }
            rows = {
                "ECHO": lambda one=one: one(Command.ECHO, requests.EMPTY),
                "READ 4 KiB": lambda one=one, f=file: one(Command.READ, requests.read(f, SIZE)),
                "WRITE 4 KiB": lambda one=one, f=file: one(
                    Command.WRITE, requests.write(f, bytes(SIZE))
                ),
                "QUERY_INFO": lambda one=one, f=file: one(
                    Command.QUERY_INFO, requests.query_info(f, 5)
                ),
                "CREATE, CLOSE": lambda pair=pair: pair("another"),
                "... by a lease": lambda pair=pair, o=leased: pair("another", **o),
                "... by a batch": lambda pair=pair: pair("another", oplock=BATCH),
                "... of a crowd": lambda pair=pair: pair("crowded", oplock=BATCH),
                "... durable 1": lambda pair=pair: pair("another", oplock=BATCH, contexts=[V1]),
                "... durable 2": lambda pair=pair: pair(
                    "another", oplock=BATCH, contexts=[v2(guid=os.urandom(16))]
                ),
            }
            measured = measure(client, count, rows)
            for name, (took, bytecodes) in measured.items():
                print(f"{protection:8}{name:14}{took:8.1f}{bytecodes.total():8}")
            if compared:
                more, less = (measured[name][1] for name in compared)
                more.subtract(less)
                for function, difference in more.most_common():
                    if difference:
                        print(f"{difference:8} {function}")
        engine.close()


if __name__ == "__main__":
    main()
