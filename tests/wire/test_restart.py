"""The supervisor is killed, and the service manager starts the server again at once."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from smbtest.peer import only_usmbd
from smbtest.processes import alive, wait_for
from smbtest.raw import Raw
from smbtest.usmbd import READY, WORKERS, Restarted

SECONDS = 30


@pytest.fixture
def server() -> Iterator[Restarted]:
    """Run a server of its own to be killed."""
    only_usmbd("smbd is another kind of family")
    made = Restarted()
    made.executed = True  # as the service manager does
    with made.running():
        yield made


@pytest.mark.parametrize("state", ["as they were", "a worker is stopped", "the door is stopped"])
def test_a_killed_supervisor_is_followed_by_another_at_once(server: Restarted, state: str) -> None:
    client = Raw(server).ready()
    client.open("before")
    family = server.children()
    workers = server.workers()
    stopped = {"a worker is stopped": workers, "the door is stopped": server.door()}.get(
        state, [0]
    )[0]
    if stopped:
        os.kill(stopped, signal.SIGSTOP)
    try:
        os.kill(server.pid, signal.SIGKILL)
        server.again()  # AssertionError when a port, a socket or a lock is still taken
        assert READY in server.log
        assert not set(server.children()) & set(family)
        others = [pid for pid in family if pid != stopped]
        wait_for(lambda: not any(map(alive, others)), SECONDS, "the end of the orphans")
    finally:
        with suppress(ProcessLookupError):  # the kernel wakes those whose parents are gone
            if stopped:
                os.kill(stopped, signal.SIGCONT)
    wait_for(lambda: not any(map(alive, family)), SECONDS, "the end of the stopped orphan")
    # What an orphan removes at its end is its own, not its successor's.
    names = {path.name for path in server.state.glob("*.sock")}
    assert names >= {f"worker-{number}.sock" for number in range(WORKERS)}
    assert names >= {"mountd.sock", "rpc.sock", "control.sock"}
    for _ in range(2 * WORKERS):
        Raw(server).ready().open("after")


def test_no_child_but_the_door_holds_the_port(server: Restarted) -> None:
    """A listening socket that a child had inherited would keep the port from the next server.

    The door is killed by the kernel when the supervisor ends.
    """
    shown = subprocess.run(
        ["ss", "-tlnpH", f"sport = :{server.port}"], capture_output=True, text=True, check=True
    ).stdout
    for pid in set(server.children()) - set(server.door()):
        assert f"pid={pid}," not in shown
    assert f"pid={server.pid}," in shown
    assert Path(f"/proc/{server.pid}").exists()
