"""What is hidden from a worker cannot be opened by it: tried in its confinement, as root."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from usmbd.mountd.config.load import load
from usmbd.mountd.confine import hide
from usmbd.mountd.exposure import hidden, visible

pytestmark = [
    pytest.mark.processes("mountd/confine"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root has mounts of its own"),
]

SCRIPT = """
import ctypes, errno, json, os, struct, subprocess, sys
from usmbd.mountd.confine import kernel, profiles
from usmbd.mountd.confine.hide import hide
from usmbd.mountd.confine.process import confine

libc = ctypes.CDLL(None, use_errno=True)
folders, secret, share, block, version, *steps = json.loads(sys.argv[1])
if version:
    kernel.landlock_version = lambda: version
os.chdir(os.path.dirname(secret))
# A user's process without rights, into which CAP_SYS_PTRACE is not needed to look.
other = subprocess.Popen(  # which ends with this one
    ["cat"], user=65534, group=65534, extra_groups=[], cwd="/",
    stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
)
report = {"unhidden": hide(folders)}
for step in steps:  # by the host, later: what is mounted in its own mounts
    subprocess.run(["nsenter", "-t", str(os.getppid()), "-m", "--", *step], check=True)
report["missing"] = confine(profiles.WORKER)

def tried(path, flags=os.O_RDONLY):
    try:
        os.close(os.open(path, flags))
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def tried_call(call):
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def as_user():
    # A worker that is taken over acts as any user, with the rights to files that it still has.
    libc.setfsuid(65534); libc.setfsgid(65534)
    data = ctypes.create_string_buffer(24)
    kernel._capget(ctypes.byref(kernel._header()), data)
    _, low, inheritable, _, high, _ = struct.unpack("6I", data.raw)
    kernel._capset(ctypes.byref(kernel._header()), struct.pack("6I", low, low, 0, high, high, 0))
    found = tried(f"/proc/{other.pid}/root" + secret)
    libc.setfsuid(0); libc.setfsgid(0)
    return found

name = os.path.basename(secret)
report["secret"] = {
    "by its name": tried(secret),
    "from the working directory": tried(name),
    "from the share": tried(os.path.join(share, os.path.relpath(secret, share))),
    "by the supervisor's root": tried(f"/proc/{os.getppid()}/root" + secret),
    "by init's root": tried("/proc/1/root" + secret),
    "by a user's root": as_user(),
}
report["made"] = tried(secret, os.O_CREAT | os.O_WRONLY)
report["disk"] = tried(block)
report["null"] = tried("/dev/null")
report["share"] = sorted(os.listdir(share))
report["written"] = tried(os.path.join(share, "new"), os.O_CREAT | os.O_WRONLY)
report["shadow"] = tried("/etc/shadow")
os.makedirs(os.path.join(share, "into"), exist_ok=True)
report["moved"] = tried_call(
    lambda: os.rename(os.path.join(share, "new"), os.path.join(share, "into", "new"))
)
print(json.dumps(report))
"""

SHARED = ("unshare", "--mount", "--propagation", "shared", "--")
PRIVATE = ("unshare", "--mount", "--propagation", "private", "--")


@pytest.fixture
def block(tmp_path: Path) -> Path:
    """Return a block device, which need not work."""
    path = tmp_path / "disk"
    os.mknod(path, 0o600 | 0o060000, os.makedev(7, 200))
    return path


def tried(
    own: tuple[str, ...],
    tmp_path: Path,
    block: Path,
    *steps: tuple[str, ...],
    passwords: str = "usmbd/passwords",
    share: str = "share",
    served: bool = True,
    without: str = "",
    name: Path | None = None,
    version: int = 0,
) -> dict[str, Any]:
    """Hide what a configuration says from a process, and return what it can do.

    `share` is a share's folder, or another that must not change; then it is not `served`.
    """
    if shutil.which("unshare") is None:
        pytest.skip("no unshare(1)")
    secret, place = tmp_path / passwords, tmp_path / share
    for folder in (secret.parent, place, tmp_path / "run" / "secrets", tmp_path / "lib"):
        folder.mkdir(parents=True, exist_ok=True)
    secret.write_text("hash")
    (place / "file").write_text("data")
    (tmp_path / "run" / "secrets" / "key").write_text("key")
    text = f"[global]\nstate directory = {tmp_path}/run\ndata directory = {tmp_path}/lib\n"
    config = tmp_path / "usmbd.conf"
    config.write_text(text + (f"[share]\npath = {place}\n" if served else ""))
    folders = hidden(load(config), secret)
    (tmp_path / "lib" / "secrets").mkdir(exist_ok=True)
    arguments = json.dumps([folders, str(name or secret), str(place), str(block), version, *steps])
    script = SCRIPT
    # A shell stays between: the host, whose mounts are handed on.
    drop = ("setpriv", f"--bounding-set=-{without}", "--") if without else ()
    command = [*own, "sh", "-c", '"$@"; exit $?', "sh", *drop, sys.executable, "-c", script]
    result = subprocess.run(
        [*command, arguments], capture_output=True, text=True, timeout=20, check=False
    )
    if "unshare failed" in result.stderr:
        pytest.skip("no mounts of its own on this machine")
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("version", [0, 3, 2])
def test_no_way_leads_to_what_is_hidden(tmp_path: Path, block: Path, version: int) -> None:
    """Nor with an older Landlock, of which nothing else is asked."""
    found = tried(SHARED, tmp_path, block, version=version)
    assert found["unhidden"] == []
    if found["missing"]:
        pytest.skip(f"not on this machine: {found['missing']}")
    ways = found["secret"]
    assert ways.pop("by its name") == ways.pop("from the share") == "ENOENT"
    assert ways.pop("from the working directory") == "ENOENT"
    assert set(ways.values()) == {"EACCES"}
    assert (tmp_path / "usmbd" / "passwords").read_text() == "hash"
    assert found["made"] == "EROFS"
    assert found["moved"] == "done"
    assert (found["disk"], found["null"]) == ("EACCES", "done")
    assert found["shadow"] == "done"  # it is not hidden: CAP_DAC_OVERRIDE opens what has a name


def not_changed(found: dict[str, Any], place: Path) -> bool:
    """Say whether a folder is as it was for the process, and the password file alone is hidden."""
    assert found["secret"]["by its name"] == "EACCES"
    assert "file" in found["share"]
    assert (found["written"], found["moved"]) == ("done", "done")
    return (place / "into" / "new").exists()


@pytest.mark.parametrize("share", ["usmbd", "usmbd/share"])
def test_a_share_with_the_password_file_is_seen_and_written(
    tmp_path: Path, block: Path, share: str
) -> None:
    """The file alone is hidden, which is told beforehand."""
    found = tried(SHARED, tmp_path, block, share=share)
    assert not_changed(found, tmp_path / share)
    assert found["unhidden"] == []
    said = load(tmp_path / "usmbd.conf"), tmp_path / "usmbd" / "passwords"
    (note,) = visible(*said, hidden(*said))
    assert note.startswith(f"at most {tmp_path}/usmbd/passwords alone is hidden from workers")


def test_a_share_of_which_nobody_knew_is_seen_and_written(tmp_path: Path, block: Path) -> None:
    """The registry's, say: a folder that has folders in it is not hidden."""
    found = tried(SHARED, tmp_path, block, share="usmbd/share", served=False)
    assert not_changed(found, tmp_path / "usmbd" / "share")
    (note,) = found["unhidden"]
    assert "there are folders in it" in note
    assert f"{tmp_path}/usmbd/passwords alone is hidden" in note


@pytest.mark.parametrize("folder", ["run", "lib", "home/user"])
def test_what_workers_need_stays_with_the_password_file_in_it(
    tmp_path: Path, block: Path, folder: str
) -> None:
    """The state directory, the data directory, a home of [homes]."""
    found = tried(
        SHARED, tmp_path, block, passwords=f"{folder}/passwords", share=folder, served=False
    )
    assert not_changed(found, tmp_path / folder)


def test_a_share_among_the_keys_is_seen(tmp_path: Path, block: Path) -> None:
    """Then so are they, which is told."""
    found = tried(SHARED, tmp_path, block, share="lib/secrets/share")
    assert found["written"] == "done"
    said = load(tmp_path / "usmbd.conf"), tmp_path / "usmbd" / "passwords"
    (note,) = visible(*said, hidden(*said))
    assert note.startswith(f"{tmp_path}/lib/secrets is not hidden")
    found = tried(SHARED, tmp_path, block, share="lib/secrets/share", served=False)
    assert found["written"] == "done"
    assert (
        f"hiding {tmp_path}/lib/secrets from itself: there are folders in it" in found["unhidden"]
    )


def test_a_disk_that_may_be_unmounted_is_left_alone(tmp_path: Path, block: Path) -> None:
    """A mount on it would keep it for the process, and the disk that comes next from it."""
    disk = tmp_path / "usmbd"
    disk.mkdir()
    mount = ("mount", "-t", "tmpfs", "none", str(disk))
    own = (*SHARED, "sh", "-c", f'{" ".join(mount)} && touch {disk}/passwords && exec "$@"', "sh")
    steps = (("umount", str(disk)), mount, ("touch", f"{disk}/of-the-next"))
    found = tried(own, tmp_path, block, *steps, share="usmbd")
    (note,) = found["unhidden"]
    assert note.startswith(f"hiding {disk}/passwords from itself: the disk at {disk} ")
    assert "of-the-next" in found["share"]


def test_a_disk_that_is_mounted_over_a_share_later_is_seen(tmp_path: Path, block: Path) -> None:
    share = str(tmp_path / "share")
    over = ("mount", "-t", "tmpfs", "none", share)
    found = tried(SHARED, tmp_path, block, over, ("touch", f"{share}/of-the-disk"))
    assert found["share"] == ["of-the-disk"]
    assert found["written"] == "done"


def test_a_disk_that_is_unmounted_is_gone(tmp_path: Path, block: Path) -> None:
    share = str(tmp_path / "share")
    steps = (("mount", "-t", "tmpfs", "none", share), ("umount", share))
    assert tried(SHARED, tmp_path, block, *steps)["share"] == ["file"]


def test_the_same_disk_mounted_elsewhere_shows_it_and_that_is_told(
    tmp_path: Path, block: Path
) -> None:
    again = tmp_path / "again"
    again.mkdir()
    bind = (*SHARED, "sh", "-c", f'mount --bind {tmp_path} {again} && exec "$@"', "sh")
    found = tried(bind, tmp_path, block, name=again / "usmbd" / "passwords")
    assert any(f"hiding {again}/usmbd from itself" in each for each in found["unhidden"])
    assert found["secret"]["by its name"] == "done"


def test_where_later_mounts_would_not_be_seen_nothing_is_hidden(
    tmp_path: Path, block: Path
) -> None:
    share = str(tmp_path / "share")
    over = ("mount", "-t", "tmpfs", "none", share)
    found = tried(PRIVATE, tmp_path, block, over)
    (why,) = found["unhidden"]
    assert str(tmp_path / "usmbd") in why
    assert "mount --make-rshared /" in why
    assert found["secret"]["by its name"] == "done"
    assert found["share"] == []  # as ever


def test_without_the_right_to_it_nothing_is_hidden(tmp_path: Path, block: Path) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv(1)")
    found = tried(SHARED, tmp_path, block, without="sys_admin")
    (why,) = found["unhidden"]
    assert why.endswith("it takes CAP_SYS_ADMIN")


def test_another_user_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert hide.hide({"/etc/usmbd": []}) == []


def test_a_disk_that_answers_with_an_error_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS with root_squash, say; the process starts all the same."""

    def stale(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(hide.os, "stat", stale)
    assert list(hide._cover({"/etc/usmbd": []}, [])) == [
        "hiding /etc/usmbd from itself: Stale file handle"
    ]
    monkeypatch.setattr(hide.os.path, "isdir", lambda path: True)
    monkeypatch.setattr(hide.os, "scandir", stale)
    (note,) = hide._cover({"/etc/usmbd": []}, [])
    assert note.endswith("Stale file handle")


def test_an_old_kernel_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 5.12 mounts beneath a mount are not changed with it."""

    def absent(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(hide.kernel, "mount", lambda *_: None)
    monkeypatch.setattr(hide.kernel, "change_mounts", absent)
    (devices,) = hide._forbid_devices()
    assert devices.startswith("keeping devices from itself")
