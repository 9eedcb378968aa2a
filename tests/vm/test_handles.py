"""A Linux client whose open files survive: its server dies, its cable is out, and it writes on.

One program on the client keeps a file open and checks each byte (open_file_writer.py) while
workers are killed, the whole server is killed and started again, and the cable is pulled; then the
file is compared on the server. Once here, by one of the mounts; by all of them and as often as
USMBD_FAULTS says by `make faults`.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from booted import booted
from cable import Switch
from guest import Guest, Running

OFTEN = os.environ.get("USMBD_FAULTS", "")

FAULTS = int(OFTEN or "1")
"""Of each kind."""

pytestmark = pytest.mark.timeout(900 + 450 * FAULTS)

MOUNT = "/run/lab/mnt"
DATA = "/run/lab/share"
WRITER = Path(__file__).parent / "open_file_writer.py"
SERVER, CLIENT = range(2)
"""The cables."""

OUT_SECONDS = 12
"""How long the cable is out: with echo_interval=2 the client has given the connection up then."""

PATIENCE = 400
"""Seconds in which the client has to be back; a busy machine has taken 150 to start the server."""

SHARE = """ continuous availability = yes
 persistent handles durability = {durability}
"""


@dataclass
class Lab:
    """A server and a client that has its share mounted."""

    switch: Switch
    server: Guest
    client: Guest

    def kill_worker(self) -> None:
        """Kill all workers, so that the client's is among them."""
        assert self.server.run("usmbd.sh", "kill-workers").failure == ""

    def kill_server(self) -> None:
        """Kill all processes of the server, and start it as a service manager does."""
        assert self.server.run("usmbd.sh", "kill").failure == ""
        assert self.server.run("usmbd.sh", "start", limit=300).failure == ""

    def cut_the_wire(self) -> None:
        """Pull the client's cable out for a while."""
        self.switch.cut(CLIENT)
        try:
            self.client.run("sleep", str(OUT_SECONDS), limit=120)
        finally:
            self.switch.mend(CLIENT)


KINDS: dict[str, tuple[str, str]] = {
    "persistent": ("vers=3.1.1,persistenthandles", SHARE.format(durability="data")),
    "persistent-strict": ("vers=3.0,persistenthandles", SHARE.format(durability="strict")),
    "persistent-posix": ("vers=3.1.1,posix,persistenthandles", SHARE.format(durability="data")),
    "resilient": ("vers=3.1.1,resilienthandles", ""),
    "resilient-2.1": ("vers=2.1,resilienthandles", ""),
}
"""Of each mount its options, and lines of the share's section."""

FEW = ("persistent",)
"""The others take another two minutes: `make faults`."""


@pytest.fixture(scope="module", params=KINDS if OFTEN else FEW)
def lab(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, str]]:
    """Boot both machines and mount the share."""
    options, share = KINDS[request.param]
    with booted("server", "client") as (switch, guests):
        made = Lab(switch, *guests)
        started = made.server.run("usmbd.sh", "start", limit=300, env={"SHARE_OPTIONS": share})
        assert started.failure == ""
        made.client.run("mkdir", "-p", MOUNT)
        options = f"username=lab,password=pw,echo_interval=2,{options}"
        source = "//10.99.0.1/data"
        mount = made.client.run("mount", "-t", "cifs", source, MOUNT, "-o", options, limit=120)
        assert mount.failure == ""
        yield made, request.param
        assert made.client.run("umount", MOUNT, limit=120).failure == ""


def goes_on(writer: Running, before: int) -> int:
    """Wait until the writer has some more records; return the last one's number.

    What it has said by now is from before: a busy machine would do the next fault before the client
    is back from this one, and the next, until its patience is over.
    """
    while not writer.messages.empty():
        before = int(writer.line())
    while (number := int(writer.line())) < before + 3:
        pass
    return number


def faults(lab: Lab, kind: str) -> list[tuple[str, Callable[[], None]]]:
    """Return what such handles have to survive: a resilient one no new server."""
    found = [("a worker is killed", lab.kill_worker), ("the cable is out", lab.cut_the_wire)]
    if kind.startswith("persistent"):
        found.append(("the server is killed", lab.kill_server))
    return found


def test_a_writer_goes_on(lab: tuple[Lab, str]) -> None:
    """With the file that it has open; nothing is lost, nothing is torn."""
    machines, kind = lab
    writer = machines.client.start(
        WRITER, f"{MOUNT}/file", PATIENCE, lines=True, limit=800 + 450 * FAULTS
    )
    number = goes_on(writer, 0)
    for _ in range(FAULTS):
        for _what, fault in faults(machines, kind):
            fault()
            number = goes_on(writer, number)
    writer.feed("end")
    done = writer.wait()
    assert done.status == 0, done.failure
    check = f"""
import os
size, data = 4608, open('{DATA}/file', 'rb').read()
count = len(data) // size
assert len(data) == count * size and count > {number}, (len(data), {number})
assert all(data[n * size:(n + 1) * size] == (b'%08d' % n) * (size // 8) for n in range(count))
print(count)
"""
    found = machines.server.run("python3", "-ISc", check, limit=120)
    assert found.failure == ""
    print(f"{kind}: {done.said}; on the server {found.said}")
