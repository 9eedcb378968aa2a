"""One client's long work: another on the same worker has its answers in between.

What is counted is answers, not time: a worker that does the work at one go gives one at most.
"""

import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from smbtest import smb2
from smbtest.raw import Raw
from smbtest.server import BOB
from smbtest.usmbd import Usmbd

SECONDS = 60
ANSWERS = 5
"""A bystander gets so many at least while work of a second or more is done."""

ROUNDS = 6
"""A worker that does all at one go gives one answer in each."""

QUERY_DIRECTORY, SET_INFO, NO_SUCH_FILE = 14, 17, 0xC000000F
SRV_REQUEST_RESUME_KEY, SRV_COPYCHUNK = 0x00140078, 0x001440F2
NAMES, FILES = 2000, 4
"""A listing that is made at one go leaves one answer, and four of them fewer than ANSWERS; in
slices there are some 200 a second."""


@pytest.fixture
def pair(connect: Callable[..., Raw], target: Usmbd) -> tuple[Raw, Raw]:
    """Connect an attacker and a bystander to one worker."""
    attacker = connect(timeout=SECONDS).ready()
    worker = target.process_of(attacker.port)
    while True:
        bystander = connect(timeout=SECONDS).ready(account=BOB)
        if target.process_of(bystander.port) == worker:
            return attacker, bystander
        bystander.close()


class Echoes:
    """A bystander that says ECHO until it is told to stop."""

    def __init__(self, client: Raw) -> None:
        """Begin on a thread."""
        self.answers = 0
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            assert self._client.call(smb2.ECHO, smb2.ECHO_BODY).status == smb2.SUCCESS
            self.answers += 1

    def stop(self) -> int:
        """Return how many answers came."""
        self._stop.set()
        self._thread.join(SECONDS)
        return self.answers


@pytest.fixture(scope="module")
def crowded(target: Usmbd) -> Path:
    """Make a directory with many names."""
    path = target.data / "crowded"
    path.mkdir()
    path.chmod(0o777)
    for number in range(NAMES):
        (path / f"{number:04}{'.' * 200}").touch()
    return path


def test_listings_in_which_nothing_matches(pair: tuple[Raw, Raw], crowded: Path) -> None:
    attacker, bystander = pair
    attacker.call(smb2.ECHO, smb2.ECHO_BODY, credits=200)
    files = [attacker.open(crowded.name, 0x00100081, smb2.OPEN, 1) for _ in range(FILES)]
    pattern = ("<>" * 100 + "x").encode("utf-16-le")
    echoes = Echoes(bystander)
    for file in files:
        body = struct.pack("<HBBI", 33, 1, 1, 0) + file
        body += struct.pack("<HHI", 96, len(pattern), 65536) + pattern
        attacker.post(QUERY_DIRECTORY, body)
    statuses = {attacker.reply().status for _ in files}
    assert echoes.stop() > ANSWERS
    assert statuses == {NO_SUCH_FILE}


def test_a_list_of_eas(pair: tuple[Raw, Raw]) -> None:
    """The longest that is taken, and one of 8 MB, which is refused by its length; by turns."""
    attacker, bystander = pair
    attacker.call(smb2.ECHO, smb2.ECHO_BODY, credits=512)
    file = attacker.open("eas", 0x001F01FF)
    entry = struct.pack("<IBBH", 12, 0, 1, 0) + b"Z\0\0\0"
    echoes = Echoes(bystander)
    for size, status in ((120_000, smb2.SUCCESS), (8 << 20, 0xC0000050)) * 4:
        data = entry * (size // 12 - 1) + struct.pack("<IBBH", 0, 0, 1, 0) + b"Z\0\0\0"
        body = struct.pack("<HBBIHHI", 33, 1, 15, len(data), 96, 0, 0) + file + data
        charge = (len(data) - 1) // 65536 + 1
        reply = attacker.call(SET_INFO, body, charge=charge, credits=charge)
        assert reply.status == status, hex(reply.status)
    assert echoes.stop() > ANSWERS


def test_a_flood_of_requests(pair: tuple[Raw, Raw]) -> None:
    """Pipelined CREATEs of one connection, which came in one read."""
    attacker, bystander = pair
    for _ in range(4):
        attacker.call(smb2.ECHO, smb2.ECHO_BODY, credits=400)
    echoes = Echoes(bystander)
    flood = b""
    for number in range(600):
        message = attacker.header(smb2.CREATE) + smb2.create_body(f"flood{number}", access=0x80)
        flood += struct.pack(">I", len(message)) + message
    sender = threading.Thread(target=attacker.socket.sendall, args=(flood,))
    sender.start()
    statuses = {attacker.reply().status for _ in range(600)}
    sender.join(SECONDS)
    assert echoes.stop() > ANSWERS
    assert smb2.SUCCESS in statuses


def test_copies_of_all_that_a_request_may_copy(pair: tuple[Raw, Raw], target: Usmbd) -> None:
    """Thirty-two of 16 MiB at once, as fast as the disk takes them."""
    attacker, bystander = pair
    attacker.call(smb2.ECHO, smb2.ECHO_BODY, credits=200)
    (target.data / "copied").write_bytes(bytes(range(256)) * 65536)
    (target.data / "copied").chmod(0o666)
    source = attacker.open("copied")
    answer = attacker.call(smb2.IOCTL, smb2.ioctl_body(source, SRV_REQUEST_RESUME_KEY, size=32))
    key = answer.body[48:72]
    chunks = b"".join(struct.pack("<QQII", n << 20, n << 20, 1 << 20, 0) for n in range(16))
    files = [attacker.open(f"copy{number}") for number in range(32)]
    # A machine with much else to do may let the bystander come too late in a round of 0.3 s.
    for _ in range(ROUNDS):
        echoes = Echoes(bystander)
        for file in files:
            data = key + struct.pack("<II", 16, 0) + chunks
            attacker.post(smb2.IOCTL, smb2.ioctl_body(file, SRV_COPYCHUNK, data, 12))
        replies = [attacker.reply() for _ in files]
        answers = echoes.stop()
        assert {reply.status for reply in replies} == {smb2.SUCCESS}
        assert {reply.body[48:60] for reply in replies} == {struct.pack("<III", 16, 0, 16 << 20)}
        if answers > ANSWERS:
            break
    assert answers > ANSWERS
    for number in range(32):
        path = target.data / f"copy{number}"
        assert path.read_bytes() == bytes(range(256)) * 65536
        path.unlink()
