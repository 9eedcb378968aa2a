"""Whatever a client sends, and whenever the device fails: accepted or ended, and nothing leaks.

`Network.close` asserts the rest: everyone told once, no memory in use, nothing posted, no timer.
"""

import struct
from typing import Any

from engine_pair import data, request
from hypothesis import given, settings
from hypothesis import strategies as st
from smbdirect.client import RawClient
from smbdirect.network import Network

from usmbd.transport.smbdirect.connection import State
from usmbd.transport.smbdirect.limits import Limits
from usmbd.transport.smbdirect.provider import Status

from .conftest import Link, Upper, pattern

U16 = st.integers(0, 0xFFFF)
U32 = st.one_of(st.integers(0, 3000), st.integers(0, 0xFFFFFFFF))
NEGOTIATIONS = st.one_of(
    st.just(request()),
    st.builds(request, U16, U32, U32, U32, st.tuples(U16, U16)),
    st.binary(max_size=600),
)
HEADERS = st.builds(
    lambda fields, rest: struct.pack("<4H3I", *fields) + rest,
    st.tuples(U16, U16, U16, U16, U32, st.sampled_from([0, 8, 20, 24, 24, 24, 32, 1 << 31]), U32),
    st.binary(max_size=200),
)
PLAUSIBLE = st.builds(
    data,
    st.binary(max_size=1300),
    st.integers(0, 50),
    st.one_of(st.just(0), st.integers(0, 5000)),
    st.integers(0, 1),
    st.integers(1, 300),
)
MESSAGES = st.lists(st.one_of(PLAUSIBLE, PLAUSIBLE, HEADERS, st.binary(max_size=1500)), max_size=40)


@settings(max_examples=150, deadline=None)
@given(NEGOTIATIONS, MESSAGES, st.integers(1, 5))
def test_any_bytes(negotiation: bytes, messages: list[bytes], at_once: int) -> None:
    network = Network(Limits(receive_credit_max=20))
    client = RawClient(network.client_device)
    transport = network.connect(client)
    upper = Upper()
    upper.on_message = lambda message: transport.send([message, bytes(2000)])
    transport.start(upper)
    for index, message in enumerate([negotiation, *messages]):
        if transport.state is not State.OPEN or not client.post(message):
            break
        if index % at_once == 0:
            network.pump()
            assert transport.engine.queued_bytes < 1 << 21
    network.settle()
    if transport.state is State.OPEN:
        assert upper.lost == []
        agreed = transport.engine.negotiated
        assert agreed is None or transport.engine.posted_receives == 20
    else:
        assert len(upper.lost) == 1
    network.close()


SIZES = st.one_of(st.integers(1, 3000), st.integers(1, 150_000))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["echo", "fetch", "put"]), SIZES),
        st.tuples(st.sampled_from(["step", "turn", "client"]), st.integers(1, 30)),
        st.tuples(st.just("rest"), st.just(0)),
    ),
    max_size=40,
)
FAULTS = st.one_of(
    st.none(),
    st.tuples(
        st.sampled_from(["fail", "sever", "close", "gone", "disconnect", "withhold"]),
        st.integers(0, 40),
    ),
    st.tuples(st.sampled_from(list(Status)[1:]), st.integers(0, 40)),
)


class Traffic:
    """Requests of a client that are answered by messages, READs and WRITEs, in small steps."""

    def __init__(self, limits: Limits) -> None:
        """Connect; nothing moves by itself from now on."""
        self.network = Network(limits)
        self.link = Link(self.network, limits).start()
        self.link.upper.on_message = self.serve
        self.regions: list[Any] = []
        self.expected: list[bytes] = []
        self.reads = 0
        self.done: list[OSError | None] = []
        self.network.fabric.pause()

    def serve(self, message: memoryview) -> None:
        """Answer a request of the kind that its first byte names."""
        kind, index, size = struct.unpack_from("<BHI", message)
        transport = self.link.transport
        if kind == 0:
            transport.send([message])
            return
        region = self.regions[index]
        half = size // 2
        remote = [region.remote(0, half), region.remote(half, size - half)]
        if kind == 1:
            view = transport.buffer(size)
            view[:] = pattern(size, index)
            transport.write_remote([view[:half], view[half:]], remote)
            transport.send([message], remote[0].token)
            return
        view = transport.buffer(size)
        self.reads += 1

        def answer(error: OSError | None) -> None:
            self.done.append(error)
            assert error or view == pattern(size, index)
            transport.send([bytes([kind]), message[1:]])

        transport.read_remote(view, remote, answer)

    def ask(self, name: str, size: int) -> None:
        """Send one request."""
        client = self.link.client
        if client.closed:
            return
        kind = ("echo", "fetch", "put").index(name)
        index = len(self.regions)
        self.regions.append(client.register(pattern(size, index) if kind == 2 else size))
        message = struct.pack("<BHI", kind, index, size)
        if kind == 0:
            message += pattern(size)
        self.expected.append(message)
        client.send([message])

    def move(self, name: str, count: int) -> None:
        """Let something happen."""
        if name == "rest":
            while self.network.fabric.step(50) + self.network.pump():
                pass
        for _ in range(count):
            if name == "step":
                self.network.fabric.step()
            elif name == "turn":
                self.network.loop.turn()
            else:
                self.link.client.pump()

    def fault(self, fault: str | Status) -> None:
        """Let something go wrong."""
        queue_pair: Any = self.link.transport.queue_pair
        if queue_pair.closed:
            return
        if isinstance(fault, Status):
            queue_pair.fail_next(fault)
        elif fault in ("fail", "sever", "withhold"):
            getattr(queue_pair, fault)()
        elif fault == "close":
            self.link.transport.close("enough")
        elif fault == "disconnect":
            self.link.transport.disconnected("enough")
        else:
            self.link.client.close(tell=False)


@settings(max_examples=150, deadline=None)
@given(
    STEPS,
    FAULTS,
    st.builds(Limits, receive_credit_max=st.integers(3, 40), send_credit_target=st.integers(1, 40)),
)
def test_any_traffic_and_any_fault(
    steps: list[tuple[str, int]], fault: tuple[str | Status, int] | None, limits: Limits
) -> None:
    traffic = Traffic(limits)
    network, link = traffic.network, traffic.link
    for index, (name, value) in enumerate(steps):
        if fault is not None and index == fault[1]:
            traffic.fault(fault[0])
        if name in ("echo", "fetch", "put"):
            traffic.ask(name, value)
        else:
            traffic.move(name, value)
    traffic.move("rest", 0)
    if link.transport.state is State.OPEN and fault is None:
        assert sorted(link.client.delivered) == sorted(traffic.expected)
        for index, message in enumerate(traffic.expected):
            kind, _, size = struct.unpack_from("<BHI", message)
            region = traffic.regions[index]
            assert region.invalidated == (kind == 1)
            if kind == 1:
                assert region.data == pattern(size, index)
    network.close()
    assert len(traffic.done) == traffic.reads
    assert len(link.upper.lost) == 1
