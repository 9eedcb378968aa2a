"""The pyverbs provider against a false pyverbs; what needs no device, against the real one."""

import errno
import resource
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import fake_pyverbs
import pytest

from usmbd.transport.smbdirect import verbs, verbs_queue_pair
from usmbd.transport.smbdirect.attributes import Attributes, Mask, State
from usmbd.transport.smbdirect.provider import (
    Access,
    Completion,
    DeviceError,
    LinkType,
    Opcode,
    QueueFull,
    RegistrationError,
    Segment,
    Status,
    Unavailable,
)
from usmbd.transport.smbdirect.verbs_requests import CHAIN, ReceiveRequest, SendList, SendRequest

ONE = Segment(0x1000, 5, 0x10)
TWO = Segment(0x2000, 7, 0x10)


@pytest.fixture
def pyverbs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the false pyverbs in place of any other."""
    for name, module in fake_pyverbs.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    # The false channel is an eventfd.
    monkeypatch.setattr(verbs_queue_pair, "_CHANNEL_LINK", "anon_inode:[eventfd]")
    verbs.load.cache_clear()
    yield
    verbs.load.cache_clear()


@pytest.fixture
def device(pyverbs: None) -> Iterator[verbs.VerbsDevice]:
    """Open the false device."""
    device = verbs.open_device("fake0")
    yield device
    device.close()


def real_library() -> verbs.Library:
    verbs.load.cache_clear()
    try:
        return verbs.load()
    except Unavailable as error:
        pytest.skip(str(error))


def inside(queue_pair: verbs.VerbsQueuePair, name: str) -> Any:
    """Return the false object behind a queue pair."""
    return getattr(queue_pair, name)


def test_without_pyverbs_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.startswith("pyverbs."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyverbs", None)
    verbs.load.cache_clear()
    with pytest.raises(Unavailable, match="python3-pyverbs"):
        verbs.devices()


def test_pyverbs_that_does_not_fit_is_told(pyverbs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys.modules["pyverbs.qp"], "QPCap")
    with pytest.raises(Unavailable, match="does not fit"):
        verbs.open_device("fake0")


def test_importing_pyverbs_leaves_the_root_logger_alone() -> None:
    real_library()
    code = (
        "import logging; from usmbd.transport.smbdirect.verbs import load; load();"
        "print(logging.root.handlers, logging.root.level)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.split() == ["[]", "30"]


def test_devices(pyverbs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert verbs.devices() == ["fake0"]
    monkeypatch.setattr(sys.modules["pyverbs.device"], "get_device_list", list)
    verbs.load.cache_clear()
    with pytest.raises(Unavailable, match="no RDMA device"):
        verbs.devices()


@pytest.mark.parametrize(
    ("iwarp", "layer", "expected"),
    [(0, 1, LinkType.INFINIBAND), (0, 2, LinkType.ROCE), (1, 2, LinkType.IWARP)],
)
def test_limits_and_ports(
    pyverbs: None,
    monkeypatch: pytest.MonkeyPatch,
    iwarp: int,
    layer: int,
    expected: LinkType,
) -> None:
    monkeypatch.setattr(fake_pyverbs.DEVICES[0], "transport_type", iwarp)
    monkeypatch.setattr(fake_pyverbs.Context.port, "link_layer", layer)
    device = verbs.open_device("fake0")
    assert (device.limits.max_send_segments, device.limits.max_read_segments) == (3, 1)
    assert (device.limits.max_initiator_depth, device.limits.max_responder_resources) == (16, 8)
    (port,) = device.ports()
    assert (port.link_type, port.speed, port.mtu, port.active) == (expected, 10**11, 4096, True)
    device.close()


def test_refusal_to_open_says_what_may_be_wrong(pyverbs: None) -> None:
    fake_pyverbs.Record.fail["Context"] = errno.EACCES
    with pytest.raises(DeviceError, match=r"fake0: Permission denied.*credentials"):
        verbs.open_device("fake0")


def test_memory_is_mapped_registered_and_taken_back(device: verbs.VerbsDevice) -> None:
    memory = device.register(10000, Access.LOCAL_WRITE | Access.READ_SINK)
    assert (len(memory.view), memory.view.readonly, memory.view.format) == (10000, False, "B")
    assert (memory.address % 4096, memory.local_key, memory.remote_key) == (0, 0x10, 0x11)
    region: Any = memory._region
    assert region.arguments[1:] == (10000, 1)
    memory.deregister()
    memory.deregister()
    assert fake_pyverbs.Record.closed == ["MR"]
    memory.view[0] = 1


def test_sink_of_reads_is_writable_by_the_peer_on_iwarp_alone(pyverbs: None) -> None:
    fake_pyverbs.DEVICES[0].transport_type = 1
    device = verbs.open_device("fake0")
    region: Any = device.register(1, Access.READ_SINK)._region
    assert region.arguments[2] == Access.LOCAL_WRITE | Access.REMOTE_WRITE
    region = device.register(1, Access.LOCAL_WRITE)._region
    assert region.arguments[2] == Access.LOCAL_WRITE
    assert device.limits.exposes_read_sinks
    device.close()


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(8 << 20, "may lock 8388608 bytes.*LimitMEMLOCK"), (resource.RLIM_INFINITY, "unlimited")],
)
def test_memory_that_is_refused_says_why_and_what_helps(
    device: verbs.VerbsDevice, monkeypatch: pytest.MonkeyPatch, limit: int, expected: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    fake_pyverbs.Record.fail["MR"] = errno.ENOMEM
    with pytest.raises(RegistrationError, match=rf"4096 bytes: Cannot allocate.*{expected}"):
        device.register(4096, Access.NONE)


def test_queue_pair_is_made_and_closed_in_order(device: verbs.VerbsDevice) -> None:
    queue_pair = device.queue_pair(10, 20, send_segments=3)
    init = inside(queue_pair, "_pair").arguments[1]
    assert (init.qp_type, init.sq_sig_all) == (2, 0)
    assert (init.cap.max_send_wr, init.cap.max_recv_wr, init.cap.max_send_sge) == (10, 20, 3)
    assert inside(queue_pair, "_queue").arguments[1] == 30
    assert queue_pair.number == 0x77
    assert queue_pair.fileno() == inside(queue_pair, "_channel").descriptor
    fake_pyverbs.Record.closed.clear()
    device.close()
    assert fake_pyverbs.Record.closed == [
        "QP", "CQ", "CompChannel", *["SendWR"] * CHAIN, "RecvWR", "PD", "Context"
    ]  # fmt: skip
    for use in (queue_pair.arm, queue_pair.fileno, lambda: queue_pair.post_send(1, [ONE])):
        with pytest.raises(DeviceError, match="closed"):
            use()


def test_refused_queue_pair_leaves_nothing_open(device: verbs.VerbsDevice) -> None:
    fake_pyverbs.Record.fail["QP"] = errno.EINVAL
    with pytest.raises(DeviceError, match="10 sends of 2 segments and 20 receives: Invalid"):
        device.queue_pair(10, 20, send_segments=2)
    assert fake_pyverbs.Record.closed == ["CQ", "CompChannel"]


def test_a_closed_device_makes_nothing(device: verbs.VerbsDevice) -> None:
    device.close()
    with pytest.raises(DeviceError, match="closed"):
        device.queue_pair(1, 1)
    with pytest.raises(DeviceError, match="closed"):
        device.register(4096, Access.LOCAL_WRITE)


def test_an_interrupted_queue_pair_leaves_nothing_open(
    device: verbs.VerbsDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is, also what is no error of the device: it goes on to who asked."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verbs_queue_pair.VerbsQueuePair, "_make", interrupt)
    with pytest.raises(KeyboardInterrupt):
        device.queue_pair(1, 1)


def test_state_of_the_connection_manager_is_handed_on(device: verbs.VerbsDevice) -> None:
    queue_pair = device.queue_pair(1, 1)
    wanted = Attributes(qp_state=State.RTR, dest_qp_num=0x99, path_mtu=3, rq_psn=5, retry_cnt=9)
    wanted.ah_attr.is_global = 1
    wanted.ah_attr.port_num = 2
    wanted.ah_attr.grh.sgid_index = 4
    wanted.ah_attr.grh.hop_limit = 64
    wanted.ah_attr.grh.dgid[1] = int.from_bytes(bytes.fromhex("0000ffff0a000001"), "little")
    mask = Mask.STATE | Mask.AV | Mask.DEST_QPN | Mask.PATH_MTU | Mask.RQ_PSN
    queue_pair.modify(bytes(wanted), mask | Mask.ALT_PATH | Mask.PATH_MIG_STATE)
    ((change, used),) = inside(queue_pair, "_pair").changes
    assert used == mask
    address = change.pop("ah_attr")
    change.pop("arguments")
    assert change == {"qp_state": 2, "dest_qp_num": 0x99, "path_mtu": 3, "rq_psn": 5}
    assert (address.is_global, address.port_num, address.gr.sgid_index) == (1, 2, 4)
    assert address.gr.dgid.arguments == ("0000:0000:0000:0000:0000:ffff:0a00:0001",)
    with pytest.raises(ValueError, match="144"):
        queue_pair.modify(b"", mask)


def test_address_of_infiniband_has_no_route(device: verbs.VerbsDevice) -> None:
    queue_pair = device.queue_pair(1, 1)
    wanted = Attributes(qp_state=State.RTR)
    wanted.ah_attr.dlid = 12
    queue_pair.modify(bytes(wanted), Mask.STATE | Mask.AV)
    ((change, _),) = inside(queue_pair, "_pair").changes
    assert (change["ah_attr"].dlid, change["ah_attr"].gr) == (12, None)


def test_posted_requests(device: verbs.VerbsDevice) -> None:
    queue_pair = device.queue_pair(8, 8, send_segments=3)
    queue_pair.post_receive(1, ONE)
    queue_pair.post_send(2, [ONE, TWO], signaled=False)
    queue_pair.post_send(3, [ONE], invalidate=0xABCD)
    queue_pair.post_write(4, [TWO, ONE], 0xF000, 0x55)
    queue_pair.post_read(5, [ONE], 0xF000, 0x55)
    posted = inside(queue_pair, "_pair").posted
    assert [(work["wr_id"], work["segments"]) for work in posted] == [
        (1, [ONE]),
        (2, [ONE, TWO]),
        (3, [ONE]),
        (4, [TWO, ONE]),
        (5, [ONE]),
    ]
    codes = [(work["opcode"], work["send_flags"]) for work in posted[1:]]
    assert codes == [(2, 0), (9, 2), (0, 2), (4, 2)]
    assert posted[2]["imm_data"] == 0xABCD
    # libsiw invalidates what an RDMA WRITE would have as its key.
    assert posted[2]["remote"] == (0, 0xABCD)
    assert posted[3]["remote"] == posted[4]["remote"] == (0xF000, 0x55)


def test_work_waits_for_more(device: verbs.VerbsDevice) -> None:
    queue_pair = device.queue_pair(8, 8)
    posted = inside(queue_pair, "_pair").posted
    queue_pair.post_read(1, [ONE], 0xF000, 0x55, more=True)
    queue_pair.post_write(2, [TWO], 0, 0, more=True)
    queue_pair.post_send(3, [ONE], more=True)
    assert posted == []
    queue_pair.submit()
    assert [work["wr_id"] for work in posted] == [1, 2, 3]


def test_too_many_segments_are_the_callers_error(device: verbs.VerbsDevice) -> None:
    queue_pair = device.queue_pair(8, 8, send_segments=2)
    with pytest.raises(ValueError, match="at most 2"):
        queue_pair.post_send(1, [ONE] * 3)
    with pytest.raises(ValueError, match="at most 1"):
        queue_pair.post_read(1, [ONE] * 2, 0, 0)


def test_refused_posts_say_why(device: verbs.VerbsDevice) -> None:
    queue_pair = device.queue_pair(8, 8)
    inside(queue_pair, "_pair").refuse = errno.ENOMEM
    with pytest.raises(QueueFull, match="queue is full"):
        queue_pair.post_receive(1, ONE)
    inside(queue_pair, "_pair").refuse = errno.EACCES
    with pytest.raises(DeviceError, match="credentials have changed"):
        queue_pair.post_send(1, [ONE])


def work(id: int, status: int = 0, opcode: int = 0, length: int = 0) -> SimpleNamespace:
    return SimpleNamespace(wr_id=id, status=status, opcode=opcode, byte_len=length)


def test_completions(device: verbs.VerbsDevice) -> None:
    queue_pair = device.queue_pair(8, 8)
    inside(queue_pair, "_queue").works = [
        work(1, length=99),
        work(2, opcode=128, length=20),
        work(3, opcode=2, length=30),
        work(4, opcode=1),
        work(5, opcode=129, length=40),
        work(6, status=5, opcode=128),
        work(7, status=13),
        work(8, status=10),
        work(9, status=77),
    ]
    ok = Status.SUCCESS
    assert queue_pair.poll(5) == [
        Completion(1, True, Opcode.SEND, 0, ok),
        Completion(2, True, Opcode.RECEIVE, 20, ok),
        Completion(3, True, Opcode.READ, 30, ok),
        Completion(4, True, Opcode.WRITE, 0, ok),
        # The peer used a receive up without data: a message of no bytes.
        Completion(5, True, Opcode.RECEIVE, 0, ok),
    ]
    assert queue_pair.poll(9) == [
        Completion(6, False, None, 0, Status.FLUSHED),
        Completion(7, False, None, 0, Status.RECEIVER_NOT_READY),
        Completion(8, False, None, 0, Status.REMOTE_ACCESS),
        Completion(9, False, None, 0, Status.GENERAL),
    ]


def test_events_are_acknowledged_and_asked_for_again(device: verbs.VerbsDevice) -> None:
    queue_pair = device.queue_pair(8, 8)
    queue = inside(queue_pair, "_queue")
    queue_pair.arm()
    inside(queue_pair, "_channel").events = 1
    queue_pair.arm()
    assert (inside(queue_pair, "_channel").events, queue.unacknowledged, queue.requests) == (
        0,
        0,
        2,
    )


def test_error_state_is_asked_for_once(device: verbs.VerbsDevice) -> None:
    queue_pair = device.queue_pair(8, 8)
    queue_pair.fail()
    queue_pair.fail()
    ((change, mask),) = inside(queue_pair, "_pair").changes
    assert (change["qp_state"], mask) == (6, 1)


def test_what_waits_for_more_is_posted_as_one_list(device: verbs.VerbsDevice) -> None:
    queue_pair = device.queue_pair(100, 8)
    pair = inside(queue_pair, "_pair")
    queue_pair.post_write(1, [ONE], 0xF000, 0x55, more=True)
    queue_pair.post_send(2, [ONE], more=True)
    assert pair.lists == []
    queue_pair.post_send(3, [ONE], invalidate=7)
    queue_pair.submit()
    assert pair.lists == [3]
    queue_pair.post_send(4, [ONE], more=True)
    queue_pair.post_read(5, [ONE], 0xF000, 0x55)
    assert pair.lists == [3, 2]
    for number in range(CHAIN + 1):
        queue_pair.post_send(6 + number, [ONE], more=True)
    queue_pair.submit()
    assert pair.lists == [3, 2, CHAIN, 1]
    assert [work["wr_id"] for work in pair.posted] == list(range(1, 7 + CHAIN))


def test_work_without_memory_can_be_posted(device: verbs.VerbsDevice) -> None:
    queue_pair = device.queue_pair(8, 8)
    queue_pair.post_send(1, [])
    (work,) = inside(queue_pair, "_pair").posted
    assert (work["wr_id"], work["num_sge"]) == (1, 0)


def test_error_state_flushes_what_waits_for_more(device: verbs.VerbsDevice) -> None:
    queue_pair = device.queue_pair(8, 8)
    queue_pair.post_send(1, [ONE], more=True)
    queue_pair.fail()
    assert inside(queue_pair, "_pair").lists == [1]
    queue_pair.post_send(2, [ONE], more=True)
    queue_pair.fail()
    assert inside(queue_pair, "_pair").lists == [1, 1]
    assert len(inside(queue_pair, "_pair").changes) == 1


def test_refused_list_is_forgotten(device: verbs.VerbsDevice) -> None:
    queue_pair = device.queue_pair(8, 8)
    queue_pair.post_send(1, [ONE], more=True)
    inside(queue_pair, "_pair").refuse = errno.ENOMEM
    with pytest.raises(QueueFull):
        queue_pair.submit()
    inside(queue_pair, "_pair").refuse = 0
    queue_pair.post_send(2, [ONE])
    assert inside(queue_pair, "_pair").lists == [1]


def test_requests_of_the_real_pyverbs_are_changed_in_place() -> None:
    request = SendRequest(real_library(), 3)
    assert request.in_place
    first = request.object
    request.fill(1, [ONE, TWO, ONE], 9, 3, 0xABCD, 0, 0)
    assert (first.wr_id, first.num_sge, first.opcode, first.send_flags) == (1, 3, 9, 3)
    assert first.imm_data == 0xABCD
    request.fill(2, [TWO], 0, 2, 0, 0xF000, 0x55)
    assert request.object is first
    assert (first.wr_id, first.num_sge, first.opcode, first.send_flags) == (2, 1, 0, 2)
    assert bytes(request._array[:16]) == bytes.fromhex("0020000000000000 07000000 10000000")
    head = request._head
    assert head is not None
    filled = bytes(head)
    first.set_wr_rdma(0x55, 0xF000)
    assert bytes(head) == filled
    request.close()


def test_receives_of_the_real_pyverbs_are_changed_in_place() -> None:
    request = ReceiveRequest(real_library())
    assert request.in_place
    first = request.object
    request.fill(5, TWO)
    assert (request.object, first.wr_id, first.num_sge) == (first, 5, 1)
    assert bytes(request._array) == bytes.fromhex("0020000000000000 07000000 10000000")
    request.close()


def test_lists_of_the_real_pyverbs_end_where_they_should() -> None:
    requests = SendList(real_library(), 2)
    heads: list[Any] = [request._head for request in requests._requests]
    addresses = [request.address for request in requests._requests]

    def following() -> list[int]:
        return [int.from_bytes(head[8:16], "little") for head in heads[:3]]

    for number in range(3):
        assert requests.add(number, [ONE], 2, 2)
    assert following() == [addresses[1], addresses[2], 0]
    assert requests.count == 3
    assert requests.take() is requests._requests[0].object
    assert requests.count == 0
    assert requests.add(3, [ONE], 2, 2)
    assert requests.add(4, [ONE], 2, 2)
    assert following()[:2] == [addresses[1], 0]
    # pyverbs itself would link them so.
    requests._requests[1].object.next_wr = requests._requests[2].object
    assert following()[1] == addresses[2]
    with pytest.raises(ValueError, match="at most 2"):
        requests.add(5, [ONE] * 3, 2, 2)
    requests.close()


def test_numbers_are_those_of_the_real_pyverbs() -> None:
    real_library()
    enums = pytest.importorskip("pyverbs.enums")
    assert [
        enums.IBV_WR_RDMA_WRITE,
        enums.IBV_WR_SEND,
        enums.IBV_WR_RDMA_READ,
        enums.IBV_WR_SEND_WITH_INV,
    ] == [0, 2, 4, 9]
    assert (enums.IBV_SEND_FENCE, enums.IBV_SEND_SIGNALED, enums.IBV_QPT_RC) == (1, 2, 2)
    assert (enums.IBV_WC_RECV, enums.IBV_WC_RECV_RDMA_WITH_IMM, enums.IBV_WC_RDMA_READ) == (
        128,
        129,
        2,
    )
    known = list(Status)
    assert known[enums.IBV_WC_WR_FLUSH_ERR] is Status.FLUSHED
    assert known[enums.IBV_WC_RNR_RETRY_EXC_ERR] is Status.RECEIVER_NOT_READY
    assert known[enums.IBV_WC_REM_ACCESS_ERR] is Status.REMOTE_ACCESS
    assert known[enums.IBV_WC_GENERAL_ERR] is Status.GENERAL
    for access in (Access.LOCAL_WRITE, Access.REMOTE_WRITE, Access.REMOTE_READ):
        assert getattr(enums, f"IBV_ACCESS_{access.name}") == access
    assert (enums.IBV_TRANSPORT_IWARP, enums.IBV_LINK_LAYER_ETHERNET) == (1, 2)
