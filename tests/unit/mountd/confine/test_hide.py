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

from usmbd.mountd.confine import hide

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
    "from the share": tried(os.path.join(share, "..", name)),
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
    shown: tuple[str, ...] = ("share",),
    without: str = "",
    name: Path | None = None,
    whole: bool = True,
    version: int = 0,
) -> dict[str, Any]:
    """Hide etc/, which has a share in it, from a process, and return what it can do."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare(1)")
    folder = tmp_path / "etc"
    secret, share = folder / "passwords", folder / "share"
    share.mkdir(parents=True)
    secret.write_text("hash")
    (share / "file").write_text("data")
    folders = {str(folder): [str(folder / each) for each in shown]}
    if not whole:
        folders = {str(secret): []}
    arguments = json.dumps([folders, str(name or secret), str(share), str(block), version, *steps])
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
    assert (tmp_path / "etc" / "passwords").read_text() == "hash"
    assert found["made"] == "EROFS"
    assert found["moved"] == "done"
    assert (found["disk"], found["null"]) == ("EACCES", "done")
    assert found["shadow"] == "done"  # it is not hidden: CAP_DAC_OVERRIDE opens what has a name


def test_a_share_in_a_hidden_folder_is_seen_and_written(tmp_path: Path, block: Path) -> None:
    found = tried(SHARED, tmp_path, block)
    assert (found["share"], found["written"]) == (["file"], "done")
    assert (tmp_path / "etc" / "share" / "into" / "new").exists()


def test_what_is_not_to_be_seen_is_not(tmp_path: Path, block: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "other").mkdir()
    (tmp_path / "etc" / "other" / "file").touch()
    with pytest.raises(AssertionError, match="No such file"):
        tried(SHARED, tmp_path, block, shown=("other", "not-there"))


def test_a_disk_that_is_mounted_over_a_share_later_is_seen(tmp_path: Path, block: Path) -> None:
    """Over one in a hidden folder too; and a place beneath it is one as before."""
    share = str(tmp_path / "etc" / "share")
    over = ("mount", "-t", "tmpfs", "none", share)
    found = tried(SHARED, tmp_path, block, over, ("touch", f"{share}/of-the-disk"))
    assert found["share"] == ["of-the-disk"]
    assert found["written"] == "done"


def test_a_disk_that_is_unmounted_is_gone(tmp_path: Path, block: Path) -> None:
    share = str(tmp_path / "etc" / "share")
    steps = (("mount", "-t", "tmpfs", "none", share), ("umount", share))
    assert tried(SHARED, tmp_path, block, *steps)["share"] == ["file"]


def test_the_same_disk_mounted_elsewhere_shows_it_as_little(tmp_path: Path, block: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    bind = (*SHARED, "sh", "-c", f'mount --bind {tmp_path} {again} && exec "$@"', "sh")
    found = tried(bind, tmp_path, block, name=again / "etc" / "passwords")
    assert found["unhidden"] == []
    assert found["secret"]["by its name"] == "ENOENT"


def test_where_later_mounts_would_not_be_seen_nothing_is_hidden(
    tmp_path: Path, block: Path
) -> None:
    share = str(tmp_path / "etc" / "share")
    over = ("mount", "-t", "tmpfs", "none", share)
    found = tried(PRIVATE, tmp_path, block, over)
    (why,) = found["unhidden"]
    assert str(tmp_path / "etc") in why
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


def test_one_file_is_hidden(tmp_path: Path, block: Path) -> None:
    """A keytab, say, where its folder cannot be; also when it was written in place."""
    folder = tmp_path / "etc"
    found = tried(SHARED, tmp_path, block, whole=False)
    assert found["unhidden"] == []
    assert found["secret"]["by its name"] == "EACCES"
    assert found["share"] == ["file"]
    assert (folder / "passwords").read_text() == "hash"


def test_an_old_kernel_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 5.12 mounts beneath a mount are not changed with it."""

    def absent(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(hide.kernel, "mount", lambda *_: None)
    monkeypatch.setattr(hide.kernel, "change_mounts", absent)
    (devices,) = hide._forbid_devices()
    assert devices.startswith("keeping devices from itself")
