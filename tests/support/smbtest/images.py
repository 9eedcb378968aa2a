"""File systems in images, mounted for as long as a test needs them."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smbtest.samples import MIB

SIZE = 400 * MIB  # XFS wants 300
"""Of an image, which takes the room of what is written into it."""


class CannotMountError(Exception):
    """The file system is not to be had here; the text says why."""


@contextmanager
def mounted_image(kind: str) -> Iterator[Path]:
    """Make a file system of a kind in a file and mount it for everybody; CannotMountError."""
    if shutil.which(f"mkfs.{kind}") is None:
        raise CannotMountError(f"mkfs.{kind} is missing")
    folder = Path(tempfile.mkdtemp(prefix="usmbd-image-", dir="/var/tmp"))
    folder.chmod(0o755)
    image, point = folder / "image", folder / "mounted"
    try:
        point.mkdir()
        with image.open("wb") as file:
            file.truncate(SIZE)
        subprocess.run([f"mkfs.{kind}", "-q", image], check=True, capture_output=True)
        mount = subprocess.run(
            ["mount", "-t", kind, "-o", "loop", image, point],
            capture_output=True,
            text=True,
            check=False,
        )
        if mount.returncode:
            raise CannotMountError(f"{kind} cannot be mounted here: {mount.stderr.strip()}")
        point.chmod(0o777)
        yield point
    finally:
        subprocess.run(["umount", point], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)
