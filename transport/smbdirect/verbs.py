"""A real RDMA device, through rdma-core's pyverbs: the only module that imports it.

Written for pyverbs 44.0 (Debian 12); later versions renamed nothing that is used here, as the
numbers of libibverbs' stable ABI stand here themselves. No call waits for the device, as
pyverbs holds the interpreter's lock in all of them. A thread that has changed its credentials
since the device was opened cannot use it any more (EACCES).
"""

import logging
import mmap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ctypes import addressof, c_char
from functools import cache
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

from usmbd.transport.smbdirect import sysfs
from usmbd.transport.smbdirect.provider import (
    Access,
    DeviceError,
    DeviceLimits,
    LinkType,
    Port,
    RegistrationError,
    Unavailable,
)
from usmbd.transport.smbdirect.verbs_library import Library, device_error, registration_error
from usmbd.transport.smbdirect.verbs_queue_pair import VerbsQueuePair

_TRANSPORT_IWARP = 1
"""`ibv_transport_type`: IBV_TRANSPORT_IWARP."""

_LAYER_ETHERNET = 2
"""`ibv_port_attr.link_layer`: IBV_LINK_LAYER_ETHERNET."""

_PORT_ACTIVE = 4
"""`ibv_port_state`: IBV_PORT_ACTIVE."""

_LANES = {1: 1, 2: 4, 4: 8, 8: 12, 16: 2}
"""Lanes by `ibv_port_attr.active_width`."""

_MEGABITS = {
    1: 2500,
    2: 5000,
    4: 10000,
    8: 10000,
    16: 14000,
    32: 25000,
    64: 50000,
    128: 100000,
    256: 200000,
}
"""What a lane carries by `ibv_port_attr.active_speed`, SDR to NDR, as the kernel counts it; XDR
(256) is in `active_speed_ex` alone, which pyverbs 44.0 does not have."""

_MTU = {1: 256, 2: 512, 3: 1024, 4: 2048, 5: 4096}
"""Bytes by `ibv_mtu`."""

_HUGE_PAGE = 1 << 21

_ACCESS = int(Access.LOCAL_WRITE | Access.REMOTE_WRITE | Access.REMOTE_READ)
"""`Access` without what is not `ibv_access_flags`; the other bits are the same."""


def devices() -> list[str]:
    """Return the names of the machine's RDMA devices; Unavailable when there are none."""
    library = load()
    try:
        names = [device.name.decode() for device in library.device_list()]
    except library.error as error:
        raise Unavailable(f"no RDMA device: {error} (no driver is loaded)") from error
    if not names:
        raise Unavailable("no RDMA device: none in /sys/class/infiniband")
    return names


def open_device(name: str) -> "VerbsDevice":
    """Open a device; Unavailable without pyverbs, DeviceError when it cannot be opened."""
    return VerbsDevice(load(), name)


@cache
def load() -> Library:
    """Import pyverbs; Unavailable when it is missing or does not fit the libraries."""
    with _root_logger_kept():
        try:
            from pyverbs import base
            from pyverbs.addr import GID, AHAttr, GlobalRoute
            from pyverbs.cq import CQ, CompChannel
            from pyverbs.device import Context, get_device_list
            from pyverbs.mr import MR
            from pyverbs.pd import PD
            from pyverbs.pyverbs_error import PyverbsError
            from pyverbs.qp import QP, QPAttr, QPCap, QPInitAttr
            from pyverbs.wr import SGE, RecvWR, SendWR
        except ModuleNotFoundError as error:
            raise Unavailable(
                f"RDMA needs pyverbs of rdma-core (Debian: python3-pyverbs): {error}"
            ) from error
        except ImportError as error:
            raise Unavailable(f"pyverbs does not fit this machine's libraries: {error}") from error
    # It asks for a logger for each of its objects, and so for each completion: a third of its time.
    base.logging = SimpleNamespace(getLogger=cache(logging.getLogger))
    return Library(
        error=PyverbsError,
        device_list=get_device_list,
        context=Context,
        protection_domain=PD,
        memory_region=MR,
        completion_channel=CompChannel,
        completion_queue=CQ,
        queue_pair=QP,
        queue_pair_init=QPInitAttr,
        queue_pair_capabilities=QPCap,
        queue_pair_attributes=QPAttr,
        address_handle=AHAttr,
        global_route=GlobalRoute,
        gid=GID,
        segment=SGE,
        send_request=SendWR,
        receive_request=RecvWR,
        header_size=base.PyverbsCM.__basicsize__,
    )


@contextmanager
def _root_logger_kept() -> Iterator[None]:
    """Undo what importing pyverbs does to the root logger (`logging.basicConfig`)."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for handler in list(root.handlers):
            if handler not in handlers:
                root.removeHandler(handler)
        root.setLevel(level)


class VerbsMemory:
    """A private anonymous mapping and its registration.

    Views that outlive the registration keep the mapping.
    """

    def __init__(self, library: Library, domain: Any, length: int, access: int) -> None:
        """Map and register; RegistrationError with the reason."""
        try:
            mapping = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, ValueError, OverflowError) as error:
            raise RegistrationError(f"no memory for {length} bytes: {error}") from error
        # A child would get a copy of every registered page at fork.
        with suppress(OSError):
            mapping.madvise(mmap.MADV_DONTFORK)
        if length >= _HUGE_PAGE:
            # 512 times fewer pages to fault in and to register; a kernel may be without them.
            with suppress(OSError):
                mapping.madvise(mmap.MADV_HUGEPAGE)
        self.view = memoryview(mapping)
        self.address = addressof(c_char.from_buffer(mapping))
        try:
            self._region = library.memory_region(domain, length, access, address=self.address)
        except library.error as error:
            raise registration_error(length, error) from error
        self.local_key: int = self._region.lkey
        self.remote_key: int = self._region.rkey
        self._error = library.error

    def deregister(self) -> None:
        """Take it back from the device."""
        region, self._region = self._region, None
        if region is not None:
            try:
                region.close()
            except self._error as error:
                raise device_error("deregistering memory", error) from error


class VerbsDevice:
    """One opened device with one protection domain for all connections."""

    def __init__(self, library: Library, name: str) -> None:
        """Open `name`, and ask for its limits."""
        self.name = name
        self._library = library
        self._queue_pairs: WeakSet[VerbsQueuePair] = WeakSet()
        self._memory: WeakSet[VerbsMemory] = WeakSet()
        self._closed = False
        try:
            kinds = {device.name.decode(): device for device in library.device_list()}
            self._iwarp = name in kinds and kinds[name].transport_type == _TRANSPORT_IWARP
            self._context = library.context(name=name)
            attributes = self._context.query_device()
            self._domain = library.protection_domain(self._context)
        except library.error as error:
            raise device_error(f"opening RDMA device {name}", error) from error
        self._port_count = attributes.phys_port_cnt
        self.limits = DeviceLimits(
            max_queue_pair_work_requests=attributes.max_qp_wr,
            max_send_segments=attributes.max_sge,
            # Some drivers of InfiniBand leave it 0; on iWARP it is often 1.
            max_read_segments=attributes.max_sge_rd or attributes.max_sge,
            max_completions=attributes.max_cqe,
            max_memory_region=attributes.max_mr_size,
            max_initiator_depth=attributes.max_qp_init_rd_atom,
            max_responder_resources=attributes.max_qp_rd_atom,
            exposes_read_sinks=self._iwarp,
        )

    def ports(self) -> tuple[Port, ...]:
        """Return the ports as they are now."""
        self._check_open()
        return tuple(self._port(number) for number in range(1, self._port_count + 1))

    def register(self, length: int, access: Access) -> VerbsMemory:
        """Return `length` bytes of zeroed registered memory, or raise RegistrationError."""
        self._check_open()
        if not 0 < length <= self.limits.max_memory_region:
            raise RegistrationError(
                f"{self.name}: a region has 1 to {self.limits.max_memory_region} bytes, not"
                f" {length}"
            )
        flags = int(access) & _ACCESS
        if self._iwarp and access & Access.READ_SINK:
            flags |= Access.LOCAL_WRITE | Access.REMOTE_WRITE
        memory = VerbsMemory(self._library, self._domain, length, flags)
        self._memory.add(memory)
        return memory

    def queue_pair(
        self, send_depth: int, receive_depth: int, *, send_segments: int = 1
    ) -> VerbsQueuePair:
        """Return a queue pair in the state RESET; DeviceError when the device refuses."""
        self._check_open()
        queue_pair = VerbsQueuePair(
            self._library,
            self._context,
            self._domain,
            send_depth,
            receive_depth,
            send_segments,
            min(send_segments, self.limits.max_read_segments),
        )
        self._queue_pairs.add(queue_pair)
        return queue_pair

    def close(self) -> None:
        """Close queue pairs, registrations and the device, in this order."""
        if self._closed:
            return
        for queue_pair in list(self._queue_pairs):
            queue_pair.close()
        for memory in list(self._memory):
            memory.deregister()
        self._closed = True
        try:
            self._domain.close()
            self._context.close()
        except self._library.error as error:
            raise device_error(f"closing RDMA device {self.name}", error) from error

    def _port(self, number: int) -> Port:
        try:
            port = self._context.query_port(number)
        except self._library.error as error:
            raise device_error(f"asking {self.name} for port {number}", error) from error
        if self._iwarp:
            link_type = LinkType.IWARP
        elif port.link_layer == _LAYER_ETHERNET:
            link_type = LinkType.ROCE
        else:
            link_type = LinkType.INFINIBAND
        lane = _MEGABITS.get(port.active_speed or getattr(port, "active_speed_ex", 0), 0)
        return Port(
            number=number,
            link_type=link_type,
            active=port.state == _PORT_ACTIVE,
            speed=_LANES.get(port.active_width, 0) * lane * 1_000_000,
            mtu=_MTU.get(port.active_mtu, 0),
            gids=sysfs.gids(self.name, number),
        )

    def _check_open(self) -> None:
        if self._closed:
            raise DeviceError(f"{self.name}: the device is closed")
