"""A tree of modules named pyverbs that notes what is asked of it, for machines without RDMA.

It has the names and signatures of pyverbs 44.0 that usmbd uses.
"""

import errno
import os
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar


class PyverbsError(Exception):
    """An error with an errno as pyverbs has it; -1 without one."""

    def __init__(self, message: str, error_code: int = -1) -> None:
        """Keep both."""
        super().__init__(message)
        self.error_code = error_code


class Record:
    """Any object of pyverbs: keeps its arguments as attributes, and whether it was closed."""

    closed: ClassVar[list[str]] = []
    fail: ClassVar[dict[str, int]] = {}
    """Errnos with which the constructors, by name, are to fail."""

    def __init__(self, *arguments: object, **named: object) -> None:
        """Keep the arguments, or fail as told."""
        code = self.fail.get(type(self).__name__)
        if code is not None:
            raise PyverbsError("refused", code)
        self.arguments = arguments
        self.__dict__.update(named)

    def close(self) -> None:
        """Note the order of closing."""
        self.closed.append(type(self).__name__)


class Context(Record):
    """A device with one port."""

    device = SimpleNamespace(
        max_qp_wr=100,
        max_sge=3,
        max_sge_rd=1,
        max_cqe=1000,
        max_mr_size=1 << 40,
        max_qp_init_rd_atom=16,
        max_qp_rd_atom=8,
        phys_port_cnt=1,
    )
    port = SimpleNamespace(state=4, active_speed=32, active_width=2, active_mtu=5, link_layer=2)

    def query_device(self) -> SimpleNamespace:
        """Return the limits."""
        return self.device

    def query_port(self, number: int) -> SimpleNamespace:
        """Return the port, which is the first."""
        assert number == 1
        return self.port


class MR(Record):
    """A registration."""

    lkey = 0x10
    rkey = 0x11


class CompChannel(Record):
    """A completion channel that does not tell its descriptor, as 44.0."""

    def __init__(self, context: Context) -> None:
        """Open an eventfd in its place."""
        super().__init__(context)
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK)
        self.events = 0

    def get_cq_event(self, queue: "CQ") -> None:
        """Take an event, or fail as a non-blocking channel does."""
        if not self.events:
            raise PyverbsError("Failed to get CQ event", errno.EAGAIN)
        self.events -= 1
        queue.unacknowledged += 1

    def close(self) -> None:
        """Close the eventfd."""
        super().close()
        os.close(self.descriptor)


class CQ(Record):
    """A completion queue that gives what a test put into `works`."""

    def __init__(self, *arguments: object) -> None:
        """Begin empty."""
        super().__init__(*arguments)
        self.works: list[SimpleNamespace] = []
        self.unacknowledged = 0
        self.requests = 0

    def poll(self, limit: int) -> tuple[int, list[SimpleNamespace]]:
        """Return works."""
        taken, self.works = self.works[:limit], self.works[limit:]
        return len(taken), taken

    def ack_events(self, count: int) -> None:
        """Count."""
        self.unacknowledged -= count

    def req_notify(self) -> None:
        """Count."""
        self.requests += 1


class QP(Record):
    """A queue pair that notes what is posted as plain dictionaries."""

    qp_num = 0x77

    def __init__(self, *arguments: object) -> None:
        """Begin with nothing posted."""
        super().__init__(*arguments)
        self.posted: list[dict[str, Any]] = []
        self.lists: list[int] = []
        """How many requests each call has posted."""
        self.changes: list[tuple[dict[str, Any], int]] = []
        self.refuse = 0

    def post_send(self, request: "SendWR") -> None:
        """Note a list of requests, or refuse it with the errno that a test set."""
        if self.refuse:
            raise PyverbsError("Failed to post", self.refuse)
        self.lists.append(0)
        following: SendWR | None = request
        while following is not None:
            self.posted.append(dict(following.__dict__))
            self.lists[-1] += 1
            following = following.next_wr

    post_recv = post_send

    def modify(self, attributes: Record, mask: int) -> None:
        """Note a change of state."""
        if self.refuse:
            raise PyverbsError("Failed to modify QP", self.refuse)
        self.changes.append((dict(attributes.__dict__), mask))


class SGE(Record):
    """A segment."""


class SendWR(Record):
    """A request that keeps its segments as tuples."""

    def __init__(self, wr_id: int = 0, num_sge: int = 0, sg: list[SGE] | None = None) -> None:
        """Copy the segments, of which there must be one."""
        if num_sge < 1:
            raise PyverbsError("A WR needs at least one SGE")
        super().__init__(wr_id=wr_id, num_sge=num_sge)
        self.next_wr: SendWR | None = None
        self.segments = [part.arguments for part in sg or []]

    def set_wr_rdma(self, rkey: int, addr: int) -> None:
        """Note the target."""
        self.remote = (addr, rkey)


class RecvWR(SendWR):
    """The same for a receive."""


DEVICES = [SimpleNamespace(name=b"fake0", transport_type=0)]


def modules() -> dict[str, ModuleType]:
    """Return the tree, to be put into `sys.modules`; counts from zero again."""
    Record.closed.clear()
    Record.fail.clear()
    DEVICES[0].transport_type = 0
    plain = ("AHAttr", "GID", "GlobalRoute", "PD", "QPAttr", "QPCap", "QPInitAttr")
    classes: dict[str, type] = {name: type(name, (Record,), {}) for name in plain}
    tree: dict[str, dict[str, Any]] = {
        "": {},
        ".addr": {name: classes[name] for name in plain[:3]},
        ".base": {"PyverbsCM": object},
        ".cq": {"CQ": CQ, "CompChannel": CompChannel},
        ".device": {"Context": Context, "get_device_list": lambda: DEVICES},
        ".mr": {"MR": MR},
        ".pd": {"PD": classes["PD"]},
        ".pyverbs_error": {"PyverbsError": PyverbsError},
        ".qp": {"QP": QP, **{name: classes[name] for name in plain[4:]}},
        ".wr": {"SGE": SGE, "SendWR": SendWR, "RecvWR": RecvWR},
    }
    made = {}
    for suffix, content in tree.items():
        module = ModuleType(f"pyverbs{suffix}")
        module.__dict__.update(content)
        made[module.__name__] = module
    return made
