"""A seccomp filter of the calls that a process makes, compiled by libseccomp.

What is not listed is answered as by a kernel that has no such call (ENOSYS), for which libraries
know other ways; what belongs to another architecture kills. `pyseccomp` is libseccomp's own Python
interface by ctypes; Debian's python3-seccomp would fit Debian's interpreter alone.
"""

import errno
import socket
from collections.abc import Callable, Iterable
from functools import partial

from usmbd.mountd.confine.kernel import CLONE_NEWNS, load_filter
from usmbd.mountd.confine.system_calls import NUMBERS

_CLONE_THREAD = 0x00010000
_TYPE_MASK = 0xF
"""Of socket(2)'s second argument; above are SOCK_NONBLOCK and SOCK_CLOEXEC."""


_OPEN = frozenset({"open", "openat", "openat2"})
"""An interpreter that tries to import a module has to hear that it may not."""


class UnavailableError(Exception):
    """No filter can be loaded here; the text says why."""


def build(calls: Iterable[str], *, threads_only: bool, any_socket: bool) -> Callable[[], None]:
    """Return what allows this process, and all that it starts, nothing but `calls`.

    With `threads_only` clone(2) makes threads and no processes; without `any_socket` sockets are
    Unix, netlink and UDP ones (by which addresses and interfaces are asked for); unshare(2) is for
    mounts alone. OSError where the kernel does not take the filter.
    """
    try:
        import pyseccomp as seccomp
    except (ImportError, RuntimeError, OSError) as error:
        raise UnavailableError(f"no libseccomp: {error}") from error
    equal, masked = seccomp.EQ, seccomp.MASKED_EQ
    try:
        rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.ENOSYS))
        _set(rules, seccomp.Attr.CTL_OPTIMIZE, 2)
        for name in calls:
            if name == "socket" and not any_socket:
                for family in (socket.AF_UNIX, socket.AF_NETLINK):
                    rules.add_rule(seccomp.ALLOW, name, seccomp.Arg(0, equal, family))
                for family in (socket.AF_INET, socket.AF_INET6):
                    datagram = seccomp.Arg(1, masked, _TYPE_MASK, socket.SOCK_DGRAM)
                    rules.add_rule(seccomp.ALLOW, name, seccomp.Arg(0, equal, family), datagram)
            elif name == "unshare":
                mounts = seccomp.Arg(0, equal, CLONE_NEWNS)
                rules.add_rule(seccomp.ALLOW, name, mounts)
            elif (number := _number(seccomp, name)) is not None:
                rules.add_rule(seccomp.ALLOW, number)
        for name in sorted(_OPEN - set(calls)):
            rules.add_rule(seccomp.ERRNO(errno.EACCES), name)
        if threads_only:
            flag = seccomp.Arg(0, masked, _CLONE_THREAD, _CLONE_THREAD)
            rules.add_rule(seccomp.ALLOW, "clone", flag)
        program = _compiled(rules)
    except OSError as error:
        raise UnavailableError(f"libseccomp makes no filter: {error.strerror}") from error
    number = int(seccomp.resolve_syscall(0, "seccomp"))
    return partial(load_filter, number, program)


def _compiled(rules: object) -> bytes:
    """Return the BPF program: 4,096 instructions at most, which a socket's buffer has room for.

    libseccomp's `load` compiles anew in each process, which writes to 600 pages of memory.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        rules.export_bpf(theirs)  # type: ignore[attr-defined]
        theirs.close()
        return b"".join(iter(partial(ours.recv, 65536), b""))


def _set(rules: object, attribute: int, value: int) -> None:
    """Set what an older libseccomp may not know."""
    try:
        rules.set_attr(attribute, value)  # type: ignore[attr-defined]
    except OSError:
        return


def _number(seccomp: object, name: str) -> int | None:
    """Return a call's number on this architecture; None where nobody knows it."""
    try:
        found = int(seccomp.resolve_syscall(0, name))  # type: ignore[attr-defined]
    except (OSError, ValueError):
        found = -1
    return NUMBERS.get(name) if found == -1 else found
