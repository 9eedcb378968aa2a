"""The systemd unit: its score, and a server with the rights that it leaves."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from smbtest.peer import only_usmbd
from smbtest.raw import Raw
from smbtest.usmbd import Usmbd

UNIT = Path(__file__).parents[2] / "lab" / "usmbd.service"
MOST_EXPOSED = 2.5
PR_SET_MDWE = 65

LAUNCH = f"""
import ctypes, os, sys
libc = ctypes.CDLL(None)
if libc.prctl({PR_SET_MDWE}, 1, 0, 0, 0):
    sys.exit("no MemoryDenyWriteExecute")
os.execv(sys.argv[1], sys.argv[1:])
"""


def unit_values(name: str) -> list[str]:
    """Return the words that the unit gives a setting."""
    found = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    return " ".join(found).split()


def test_the_unit_is_exposed_little() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("NOT TESTED: no systemd-analyze (package systemd) to score the unit with")
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "unrecognized option" in result.stderr:
        pytest.skip("NOT TESTED: this systemd-analyze is too old for --offline")
    found = re.search(r"Overall exposure level.*: ([\d.]+)", result.stdout)
    assert found, result.stdout + result.stderr
    assert float(found.group(1)) <= MOST_EXPOSED, result.stdout
    assert not result.stderr.strip()  # settings that this systemd does not understand


class UnderUnit(Usmbd):
    """A server with the unit's capabilities, which runs no memory that it can write."""

    def prepare(self) -> list[str]:
        """Start the program by way of setpriv(1) and prctl(2)."""
        names = [word.removeprefix("CAP_").lower() for word in unit_values("CapabilityBoundingSet")]
        bounds = ",".join(["-all", *(f"+{name}" for name in names)])
        setpriv = ["setpriv", f"--bounding-set={bounds}", "--inh-caps=-all", "--no-new-privs"]
        return [*setpriv, sys.executable, "-c", LAUNCH, *super().prepare()]


@pytest.mark.skipif(os.geteuid() != 0, reason="the unit's server is root's")
def test_a_server_runs_with_what_the_unit_leaves() -> None:
    only_usmbd("it is usmbd's unit")
    if shutil.which("setpriv") is None or ctypes.CDLL(None).prctl(PR_SET_MDWE + 1, 0, 0, 0, 0) < 0:
        pytest.skip("NOT TESTED: no setpriv, or a kernel without PR_SET_MDWE (before 6.3)")
    server = UnderUnit()
    with server.running():
        status = Path(f"/proc/{server.workers()[0]}/status").read_text()
        assert "CapBnd:\t00000000000000db" in status
        client = Raw(server).ready()
        file_id = client.open("file")
        assert (server.data / "file").stat().st_uid not in (0, 65534)
        assert file_id
        client.close()
