"""prctl(2), capset(2), seccomp(2), mount(2), Landlock's calls, which Python's `os` does not offer.

The libraries for the first two (pyprctl, python-prctl) have had no release since 2021, and of
Landlock only two calls are needed, without rules: so they are called by ctypes.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable
from enum import IntEnum, IntFlag

_libc = ctypes.CDLL(None, use_errno=True)
_prctl, _capget, _capset, _syscall = _libc.prctl, _libc.capget, _libc.capset, _libc.syscall
_unshare, _mount = _libc.unshare, _libc.mount
_mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]
_syscall.restype = ctypes.c_long

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

_CAPABILITY_VERSION_3 = 0x20080522
_SETS = struct.Struct("=6I")
"""Twice (effective, permitted, inheritable): the lower and the upper 32 capabilities."""

_bounds = set(range(64))
"""Capabilities that may come by exec still: what is forked from this process has no others."""

CLONE_NEWNS = 0x00020000


class MountFlag(IntFlag):
    """Those of mount(2); the first four have the same numbers as MOUNT_ATTR_*."""

    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    REMOUNT = 32
    BIND = 4096
    REC = 16384
    SLAVE = 1 << 19


_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4
_FILTER = struct.Struct("@HP")
"""struct sock_fprog: how many instructions, and where they are."""
_INSTRUCTION = 8
"""Bytes of struct sock_filter."""

_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTRIBUTES = struct.Struct("=QQQQ")
"""struct mount_attr: set, cleared, propagation, user namespace."""

# These have one number on every architecture but alpha.
_NR_MOUNT_SETATTR = ctypes.c_long(442)
_NR_LANDLOCK_CREATE_RULESET = ctypes.c_long(444)
_NR_LANDLOCK_ADD_RULE = ctypes.c_long(445)
_NR_LANDLOCK_RESTRICT_SELF = ctypes.c_long(446)
_LANDLOCK_CREATE_RULESET_VERSION = 1
_RULESET = struct.Struct("=QQQ")
"""struct landlock_ruleset_attr: what is handled of files, of the network, of scopes."""
# What each version of the interface can forbid (landlock(7)): files of versions 1, 2, 3 and 5.
_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_MAKE_BLOCK, _REFER, _REFER_VERSION = 1 << 11, 1 << 13, 2
_RULE_PATH_BENEATH = ctypes.c_int(1)
_PATH_BENEATH = struct.Struct("=Qi")
"""struct landlock_path_beneath_attr: what is allowed, below which directory."""
_NETWORK_VERSION, _NETWORK = 4, 0b11
"""To bind and to connect a TCP socket."""
_SCOPES_VERSION, _SCOPES = 6, 0b11
"""To connect to abstract Unix sockets of, and to signal, processes that are not confined so."""


class Capability(IntEnum):
    """Those of capabilities(7) that a process of the server needs."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    FOWNER = 3
    FSETID = 4
    KILL = 5
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    NET_BIND_SERVICE = 10
    IPC_LOCK = 14
    SYS_PTRACE = 19
    SYS_ADMIN = 21
    SYS_RESOURCE = 24


def _check(result: int) -> int:
    """Raise the OSError of a call that failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def set_death_signal(number: int) -> None:
    """Have this process sent a signal when the thread that started it ends."""
    _check(_prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0))


def become_subreaper() -> None:
    """Be the parent of the descendants whose own parent ends, in place of the machine's init."""
    _check(_prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def set_undumpable() -> None:
    """Have no core dump made of this process, and let nobody but root look into it."""
    _check(_prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))


def set_no_new_privileges() -> None:
    """Let no program that is executed from now on gain rights by it."""
    _check(_prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def drop_bounds(keep: Iterable[Capability]) -> None:
    """Let no program that is executed ever have other capabilities than these.

    Without CAP_SETPCAP that is not to be decided here, and no capability comes by exec either.
    """
    low, high = _permitted()
    if not (low | high << 32) >> Capability.SETPCAP & 1:
        return
    for number in _bounds.difference(keep):
        if _prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) and ctypes.get_errno() != errno.EINVAL:
            _check(-1)  # else this kernel does not know it
        _bounds.discard(number)


def limit_capabilities(keep: Iterable[Capability]) -> None:
    """Give up all capabilities but these for good; those that are not there are not gained."""
    mask = sum(1 << each for each in keep)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)  # unknown before Linux 4.3
    low, high = _permitted()
    low, high = low & mask & 0xFFFF_FFFF, high & mask >> 32
    _check(_capset(ctypes.byref(_header()), _SETS.pack(low, low, 0, high, high, 0)))


def _header() -> "ctypes.Array[ctypes.c_uint32]":
    """Return struct __user_cap_header_struct, for this thread."""
    return (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)


def _permitted() -> tuple[int, int]:
    """Return the lower and the upper 32 capabilities that this thread may use."""
    data = ctypes.create_string_buffer(_SETS.size)
    _check(_capget(ctypes.byref(_header()), data))
    _, low, _, _, high, _ = _SETS.unpack(data.raw)
    return low, high


def may(capability: Capability) -> bool:
    """Tell whether this thread has a capability to use."""
    low, high = _permitted()
    return bool((low | high << 32) >> capability & 1)


def load_filter(number: int, program: bytes) -> None:
    """Have each further system call of this thread judged by a program of BPF.

    `number` is seccomp(2)'s on this architecture. Nothing here runs code of others, so that the
    processor may go on speculating about stores, where the kernel can be told so (Linux 4.17).
    """
    code = ctypes.create_string_buffer(program, len(program))
    whole = _FILTER.pack(len(program) // _INSTRUCTION, ctypes.addressof(code))
    for flags in (_SECCOMP_FILTER_FLAG_SPEC_ALLOW, 0):
        arguments = [ctypes.c_long(each) for each in (number, _SECCOMP_SET_MODE_FILTER, flags)]
        result = _syscall(*arguments, whole)
        if not result or ctypes.get_errno() != errno.EINVAL:
            break
    _check(result)


def leave_mounts() -> None:
    """Have mounts of this process's own, which begin as they are; the process has one thread."""
    _check(_unshare(CLONE_NEWNS))


def mount(
    source: str | None, target: str, kind: str | None, flags: MountFlag, options: str | None = None
) -> None:
    """Mount something, or change what is mounted (mount(2))."""
    names = [None if each is None else os.fsencode(each) for each in (source, target, kind)]
    _check(_mount(*names, flags, options.encode() if options is not None else None))


def change_mounts(target: str, *, add: int = 0, remove: int = 0) -> None:
    """Give a mount, and all beneath it, RDONLY and NODEV, or take them away (Linux 5.12)."""
    attributes = _MOUNT_ATTRIBUTES.pack(add, remove, 0, 0)
    _check(
        _syscall(
            _NR_MOUNT_SETATTR,
            ctypes.c_int(_AT_FDCWD),
            os.fsencode(target),
            ctypes.c_uint(_AT_RECURSIVE),
            attributes,
            ctypes.c_size_t(len(attributes)),
        )
    )


def landlock_version() -> int:
    """Return the version of Landlock's interface; OSError where the kernel has none."""
    return _check(
        _syscall(
            _NR_LANDLOCK_CREATE_RULESET,
            None,
            ctypes.c_size_t(0),
            ctypes.c_uint32(_LANDLOCK_CREATE_RULESET_VERSION),
        )
    )


def landlock(*, files: bool) -> None:
    """Forbid TCP, abstract sockets and signals to others, and with `files` every file by its name.

    Whatever is forbidden, others' /proc/PID/root is closed, too (landlock(7), "Ptrace"); so an old
    kernel is asked for a right that is given back everywhere. What is open stays usable. OSError
    where the kernel has no Landlock; an old one forbids less.
    """
    version = landlock_version()
    everywhere = 0
    if files:
        of_files = max(rights for since, rights in _FILES.items() if since <= version)
    elif _REFER_VERSION <= version < _NETWORK_VERSION:
        # Where REFER is not handled, nothing may be renamed into another directory.
        of_files = everywhere = _MAKE_BLOCK | _REFER
    else:
        of_files = 0
    attributes = _RULESET.pack(
        of_files,
        _NETWORK if version >= _NETWORK_VERSION else 0,
        _SCOPES if version >= _SCOPES_VERSION else 0,
    )
    size = 8 if version < _NETWORK_VERSION else 16 if version < _SCOPES_VERSION else 24
    if not any(attributes[:size]):
        return
    ruleset = _check(
        _syscall(_NR_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0))
    )
    try:
        if everywhere:
            _allow_everywhere(ruleset, everywhere)
        _check(_syscall(_NR_LANDLOCK_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)))
    finally:
        os.close(ruleset)


def _allow_everywhere(ruleset: int, rights: int) -> None:
    """Give rights back for all that has a name, also what is mounted later."""
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        rule = _PATH_BENEATH.pack(rights, root)
        _check(
            _syscall(
                _NR_LANDLOCK_ADD_RULE,
                ctypes.c_int(ruleset),
                _RULE_PATH_BENEATH,
                rule,
                ctypes.c_uint32(0),
            )
        )
    finally:
        os.close(root)
