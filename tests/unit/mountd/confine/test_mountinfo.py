"""/proc/self/mountinfo, whatever a mount point is called."""

import os
from pathlib import Path

import pytest

from usmbd.mountd.confine.mountinfo import Mount, mounts


def test_mountinfo_is_read(tmp_path: Path) -> None:
    """The lines are those of proc(5), and one with two optional fields."""
    table = tmp_path / "mountinfo"
    table.write_text(
        "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"
        "37 36 98:0 / / rw shared:3 master:2 - ext3 /dev/root rw\n"
        "38 36 0:4 / /proc rw,relatime - proc proc rw\n"
    )
    assert list(mounts(str(table))) == [
        Mount("36", "98:0", "/mnt1", "/mnt 2", "ext3", True),
        Mount("37", "98:0", "/", "/", "ext3", True),
        Mount("38", "0:4", "/", "/proc", "proc", False),
    ]


@pytest.mark.parametrize("odd", ["\r", "\x0c", "\x85", "\u2028", "\x1c", "\udcff", " ", "\t", "\n"])
def test_a_name_may_have_any_character(tmp_path: Path, odd: str) -> None:
    """The kernel escapes blanks, tabs, new lines and backslashes alone."""
    escaped = "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in f"/home/a{odd}b")
    line = f"36 35 0:9 / {escaped} rw - fuse.sshfs x rw\n"
    table = tmp_path / "mountinfo"
    table.write_bytes(os.fsencode(line + "nonsense\n\n" + line))
    assert [mount.point for mount in mounts(str(table))] == [f"/home/a{odd}b"] * 2
