"""What is given up is gone: tried in a process of its own for each profile."""

import errno
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from usmbd.mountd.confine import kernel, profiles, system_calls
from usmbd.mountd.confine.kernel import Capability
from usmbd.mountd.confine.profiles import Profile

pytestmark = pytest.mark.processes("mountd/confine")

SCRIPT = """
import ctypes, errno, json, os, socket, sys, threading
from usmbd.mountd.confine import profiles
from usmbd.mountd.confine.process import confine

libc = ctypes.CDLL(None, use_errno=True)
profile = getattr(profiles, sys.argv[1])
status = open("/proc/self/status")
os.sched_yield()
found = {"missing": confine(profile)}

def tried(call):
    try:
        result = call()
    except OSError as error:
        return errno.errorcode[error.errno]
    if isinstance(result, int) and result == -1:
        return errno.errorcode[ctypes.get_errno()]
    return "done"

def fork():
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)

found["status"] = {line.split(":")[0]: line.split(":")[1].split() for line in status}
found["ids"] = [os.getresuid(), os.getresgid(), os.getgroups()]
found["dumpable"] = libc.prctl(3, 0, 0, 0, 0)
found["core"] = __import__("resource").getrlimit(4)
found["read"] = tried(lambda: os.close(os.open("/etc/shadow", os.O_RDONLY)))
found["fork"] = tried(fork)
found["thread"] = tried(threading.Thread(target=os.getpid).start)
found["tcp"] = tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close())
found["raw"] = tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close())
found["packet"] = tried(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close())
found["unix"] = tried(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).close())
for name, number in json.loads(sys.argv[2]).items():
    found[name] = tried(lambda: libc.syscall(number, 0, 0, 0, 0, 0, 0))
print(json.dumps(found))
"""

NEVER = {
    "ptrace": 101, "mount": 165, "umount2": 166, "init_module": 175, "finit_module": 313,
    "delete_module": 176, "reboot": 169, "kexec_load": 246, "bpf": 321, "perf_event_open": 298,
    "userfaultfd": 323, "io_uring_setup": 425, "keyctl": 250, "add_key": 248,
    "process_vm_readv": 310, "process_vm_writev": 311, "open_by_handle_at": 304, "unshare": 272,
    "setns": 308, "pivot_root": 155, "chroot": 161, "personality": 135, "swapon": 167,
    "clock_settime": 227, "settimeofday": 164, "iopl": 172, "acct": 163, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "quotactl": 179, "sethostname": 170, "mbind": 237,
}  # fmt: skip
"""What nobody has, by its number on x86-64."""

CHILDREN = ("WORKER", "KEEPER", "RPC", "DOOR", "MDNS", "WSD", "MOUNTD")
PROFILES = (*CHILDREN, "SUPERVISOR")
OWN_USERS = ("RPC", "DOOR", "MDNS", "WSD")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")


def try_as(name: str) -> dict[str, Any]:
    """Confine a process by a profile and return what it can do still."""
    calls = NEVER if os.uname().machine == "x86_64" else {}
    command = [sys.executable, "-c", SCRIPT, name, json.dumps(calls)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def allowed(name: str) -> set[str]:
    """Return what of NEVER a process has for its children alone, of unshare(2) mounts alone."""
    return {"mount", "umount2"} if name == "SUPERVISOR" else set()


def capabilities(mask: str) -> set[int]:
    return {number for number in range(64) if int(mask, 16) >> number & 1}


@needs_root
@pytest.mark.parametrize("name", PROFILES)
def test_a_process_has_what_its_profile_names_and_no_more(name: str) -> None:
    profile: Profile = getattr(profiles, name)
    found = try_as(name)
    if found["missing"]:
        pytest.skip(f"not on this machine: {found['missing']}")
    status = found["status"]
    lines = Path("/proc/self/status").read_text().splitlines()
    own = capabilities(next(line for line in lines if line.startswith("CapPrm")).split()[1])
    for kind in ("CapPrm", "CapEff", "CapBnd"):
        assert capabilities(status[kind][0]) == set(profile.capabilities) & own, kind
    assert capabilities(status["CapInh"][0]) == capabilities(status["CapAmb"][0]) == set()
    assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"])
    assert (found["dumpable"], found["core"]) == (0, [0, 0])
    assert found["thread"] == "done"
    assert found["fork"] == ("done" if profile.processes else "ENOSYS")
    assert found["tcp"] == ("done" if profile.any_socket else "ENOSYS")
    assert found["raw"] != "done"
    assert found["packet"] != "done"
    assert found["unix"] == ("done" if "socket" in profile.system_calls else "ENOSYS")
    assert found["read"] == ("done" if profile.files and not profile.own_user else "EACCES")
    for call in NEVER.keys() - allowed(name):
        assert found.get(call, "ENOSYS") == "ENOSYS", call


@needs_root
def test_who_talks_to_strangers_is_a_user_of_his_own() -> None:
    found = [try_as(name)["ids"] for name in OWN_USERS]
    for uids, gids, groups in found:
        assert len(set(uids)) == len(set(gids)) == 1
        assert uids[0] in profiles.UNUSED_IDS
        assert groups == []
    assert len({uids[0] for uids, _, _ in found}) == len(OWN_USERS)


def test_who_talks_to_strangers_has_next_to_nothing() -> None:
    """Their users are no accounts on any system (systemd: "Users, Groups, UIDs and GIDs")."""
    users = [getattr(profiles, name).own_user for name in OWN_USERS]
    assert all(60706 <= user <= 61183 for user in users)
    assert len(set(users)) == len(users)
    for name in OWN_USERS:
        profile: Profile = getattr(profiles, name)
        assert not profile.capabilities
        assert not profile.processes
    for name in ("RPC", "DOOR"):
        profile = getattr(profiles, name)
        assert not profile.files
        assert not profile.any_socket
        assert not profile.system_calls & {"openat", "socket", "bind", "listen", "execve", "fork"}
    assert {each.name for each in profiles.WORKER.capabilities} == {
        *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETUID", "IPC_LOCK")
    }
    assert {
        each.name for each in profiles.SUPERVISOR.capabilities - profiles.WORKER.capabilities
    } == {
        *("DAC_READ_SEARCH", "KILL", "SETPCAP", "SYS_ADMIN", "NET_BIND_SERVICE", "SYS_PTRACE"),
        "SYS_RESOURCE",
    }
    assert {"openat2", "socket", "setgroups", "bind"} <= profiles.SUPERVISOR.system_calls


def test_no_profile_names_what_nobody_needs() -> None:
    for name in PROFILES:
        never = set(NEVER) - allowed(name) - ({"unshare"} if name == "SUPERVISOR" else set())
        assert not never & getattr(profiles, name).system_calls, name
    assert not profiles.WORKER.system_calls & {"execve", "fork", "vfork", "listen", "accept"}
    assert Capability.SYS_ADMIN not in profiles.WORKER.capabilities
    for name in CHILDREN:
        child: Profile = getattr(profiles, name)
        # What the parent has given up, a child cannot have.
        assert child.capabilities <= profiles.SUPERVISOR.capabilities
        assert child.system_calls <= profiles.SUPERVISOR.system_calls


def test_names_of_system_calls_are_right() -> None:
    seccomp = pytest.importorskip("pyseccomp")
    names = profiles.SUPERVISOR.system_calls
    unknown = {each for each in names if seccomp.resolve_syscall(0, each) == -1}
    assert unknown <= set(system_calls.NUMBERS)
    for each, number in system_calls.NUMBERS.items():
        assert seccomp.resolve_syscall(0, each) in (-1, number)


def test_calls_that_the_library_does_not_name_have_the_kernel_s_numbers() -> None:
    """The kernel's scripts/syscall.tbl, as of 6.13; from 424 on they are all architectures'."""
    known = {
        **{"mount_setattr": 442, "quotactl_fd": 443, "futex_waitv": 449, "cachestat": 451},
        "fchmodat2": 452,
        **{"map_shadow_stack": 453, "futex_wake": 454, "futex_wait": 455, "futex_requeue": 456},
        **{"setxattrat": 463, "getxattrat": 464, "listxattrat": 465, "removexattrat": 466},
    }
    assert known == system_calls.NUMBERS


def test_an_old_kernel_without_landlock_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> int:
        kernel.ctypes.set_errno(errno.ENOSYS)
        return -1

    monkeypatch.setattr(kernel, "_syscall", absent)
    with pytest.raises(OSError, match="not implemented"):
        kernel.landlock(files=True)


@pytest.mark.parametrize(
    ("version", "files", "size", "handled"),
    [
        (1, False, 8, (0x1FFF, 0, 0)),
        (2, False, 8, (0x3FFF, 0, 0)),
        (3, False, 8, (0x7FFF, 0, 0)),
        (4, False, 16, (0x7FFF, 3, 0)),
        (5, False, 16, (0xFFFF, 3, 0)),
        (6, False, 24, (0xFFFF, 3, 3)),
        (7, True, 24, (0, 3, 3)),
        (4, True, 16, (0, 3, 0)),
        (3, True, 8, (1 << 11 | 1 << 13, 0, 0)),
        (1, True, 0, (0, 0, 0)),
    ],
)
def test_what_landlock_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
    version: int,
    files: bool,
    size: int,
    handled: tuple[int, int, int],
) -> None:
    """All that the kernel's version can forbid (landlock(7)), by its numbers and sizes."""
    asked = []
    ruleset = os.open("/dev/null", os.O_RDONLY)

    def answer(number: Any, *arguments: Any) -> int:
        values = [getattr(each, "value", each) for each in arguments]
        asked.append((number.value, *values))
        if number.value == 446:
            return 0
        return version if arguments[0] is None else ruleset

    monkeypatch.setattr(kernel, "_syscall", answer)
    kernel.landlock(files=not files)
    first, *rest = asked
    assert first == (444, None, 0, 1)  # LANDLOCK_CREATE_RULESET_VERSION
    if size:
        attributes = struct.pack("=QQQ", *handled)
        if files and handled[0]:  # all of it is allowed below the root
            number, *rule, packed, flags = rest.pop(1)
            assert (number, rule, flags) == (445, [ruleset, 1], 0)
            assert struct.unpack("=Qi", packed)[0] == handled[0]
        assert rest == [(444, attributes, size, 0), (446, ruleset, 0)]
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(ruleset)
    else:
        assert rest == []
        os.close(ruleset)


def test_a_filter_that_was_built_is_that_of_who_is_forked() -> None:
    program = """
import os, sys
import pyseccomp
from usmbd.mountd.confine import filters, process
from usmbd.mountd.confine.profiles import MOUNTD
process.prepare([MOUNTD])
filters.build = pyseccomp._libseccomp = None  # nothing is compiled again
if os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
missing = [each for each in process.confine(MOUNTD) if "seccomp" in each]
modes = [line.split()[1] for line in open("/proc/self/status") if line.startswith("Seccomp:")]
print(missing, *modes)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("[] 2\n", 0), done.stderr


def test_processors_that_speculate_may_do_so_still() -> None:
    """Where the kernel can be told (Linux 4.17); an older one takes the filter without."""
    asked: list[int] = []

    def answer(_number: Any, _mode: Any, flags: Any, _program: bytes) -> int:
        asked.append(flags.value)
        kernel.ctypes.set_errno(errno.EINVAL)
        return -1 if flags.value else 0

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kernel, "_syscall", answer)
        kernel.load_filter(317, bytes(8))
        patched.setattr(kernel, "_syscall", lambda *_: -1)
        with pytest.raises(OSError, match="Invalid"):
            kernel.load_filter(317, bytes(8))
    assert asked == [4, 0]
