"""A queue pair of a real device with a completion queue and channel of its own."""

import errno
import os
from collections.abc import Sequence
from typing import Any

from usmbd.transport.smbdirect.attributes import AddressHandle, Mask, State, decode
from usmbd.transport.smbdirect.provider import (
    Completion,
    DeviceError,
    Opcode,
    Segment,
    Status,
    make_completion,
)
from usmbd.transport.smbdirect.verbs_library import Library, device_error, error_code, post_error
from usmbd.transport.smbdirect.verbs_requests import ReceiveRequest, SendList

_RELIABLE = 2
"""`ibv_qp_type`: IBV_QPT_RC."""

_WRITE, _SEND, _READ, _SEND_INVALIDATE = 0, 2, 4, 9
"""`ibv_wr_opcode`: IBV_WR_RDMA_WRITE, _SEND, _RDMA_READ, _SEND_WITH_INV."""

_SIGNALED = 2
"""`ibv_send_flags`: IBV_SEND_FENCE, IBV_SEND_SIGNALED."""

_RECEIVED_WITH_IMMEDIATE = 129
"""IBV_WC_RECV_RDMA_WITH_IMM: the peer took a receive without putting data into it."""

_OPCODES = {
    0: Opcode.SEND,
    1: Opcode.WRITE,
    2: Opcode.READ,
    128: Opcode.RECEIVE,
    _RECEIVED_WITH_IMMEDIATE: Opcode.RECEIVE,
}
"""`ibv_wc_opcode`."""

_STATUSES = tuple(Status)

_SUCCESS = Status.SUCCESS

_CHANNEL_LINK = "anon_inode:[infinibandevent]"

_CHANNEL_ATTEMPTS = 16
"""How often another thread may take the descriptor's number before us."""

_FIELDS: tuple[tuple[Mask, str], ...] = (
    (Mask.STATE, "qp_state"),
    (Mask.CUR_STATE, "cur_qp_state"),
    (Mask.EN_SQD_ASYNC_NOTIFY, "en_sqd_async_notify"),
    (Mask.ACCESS_FLAGS, "qp_access_flags"),
    (Mask.PKEY_INDEX, "pkey_index"),
    (Mask.PORT, "port_num"),
    (Mask.QKEY, "qkey"),
    (Mask.PATH_MTU, "path_mtu"),
    (Mask.TIMEOUT, "timeout"),
    (Mask.RETRY_CNT, "retry_cnt"),
    (Mask.RNR_RETRY, "rnr_retry"),
    (Mask.RQ_PSN, "rq_psn"),
    (Mask.MAX_QP_RD_ATOMIC, "max_rd_atomic"),
    (Mask.MIN_RNR_TIMER, "min_rnr_timer"),
    (Mask.SQ_PSN, "sq_psn"),
    (Mask.MAX_DEST_RD_ATOMIC, "max_dest_rd_atomic"),
    (Mask.DEST_QPN, "dest_qp_num"),
)

_LEFT_OUT = Mask.ALT_PATH | Mask.PATH_MIG_STATE
"""A second path of InfiniBand is an offer that need not be taken."""


class VerbsQueuePair:
    """One connection's queues; see `provider.QueuePair`."""

    def __init__(
        self,
        library: Library,
        context: Any,
        domain: Any,
        send_depth: int,
        receive_depth: int,
        send_segments: int,
        read_segments: int,
    ) -> None:
        """Make channel, completion queue and queue pair; DeviceError when refused."""
        self._library = library
        self._error = library.error
        self._read_segments = read_segments
        self._closed = False
        self._failed = False
        self._parts: list[Any] = []
        """What has to be closed, in this order."""
        try:
            self._make(context, domain, send_depth, receive_depth, send_segments)
        except library.error as error:
            self.close()
            raise device_error(
                f"making a queue pair for {send_depth} sends of {send_segments} segments and"
                f" {receive_depth} receives",
                error,
            ) from error
        except BaseException:
            self.close()
            raise

    def _make(
        self, context: Any, domain: Any, send_depth: int, receive_depth: int, send_segments: int
    ) -> None:
        library = self._library
        self._channel, self._fd = _open_channel(library, context)
        self._parts.append(self._channel)
        os.set_blocking(self._fd, False)
        queue = library.completion_queue(context, send_depth + receive_depth, None, self._channel)
        self._queue = queue
        self._parts.insert(0, queue)
        capabilities = library.queue_pair_capabilities(
            max_send_wr=send_depth,
            max_recv_wr=receive_depth,
            max_send_sge=send_segments,
            max_recv_sge=1,
        )
        init = library.queue_pair_init(
            qp_type=_RELIABLE, scq=queue, rcq=queue, cap=capabilities, sq_sig_all=0
        )
        self._pair = library.queue_pair(domain, init)
        self._parts.insert(0, self._pair)
        self.number: int = self._pair.qp_num
        self._sends = SendList(library, send_segments)
        self._parts.append(self._sends)
        self._receive = ReceiveRequest(library)
        self._parts.append(self._receive)
        # Bound once, as they are called for each message.
        self._submit_send = self._pair.post_send
        self._submit_receive = self._pair.post_recv
        self._take = queue.poll

    def modify(self, attributes: bytes, mask: int) -> None:
        """Change the state as the connection manager says."""
        if self._closed:
            raise _closed()
        wanted = decode(attributes)
        mask &= ~_LEFT_OUT
        change = self._library.queue_pair_attributes()
        for bit, field in _FIELDS:
            if mask & bit:
                setattr(change, field, getattr(wanted, field))
        if mask & Mask.AV:
            change.ah_attr = self._address(wanted.ah_attr)
        try:
            self._pair.modify(change, mask)
        except self._error as error:
            raise device_error(f"queue pair to state {wanted.qp_state}", error) from error

    def post_receive(self, id: int, segment: Segment) -> None:
        """Post memory for a message."""
        if self._closed:
            raise _closed()
        request = self._receive
        try:
            request.fill(id, segment)
            self._submit_receive(request.object)
        except self._error as error:
            raise post_error("posting a receive", error) from error

    def post_send(
        self,
        id: int,
        segments: Sequence[Segment],
        *,
        invalidate: int = 0,
        signaled: bool = True,
        more: bool = False,
    ) -> None:
        """Post a message."""
        if self._closed:
            raise _closed()
        opcode = _SEND_INVALIDATE if invalidate else _SEND
        flags = _SIGNALED if signaled else 0
        # libsiw takes the key to invalidate from where an RDMA WRITE has its key; there is nothing
        # there for a SEND of any other driver.
        room = self._sends.add(id, segments, opcode, flags, invalidate, 0, invalidate)
        if not (room and more):
            self.submit()

    def post_write(
        self,
        id: int,
        segments: Sequence[Segment],
        remote_address: int,
        remote_key: int,
        *,
        signaled: bool = True,
        more: bool = False,
    ) -> None:
        """Post a write of the peer's memory."""
        if self._closed:
            raise _closed()
        flags = _SIGNALED if signaled else 0
        room = self._sends.add(id, segments, _WRITE, flags, 0, remote_address, remote_key)
        if not (room and more):
            self.submit()

    def post_read(
        self,
        id: int,
        segments: Sequence[Segment],
        remote_address: int,
        remote_key: int,
        *,
        more: bool = False,
    ) -> None:
        """Post a read of the peer's memory."""
        if self._closed:
            raise _closed()
        if len(segments) > self._read_segments:
            raise ValueError(f"{len(segments)} segments, at most {self._read_segments}")
        room = self._sends.add(id, segments, _READ, _SIGNALED, 0, remote_address, remote_key)
        if not (room and more):
            self.submit()

    def submit(self) -> None:
        """Post what waits for more."""
        if self._closed:
            raise _closed()
        if self._sends.count:
            try:
                self._submit_send(self._sends.take())
            except self._error as error:
                raise post_error("posting sends", error) from error

    def fileno(self) -> int:
        """Return the descriptor of the completion channel."""
        if self._closed:
            raise _closed()
        return self._fd

    def arm(self) -> None:
        """Take the event that may be there, and ask for the next: never more than one waits."""
        if self._closed:
            raise _closed()
        try:
            self._channel.get_cq_event(self._queue)
            self._queue.ack_events(1)
        except self._error as error:
            if error_code(error) not in (errno.EAGAIN, errno.EINTR):
                raise device_error("reading a completion event", error) from error
        try:
            self._queue.req_notify()
        except self._error as error:
            raise device_error("asking for a completion event", error) from error

    def poll(self, limit: int) -> list[Completion]:
        """Return up to `limit` completions."""
        if self._closed:
            raise _closed()
        try:
            _, works = self._take(limit)
        except self._error as error:
            raise device_error("polling for completions", error) from error
        completions = []
        for work in works:
            status = work.status
            if status:
                # A number above those of today is still a failure.
                known = status < len(_STATUSES)
                text = _STATUSES[status] if known else Status.GENERAL
                completions.append(Completion(work.wr_id, False, None, 0, text))
                continue
            opcode = work.opcode
            length = work.byte_len if opcode in (2, 128) else 0
            completions.append(
                make_completion((work.wr_id, True, _OPCODES.get(opcode), length, _SUCCESS))
            )
        return completions

    def fail(self) -> None:
        """Go to the error state; DeviceError when even that is refused (the device is gone)."""
        if self._closed:
            return
        if not self._failed:
            self._failed = True
            change = self._library.queue_pair_attributes()
            change.qp_state = int(State.ERR)
            try:
                self._pair.modify(change, int(Mask.STATE))
            except self._error as error:
                raise device_error("queue pair to the error state", error) from error
        # The device flushes only what it has been given.
        self.submit()

    def close(self) -> None:
        """Free queue pair, completion queue, channel and requests, as far as they were made."""
        if self._closed:
            return
        self._closed = True
        failure: Exception | None = None
        for part in self._parts:
            try:
                part.close()
            except self._error as error:
                failure = error
        self._parts.clear()
        if failure is not None:
            raise device_error("closing a queue pair", failure) from failure

    def _address(self, wanted: AddressHandle) -> Any:
        """Return pyverbs' form of the way to the peer."""
        library = self._library
        route = None
        if wanted.is_global:
            digits = bytes(wanted.grh.dgid).hex()
            words = ":".join(digits[start : start + 4] for start in range(0, 32, 4))
            route = library.global_route(
                dgid=library.gid(words),
                flow_label=wanted.grh.flow_label,
                sgid_index=wanted.grh.sgid_index,
                hop_limit=wanted.grh.hop_limit,
                traffic_class=wanted.grh.traffic_class,
            )
        return library.address_handle(
            dlid=wanted.dlid,
            sl=wanted.sl,
            src_path_bits=wanted.src_path_bits,
            static_rate=wanted.static_rate,
            is_global=wanted.is_global,
            port_num=wanted.port_num,
            gr=route,
        )


def _closed() -> DeviceError:
    """Return the error after `close`: pyverbs would hand a null pointer to the library."""
    return DeviceError("the queue pair is closed")


def _open_channel(library: Library, context: Any) -> tuple[Any, int]:
    """Return a completion channel and its descriptor, which pyverbs 44.0 does not tell.

    The kernel gives the lowest free number, so it is known beforehand, and proved by what the
    descriptor is. Another thread that opens something in between makes it necessary to repeat.
    """
    for _ in range(_CHANNEL_ATTEMPTS):
        expected = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        os.close(expected)
        channel = library.completion_channel(context)
        told = getattr(channel, "fd", None)
        if told is not None:
            return channel, int(told)
        try:
            if os.readlink(f"/proc/self/fd/{expected}") == _CHANNEL_LINK:
                return channel, expected
        except OSError:
            # Nothing has this number: the channel got another one.
            pass
        channel.close()
    raise DeviceError("the descriptor of a completion channel was not found")
