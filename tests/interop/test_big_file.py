"""A file of 1 GiB both ways, at each dialect, plain, signed and encrypted."""

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

GIB = 1 << 30


class Sample(NamedTuple):
    """The file that is sent and its checksum."""

    path: Path
    checksum: str


@pytest.fixture(scope="module")
def sample() -> Iterator[Sample]:
    """Make 1 GiB of data on a real disk; it is deleted afterwards."""
    (REPOSITORY / "run").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="big-", dir=REPOSITORY / "run"))
    if shutil.disk_usage(folder).free < 4 * GIB:
        pytest.skip("less than 4 GiB free on the disk")
    fill(folder / "sample", GIB)
    yield Sample(folder / "sample", checksum(folder / "sample"))
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("dialect", "protection"),
    [
        ("SMB2_10", "off"),
        ("SMB2_10", "sign"),
        ("SMB3_00", "off"),
        ("SMB3_00", "sign"),
        ("SMB3_00", "encrypt"),
        ("SMB3_11", "off"),
        ("SMB3_11", "sign"),
        ("SMB3_11", "encrypt"),
    ],
)
def test_a_gigabyte_both_ways(
    server: Server, folder: Path, tmp_path: Path, sample: Sample, dialect: str, protection: str
) -> None:
    commands = [f"cd {folder.name}", f"put {sample.path} big"]
    smbclient(server, commands, dialect=dialect, protection=protection, timeout=200)
    assert (folder / "big").stat().st_size == GIB

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
