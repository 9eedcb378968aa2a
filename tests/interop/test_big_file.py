"""A big file both ways, at each dialect, plain, signed and encrypted; 256 MiB by the newest."""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from smbtest.samba_tools import smbclient
from smbtest.samples import checksum, fill
from smbtest.server import REPOSITORY, Server

LARGER, SMALLER = 1 << 28, 1 << 25
"""Thirty times, and four, what a request carries at most: more would be more of the same."""

ROOM = 1 << 30


class Sample(NamedTuple):
    """A file that is sent and its checksum."""

    path: Path
    checksum: str


@pytest.fixture(scope="module")
def samples() -> Iterator[dict[int, Sample]]:
    """Make files of both lengths on a real disk; they are deleted afterwards."""
    (REPOSITORY / "run").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="big-", dir=REPOSITORY / "run"))
    if shutil.disk_usage(folder).free < ROOM:
        pytest.skip("less than 1 GiB free on the disk")
    made = {}
    for length in (LARGER, SMALLER):
        fill(folder / str(length), length)
        made[length] = Sample(folder / str(length), checksum(folder / str(length)))
    yield made
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("dialect", "protection", "length"),
    [
        ("SMB2_10", "off", SMALLER),
        ("SMB2_10", "sign", SMALLER),
        ("SMB3_00", "off", SMALLER),
        ("SMB3_00", "sign", SMALLER),
        ("SMB3_00", "encrypt", SMALLER),
        ("SMB3_11", "off", SMALLER),
        ("SMB3_11", "sign", SMALLER),
        ("SMB3_11", "encrypt", LARGER),
    ],
)
def test_a_big_file_both_ways(
    server: Server,
    folder: Path,
    tmp_path: Path,
    samples: dict[int, Sample],
    dialect: str,
    protection: str,
    length: int,
) -> None:
    sample = samples[length]
    commands = [f"cd {folder.name}", f"put {sample.path} big"]
    smbclient(server, commands, dialect=dialect, protection=protection, timeout=200)
    assert (folder / "big").stat().st_size == length

    # what comes back goes through a pipe into the checksum and never to the disk
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    summing = subprocess.Popen(["sha1sum", pipe], stdout=subprocess.PIPE, text=True)
    stored: list[str] = []
    reader = threading.Thread(target=lambda: stored.append(checksum(folder / "big")))
    reader.start()
    try:
        commands = [f"cd {folder.name}", f"get big {pipe}"]
        smbclient(server, commands, dialect=dialect, protection=protection, timeout=200)
        received = summing.communicate(timeout=30)[0].split()[0]
    finally:
        summing.kill()
        reader.join()
    assert stored == [sample.checksum]
    assert received == sample.checksum
