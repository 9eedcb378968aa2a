"""The door's composition: the supervisor's socket, the doorkeeper, the loop."""

import logging
import signal
import socket
import time

from usmbd.mountd import log as logs
from usmbd.mountd.confine.kernel import set_death_signal
from usmbd.mountd.confine.process import confine
from usmbd.mountd.confine.profiles import DOOR
from usmbd.protocol.door import messages
from usmbd.protocol.door.doorkeeper import Doorkeeper
from usmbd.transport.loop import EpollLoop

log = logging.getLogger("usmbd.conn")

PROCESS = "door"
"""What the log calls it."""


class DoorProcess:
    """Does what the supervisor says, and hands it the clients."""

    def __init__(self, control: socket.socket, loop: EpollLoop) -> None:
        """Begin without a listening socket."""
        self._control = control
        self._loop = loop
        self._listeners: dict[int, socket.socket] = {}
        self.keeper = Doorkeeper(loop, self._pass_on)
        loop.add_reader(control.fileno(), self._supervisor_says)

    def _supervisor_says(self) -> None:
        """Take one message; the supervisor's end is that of this process."""
        data, descriptors, _, _ = socket.recv_fds(self._control, messages.MESSAGE_LIMIT, 1)
        if not data:
            self._loop.stop()
            return
        message = messages.decode_to_door(data)
        if isinstance(message, messages.Serve):
            for descriptor in descriptors:  # none: there is no room for it, as the log says
                listener = self._listeners[message.listener] = socket.socket(fileno=descriptor)
                self.keeper.serve(listener)
        elif isinstance(message, messages.Leave):
            gone = self._listeners.pop(message.listener, None)
            if gone is not None:
                self.keeper.leave(gone)
                gone.close()
        elif isinstance(message, messages.Log):
            set_up_log(message)
        else:
            places = self.keeper.places
            self._send(messages.State(places.capacity, len(places), places.displaced))

    def _pass_on(self, sock: socket.socket, guid: bytes, first: bytes) -> None:
        """Hand a client to the supervisor, and wait for it where it is busy: so do all others."""
        with sock:
            self._send(messages.Client(guid, first), sock.fileno())

    def _send(self, message: messages.FromDoor, *descriptors: int) -> None:
        try:
            socket.send_fds(self._control, [messages.encode(message)], descriptors)
        except OSError as error:
            log.error("a client is lost on the way to its worker: %s", error.strerror)


def set_up_log(message: messages.Log) -> None:
    """Have the log as the supervisor says."""
    logs.set_up(PROCESS, message.level, as_json=message.as_json)
    logs.debug_only(message.debug)


def run(control: socket.socket) -> None:
    """Stand at the door until the supervisor ends."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal's ^C is for the supervisor
    first = messages.decode_to_door(control.recv(messages.MESSAGE_LIMIT))
    if not isinstance(first, messages.Log):
        raise ValueError("the supervisor did not begin with Log")
    set_up_log(first)
    time.localtime()  # reads the time zone
    loop = EpollLoop()
    missing = confine(DOOR)
    set_death_signal(signal.SIGKILL)  # the kernel forgets it at the change to another user
    logs.start()
    for each in missing:
        log.info("this process runs without %s", each)
    DoorProcess(control, loop)
    loop.run_forever()
