"""Messages between two queue pairs of the fabric: receives, credits, segments, invalidation."""

import os
import select

import pytest
from fabric_pair import REGION, Pair

from usmbd.transport.smbdirect.attributes import State
from usmbd.transport.smbdirect.provider import (
    Completion,
    DeviceError,
    Opcode,
    QueueFull,
    Segment,
    Status,
)


def failed(id: int, status: Status) -> Completion:
    return Completion(id, False, None, 0, status)


def sent(id: int) -> Completion:
    return Completion(id, True, Opcode.SEND, 0, Status.SUCCESS)


def received(id: int, length: int) -> Completion:
    return Completion(id, True, Opcode.RECEIVE, length, Status.SUCCESS)


def test_message_of_several_segments_arrives_in_the_oldest_receive() -> None:
    pair = Pair()
    pair.client.queue_pair.post_receive(7, pair.client.segment(0, 100))
    pair.client.queue_pair.post_receive(8, pair.client.segment(100, 100))
    pair.server.queue_pair.post_send(1, [pair.server.put(0, b"two "), pair.server.put(9, b"parts")])
    assert pair.client.poll() == [received(7, 9)]
    assert pair.client.get(0, 9) == b"two parts"
    assert pair.server.poll() == [sent(1)]
    assert pair.client.queue_pair.posted_receives == 1
    pair.close()


def test_what_waits_for_more_goes_with_the_next_or_with_submit() -> None:
    pair = Pair()
    for number in range(3):
        pair.client.queue_pair.post_receive(number, pair.client.segment(0, 10))
    pair.server.queue_pair.post_send(1, [pair.server.put(0, b"1")], more=True)
    assert pair.client.poll() == []
    pair.server.queue_pair.post_send(2, [pair.server.put(1, b"2")])
    assert pair.client.poll() == [received(0, 1), received(1, 1)]
    pair.server.queue_pair.post_send(3, [pair.server.put(2, b"3")], more=True)
    assert pair.client.poll() == []
    pair.server.queue_pair.submit()
    assert pair.client.poll() == [received(2, 1)]
    assert pair.server.poll() == [sent(1), sent(2), sent(3)]
    pair.server.queue_pair.post_send(4, [pair.server.put(0, b"4")], more=True)
    assert pair.server.queue_pair.posted_sends == 1
    pair.server.queue_pair.fail()
    assert pair.server.poll() == [failed(4, Status.FLUSHED)]
    pair.close()


def test_without_a_receive_and_without_retries_the_sender_fails_at_once() -> None:
    pair = Pair()
    pair.server.queue_pair.post_receive(5, pair.server.segment(0, 10))
    pair.server.queue_pair.post_send(1, [pair.server.put(0, b"x")])
    assert pair.server.poll() == [failed(1, Status.RECEIVER_NOT_READY), failed(5, Status.FLUSHED)]
    assert pair.server.queue_pair.state is State.ERR
    pair.close()


def test_with_endless_retries_the_message_waits_for_a_receive() -> None:
    pair = Pair(rnr_retry=7)
    pair.server.queue_pair.post_send(1, [pair.server.put(0, b"late")])
    assert pair.server.poll() == []
    pair.client.queue_pair.post_receive(2, pair.client.segment(0, 10))
    assert pair.client.poll() == [received(2, 4)]
    assert pair.server.poll() == [sent(1)]
    pair.close()


def test_retries_are_counted() -> None:
    pair = Pair(rnr_retry=2)
    pair.fabric.pause()
    pair.server.queue_pair.post_send(1, [pair.server.put(0, b"x")])
    assert [pair.fabric.step() for _ in range(3)] == [0, 0, 1]
    assert pair.server.poll() == [failed(1, Status.RECEIVER_NOT_READY)]
    pair.close()


def test_message_longer_than_the_receive_ends_both_sides() -> None:
    pair = Pair()
    pair.client.queue_pair.post_receive(1, pair.client.segment(0, 3))
    pair.client.queue_pair.post_receive(2, pair.client.segment(3, 3))
    pair.server.queue_pair.post_send(9, [pair.server.put(0, b"four")])
    assert pair.server.poll() == [failed(9, Status.REMOTE_REQUEST)]
    assert pair.client.poll() == [failed(1, Status.LOCAL_LENGTH), failed(2, Status.FLUSHED)]
    assert pair.client.get(0, 3) == bytes(3)
    pair.close()


@pytest.mark.parametrize(
    "segment",
    [
        pytest.param((0, 1, 0xBAD), id="key"),
        pytest.param((REGION - 1, 2, 0), id="end"),
        pytest.param((-1, 1, 0), id="begin"),
    ],
)
def test_local_segments_are_checked(segment: tuple[int, int, int]) -> None:
    pair = Pair()
    offset, length, key = segment
    memory = pair.server.memory
    bad = Segment(memory.address + offset, length, key or memory.local_key)
    pair.client.queue_pair.post_receive(1, pair.client.segment(0, 10))
    pair.server.queue_pair.post_send(2, [bad])
    assert pair.server.poll() == [failed(2, Status.LOCAL_PROTECTION)]
    assert pair.client.poll() == []
    pair.close()


def test_key_is_dead_after_a_send_that_invalidates_it() -> None:
    pair = Pair()
    server, client = pair.server, pair.client
    for id in (1, 2):
        client.queue_pair.post_receive(id, client.segment(0, 10))
    server.queue_pair.post_write(
        3, [server.put(0, b"w")], client.memory.address, client.memory.remote_key
    )
    server.queue_pair.post_send(4, [server.put(0, b"x")], invalidate=client.memory.remote_key)
    assert client.memory.invalidated
    server.queue_pair.post_write(
        5, [server.put(0, b"y")], client.memory.address + 50, client.memory.remote_key
    )
    assert [done.status for done in server.poll()] == [
        Status.SUCCESS,
        Status.SUCCESS,
        Status.REMOTE_ACCESS,
    ]
    assert client.poll() == [received(1, 1), failed(2, Status.FLUSHED)]
    assert client.get(50, 1) == b"\0"
    pair.close()


def test_invalidating_twice_or_an_unknown_key_ends_both_sides() -> None:
    pair = Pair()
    pair.client.queue_pair.post_receive(1, pair.client.segment(0, 10))
    pair.server.queue_pair.post_send(2, [pair.server.put(0, b"x")], invalidate=0xBAD)
    assert pair.server.poll() == [failed(2, Status.REMOTE_ACCESS)]
    assert pair.client.poll() == [failed(1, Status.LOCAL_ACCESS)]
    pair.close()


def test_depths_count_until_the_completion_is_polled() -> None:
    pair = Pair(send_depth=2, receive_depth=2)
    server, client = pair.server, pair.client
    for id in (1, 2):
        client.queue_pair.post_receive(id, client.segment(0, 10))
    with pytest.raises(QueueFull):
        client.queue_pair.post_receive(3, client.segment(0, 10))
    data = server.put(0, b"x")
    server.queue_pair.post_send(1, [data], signaled=False)
    server.queue_pair.post_send(2, [data])
    with pytest.raises(QueueFull):
        server.queue_pair.post_send(3, [data])
    with pytest.raises(QueueFull):
        client.queue_pair.post_receive(3, client.segment(0, 10))
    assert server.poll() == [sent(2)]
    assert len(client.poll()) == 2
    # The completion of the second freed the slot of the first, unsignaled one as well.
    for id in (3, 4):
        client.queue_pair.post_receive(id, client.segment(0, 10))
        server.queue_pair.post_send(id, [data])
    pair.close()


def test_too_many_segments_are_the_callers_error() -> None:
    pair = Pair()
    with pytest.raises(ValueError, match="segments"):
        pair.server.queue_pair.post_send(1, [pair.server.segment(0, 1)] * 5)
    pair.close()


def test_failing_flushes_all_that_is_posted_once_even_the_unsignaled() -> None:
    pair = Pair()
    pair.fabric.pause()
    server = pair.server
    server.queue_pair.post_send(1, [server.put(0, b"x")], signaled=False)
    server.queue_pair.post_receive(2, server.segment(0, 10))
    server.queue_pair.fail()
    server.queue_pair.fail()
    assert server.poll() == [failed(1, Status.FLUSHED), failed(2, Status.FLUSHED)]
    server.queue_pair.post_send(3, [server.segment(0, 1)])
    server.queue_pair.post_receive(4, server.segment(0, 1))
    assert server.poll() == [failed(3, Status.FLUSHED), failed(4, Status.FLUSHED)]
    # The other side learns of it only when it sends.
    assert pair.client.queue_pair.state is State.RTS
    pair.client.queue_pair.post_send(5, [pair.client.segment(0, 1)])
    pair.fabric.step()
    assert pair.client.poll() == [failed(5, Status.RETRY_EXCEEDED)]
    pair.close()


def test_channel_tells_once_of_what_comes_after_arming() -> None:
    pair = Pair()
    server, client = pair.server, pair.client
    for id in range(3):
        client.queue_pair.post_receive(id, client.segment(0, 10))
    readable = select.poll()
    readable.register(client.queue_pair.fileno(), select.POLLIN)
    server.queue_pair.post_send(1, [server.put(0, b"x")])
    assert not readable.poll(0)
    client.queue_pair.arm()
    # What was there before is not told: that is why one polls after arming.
    assert not readable.poll(0)
    assert len(client.poll()) == 1
    server.queue_pair.post_send(2, [server.put(0, b"x")])
    server.queue_pair.post_send(3, [server.put(0, b"x")])
    assert readable.poll(0)
    client.queue_pair.arm()
    assert not readable.poll(0)
    assert len(client.queue_pair.poll(1)) == 1
    assert len(client.queue_pair.poll(10)) == 1
    pair.close()


def test_states_are_reached_in_order() -> None:
    pair = Pair()
    queue_pair = pair.server.device.queue_pair(4, 4)
    with pytest.raises(DeviceError, match="before INIT"):
        queue_pair.post_receive(1, pair.server.segment(0, 1))
    with pytest.raises(DeviceError, match="RESET to RTR"):
        queue_pair.modify(*pair.fabric.attributes(State.RTR, 1))
    queue_pair.modify(*pair.fabric.attributes(State.INIT))
    queue_pair.post_receive(1, pair.server.segment(0, 1))
    with pytest.raises(DeviceError, match="INIT"):
        queue_pair.post_send(1, [pair.server.segment(0, 1)])
    with pytest.raises(DeviceError, match="reads at once"):
        queue_pair.modify(*pair.fabric.attributes(State.RTR, 1, reads=17))
    queue_pair.close()
    pair.close()


def test_messages_wait_until_the_peer_is_ready_to_receive() -> None:
    pair = Pair()
    server = pair.server.device.queue_pair(4, 4)
    client = pair.client.device.queue_pair(4, 4)
    for state in (State.INIT, State.RTR, State.RTS):
        server.modify(*pair.fabric.attributes(state, client.number))
    client.modify(*pair.fabric.attributes(State.INIT))
    client.post_receive(1, pair.client.segment(0, 10))
    server.post_send(2, [pair.server.put(0, b"early")])
    assert server.poll(1) == []
    client.modify(*pair.fabric.attributes(State.RTR, server.number))
    assert client.poll(1) == [received(1, 5)]
    server.close()
    client.close()
    pair.close()


def test_leaks_are_told_and_closed_descriptors_are_gone() -> None:
    pair = Pair()
    pair.server.queue_pair.post_receive(1, pair.server.segment(0, 10))
    assert len(pair.fabric.leaks()) == 4
    assert "1 receives" in pair.fabric.leaks()[0]
    with pytest.raises(RuntimeError, match="still has work"):
        pair.server.memory.deregister()
    descriptor = pair.server.queue_pair.fileno()
    pair.close()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(descriptor)
    with pytest.raises(DeviceError, match="closed"):
        pair.server.queue_pair.poll(1)
