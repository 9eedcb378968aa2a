"""SMB over TCP: Direct TCP Transport ([MS-SMB2] 2.1), on raw non-blocking sockets.

A message is preceded by a zero byte and a 24-bit big-endian length. The data path uses the
event loop's `add_reader` and `add_writer` alone: no stream, no task, no future. Replies that
are made while one read's messages are handled leave together, in one system call.
"""

import fcntl
import logging
import os
import socket
import struct
import termios
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from usmbd.transport.base import FileSpan, Part, Receiver, Transport, host_text
from usmbd.transport.buffer_pool import POOL
from usmbd.transport.expected import READ_SIZE, Expected, Retry
from usmbd.transport.loop import EventLoop
from usmbd.transport.turns import LARGE_MESSAGE, Turns

log = logging.getLogger("usmbd.conn")

FRAME = 4
"""Bytes of the length that precedes a message."""

READS_AT_ONCE = 4
"""Reads of one client before others have their turn."""

MOVED_SIZE = 4 * 1024
"""The beginning of a frame up to here is moved to fresh memory, so that the next read has room;
what is longer goes on where it is, if its end has room there."""

HELD_SHARE = 16
"""A message that is shorter than this part of a large buffer is copied out of it: what waits, for a
lock or a slow disk, must not hold much more memory than the client has sent."""

READ_MOST = (1 << 20) + (1 << 16)
"""Bytes of one read, a WRITE of 1 MiB, once the turn's slice is over: the kernel keeps up to 6."""

HIGH_WATER = 1 << 20
"""Queued bytes from which on no further request of this client is taken up: a client that
does not read stops being served, and its memory is bounded by this and one reply."""

LOW_WATER = 1 << 18
"""Queued bytes below which a stopped client is served again."""

FLUSH_SIZE = 1 << 18
"""Replies wait for the end of the batch of requests that they answer, up to this many bytes: the
data of four READs of 64 KiB."""

JOIN_SIZE = 8 * 1024
"""Up to here one copy and one `send` are cheaper than a scattered `sendmsg`."""

IOV_MAX = 1024
"""Linux takes this many parts in one `sendmsg`."""

_frame = struct.Struct(">I")

_tcp_info = struct.Struct("=4xB19xI")
"""Of Linux's struct tcp_info: tcpi_backoff, tcpi_unacked."""

KEEP_ALIVE_FRAME = 0x85000000
"""RFC 1002's session keep alive, which some clients send on port 445 as well; it has no body."""


class TcpTransport(Transport):
    """One accepted TCP connection on the running event loop."""

    def __init__(
        self,
        sock: socket.socket,
        loop: EventLoop,
        first: bytes = b"",
        turns: Turns | None = None,
    ) -> None:
        """Take over `sock`; `first` are bytes that were read from it already.

        `turns` is the loop's, by which all its connections share its time.
        """
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._fd = sock.fileno()
        self._loop = loop
        self._turns = turns or Turns(loop)
        self._waits = False  # between two messages, for others to have their turn
        self._receiver: Receiver | None = None
        # Only an unfinished frame keeps memory: an idle connection holds none.
        self._buffer: bytearray | None = None
        self._begin = 0  # where the first frame that is not yet delivered begins
        self._end = 0  # where the received bytes end
        self._limit = READ_SIZE  # where receiving stops, so that a large frame is never moved
        self._expected = Expected()
        self._retry = Retry()
        self._kept = 0  # bytes that the meter counts: of a large frame that has begun, of replies
        self._starves = False  # until the meter says that there is room
        if first:
            self._buffer = POOL.take(max(READ_SIZE, len(first)))
            self._buffer[: len(first)] = first
            self._end = len(first)
        self._out: deque[Part] = deque()
        self._queued = 0
        self._in_files = 0  # of the queued bytes, those that are still in files
        self._corked = False
        self._reading = False
        self._writing = False
        self._closed = False
        self.peer = _address(sock.getpeername)
        self.local = _address(sock.getsockname)

    def start(self, receiver: Receiver) -> None:
        """Begin to deliver messages to `receiver`."""
        self._receiver = receiver
        if self._buffer is not None:
            self._deliver(self._buffer)
        if not self._closed:
            self._loop.add_ender(self._fd, self._cut_off)
            self._update_reading()

    def buffer(self, size: int) -> memoryview:
        """Return writable memory of `size` bytes."""
        return POOL.view(size)

    # -- in ------------------------------------------------------------------------------

    def _readable(self) -> None:
        """Take what has come and deliver the whole messages in it, a few times if there is more."""
        again = False
        for _ in range(READS_AT_ONCE):
            buffer = self._buffer
            if buffer is None:
                self._limit = self._expected.room
                buffer = POOL.take(self._limit)
            asked = self._limit - self._end
            if asked > READ_MOST and self._turns.over():
                asked = READ_MOST
            try:
                count = self._sock.recv_into(memoryview(buffer)[self._end : self._end + asked])
            except (BlockingIOError, InterruptedError):
                if again:
                    self._retry.failed()
                return
            except OSError as error:
                self._lose(error.strerror or str(error))
                return
            if not count:
                self._lose("the client closed the connection")
                return
            if again:
                self._retry.found()
            self._end += count
            self._deliver(buffer)
            if self._closed:
                return
            if self._queued >= HIGH_WATER or self._waits or self._starves:
                self._update_reading()
                return
            if count >= READ_MOST and self._turns.over():
                return
            # A read that is full within a frame left something. Else more may have come meanwhile.
            again = count < asked or self._buffer is None
            if again and not self._retry.wanted():
                return

    def _deliver(self, buffer: bytearray, *, ours: bool = False) -> None:
        """Deliver the whole frames in `buffer`; keep what begins the next one.

        It is `ours`: this connection's turn, for one message at least.
        """
        receiver = self._receiver
        assert receiver is not None
        view = memoryview(buffer)
        begin, end = self._begin, self._end
        wanted = 0  # the size of the frame that is not whole, if that is known
        held = len(buffer) // HELD_SHARE if len(buffer) > READ_SIZE else 0
        self._corked = True
        began = 0.0
        meter = self.meter
        while end - begin >= FRAME and self._queued < HIGH_WATER:
            if meter.full:
                self._starve()
                break
            (length,) = _frame.unpack_from(buffer, begin)
            if length > receiver.message_limit:
                if length == KEEP_ALIVE_FRAME:
                    begin += FRAME
                    began = self._turns.served(began)
                    if not began:
                        self._wait()
                        break
                    continue
                self._lose(
                    f"a frame that begins {length:08x}: {receiver.message_limit} bytes allowed"
                )
                return
            if end - begin < FRAME + length:
                wanted = FRAME + length
                break
            if length >= LARGE_MESSAGE and not ours and self._turns.over():
                self._wait()
                break
            ours = False
            begin += FRAME + length
            self._expected.learn(FRAME + length)
            message = view[begin - length : begin]
            try:
                receiver.message_received(
                    message if length >= held else memoryview(bytearray(message))
                )
            except Exception:
                log.exception("a fault of the server", extra={"client": self.peer})
                self._lose("a fault of the server")
            if self._closed:
                return
            if self._queued >= FLUSH_SIZE and not self._writing:
                self._flush()
            if end - begin < FRAME:
                break
            began = self._turns.served(began)
            if not began:
                self._wait()
                break
        self._corked = False
        if self._out and not self._writing:
            self._flush()
        if begin == end:
            self._buffer, self._begin, self._end = None, 0, 0
        elif self._queued >= HIGH_WATER or self._waits or self._starves:
            # Stopped between two frames: they wait where they are.
            self._buffer, self._begin, self._end = buffer, begin, end
        else:
            self._keep(view, begin, end, wanted)
        self._account()

    def _keep(self, view: memoryview, begin: int, end: int, wanted: int) -> None:
        """Have an unfinished frame go on where its end has room: here, or in fresh memory."""
        left = end - begin
        buffer = view.obj
        assert isinstance(buffer, bytearray)
        room = max(self._expected.room, wanted)
        moves = begin + (wanted or room) > self._limit or (begin and left <= MOVED_SIZE)
        size = room if moves else len(buffer)
        if size > max(READ_SIZE, self._kept) and not self.meter.room(size - self._kept):
            moves, room = True, READ_SIZE
            if wanted > READ_SIZE:  # its beginning waits here, its rest with the client
                self._starve()
                room = left
        if moves:
            fresh = POOL.take(room)
            fresh[:left] = view[begin:end]
            buffer, begin, end, self._limit = fresh, 0, left, room
        self._buffer, self._begin, self._end = buffer, begin, end

    def _account(self) -> None:
        """Tell the meter what is kept now: large buffers, and replies that wait in memory."""
        buffer = self._buffer
        kept = len(buffer) if buffer is not None and len(buffer) > READ_SIZE else 0
        if self._closed:
            kept = 0
        elif self._writing:
            kept += self._queued - self._in_files
        if kept != self._kept:
            change, self._kept = kept - self._kept, kept
            self.meter.keep(change)

    def _starve(self) -> None:
        """Deliver nothing until the meter says that there is room."""
        if not self._starves:
            self._starves = True
            self.meter.starve(self._go_on)

    @property
    def progress(self) -> tuple[int, int, int] | None:
        """What changes with every 64 KiB that arrive or leave; None when no memory is kept."""
        if not self._kept:
            return None
        return id(self._buffer), self._end >> 16, self._queued >> 16

    def _wait(self) -> None:
        """Deliver nothing until others have had their turn."""
        self._waits = True
        self._turns.later(self, partial(self._go_on, ours=True))

    def _go_on(self, *, ours: bool = False) -> None:
        """Deliver on, as it is this connection's turn or there is memory again."""
        self._starves, self._waits = False, self._waits and not ours
        if not self._closed and not self._waits:
            if self._buffer is not None:
                self._deliver(self._buffer, ours=ours)
            self._update_reading()

    def _update_reading(self) -> None:
        """Read while the peer takes its replies and its requests are taken up; stop when not."""
        wanted = not (self._closed or self._queued >= HIGH_WATER or self._waits or self._starves)
        if wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            self._loop.add_reader(self._fd, self._readable)
        else:
            self._loop.remove_reader(self._fd)

    def _cut_off(self) -> None:
        """End the connection, though it is not read on: nobody is there to take a reply.

        Not when the peer has closed its own side alone: it may still read. If it does not, the next
        reply is answered by a reset.
        """
        error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._lose(os.strerror(error) if error else "the client closed the connection")

    # -- out -----------------------------------------------------------------------------

    def send(self, parts: Sequence[Part]) -> None:
        """Queue one framed message and send as much as the socket takes."""
        if self._closed:
            return
        length = 0
        spans = 0
        for part in parts:
            if isinstance(part, FileSpan):
                spans += part.length
            else:
                length += len(part)
        length += spans
        self._in_files += spans
        self._out.append(_frame.pack(length))
        self._out.extend(parts)
        self._queued += length + FRAME
        if spans or (not self._corked and not self._writing):
            # A file is sent or duplicated before the next request can close it: its number may
            # then be another file's.
            self._flush()

    def reached(self, times: int) -> bool | None:
        """Tell whether the peer has acknowledged all that was sent, as the kernel counts it."""
        if self._closed:
            return True
        try:
            (waiting,) = struct.unpack("i", fcntl.ioctl(self._sock, termios.TIOCOUTQ, bytes(4)))
            if not waiting and not self._out:
                return True
            info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _tcp_info.size)
        except OSError:  # a socket of another kind, whose end is told at once
            return True
        backoff, unacknowledged = _tcp_info.unpack(info)
        return False if unacknowledged and backoff >= times else None

    def _flush(self) -> None:
        """Send queued parts until all are gone or the socket takes no more."""
        out = self._out
        try:
            while out:
                if isinstance(out[0], FileSpan):
                    self._send_file(out[0])
                else:
                    self._send_parts()
        except (BlockingIOError, InterruptedError):
            try:
                self._wait_writable()
            except OSError as error:  # what waits would be of another file by and by
                self._lose(f"its reply cannot wait: {error.strerror}")
        except OSError as error:
            self._lose(error.strerror or str(error))
        else:
            if self._writing:
                self._writing = False
                self._loop.remove_writer(self._fd)
                self._account()

    def _send_parts(self) -> None:
        """Send the parts before the next file span, and drop what has gone."""
        out = self._out
        parts: list[bytes | bytearray | memoryview] = []
        total = 0
        more = 0
        for part in out:
            if isinstance(part, FileSpan):
                more = socket.MSG_MORE
                break
            if len(parts) == IOV_MAX:
                break
            parts.append(part)
            total += len(part)
        if total <= JOIN_SIZE:
            sent = self._sock.send(b"".join(parts), more)
        else:
            sent = self._sock.sendmsg(parts, (), more)
        self._queued -= sent
        if sent == total:
            if len(parts) == len(out):
                out.clear()
            else:
                for _ in parts:
                    out.popleft()
            return
        for part in parts:
            if sent < len(part):
                out[0] = memoryview(part)[sent:]
                break
            sent -= len(part)
            out.popleft()
        raise BlockingIOError

    def _send_file(self, span: FileSpan) -> None:
        """Send file data straight from the page cache; zeros where the file has shrunk since."""
        sent = os.sendfile(self._fd, span.fd, span.offset, span.length)
        if not sent:
            # The length is promised already: what was cut off meanwhile reads as zeros.
            self._out[0] = bytes(span.length)
            self._in_files -= span.length
            self._release(span)
            return
        self._queued -= sent
        self._in_files -= sent
        if sent == span.length:
            self._out.popleft()
            self._release(span)
        else:
            self._out[0] = span._replace(offset=span.offset + sent, length=span.length - sent)

    def _wait_writable(self) -> None:
        """Go on when the peer has taken something; hold on to the files that are still to go."""
        out = self._out
        for index, part in enumerate(out):
            if isinstance(part, FileSpan) and not isinstance(part, _OwnedSpan):
                out[index] = _OwnedSpan(os.dup(part.fd), part.offset, part.length)
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._fd, self._writable)
        self._account()

    def _writable(self) -> None:
        """Send on; take up requests again when the queue has drained."""
        self._flush()
        stopped = self._closed or self._reading or self._waits or self._starves
        if not stopped and self._queued <= LOW_WATER:
            if self._buffer is not None:
                self._deliver(self._buffer)
            self._update_reading()

    @staticmethod
    def _release(span: FileSpan) -> None:
        """Close a descriptor that was duplicated to outlive its open."""
        if isinstance(span, _OwnedSpan):
            os.close(span.fd)

    # -- end -----------------------------------------------------------------------------

    def close(self, reason: str) -> None:
        """Send what the peer takes at once, then end the connection."""
        if not self._closed and self._out:
            self._corked = False
            self._flush()
        self._lose(reason)

    def _lose(self, reason: str) -> None:
        """End the connection and tell the receiver, once."""
        if self._closed:
            return
        self._closed = True
        self._corked = False
        self._buffer = None
        self._loop.remove_ender(self._fd)
        self._loop.remove_reader(self._fd)
        if self._writing:
            self._loop.remove_writer(self._fd)
        self._sock.close()
        for part in self._out:
            if isinstance(part, FileSpan):
                self._release(part)
        self._out.clear()
        self._writing = False
        self._account()
        receiver, self._receiver = self._receiver, None  # who refers to this transport himself
        if receiver is not None:
            receiver.connection_lost(reason)


class _OwnedSpan(FileSpan):
    """A span whose descriptor is our own duplicate, closed when it has gone."""


def _address(name: Callable[[], object]) -> str:
    """Return a socket's address as text, "unix" for one without, "" when it is gone."""
    try:
        address = name()
    except OSError:
        return ""
    if not isinstance(address, tuple):
        return "unix"
    return host_text(str(address[0]))
