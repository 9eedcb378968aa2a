"""A password given by `-p` is soon gone from the list of processes."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from pathlib import Path
from usmbd.mountd.cli.arguments import hide
hide("sécret 1")
print(Path("/proc/self/cmdline").read_text().split("\\0")[3:-1])
print(sys.argv[1:])
"""


@pytest.mark.parametrize("arguments", [["-p", "sécret 1"], ["-psécret 1"], ["--password=sécret 1"]])
def test_the_password_is_overwritten_where_others_look(arguments: list[str]) -> None:
    command = [sys.executable, "-c", SCRIPT, *arguments, "user"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    shown, own = result.stdout.splitlines()
    assert "cret" not in shown
    assert eval(shown)[-1] == "user"
    assert eval(own) == [*arguments, "user"]
