"""A switch between guests: it copies frames, and cuts, delays or loses them when told to.

    python3 -IS switch.py CONTROL END...      descriptors: lines of JSON in, datagram sockets

    {"port": 0, "up": false}      the cable of the first guest is pulled; true: it is put back
    {"port": 0, "loss": 0.1}      a tenth of the frames that come from or go to it are lost
    {"port": 0, "delay": 0.05}    they arrive so many seconds later, in order
    {"id": 7}                     answered by the same line when all before it is in force

It is a process of its own, which ends with its control line. Standard library only.
"""

import heapq
import json
import random
import selectors
import socket
import sys
import time
from contextlib import suppress
from itertools import count

FRAME = 1 << 16
"""Bytes of the longest frame that is taken."""

HEADER = 14
"""Bytes of an Ethernet header; what is shorter is no frame."""

HOMES = 1024
"""Addresses that it remembers; then it learns them anew."""

BATCH = 64
"""Frames from one guest in a row, before the others have their turn."""


class Port:
    """One guest's cable: its end, and what is wrong with it."""

    def __init__(self, end: socket.socket) -> None:
        """Begin with a good cable."""
        self.end = end
        self.up = True
        self.loss = self.delay = 0.0


class Switch:
    """Learns who is where, and passes each frame on to the one or to all."""

    def __init__(self, control: socket.socket, ends: list[socket.socket]) -> None:
        """Listen to the control line and all ends."""
        self.control, self.orders = control, b""
        self.ports = [Port(end) for end in ends]
        self.homes: dict[bytes, Port] = {}
        self.late: list[tuple[float, int, Port, bytes]] = []
        self.order = count()
        self.random = random.Random(1)  # the same frames are lost in each run
        self.selector = selectors.DefaultSelector()
        self.selector.register(control, selectors.EVENT_READ)
        for port in self.ports:
            port.end.setblocking(False)
            self.selector.register(port.end, selectors.EVENT_READ, port)

    def receive(self, port: Port) -> None:
        """Take what a guest sends."""
        for _ in range(BATCH):
            try:
                frame = port.end.recv(FRAME)
            except BlockingIOError:
                return
            except OSError:
                self.selector.unregister(port.end)
                return
            if len(frame) < HEADER:
                continue
            if len(self.homes) >= HOMES:
                self.homes.clear()
            self.homes[frame[6:12]] = port
            target = self.homes.get(frame[:6])
            if target is not None:
                self.carry(port, target, frame)
            else:
                for other in self.ports:
                    self.carry(port, other, frame)

    def carry(self, port: Port, target: Port, frame: bytes) -> None:
        """Pass a frame from one cable to another, as good as both are."""
        if target is port or not (port.up and target.up):
            return
        loss, delay = max(port.loss, target.loss), max(port.delay, target.delay)
        if loss and self.random.random() < loss:
            return
        if delay or self.late:
            due = time.monotonic() + delay
            heapq.heappush(self.late, (due, next(self.order), target, frame))
        else:
            self.send(target, frame)

    def send(self, target: Port, frame: bytes) -> None:
        """Give a frame to a guest; one that takes no more loses it, as from any switch."""
        if target.up:
            with suppress(OSError):
                target.end.send(frame)

    def obey(self, data: bytes) -> None:
        """Do what the control line says."""
        *lines, self.orders = (self.orders + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if "id" in order:
                self.control.sendall(line + b"\n")
                continue
            port = self.ports[order.pop("port")]
            for name, value in order.items():
                setattr(port, name, value)

    def run(self) -> None:
        """Switch until the control line ends."""
        while True:
            wait = max(0.0, self.late[0][0] - time.monotonic()) if self.late else None
            for key, _ in self.selector.select(wait):
                if key.data is not None:
                    self.receive(key.data)
                    continue
                data = self.control.recv(65536)
                if not data:
                    return
                self.obey(data)
            while self.late and self.late[0][0] <= time.monotonic():
                _, _, target, frame = heapq.heappop(self.late)
                self.send(target, frame)


if __name__ == "__main__":
    control, *ends = (socket.socket(fileno=int(word)) for word in sys.argv[1:])
    Switch(control, ends).run()
