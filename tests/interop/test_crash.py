"""Processes of the server that are killed: what the others' clients notice of it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from smbtest import client as smb
from smbtest.client import Client
from smbtest.peer import only_usmbd
from smbtest.processes import alive, wait_for
from smbtest.samba_tools import rpcclient, smbclient
from smbtest.server import Options, Server
from smbtest.usmbd import WORKERS, Usmbd

SECONDS = 60.0  # tells a hang from a busy machine: it is a second at most

TRIES = 16


@pytest.fixture
def usmbd(start_server: Callable[[Options], Server]) -> Usmbd:
    """Start a server of its own to be hurt."""
    only_usmbd("smbd has no workers and no mountd")
    server = start_server(Options())
    assert isinstance(server, Usmbd)
    return server


@pytest.fixture
def pair(usmbd: Usmbd) -> Iterator[tuple[Client, Client]]:
    """Two clients of different workers: the first one's will be killed."""
    clients = [Client(usmbd)]
    while usmbd.process_of(clients[0].port) == usmbd.process_of(clients[-1].port):
        assert len(clients) < TRIES, "all clients are served by one worker"
        clients.append(Client(usmbd))
    yield clients[0], clients[-1]
    for client in clients:
        client.close()


def share_folder(usmbd: Usmbd) -> Path:
    """Make a folder in the share that every user may write to."""
    folder = usmbd.data / "crash"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def test_a_worker_that_dies(usmbd: Usmbd, pair: tuple[Client, Client]) -> None:
    victim, bystander = pair
    folder = share_folder(usmbd)
    lost = victim.open(r"crash\lost", smb.ALL, smb.CREATE, share=smb.SHARE_NONE)
    lost.write(b"written before", 0)
    locked = victim.open(r"crash\locked", smb.ALL, smb.CREATE)
    victim.lock(locked, 0, 100, smb.LOCK_EXCLUSIVE)
    seen = bystander.open(r"crash\locked", smb.READ | smb.WRITE)
    kept = bystander.open(r"crash\kept", smb.ALL, smb.CREATE, share=smb.SHARE_NONE)
    bystander.lock(kept, 0, 10, smb.LOCK_EXCLUSIVE)

    dead = usmbd.process_of(victim.port)
    assert dead in usmbd.workers()
    os.kill(dead, signal.SIGKILL)

    # the bystander goes on as if nothing had been, with his files and locks
    end = time.monotonic() + 1
    while time.monotonic() < end:
        kept.write(b"still here", 0)
        assert kept.read(0, 10) == b"still here"
        bystander.connection.echo()

    # what the dead worker held is free, for the bystander ...
    wait_for(lambda: try_lock(bystander, seen), SECONDS, "the end of the dead worker's lock")

    # ... and for whoever connects, the victim for one
    with Client(usmbd) as again:
        opened = again.open(r"crash\lost", smb.ALL, share=smb.SHARE_NONE)
        assert opened.read(0, 100) == b"written before"
        opened.close()
    assert (folder / "lost").read_bytes() == b"written before"

    # the worker has a successor, and the survivors' files are still theirs alone
    wait_for(lambda: len(usmbd.workers()) == WORKERS, SECONDS, "a new worker")
    assert not alive(dead)
    wait_for(lambda: served_by_all(usmbd), SECONDS, "clients of the new worker")
    kept.close()


def served_by_all(usmbd: Usmbd) -> bool:
    """Say whether new clients go to all workers; none of them may open what is held."""
    clients = [Client(usmbd) for _ in range(TRIES)]
    served = {usmbd.process_of(client.port) for client in clients}
    for client in clients:
        with smb.refused(0xC0000043):  # SHARING_VIOLATION
            client.open(r"crash\kept", smb.READ)
        client.close()
    return len(served) == WORKERS


def try_lock(client: Client, opened: smb.Open) -> bool:
    """Say whether the first 100 bytes could be locked."""
    with suppress(Exception):
        client.lock(opened, 0, 100, smb.LOCK_EXCLUSIVE | smb.LOCK_FAIL_IMMEDIATELY)
        return True
    return False


def test_every_worker_dies(usmbd: Usmbd) -> None:
    for _ in range(3):
        for worker in usmbd.workers():
            os.kill(worker, signal.SIGKILL)
        wait_for(lambda: len(usmbd.workers()) == WORKERS, SECONDS, "new workers")
        wait_for(lambda: connects(usmbd), SECONDS, "a login")


def connects(usmbd: Usmbd) -> bool:
    """Say whether a client gets as far as its share."""
    with suppress(Exception), Client(usmbd):
        return True
    return False


def test_mountd_dies(usmbd: Usmbd) -> None:
    folder = share_folder(usmbd)
    with Client(usmbd) as client:
        opened = client.open(r"crash\file", smb.ALL, smb.CREATE)
        os.kill(usmbd.mountd()[0], signal.SIGKILL)

        opened.write(b"goes on", 0)
        client.open(r"crash\new", smb.ALL, smb.CREATE).close()
        wait_for(lambda: connects(usmbd), SECONDS, "a new login")
        assert opened.read(0, 10) == b"goes on"
        opened.close()
    assert (folder / "file").read_bytes() == b"goes on"
    assert smbclient(usmbd, ["ls"])
    shares = smbclient(usmbd, ["ls"], share="encrypted")
    assert "crash" in shares


def test_the_rpc_process_dies(usmbd: Usmbd) -> None:
    assert "data" in rpcclient(usmbd, "netshareenumall")
    (victim,) = usmbd.rpc()
    os.kill(victim, signal.SIGKILL)
    assert connects(usmbd)

    def browses() -> bool:
        with suppress(AssertionError):
            return "data" in rpcclient(usmbd, "netshareenumall")
        return False

    wait_for(browses, SECONDS, "a share list")
