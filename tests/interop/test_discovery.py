"""What finds the server without its name: zeroconf's browser by mDNS, wsdd's by WS-Discovery.

Server and clients are two machines with two cables, of which the server is served on one.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from smbtest import networks
from smbtest.networks import Machine, two_machines
from smbtest.peer import only_usmbd
from smbtest.processes import wait_for
from smbtest.server import NETBIOS_NAME, WORKGROUP, Options
from smbtest.usmbd import Usmbd

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make networks")

SECONDS = 60  # tells a hang from a busy machine
SERVED, OTHER = "10.231.1", "10.231.2"
UNUSED_IDS = range(60706, 61184)
BROWSER = Path(networks.__file__).with_name("mdns_browser.py")
FRUIT = {
    "vfs objects": "fruit streams_xattr",
    "fruit:time machine": "yes",
    "fruit:model": "Xserve",
}


class Announced(Usmbd):
    """A server on one of two machines, at port 445."""

    def __init__(self, machine: Machine, options: Options) -> None:
        super().__init__(options)
        self._machine = machine
        self.port = 445

    def prepare(self) -> list[str]:
        """Run it in the machine's network."""
        return self._machine.command(*super().prepare())


class Lines:
    """The lines that a program prints."""

    def __init__(self, command: list[str]) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._read = b""

    def now(self) -> list[str]:
        """Return what it has printed so far."""
        assert self._process.stdout is not None
        self._read += self._process.stdout.read() or b""
        return self._read.decode().splitlines()

    def wait(self, text: str) -> str:
        """Return the first line with a text, once it is there."""
        found: list[str] = []

        def there() -> bool:
            found[:] = [line for line in self.now() if text in line]
            return bool(found)

        try:
            wait_for(there, SECONDS, f"a line with {text!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._read.decode()}") from None
        return found[0]

    def end(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.communicate()


@contextmanager
def started(command: list[str]) -> Iterator[Lines]:
    """Run a program beside the test."""
    lines = Lines(command)
    try:
        yield lines
    finally:
        lines.end()


def heard(browser: Lines, kind: str) -> list[dict[str, Any]]:
    """Return what the browser has said of a kind."""
    return [said for said in map(json.loads, browser.now()) if said.pop("kind") == kind]


def owner(pid: int) -> int:
    """Return the uid that a process runs as."""
    return os.stat(f"/proc/{pid}").st_uid


def test_it_is_found_where_it_is_served_and_nowhere_else() -> None:
    """On the other network another program of the server's machine listens to mDNS, too."""
    only_usmbd("smbd leaves that to Avahi and to wsdd")
    with two_machines({"served": SERVED, "other": OTHER}) as (here, there):
        server = Announced(here, Options({"interfaces": "served"}))
        server.shares["backup"] = {"path": str(server.data), "read only": "no"} | FRUIT
        neighbour = here.command(sys.executable, str(BROWSER), f"{OTHER}.1")
        browse = there.command(sys.executable, str(BROWSER), f"{SERVED}.2", f"{OTHER}.2")
        interfaces = ["-i", "served", "-i", "other"]
        explore = there.command("wsdd", "--discovery", "--no-host", "--verbose", *interfaces)
        with started(neighbour) as other, started(browse) as browser, started(explore) as explorer:
            other.wait("ready")
            browser.wait("ready")
            explorer.wait("joined multicast group")
            with server.running():
                wait_for(lambda: len(heard(browser, "+")) == 3, SECONDS, "three services")
                browser.wait('"simple": true')
                found = explorer.wait(f"discovered {NETBIOS_NAME}")
                (mdns,), (wsd,) = server.processes_named("mdns"), server.processes_named("wsdd")
                assert {owner(mdns), owner(wsd)} < set(UNUSED_IDS)
            wait_for(lambda: len(heard(browser, "-")) == 3, SECONDS, "three goodbyes")
            services = {said["name"]: said for said in heard(browser, "+")}
            senders = heard(browser, "!")
    assert f"Workgroup:{WORKGROUP}" in found
    assert f"{SERVED}.1%served" in found
    common = {"addresses": [f"{SERVED}.1"], "host": f"{NETBIOS_NAME}.local."}
    assert services == {
        f"{NETBIOS_NAME}.{kind}._tcp.local.": common
        | {"name": f"{NETBIOS_NAME}.{kind}._tcp.local.", "port": port, "texts": texts}
        for kind, port, texts in (
            ("_smb", 445, {}),
            ("_adisk", 0, {"sys": "adVF=0x100", "dk0": "adVN=backup,adVF=0x82"}),
            ("_device-info", 0, {"model": "Xserve"}),
        )
    }
    assert {said["on"] for said in senders if said["source"] == f"{SERVED}.1"} == {"served"}
    # The neighbour, who is at the server's other address, has nothing to answer.
    assert not [said for said in senders if said["on"] == "other" and said["simple"]]


def test_who_says_nothing_holds_up_nobody() -> None:
    """By itself wsdd takes one client of HTTP after the other; here the first one never asks."""
    only_usmbd("smbd leaves that to wsdd")
    with two_machines({"served": SERVED}) as (here, there):
        server = Announced(here, Options({"interfaces": "served"}))
        silent = f"import socket; s = socket.create_connection(('{SERVED}.1', 5357)); print('here')"
        explore = there.command("wsdd", "--discovery", "--no-host", "--verbose", "-i", "served")
        with server.running():
            wait_for(lambda: server.processes_named("wsdd"), SECONDS, "wsdd")
            program = f"{silent}; import time; time.sleep({SECONDS})"
            retry = f"import time\nwhile True:\n try: {program}\n except OSError: time.sleep(0.1)"
            with started(there.command(sys.executable, "-uc", retry)) as stranger:
                stranger.wait("here")
                with started(explore) as explorer:
                    explorer.wait(f"discovered {NETBIOS_NAME}")
