"""CPU time of the engine alone for one request, in microseconds: no socket, no client.

    python lab/bench/engine.py [REQUESTS]

The requests are built before the clock starts and handed to the dispatcher one by one; what the
transport is given is dropped. Best of five runs.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from smbengine import requests
from smbengine.client import Client
from smbengine.server import Engine

from usmbd.protocol.wire.header import Command

RUNS = 5
CREDITS = 8000
SIZE = 4096


def measure(client: Client, count: int, build: Callable[[], list[bytes]]) -> float:
    """Return the time of `count` rounds of what `build` makes."""
    best = float("inf")
    transport = client.connection.transport
    send, transport.send = transport.send, lambda parts: None  # type: ignore[method-assign]
    take = client.dispatcher.message_received
    for _ in range(RUNS):
        messages = [memoryview(bytearray(m)) for _ in range(count) for m in build()]
        began = process_time()
        for message in messages:
            take(message)
        best = min(best, process_time() - began)
    transport.send = send  # type: ignore[method-assign]
    assert not client.connection.closed
    return best / count * 1e6


def main() -> None:
    """Print one row a measurement."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(Path(folder))
        (engine.files / "file").write_bytes(bytes(SIZE))
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

            rows = {
                "ECHO": lambda one=one: one(Command.ECHO, requests.EMPTY),
                "READ 4 KiB": lambda one=one, f=file: one(Command.READ, requests.read(f, SIZE)),
                "WRITE 4 KiB": lambda one=one, f=file: one(
                    Command.WRITE, requests.write(f, bytes(SIZE))
                ),
                "QUERY_INFO": lambda one=one, f=file: one(
                    Command.QUERY_INFO, requests.query_info(f, 5)
                ),
            }
            for name, build in rows.items():
                print(f"{protection:8}{name:14}{measure(client, count, build):8.1f}")
        engine.close()


if __name__ == "__main__":
    main()
