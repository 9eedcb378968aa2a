"""A librdmacm in memory: the functions that `usmbd.transport.smbdirect.cm_library` binds."""

import contextlib
import ctypes
import errno
import os
from collections import deque
from ctypes import POINTER, addressof, cast, pointer
from typing import Any

from usmbd.transport.smbdirect.attributes import Mask
from usmbd.transport.smbdirect.cm_library import (
    Event,
    EventChannel,
    Id,
    Kind,
    Library,
    VerbsContext,
    socket_address,
)


class FakeLibrary:
    """Keeps C structures alive, hands out events, and checks what the real one demands."""

    def __init__(self, *, channel: bool = True) -> None:
        """Begin without events; without `channel` there is no device."""
        self.reader, self._writer = os.pipe2(os.O_NONBLOCK)
        self.calls: list[tuple[Any, ...]] = []
        self.ids: dict[int, Id] = {}
        self.refuse: dict[str, int] = {}
        """By a function's name, the errno that it is to fail with."""
        self._with_channel = channel
        self._channel = EventChannel(fd=self.reader)
        self._device = ctypes.create_string_buffer(8)
        self._verbs = VerbsContext(device=addressof(self._device))
        self._events: deque[Event] = deque()
        self._keep: list[Any] = []
        self.unacknowledged: dict[int, int] = {}
        """Events that are out, by id: `destroy_id` would wait for ever."""
        self.functions = Library(
            create_event_channel=self._create_event_channel,
            destroy_event_channel=lambda channel: self._note("destroy_event_channel"),
            create_id=self._create_id,
            destroy_id=self._destroy_id,
            set_option=lambda id, *option: self._result(
                "set_option", id.value, option[0], option[1], option[2]._obj.value, option[3]
            ),
            bind_addr=lambda id, name: self._result("bind_addr", id.value),
            listen=lambda id, backlog: self._result("listen", id.value),
            get_cm_event=self._get_cm_event,
            ack_cm_event=self._ack_cm_event,
            init_qp_attr=self._init_qp_attr,
            accept=self._accept,
            reject=lambda id, data, length: self._result("reject", id.value),
            disconnect=lambda id: self._result("disconnect", id.value),
            event_str=lambda kind: f"RDMA_CM_EVENT_{Kind(kind).name}".encode(),
            get_device_name=lambda device: b"fake0",
        )

    def close(self) -> None:
        """Close the pipe that stands for the channel."""
        os.close(self.reader)
        os.close(self._writer)

    def request(
        self,
        peer: str = "192.0.2.7",
        local: str = "192.0.2.1",
        *,
        data: bytes = b"",
        depth: int = 32,
        responder: int = 0,
        verbs: bool = True,
    ) -> int:
        """Let a client come; return the address of its `rdma_cm_id`."""
        id = Id(verbs=pointer(self._verbs)) if verbs else Id()
        for field, address in ((Id.local, local), (Id.peer, peer)):
            name = socket_address(address, 445)
            ctypes.memmove(addressof(id) + field.offset, bytes(name), len(bytes(name)))
        self.ids[addressof(id)] = id
        event = Event(id=addressof(id), event=Kind.CONNECT_REQUEST)
        event.connection.initiator_depth = depth
        event.connection.responder_resources = responder
        if data:
            buffer = ctypes.create_string_buffer(data, len(data))
            self._keep.append(buffer)
            event.connection.private_data = addressof(buffer)
            event.connection.private_data_len = len(data)
        self._add(event)
        return addressof(id)

    def event(self, id: int, kind: Kind, status: int = 0) -> None:
        """Let something happen to a connection."""
        self._add(Event(id=id, event=kind, status=status))

    def names(self) -> list[str]:
        """Return which functions were called, in order."""
        return [call[0] for call in self.calls]

    def _add(self, event: Event) -> None:
        self._events.append(event)
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"x")

    def _note(self, *call: Any) -> None:
        self.calls.append(call)

    def _result(self, name: str, *arguments: Any) -> int:
        self._note(name, *arguments)
        if name in self.refuse:
            ctypes.set_errno(self.refuse[name])
            return -1
        return 0

    def _create_event_channel(self) -> Any:
        if self._with_channel:
            return pointer(self._channel)
        ctypes.set_errno(self.refuse.get("create_event_channel", errno.ENODEV))
        return POINTER(EventChannel)()

    def _create_id(self, channel: Any, out: Any, context: Any, space: int) -> int:
        id = Id()
        self.ids[addressof(id)] = id
        out._obj.value = addressof(id)
        return self._result("create_id", addressof(id), space)

    def _destroy_id(self, id: Any) -> int:
        assert not self.unacknowledged.get(id.value), "destroyed before its events were given back"
        del self.ids[id.value]
        return self._result("destroy_id", id.value)

    def _get_cm_event(self, channel: Any, out: Any) -> int:
        if "get_cm_event" in self.refuse:
            ctypes.set_errno(self.refuse["get_cm_event"])
            return -1
        if not self._events:
            with contextlib.suppress(BlockingIOError):
                os.read(self.reader, 4096)
            ctypes.set_errno(errno.EAGAIN)
            return -1
        event = self._events.popleft()
        self._keep.append(event)
        self.unacknowledged[event.id] = self.unacknowledged.get(event.id, 0) + 1
        # byref() keeps what it was made of.
        out._obj.contents = event
        return 0

    def _ack_cm_event(self, event: Any) -> int:
        held = event.contents
        self.unacknowledged[held.id] -= 1
        # Its memory is the library's again.
        if held.connection.private_data:
            ctypes.memset(held.connection.private_data, 0xAA, held.connection.private_data_len)
        ctypes.memset(addressof(held), 0xAA, ctypes.sizeof(held))
        return 0

    def _init_qp_attr(self, id: Any, attributes: Any, mask: Any) -> int:
        attributes._obj.dest_qp_num = 77
        mask._obj.value = int(Mask.STATE | Mask.DEST_QPN)
        return self._result("init_qp_attr", id.value, int(attributes._obj.qp_state))

    def _accept(self, id: Any, parameters: Any) -> int:
        given = parameters._obj
        data = b""
        if given.private_data:
            data = ctypes.string_at(
                cast(given.private_data, ctypes.c_void_p), given.private_data_len
            )
        return self._result(
            "accept",
            id.value,
            given.qp_num,
            given.initiator_depth,
            given.responder_resources,
            data,
        )
