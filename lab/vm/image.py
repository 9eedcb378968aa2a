"""The disk that a guest runs usmbd from: Python's library, the packages and the project.

A guest sees this machine's files through 9p, where every look-up is a message to the host: there
`import` alone took a server over a minute to start. From a disk image it takes seconds.
Run by the project's own interpreter (.venv/bin/python), whose packages it takes.
"""

import compileall
import importlib.metadata
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
FOLDERS = ("transport", "protocol", "mountd", "lab", "tests/vm", "tests/support")
UNUSED = ("test", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "site-packages")
SPARE = 1.3
"""An image's size over its files': the file system's own tables, and blocks filled in part."""


def closure(name: str, found: set[str] | None = None) -> set[str]:
    """Return the names of a distribution and of all that it needs, as far as they are installed."""
    found = set() if found is None else found
    try:
        needed = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return found
    found.add(name)
    for requirement in needed:
        match = re.match(r"[A-Za-z0-9._-]+", requirement)
        if match and "extra ==" not in requirement and match[0] not in found:
            closure(match[0], found)
    return found


def copy_packages(target: Path) -> None:
    """Copy usmbd's dependencies, and Debian's pyverbs where it is linked in."""
    site = Path(sysconfig.get_path("platlib"))
    for name in sorted(closure("usmbd")):
        for file in importlib.metadata.files(name) or []:
            if ".." in file.parts or "tests" in file.parts or file.suffix == ".pyc":
                continue
            source, copy = site / file, target / file
            if source.is_file():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, copy)
    if (site / "pyverbs").is_dir():
        shutil.copytree(site / "pyverbs", target / "pyverbs")


def fill(folder: Path) -> None:
    """Lay out the image's content: stdlib/, site/ and project/."""
    ignored = shutil.ignore_patterns("__pycache__", *UNUSED)
    shutil.copytree(sysconfig.get_path("stdlib"), folder / "stdlib", ignore=ignored, symlinks=True)
    copy_packages(folder / "site")
    for name in FOLDERS:
        shutil.copytree(
            PROJECT / name, folder / "project" / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    package = folder / "site/usmbd"
    package.mkdir()
    for name in ("transport", "protocol", "mountd"):
        (package / name).symlink_to(f"../../project/{name}")
    # The guest need not look at the sources' times.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for name in ("site", "stdlib", "project"):
        compileall.compile_dir(folder / name, quiet=2, workers=0, invalidation_mode=mode)


def build(image: Path, scratch: Path) -> None:
    """Write the image; `scratch` is a directory that this fills and removes."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        fill(scratch)
        used = sum(4096 + path.lstat().st_size for path in scratch.rglob("*"))
        image.unlink(missing_ok=True)
        size = f"{int(used * SPARE) // 1024}K"
        mkfs = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin") or "mkfs.ext4"
        subprocess.run(
            [mkfs, "-q", "-m0", "-O", "^has_journal", "-d", scratch, image, size], check=True
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[1] + ".content"))
