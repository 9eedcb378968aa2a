"""A user who opens all he can, on a server with few descriptors: everybody else goes on."""

import json
import os
import resource
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest
from smbtest import smb2
from smbtest.processes import open_descriptors, wait_for
from smbtest.raw import Raw
from smbtest.server import ALICE, BOB, Options
from smbtest.usmbd import BIN, Usmbd

LIMIT = 1024
INSUFFICIENT_RESOURCES = 0xC000009A


class Tight(Usmbd):
    """A server with a soft limit that it has to raise, and a hard one that is low."""

    def prepare(self) -> list[str]:
        """Set the limits for the command alone."""
        return ["prlimit", f"--nofile=256:{LIMIT}", *super().prepare()]


@pytest.fixture
def tight() -> Iterator[Tight]:
    server = Tight(Options({"workers": "1", "max open files": "100000"}))
    with server.running():
        yield server


def opened(client: Raw, name: str = "same", most: int = LIMIT) -> int:
    """Return how many opens a client gets."""
    for number in range(most):
        status = client.call(smb2.CREATE, smb2.create_body(name, 0x80, smb2.OPEN_IF)).status
        if status != smb2.SUCCESS:
            assert status == INSUFFICIENT_RESOURCES, hex(status)
            return number
    return most


def test_one_user_opens_all_he_can(tight: Tight) -> None:
    (worker,) = tight.workers()
    assert resource.prlimit(worker, resource.RLIMIT_NOFILE)[0] == LIMIT
    victim = Raw(tight, timeout=10, source="127.1.0.1").ready(account=BOB)
    held = victim.open("victim")
    victim.call(smb2.WRITE, smb2.write_body(held, b"unharmed"))
    greedy = [Raw(tight, timeout=20, source=f"127.2.0.{n}").ready(account=ALICE) for n in (1, 2, 3)]
    got = [opened(client, f"same{n}") for n, client in enumerate(greedy)]
    assert 200 < got[0] < 300
    assert got[1:] == [0, 0]  # it is the same user, whatever his addresses and sessions
    assert open_descriptors(worker) < LIMIT - 128
    assert victim.call(smb2.READ, smb2.read_body(held, 10)).body[16:] == b"unharmed"
    assert victim.open("another")
    # A listing, a pipe and a deletion need descriptors of their own for a moment.
    root = victim.open("", disposition=smb2.OPEN, options=1, access=0x120089)
    listing = victim.call(smb2.QUERY_DIRECTORY, smb2.directory_body(root, "*", 65536))
    assert listing.status == smb2.SUCCESS
    late = [Raw(tight, timeout=10, source=f"127.3.0.{n}").ready(account=BOB) for n in range(1, 41)]
    assert all(client.open(f"late{n}") for n, client in enumerate(late))
    os.kill(tight.mountd()[0], signal.SIGKILL)
    wait_for(lambda: tight.log.count("mountd serves") == 2, 15, "another mountd")
    last = Raw(tight, timeout=20, source="127.4.0.1").ready(account=BOB)
    assert last.open("after")
    listed = subprocess.run(
        [BIN / "usmbd.control", "-l", "sessions", "-C", tight.configuration_path],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert BOB.name in listed.stdout
    limits = subprocess.run(
        [BIN / "usmbd.control", "--limits", "--json", "-C", tight.configuration_path],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    rows = [json.loads(line) for line in limits.stdout.splitlines()]
    shown = {(row["process"], row["what"]): row for row in rows}
    assert shown["worker 0", "descriptors"]["limit"] == LIMIT
    assert shown["usmbd", "connections"]["used"] == len(greedy) + len(late) + 2
    files = shown["worker 0", "open files"]
    assert files["used"] == got[0] + len(late) + 4
    assert files["refused"] >= 3
    assert shown["worker 0", "open files of a user or an address"]["used"] == got[0]
    # Of mountd, which has been replaced and was told by the worker what there is.
    clients = shown["mountd", "workers and tools connected"]["used"]
    assert clients == 3  # the worker, the supervisor, usmbd.control
    sessions = shown["mountd", "sessions of the share data"]
    assert sessions["used"] == len(greedy) + len(late) + 2
    for client in greedy:
        client.close()
    wait_for(lambda: open_descriptors(worker) < 200, 10, "the user's descriptors")
    assert opened(Raw(tight, timeout=10).ready(account=ALICE), most=50) == 50


def test_many_users_and_addresses_leave_room_for_the_next(tight: Tight) -> None:
    """Each of two users fills his part, from several addresses, and connections go on."""
    for account in (ALICE, BOB):
        for n in range(1, 4):
            opened(Raw(tight, timeout=20, source=f"127.5.0.{n}").ready(account=account))
    silent = []
    for n in range(1, 100):
        sock = socket.create_connection(
            (tight.host, tight.port), source_address=(f"127.6.0.{n}", 0)
        )
        silent.append(sock)
    client = Raw(tight, timeout=10, source="127.7.0.1")
    client.negotiate()
    assert client.login(ALICE) == smb2.SUCCESS
    for sock in silent:
        sock.close()
