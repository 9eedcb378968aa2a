"""RDMA READ and WRITE on the fabric: keys, bounds, order, depth, and faults on demand."""

from dataclasses import replace

import pytest
from fabric_pair import REGION, Pair, Side

from usmbd.transport.smbdirect.attributes import State
from usmbd.transport.smbdirect.fabric.device import LIMITS, Fabric
from usmbd.transport.smbdirect.provider import (
    Access,
    Completion,
    DeviceError,
    Opcode,
    RegistrationError,
    Status,
)


def read(id: int, length: int) -> Completion:
    return Completion(id, True, Opcode.READ, length, Status.SUCCESS)


def statuses(side: Side) -> list[tuple[int, Status]]:
    return [(done.id, done.status) for done in side.poll()]


def test_read_scatters_and_write_gathers() -> None:
    pair = Pair()
    server, client = pair.server, pair.client
    client.put(100, b"from the client")
    server.queue_pair.post_read(
        1,
        [server.segment(0, 4), server.segment(50, 11)],
        client.memory.address + 100,
        client.memory.remote_key,
    )
    assert server.poll() == [read(1, 15)]
    assert server.get(0, 4) + server.get(50, 11) == b"from the client"
    server.queue_pair.post_write(
        2,
        [server.put(0, b"to "), server.put(9, b"there")],
        client.memory.address,
        client.memory.remote_key,
    )
    assert client.get(0, 8) == b"to there"
    assert client.poll() == []
    pair.close()


@pytest.mark.parametrize("opcode", [Opcode.READ, Opcode.WRITE])
@pytest.mark.parametrize(
    "target",
    [
        pytest.param((0, 1, 1), id="key"),
        pytest.param((REGION - 9, 10, 0), id="end"),
        pytest.param((-1, 2, 0), id="begin"),
    ],
)
def test_remote_memory_is_checked(opcode: Opcode, target: tuple[int, int, int]) -> None:
    pair = Pair()
    offset, length, wrong = target
    client = pair.client
    client.queue_pair.post_receive(7, client.segment(0, 10))
    post = {
        Opcode.READ: pair.server.queue_pair.post_read,
        Opcode.WRITE: pair.server.queue_pair.post_write,
    }[opcode]
    key = client.memory.remote_key + wrong
    post(1, [pair.server.segment(0, length)], client.memory.address + offset, key)
    assert statuses(pair.server) == [(1, Status.REMOTE_ACCESS)]
    assert statuses(client) == [(7, Status.FLUSHED)]
    pair.close()


def test_access_that_was_not_granted_is_refused() -> None:
    for access, allowed in ((Access.REMOTE_READ, True), (Access.REMOTE_WRITE, False)):
        pair = Pair()
        memory = pair.client.device.register(10, access)
        pair.server.queue_pair.post_read(
            1, [pair.server.segment(0, 10)], memory.address, memory.remote_key
        )
        assert pair.server.poll()[0].ok == allowed
        pair.client.queue_pair.fail()
        memory.deregister()
        pair.close()


def test_read_needs_local_write_access() -> None:
    pair = Pair()
    memory = pair.server.device.register(10, Access.NONE)
    source = pair.client.memory
    sink = pair.server.segment(0, 10)._replace(address=memory.address, local_key=memory.local_key)
    pair.server.queue_pair.post_read(1, [sink], source.address, source.remote_key)
    assert statuses(pair.server) == [(1, Status.LOCAL_PROTECTION)]
    memory.deregister()
    pair.close()


def test_write_is_seen_before_the_message_after_it() -> None:
    pair = Pair()
    pair.fabric.pause()
    server, client = pair.server, pair.client
    client.queue_pair.post_receive(1, client.segment(0, 10))
    server.queue_pair.post_write(
        2, [server.put(0, b"data")], client.memory.address + 100, client.memory.remote_key
    )
    server.queue_pair.post_send(3, [server.put(9, b"done")])
    assert pair.fabric.step() == 1
    assert (client.get(100, 4), client.poll()) == (b"data", [])
    assert pair.fabric.step(5) == 1
    assert [done.id for done in client.poll()] == [1]
    pair.close()


def test_read_lets_later_messages_pass_but_completions_keep_their_order() -> None:
    pair = Pair()
    pair.fabric.pause()
    server, client = pair.server, pair.client
    client.queue_pair.post_receive(1, client.segment(0, 10))
    client.put(100, b"old")
    server.queue_pair.post_read(
        2, [server.segment(200, 3)], client.memory.address + 100, client.memory.remote_key
    )
    server.queue_pair.post_send(3, [server.put(0, b"x")])
    pair.fabric.step(2)
    assert [done.id for done in client.poll()] == [1]
    assert server.poll() == []
    # The peer may change its memory until the READ has completed.
    client.put(100, b"new")
    pair.fabric.step()
    assert statuses(server) == [(2, Status.SUCCESS), (3, Status.SUCCESS)]
    assert server.get(200, 3) == b"new"
    pair.close()


def test_reads_beyond_the_depth_queue_up_and_hold_up_what_follows() -> None:
    pair = Pair(reads=2)
    pair.fabric.pause()
    server, client = pair.server, pair.client
    client.queue_pair.post_receive(9, client.segment(0, 10))
    for id in (1, 2, 3):
        server.queue_pair.post_read(
            id, [server.segment(0, 4)], client.memory.address, client.memory.remote_key
        )
    server.queue_pair.post_send(4, [server.put(0, b"x")])
    pair.fabric.step(2)
    assert (server.queue_pair.reads_under_way, server.queue_pair.posted_sends) == (2, 4)
    pair.fabric.step()
    assert server.queue_pair.reads_under_way == 1
    assert client.poll() == []
    pair.fabric.resume()
    assert [id for id, _ in statuses(server)] == [1, 2, 3, 4]
    pair.close()


def test_more_reads_than_the_peer_answers_end_both_sides() -> None:
    pair = Pair()
    pair.fabric.pause()
    server = pair.server.device.queue_pair(8, 8)
    client = pair.client.device.queue_pair(8, 8)
    for state in (State.INIT, State.RTR, State.RTS):
        server.modify(*pair.fabric.attributes(state, client.number, reads=2))
        client.modify(*pair.fabric.attributes(state, server.number, reads=1))
    memory = pair.client.memory
    for id in (1, 2):
        server.post_read(id, [pair.server.segment(0, 4)], memory.address, memory.remote_key)
    pair.fabric.step(2)
    assert [done.status for done in server.poll(9)] == [Status.SUCCESS, Status.REMOTE_REQUEST]
    assert client.state is State.ERR
    server.close()
    client.close()
    pair.close()


def test_fault_on_demand_hits_the_operation_that_is_meant() -> None:
    pair = Pair()
    server, client = pair.server, pair.client
    for id in range(4):
        client.queue_pair.post_receive(id, client.segment(0, 10))
    server.queue_pair.fail_next(Status.GENERAL, skip=1)
    for id in (1, 2, 3):
        server.queue_pair.post_send(id, [server.put(0, b"x")])
    assert statuses(server) == [
        (1, Status.SUCCESS),
        (2, Status.GENERAL),
        (3, Status.FLUSHED),
    ]
    assert len(client.poll()) == 1
    pair.close()


def test_withheld_completions_are_overtaken_by_those_of_others() -> None:
    pair = Pair()
    server, client = pair.server, pair.client
    for id in (1, 2):
        client.queue_pair.post_receive(id, client.segment(0, 10))
    server.queue_pair.withhold()
    for id in (3, 4):
        server.queue_pair.post_send(id, [server.put(0, b"x")])
    assert (len(client.poll()), server.poll()) == (2, [])
    server.queue_pair.release(1)
    assert [done.id for done in server.poll()] == [3]
    server.queue_pair.release()
    assert [done.id for done in server.poll()] == [4]
    pair.close()


def test_cut_connection_is_noticed_by_whoever_sends() -> None:
    pair = Pair()
    pair.client.queue_pair.post_receive(1, pair.client.segment(0, 10))
    pair.server.queue_pair.sever()
    assert pair.client.poll() == []
    for side in (pair.server, pair.client):
        side.queue_pair.post_send(2, [side.put(0, b"x")])
        assert side.poll()[0] == Completion(2, False, None, 0, Status.RETRY_EXCEEDED)
    pair.close()


def test_steps_of_one_queue_pair_move_no_other() -> None:
    pair = Pair()
    pair.fabric.pause()
    for side in (pair.server, pair.client):
        side.queue_pair.post_receive(1, side.segment(0, 10))
        side.queue_pair.post_send(2, [side.put(20, b"x")])
    assert pair.fabric.step(9, pair.client.queue_pair) == 1
    assert [done.id for done in pair.server.poll()] == [1]
    pair.close()


def test_device_limits_are_enforced() -> None:
    fabric = Fabric()
    limits = replace(LIMITS, max_queue_pair_work_requests=8, max_completions=10)
    device = fabric.device("small", limits, registration_limit=100)
    for depths in ((9, 1), (6, 6)):
        with pytest.raises(DeviceError, match="small"):
            device.queue_pair(*depths)
    with pytest.raises(DeviceError, match="segments"):
        device.queue_pair(1, 1, send_segments=5)
    device.register(60, Access.NONE)
    with pytest.raises(RegistrationError, match="the limit of 100"):
        device.register(60, Access.NONE)
    device.close()
    assert fabric.leaks() == []
    with pytest.raises(DeviceError, match="closed"):
        device.register(1, Access.NONE)
