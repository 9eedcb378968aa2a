"""A client beside an attack: it writes and reads, checks what comes, and says how long it took."""

import os
import threading
import time
from types import TracebackType

from smbtest import smb2
from smbtest.raw import Raw
from smbtest.server import ALICE, Account, Server

SIZE = 32 * 1024
PAUSE = 0.003


class Bystander:
    """Works in a thread from `with` to its end, where whatever went wrong is raised.

    Latencies are reported, not judged: machines differ. Data that is not right is an error.
    """

    def __init__(self, server: Server, account: Account = ALICE, timeout: float = 30) -> None:
        """Log in and make a file; a request that takes `timeout` seconds is an error."""
        self.client = Raw(server, timeout=timeout).ready(account=account)
        self._file = self.client.open(f"bystander-{os.urandom(4).hex()}")
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.seconds: list[float] = []
        """What each ECHO took."""

    def __enter__(self) -> "Bystander":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.client.close()
        print(self.report())
        if error is None and self._error is not None:
            raise self._error

    def report(self) -> str:
        """Return the latencies for people."""
        took = sorted(self.seconds) or [0.0]
        middle, high = took[len(took) // 2], took[len(took) * 99 // 100]
        shown = ", ".join(
            f"{name} {value * 1e3:.1f} ms"
            for name, value in (("median", middle), ("p99", high), ("most", took[-1]))
        )
        return f"bystander: {len(took)} ECHOs, {shown}"

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                self._round()
        except Exception as error:
            self._error = error

    def _round(self) -> None:
        """Write, read what was written, and time an ECHO."""
        data = os.urandom(SIZE)
        written = self.client.call(smb2.WRITE, smb2.write_body(self._file, data))
        assert written.status == smb2.SUCCESS, hex(written.status)
        read = self.client.call(smb2.READ, smb2.read_body(self._file, SIZE))
        assert read.body[16:] == data
        began = time.perf_counter()
        assert self.client.call(smb2.ECHO, smb2.ECHO_BODY).status == smb2.SUCCESS
        self.seconds.append(time.perf_counter() - began)
        time.sleep(PAUSE)
