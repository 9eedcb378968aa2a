"""The wire between guests: a socket pair for two, a switch for more or for a wire with faults."""

import json
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

BUFFER = 4 << 20
"""Bytes that one end holds: a RDMA READ of 2 MiB is answered in one burst, and a lost frame of it
costs a retransmission of all."""

GRACE = 30.0
"""Seconds for the switch to end, which takes a moment; then it is killed."""


def direct() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a wire without a switch: each frame is one datagram."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    return ends


class Switch:
    """A switch with `count` cables; what is told of a cable is in force when the call returns."""

    def __init__(self, count: int) -> None:
        """Start the process; `ends` are for the guests."""
        pairs = [direct() for _ in range(count)]
        self.ends = [theirs for theirs, _ in pairs]
        ours = [end for _, end in pairs]
        self._control, control = socket.socketpair()
        program = [sys.executable, "-IS", Path(__file__).with_name("switch.py")]
        descriptors = [end.fileno() for end in (control, *ours)]
        self._process = subprocess.Popen(
            [*program, *map(str, descriptors)], pass_fds=descriptors, start_new_session=True
        )
        for end in (control, *ours):
            end.close()
        self._answers = self._control.makefile("rb")

    def _tell(self, cable: int, **order: object) -> None:
        """Give an order and wait until it is in force."""
        if not 0 <= cable < len(self.ends):
            raise ValueError(f"no cable {cable}: the switch has {len(self.ends)}, from 0 on")
        answer = b""
        with suppress(OSError):
            for line in ({"port": cable, **order}, {"id": 0}):
                self._control.sendall(json.dumps(line).encode() + b"\n")
            answer = self._answers.readline()
        if not answer:
            raise RuntimeError(f"the switch has ended with {self._process.poll()}")

    def cut(self, cable: int) -> None:
        """Pull a guest's cable out."""
        self._tell(cable, up=False)

    def mend(self, cable: int) -> None:
        """Put the cable back, as good as new."""
        self._tell(cable, up=True, loss=0.0, delay=0.0)

    def lose(self, cable: int, part: float) -> None:
        """Lose a part (0 to 1) of the frames from and to a guest."""
        if not 0 <= part <= 1:
            raise ValueError(f"a part is from 0 to 1, and not {part}")
        self._tell(cable, loss=part)

    def delay(self, cable: int, seconds: float) -> None:
        """Let the frames from and to a guest arrive later, in order."""
        if seconds < 0:
            raise ValueError(f"no frame arrives {-seconds} s before it is sent")
        self._tell(cable, delay=seconds)

    def close(self) -> None:
        """End it; what is under way is lost."""
        self._answers.close()
        self._control.close()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for end in self.ends:
            end.close()

    def __enter__(self) -> Self:
        """Return it, started."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self.close()
