"""smb.conf files of the shape that distributions and appliances have: each is served as it is."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from smbtest import smb_confs
from smbtest.peer import peer
from smbtest.processes import wait_for
from smbtest.samba_tools import smbclient, smbclient_command
from smbtest.server import ALICE
from smbtest.usmbd import Usmbd


class Replaced(Usmbd):
    """usmbd whose file is replaced by others while it runs."""

    def become(self, name: str) -> str:
        """Serve another file, with what a test's server needs in front; return its text."""
        text = smb_confs.text_of(name, self.data, ALICE.name, ALICE.name)
        for folder in smb_confs.folders_of(text, ALICE.name):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o777)
            (folder / "file").write_text(name)
        head = {
            "tcp port": str(self.port),
            "state directory": str(self.state),
            "interfaces": "lo",
            "bind interfaces only": "yes",
            "multicast dns register": "no",
            "ws discovery": "no",
            "log level": "1",
        }
        front = "".join(f"{key} = {value}\n" for key, value in head.items())
        self.configuration_path.write_text(f"[global]\n{front}{text}")
        return text


@pytest.fixture(scope="module")
def server() -> Iterator[Replaced]:
    if peer() != "usmbd" or os.geteuid() != 0:
        pytest.skip("a server of its own for several users")
    made = Replaced()
    with made.running():
        yield made


@pytest.mark.parametrize("name", smb_confs.NAMES)
def test_its_shares_are_listed_and_one_is_read(server: Replaced, name: str) -> None:
    text = server.become(name)
    before = server.log.count("configuration read, generation")
    os.kill(server.pid, signal.SIGHUP)
    wait_for(lambda: server.log.count("configuration read, generation") > before, 10, "a reload")
    command = [*smbclient_command(server), "-L", server.host, "-g"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    shares = smb_confs.shares_of(text)
    hidden = {"Video"}  # browseable = no
    assert {f"Disk|{share}|" in said for share in shares if share not in hidden} <= {True}
    said = smbclient(server, ["ls", "get file -"], share=shares[-1])
    assert "  file  " in said
    assert name in said
