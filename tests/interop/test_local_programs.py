"""A share that is used on the server as well: local programs beside clients, in several workers."""

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from smbtest import torture_list
from smbtest.peer import only_usmbd
from smbtest.raw import SUCCESS, Raw
from smbtest.server import Options
from smbtest.smb2 import CREATE, create_body, create_context
from smbtest.torture import PERSISTENT, Smbtorture, add_shares
from smbtest.usmbd import Usmbd

SECONDS = 60.0  # tells a hang from a busy machine
RH = 3
LEASE, OPLOCK_BREAK, ACK_REQUIRED = 0xFF, 18, 1
UNASKED = (1 << 64) - 1
DIRECTORY_FILE = 1
TRIES = 32  # distinct ClientGuids are spread over the workers by the server


@pytest.fixture
def kernel_oplocks() -> Iterator[Usmbd]:
    only_usmbd("the parameter is set for it alone")
    server = Usmbd(Options())
    add_shares(server)
    del server.shares[PERSISTENT]  # whose handles and the kernel's oplocks exclude each other
    for share in server.shares.values():
        share["kernel oplocks"] = "yes"
    with server.running():
        yield server


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests act as their users: needs root")
def test_samba_s_tests_of_kernel_oplocks(kernel_oplocks: Usmbd) -> None:
    """The last one holds a lease by a local program, the others follow one client by another."""
    names = [f"smb2.kernel-oplocks.kernel_oplocks{number}" for number in range(1, 9)]
    outcomes = Smbtorture(kernel_oplocks).run(names)
    assert {name: o.reason for name, o in outcomes.items() if o.status != "success"} == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests act as their users: needs root")
def test_samba_s_tests_of_locks_with_posix_locking() -> None:
    """They come out as without: among clients the store decides. But there is no durable handle."""
    only_usmbd("the parameter is set for it alone")
    server = Usmbd(Options())
    add_shares(server)
    server.shares["torture"]["posix locking"] = "yes"
    rows = torture_list.load()
    with server.running():
        torture = Smbtorture(server)
        names = [name for name in torture.tests("smb2.lock") if not name.endswith("_durable")]
        outcomes = torture.run(names)
    statuses = {name: outcome.status for name, outcome in outcomes.items()}
    assert statuses == {name: rows[name].status for name in statuses}


class Cached(NamedTuple):
    """A server, a client that caches a directory of it, by its key, and one of another worker."""

    server: Usmbd
    client: Raw
    key: bytes
    other: Raw


def leased(name: str, key: bytes, parent: bytes = b"", options: int = 0) -> bytes:
    """Pack a CREATE that asks for a lease of version 2."""
    flags = 4 if parent else 0
    data = struct.pack("<16sIIQ16sHH", key, RH, flags, 0, parent, 0, 0)
    body = bytearray(create_body(name, options=options, extra=create_context(b"RqLs", data)))
    body[3] = LEASE
    return bytes(body)


@pytest.fixture
def cached() -> Iterator[Cached]:
    only_usmbd("the parameter is set for it alone")
    server = Usmbd(Options({"smb3 directory leases": "yes"}))
    with server.running(), Raw(server, timeout=SECONDS) as client:
        client.ready()
        others = []
        try:
            while True:
                others.append(Raw(server, timeout=SECONDS).ready())
                if server.process_of(others[-1].port) != server.process_of(client.port):
                    break
                assert len(others) < TRIES, "all clients are served by one process"
            key = os.urandom(16)
            made = client.call(CREATE, create_body("dir", options=DIRECTORY_FILE))
            assert made.status == SUCCESS
            assert client.call(CREATE, leased("dir", key, options=DIRECTORY_FILE)).status == SUCCESS
            yield Cached(server, client, key, others[-1])
        finally:
            for other in others:
                other.close()


def lost(cached: Cached) -> bool:
    """Wait for the break of the lease; tell whether it is all of it."""
    reply = cached.client.reply()
    assert (reply.message_id, reply.command) == (UNASKED, OPLOCK_BREAK)
    _, _, flags, key, before, after = struct.unpack_from("<HHI16sII", reply.body)
    assert (flags, key) == (ACK_REQUIRED, cached.key)
    return (before, after) == (RH, 0)


def test_a_local_program_breaks_a_directory_lease(cached: Cached) -> None:
    (cached.server.folder / "data" / "dir" / "local").touch()
    assert lost(cached)


def test_a_client_of_another_worker_breaks_a_directory_lease(cached: Cached) -> None:
    assert cached.other.call(CREATE, leased(r"dir\file", os.urandom(16))).status == SUCCESS
    assert lost(cached)
