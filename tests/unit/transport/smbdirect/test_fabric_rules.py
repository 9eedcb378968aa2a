"""What the fabric's devices refuse, count and tell, at its bounds: real ones are no stricter."""

import os
import select
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fabric_pair import ALL, REGION, Pair

from usmbd.transport.smbdirect.attributes import Mask, State
from usmbd.transport.smbdirect.fabric.device import LIMITS, Fabric, FabricDevice
from usmbd.transport.smbdirect.fabric.queue_pair import FabricQueuePair
from usmbd.transport.smbdirect.provider import (
    Access,
    DeviceError,
    LinkType,
    Opcode,
    QueueFull,
    RegistrationError,
    Segment,
    Status,
)


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


@pytest.fixture
def device() -> FabricDevice:
    return Fabric().device()


def told(queue_pair: FabricQueuePair) -> bool:
    """Whether the channel has an event."""
    return bool(select.select([queue_pair.fileno()], [], [], 0)[0])


# -- memory ----------------------------------------------------------------------------------


def test_a_region_s_bytes_are_those_between_its_ends(device: FabricDevice) -> None:
    memory = device.register(100, ALL)
    assert memory.view.nbytes == 100
    assert bytes(memory.view) == bytes(100)
    for start, length in ((0, 100), (99, 1), (0, 0), (100, 0)):
        found = memory.slice(memory.address + start, length)
        assert found is not None
        assert len(found) == length
    for start, length in ((-1, 1), (100, 1), (0, 101), (-1, 0)):
        assert memory.slice(memory.address + start, length) is None


def test_regions_have_keys_and_addresses_of_their_own(device: FabricDevice) -> None:
    first, second = device.register(1, ALL), device.register((1 << 20) + 1, ALL)
    third = device.register(1, ALL)
    keys = [key for each in (first, second, third) for key in (each.local_key, each.remote_key)]
    assert len(set(keys)) == 6
    assert all(each.remote_key == each.local_key + 1 for each in (first, second, third))
    # unregistered addresses lie between them
    assert second.address - first.address >= 1 << 20
    assert third.address - (second.address + len(second.view)) >= (1 << 20) - 1
    assert device.registered_bytes == 2 + (1 << 20) + 1
    assert device.fabric.device("other").register(1, ALL).address > third.address


def test_a_region_that_is_given_back_is_gone(device: FabricDevice) -> None:
    memory = device.register(8, ALL)
    memory.deregister()
    memory.deregister()
    assert not memory.registered
    assert device.registered_bytes == 0
    assert device.local == device.by_remote_key == {}
    assert device.fabric.leaks() == []


def test_a_region_with_posted_work_stays(pair: Pair) -> None:
    pair.server.queue_pair.post_receive(1, pair.server.segment(0, 8))
    with pytest.raises(RuntimeError, match="still has work in the region"):
        pair.server.memory.deregister()
    assert pair.server.memory.registered
    pair.fabric.pause()
    pair.client.queue_pair.post_send(2, [pair.client.segment(0, 8)], more=True)
    for _ in range(2):  # while it waits for more, and for its turn
        with pytest.raises(RuntimeError, match="still has work"):
            pair.client.memory.deregister()
        pair.client.queue_pair.submit()
    pair.fabric.resume()


@pytest.mark.parametrize("length", [0, -1, LIMITS.max_memory_region + 1])
def test_what_no_region_has(device: FabricDevice, length: int) -> None:
    with pytest.raises(RegistrationError, match="a region has 1 to"):
        device.register(length, ALL)


def test_a_limit_of_registered_bytes() -> None:
    device = Fabric().device(registration_limit=100)
    first = device.register(60, ALL)
    device.register(40, ALL)
    with pytest.raises(RegistrationError, match="pass the limit of 100"):
        device.register(1, ALL)
    first.deregister()
    device.register(60, ALL)


def test_on_iwarp_what_is_read_into_can_be_written() -> None:
    exposed = Fabric().device(limits=replace(LIMITS, exposes_read_sinks=True))
    assert exposed.register(1, Access.READ_SINK).access == (
        Access.READ_SINK | Access.LOCAL_WRITE | Access.REMOTE_WRITE
    )
    assert exposed.register(1, Access.REMOTE_READ).access == Access.REMOTE_READ
    assert Fabric().device().register(1, Access.READ_SINK).access == Access.READ_SINK


# -- devices ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sends", "receives", "segments", "taken"),
    [
        (LIMITS.max_queue_pair_work_requests, 1, 1, True),
        (LIMITS.max_queue_pair_work_requests + 1, 1, 1, False),
        (1, LIMITS.max_queue_pair_work_requests + 1, 1, False),
        (0, 0, 1, False),
        (1, 0, 1, True),
        (1, 1, 0, False),
        (1, 1, LIMITS.max_send_segments, True),
        (1, 1, LIMITS.max_send_segments + 1, False),
    ],
)
def test_how_deep_a_queue_pair_may_be(
    device: FabricDevice, sends: int, receives: int, segments: int, taken: bool
) -> None:
    if taken:
        device.queue_pair(sends, receives, send_segments=segments).close()
    else:
        with pytest.raises(DeviceError, match="at most"):
            device.queue_pair(sends, receives, send_segments=segments)
        assert device.queue_pairs == []


def test_completions_have_a_limit_of_their_own() -> None:
    device = Fabric().device(limits=replace(LIMITS, max_completions=10))
    device.queue_pair(6, 4).close()
    with pytest.raises(DeviceError, match="11 completions pass the limit of 10"):
        device.queue_pair(6, 5)


def test_a_device_has_one_active_port(device: FabricDevice) -> None:
    (port,) = device.ports()
    assert (port.number, port.link_type, port.active) == (1, LinkType.ROCE, True)
    assert (port.speed, port.mtu) == (10_000_000_000, 4096)


def test_a_device_that_is_closed_makes_nothing(device: FabricDevice) -> None:
    queue_pair, memory = device.queue_pair(1, 1), device.register(1, ALL)
    device.close()
    assert queue_pair.closed
    assert not memory.registered
    with pytest.raises(DeviceError, match="the device is closed"):
        device.queue_pair(1, 1)
    with pytest.raises(DeviceError, match="the device is closed"):
        device.register(1, ALL)


def test_devices_have_names(device: FabricDevice) -> None:
    assert device.name == "fabric0"
    assert device.fabric.device().name == "fabric1"
    assert device.fabric.device("mine").name == "mine"


# -- states ----------------------------------------------------------------------------------


def test_a_change_without_its_state_is_none(device: FabricDevice) -> None:
    queue_pair = device.queue_pair(1, 1)
    attributes, mask = Fabric.attributes(State.INIT)
    with pytest.raises(DeviceError, match="only changes of the state"):
        queue_pair.modify(attributes, mask & ~Mask.STATE)
    queue_pair.modify(attributes, mask)
    ready, mask = Fabric.attributes(State.RTR, 77)
    with pytest.raises(DeviceError, match="from nobody"):
        queue_pair.modify(ready, mask & ~Mask.DEST_QPN)
    assert queue_pair.state is State.INIT
    with pytest.raises(DeviceError, match="INIT to RTS"):
        queue_pair.modify(*Fabric.attributes(State.RTS))
    queue_pair.close()


@pytest.mark.parametrize("state", [State.RTR, State.RTS])
def test_reads_at_once_are_the_device_s(device: FabricDevice, state: State) -> None:
    queue_pair = device.queue_pair(1, 1)
    for each in (State.INIT, State.RTR, State.RTS):
        if each is state:
            with pytest.raises(DeviceError, match="17 reads at once, at most 16"):
                queue_pair.modify(*Fabric.attributes(each, 5, reads=17))
            queue_pair.modify(*Fabric.attributes(each, 5, reads=16))
            break
        queue_pair.modify(*Fabric.attributes(each, 5))
    queue_pair.close()


def test_no_receives_before_init_and_no_sends_before_rts(device: FabricDevice) -> None:
    queue_pair, memory = device.queue_pair(1, 1), device.register(8, ALL)
    segment = Segment(memory.address, 8, memory.local_key)
    with pytest.raises(DeviceError, match="before INIT"):
        queue_pair.post_receive(1, segment)
    for state in (State.INIT, State.RTR):
        queue_pair.modify(*Fabric.attributes(state, 5))
        with pytest.raises(DeviceError, match=f"no sends in {state.name}"):
            queue_pair.post_send(2, [segment])
    queue_pair.post_receive(1, segment)
    assert queue_pair.posted_receives == 1
    queue_pair.close()
    assert queue_pair.posted_receives == 0


def test_a_queue_pair_that_is_closed_does_nothing(device: FabricDevice) -> None:
    queue_pair = device.queue_pair(1, 1)
    channel = queue_pair.fileno()
    queue_pair.close()
    queue_pair.close()
    queue_pair.fail()
    assert queue_pair.state is State.ERR
    assert not os.path.exists(f"/proc/self/fd/{channel}")
    for call in (
        queue_pair.arm,
        queue_pair.submit,
        lambda: queue_pair.poll(1),
        lambda: queue_pair.post_send(1, []),
        lambda: queue_pair.post_receive(1, Segment(0, 0, 0)),
        lambda: queue_pair.modify(*Fabric.attributes(State.INIT)),
    ):
        with pytest.raises(DeviceError, match="is closed"):
            call()
    assert device.fabric.find(queue_pair.number) is None


# -- work ------------------------------------------------------------------------------------


def test_a_full_queue_is_told_and_takes_more_once_it_is_polled() -> None:
    pair = Pair(send_depth=2, receive_depth=2)
    client, server = pair.client.queue_pair, pair.server.queue_pair
    for number in range(2):
        server.post_receive(number, pair.server.segment(0, 8))
        client.post_send(number, [pair.client.segment(0, 8)])
    with pytest.raises(QueueFull, match="2 sends are posted"):
        client.post_send(9, [])
    with pytest.raises(QueueFull, match="2 receives are posted"):
        server.post_receive(9, pair.server.segment(0, 8))
    assert [done.id for done in client.poll(1)] == [0]
    server.poll(1)
    server.post_receive(2, pair.server.segment(0, 8))
    client.post_send(2, [])
    assert [done.id for done in client.poll(9)] == [1, 2]
    pair.close()


def test_what_is_posted_after_the_end_is_flushed(pair: Pair) -> None:
    client = pair.client.queue_pair
    client.fail()
    client.post_receive(1, pair.client.segment(0, 8))
    client.post_send(2, [pair.client.segment(0, 8)])
    found = pair.client.poll()
    assert sorted((done.id, done.status) for done in found) == [
        (1, Status.FLUSHED),
        (2, Status.FLUSHED),
    ]
    assert client.posted_sends == client.posted_receives == 0


def test_a_completion_tells_what_was_done(pair: Pair) -> None:
    server, client = pair.server, pair.client
    server.queue_pair.post_receive(1, server.segment(0, 16))
    client.queue_pair.post_send(2, [client.put(0, b"hello")])
    client.queue_pair.post_write(
        3, [client.segment(0, 5)], server.memory.address + 100, server.memory.remote_key
    )
    client.queue_pair.post_read(
        4, [client.segment(50, 5)], server.memory.address + 100, server.memory.remote_key
    )
    (received,) = server.poll()
    assert (received.id, received.ok, received.opcode, received.length) == (
        1, True, Opcode.RECEIVE, 5
    )  # fmt: skip
    found = [(done.id, done.opcode, done.length, done.status) for done in client.poll()]
    assert found == [
        (2, Opcode.SEND, 0, Status.SUCCESS),
        (3, Opcode.WRITE, 0, Status.SUCCESS),
        (4, Opcode.READ, 5, Status.SUCCESS),
    ]
    assert client.get(50, 5) == server.get(100, 5) == b"hello"


def test_a_message_may_fill_its_receive_and_the_region(pair: Pair) -> None:
    server, client = pair.server, pair.client
    server.queue_pair.post_receive(1, server.segment(0, REGION))
    client.queue_pair.post_send(2, [client.segment(0, REGION)])
    assert server.poll()[0].length == REGION
    assert client.poll()[0].ok


def test_a_write_of_nothing_needs_no_key(pair: Pair) -> None:
    pair.client.queue_pair.post_write(1, [], 0, 0xDEAD)
    assert pair.client.poll()[0].status is Status.SUCCESS


def test_only_so_many_reads_are_under_way_at_a_time() -> None:
    pair = Pair(reads=2)
    pair.fabric.pause()
    client, server = pair.client, pair.server
    for number in range(3):
        client.queue_pair.post_read(
            number, [client.segment(number, 1)], server.memory.address, server.memory.remote_key
        )
    assert client.queue_pair.posted_sends == 3
    assert pair.fabric.step(9, client.queue_pair) == 6
    assert client.queue_pair.reads_under_way == 0
    assert [done.id for done in client.poll()] == [0, 1, 2]
    pair.fabric.resume()
    pair.close()


def test_steps_tell_how_many_there_were(pair: Pair) -> None:
    pair.fabric.pause()
    for number in range(2):
        pair.server.queue_pair.post_receive(number, pair.server.segment(0, 8))
        pair.client.queue_pair.post_send(number, [])
    assert pair.fabric.step() == 1
    assert pair.fabric.step(5) == 1
    assert pair.fabric.step() == 0
    pair.fabric.resume()


def test_a_fault_comes_once_and_after_those_that_are_skipped(pair: Pair) -> None:
    for number in range(3):
        pair.server.queue_pair.post_receive(number, pair.server.segment(0, 8))
    pair.client.queue_pair.fail_next(Status.LOCAL_PROTECTION, skip=2)
    for number in range(3):
        pair.client.queue_pair.post_send(number, [])
    assert [done.status for done in pair.client.poll()] == [
        Status.SUCCESS,
        Status.SUCCESS,
        Status.LOCAL_PROTECTION,
    ]


def test_a_connection_that_is_cut_moves_nothing_either_way(pair: Pair) -> None:
    pair.server.queue_pair.post_receive(1, pair.server.segment(0, 8))
    pair.client.queue_pair.sever()
    pair.client.queue_pair.post_send(2, [])
    pair.server.queue_pair.post_send(3, [])
    assert pair.client.poll()[0].status is Status.RETRY_EXCEEDED
    assert pair.server.poll()[-1].id in (1, 3)
    assert not any(done.ok for done in pair.server.poll())


def test_what_waits_for_its_turn_when_the_connection_is_cut_fails(pair: Pair) -> None:
    pair.fabric.pause()
    pair.client.queue_pair.post_send(1, [])
    pair.client.queue_pair.sever()
    assert pair.client.poll() == []
    pair.fabric.resume()
    assert pair.client.poll()[0].status is Status.RETRY_EXCEEDED


# -- the channel -----------------------------------------------------------------------------


def test_who_is_not_armed_is_told_nothing(pair: Pair) -> None:
    client, server = pair.client.queue_pair, pair.server.queue_pair
    for number in range(3):
        server.post_receive(number, pair.server.segment(0, 8))
    client.post_send(1, [])
    assert not told(client)
    client.arm()
    assert not told(client), "what came before is to be polled"
    client.post_send(2, [])
    assert told(client)
    client.arm()
    assert not told(client)
    client.post_send(3, [])
    assert told(client)


def test_withheld_completions_come_in_order_and_in_parts(pair: Pair) -> None:
    client, server = pair.client.queue_pair, pair.server.queue_pair
    for number in range(4):
        server.post_receive(number, pair.server.segment(0, 8))
    client.release()  # there is nothing
    client.withhold()
    for number in range(3):
        client.post_send(number, [])
    client.withhold()
    assert client.poll(9) == []
    client.release(0)
    assert client.poll(9) == []
    client.release(1)
    assert [done.id for done in client.poll(9)] == [0]
    client.release(5)
    assert [done.id for done in client.poll(9)] == [1, 2]
    client.post_send(3, [])
    assert client.poll(9) == [], "with a limit it goes on withholding"
    client.release()
    assert [done.id for done in client.poll(9)] == [3]


def test_what_is_open_is_told_as_a_leak() -> None:
    fabric = Fabric()
    device = fabric.device("mine")
    memory, queue_pair = device.register(8, ALL), device.queue_pair(1, 1)
    queue_pair.modify(*Fabric.attributes(State.INIT))
    queue_pair.post_receive(1, Segment(memory.address, 8, memory.local_key))
    assert fabric.leaks() == [
        f"mine: queue pair {queue_pair.number} is open with 0 sends and 1 receives",
        "mine: 8 bytes are registered",
    ]
    queue_pair.close()
    memory.deregister()
    assert fabric.leaks() == []
