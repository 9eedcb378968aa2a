#!/usr/bin/python3 -IS
"""What cifs-utils and getfattr show of a file is what the file is, and what setcifsacl says holds.

`smbinfo` runs within this program: each start of an interpreter costs more than all its questions.
"""

import contextlib
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
import time

MOUNT = os.environ["MOUNT"]
MOUNT2 = os.environ["MOUNT2"]
SERVER = os.environ["SERVER"]
STRANGER = "S-1-5-21-1-2-3-4444"
"""Of an ACE that is for nobody here."""

EVERYONE = "S-1-1-0"
SNAPSHOT = "2026.01.02-03.04.05"
SMBINFO = "/usr/bin/smbinfo"
OPTIONS = os.environ["VARIANT"].split(",")


def note(text: str) -> None:
    """Tell something beside the outcome."""
    print(text, file=sys.stderr, flush=True)


def ask(*words: str) -> str:
    """Return what smbinfo says."""
    said = io.StringIO()
    sys.argv = [SMBINFO, *words]
    with contextlib.redirect_stdout(said):
        runpy.run_path(SMBINFO, run_name="__main__")
    return said.getvalue()


def smbinfo(*words: str) -> dict[str, str]:
    """Return the lines `Name: value` that smbinfo says; a refusal is under `syscall failed`."""
    pairs = (line.split(": ", 1) for line in ask(*words).splitlines() if ": " in line)
    return {name: value for name, value in pairs}


def tool(*words: str) -> str:
    """Return what a program says; AssertionError when it fails."""
    done = subprocess.run(words, capture_output=True, text=True)
    assert not done.returncode, f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}"
    return done.stdout


def facts() -> None:
    """All classes of smbinfo agree with stat(2), with each other and with the file's other name."""
    path = f"{MOUNT}/facts"
    with open(path, "wb") as file:
        file.write(b"x" * 5_000)
    os.truncate(path, 4_321)
    os.link(path, f"{MOUNT}/facts.too")
    status = os.stat(f"{MOUNT2}/facts")
    standard = smbinfo("filestandardinfo", path)
    assert standard["End Of File"] == "4321", standard
    assert int(standard["Allocation Size"]) == status.st_blocks * 512, (standard, status)
    assert standard["Delete Pending"] == "0", standard
    assert standard["Number of Links"] == "2", standard
    index = smbinfo("fileinternalinfo", path)["Index Number"]
    assert smbinfo("fileinternalinfo", f"{MOUNT2}/facts.too")["Index Number"] == index
    if "posix" not in OPTIONS and "noserverino" not in OPTIONS:
        assert int(index) == status.st_ino, (index, status.st_ino)
    everything = smbinfo("fileallinfo", path)
    for kind in ("filebasicinfo", "filestandardinfo", "fileinternalinfo", "fileeainfo"):
        for name, value in smbinfo(kind, path).items():
            # To open it for the question is an access.
            assert name == "Last Access Time" or everything[name] == value, (name, value)
    assert everything["Current Byte Offset"] == "0", everything
    room = smbinfo("filefsfullsizeinfo", path)
    unit = int(room["Sectors Per Allocation Unit"]) * int(room["Bytes Per Sector"])
    whole = os.statvfs(MOUNT)
    assert int(room["Total Allocation Units"]) * unit == whole.f_blocks * whole.f_frsize, room
    folder = smbinfo("filestandardinfo", MOUNT)
    assert folder["Delete Directory"] == "1", folder


def questions_to_the_server() -> None:
    """Compression and object ids are what the file system gives, or are refused."""
    path = f"{MOUNT}/facts"
    for words in (("getcompression", path), ("fsctl-getobjid", path), ("quota", path)):
        note(f"smbinfo {words[0]}: {smbinfo(*words)}")
    if SERVER == "usmbd":
        assert smbinfo("getcompression", path) == {"Compression": "0 (NONE)"}
        assert "syscall failed" in smbinfo("setcompression", "lznt1", path)
        assert smbinfo("getcompression", path) == {"Compression": "0 (NONE)"}


def attributes() -> None:
    """Attributes `user.*` that one mount sets are the other's, with any bytes."""
    path, other = f"{MOUNT}/attributes", f"{MOUNT2}/attributes"
    open(path, "wb").close()
    values = {"user.one": b"1", "user.Two": bytes(range(256)), "user.dot.ted": b"x" * 4_000}
    for name, value in values.items():
        os.setxattr(path, name, value)
    assert {name: os.getxattr(other, name) for name in values} == values
    told = tool("getfattr", "-d", "-m", "^user\\.", "--absolute-names", other)
    names = set(re.findall(r"^(user\..+?)=", told, re.MULTILINE))
    wanted = {name.upper() for name in values}
    assert {name.upper() for name in names} == wanted, told
    os.setxattr(other, "user.one", b"other")
    assert os.getxattr(path, "user.one") == b"other"
    os.removexattr(path, "user.Two")
    assert "user.two" not in [name.lower() for name in os.listxattr(other)]
    for name in ("user.one", "user.dot.ted"):
        tool("setfattr", "-x", name, path)
    assert "user." not in tool("getfattr", "-d", "--absolute-names", other)


def aces(path: str) -> set[str]:
    """Return the DACL's entries as smbinfo has them.

    getcifsacl 7.0 asks for the SACL too and ends when that is refused with EPERM, as by Linux 7.3.
    """
    return {line for line in ask("secdesc", path).splitlines() if line.startswith("Type: ")}


def entry(kind: int, mask: int, sid: str) -> str:
    """Return an ACE as smbinfo has it."""
    return f"Type: 0x{kind:08x}, Flags: 0x00000000, Mask: 0x{mask:08x}, SID: {sid}"


def acl() -> None:
    """Add an ACE by setcifsacl: another mount shows it, it holds, and it goes again."""
    path, other = f"{MOUNT}/acl", f"{MOUNT2}/acl"
    with open(path, "wb") as file:
        file.write(b"content")
    before = aces(path)
    assert before, "no ACEs"
    assert aces(other) == before
    tool("setcifsacl", "-a", f"ACL:{STRANGER}:ALLOWED/0x0/0x1200a9", path)
    assert aces(other) - before == {entry(0, 0x1200A9, STRANGER)}, aces(other)
    assert before <= aces(other), (before, aces(other))
    tool("setcifsacl", "-D", f"ACL:{STRANGER}:ALLOWED/0x0/0x1200a9", other)
    assert aces(path) == before, (before, aces(path))
    tool("setcifsacl", "-A", f"ACL:{EVERYONE}:DENIED/0x0/0x2", path)
    if SERVER == "usmbd":  # ksmbd keeps it and lets its owner write
        until_refused(other)
    with open(other, "rb") as file:
        assert file.read() == b"content"
    tool("setcifsacl", "-D", f"ACL:{EVERYONE}:DENIED/0x0/0x2", path)
    with open(other, "r+b") as file:
        file.write(b"CONTENT")
    with open(path, "rb") as file:
        assert file.read() == b"CONTENT"


def until_refused(path: str) -> None:
    """Wait until a new open to write is refused: what the mount has cached may be used."""
    deadline = time.monotonic() + 60
    while True:
        try:
            os.close(os.open(path, os.O_WRONLY))
        except PermissionError:
            return
        assert time.monotonic() < deadline, "what the ACL denies is allowed"
        time.sleep(0.2)


def previous_versions() -> None:
    """List a snapshot of the server's, and mount the files as they were by `-o snapshot=`."""
    if SERVER != "usmbd":  # ksmbd has none
        return
    report = f"{MOUNT}/report"
    with open(report, "w") as file:
        file.write("today's")
    assert SNAPSHOT not in (before := ask("list-snapshots", report)), before
    folder = f"$DATA/.snapshots/@GMT-{SNAPSHOT}/share/{os.path.basename(MOUNT)}"
    words = f'mkdir -p "{folder}" && echo -n "yesterday\'s" >"{folder}/report"'
    print(f"ON SERVER bash -c {shlex.quote(words)}", flush=True)
    assert sys.stdin.readline() == "DONE\n"
    deadline = time.monotonic() + 60
    while SNAPSHOT not in (listed := ask("list-snapshots", report)):
        assert time.monotonic() < deadline, listed
        time.sleep(0.2)
    root = os.path.dirname(MOUNT)
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        source = next(line.split()[0] for line in mounts if line.split()[1] == root)
    options = f"username=lab,password=pw,{os.environ['VARIANT']},ro,snapshot=@GMT-{SNAPSHOT}"
    yesterday = f"{os.environ['SCRATCH']}/yesterday"
    os.mkdir(yesterday)
    tool("mount", "-t", "cifs", source, yesterday, "-o", options)
    try:
        with open(f"{yesterday}/{os.path.basename(MOUNT)}/report") as file:
            assert file.read() == "yesterday's"
        with open(f"{MOUNT2}/report") as file:
            assert file.read() == "today's"
    finally:
        tool("umount", yesterday)


for case in (facts, questions_to_the_server, attributes, acl, previous_versions):
    try:
        case()
    except BaseException:
        print(f"failed: {case.__name__}", file=sys.stderr)
        raise
